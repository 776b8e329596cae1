"""QUANOS (Panda 2020, arXiv 2004.11233) as a baseline: weights of 2, 4 or 8 bits by adversarial noise sensitivity.

The sensitivity of a layer is the share of its activation that an attack changes, |a(x_adv) - a(x)| / |a(x)|. The more a
layer contributes to the perturbation, the fewer bits it gets. The paper scales the widths layer by layer during
training. Here the rule is applied to a trained network, and each of the three widths goes to a third of its layers. 2
bits are ternary.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.train.backend import keras
from tritguard.train.layer_graph import kernel_axes, weighted_layers
from tritguard.train.recalibrate import recalibrate

Float32 = NDArray[np.float32]
Width = Literal[2, 4, 8]

_WIDTHS: tuple[Width, ...] = (2, 4, 8)  # from the most to the least sensitive third
_SCALES = np.linspace(0.3, 1.0, 36)  # the scales that are tried, as shares of the one at which nothing saturates


def noise_sensitivity(model: Any, clean: Float32, adversarial: Float32) -> dict[str, float]:
    """The adversarial noise sensitivity of each layer with weights, by name, averaged over the samples.

    Args:
        model: functional keras.Model of plain layers.
        clean: float32[n, *input_shape].
        adversarial: float32[n, *input_shape], the same samples after an attack, for example FGSM as in the paper.
    """
    layers = weighted_layers(model)
    outputs = keras.Model(model.input, [layer.output for layer in layers])
    before, after = outputs(clean, training=False), outputs(adversarial, training=False)
    return {layer.name: _relative_change(a, b) for layer, a, b in zip(layers, before, after, strict=True)}


def bit_widths(sensitivity: dict[str, float]) -> dict[str, Width]:
    """2 bits for the most sensitive third of the layers, 4 for the middle one, 8 for the rest."""
    ranked = sorted(sensitivity, key=lambda name: -sensitivity[name])
    return {name: _WIDTHS[3 * rank // len(ranked)] for rank, name in enumerate(ranked)}


def with_widths(model: Any, widths: dict[str, Width], x: Float32) -> Any:
    """Copy the network with weights of these widths, and recompute its batch-norm statistics.

    Args:
        model: functional keras.Model of plain layers; it is not changed.
        widths: the width in bits by the name of the layer.
        x: float32[n, *input_shape], real inputs for the statistics.
    """
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for name, width in widths.items():
        layer = copy.get_layer(name)
        kernel, *rest = layer.get_weights()
        layer.set_weights([on_grid(kernel, width, kernel_axes(layer)), *rest])
    recalibrate(copy, x)
    return copy


def on_grid(kernel: Float32, width: Width, axes: tuple[int, ...]) -> Float32:
    """Round weights to a symmetric grid of 2^width - 1 levels, with the scales over `axes` of least squared error."""
    return rounded(kernel, best_scale(kernel, width, axes), width)


def best_scale(kernel: Float32, width: Width, axes: tuple[int, ...]) -> Float32:
    """The step of the grid with the least squared error, of length 1 along `axes`; it is 1 for a channel of zeros."""
    levels = 2 ** (width - 1) - 1
    peak = np.abs(kernel).max(axis=axes, keepdims=True)
    best: Float32 = np.ones_like(peak)
    least = np.full_like(peak, np.inf)
    for share in _SCALES:
        scale = np.where(peak > 0, peak * np.float32(share / levels), 1).astype(np.float32)
        error = ((kernel - rounded(kernel, scale, width)) ** 2).sum(axis=axes, keepdims=True)
        best, least = np.where(error < least, scale, best), np.minimum(error, least)
    return best


def rounded(kernel: Float32, scale: Float32, width: Width) -> Float32:
    """Round each weight to the nearest of the grid's 2^width - 1 levels. Zeros are positive."""
    levels = 2 ** (width - 1) - 1
    return np.asarray(np.clip(np.rint(kernel / scale), -levels, levels) * scale + 0.0, np.float32)


def _relative_change(before: Any, after: Any) -> float:
    clean = np.asarray(before).reshape(len(before), -1)
    change = np.asarray(after).reshape(len(after), -1) - clean
    return float(np.mean(np.linalg.norm(change, axis=1) / (np.linalg.norm(clean, axis=1) + 1e-12)))
