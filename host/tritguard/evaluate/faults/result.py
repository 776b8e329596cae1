"""What a study of bit flips is told and what it finds."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from typing_extensions import override

from tritguard.evaluate.study import ModelIdentity, Rate, Study
from tritguard.records import Record

Search = Literal["random", "greedy"]
_RESAMPLES = 4000


class FaultPlan(Record):
    """Settings of a study of bit flips; the `[faults]` table of a run's configuration.

    Attributes:
        samples: test samples the faulty model is measured with.
        flips: how many bits of the weights are turned over, rising.
        draws: random draws of bits; of one draw, fewer flips are the first of more.
        greedy: flips the gradient-guided search may choose; 0 for none.
        attacker_samples: the samples that search knows, others than those measured with.
        device_samples: samples that each faulty image answers on the device.
        seed: of samples and draws.
    """

    samples: int = Field(200, ge=1)
    flips: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    draws: int = Field(10, ge=1)
    greedy: int = Field(16, ge=0)
    attacker_samples: int = Field(128, ge=1)
    device_samples: int = Field(20, ge=1)
    seed: int = Field(0, ge=0)

    @field_validator("flips")
    @classmethod
    def _rising(cls, flips: tuple[int, ...]) -> tuple[int, ...]:
        if not flips or list(flips) != sorted(set(flips)) or flips[0] < 1:
            raise ValueError("must be rising whole numbers from 1")
        return flips


class FaultDraw(Record):
    """One set of flips.

    Attributes:
        seed: of the draw; None where the bits were chosen.
        accuracy: with these flips, on the samples that were run. A device that crashes has nothing right.
        ran_on: the device where the twin cannot follow, see `tritguard.attack.faults.defined`.
        crashed: whether the firmware stopped answering or reset itself.
        estimate: the accuracy on all samples, see `from_few`, where the device ran only the first; None elsewhere.
    """

    seed: int | None
    accuracy: Rate
    ran_on: Literal["twin", "device"] = "twin"
    crashed: bool = False
    estimate: float | None = None

    @property
    def value(self) -> float:
        """The accuracy on all samples, measured or estimated: what draws are compared and averaged by."""
        return self.accuracy.value if self.estimate is None else self.estimate


def from_few(clean: float, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """The accuracy on all samples with flips, from a few (post-stratification by what was right without flips).

    A small set of samples is easier or harder than all of them. So what the flips make of those right before and of
    those wrong before is counted apart, and weighed by how many of all samples are right and wrong before.

    Args:
        clean: accuracy on all samples without flips.
        before: bool[n], which of the few are right without flips.
        after: bool[n], which with them.

    Returns:
        `clean` where the flips change nothing; with none wrong before among the few, none of those counts as mended.
    """
    kept, mended = (float(after[group].mean()) if group.any() else 0.0 for group in (before, ~before))
    return clean * kept + (1 - clean) * mended


class FaultPoint(Record):
    """So many flips: the mean accuracy and its 95 % interval.

    The interval of random flips covers the choice of bits (percentiles of means over draws drawn again); that of
    chosen ones the choice of samples (Wilson).
    """

    search: Search
    flips: int
    mean: float
    low: float
    high: float
    draws: tuple[FaultDraw, ...]

    @classmethod
    def of(cls, search: Search, flips: int, draws: tuple[FaultDraw, ...]) -> FaultPoint:
        """Mean and interval of draws; there must be one."""
        values = np.array([draw.value for draw in draws])
        low, high = draws[0].accuracy.low, draws[0].accuracy.high
        if search == "random":
            again = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values))).mean(axis=1)
            low, high = map(float, np.percentile(again, [2.5, 97.5]))
        return cls(search=search, flips=flips, mean=float(values.mean()), low=low, high=high, draws=draws)


class ChosenFlip(Record):
    """A bit the greedy search turned over: the byte of a C array in flash, its bit, and the layer."""

    symbol: str
    layer: int
    byte: int
    bit: int


class FaultReplay(Record):
    """Faulty firmware images booted on the emulated board, and their answers held against the faulty twin's.

    Attributes:
        weight_bytes: of the weights in flash, equal in firmware and twin before the flips and after.
        images: with flips the twin can follow.
        mismatched_inputs: answers that differ from the twin's in a byte.
    """

    board: str
    build_id: str
    weight_bytes: int
    images: int
    inputs: int
    bytes_compared: int
    mismatched_inputs: int


class FaultedModel(Record):
    """One model under faults.

    Attributes:
        formats: bytes of weights by format.
        undefined: draws left out, as they need a device and none was given.
    """

    model: ModelIdentity
    weight_bits: int
    formats: dict[str, int]
    clean: Rate
    points: tuple[FaultPoint, ...]
    chosen: tuple[ChosenFlip, ...]
    undefined: int
    replay: FaultReplay | None


class FaultResult(Study):
    """Accuracy against bit flips in flash: `faults.json`."""

    kind: Literal["faults"] = "faults"
    plan: FaultPlan
    classes: int
    models: tuple[FaultedModel, ...]

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {model.model.model_sha256 for model in self.models}
