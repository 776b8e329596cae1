"""The op resolver: the functions of TFLM that add the ops of a model. The installed TFLM tells which ops exist."""

from __future__ import annotations

import re

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel, RawOp
from tritguard.oracle import registered_name, registered_ops

# Ops with a registration for int8 kernels only, which keeps the others out of the image if CMSIS-NN is used; with other
# kernels it is the same as the general one.
_INT8 = {
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SOFTMAX",
    "TRANSPOSE_CONV",
}  # fmt: skip
# Words in the names of methods that are not spelt as others are.
_SPELLED = {"Padv2": "PadV2", "BatchMatmul": "BatchMatMul", "Cumsum": "CumSum", "Pcan": "PCAN", "Lstm": "LSTM"}


def ops_of(raw: RawModel) -> tuple[str, ...]:
    """The kinds of ops in a model and in the subgraphs that set its variables, sorted.

    Raises:
        UnsupportedOpError: TFLM's interpreter is installed and has no such op.
        BadModelError: the model has none.
    """
    if not raw.ops:
        raise BadModelError("the model has no ops")
    known = registered_ops()
    ops = [op for graph in (raw, *raw.further) for op in graph.ops]
    for op in ops:
        name = registered_name(op.name)
        if not re.fullmatch("[A-Z0-9_]+", name) or (known and name not in known):
            raise UnsupportedOpError("TensorFlow Lite Micro has no such op", where=op.describe())
    return tuple(sorted({op.name for op in ops}))


def method(op: str) -> str:
    """The method of MicroMutableOpResolver that adds an op: a rule of its header, which has few exceptions."""
    joined = "".join(map(str.title, registered_name(op).split("_")))
    for word, spelled in _SPELLED.items():
        joined = joined.replace(word, spelled)
    return f"Add{joined}"


def registrations(raw: RawModel, *, int8: bool) -> tuple[str, ...]:
    """The calls that add the ops of a model to a resolver, sorted by op.

    Args:
        raw: the model.
        int8: use `_INT8` registrations where TFLM has them, for ops of which the model has no other than int8 ones.
    """
    wide = {op.name for graph in (raw, *raw.further) for op in graph.ops if not _is_int8(graph, op)}
    return tuple(
        f"{method(op)}({f'tflite::Register_{op}_INT8()' if int8 and op in _INT8 - wide else ''})" for op in ops_of(raw)
    )


def _is_int8(raw: RawModel, op: RawOp) -> bool:
    """Whether an op takes and gives nothing but int8, constants aside."""
    tensors = (raw.tensors[tensor] for tensor in (*op.inputs, *op.outputs) if tensor >= 0)
    return all(tensor.type == "INT8" for tensor in tensors if tensor.data is None)
