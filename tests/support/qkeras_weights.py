"""A network whose weights QKeras quantizes in many ways.

Run by keras_2.py, which gets it as net.h5, net.keras and the folder net, its answers on x.npy as answers.npy, and
kernels.npz: for each layer's name its kernel as the layer uses it.
"""

from pathlib import Path

import numpy as np

from tritguard.heavy_imports import heavy_imports

with heavy_imports():
    import tf_keras as keras
    from qkeras import (
        QBatchNormalization,
        QConv2D,
        QConv2DBatchnorm,
        QDense,
        QDepthwiseConv2D,
        QDepthwiseConv2DBatchnorm,
        binary,
        quantized_bits,
        quantized_po2,
        stochastic_binary,
        ternary,
    )

QUANTIZERS = {  # of the kernel; some as text, as they are in many a script
    "bits": quantized_bits(4, 0, 1, alpha=1),
    "bits_auto": quantized_bits(4, 0, 1, alpha="auto"),
    "bits_auto_po2": quantized_bits(4, 0, 1, alpha="auto_po2"),
    "bits_of_a_layer": quantized_bits(4, 0, 1),  # which makes it auto_po2
    "bits_as_text": "quantized_bits(3,1,1)",
    "one_bit": quantized_bits(1, 0, 1, alpha=1),
    "binary": binary(),
    "binary_auto": binary(alpha="auto"),
    "binary_of_half": "binary(alpha=0.5)",
    "random_binary": stochastic_binary(),
    "po2": quantized_po2(4),
    "po2_bounded": quantized_po2(4, max_value=0.5, quadratic_approximation=True),
    "ternary": ternary(),
}
FOLDING = {  # options of layers that fold a batch norm before they quantize
    "folds": {},
    "folds_batches": {"folding_mode": "batch_stats_folding", "use_bias": False},
    "folds_unscaled": {"alpha": "auto_po2", "scale": False},
    "folds_freely": {"bias_quantizer": None, "epsilon": 0.1},
}


def layers():
    """For each name a layer of an image of two channels that gives one of as many."""
    bias = quantized_bits(8, 2, 1)
    for name, kernel in QUANTIZERS.items():
        yield QConv2D(2, 3, padding="same", kernel_quantizer=kernel, bias_quantizer=bias, name=name)
        yield QDepthwiseConv2D(3, padding="same", depthwise_quantizer=kernel, name=f"{name}_depthwise")
    for name, options in FOLDING.items():
        kernel = quantized_bits(4, 1, 1, alpha=options.get("alpha", 1))
        shared = {"padding": "same", "bias_quantizer": bias, "name": name} | options
        shared.pop("alpha", None)
        yield QConv2DBatchnorm(2, 3, kernel_quantizer=kernel, **shared)
        shared["name"] = f"{name}_depthwise"
        yield QDepthwiseConv2DBatchnorm(3, depthwise_quantizer=kernel, **shared)


def used(layer):
    """The kernel with which a layer computes."""
    if hasattr(layer, "batchnorm"):
        kernel = layer.get_folded_weights()[0]
    else:
        kernel = layer.depthwise_kernel if "depthwise" in layer.name else layer.kernel
    quantizer = layer.depthwise_quantizer_internal if "depthwise" in layer.name else layer.kernel_quantizer_internal
    return np.asarray(quantizer(kernel))


def main(folder: Path) -> None:
    """Save the network."""
    keras.utils.set_random_seed(1)
    x = np.random.default_rng(0).uniform(0, 1, (300, 6, 6, 2)).astype(np.float32)
    inputs = keras.Input(x.shape[1:])
    several = list(layers())
    plain = dict.fromkeys(("gamma", "beta", "mean", "variance"))
    norm = QBatchNormalization(name="norm", **{f"{name}_quantizer": each for name, each in plain.items()})
    ends = [layer(inputs) for layer in several]
    total = keras.layers.Add()([keras.layers.ReLU()(end) for end in (norm(ends[0]), *ends[1:])])
    heads = {"head_binary": binary(alpha="auto_po2"), "head_bits": quantized_bits(4, 0, 1, alpha="auto_po2")}
    flat = keras.layers.Flatten()(total)
    last = [QDense(4, kernel_quantizer=kernel, name=name) for name, kernel in heads.items()]
    model = keras.Model(inputs, keras.layers.Add()([layer(flat) for layer in last]))
    rng = np.random.default_rng(2)
    for layer in (*several, norm):
        norms = [weight.name for weight in layer.weights]
        values = zip(norms, layer.get_weights(), strict=True)
        layer.set_weights([rng.uniform(0.3, 1, w.shape) if "norm" in name else w for name, w in values])
    np.save(folder / "x.npy", x)
    np.save(folder / "answers.npy", np.asarray(model(x)))
    np.savez(folder / "kernels.npz", **{layer.name: used(layer) for layer in (*several, *last)})
    for form in ("net.h5", "net.keras"):
        model.save(folder / form)
    model.save(folder / "net", save_traces=False)  # its functions are not read, and take long to trace
