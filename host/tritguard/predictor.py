"""The interface that all implementations of a model share: the oracle, the twin, a board and the float view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError
from tritguard.records import Record

Int8 = NDArray[np.int8]  # or int16, where a model's input or output has 16 bits

_TOLERANCE = 0.01


class LabelRule(Record):
    """How the predicted class follows from a model's output.

    Attributes:
        kind: `argmax`: the class is the place of the largest score, the first among equals. `threshold`: the model
            has one output, and the class is 1 where it is above the threshold, else 0. `none`: the output is not a
            vector of scores, so it has no class.
        classes: the number of classes; 0 if there are none.
        threshold: the threshold as a real value; None unless `kind` is `threshold`.
        threshold_steps: the same threshold in steps of the output, which may lie between two of them.
    """

    kind: Literal["argmax", "threshold", "none"]
    classes: int
    threshold: float | None = None
    threshold_steps: float | None = None

    @classmethod
    def of(cls, shape: tuple[int, ...], scale: float, zero_point: int, bits: int = 8) -> Self:
        """Derive the rule of an output.

        A single output whose int8 values all lie from 0 to 1 is a probability, as that of a sigmoid is (TFLite gives it
        scale 1/256 and zero point -128), and its threshold is 0.5. Any other single output is a logit, whose threshold
        is 0. A sigmoid of int16 has scale 2^-15, which a logit would hardly have.

        Args:
            shape: the output's shape, with or without a batch of 1, such as (10,) or (1, 1, 1, 10). Scores lie along
                its only axis that is longer than 1.
            scale: the output's scale.
            zero_point: the output's zero point.
            bits: 8 or 16.
        """
        size = prod(shape)
        if size != max(shape, default=1):
            return cls(kind="none", classes=0)
        if size > 1:
            return cls(kind="argmax", classes=size)
        narrow = bits == 8 and zero_point == -128 and scale * 255 <= 1 + _TOLERANCE
        wide = bits == 16 and scale == 2**-15
        threshold = 0.5 if narrow or wide else 0.0
        return cls(kind="threshold", classes=2, threshold=threshold, threshold_steps=zero_point + threshold / scale)


@dataclass(frozen=True)
class Outputs:
    """What a model answers for n inputs.

    Attributes:
        scores: int8[n, k], the model's quantized output; int16 for a model whose output has 16 bits.
        logits: float64[n, k] or None: the last layer's int32 accumulators times the manifest's scale for each class,
            which makes them comparable across classes. None if the implementation does not give them.
        ticks: int64[n] or None: the time of each inference in ticks of the board's timer.
        threshold: for a model with one output, the score in output steps above which the class is 1; see `LabelRule`.
        frames: int8[n, frames, k] or None: for a model with state, the output after each frame of a stream. The scores,
            logits and ticks are those of the last frame.
    """

    scores: Int8
    logits: NDArray[np.float64] | None = None
    ticks: NDArray[np.int64] | None = None
    threshold: float | None = None
    frames: Int8 | None = None

    @classmethod
    def of_streams(
        cls, scores: Int8, logits: NDArray[np.float64] | None, threshold: float | None,
        ticks: NDArray[np.int64] | None = None,
    ) -> Self:  # fmt: skip
        """Return the answers of a model with state, given for each frame as int8[n, frames, k] and the like."""
        last = None if logits is None else logits[:, -1]
        return cls(scores[:, -1], last, None if ticks is None else ticks[:, -1], threshold, scores)

    @property
    def answered(self) -> Int8:
        """int8[n, ...]: every byte that the model gave: the scores, or those after each frame of a stream."""
        return self.scores if self.frames is None else self.frames

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64[n]: the predicted classes. The first of equal scores wins, as in the argmax on the device.

        Raises:
            BadInputError: there is one score for each input, and no threshold.
        """
        if self.threshold is not None:
            return np.asarray(self.scores[:, 0] > self.threshold, dtype=np.int64)
        if self.scores.shape[1] == 1:
            raise BadInputError("the model has one output, and no threshold that tells its two classes apart")
        return np.asarray(self.scores.argmax(axis=1), dtype=np.int64)

    def chosen(self, rows: NDArray[np.int64] | slice) -> Self:
        """Return the answers for some of the inputs.

        Args:
            rows: their places, in any order, or a slice.
        """
        logits = None if self.logits is None else self.logits[rows]
        ticks = None if self.ticks is None else self.ticks[rows]
        frames = None if self.frames is None else self.frames[rows]
        return type(self)(self.scores[rows], logits, ticks, self.threshold, frames)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the answers for inputs that were asked in parts, at least one, of the same model."""
        logits = [part.logits for part in parts if part.logits is not None]
        ticks = [part.ticks for part in parts if part.ticks is not None]
        frames = [part.frames for part in parts if part.frames is not None]
        return cls(
            np.concatenate([part.scores for part in parts]),
            np.concatenate(logits) if logits else None,
            np.concatenate(ticks) if ticks else None,
            parts[0].threshold,
            np.concatenate(frames) if frames else None,
        )


class Predictor(Protocol):
    """Something that runs the deployed model. Attacks and evaluation never ask which implementation it is."""

    def predict(self, x: Int8) -> Outputs:
        """Run the model on x, int8[n, *input_shape], or int16 if the model's input has 16 bits.

        A model with state runs on streams, int8[n, frames, *input_shape], each of which begins with the initial state.
        """
        ...
