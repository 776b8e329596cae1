"""Makes the layers of a network compute faster while it is trained, with the same weights and, up to rounding, the same
results.

Keras composes a batch norm of a dozen elementwise operations, which take most of a small network's step; TensorFlow has
one operation for all of them. A 1x1 convolution is a matrix product, which is faster than TensorFlow's convolution.
Products in bfloat16 take two thirds of the time on processors that have them (AVX512-BF16, AMX).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tritguard.train.backend import keras, tf
from tritguard.train.config import Precision

Tensor = Any

layers = keras.layers
_LEAST_EPSILON = 1.001e-5  # below this the fused batch norm uses another epsilon


@contextmanager
def quick(model: Any, precision: Precision = "float32") -> Iterator[None]:
    """In the block, a model's training mode is traced with the fast forms of its layers.

    Batch norms keep their moving statistics as they are, so they have to be recomputed after the training.

    Args:
        model: a functional keras.Model. Its layers and weights are the same after the block.
        precision: the type of the products in convolutions; weights, sums of products, and all else stay float32.
    """
    changed = []
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization) and _is_fusible(layer):
            changed.append((layer, "call", functools.partial(_normalised, layer, layer.call)))
        elif isinstance(layer, layers.Conv2D):
            convolved = functools.partial(_convolved, layer, layer.convolution_op, precision)
            changed.append((layer, "convolution_op", convolved))
    for layer, name, function in changed:
        setattr(layer, name, function)
    try:
        yield
    finally:
        for layer, name, _ in changed:
            delattr(layer, name)


def _is_fusible(norm: Any) -> bool:
    last = len(norm.input.shape) - 1
    return norm.center and norm.scale and norm.trainable and norm.axis in (-1, last) and norm.epsilon > _LEAST_EPSILON


def _normalised(norm: Any, plainly: Any, inputs: Tensor, training: bool | None = None, **options: Any) -> Tensor:
    """A batch norm, float32 of the inputs' shape. Its moving statistics stay: training ends with `recalibrate`."""
    if not training:
        return plainly(inputs, training=training, **options)
    is_picture = len(inputs.shape) == 4
    x = inputs if is_picture else tf.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
    outputs, _, _ = tf.compat.v1.nn.fused_batch_norm(
        x, norm.gamma.value, norm.beta.value, epsilon=norm.epsilon, is_training=True
    )
    return outputs if is_picture else tf.reshape(outputs, tf.shape(inputs))


def _convolved(layer: Any, plainly: Any, precision: Precision, inputs: Tensor, kernel: Any) -> Tensor:
    """A convolution without bias, float32[n, h, w, in] -> float32[n, h', w', out]."""
    kernel = tf.convert_to_tensor(kernel)
    if precision == "bfloat16":
        inputs, kernel = tf.cast(inputs, tf.bfloat16), tf.cast(kernel, tf.bfloat16)
    is_product = {*layer.kernel_size, *layer.strides, *layer.dilation_rate, layer.groups} == {1}
    return tf.cast(_product(inputs, kernel) if is_product else plainly(inputs, kernel), tf.float32)


def _product(inputs: Tensor, kernel: Tensor) -> Tensor:
    depth, channels = kernel.shape[2:]
    products = tf.matmul(tf.reshape(inputs, (-1, depth)), tf.reshape(kernel, (depth, channels)))
    return tf.reshape(products, tf.concat([tf.shape(inputs)[:3], [channels]], axis=0))
