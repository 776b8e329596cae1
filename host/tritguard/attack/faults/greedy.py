"""The bits that an attacker would choose: the fewest flips for the greatest damage."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.faults.flips import Flip, flip
from tritguard.attack.faults.view import FaultView
from tritguard.graph.emission import Emission
from tritguard.graph.formats.bits import PADDING, BitMap
from tritguard.graph.formats.kernel import bits_of
from tritguard.graph.model import Weighted
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress


class OpenModel(Predictor, Protocol):
    """The deployed model with weights that can be changed in place, such as `tritguard.twin.OpenTwin`.

    Attributes:
        weights: uint8 arrays by C symbol; the model computes with whatever is written there.
    """

    weights: dict[str, NDArray[np.uint8]]

    def symbol(self, layer: int) -> str:
        """The symbol of a layer's weights."""
        ...


@dataclass(frozen=True)
class ProgressiveSearch:
    """Progressive bit search (Rakin, He and Fan 2019, 1903.12269), on the bits that are really in flash.

    Each round finds one flip. The gradient of the cross-entropy with respect to every weight, on the straight-through
    view, tells to first order how much each bit would raise the loss; the best bits of each layer are tried on the
    deployed model, and the one that raises the loss most is kept. This differs from the paper in that the bits are
    those of the packed formats (a trit's fourth code included) and that several bits of a layer are tried.

    Threat model: white box with a precise injector (Rowhammer, laser, a debugger left open). Every bit of the weights
    can be flipped before boot, except those of sparse lists and base 3, which have no gradient.

    Attributes:
        tries: the bits of each layer that are tried on the deployed model in a round.
        temperature: the number that logits are divided by in the loss.
    """

    tries: int = 3
    temperature: float = 1.0
    name: str = field(default="greedy", init=False)

    def search(
        self, twin: OpenModel, emission: Emission, x: Int8, y: NDArray[np.int64], count: int, progress: Progress
    ) -> tuple[Flip, ...]:  # fmt: skip
        """Find `count` flips, each the best after those before it; the weights are left as they were.

        Args:
            twin: the deployed model with weights that can be changed.
            emission: what the twin's C was written from.
            x: int8[n, *input_shape], the attacker's samples; for a model with state int8[n, frames, *input_shape].
            y: int64[n], their labels.
            count: the number of flips wanted.
            progress: called with (flips found, count).
        """
        view = FaultView(emission, self.temperature, x.shape[1] if emission.graph.states else 1)
        layers = _layers(twin, emission)
        found: list[Flip] = []
        for done in range(count):
            progress(done, count)
            _, slopes = view.slopes(x.astype(np.float32), y)
            candidates = [each for layer in layers for each in self._best(layer, slopes[layer.position], found)]
            if not candidates:
                break
            losses = [self._loss_with(twin, candidate.flip, x, y) for candidate in candidates]
            best = candidates[int(np.argmax(losses))]
            flip(twin.weights, [best.flip])
            view.change(best.position, best.weight, best.change)
            found.append(best.flip)
        flip(twin.weights, found)
        progress(count, count)
        return tuple(found)

    def _best(self, layer: _Layer, slope: NDArray[np.float32], found: list[Flip]) -> list[_Candidate]:
        """The bits of a layer that promise to raise the loss most."""
        change = layer.bits.changes(layer.memory)
        gain = np.where(layer.bits.weight == PADDING, 0.0, change * slope[layer.bits.weight])
        for each in found:
            if each.symbol == layer.symbol:
                gain[each.byte, each.bit] = 0.0  # flipping a bit back is no fault
        best = np.argsort(-gain, axis=None)[: self.tries]
        places = zip(*np.unravel_index(best, gain.shape), strict=True)
        return [
            _Candidate(Flip(layer.symbol, int(byte), int(bit)), layer.position, int(layer.bits.weight[byte, bit]),
                       int(change[byte, bit]))
            for byte, bit in places
            if gain[byte, bit] > 0
        ]  # fmt: skip

    def _loss_with(self, twin: OpenModel, candidate: Flip, x: Int8, y: NDArray[np.int64]) -> float:
        flip(twin.weights, [candidate])
        loss = mean_loss(twin.predict(x), y, self.temperature)
        flip(twin.weights, [candidate])
        return loss


def mean_loss(outputs: Outputs, y: NDArray[np.int64], temperature: float) -> float:
    """The mean cross-entropy of the logits divided by a temperature, or of the int8 scores if there are no logits."""
    values = (outputs.scores.astype(np.float64) if outputs.logits is None else outputs.logits) / temperature
    highest = values.max(axis=1)
    sums = np.exp(values - highest[:, None]).sum(axis=1)
    return float(np.mean(highest + np.log(sums) - values[np.arange(len(y)), y]))


@dataclass(frozen=True)
class _Candidate:
    flip: Flip
    position: int
    weight: int
    change: int


@dataclass(frozen=True)
class _Layer:
    position: int
    symbol: str
    memory: NDArray[np.uint8]
    bits: BitMap


def _layers(twin: OpenModel, emission: Emission) -> list[_Layer]:
    """The layers whose bits have gradients."""
    found = []
    for position, kernel in emission.kernels.items():
        op = emission.graph.ops[position]
        assert isinstance(op, Weighted)
        bits = bits_of(op, kernel.weights)
        symbol = twin.symbol(op.index)
        if bits is not None:
            found.append(_Layer(position, symbol, twin.weights[symbol], bits))
    return found
