"""The op resolver: the functions of TFLM that add the ops of a model."""

from __future__ import annotations

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel

# The method of MicroMutableOpResolver for each op, as its header declares them.
METHODS = {
    "ABS": "AddAbs", "ADD": "AddAdd", "AVERAGE_POOL_2D": "AddAveragePool2D", "BATCH_TO_SPACE_ND": "AddBatchToSpaceNd",
    "CONCATENATION": "AddConcatenation", "CONV_2D": "AddConv2D", "CUSTOM TFLM_DECODE": "AddDecode",
    "DEPTH_TO_SPACE": "AddDepthToSpace", "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D", "EXPAND_DIMS": "AddExpandDims",
    "FULLY_CONNECTED": "AddFullyConnected", "HARD_SWISH": "AddHardSwish", "L2_NORMALIZATION": "AddL2Normalization",
    "LEAKY_RELU": "AddLeakyRelu", "LOGISTIC": "AddLogistic", "MAX_POOL_2D": "AddMaxPool2D", "MAXIMUM": "AddMaximum",
    "MEAN": "AddMean", "MINIMUM": "AddMinimum", "MUL": "AddMul", "PACK": "AddPack", "PAD": "AddPad",
    "PADV2": "AddPadV2", "PRELU": "AddPrelu", "QUANTIZE": "AddQuantize", "REDUCE_MAX": "AddReduceMax",
    "RELU": "AddRelu", "RELU6": "AddRelu6", "RESHAPE": "AddReshape", "RESIZE_BILINEAR": "AddResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "AddResizeNearestNeighbor", "SHAPE": "AddShape", "SLICE": "AddSlice",
    "SOFTMAX": "AddSoftmax", "SPACE_TO_BATCH_ND": "AddSpaceToBatchNd", "SPACE_TO_DEPTH": "AddSpaceToDepth",
    "SPLIT": "AddSplit", "SPLIT_V": "AddSplitV", "SQUEEZE": "AddSqueeze", "STRIDED_SLICE": "AddStridedSlice",
    "SUB": "AddSub", "SUM": "AddSum", "TANH": "AddTanh", "TRANSPOSE": "AddTranspose",
    "TRANSPOSE_CONV": "AddTransposeConv", "UNPACK": "AddUnpack",
}  # fmt: skip
# Ops with a registration for int8 kernels only, which keeps the others out of the image if CMSIS-NN is used; with other
# kernels it is the same as the general one.
_INT8 = {
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SOFTMAX",
    "TRANSPOSE_CONV",
}  # fmt: skip


def ops_of(raw: RawModel) -> tuple[str, ...]:
    """The kinds of ops in a model, sorted.

    Raises:
        UnsupportedOpError: an op is not known to be in TFLM.
        BadModelError: the model has none.
    """
    if not raw.ops:
        raise BadModelError("the model has no ops")
    for op in raw.ops:
        if op.name not in METHODS:
            raise UnsupportedOpError("not known to be in TensorFlow Lite Micro", where=op.describe())
    return tuple(sorted({op.name for op in raw.ops}))


def registration(op: str, *, int8: bool) -> str:
    """The call that adds an op to a resolver, with its `_INT8` registration if that is wanted and exists."""
    argument = f"tflite::Register_{op}_INT8()" if int8 and op in _INT8 else ""
    return f"{METHODS[op]}({argument})"
