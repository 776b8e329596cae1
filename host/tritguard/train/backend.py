"""Imports TensorFlow and Keras quietly. Everything that needs them imports them from this module.

Modules that the command line loads must not import this one at their top, because TensorFlow takes seconds to import.

Raises:
    ToolMissingError: on import, if TensorFlow is not installed.
"""

from __future__ import annotations

import gc
import os

from tritguard.errors import ToolMissingError

# TensorFlow and Keras read these on import. A user who wants TensorFlow's messages sets the level beforehand.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

# TensorFlow makes a million objects that stay. Looking for garbage among them takes a third of its import, and as long
# again when the process ends, unless they are frozen.
_collecting = gc.isenabled()
gc.disable()
try:
    import keras
    import tensorflow as tf
except ImportError as error:
    raise ToolMissingError(
        f"TensorFlow cannot be imported ({error})",
        fix="pip install 'tritguard[attack]' ('tritguard[train]' to train only)",
    ) from error
finally:
    if _collecting:
        gc.freeze()
        gc.enable()

tf.get_logger().setLevel("ERROR")
keras.config.set_image_data_format("channels_last")  # the only order TFLite has; a user's keras.json may say otherwise

__all__ = ["keras", "tf"]
