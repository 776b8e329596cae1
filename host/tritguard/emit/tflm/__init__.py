"""Arrays for TensorFlow Lite Micro: small models in TFLM's own form, verified in its interpreter."""

from tritguard.emit.tflm.arrays import input_edge, write_arrays
from tritguard.emit.tflm.manifest import Arrays, ArraysManifest, open_arrays

__all__ = ["Arrays", "ArraysManifest", "input_edge", "open_arrays", "write_arrays"]
