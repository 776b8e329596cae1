"""The interface that all implementations of a model share: the oracle, the twin, a board and the float view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Int8 = NDArray[np.int8]


@dataclass(frozen=True)
class Outputs:
    """What a model answers for n inputs.

    Attributes:
        scores: int8[n, k], the model's quantized output.
        logits: float64[n, k] or None: the last layer's int32 accumulators times the manifest's scale for each class,
            which makes them comparable across classes. None if the implementation does not give them.
        ticks: int64[n] or None: the time of each inference in ticks of the board's timer.
    """

    scores: Int8
    logits: NDArray[np.float64] | None = None
    ticks: NDArray[np.int64] | None = None

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64[n]: the predicted classes. The first of equal scores wins, as in the argmax on the device."""
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)


class Predictor(Protocol):
    """Something that runs the deployed model. Attacks and evaluation never ask which implementation it is."""

    def predict(self, x: Int8) -> Outputs:
        """Run the model on x, int8[n, *input_shape]."""
        ...
