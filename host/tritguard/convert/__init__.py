"""Converts Keras models to the golden int8 `.tflite`. Importing this package imports TensorFlow."""

from tritguard.convert.keras_to_tflite import keras_to_tflite, network_to_tflite

__all__ = ["keras_to_tflite", "network_to_tflite"]
