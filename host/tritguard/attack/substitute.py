"""A substitute for the deployed network with very few bits, rebuilt from its graph without training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.base import Target
from tritguard.attack.integer_ops import straight_through
from tritguard.attack.view import GradientView
from tritguard.graph.arithmetic.fixed_point import INT8_MAX
from tritguard.graph.model import Graph, Op, TransposeConv, Weighted
from tritguard.graph.stateful import Recurrent
from tritguard.predictor import Int8

_FITTED_TO = 64  # the number of samples that levels are fitted to
_MOST_BITS = 6
_AGREES = 0.7  # the least share of clean samples with the deployed label; below it the two networks are too different
_ROUNDS = 10
_CLIPS = np.linspace(0.15, 1, 18)


class LowBitView(GradientView):
    """The network with weights and activations on a few levels; gradients pass straight through.

    The quantization aware attack (Yang et al. 2023, 2305.05875) crafts on a substitute with very few bits, because
    inputs that fool its coarse steps transfer to quantized networks of every bit width. The paper trains its
    substitute; this one is rebuilt from the deployed model. The weights of a channel are fitted to their levels by
    least squares, the range of an activation's levels is the one with the least squared error on the samples, and the
    shift that rounding causes in the mean of a channel is corrected (bias correction, Nagel et al. 2019, 1906.04721).

    Args:
        graph: the deployed model.
        x: int8[n, *input_shape], the samples that levels are fitted to; their labels are not used.
        bits: bits of weights and activations; at 2 bits weights are ternary.
        temperature: see `GradientView`.
    """

    def __init__(self, graph: Graph, x: Int8, bits: int, temperature: float = 1.0) -> None:
        coarse = replace(graph, ops=tuple(_low_bit(op, bits) for op in graph.ops))
        super().__init__(coarse, temperature)
        self.bits = bits
        self._levels = _Fitting(coarse, _Recording(graph).run(x), bits).run(x)

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        """Shifted, put on the int8 grid as the deployed network does, then on the coarse one."""
        if isinstance(op, Recurrent):  # its state has 16 bits and stays as it is
            return smooth
        levels = self._levels[op.output]
        fine = super()._on_grid(smooth + levels.shift, None, op)
        return _coarse(self._tf, fine, self.graph.tensors[op.output].zero_point, levels.step, self.bits)


@dataclass(frozen=True, eq=False)
class _Levels:
    """How a layer's output is put on a few levels.

    Attributes:
        shift: float32[channels], added first, in int8 steps.
        step: the distance between levels, in int8 steps.
    """

    shift: NDArray[np.float32]
    step: np.float32


class _Recording(GradientView):
    """The view of the deployed network, run once to see what each layer computes before it is put on the grid."""

    def run(self, x: Int8) -> dict[int, NDArray[np.float32]]:
        """What each layer computes, float32[n, *shape] in int8 steps by output tensor, for int8[n, *input_shape]."""
        self._seen: dict[int, NDArray[np.float32]] = {}
        self._forward(self._tf.constant(x.astype(np.float32)))
        return self._seen

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        self._seen[op.output] = smooth.numpy()
        return super()._on_grid(smooth, exact, op)


class _Fitting(GradientView):
    """The low-bit network, run once to find each layer's levels behind the layers that have theirs.

    Args:
        graph: the network with low-bit weights.
        wanted: what the deployed network computes for the same inputs, see `_Recording`.
        bits: the bits of activations.
    """

    def __init__(self, graph: Graph, wanted: dict[int, NDArray[np.float32]], bits: int) -> None:
        super().__init__(graph)
        self._wanted, self._bits = wanted, bits

    def run(self, x: Int8) -> dict[int, _Levels]:
        """The levels by output tensor, fitted to int8[n, *input_shape]."""
        self._found: dict[int, _Levels] = {}
        self._forward(self._tf.constant(x.astype(np.float32)))
        return self._found

    @override
    def _on_grid(self, smooth: Any, exact: Callable[[], Any] | None, op: Op) -> Any:
        if isinstance(op, Recurrent):
            return smooth
        ours, zero_point = smooth.numpy(), self.graph.tensors[op.output].zero_point
        shift = (self._wanted[op.output] - ours).mean(axis=tuple(range(ours.ndim - 1)))
        fine = super()._on_grid(smooth + shift, None, op)
        step = _best_step(fine.numpy() - zero_point, self._bits)
        self._found[op.output] = _Levels(shift, step)
        return _coarse(self._tf, fine, zero_point, step, self._bits)


def substitute(target: Target, labels: NDArray[np.int64]) -> LowBitView:
    """The substitute with the fewest bits, from two up, that reproduces 70 % of the deployed labels.

    If none has, it is the one with six bits.

    Args:
        target: the attacked model, which needs a view.
        labels: int64[n], the deployed model's labels of the clean samples.
    """
    assert target.view is not None
    return _fitted(target.view, target.x[:_FITTED_TO].tobytes(), labels[:_FITTED_TO].tobytes())


@lru_cache(maxsize=16)
def _fitted(view: GradientView, samples: bytes, deployed: bytes) -> LowBitView:
    """The substitute for a chunk of samples, cached over all eps because each compiles gradients of its own."""
    x = np.frombuffer(samples, np.int8).reshape(-1, *view.input_shape)
    labels = np.frombuffer(deployed, np.int64)
    for bits in range(2, _MOST_BITS):
        found = LowBitView(view.graph, x, bits, view.temperature)
        if float((found.logits(x.astype(np.float32)).argmax(axis=1) == labels).mean()) >= _AGREES:
            return found
    return LowBitView(view.graph, x, _MOST_BITS, view.temperature)


def _low_bit(op: Op, bits: int) -> Op:
    """The op with the weights of each channel on 2^bits - 1 levels, as int8 with the same scale."""
    if not isinstance(op, Weighted | TransposeConv):
        return op
    axis = op.channel_axis if isinstance(op, Weighted) else 0
    others = tuple(other for other in range(op.weights.ndim) if other != axis)
    wide, top = op.weights.astype(np.float64), 2 ** (bits - 1) - 1
    step = np.abs(wide).max(axis=others, keepdims=True) / top
    if top == 1:
        step = 1.4 * np.abs(wide).mean(
            axis=others, keepdims=True
        )  # so that weights below 0.7 of the mean become zero (Li et al. 2016)
    for _ in range(_ROUNDS):
        levels = np.clip(np.rint(wide / np.maximum(step, 1e-9)), -top, top)
        squares = np.maximum((levels**2).sum(axis=others, keepdims=True), 1e-9)
        step = (levels * wide).sum(axis=others, keepdims=True) / squares
    return replace(op, weights=np.clip(np.rint(levels * step), -INT8_MAX, INT8_MAX).astype(np.int8))


def _levels(bits: int) -> int:
    """The number of levels above zero; activations that are not behind a ReLU have as many below zero."""
    return int(2**bits - 1)


def _coarse(tf: Any, fine: Any, zero_point: int, step: np.float32, bits: int) -> Any:
    """Activations in int8 steps on the nearest levels, which are `step` apart; the gradient goes straight through."""
    on_levels = tf.clip_by_value(tf.round((fine - zero_point) / step), -_levels(bits), _levels(bits)) * step
    return straight_through(tf, on_levels + zero_point, fine)


def _best_step(values: NDArray[np.float32], bits: int) -> np.float32:
    """The distance between levels that has the least squared error."""
    largest = float(np.abs(values).max()) or 1.0
    tried = largest * _CLIPS / _levels(bits)
    top = _levels(bits)
    errors = [((np.clip(np.rint(values / step), -top, top) * step - values) ** 2).mean() for step in tried]
    return np.float32(tried[int(np.argmin(errors))])
