"""QKeras trains a small model and saves it as model.h5, and its answers on x_test as answers.npy.

Run by keras_2.py.
"""

from pathlib import Path

import numpy as np

from tritguard.heavy_imports import heavy_imports

with heavy_imports():
    import tf_keras as keras
    from qkeras import (
        QActivation,
        QBatchNormalization,
        QConv2D,
        QDense,
        QDepthwiseConv2D,
        quantized_bits,
        quantized_relu,
        stochastic_ternary,
        ternary,
    )


def main(folder: Path) -> None:
    """Train on the samples of data.npz in the folder."""
    data = dict(np.load(folder / "data.npz"))
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input(data["x_train"].shape[1:], name="pixels")
    x = QConv2D(8, 3, strides=2, padding="same", kernel_quantizer=stochastic_ternary(alpha="auto"), use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.8)(x)
    x = QActivation("quantized_relu(8, 2)")(x)
    x = QDepthwiseConv2D(3, padding="same", depthwise_quantizer=quantized_bits(8, 0, 1, alpha=1.0))(x)
    x = QBatchNormalization(
        momentum=0.8, gamma_quantizer=None, beta_quantizer=None, mean_quantizer=None, variance_quantizer=None
    )(x)
    x = QActivation(quantized_relu(8, 2))(x)
    x = QConv2D(
        16,
        1,
        strides=2,
        kernel_quantizer=ternary(alpha="auto"),
        bias_quantizer=quantized_bits(8, 2, 1),
        activation="relu",
    )(x)
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, QDense(10, kernel_quantizer='ternary(alpha="auto_po2")', name="logits")(x))
    model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(data["x_train"], data["y_train"], batch_size=32, epochs=2, verbose=0)
    np.save(folder / "answers.npy", model.predict(data["x_test"], verbose=0))
    model.save(folder / "model.h5")
