"""Imports TensorFlow and Keras quietly. Everything that needs them imports them from this module.

Modules that the command line loads must not import this one at their top, because TensorFlow takes seconds to import.

Raises:
    ToolMissingError: on import, if TensorFlow is not installed.
"""

from __future__ import annotations

import os

from tritguard.errors import ToolMissingError
from tritguard.heavy_imports import heavy_imports

# TensorFlow and Keras read these on import. A user who wants TensorFlow's messages sets the level beforehand.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["KERAS_BACKEND"] = "tensorflow"

try:
    with heavy_imports():
        import keras
        import tensorflow as tf
except ImportError as error:
    raise ToolMissingError(
        f"TensorFlow cannot be imported ({error})",
        fix="pip install 'tritguard[attack]' ('tritguard[train]' to train only)",
    ) from error

tf.get_logger().setLevel("ERROR")
keras.config.set_image_data_format("channels_last")  # the only order TFLite has; a user's keras.json may say otherwise

__all__ = ["keras", "tf"]
