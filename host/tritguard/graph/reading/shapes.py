"""Arithmetic on shapes, as converters write it: ops on constants that are no int8 activations, computed in NumPy.

A resize may take its size from the shape of another tensor, a few slices and a product. All of it is known before the
first inference, as shapes never change. TFLM lacks some of these ops, and a model can do without them once their
outputs are constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.flatbuffer import DTYPES, RawModel, RawOp, RawTensor
from tritguard.graph.reading.checks import axis_of, options_of
from tritguard.graph.reading.view import slice_keys, strided_keys

Values = NDArray[Any]
_MOST_VALUES = 1 << 22


def is_shape_arithmetic(op: RawOp) -> bool:
    """Whether this module computes ops of this name."""
    return op.name in _RULES


def shape_values(model: RawModel, op: RawOp, tensors: list[RawTensor]) -> Values:
    """The one output of an op on constants, in the type and shape that the file gives it.

    Args:
        model: the file, for the shapes of tensors that are no constants.
        op: the op; all its inputs but that of a SHAPE have data.
        tensors: the file's tensors, with the data known so far.

    Raises:
        BadModelError: the output is of another size than the file says, or of a type without values.
    """
    output = tensors[op.output(0)]
    if output.type not in DTYPES or len(op.outputs) != 1:
        raise BadModelError(f"{len(op.outputs)} outputs, of {output.type}", where=op.describe())
    size = math.prod(output.shape)
    if op.name == "SHAPE":
        values = np.array(model.tensors[op.input(0)].shape)
    else:
        positions = range(1 if op.name == "RESHAPE" else len(op.inputs))  # the only one that may lack an input
        inputs = [np.asarray(tensors[op.input(position)].data) for position in positions]
        if max(size, sum(x.size for x in inputs), _size(op, inputs)) > _MOST_VALUES:
            raise UnsupportedOpError(f"more than {_MOST_VALUES} constants to compute ahead", where=op.describe())
        values = np.asarray(_RULES[op.name](op, *inputs))
    if values.size != size:
        raise BadModelError(f"{list(values.shape)} into {list(output.shape)}", where=op.describe())
    return values.astype(DTYPES[output.type]).reshape(output.shape)


def _size(op: RawOp, inputs: list[Values]) -> int:
    """How many values an op gives, if it may give far more than it is given; 0 for other ops."""
    if op.name in _PAIRS:
        return math.prod(np.broadcast_shapes(*(x.shape for x in inputs)))
    if op.name == "TILE":
        return inputs[0].size * math.prod(int(times) for times in inputs[1].ravel())
    return inputs[0].size * inputs[1].size if op.name == "GATHER" else 0


def _axis(options: Any) -> Callable[[RawOp], int]:
    return lambda op: int(options_of(op, options).Axis())


def _sliced(op: RawOp, x: Values, begin: Values, size: Values) -> Values:
    return x[slice_keys(op, x.shape, _integers(begin), _integers(size))]


def _strided(op: RawOp, x: Values, *bounds: Values) -> Values:
    return x[tuple(strided_keys(op, *(_integers(bound) for bound in bounds)))]


def _integers(x: Values) -> list[int]:
    return [int(value) for value in x.ravel()]


def _gathered(op: RawOp, x: Values, places: Values) -> Values:
    axis = axis_of(op, _axis(tflite.GatherOptions)(op), x.ndim)
    if any(not 0 <= place < x.shape[axis] for place in _integers(places)):
        raise BadModelError(f"places {_integers(places)[:10]} of {x.shape[axis]}", where=op.describe())
    return np.take(x, places, axis=axis)


def _transposed(op: RawOp, x: Values, order: Values) -> Values:
    if sorted(_integers(order)) != list(range(x.ndim)):
        raise BadModelError(f"permutation {_integers(order)[:10]} of {x.ndim} axes", where=op.describe())
    return x.transpose(_integers(order))


def _reduced(function: Callable[..., Values]) -> Callable[[RawOp, Values, Values], Values]:
    return lambda _op, x, axes: function(x, axis=tuple(int(axis) for axis in axes.ravel()))


def _elementwise(function: Callable[..., Values]) -> Callable[..., Values]:
    return lambda _op, a, b: function(a, b)


_PAIRS: dict[str, Callable[..., Values]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "FLOOR_DIV": np.floor_divide,
    "MAXIMUM": np.maximum,
    "MINIMUM": np.minimum,
}
_RULES: dict[str, Callable[..., Values]] = {
    "SHAPE": lambda _op, x: x,
    "PACK": lambda op, *parts: np.stack(parts, axis=_axis(tflite.PackOptions)(op)),
    "CONCATENATION": lambda op, *parts: np.concatenate(parts, axis=_axis(tflite.ConcatenationOptions)(op)),
    "GATHER": _gathered,
    "STRIDED_SLICE": _strided,
    "SLICE": _sliced,
    "CAST": lambda _op, x: x,
    "RESHAPE": lambda _op, x: x,
    "EXPAND_DIMS": lambda _op, x, *_axis: x,
    "SQUEEZE": lambda _op, x: x,
    "TRANSPOSE": _transposed,
    "TILE": lambda _op, x, times: np.tile(x, times),
    "BROADCAST_TO": lambda _op, x, shape: np.broadcast_to(x, shape),
    "FILL": lambda _op, shape, value: np.broadcast_to(value, shape),
    **{name: _elementwise(function) for name, function in _PAIRS.items()},
    "REDUCE_PROD": _reduced(np.prod),
    "SUM": _reduced(np.sum),
}
