"""Keras layers with quantized weights, and the layer that quantizes activations.

They are the standard layers with their kernels passed through `tritguard.train.quantizer`. Biases stay float, because
they become int32 in the deployed model. Channels come last, as in TFLite.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.train import quantizer
from tritguard.train.backend import keras, tf

TEMPERATURE = 8.0  # QKeras' default
RANGE_MOMENTUM = 0.99
RULES = ("ternary", "stochastic", "incremental")


class _Conv2D(keras.layers.Conv2D):  # type: ignore[misc]
    """Kernel (h, w, in, out)."""

    channel_axes: ClassVar[tuple[int, ...]] = (0, 1, 2)  # the kernel's axes inside an output channel
    quantized_kernel: Any

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32[n, h, w, in] -> float32[n, h', w', out]."""
        return _finished(self, self.convolution_op(inputs, self.quantized_kernel(training)))


class _DepthwiseConv2D(keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """Kernel (h, w, in, multiplier)."""

    channel_axes: ClassVar[tuple[int, ...]] = (0, 1)
    quantized_kernel: Any

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32[n, h, w, in] -> float32[n, h', w', in * multiplier]."""
        outputs = keras.ops.depthwise_conv(
            inputs,
            self.quantized_kernel(training),
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )
        return _finished(self, outputs)


class _Dense(keras.layers.Dense):  # type: ignore[misc]
    """Kernel (in, out)."""

    channel_axes: ClassVar[tuple[int, ...]] = (0,)
    quantized_kernel: Any

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32[n, in] -> float32[n, out]."""
        return _finished(self, keras.ops.matmul(inputs, self.quantized_kernel(training)))


def _finished(layer: Any, outputs: Any) -> Any:
    return layer.activation(outputs + layer.bias if layer.use_bias else outputs)


class TernaryWeights:
    """A mixin for Keras layers, listed before them, that makes weights ternary, deterministically at inference.

    Args:
        rule: what happens in training. With `ternary` it is the same as at inference. With `stochastic` the trits are
            drawn. With `incremental` only the share `share` of the output channels is quantized, drawn in each step.
        temperature: steepness of the stochastic draws; with higher values they come closer to the deterministic rule.
        alpha: how the scale is found; see `tritguard.train.quantizer`.
        one_scale: use one scale over all axes but the last, as QKeras does. This affects depthwise layers, whose
            channels with small weights then die.

    Raises:
        ValueError: the rule is unknown.
    """

    channel_axes: ClassVar[tuple[int, ...]]
    name: str
    kernel: Any

    def __init__(
        self,
        *args: Any,
        rule: str = "stochastic",
        temperature: float = TEMPERATURE,
        alpha: quantizer.Alpha = "auto",
        one_scale: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if rule not in RULES:
            raise ValueError(f"rule {rule!r} is none of {', '.join(RULES)}")
        self.rule = rule
        self.temperature = temperature
        self.alpha = alpha
        self.one_scale = one_scale
        self.seed_generator = keras.random.SeedGenerator()  # keras.utils.set_random_seed determines it
        # A variable of TensorFlow, not of Keras, so that it is not saved with the model. The step determines it.
        self.share = tf.Variable(1.0, trainable=False) if rule == "incremental" else None

    def get_config(self) -> dict[str, Any]:
        """The configuration that Keras stores."""
        own = {"rule": self.rule, "temperature": self.temperature, "alpha": self.alpha, "one_scale": self.one_scale}
        return {**self.plain_config(), **own}

    def plain_config(self) -> dict[str, Any]:
        """The configuration of the standard layer under this one."""
        return dict(super().get_config())  # type: ignore[misc]

    @property
    def scale_axes(self) -> tuple[int, ...]:
        """The kernel's axes that share one scale."""
        return tuple(range(len(self.kernel.shape) - 1)) if self.one_scale else self.channel_axes

    def quantized_kernel(self, training: bool) -> Any:
        """scale * trits, float32 of the kernel's shape, with a straight-through gradient to the float kernel."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if training and self.rule == "stochastic":
            upper, lower, scale = quantizer.draw_probabilities(kernel, self.scale_axes, self.temperature, self.alpha)
            # One call for both draws: two calls with the same seed would draw the same.
            uniform = keras.random.uniform((2, *kernel.shape), seed=self.seed_generator)
            return quantizer.straight_through(kernel, scale * quantizer.drawn_trits(upper, lower, uniform))
        trits, scale = quantizer.ternarize(kernel, self.scale_axes, self.alpha)
        quantized = scale * trits
        if training and self.rule == "incremental":
            axes, seed = self.channel_axes, self.seed_generator
            drawn = quantizer.draw_channels(kernel, quantized, axes, self.share, seed)
            quantized = keras.ops.where(drawn, quantized, kernel)
        return quantizer.straight_through(kernel, quantized, self.alpha)

    def deployed_kernel(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The ternary kernel as it is deployed.

        Returns:
            trits: int8 in {-1, 0, 1}, the kernel's shape.
            scale: float32, the kernel's shape with length 1 along the axes that share a scale.
        """
        trits, scale = quantizer.ternarize(keras.ops.convert_to_tensor(self.kernel), self.scale_axes, self.alpha)
        return keras.ops.convert_to_numpy(trits).astype(np.int8), keras.ops.convert_to_numpy(scale)


@keras.saving.register_keras_serializable("tritguard")
class TernaryConv2D(TernaryWeights, _Conv2D):
    """2-D convolution with ternary weights and one scale for each output channel."""


@keras.saving.register_keras_serializable("tritguard")
class TernaryDepthwiseConv2D(TernaryWeights, _DepthwiseConv2D):
    """Depthwise 2-D convolution with ternary weights and one scale for each output channel unless `one_scale`."""


@keras.saving.register_keras_serializable("tritguard")
class TernaryDense(TernaryWeights, _Dense):
    """Fully connected layer with ternary weights and one scale for each output."""


class Int8Weights:
    """A mixin that rounds weights to int8 with one scale for each output channel. It is used in training only."""

    channel_axes: ClassVar[tuple[int, ...]]
    kernel: Any

    def quantized_kernel(self, training: bool) -> Any:
        """The rounded kernel, float32 of its shape, with a straight-through gradient to the float kernel."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        return quantizer.straight_through(kernel, quantizer.int8_weights(kernel, self.channel_axes))


class Int8Conv2D(Int8Weights, _Conv2D):
    """2-D convolution with int8 weights."""


class Int8DepthwiseConv2D(Int8Weights, _DepthwiseConv2D):
    """Depthwise 2-D convolution with int8 weights."""


class Int8Dense(Int8Weights, _Dense):
    """Fully connected layer with int8 weights."""


class Int8Activations(keras.layers.Layer):  # type: ignore[misc]
    """Rounds activations to the int8 grid that TFLite would give them. It is used in training only.

    The range is a moving average of the extremes of training batches, and always includes zero.

    Args:
        fixed: (low, high) if the range is known, so that it is not learnt.
    """

    def __init__(self, *, fixed: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fixed = fixed
        low, high = fixed or (0.0, 0.0)
        self.low = self.add_weight(shape=(), initializer=keras.initializers.Constant(low), trainable=False, name="low")
        self.high = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(high), trainable=False, name="high"
        )
        self.observing = False  # whether to pass activations on unchanged and make their extremes the range
        self.learnt = False  # whether the layer certainly has a range when it is called at inference

    @override
    def call(self, inputs: Any, training: bool = False) -> Any:
        if self.fixed is None and (training or self.observing):
            self._observe(inputs)
        if self.observing:
            return inputs
        learnt = self.learnt and not training
        return quantizer.int8_activations(inputs, self.low.value, self.high.value, learnt=learnt)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        """The shape of the inputs. Without this, Keras traces `call` whenever the layer becomes part of a model."""
        return input_shape

    def _observe(self, inputs: Any) -> None:
        low = tf.minimum(tf.reduce_min(inputs), 0.0)
        high = tf.maximum(tf.reduce_max(inputs), 0.0)
        is_new = self.low.value >= self.high.value
        kept = tf.where(is_new, 0.0, 0.0 if self.observing else RANGE_MOMENTUM)
        self.low.assign(kept * self.low + (1 - kept) * low)
        self.high.assign(kept * self.high + (1 - kept) * high)


LAYERS = (TernaryConv2D, TernaryDepthwiseConv2D, TernaryDense)
# The quantized layers by the standard layers they are made from.
TERNARY_OF: dict[type, Any] = {
    keras.layers.Conv2D: TernaryConv2D,
    keras.layers.DepthwiseConv2D: TernaryDepthwiseConv2D,
    keras.layers.Dense: TernaryDense,
}
INT8_OF: dict[type, Any] = {
    keras.layers.Conv2D: Int8Conv2D,
    keras.layers.DepthwiseConv2D: Int8DepthwiseConv2D,
    keras.layers.Dense: Int8Dense,
}
