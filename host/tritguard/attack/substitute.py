"""A very low-bit substitute of the deployed network, rebuilt from its graph without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import INT8_MAX, Target
from tritguard.attack.integer_ops import straight_through
from tritguard.attack.view import GradientView
from tritguard.graph.model import Graph, Op, TransposeConv, Weighted
from tritguard.predictor import Int8

_FITTED_TO = 64  # samples
_MOST_BITS = 6
_AGREES = 0.7  # share of clean samples with the deployed label: below, a substitute's gradients are of another network
_ROUNDS = 10
_CLIPS = np.linspace(0.15, 1, 18)


class LowBitView(GradientView):
    """The network with weights and activations on a few levels, gradients straight through.

    Quantization aware attack (Yang et al. 2023, 2305.05875) crafts on a substitute of very few bits, since what fools
    its coarse steps transfers to quantized networks of every bit width. There the substitute is trained; this one is
    rebuilt from the deployed model: the weights of a channel are fitted to their levels by least squares, an
    activation's levels are cut where its squared error on the samples is least, and the mean that rounding shifts in
    a channel is put back (bias correction, Nagel et al. 2019, 1906.04721).

    Args:
        graph: the deployed model.
        x: int8[n, *input_shape], samples the levels are fitted to; their labels are not used.
        bits: of weights and activations; at 2 bits weights are ternary.
        temperature: see GradientView.
    """

    def __init__(self, graph: Graph, x: Int8, bits: int, temperature: float = 1.0) -> None:
        exact = _Recorder(graph, temperature)
        batch = exact.record(x)
        super().__init__(replace(graph, ops=tuple(_low_bit(op, bits) for op in graph.ops)), temperature)
        self.bits = bits
        self._wanted = exact.seen
        self._shifts: dict[int, NDArray[np.float32]] = {}
        self._steps: dict[int, np.float32] = {}
        self._forward(batch)  # layer by layer, each fitted behind what comes before it
        self._wanted = {}

    def _on_grid(self, smooth: Any, _exact: Callable[[], Any] | None, op: Op) -> Any:
        """Shifted, put on the int8 grid as the deployed network does, then on the coarse one."""
        if op.output in self._wanted:
            wanted, ours = self._wanted[op.output], smooth.numpy()
            self._shifts[op.output] = (wanted - ours).mean(axis=tuple(range(ours.ndim - 1)))
        fine = super()._on_grid(smooth + self._shifts[op.output], None, op)
        zero_point = self.graph.tensors[op.output].zero_point
        if op.output in self._wanted:
            self._steps[op.output] = _best_step(fine.numpy() - zero_point, self.bits)
        coarse = _on_levels(self._tf, fine - zero_point, self._steps[op.output], self.bits) + zero_point
        return straight_through(self._tf, coarse, fine)


class _Recorder(GradientView):
    """The view, remembering what each layer computes before it is put on the grid."""

    def record(self, x: Int8) -> Any:
        """Run int8[n, *input_shape] and return it as a TensorFlow tensor."""
        self.seen: dict[int, NDArray[np.float32]] = {}
        batch = self._tf.constant(x.astype(np.float32))
        self._forward(batch)
        return batch

    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        self.seen[op.output] = smooth.numpy()
        return super()._on_grid(smooth, exact, op)


def substitute(target: Target, labels: NDArray[np.int64]) -> LowBitView:
    """The substitute of fewest bits, from two, that has most of the deployed labels right; of six where none does.

    Args:
        target: needs a view of a deployed model.
        labels: int64[n], what the deployed model says on the clean samples.
    """
    assert target.view is not None
    return _fitted(target.view, target.x[:_FITTED_TO].tobytes(), labels[:_FITTED_TO].tobytes())


@lru_cache(maxsize=16)
def _fitted(view: GradientView, samples: bytes, deployed: bytes) -> LowBitView:
    """One for each chunk of samples, at whatever eps they are attacked: each compiles its own gradients."""
    x = np.frombuffer(samples, np.int8).reshape(-1, *view.input_shape)
    labels = np.frombuffer(deployed, np.int64)
    for bits in range(2, _MOST_BITS):
        found = LowBitView(view.graph, x, bits, view.temperature)
        if float((found.logits(x.astype(np.float32)).argmax(axis=1) == labels).mean()) >= _AGREES:
            return found
    return LowBitView(view.graph, x, _MOST_BITS, view.temperature)


def _low_bit(op: Op, bits: int) -> Op:
    """The op with the weights of each channel on 2^bits - 1 levels, as int8 of the same scale."""
    if not isinstance(op, Weighted | TransposeConv):
        return op
    axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(other for other in range(op.weights.ndim) if other != axis)
    wide, top = op.weights.astype(np.float64), 2 ** (bits - 1) - 1
    step = np.abs(wide).max(axis=others, keepdims=True) / top
    if top == 1:
        step = 1.4 * np.abs(wide).mean(axis=others, keepdims=True)  # zero below 0.7 of the mean (Li et al. 2016)
    for _ in range(_ROUNDS):
        levels = np.clip(np.rint(wide / np.maximum(step, 1e-9)), -top, top)
        squares = np.maximum((levels**2).sum(axis=others, keepdims=True), 1e-9)
        step = (levels * wide).sum(axis=others, keepdims=True) / squares
    return replace(op, weights=np.clip(np.rint(levels * step), -INT8_MAX, INT8_MAX).astype(np.int8))


def _levels(bits: int) -> int:
    """Above zero: activations behind a ReLU use all, others as many again below zero."""
    return int(2**bits - 1)


def _on_levels(tf: Any, values: Any, step: np.float32, bits: int) -> Any:
    return tf.clip_by_value(tf.round(values / step), -_levels(bits), _levels(bits)) * step


def _best_step(values: NDArray[np.float32], bits: int) -> np.float32:
    """The distance between levels with the least squared error."""
    largest = float(np.abs(values).max()) or 1.0
    tried = largest * _CLIPS / _levels(bits)
    top = _levels(bits)
    errors = [((np.clip(np.rint(values / step), -top, top) * step - values) ** 2).mean() for step in tried]
    return np.float32(tried[int(np.argmin(errors))])
