"""Certified training: the cross-entropy of the worst logits that interval bounds allow, as a term of the joint loss.

Interval bound propagation (Gowal et al. 2018, 1810.12715): a box around a sample goes through the network as its middle
and its radius, a layer with weights taking the radius through their absolute values; the last layer is bounded as the
differences of its outputs to that of the label. With a box smaller than the ball, around an adversarial sample, it is
SABR (Mueller et al. 2022, 2210.04871): it demands less of the network, and proves more where the ball is large. The
weights are the quantized ones, ternary or int8, so that the bounds are those of the network that ships, up to the
rounding of activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tritguard.errors import BadModelError
from tritguard.train.backend import keras, tf
from tritguard.train.layer_graph import WEIGHTED, inputs_of
from tritguard.train.layers import Int8Activations
from tritguard.train.losses import cross_entropy

Tensor = Any

layers = keras.layers
# Layers whose outputs rise with each input, so that they map the ends of an interval to the ends of the next.
_RISING = (
    layers.ReLU, layers.MaxPooling2D, layers.AveragePooling2D, layers.GlobalAveragePooling2D, layers.Flatten,
    layers.Reshape, layers.ZeroPadding2D, layers.Add, Int8Activations,
)  # fmt: skip


@dataclass(frozen=True)
class _Stream:
    """An activation for the samples themselves, whose statistics the batch norms use, and its bounds."""

    clean: Tensor
    low: Tensor
    high: Tensor


def interval_loss(model: Any, x: Tensor, low: Tensor, high: Tensor, y: Tensor) -> Tensor:
    """The mean cross-entropy of the worst logits in boxes, a float32 scalar.

    Args:
        model: functional keras.Model that ends in a dense layer.
        x: float32[n, ...], the samples.
        low, high: float32[n, ...], the boxes.
        y: int64[n], the labels.
    """
    return cross_entropy(y, interval_margins(model, x, low, high, y, training=True))


def interval_margins(model: Any, x: Tensor, low: Tensor, high: Tensor, y: Tensor, *, training: bool) -> Tensor:
    """Upper bounds of each logit minus that of the label, float32[n, classes]; 0 for the label itself.

    Args:
        model, x, low, high, y: see `interval_loss`.
        training: whether batch norms use the statistics of the batch x, and stochastic ternary weights are drawn.

    Raises:
        BadModelError: a layer has no interval bounds here, or the last is not dense.
    """
    known = {id(model.input): _Stream(x, low, high)}
    for layer in model.layers[:-1]:
        if not isinstance(layer, layers.InputLayer):
            known[id(layer.output)] = _through(layer, [known[id(each)] for each in inputs_of(layer)], training)
    last = model.layers[-1]
    if not isinstance(last, layers.Dense):
        raise BadModelError("certified training needs a network that ends in a dense layer", where=last.name)
    return _differences(last, known[id(inputs_of(last)[0])], y, training)


def _differences(last: Any, stream: _Stream, y: Tensor, training: bool) -> Tensor:
    rivals = _rivals(_kernel(last, training), y)
    middle, radius = (stream.high + stream.low) / 2, (stream.high - stream.low) / 2
    bias = last.bias - tf.gather(last.bias, y)[:, None]
    return tf.einsum("ni,nic->nc", middle, rivals) + tf.einsum("ni,nic->nc", radius, tf.abs(rivals)) + bias


def _rivals(kernel: Tensor, y: Tensor) -> Tensor:
    """float32[n, in, classes]: each class's weights minus those of the label."""
    return kernel[None] - tf.gather(tf.transpose(kernel), y)[:, :, None]


def _kernel(layer: Any, training: bool) -> Tensor:
    if hasattr(layer, "quantized_kernel"):
        return layer.quantized_kernel(training)
    return tf.convert_to_tensor(layer.kernel)


def _through(layer: Any, streams: list[_Stream], training: bool) -> _Stream:
    if isinstance(layer, WEIGHTED):
        return _weighted(layer, streams[0], training)
    if isinstance(layer, layers.BatchNormalization):
        return _normalised(layer, streams[0], training)
    if not isinstance(layer, _RISING):
        raise BadModelError("certified training has no bounds for this layer", where=layer.name)
    ends = [[getattr(stream, end) for stream in streams] for end in ("clean", "low", "high")]
    return _Stream(*(layer(each if len(each) > 1 else each[0]) for each in ends))


def _weighted(layer: Any, stream: _Stream, training: bool) -> _Stream:
    kernel = _kernel(layer, training)
    middle = _summed(layer, (stream.high + stream.low) / 2, kernel)
    radius = _summed(layer, (stream.high - stream.low) / 2, tf.abs(kernel))
    bias = layer.bias if layer.use_bias else 0.0
    sums = (_summed(layer, stream.clean, kernel), middle - radius, middle + radius)
    return _Stream(*(layer.activation(each + bias) for each in sums))


def _summed(layer: Any, x: Tensor, kernel: Tensor) -> Tensor:
    if isinstance(layer, layers.Dense):
        return tf.matmul(x, kernel)
    if isinstance(layer, layers.DepthwiseConv2D):
        return keras.ops.depthwise_conv(
            x, kernel, strides=layer.strides, padding=layer.padding, data_format=layer.data_format,
            dilation_rate=layer.dilation_rate,
        )  # fmt: skip
    return layer.convolution_op(x, kernel)


def _normalised(layer: Any, stream: _Stream, training: bool) -> _Stream:
    """A batch norm as the affine function that it is for this batch, or at inference."""
    if training:
        mean, variance = tf.nn.moments(stream.clean, axes=list(range(len(stream.clean.shape) - 1)))
    else:
        mean, variance = layer.moving_mean, layer.moving_variance
    scale = layer.gamma * tf.math.rsqrt(variance + layer.epsilon)
    shift = layer.beta - mean * scale
    middle, radius = (stream.high + stream.low) / 2 * scale + shift, (stream.high - stream.low) / 2 * tf.abs(scale)
    return _Stream(stream.clean * scale + shift, middle - radius, middle + radius)
