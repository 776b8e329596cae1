"""The op resolver: the functions of TFLM that add the ops of a model. Which ops exist is asked of TFLM as installed."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import RawModel

# Ops with a registration for int8 kernels only, which keeps the others out of the image if CMSIS-NN is used; with other
# kernels it is the same as the general one.
_INT8 = {
    "ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SOFTMAX",
    "TRANSPOSE_CONV",
}  # fmt: skip
# Custom ops by the names in files. TFLM prefixes those of its signal library, which follow a rule, with "Signal".
_CUSTOM = {
    "TFLM_DECODE": "DECODE",
    "TFLite_Detection_PostProcess": "DETECTION_POSTPROCESS",
    "CIRCULAR_BUFFER": "CIRCULAR_BUFFER",
    "SignalPCAN": "PCAN",
}
# Words of methods that are not written as others are.
_SPELLED = {"Padv2": "PadV2", "BatchMatmul": "BatchMatMul", "Cumsum": "CumSum", "Pcan": "PCAN", "Lstm": "LSTM"}
_REGISTRATION = re.compile(rb"_ZN6tflite(?:5micro)?(?:11tflm_signal)?\d+Register_([A-Z0-9_]+)Ev")


def ops_of(raw: RawModel) -> tuple[str, ...]:
    """The kinds of ops in a model, sorted.

    Raises:
        UnsupportedOpError: TFLM's interpreter is installed and has no such op.
        BadModelError: the model has none.
    """
    if not raw.ops:
        raise BadModelError("the model has no ops")
    known = registered_ops()
    for op in raw.ops:
        if known and registered_name(op.name) not in known:
            raise UnsupportedOpError("TensorFlow Lite Micro has no such op", where=op.describe())
    return tuple(sorted({op.name for op in raw.ops}))


@cache
def registered_ops() -> frozenset[str]:
    """The names under which the installed interpreter registers ops; empty if it is not installed.

    They are in its symbols, since its functions Register_NAME are exported.
    """
    package = find_spec("tflite_micro")
    places = [] if package is None else package.submodule_search_locations or []
    libraries = [library for place in places for library in Path(place).rglob("_runtime*.so")]
    return frozenset(name.decode() for library in libraries for name in _REGISTRATION.findall(library.read_bytes()))


def registered_name(op: str) -> str:
    """An op's name in TFLM's registrations, from its name in the file as `RawOp` has it."""
    kind, _, custom = op.partition(" ")
    if kind != "CUSTOM":
        return op
    return _CUSTOM.get(custom) or re.sub("(?<!^)(?=[A-Z])", "_", custom.removeprefix("Signal")).upper()


def method(op: str) -> str:
    """The method of MicroMutableOpResolver that adds an op: a rule of its header, which has few exceptions."""
    joined = "".join(map(str.title, registered_name(op).split("_")))
    for word, spelled in _SPELLED.items():
        joined = joined.replace(word, spelled)
    return f"Add{joined}"


def registration(op: str, *, int8: bool) -> str:
    """The call that adds an op to a resolver, with its `_INT8` registration if that is wanted and exists."""
    argument = f"tflite::Register_{op}_INT8()" if int8 and op in _INT8 else ""
    return f"{method(op)}({argument})"
