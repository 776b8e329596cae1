"""Keras layers whose weights are ternary: drawn at random in training, deterministic at inference.

They are the standard layers with their kernel passed through `tritguard.train.quantizer`; biases stay float, for
they become int32 in the deployed model. Channels last only, as TFLite has them.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tritguard.train import quantizer
from tritguard.train.backend import keras

TEMPERATURE = 8.0  # QKeras' default


class TernaryWeights:
    """What the ternary layers share; mixed in before the Keras layer it alters.

    Args:
        stochastic: whether the trits are drawn in training; at inference they never are.
        temperature: steepness of the draws; the higher, the closer to the deterministic rule.
    """

    scale_axes: ClassVar[tuple[int, ...]]  # the kernel's axes that share one scale: all but the output channels'
    name: str
    kernel: Any
    bias: Any
    use_bias: bool
    activation: Any

    def __init__(self, *args: Any, stochastic: bool = True, temperature: float = TEMPERATURE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stochastic = stochastic
        self.temperature = temperature
        self.seed_generator = keras.random.SeedGenerator()  # follows keras.utils.set_random_seed

    def get_config(self) -> dict[str, Any]:
        """The layer's configuration, as Keras stores it."""
        return {**self.plain_config(), "stochastic": self.stochastic, "temperature": self.temperature}

    def plain_config(self) -> dict[str, Any]:
        """The configuration of the standard layer that this one alters."""
        return dict(super().get_config())  # type: ignore[misc]

    def quantized_kernel(self, training: bool) -> Any:
        """float32, the kernel's shape: scale * trits, with the straight-through gradient to the float kernel."""
        trits, scale = quantizer.ternarize(self.kernel, self.scale_axes)
        if training and self.stochastic:
            trits = quantizer.draw_trits(self.kernel, scale, self.scale_axes, self.temperature, self.seed_generator)
        return quantizer.straight_through(self.kernel, scale * trits)

    def deployed_kernel(self) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """The kernel as it is deployed.

        Returns:
            trits: int8 in {-1, 0, 1}, the kernel's shape.
            scale: float32, the kernel's shape with the axes that share a scale of length 1.
        """
        trits, scale = quantizer.ternarize(self.kernel, self.scale_axes)
        return keras.ops.convert_to_numpy(trits).astype(np.int8), keras.ops.convert_to_numpy(scale)

    def _add_bias_and_activate(self, outputs: Any) -> Any:
        if self.use_bias:
            outputs = outputs + self.bias
        return self.activation(outputs)


@keras.saving.register_keras_serializable("tritguard")
class TernaryConv2D(TernaryWeights, keras.layers.Conv2D):  # type: ignore[misc]
    """2-D convolution with ternary weights: kernel (h, w, in, out), one scale an output channel."""

    scale_axes = (0, 1, 2)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32[n, h, w, in] -> float32[n, h', w', out]."""
        return self._add_bias_and_activate(self.convolution_op(inputs, self.quantized_kernel(training)))


@keras.saving.register_keras_serializable("tritguard")
class TernaryDepthwiseConv2D(TernaryWeights, keras.layers.DepthwiseConv2D):  # type: ignore[misc]
    """Depthwise 2-D convolution with ternary weights: kernel (h, w, in, multiplier), one scale an output channel.

    QKeras takes one scale for the whole depthwise kernel: channels with small weights get none but zeros and die.
    """

    scale_axes = (0, 1)

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
        return self._add_bias_and_activate(outputs)


@keras.saving.register_keras_serializable("tritguard")
class TernaryDense(TernaryWeights, keras.layers.Dense):  # type: ignore[misc]
    """Fully connected layer with ternary weights: kernel (in, out), one scale an output."""

    scale_axes = (0,)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """float32[n, in] -> float32[n, out]."""
        return self._add_bias_and_activate(keras.ops.matmul(inputs, self.quantized_kernel(training)))


LAYERS = (TernaryConv2D, TernaryDepthwiseConv2D, TernaryDense)
# By the standard layer that each alters.
TERNARY_OF: dict[type, Any] = {
    keras.layers.Conv2D: TernaryConv2D,
    keras.layers.DepthwiseConv2D: TernaryDepthwiseConv2D,
    keras.layers.Dense: TernaryDense,
}
