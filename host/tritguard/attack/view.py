"""A differentiable view of the deployed network, rebuilt from its graph alone.

In the forward pass every int8 activation and every logit is exactly what the device computes (`integer_ops`), except
for a softmax that is not the head, its logarithm and an L2 normalization, which are rounded from float32. The backward
pass differentiates the same layers in real numbers: rounding passes gradients straight through and clamping stops them
(the straight-through estimator, Bengio et al. 2013, 1308.3432). Both passes share one convolution per layer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack import integer_ops, recurrent
from tritguard.attack.linear import common_factor, largest_sum, summing_dtype, weighted_sums
from tritguard.errors import BadInputError, UnsupportedOpError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.graph.model import (
    Add,
    BatchMatMul,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    Float64,
    FullyConnected,
    Gather,
    Graph,
    L2Normalization,
    LogSoftmax,
    Lookup,
    Mean,
    MirrorPad,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reduce,
    Reshape,
    ResizeBilinear,
    ResizeNearest,
    Softmax,
    Tensor,
    TransposeConv,
    View,
    Weighted,
    as_image,
)
from tritguard.graph.stateful import Recurrent


class DifferentiableView(ABC):
    """The logits of inputs in int8 steps, computed in TensorFlow with gradients: what white-box attacks need.

    TensorFlow is imported, and the forward pass compiled, when the first logits or gradients are asked for: black-box
    attacks do without both.

    Attributes:
        input_shape: the shape of one input.
        classes: the number of logits.
        temperature: logits are divided by it, which keeps a cross-entropy loss from saturating.
    """

    input_shape: tuple[int, ...]
    classes: int
    temperature: float

    @cached_property
    def _tf(self) -> Any:
        from tritguard.train.backend import tf  # noqa: PLC0415

        return tf

    @cached_property
    def _call(self) -> Callable[[Any], Any]:
        """`_forward`, compiled once for batches of any size."""
        from tritguard.train.backend import compiled  # noqa: PLC0415

        return compiled(self._forward, [self._tf.TensorSpec((None, *self.input_shape), self._tf.float32)])

    @abstractmethod
    def _forward(self, x: Any) -> Any:
        """Logits, a TensorFlow tensor [n, classes], of inputs in int8 steps, a tensor float32[n, *input_shape]."""

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Logits of x as a TensorFlow tensor. Attack libraries pass `training`, which has no effect here."""
        return self._call(x)

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits, float32[n, classes], of x, float32[n, *input_shape] in int8 steps."""
        return np.asarray(self(x), dtype=np.float32)

    def zero_gradient_share(self, x: NDArray[np.float32], y: NDArray[np.int64], temperature: float = 1.0) -> float:
        """The share of samples whose cross-entropy has a gradient of zero, which no attack can follow.

        Args:
            x: float32[n, *input_shape], in int8 steps.
            y: int64[n], true labels.
            temperature: logits are divided by it in addition to the view's own temperature.
        """
        tf = self._tf
        blocked = 0
        for start in range(0, len(x), 64):
            batch = tf.constant(x[start : start + 64])
            with tf.GradientTape() as tape:
                tape.watch(batch)
                logits = self(batch) / temperature
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y[start : start + 64], logits)
            gradient = tape.gradient(losses, batch).numpy()
            blocked += int((np.abs(gradient).reshape(len(batch), -1).max(axis=1) == 0).sum())
        return blocked / len(x)


class GradientView(DifferentiableView):
    """Maps inputs in int8 steps, float32[n, *input_shape], to real-valued logits, float32[n, classes].

    The logits are the accumulators of the last layer with weights, as the twin and the device report them, or the
    dequantized outputs of a model that has no such accumulators.

    Args:
        graph: the deployed model.
        temperature: logits are divided by it, which keeps a cross-entropy loss from saturating.

    Raises:
        BadInputError: the model has several inputs or outputs, or keeps state; the graph of a whole stream keeps none
            (`graph/passes/unrolled.py`).
        UnsupportedOpError: the model has an op without a gradient here.
    """

    def __init__(self, graph: Graph, temperature: float = 1.0) -> None:
        if graph.further_inputs or graph.further_outputs:
            raise BadInputError(
                f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; gradients need one of each"
            )
        if graph.states:
            raise BadInputError("the model keeps state between inferences; gradients need one without")
        for op in graph.ops:
            if type(op) not in WITH_GRADIENTS:
                where = f"op {op.index} ({op.kind})"
                raise UnsupportedOpError("has no gradient, which white-box attacks need", where=where)
        self.graph = graph
        self.temperature = temperature
        source = graph.tensors[graph.input]
        self.input_shape = source.shape
        self.classes = graph.tensors[graph.output].size

    @override
    def _forward(self, x: Any) -> Any:
        tf, graph = self._tf, self.graph
        steps = {graph.input: integer_ops.straight_through(tf, tf.clip_by_value(tf.round(x), INT8_MIN, INT8_MAX), x)}
        for position, op in enumerate(graph.ops):
            inputs = [steps[tensor] for tensor in op.inputs]
            if position == graph.logits_position():
                return self._logits(position, inputs[0])
            steps[op.output] = self._on_grid(*self._computed(position, inputs), op)
        logits = _real(graph.tensors[graph.output], steps[graph.output])
        return tf.reshape(logits, (-1, self.classes)) / self.temperature

    def _computed(self, position: int, inputs: list[Any]) -> tuple[Any, Callable[[], Any] | None]:
        """The op's output in steps: in real numbers, with a gradient, and a function that gives the exact values."""
        tf, graph, op = self._tf, self.graph, self.graph.ops[position]
        if isinstance(op, Weighted | TransposeConv):
            return self._weighted(position, inputs[0])
        if type(op) in _MOVES:
            return _MOVES[type(op)](tf, graph, op, inputs), None
        if isinstance(op, Recurrent):
            return recurrent.recurred(tf, op, inputs), None
        if isinstance(op, Pool2D):
            smooth = pooled(op, tf.nn.avg_pool2d if op.mode == "average" else tf.nn.max_pool2d, inputs[0])
        else:
            sink = graph.tensors[op.output]
            reals = [_real(graph.tensors[tensor], x) for tensor, x in zip(op.inputs, inputs, strict=True)]
            smooth = _REAL[type(op)](tf, graph, op, reals) / sink.scale + sink.zero_point
        exact = integer_ops.EXACT.get(type(op))
        return smooth, None if exact is None else partial(exact, tf, op, inputs, smooth)

    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        """The exact steps, or the nearest ones if there are none, with the gradient of the clamped real numbers."""
        if self.moves(op):
            return smooth
        tf = self._tf
        low, high = range_of(op)
        clamped = tf.clip_by_value(smooth, float(low), float(high))
        return integer_ops.straight_through(tf, tf.round(clamped) if exact is None else exact(), clamped)

    @staticmethod
    def moves(op: Op) -> bool:
        """Whether an op's output is on its grid already: it only moves int8 steps, or rounds to the grid itself."""
        return type(op) in _MOVES or isinstance(op, Recurrent)

    def _unit(self, op: Weighted | TransposeConv) -> int:
        """The unit, in weight steps, in which the sums of a layer are counted."""
        return common_factor(op)

    def _sums(self, position: int, x: Any) -> Any:
        """The sums of a layer with weights before its bias, in whole units, float32 or float64, from int8 steps x."""
        op = self.graph.ops[position]
        assert isinstance(op, Weighted | TransposeConv)
        unit = self._unit(op)
        dtype = summing_dtype(largest_sum(op) // unit)
        centred = self._tf.cast(x - op.input_zero_point, dtype)
        return weighted_sums(self._tf, op, centred, (op.weights // unit).astype(dtype))

    def _weighted(self, position: int, x: Any) -> tuple[Any, Callable[[], Any]]:
        tf, op = self._tf, self.graph.ops[position]
        assert isinstance(op, Weighted | TransposeConv)
        sink, unit, sums = self.graph.tensors[op.output], self._unit(op), self._sums(position, x)
        step = _sum_scale(self.graph, op) / sink.scale
        offset = (op.bias * step + sink.zero_point).astype(np.float32)
        shape = (-1, *sink.shape)
        smooth = tf.reshape(tf.cast(sums, tf.float32) * (unit * step).astype(np.float32) + offset, shape)
        largest, bias = largest_sum(op), op.bias.astype(np.int64)
        return smooth, lambda: tf.reshape(integer_ops.requantised(tf, sums, op.requant, largest, bias, unit), shape)

    def _logits(self, position: int, x: Any) -> Any:
        tf, op = self._tf, self.graph.ops[position]
        assert isinstance(op, Weighted)
        accumulators = tf.cast(self._sums(position, x), tf.float64) * self._unit(op) + op.bias.astype(np.float64)
        whole = integer_ops.straight_through(tf, tf.round(accumulators), accumulators)
        logits = tf.cast(whole * _sum_scale(self.graph, op), tf.float32)
        return tf.reshape(logits, (-1, self.classes)) / self.temperature


def _real(tensor: Tensor, steps: Any) -> Any:
    return (steps - tensor.zero_point) * np.float32(tensor.scale)


def range_of(op: Op) -> tuple[int, int]:
    """The lowest and the highest step that an op's output can have."""
    if isinstance(op, Weighted | TransposeConv | Add | Binary):
        return op.requant.act_min, op.requant.act_max
    if isinstance(op, Pool2D):
        return op.act_min, op.act_max
    return -128, 127


def _sum_scale(graph: Graph, op: Weighted | TransposeConv) -> Float64:
    """float64[channels]: the real value of one step of an accumulator."""
    return graph.tensors[op.inputs[0]].scale * op.weight_scale


def pooled(op: Pool2D, function: Callable[..., Any], x: Any) -> Any:
    """Pool an image, [n, height, width, channels], with a function such as `tf.nn.max_pool2d`."""
    sides = x.shape[1:3]
    same = all(-(-sides[axis] // op.window.stride[axis]) == op.out_shape[axis] for axis in range(2))
    return function(x, op.window.kernel, op.window.stride, "SAME" if same else "VALID")


def _pad(tf: Any, graph: Graph, op: Pad, inputs: list[Any]) -> Any:
    around = [(0, 0), *zip(op.before, op.after, strict=True)]
    image = tf.reshape(inputs[0], (-1, *as_image(graph.tensors[op.inputs[0]].shape)))
    return tf.reshape(tf.pad(image, around, constant_values=op.value), (-1, *graph.tensors[op.output].shape))


def _reshape(tf: Any, graph: Graph, op: Op, inputs: list[Any]) -> Any:
    return tf.reshape(inputs[0], (-1, *graph.tensors[op.output].shape))


def _binary(tf: Any, graph: Graph, op: Binary, inputs: list[Any]) -> Any:
    constants = [
        None if each is None else (each.values.astype(np.float32) - zero_point) * np.float32(each.scale)
        for each, zero_point in zip(op.constants, op.zero_points, strict=True)
    ]
    operands = integer_ops.laid(tf, op, inputs, constants)
    return tf.reshape(_PAIRS[op.operator](tf, *operands), (-1, *graph.tensors[op.output].shape))


_PAIRS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "ADD": lambda _tf, a, b: a + b,
    "SUB": lambda _tf, a, b: a - b,
    "MUL": lambda _tf, a, b: a * b,
    "PRELU": lambda tf, a, b: tf.where(a < 0, a * b, a),
    "MAXIMUM": lambda tf, a, b: tf.maximum(a, b),
    "MINIMUM": lambda tf, a, b: tf.minimum(a, b),
    "SQUARED_DIFFERENCE": lambda _tf, a, b: (a - b) * (a - b),
}


def _view(tf: Any, graph: Graph, op: View, inputs: list[Any]) -> Any:
    source, sink = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    flat = tf.gather(tf.reshape(inputs[0], (-1, source.size)), op.places.ravel(), axis=1)
    return tf.reshape(flat, (-1, *sink.shape))


def _concatenation(tf: Any, graph: Graph, op: Concatenation, inputs: list[Any]) -> Any:
    rows = [tf.reshape(x, (-1, op.rows, width)) for x, width in zip(inputs, op.widths, strict=True)]
    return tf.reshape(tf.concat(rows, axis=2), (-1, *graph.tensors[op.output].shape))


def _resize_nearest(tf: Any, _graph: Graph, op: ResizeNearest, inputs: list[Any]) -> Any:
    return tf.gather(tf.gather(inputs[0], op.rows, axis=1), op.columns, axis=2)


def _mirror_pad(tf: Any, _graph: Graph, op: MirrorPad, inputs: list[Any]) -> Any:
    rows = tf.gather(inputs[0], op.rows, axis=1)
    return tf.gather(tf.gather(rows, op.columns, axis=2), op.depths, axis=3)


def _gather(tf: Any, graph: Graph, op: Gather, inputs: list[Any]) -> Any:
    slices = tf.gather(tf.reshape(inputs[0], (-1, op.rows, op.side, op.width)), op.indices, axis=2)
    return tf.reshape(slices, (-1, *graph.tensors[op.output].shape))


def _resize_bilinear(tf: Any, _graph: Graph, op: ResizeBilinear, inputs: list[Any]) -> Any:
    return tf.cast(integer_ops.interpolated(tf, op, inputs[0]), tf.float32)


def _reduce(tf: Any, graph: Graph, op: Reduce, inputs: list[Any]) -> Any:
    reduce = {"SUM": tf.reduce_sum, "MEAN": tf.reduce_mean, "REDUCE_MAX": tf.reduce_max, "REDUCE_MIN": tf.reduce_min}
    values = reduce[op.function](integer_ops.reduced(tf, op, inputs[0]), axis=2)
    return _reshape(tf, graph, op, [values])


def _batch_matmul(tf: Any, graph: Graph, op: BatchMatMul, inputs: list[Any]) -> Any:
    constants = [
        None if each is None else (each.values.astype(np.float32) - zero_point) * np.float32(each.scale)
        for each, zero_point in zip(op.constants, op.zero_points, strict=True)
    ]
    rows, columns = integer_ops.matrices(tf, op, inputs, constants)
    return _reshape(tf, graph, op, [tf.matmul(rows, columns, transpose_b=True)])


def _mean(tf: Any, graph: Graph, op: Mean, inputs: list[Any]) -> Any:
    return _reshape(tf, graph, op, [tf.reduce_mean(inputs[0], axis=(1, 2))])


_LEAST_ROOT = 1e-6  # below it the gradient of 1 / sqrt(x) is no guide
_FUNCTIONS: dict[str, Callable[[Any, Lookup, Any], Any]] = {
    "ABS": lambda tf, _op, x: tf.abs(x),
    "ELU": lambda tf, _op, x: tf.nn.elu(x),
    "HARD_SWISH": lambda tf, _op, x: x * tf.nn.relu6(x + 3) / 6,
    "LEAKY_RELU": lambda tf, op, x: tf.where(x < 0, op.alpha * x, x),
    "LOGISTIC": lambda tf, _op, x: tf.sigmoid(x),
    "RELU": lambda tf, _op, x: tf.nn.relu(x),
    "RELU6": lambda tf, _op, x: tf.nn.relu6(x),
    "RSQRT": lambda tf, _op, x: tf.math.rsqrt(tf.maximum(x, _LEAST_ROOT)),
    "TANH": lambda tf, _op, x: tf.tanh(x),
}

# `_MOVES` takes int8 steps and gives the same steps in other places; `_REAL` maps real numbers to real numbers.
_MOVES: dict[type[Op], Callable[[Any, Graph, Any, list[Any]], Any]] = {
    Reshape: _reshape,
    Pad: _pad,
    View: _view,
    Concatenation: _concatenation,
    ResizeNearest: _resize_nearest,
    Gather: _gather,
    MirrorPad: _mirror_pad,
}
_REAL: dict[type[Op], Callable[[Any, Graph, Any, list[Any]], Any]] = {
    Add: lambda _tf, _graph, _op, inputs: inputs[0] + inputs[1],
    Mean: _mean,
    Reduce: _reduce,
    BatchMatMul: _batch_matmul,
    ResizeBilinear: _resize_bilinear,
    Binary: _binary,
    L2Normalization: lambda tf, _graph, _op, inputs: tf.math.l2_normalize(inputs[0], axis=-1),
    LogSoftmax: lambda tf, _graph, _op, inputs: tf.nn.log_softmax(inputs[0]),
    Softmax: lambda tf, _graph, op, inputs: tf.nn.softmax(op.beta * inputs[0]),
    Lookup: lambda tf, _graph, op, inputs: _FUNCTIONS[op.function](tf, op, inputs[0]),
    Quantize: lambda _tf, _graph, _op, inputs: inputs[0],
}
WITH_GRADIENTS = frozenset((*_MOVES, *_REAL, Pool2D, Conv2D, DepthwiseConv2D, FullyConnected, TransposeConv, Recurrent))
