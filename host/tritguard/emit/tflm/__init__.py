"""Arrays for TensorFlow Lite Micro: small models in TFLM's own form, verified in its interpreter."""

from tritguard.emit.tflm.arrays import write_arrays
from tritguard.emit.tflm.compress import DECODE_CODE_BYTES
from tritguard.emit.tflm.edges import edges
from tritguard.emit.tflm.manifest import Arrays, ArraysManifest, open_arrays

__all__ = ["DECODE_CODE_BYTES", "Arrays", "ArraysManifest", "edges", "open_arrays", "write_arrays"]
