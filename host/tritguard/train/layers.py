"""Keras layers with quantized weights, and the layer that quantizes activations.

They are the standard layers with their kernel passed through `tritguard.train.quantizer`; biases stay float, for
they become int32 in the deployed model. Channels last only, as TFLite has them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

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
    """Ternary weights, deterministic at inference; mixed in before the Keras layer it alters.

    Args:
        rule: what happens in training. `ternary`: the same as at inference. `stochastic`: the trits are drawn.
            `incremental`: of the output channels only the share `share` is quantized, drawn anew each step.
        temperature: steepness of the stochastic draws; the higher, the closer to the deterministic rule.
        alpha: how the scale is found; see `tritguard.train.quantizer`.
        one_scale: take one scale over all axes but the last, as QKeras does; it matters to depthwise layers, whose
            channels with small weights then die.
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
        self.seed_generator = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed
        # TensorFlow's, not Keras': it follows from the training's step, and is no part of a saved model.
        self.share = tf.Variable(1.0, trainable=False) if rule == "incremental" else None

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras stores it."""
        own = {"rule": self.rule, "temperature": self.temperature, "alpha": self.alpha, "one_scale": self.one_scale}
        return {**self.plain_config(), **own}

    def plain_config(self) -> dict[str, Any]:
        """The configuration of the standard layer that this one alters."""
        return dict(super().get_config())  # type: ignore[misc]

    @property
    def scale_axes(self) -> tuple[int, ...]:
        """The kernel's axes that share one scale."""
        return tuple(range(len(self.kernel.shape) - 1)) if self.one_scale else self.channel_axes

    def quantized_kernel(self, training: bool) -> Any:
        """float32, the kernel's shape: scale * trits, with the straight-through gradient to the float kernel."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        if training and self.rule == "stochastic":
            upper, lower, scale = quantizer.draw_probabilities(kernel, self.scale_axes, self.temperature, self.alpha)
            # In one call: two with one seed would be the same.
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
        """The kernel as it is deployed.

        Returns:
            trits: int8 in {-1, 0, 1}, the kernel's shape.
            scale: float32, the kernel's shape with the axes that share a scale of length 1.
        """
        trits, scale = quantizer.ternarize(keras.ops.convert_to_tensor(self.kernel), self.scale_axes, self.alpha)
        return keras.ops.convert_to_numpy(trits).astype(np.int8), keras.ops.convert_to_numpy(scale)


@keras.saving.register_keras_serializable("tritguard")
class TernaryConv2D(TernaryWeights, _Conv2D):
    """2-D convolution with ternary weights, one scale an output channel."""


@keras.saving.register_keras_serializable("tritguard")
class TernaryDepthwiseConv2D(TernaryWeights, _DepthwiseConv2D):
    """Depthwise 2-D convolution with ternary weights, one scale an output channel unless `one_scale`."""


@keras.saving.register_keras_serializable("tritguard")
class TernaryDense(TernaryWeights, _Dense):
    """Fully connected layer with ternary weights, one scale an output."""


class Int8Weights:
    """Weights rounded to int8, one scale an output channel; in training only, for what is stored is a plain layer."""

    channel_axes: ClassVar[tuple[int, ...]]
    kernel: Any

    def quantized_kernel(self, training: bool) -> Any:
        """float32, the kernel's shape, with the straight-through gradient to the float kernel."""
        kernel = keras.ops.convert_to_tensor(self.kernel)
        return quantizer.straight_through(kernel, quantizer.int8_weights(kernel, self.channel_axes))


class Int8Conv2D(Int8Weights, _Conv2D):
    """2-D convolution with int8 weights."""


class Int8DepthwiseConv2D(Int8Weights, _DepthwiseConv2D):
    """Depthwise 2-D convolution with int8 weights."""


class Int8Dense(Int8Weights, _Dense):
    """Fully connected layer with int8 weights."""


class Int8Activations(keras.layers.Layer):  # type: ignore[misc]
    """Rounds activations to the int8 grid that TFLite would give them; in training only.

    The range is a moving average of the batches' extremes in training, zero always in it.

    Args:
        fixed: (low, high), where the range is known and not learnt.
    """

    def __init__(self, *, fixed: tuple[float, float] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fixed = fixed
        low, high = fixed or (0.0, 0.0)
        self.low = self.add_weight(shape=(), initializer=keras.initializers.Constant(low), trainable=False, name="low")
        self.high = self.add_weight(
            shape=(), initializer=keras.initializers.Constant(high), trainable=False, name="high"
        )
        self.observing = False  # pass activations on as they are, and take their extremes as the range

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32 -> float32 of the same shape."""
        if self.fixed is None and (training or self.observing):
            self._observe(inputs)
        return inputs if self.observing else quantizer.int8_activations(inputs, self.low.value, self.high.value)

    def _observe(self, inputs: Any) -> None:
        low = tf.minimum(tf.reduce_min(inputs), 0.0)
        high = tf.maximum(tf.reduce_max(inputs), 0.0)
        is_new = self.low.value >= self.high.value
        kept = tf.where(is_new, 0.0, 0.0 if self.observing else RANGE_MOMENTUM)
        self.low.assign(kept * self.low + (1 - kept) * low)
        self.high.assign(kept * self.high + (1 - kept) * high)


LAYERS = (TernaryConv2D, TernaryDepthwiseConv2D, TernaryDense)
# By the standard layer that each alters.
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
