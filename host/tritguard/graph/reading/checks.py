"""Checks of options and shapes that several families of ops share."""

from __future__ import annotations

from typing import Any

import tflite

from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph.arithmetic import fixed_point
from tritguard.graph.flatbuffer import RawOp
from tritguard.graph.model import Tensor, Window

NO_CLAMP = (fixed_point.INT8_MIN, fixed_point.INT8_MAX)
NO_WIDE_CLAMP = (fixed_point.INT16_MIN, fixed_point.INT16_MAX)
FUSED_ACTIVATIONS = {0: "NONE", 1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}
_SHORTEST_SIDE, _LONGEST_SIDE = 1, 32767


def image(tensor: Tensor, raw: RawOp) -> tuple[int, int, int]:
    """Height, width and channels of an activation."""
    sides = tensor.shape if tensor.batched else ()
    if len(sides) != 3 or not all(_SHORTEST_SIDE <= side <= _LONGEST_SIDE for side in sides):
        what = f"tensor {tensor.index} has shape {list(tensor.dims)}"
        raise UnsupportedOpError(f"{what}, 1 x height x width x channels is supported", where=raw.describe())
    height, width, channels = tensor.shape
    return height, width, channels


def options_of(raw: RawOp, kind: Any) -> Any:
    """The op's options as a table of `kind`, a class of the schema."""
    if raw.options is None or raw.options_type != getattr(tflite.BuiltinOptions, kind.__name__):
        raise BadModelError("options are missing or of another op", where=raw.describe())
    options = kind()
    options.Init(raw.options.Bytes, raw.options.Pos)
    return options


def fused_clamp(raw: RawOp, options: Any, output: Tensor) -> tuple[int, int]:
    """The range of the output's type that remains after the op's fused activation."""
    number = options.FusedActivationFunction()
    if number not in FUSED_ACTIVATIONS:
        raise UnsupportedOpError(
            f"fused activation {number}, supported are {', '.join(FUSED_ACTIVATIONS.values())}", where=raw.describe()
        )
    limits = NO_CLAMP if output.width == 1 else NO_WIDE_CLAMP
    return fixed_point.activation_range(FUSED_ACTIVATIONS[number], output.scale, output.zero_point, limits)


def window(
    raw: RawOp,
    options: Any,
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    size: tuple[int, int],
    out: tuple[int, int],
) -> Window:
    """Check the output's height and width against the window and compute the padding (TFLite's SAME rule)."""
    stride = (options.StrideH(), options.StrideW())
    if min(*stride, *dilation, *kernel) < 1 or max(*stride, *dilation, *kernel) > _LONGEST_SIDE:
        raise BadModelError(f"stride {stride}, dilation {dilation}, kernel {kernel}", where=raw.describe())
    same = options.Padding() == tflite.Padding.SAME
    padding = []
    for axis in range(2):
        reach = (kernel[axis] - 1) * dilation[axis] + 1
        expected = -(-size[axis] // stride[axis]) if same else -(-(size[axis] - reach + 1) // stride[axis])
        if out[axis] != expected:
            raise BadModelError(
                f"output side {out[axis]} where {expected} follows from the input", where=raw.describe()
            )
        padding.append(max(0, ((expected - 1) * stride[axis] + reach - size[axis])) // 2 if same else 0)
    return Window(kernel, stride, dilation, (padding[0], padding[1]))


def same_scale(source: Tensor, output: Tensor, raw: RawOp) -> None:
    """Raise unless both tensors have one type (BadModelError) and one scale (UnsupportedOpError), as copies need."""
    same_width(source, output, raw)
    if (source.scale, source.zero_point) != (output.scale, output.zero_point):
        raise UnsupportedOpError("input and output differ in scale", where=raw.describe())


def same_width(source: Tensor, output: Tensor, raw: RawOp) -> None:
    """Raise BadModelError unless both tensors have one type, as all ops need but QUANTIZE."""
    if source.width != output.width:
        raise BadModelError("input and output differ in type", where=raw.describe())


def axis_of(raw: RawOp, axis: int, axes: int) -> int:
    """The axis, in [0, axes), that the file numbers `axis`, which may be negative; the batch counts as an axis."""
    if not -axes <= axis < axes:
        raise BadModelError(f"axis {axis} of {axes}", where=raw.describe())
    return axis % axes
