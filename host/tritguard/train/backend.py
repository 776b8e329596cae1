"""TensorFlow and Keras, imported once, here, quietly; everything that needs them takes them from this module.

Never import this module at the top of one that the command line loads: TensorFlow takes seconds.

Raises:
    ToolMissingError: on import, where TensorFlow is not installed.
"""

from __future__ import annotations

import os

from tritguard.errors import ToolMissingError

# Read when the packages are loaded. A user who wants TensorFlow's chatter sets its level before.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise ToolMissingError(
        f"TensorFlow cannot be imported ({error})",
        fix="pip install 'tritguard[attack]' ('tritguard[train]' to train only)",
    ) from error

tf.get_logger().setLevel("ERROR")
keras.config.set_image_data_format("channels_last")  # TFLite knows no other; whatever a user's keras.json says

__all__ = ["keras", "tf"]
