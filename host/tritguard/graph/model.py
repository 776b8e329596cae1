"""The typed graph: what a model computes, in the integers the device uses.

Every op carries its arithmetic ready for the kernels: weights, int32 biases, fixed-point multipliers in TFLM's
representation and zero points. Real-valued scales are kept with them for code that needs a float view. A leading axis
of size one, the batch, is left out of shapes; a tensor with a longer first axis, as inside some networks, keeps it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float64 = NDArray[np.float64]


@dataclass(frozen=True)
class Tensor:
    """An activation of int8, or of int16 with zero point 0: real value = scale * (q - zero_point)."""

    index: int
    name: str
    shape: tuple[int, ...]
    scale: float
    zero_point: int
    golden_type: str = "INT8"  # the type that the golden model has at an input or output, where the host converts
    batched: bool = True  # whether the file's shape has one more axis in front, of one element
    width: int = 1  # bytes of an element

    @property
    def dims(self) -> tuple[int, ...]:
        """The shape in the file, by which ops number their axes."""
        return (1, *self.shape) if self.batched else self.shape

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """The size in bytes."""
        return self.size * self.width


@dataclass(frozen=True, eq=False)
class Requant:
    """The rescaling of an int32 accumulator to int8, with TFLM's two roundings.

    q = clamp(multiply(acc, multiplier, shift) + zero_point, act_min, act_max), where multiply is gemmlowp's
    saturating rounding doubling high multiplication of acc * 2^max(shift, 0), then a rounding right shift by
    max(-shift, 0).

    Attributes:
        multiplier: int32[n], with n = 1 or the number of channels.
        shift: int32[n], in [-31, 30]; positive is to the left.
    """

    multiplier: Int32
    shift: Int32
    zero_point: int
    act_min: int
    act_max: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """One operation. `inputs` and `output` are tensor indices; constants are fields of the op."""

    kind: ClassVar[str]
    index: int  # position in the .tflite, as other viewers of such files count
    inputs: tuple[int, ...]
    output: int
    part: int = 0  # which of its outputs, where an op of the .tflite has several: each is an op of its own here

    @property
    def symbol(self) -> str:
        """The prefix of the op's C symbols."""
        return f"tg_l{self.index}p{self.part}" if self.part else f"tg_l{self.index}"

    @property
    def macs(self) -> int:
        """The multiply-accumulates of one inference."""
        return 0


@dataclass(frozen=True)
class Window:
    """A sliding window over height and width; padding is what lies above and left of the input."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    padding: tuple[int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted(Op):
    """An op with weights: acc[c] = bias[c] + sum (x - input_zero_point) * weights[c].

    Attributes:
        weights: int8; layout by op.
        weight_scale: float64[channels], real value of one weight step.
        bias: int32[channels].
        requant: one entry per channel.
    """

    channel_axis: ClassVar[int] = 0
    weights: Int8
    weight_scale: Float64
    bias: Int32
    input_zero_point: int
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class Conv2D(Weighted):
    """Convolution; weights int8[out, kernel_h, kernel_w, in]."""

    kind: ClassVar[str] = "CONV_2D"
    window: Window
    out_shape: tuple[int, int, int]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those over padding included, as MLPerf Tiny counts them."""
        return self.weights.size * self.out_shape[0] * self.out_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class DepthwiseConv2D(Weighted):
    """Depthwise convolution; weights int8[kernel_h, kernel_w, channels * depth_multiplier]."""

    kind: ClassVar[str] = "DEPTHWISE_CONV_2D"
    channel_axis: ClassVar[int] = 2
    window: Window
    depth_multiplier: int
    out_shape: tuple[int, int, int]

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those over padding included."""
        return self.weights.size * self.out_shape[0] * self.out_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class FullyConnected(Weighted):
    """Dense layer over `rows` vectors; weights int8[out, in]."""

    kind: ClassVar[str] = "FULLY_CONNECTED"
    rows: int

    @property
    def macs(self) -> int:
        """One multiply-accumulate for each weight and row."""
        return self.weights.size * self.rows


@dataclass(frozen=True, eq=False, kw_only=True)
class TransposeConv(Op):
    """Transposed convolution, weights int8[out, kernel_h, kernel_w, in] and never ternary.

    Input pixel y reaches output rows y * stride - padding + [0, kernel_h); fields as in `Weighted`.
    """

    kind: ClassVar[str] = "TRANSPOSE_CONV"
    weights: Int8
    weight_scale: Float64
    bias: Int32
    input_zero_point: int
    requant: Requant
    window: Window
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of each input element with each weight, those outside the output included."""
        return self.weights.size * self.in_shape[0] * self.in_shape[1]


@dataclass(frozen=True, eq=False, kw_only=True)
class Add(Op):
    """The sum of two tensors, element by element; both are first brought to a common scale with 20 extra bits."""

    kind: ClassVar[str] = "ADD"
    input_zero_points: tuple[int, int]
    input_requants: tuple[Requant, Requant]
    requant: Requant
    left_shift: ClassVar[int] = 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Pool2D(Op):
    """The average (halves rounded away from zero, padding not counted) or the maximum over a window."""

    mode: Literal["average", "max"]
    window: Window
    out_shape: tuple[int, int, int]
    act_min: int
    act_max: int

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return "AVERAGE_POOL_2D" if self.mode == "average" else "MAX_POOL_2D"


@dataclass(frozen=True, eq=False, kw_only=True)
class Mean(Op):
    """Mean over height and width; the division is folded into the multiplier, as TFLM does."""

    kind: ClassVar[str] = "MEAN"
    positions: int
    input_zero_point: int
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class Reduce(Op):
    """A sum, mean, maximum or minimum over any axes; the mean over height and width of an image is a `Mean` instead.

    Each output element walks over the part of the input that it reduces; neighbouring axes that form one run are
    joined.

    Attributes:
        function: SUM, MEAN, REDUCE_MAX or REDUCE_MIN.
        kept: the size and the step, in elements of the input, of each axis that stays, outermost first.
        reduced: the same for the axes that vanish.
        input_zero_point: the input's zero point.
        requant: the rescaling of the sum, in which a mean's division is folded as TFLM does; REDUCE_MAX and REDUCE_MIN
            do not rescale.
    """

    function: str
    kept: tuple[tuple[int, int], ...]
    reduced: tuple[tuple[int, int], ...]
    input_zero_point: int
    requant: Requant

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.function

    @property
    def places(self) -> Int64:
        """int64[outputs, positions]: where in the input the elements of each output lie."""
        kept, reduced = (strided_places(axes) for axes in (self.kept, self.reduced))
        return np.add.outer(kept.ravel(), reduced.ravel())


def strided_places(axes: tuple[tuple[int, int], ...], offset: int = 0) -> Int64:
    """int64[sizes]: the places of elements along axes of given sizes and steps."""
    places = np.array(offset, dtype=np.int64)
    for size, step in axes:
        places = np.add.outer(places, np.arange(size) * step)
    return places


@dataclass(frozen=True, eq=False, kw_only=True)
class Reshape(Op):
    """The same bytes under another shape."""

    kind: ClassVar[str] = "RESHAPE"


@dataclass(frozen=True, eq=False, kw_only=True)
class Softmax(Op):
    """Softmax over the last axis in gemmlowp's fixed point; output scale 1/256, zero point -128."""

    kind: ClassVar[str] = "SOFTMAX"
    rows: int
    beta: float
    multiplier: int
    left_shift: int
    diff_min: int


@dataclass(frozen=True, eq=False, kw_only=True)
class LogSoftmax(Op):
    """The logarithm of a softmax over the last axis in gemmlowp's fixed point; output scale 1/16, zero point 127.

    Attributes:
        rows: how many softmaxes.
        multiplier, left_shift: from the input's steps to Q5.26.
        back_multiplier, back_shift: from Q5.26 to the input's steps.
        diff_min: the difference from a row's maximum below which an exponential counts as 0.
    """

    kind: ClassVar[str] = "LOG_SOFTMAX"
    rows: int
    multiplier: int
    left_shift: int
    back_multiplier: int
    back_shift: int
    diff_min: int


@dataclass(frozen=True, eq=False, kw_only=True)
class L2Normalization(Op):
    """Each element's distance from the zero point over the root of the sum of their squares along the last axis.

    In gemmlowp's fixed point; output scale 1/128, zero point 0.
    """

    kind: ClassVar[str] = "L2_NORMALIZATION"
    rows: int
    input_zero_point: int


def as_image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width and channels: the last two axes, and all before them as one; missing ones have one element."""
    *outer, width, channels = (1, 1, *shape)
    return math.prod(outer), width, channels


@dataclass(frozen=True, eq=False, kw_only=True)
class Pad(Op):
    """Constant padding of a tensor seen `as_image`, in elements before and after height, width and channels."""

    kind: ClassVar[str] = "PAD"
    before: tuple[int, int, int]
    after: tuple[int, int, int]
    value: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Quantize(Op):
    """A rescaling from one int8 scale to another."""

    kind: ClassVar[str] = "QUANTIZE"
    input_zero_point: int
    requant: Requant


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Op):
    """A function of one element, as a table of all its 256 values.

    Attributes:
        function: the schema's name for it.
        table: int8[256]; entry i is the output for the input i - 128.
        alpha: LEAKY_RELU's slope below zero.
    """

    function: str
    table: Int8
    alpha: float = 0.0

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.function


@dataclass(frozen=True, eq=False, kw_only=True)
class Constant:
    """An int8 operand that the model holds, flat, not broadcast."""

    values: Int8
    scale: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Binary(Op):
    """A function of two elements, whose shapes may broadcast.

    `inputs` are the operands that are activations, in order. The walk over the output has at most four axes, joined
    from the tensors' own; a step of 0 repeats an operand.

    Attributes:
        operator: ADD, SUB, MUL, PRELU, MAXIMUM, MINIMUM or SQUARED_DIFFERENCE.
        constants: the operands that are constants, None where an activation stands.
        sizes: the sizes of the output's axes, outermost first.
        steps: the steps of the two operands along these axes.
        zero_points: the zero points of the two operands.
        operand_requants: for ADD, SUB and SQUARED_DIFFERENCE, the rescalings of the operands to a common scale with
            `left_shift` extra bits; for PRELU, those of the input and of its product with the slope below zero;
            otherwise None.
        requant: the rescaling of the sum or product; PRELU, MAXIMUM and MINIMUM use its zero point and clamp alone.
    """

    operator: str
    constants: tuple[Constant | None, Constant | None]
    sizes: tuple[int, ...]
    steps: tuple[tuple[int, ...], tuple[int, ...]]
    zero_points: tuple[int, int]
    operand_requants: tuple[Requant, Requant] | None
    requant: Requant
    square_shift: ClassVar[int] = 7  # so that a square fits 32 bits

    @property
    def left_shift(self) -> int:
        """The extra bits of the operands' common scale."""
        return self.square_shift if self.operator == "SQUARED_DIFFERENCE" else Add.left_shift

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.operator


@dataclass(frozen=True, eq=False, kw_only=True)
class View(Op):
    """Bytes in another order: out[i, j, ...] = in[offset + i * steps[0] + j * steps[1] + ...].

    Slices, transpositions, parts of a split and repetitions are all of this form; no axis has one element only.

    Attributes:
        operator: the schema's name for it.
        sizes: the sizes of the output's axes, outermost first.
        steps: the steps along these axes in elements of the input; may be negative, or 0 where an axis repeats.
    """

    operator: str
    offset: int
    sizes: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def places(self) -> Int64:
        """int64[sizes]: where in the input each element of the output lies."""
        return strided_places(tuple(zip(self.sizes, self.steps, strict=True)), self.offset)

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.operator


@dataclass(frozen=True, eq=False, kw_only=True)
class Concatenation(Op):
    """Each output row holds one row of every input, one after the other; CONCATENATION and PACK.

    Attributes:
        operator: the schema's name for it.
        rows: the number of rows in each input.
        widths: the elements in a row of each input.
    """

    operator: str
    rows: int
    widths: tuple[int, ...]

    @property
    def kind(self) -> str:  # type: ignore[override]
        """The schema's name."""
        return self.operator


@dataclass(frozen=True, eq=False, kw_only=True)
class MirrorPad(Op):
    """Each output element is the input element at (rows[y], columns[x], depths[c])."""

    kind: ClassVar[str] = "MIRROR_PAD"
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    depths: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class ResizeNearest(Op):
    """Each output pixel is the input pixel at (rows[y], columns[x])."""

    kind: ClassVar[str] = "RESIZE_NEAREST_NEIGHBOR"
    rows: tuple[int, ...]
    columns: tuple[int, ...]


RESIZE_ONE = 1 << 10  # the weight of one in `ResizeBilinear`


@dataclass(frozen=True, eq=False, kw_only=True)
class ResizeBilinear(Op):
    """Each output pixel is a weighted sum of up to four input pixels, in TFLM's fixed point with ten fraction bits.

    Attributes:
        rows: for each output row the two input rows (low, high), and the weight of the second in 1024ths. Where the row
            lies above the image, the weight is negative and both are the same row.
        columns: the same for the columns.
    """

    kind: ClassVar[str] = "RESIZE_BILINEAR"
    rows: tuple[tuple[int, int, int], ...]
    columns: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Gather(Op):
    """Chosen slices along one axis: out[o, i, :] = in[o, indices[i], :].

    Attributes:
        rows: the number of slices `o` before the axis.
        side: the size of the axis in the input.
        width: the elements of a slice after the axis.
        indices: which slices, each in [0, side).
    """

    kind: ClassVar[str] = "GATHER"
    rows: int
    side: int
    width: int
    indices: tuple[int, ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchMatMul(Op):
    """Products of matrices: out[b, i, j] = sum_k (a[...] - zero) * (b[...] - zero), requantised.

    `inputs` are the operands that are activations, in order.

    Attributes:
        constants: the operands that are constants, None where an activation stands.
        batches: where the two matrices of each product start, in elements of the operands.
        rows, depth, columns: the sizes i, k and j.
        steps: for each operand the steps along its rows or columns of the output, and along the depth.
        zero_points: the zero points of the two operands.
        requant: one entry.
    """

    kind: ClassVar[str] = "BATCH_MATMUL"
    constants: tuple[Constant | None, Constant | None]
    batches: tuple[tuple[int, int], ...]
    rows: int
    depth: int
    columns: int
    steps: tuple[tuple[int, int], tuple[int, int]]
    zero_points: tuple[int, int]
    requant: Requant

    @property
    def macs(self) -> int:
        """One multiply-accumulate for each term of each sum."""
        return len(self.batches) * self.rows * self.depth * self.columns

    def places(self, operand: int) -> Int64:
        """int64[batches, rows or columns, depth]: where an operand's elements lie in the order of the products."""
        side, (step, along) = (self.rows, self.columns)[operand], self.steps[operand]
        starts = np.array([pair[operand] for pair in self.batches], dtype=np.int64)
        return np.add.outer(starts, strided_places(((side, step), (self.depth, along))))


@dataclass(frozen=True, eq=False, kw_only=True)
class State:
    """Bytes that a model keeps from one inference to the next.

    Attributes:
        name: the file's name for it.
        before: the tensor with the value that the last inference left, or the initial one.
        after: the tensor with the value for the next inference, which an `Assign` gives; `before` if none does, or if
            the op that reads it changes it in place.
        initial: int8[size], the bytes at the beginning of a stream.
    """

    name: str
    before: int
    after: int
    initial: Int8


@dataclass(frozen=True, eq=False)
class Graph:
    """A model: its activations, its ops in an order of execution, its inputs and outputs; most have one of each.

    A model with `states` computes its output from the input and from what earlier inferences left. Like an input, the
    value that a state begins with is computed by no op.
    """

    tensors: dict[int, Tensor]
    ops: tuple[Op, ...]
    input: int
    output: int
    further_inputs: tuple[int, ...] = ()
    further_outputs: tuple[int, ...] = ()
    states: tuple[State, ...] = ()
    producers: dict[int, int] = field(init=False)  # tensor -> position in ops

    def __post_init__(self) -> None:
        object.__setattr__(self, "producers", {op.output: position for position, op in enumerate(self.ops)})

    @property
    def inputs(self) -> tuple[int, ...]:
        """All inputs, in the order of the file."""
        return (self.input, *self.further_inputs)

    @property
    def outputs(self) -> tuple[int, ...]:
        """All outputs, in the order of the file."""
        return (self.output, *self.further_outputs)

    @property
    def given(self) -> tuple[int, ...]:
        """The tensors that are there before the first op runs: inputs, and states as they were left."""
        return (*self.inputs, *(state.before for state in self.states))

    @property
    def left(self) -> tuple[int, ...]:
        """The tensors that are read after the last op: outputs, and the states that the next inference begins with."""
        return (*self.outputs, *(state.after for state in self.states))

    @property
    def macs(self) -> int:
        """The multiply-accumulates of one inference."""
        return sum(op.macs for op in self.ops)

    @property
    def is_wide(self) -> bool:
        """Whether an activation has 16 bits."""
        return any(tensor.width > 1 for tensor in self.tensors.values())

    def logits_position(self) -> int | None:
        """The position of the layer whose accumulators are the logits, or None.

        It is the last layer with weights, provided that only softmax, its logarithm, reshapes and requantisation follow
        it and that it has one accumulator for each output. A model with several outputs has no logits.
        """
        if self.further_outputs:
            return None
        tensor = self.output
        while tensor in self.producers:
            op = self.ops[self.producers[tensor]]
            if isinstance(op, Weighted):
                same = self.tensors[op.output].size == op.bias.size == self.tensors[self.output].size
                return self.producers[tensor] if same else None
            if not isinstance(op, Softmax | LogSoftmax | Reshape | Quantize):
                return None
            tensor = op.inputs[0]
        return None
