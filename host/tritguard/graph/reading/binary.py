"""Readers of functions of two elements whose shapes broadcast; either operand may be a constant."""

from __future__ import annotations

import numpy as np
import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Add, Binary, Op, Requant, Tensor
from tritguard.graph.reading.checks import NO_CLAMP, fused_clamp, options_of
from tritguard.graph.reading.operand import Operand, operand
from tritguard.graph.reading.reader import Reader
from tritguard.graph.reading.registry import reads

_MOST_AXES = 4  # axes that the kernel walks over
PAIRWISE = (
    "element by element, broadcasting over up to four axes; a table of 256 bytes if one operand is a single constant"
)
OPTIONS = {"ADD": tflite.AddOptions, "SUB": tflite.SubOptions, "MUL": tflite.MulOptions}


@reads(
    "SUB",
    "MUL",
    "PRELU",
    "MAXIMUM",
    "MINIMUM",
    "SQUARED_DIFFERENCE",
    device=PAIRWISE,
    limits="MAXIMUM and MINIMUM: one scale",
)
def binary(reader: Reader, raw: RawOp) -> Op:
    """ADD, SUB and SQUARED_DIFFERENCE over a common scale, MUL, PRELU, MAXIMUM, MINIMUM."""
    output = reader.output(raw)
    first, second = (operand(reader, raw, position) for position in range(2))
    if first.tensor is None and second.tensor is None:
        raise UnsupportedOpError("two constants", where=raw.describe())
    clamp = fused_clamp(raw, options_of(raw, OPTIONS[raw.name]), output) if raw.name in OPTIONS else NO_CLAMP
    rescalings, factor = _factors(raw, first, second, output)
    sizes, steps = walk(raw, (first.shape, second.shape), output)
    return Binary(
        index=raw.index,
        inputs=tuple(one.tensor for one in (first, second) if one.tensor is not None),
        output=output.index,
        operator=raw.name,
        constants=(first.constant, second.constant),
        sizes=sizes,
        steps=steps,
        zero_points=(first.zero_point, second.zero_point),
        operand_requants=rescalings,
        requant=fixed_point.requant(np.array([factor]), output.zero_point, clamp),
    )


def _factors(
    raw: RawOp, first: Operand, second: Operand, output: Tensor
) -> tuple[tuple[Requant, Requant] | None, float]:
    """The rescalings of the operands and of the result, multiplied in double as in TFLM's preparation."""
    if raw.name in ("MAXIMUM", "MINIMUM"):
        for one in (first, second):
            if (one.scale, one.zero_point) != (output.scale, output.zero_point):
                raise UnsupportedOpError("inputs and output differ in scale", where=raw.describe())
        return None, 1.0
    if raw.name == "MUL":
        return None, first.scale * second.scale / output.scale
    if raw.name == "PRELU":
        below = first.scale * second.scale / output.scale
        return (_scaling(first.scale / output.scale), _scaling(below)), 1.0
    if raw.name == "SQUARED_DIFFERENCE":
        operands, twice_max = to_one_scale((first.scale, second.scale))
        return operands, twice_max * twice_max / ((1 << 2 * Binary.square_shift) * output.scale)
    return sum_factors(raw, (first.scale, second.scale), output.scale, Add.left_shift)


def sum_factors(
    raw: RawOp, scales: tuple[float, float], out_scale: float, left_shift: int
) -> tuple[tuple[Requant, Requant], float]:
    """The rescalings of two operands to one scale, and the factor from their sum to the output.

    Args:
        raw: the op, for messages.
        scales: the scales of the operands.
        out_scale: the scale of the output.
        left_shift: the bits by which the kernel first shifts the operands.

    Raises:
        BadModelError: the sum would have to be scaled up.
    """
    operands, twice_max = to_one_scale(scales)
    factor = twice_max / ((1 << left_shift) * out_scale)
    if factor >= 1:
        raise BadModelError(f"output scale {out_scale:.3g} is too small for the inputs' scales", where=raw.describe())
    return operands, factor


def to_one_scale(scales: tuple[float, float]) -> tuple[tuple[Requant, Requant], float]:
    """The rescalings of two operands to one scale, before their shift, and that scale: twice the greater one."""
    twice_max = 2 * max(scales)
    return (_scaling(scales[0] / twice_max), _scaling(scales[1] / twice_max)), twice_max


def _scaling(real: float) -> Requant:
    return fixed_point.requant(np.array([real]), 0, NO_CLAMP)


def walk(
    raw: RawOp, shapes: tuple[tuple[int, ...], tuple[int, ...]], output: Tensor
) -> tuple[tuple[int, ...], tuple[tuple[int, ...], tuple[int, ...]]]:
    """The sizes of the output's axes and the operands' steps, in elements; axes that form one run in both are joined.

    Args:
        raw: the op, for messages.
        shapes: the shapes of the operands in the file.
        output: the output.

    Raises:
        BadModelError: the operands do not broadcast to the output's shape.
        UnsupportedOpError: too many axes remain.
    """
    shape = output.dims
    try:
        strides = [np.broadcast_to(np.empty(one, dtype=np.int8), shape).strides for one in shapes]
    except ValueError as error:
        what = f"shapes {list(shapes[0])} and {list(shapes[1])} into {list(shape)}"
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
