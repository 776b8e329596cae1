"""A differentiable float view of the deployed network, rebuilt from its graph alone.

Forward, it computes in float32 what the device computes in integers: every activation is rounded to its int8 grid
and clamped. Backward, rounding passes gradients straight through and clamping stops them (the straight-through
estimator, Bengio et al. 2013, 1308.3432). Sums are not rounded twice as TFLM does, so an activation may be off by
one step; whether an input fools the deployed model is always asked of the deployed model.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError, UnsupportedOpError
from tritguard.graph.model import (
    Add,
    Binary,
    Concatenation,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Lookup,
    Mean,
    Op,
    Pad,
    Pool2D,
    Quantize,
    Reshape,
    Softmax,
    Tensor,
    TransposeConv,
    View,
    Weighted,
    Window,
)
from tritguard.graph.reading.mirror_pad import MirrorPad
from tritguard.graph.reading.resize import ResizeNearest


class DifferentiableView:
    """Logits of inputs in int8 steps as TensorFlow computes them, with gradients: what white-box attacks need.

    Attributes:
        input_shape: of one input.
        classes: how many logits there are.
        temperature: logits are divided by it, which keeps a cross-entropy loss from saturating.
    """

    input_shape: tuple[int, ...]
    classes: int
    temperature: float
    _call: Callable[[Any], Any]

    @cached_property
    def _tf(self) -> Any:
        """TensorFlow, imported when the first gradient is asked for: black-box attacks do without."""
        from tritguard.train.backend import tf  # noqa: PLC0415

        return tf

    def __call__(self, x: Any, training: bool = False) -> Any:
        """Logits of x as a TensorFlow tensor; attack libraries pass `training`, which changes nothing here."""
        return self._call(x)

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits of x as an array."""
        return np.asarray(self(x), dtype=np.float32)

    def zero_gradient_share(self, x: NDArray[np.float32], y: NDArray[np.int64], temperature: float = 1.0) -> float:
        """Share of samples whose cross-entropy has no gradient at all: what an attack cannot follow is masked.

        Args:
            x: float32[n, *input_shape], in int8 steps.
            y: int64[n], true labels.
            temperature: on top of the view's own.
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

    The logits are the accumulators of the last layer with weights, as the twin and the device report them; where the
    model has none they are its dequantized outputs.

    Args:
        graph: the deployed model.
        temperature: logits are divided by it, which keeps a cross-entropy loss from saturating.

    Raises:
        BadInputError: the model has several inputs or outputs.
        UnsupportedOpError: an op that has no gradient here.
    """

    def __init__(self, graph: Graph, temperature: float = 1.0) -> None:
        if graph.further_inputs or graph.further_outputs:
            raise BadInputError(
                f"gradients of {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, one of each is supported"
            )
        for op in graph.ops:
            if type(op) not in WITH_GRADIENTS:
                where = f"op {op.index} ({op.kind})"
                raise UnsupportedOpError("no gradient, which white-box attacks need", where=where)
        self.graph = graph
        self.temperature = temperature
        source = graph.tensors[graph.input]
        self.input_shape = source.shape
        self.classes = graph.tensors[graph.output].size
        self._call = self._compile  # at the first call, for the same reason

    def _compile(self, x: Any) -> Any:
        signature = [self._tf.TensorSpec((None, *self.input_shape), self._tf.float32)]
        self._call = self._tf.function(self._forward, input_signature=signature)
        return self._call(x)

    def _forward(self, x: Any) -> Any:
        tf, graph = self._tf, self.graph
        source = graph.tensors[graph.input]
        steps = x + tf.stop_gradient(tf.round(x) - x)
        values = {graph.input: (steps - source.zero_point) * np.float32(source.scale)}
        last = graph.logits_position()
        for position, op in enumerate(graph.ops):
            real = self._real(position, [values[tensor] for tensor in op.inputs])
            if position == last:
                return tf.reshape(real, (-1, self.classes)) / self.temperature
            values[op.output] = self._on_grid(real, graph.tensors[op.output], op)
        return tf.reshape(values[graph.output], (-1, self.classes)) / self.temperature

    def _real(self, position: int, inputs: list[Any]) -> Any:
        """What the op at a position gives, before it is put on its grid."""
        op = self.graph.ops[position]
        return _FORWARD[type(op)](self._tf, self.graph, op, inputs)

    def _on_grid(self, real: Any, tensor: Tensor, op: Op) -> Any:
        """Clamp to the activation's range, then round to its steps with gradients straight through."""
        tf = self._tf
        if isinstance(op, Reshape | Pad | View | Concatenation | ResizeNearest | MirrorPad):
            return real
        low, high = _range(op)
        steps = tf.clip_by_value(real / tensor.scale + tensor.zero_point, float(low), float(high))
        rounded = steps + tf.stop_gradient(tf.round(steps) - steps)
        return (rounded - tensor.zero_point) * np.float32(tensor.scale)


def _range(op: Op) -> tuple[int, int]:
    if isinstance(op, Weighted | TransposeConv | Add | Binary):
        return op.requant.act_min, op.requant.act_max
    if isinstance(op, Pool2D):
        return op.act_min, op.act_max
    return -128, 127


def _real_weights(op: Weighted | TransposeConv) -> NDArray[np.float32]:
    sides = [1] * op.weights.ndim
    sides[op.channel_axis if isinstance(op, Weighted) else 0] = -1
    return (op.weights * op.weight_scale.reshape(sides)).astype(np.float32)


def _real_bias(graph: Graph, op: Weighted | TransposeConv) -> NDArray[np.float32]:
    scale = graph.tensors[op.inputs[0]].scale
    return np.asarray(op.bias * (scale * op.weight_scale), dtype=np.float32)


def weighted_sums(tf: Any, op: Weighted, x: Any, weights: Any, lift: float = 0.0) -> Any:
    """What a layer with weights sums up, before its bias: linear in the weights.

    Args:
        op: a Conv2D, DepthwiseConv2D or FullyConnected.
        x: float32[n, *input shape], real values.
        weights: float32, real values in the shape of `op.weights`.
        lift: added to every value that a weight meets, padding included.
    """
    if isinstance(op, FullyConnected):
        return tf.matmul(tf.reshape(x, (-1, op.weights.shape[1])) + lift, weights, transpose_b=True)
    assert isinstance(op, Conv2D | DepthwiseConv2D)
    x = _padded(tf, x, op.window, op.out_shape) + lift
    if isinstance(op, Conv2D):
        kernel = _dilated(tf, tf.transpose(weights, (1, 2, 3, 0)), op.window)
        full = tf.nn.conv2d(x, kernel, strides=(1, *op.window.stride, 1), padding="VALID")
        return full[:, : op.out_shape[0], : op.out_shape[1]]
    kernel = tf.reshape(weights, (*op.window.kernel, -1, op.depth_multiplier))
    kernel = _dilated(tf, kernel, op.window)
    down, right = op.window.stride
    if down == right:
        full = tf.nn.depthwise_conv2d(x, kernel, strides=(1, down, right, 1), padding="VALID")
    else:  # TensorFlow wants equal strides
        full = tf.nn.depthwise_conv2d(x, kernel, strides=(1, 1, 1, 1), padding="VALID")[:, ::down, ::right]
    return full[:, : op.out_shape[0], : op.out_shape[1]]


def _dilated(tf: Any, kernel: Any, window: Window) -> Any:
    """[h, w, ...] with zeros between its elements: TensorFlow has no dilated gradients on a CPU."""
    (height, width), (down, right) = window.kernel, window.dilation
    if (down, right) == (1, 1):
        return kernel
    spread = tf.reshape(kernel, (height, 1, width, 1, *kernel.shape[2:]))
    spread = tf.pad(spread, [(0, 0), (0, down - 1), (0, 0), (0, right - 1), (0, 0), (0, 0)])
    wide = tf.reshape(spread, (height * down, width * right, *kernel.shape[2:]))
    return wide[: (height - 1) * down + 1, : (width - 1) * right + 1]


def _padded(tf: Any, x: Any, window: Window, out: tuple[int, int, int]) -> Any:
    """Zeros around x so that an unpadded window gives exactly the output's sides; surplus rows are cut."""
    pads = []
    for axis in range(2):
        reach = (window.kernel[axis] - 1) * window.dilation[axis] + 1
        needed = (out[axis] - 1) * window.stride[axis] + reach
        before = window.padding[axis]
        pads.append((before, max(0, needed - before - x.shape[axis + 1])))
    return tf.pad(x, [(0, 0), *pads, (0, 0)])


def _weighted(tf: Any, graph: Graph, op: Weighted, inputs: list[Any]) -> Any:
    real = weighted_sums(tf, op, inputs[0], _real_weights(op)) + _real_bias(graph, op)
    return tf.reshape(real, (-1, *graph.tensors[op.output].shape))


def _pool(tf: Any, _graph: Graph, op: Pool2D, inputs: list[Any]) -> Any:
    sides = inputs[0].shape[1:3]
    same = all(-(-sides[axis] // op.window.stride[axis]) == op.out_shape[axis] for axis in range(2))
    function = tf.nn.avg_pool2d if op.mode == "average" else tf.nn.max_pool2d
    return function(inputs[0], op.window.kernel, op.window.stride, "SAME" if same else "VALID")


def _pad(tf: Any, _graph: Graph, op: Pad, inputs: list[Any]) -> Any:
    return tf.pad(inputs[0], [(0, 0), *zip(op.before, op.after, strict=True)])


def _reshape(tf: Any, graph: Graph, op: Reshape | Mean, inputs: list[Any]) -> Any:
    return tf.reshape(inputs[0], (-1, *graph.tensors[op.output].shape))


def _transpose_conv(tf: Any, graph: Graph, op: TransposeConv, inputs: list[Any]) -> Any:
    """The whole of what the input reaches, then the part that is the output."""
    (height, width, channels), window = op.out_shape, op.window
    reach = [(op.in_shape[axis] - 1) * window.stride[axis] + window.kernel[axis] for axis in range(2)]
    kernel = _real_weights(op).transpose(1, 2, 0, 3)
    shape = (tf.shape(inputs[0])[0], *reach, channels)
    full = tf.nn.conv2d_transpose(inputs[0], kernel, shape, strides=window.stride, padding="VALID")
    top, left = window.padding
    full = tf.pad(full, [(0, 0), (0, max(0, top + height - reach[0])), (0, max(0, left + width - reach[1])), (0, 0)])
    return full[:, top : top + height, left : left + width] + _real_bias(graph, op)


def _binary(tf: Any, graph: Graph, op: Binary, inputs: list[Any]) -> Any:
    """Operands laid along the op's joined axes; a step of 0 repeats one."""
    activations = iter(inputs)
    operands = []
    for constant, steps, zero_point in zip(op.constants, op.steps, op.zero_points, strict=True):
        if constant is None:
            x = next(activations)
        else:
            x = tf.constant((constant.values.astype(np.float32) - zero_point)[None] * np.float32(constant.scale))
        sides = [size if step else 1 for size, step in zip(op.sizes, steps, strict=True)]
        operands.append(tf.reshape(x, (-1, *sides)))
    return tf.reshape(_PAIRS[op.operator](tf, *operands), (-1, *graph.tensors[op.output].shape))


_PAIRS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "ADD": lambda _tf, a, b: a + b,
    "SUB": lambda _tf, a, b: a - b,
    "MUL": lambda _tf, a, b: a * b,
    "PRELU": lambda tf, a, b: tf.where(a < 0, a * b, a),
    "MAXIMUM": lambda tf, a, b: tf.maximum(a, b),
    "MINIMUM": lambda tf, a, b: tf.minimum(a, b),
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


def _mean(tf: Any, graph: Graph, op: Mean, inputs: list[Any]) -> Any:
    return _reshape(tf, graph, op, [tf.reduce_mean(inputs[0], axis=(1, 2))])


_FUNCTIONS: dict[str, Callable[[Any, Lookup, Any], Any]] = {
    "ABS": lambda tf, _op, x: tf.abs(x),
    "HARD_SWISH": lambda tf, _op, x: x * tf.nn.relu6(x + 3) / 6,
    "LEAKY_RELU": lambda tf, op, x: tf.where(x < 0, op.alpha * x, x),
    "LOGISTIC": lambda tf, _op, x: tf.sigmoid(x),
    "RELU": lambda tf, _op, x: tf.nn.relu(x),
    "RELU6": lambda tf, _op, x: tf.nn.relu6(x),
    "TANH": lambda tf, _op, x: tf.tanh(x),
}

_FORWARD: dict[type[Op], Callable[[Any, Graph, Any, list[Any]], Any]] = {
    Conv2D: _weighted,
    DepthwiseConv2D: _weighted,
    FullyConnected: _weighted,
    Add: lambda _tf, _graph, _op, inputs: inputs[0] + inputs[1],
    Pool2D: _pool,
    Mean: _mean,
    Reshape: _reshape,
    Binary: _binary,
    TransposeConv: _transpose_conv,
    View: _view,
    Concatenation: _concatenation,
    ResizeNearest: _resize_nearest,
    MirrorPad: _mirror_pad,
    Softmax: lambda tf, _graph, op, inputs: tf.nn.softmax(op.beta * inputs[0]),
    Pad: _pad,
    Lookup: lambda tf, _graph, op, inputs: _FUNCTIONS[op.function](tf, op, inputs[0]),
    Quantize: lambda _tf, _graph, _op, inputs: inputs[0],
}
WITH_GRADIENTS = frozenset(_FORWARD)
