"""Functions of two elements whose shapes broadcast; either operand may be a constant."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Binary, Constant, Op, Requant, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, fused_clamp, options_of
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_MOST_AXES = 4  # of the kernel
_OPTIONS = {"ADD": tflite.AddOptions, "SUB": tflite.SubOptions, "MUL": tflite.MulOptions}


@dataclass(frozen=True)
class _Operand:
    shape: tuple[int, ...]  # batch included
    scale: float
    zero_point: int
    tensor: int | None
    constant: Constant | None


@reads("SUB", "MUL", "PRELU", "MAXIMUM", "MINIMUM")
def binary(reader: Reader, raw: RawOp) -> Op:
    """ADD and SUB over a common scale, MUL, PRELU, MAXIMUM, MINIMUM."""
    output = reader.output(raw)
    first, second = (_operand(reader, raw, position) for position in range(2))
    if first.tensor is None and second.tensor is None:
        raise UnsupportedOpError("two constants", where=raw.describe())
    clamp = fused_clamp(raw, options_of(raw, _OPTIONS[raw.name]), output) if raw.name in _OPTIONS else NO_CLAMP
    operands, factor = _factors(raw, first, second, output)
    sizes, steps = _walk(raw, first, second, output)
    return Binary(
        index=raw.index,
        inputs=tuple(operand.tensor for operand in (first, second) if operand.tensor is not None),
        output=output.index,
        operator=raw.name,
        constants=(first.constant, second.constant),
        sizes=sizes,
        steps=steps,
        zero_points=(first.zero_point, second.zero_point),
        operand_requants=operands,
        requant=fixed_point.requant(np.array([factor]), output.zero_point, clamp),
    )


def _operand(reader: Reader, raw: RawOp, position: int) -> _Operand:
    tensor = reader.tensor(raw, position)
    if tensor.data is None:
        known = reader.activation(tensor.index, raw.describe())
        return _Operand((1, *known.shape), known.scale, known.zero_point, known.index, None)
    if tensor.type != "INT8" or len(tensor.scales) != 1 or len(tensor.zero_points) != 1 or not tensor.scales[0]:
        raise UnsupportedOpError(f"constant {tensor.index} is no int8 tensor with one scale", where=raw.describe())
    values = np.asarray(tensor.data, dtype=np.int8)
    return _Operand(
        tensor.shape, tensor.scales[0], tensor.zero_points[0], None,
        Constant(values=values.ravel(), scale=tensor.scales[0]),
    )  # fmt: skip


def _factors(
    raw: RawOp, first: _Operand, second: _Operand, output: Tensor
) -> tuple[tuple[Requant, Requant] | None, float]:
    """Rescalings of the operands and of the result, in double as TFLM's preparations multiply them."""
    if raw.name in ("MAXIMUM", "MINIMUM"):
        for operand in (first, second):
            if (operand.scale, operand.zero_point) != (output.scale, output.zero_point):
                raise UnsupportedOpError("inputs and output differ in scale", where=raw.describe())
        return None, 1.0
    if raw.name == "MUL":
        return None, first.scale * second.scale / output.scale
    if raw.name == "PRELU":
        below = first.scale * second.scale / output.scale
        return (_scaling(first.scale / output.scale), _scaling(below)), 1.0
    return sum_factors(raw, (first.scale, second.scale), output.scale, Binary.left_shift)


def sum_factors(
    raw: RawOp, scales: tuple[float, float], out_scale: float, left_shift: int
) -> tuple[tuple[Requant, Requant], float]:
    """Rescalings of two operands to one scale, and of their sum to the output's.

    Args:
        raw: the op, for messages.
        scales: of the operands.
        out_scale: of the output.
        left_shift: by how many bits the kernel shifts the operands first.

    Raises:
        BadModelError: the sum would have to be scaled up.
    """
    twice_max = 2 * max(scales)
    factor = twice_max / ((1 << left_shift) * out_scale)
    if factor >= 1:
        raise BadModelError(f"output scale {out_scale:.3g} is too small for the inputs' scales", where=raw.describe())
    return (_scaling(scales[0] / twice_max), _scaling(scales[1] / twice_max)), factor


def _scaling(real: float) -> Requant:
    return fixed_point.requant(np.array([real]), 0, NO_CLAMP)


def _walk(
    raw: RawOp, first: _Operand, second: _Operand, output: Tensor
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]]:
    """Sizes of the output's axes and the operands' steps, with neighbours that are one run in both joined."""
    shape = (1, *output.shape)
    try:
        strides = [np.broadcast_to(np.empty(one.shape, dtype=np.int8), shape).strides for one in (first, second)]
    except ValueError as error:
        what = f"shapes {list(first.shape)} and {list(second.shape)} into {list(shape)}"
        raise BadModelError(what, where=raw.describe()) from error
    axes: list[tuple[int, int, int]] = []
    for size, a, b in zip(shape, *strides, strict=True):
        if size == 1:
            continue
        if axes and axes[-1][1:] == (size * a, size * b):
            axes[-1] = (axes[-1][0] * size, a, b)
        else:
            axes.append((size, a, b))
    if len(axes) > _MOST_AXES:
        raise UnsupportedOpError(f"broadcasting over {len(axes)} axes, at most {_MOST_AXES}", where=raw.describe())
    return tuple(axis[0] for axis in axes), (tuple(axis[1] for axis in axes), tuple(axis[2] for axis in axes))
