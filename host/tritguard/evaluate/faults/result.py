"""The settings of a study of bit flips, and what it finds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from tritguard.evaluate.faults.checks import check
from tritguard.evaluate.findings import misstated
from tritguard.evaluate.study import ModelIdentity, Rate, Study, wilson
from tritguard.records import Record

Search = Literal["random", "greedy"]
_RESAMPLES = 4000


class FaultPlan(Record):
    """Settings of a study of bit flips; the `[faults]` table of a run's configuration.

    Attributes:
        samples: the number of test samples that accuracy is measured on.
        flips: how many bits of the weights are flipped, rising.
        draws: how often bits are drawn at random. The bits of a draw come in an order: fewer flips are its first ones.
        greedy: how many flips the gradient-guided search may choose; 0 goes without it.
        attacker_samples: the number of samples that this search knows, none of which accuracy is measured on.
        device_samples: the number of samples that each faulty image answers on the device.
        tflm_samples: the number of samples that TensorFlow Lite Micro's interpreter answers with the same flips; 0 goes
            without it.
        seed: decides samples and draws.
    """

    samples: int = Field(200, ge=1)
    flips: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128)
    draws: int = Field(10, ge=1)
    greedy: int = Field(16, ge=0)
    attacker_samples: int = Field(128, ge=1)
    device_samples: int = Field(20, ge=1)
    tflm_samples: int = Field(50, ge=0)
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
        seed: the seed of the draw; None if the bits were chosen.
        accuracy: accuracy with these flips on the samples that were run; a device that crashes gets none right.
        ran_on: the device, where the twin cannot follow the flips; see `is_defined` of the weight formats. Both are our
            firmware; `tflm` is TensorFlow Lite Micro's interpreter.
        crashed: whether the firmware stopped answering or reset itself.
        estimate: the accuracy on all samples, estimated by `from_few` if the device ran only the first of them.
    """

    seed: int | None
    accuracy: Rate
    ran_on: Literal["twin", "device", "tflm"] = "twin"
    crashed: bool = False
    estimate: float | None = None

    @property
    def value(self) -> float:
        """The accuracy on all samples, measured or estimated, by which draws are compared and averaged."""
        return self.accuracy.value if self.estimate is None else self.estimate


def from_few(clean: float, before: NDArray[np.bool_], after: NDArray[np.bool_]) -> float:
    """Estimate the accuracy with flips on all samples from a few of them, by post-stratification.

    A small set of samples is easier or harder than all of them. What the flips do is therefore counted separately for
    the samples that are right and those that are wrong without flips, and weighted by the shares of both among all.

    Args:
        clean: the accuracy on all samples without flips.
        before: bool[n], which of the few are right without flips.
        after: bool[n], which of the few are right with flips.

    Returns:
        The estimate, which is `clean` if the flips change nothing. If none of the few is wrong without flips, no wrong
        sample is assumed to become right.
    """
    kept, mended = (float(after[group].mean()) if group.any() else 0.0 for group in (before, ~before))
    return clean * kept + (1 - clean) * mended


class FaultPoint(Record):
    """The mean accuracy with a number of flips, and its 95 % interval.

    For random flips the interval covers the choice of bits (bootstrap over draws), for chosen ones it covers the choice
    of samples (Wilson, of the estimate where only the first of them were run).
    """

    search: Search
    flips: int
    mean: float
    low: float
    high: float
    draws: tuple[FaultDraw, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _mean_is_of_the_draws(self) -> Self:
        mean = float(np.mean([draw.value for draw in self.draws]))
        if not math.isclose(self.mean, mean, abs_tol=1e-9):
            raise ValueError(f"mean of {self.flips} flips ({self.search}): {self.mean:g}, its draws give {mean:g}")
        return self

    @classmethod
    def of(cls, search: Search, flips: int, draws: tuple[FaultDraw, ...]) -> FaultPoint:
        """Average the draws, of which there must be at least one."""
        values = np.array([draw.value for draw in draws])
        low, high = wilson(draws[0].value * draws[0].accuracy.n, draws[0].accuracy.n)
        if search == "random":
            again = np.random.default_rng(0).choice(values, (_RESAMPLES, len(values))).mean(axis=1)
            low, high = map(float, np.percentile(again, [2.5, 97.5]))
        return cls(search=search, flips=flips, mean=float(values.mean()), low=low, high=high, draws=draws)


class ChosenFlip(Record):
    """A bit that the greedy search flipped: the C array in flash, its layer, the byte of the array and its bit."""

    symbol: str
    layer: int
    byte: int
    bit: int


class FaultReplay(Record):
    """Faulty firmware images, booted on the emulated board, and how their answers compare with the faulty twin's.

    Attributes:
        weight_bytes: the bytes of weights in flash, all equal in firmware and twin before the flips and after.
        images: the number of images: one without flips, the others with flips that the twin can follow.
        inputs: the number of answers, over all images.
        mismatched_inputs: the number of answers that differ from the twin's in a byte.
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
        formats: the bytes of weights in each format.
        clean: accuracy without flips.
        points: accuracy in our native firmware.
        tflm: accuracy in TensorFlow Lite Micro with flips of the same weights; empty where it was not measured.
        chosen: the flips of the greedy search, in its order.
        undefined: the number of draws that were left out because they need a device and none was given.
    """

    model: ModelIdentity
    weight_bits: int
    formats: dict[str, int]
    clean: Rate
    points: tuple[FaultPoint, ...]
    tflm: tuple[FaultPoint, ...] = ()
    chosen: tuple[ChosenFlip, ...]
    undefined: int
    replay: FaultReplay | None


class FaultResult(Study):
    """Accuracy with bits flipped in flash: `faults.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["faults"] = "faults"
    plan: FaultPlan
    classes: int
    models: tuple[FaultedModel, ...] = Field(min_length=1)

    @override
    def _contradictions(self) -> Iterator[str]:
        if self.classes < 1:
            yield f"classes: {self.classes}, a model has at least one"
            return
        for place, model in enumerate(self.models):
            for name, points in (("points", model.points), ("tflm", model.tflm)):
                for number, point in enumerate(points):
                    if not 1 <= point.flips <= model.weight_bits:
                        where = f"models.{place}.{name}.{number}.flips"
                        yield f"{where}: {point.flips}, there are {model.weight_bits} bits of weights"
        yield from misstated(self.issues, check(self.models, self.plan, self.classes))

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {model.model.model_sha256 for model in self.models}
