"""The types of ops that compute with 16-bit activations, which have zero point 0; weights are int8 ("16x8").

Ops that only move bytes have no type of their own: they are the ops of int8, applied to the bytes of int16.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.graph.model import Int8, Int64, Op, Requant, Window


@dataclass(frozen=True, eq=False, kw_only=True)
class WideOp(Op):
    """An op that computes with 16-bit activations.

    Attributes:
        operator: the schema's name for it.
    """

    operator: str

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.operator


@dataclass(frozen=True, eq=False, kw_only=True)
class WideWeighted(WideOp):
    """A layer with int8 weights: acc[c] = bias[c] + sum x * weights[c].

    Attributes:
        weights: int8[out, kernel_h, kernel_w, depth]; an output channel sees `depth` input channels.
        bias: int64[out].
        wraps: whether sums wrap at 32 bits and are rescaled as those of int8; otherwise they have 64 bits, and the
            multipliers 15.
        requant: one entry per channel.
        window: the sliding window; one pixel for a fully connected layer.
        in_shape: height, width and channels of the input.
        out_shape: height, width and channels of the output.
    """

    weights: Int8
    bias: Int64
    wraps: bool
    requant: Requant
    window: Window
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class WideConv(WideWeighted):
    """CONV_2D, DEPTHWISE_CONV_2D or FULLY_CONNECTED; `group` output channels at a time see the same input channels."""

    group: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those over padding included."""
        return self.weights.size * self.out_shape[0] * self.out_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class WideTransposeConv(WideWeighted):
    """TRANSPOSE_CONV; input pixel y reaches output rows y * stride - padding + [0, kernel_h)."""

    @property
    def macs(self) -> int:
        """Multiply-accumulates of each input element with each weight, those outside the output included."""
        return self.weights.size * self.in_shape[0] * self.in_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class WideQuantize(WideOp):
    """QUANTIZE between int16 and int16, int16 and int8 or int8 and int16."""

    input_zero_point: int
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class WideCast(WideOp):
    """CAST from int8 to int16, or from int16 to int8, which keeps the low byte; scales do not count."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WideBinary(WideOp):
    """ADD, SUB, MUL, SQUARED_DIFFERENCE, MAXIMUM or MINIMUM of two int16 tensors, whose shapes may broadcast.

    `inputs` are the operands that are activations; sizes and steps, in elements, are those of `Binary`.

    Attributes:
        constants: int16, the operands that are constants, None where an activation stands.
        sizes: the sizes of the output's axes, outermost first.
        steps: the steps of the two operands along these axes.
        operand_requants: for ADD and SUB, the rescalings of the operands to a common scale with 15 extra bits; for
            SQUARED_DIFFERENCE, the same without extra bits.
        requant: the rescaling of the sum or product.
    """

    constants: tuple[NDArray[np.int16] | None, NDArray[np.int16] | None]
    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], tuple[int, ...]]
    operand_requants: tuple[Requant, Requant] | None
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class WideSlopes(WideOp):
    """LEAKY_RELU, RELU, RELU6 or ABS: a rescaling from zero up and another below zero, with the clamp of the first."""

    above: Requant
    below: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class WideCurve(WideOp):
    """LOGISTIC or TANH, piecewise linear between 256 points, with outputs in steps of 2^-15.

    Attributes:
        multiplier, shift: x * multiplier / 2^shift, rounded, is the argument in units of 1 / (3 * 2^12).
    """

    multiplier: int
    shift: int


@dataclass(frozen=True, eq=False, kw_only=True)
class WidePool(WideOp):
    """AVERAGE_POOL_2D or MAX_POOL_2D."""

    window: Window
    out_shape: tuple[int, int, int]
    act_min: int
    act_max: int


@dataclass(frozen=True, eq=False, kw_only=True)
class WideReduce(WideOp):
    """SUM or MEAN over any axes; fields as in `Reduce`."""

    kept: tuple[tuple[int, int], ...]
    reduced: tuple[tuple[int, int], ...]
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class WideSoftmax(WideOp):
    """SOFTMAX over the last axis in steps of 2^-15; exponential and inverse are piecewise linear between 513 points.

    Attributes:
        rows: how many softmaxes.
        scale: the rescaling of differences of the input to steps of 10 / 65535.
    """

    rows: int
    scale: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class WideMatMul(WideOp):
    """BATCH_MATMUL of two activations; fields as in `BatchMatMul`."""

    batches: tuple[tuple[int, int], ...]
    rows: int
    depth: int
    columns: int
    steps: tuple[tuple[int, int], tuple[int, int]]
    requant: Requant

    @property
    def macs(self) -> int:
        """One multiply-accumulate for each term of each sum."""
        return len(self.batches) * self.rows * self.depth * self.columns
