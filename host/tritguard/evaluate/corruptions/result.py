"""The settings of a study of common corruptions, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, NonNegativeInt
from typing_extensions import override

from tritguard.attack.corruptions import ALL, OF_PICTURES, OF_SOUND, SEVERITIES
from tritguard.evaluate.corruptions.checks import check
from tritguard.evaluate.findings import guessing, misstated
from tritguard.evaluate.limits import DataRange, RangeSetting
from tritguard.evaluate.measurement import Firmware
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record

KNOWN = tuple(ALL)


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    if strangers := [name for name in names if name not in KNOWN]:
        raise ValueError(f"no corruption {strangers[0]!r}: {', '.join(KNOWN)}")
    if len(set(names)) < len(names):
        raise ValueError("names one of them twice")
    return names


def _severities(values: tuple[int, ...]) -> tuple[int, ...]:
    if not values or list(values) != sorted(set(values)) or not set(values) <= set(SEVERITIES):
        raise ValueError(f"must be rising, of {SEVERITIES[0]} to {SEVERITIES[-1]}")
    return values


class CorruptionsPlan(Record):
    """Settings of a study of common corruptions; the `[corruptions]` table of a configuration file.

    Attributes:
        samples: how many samples of the test set are corrupted.
        corruptions: their names; if empty, all that there are for the data.
        severities: some of 1 to 5, rising.
        data_range: the lowest and the highest value that a picture can have, as for attacks.
        seed: decides the samples and all that is random in corruptions.
    """

    samples: int = Field(100, ge=1)
    corruptions: Annotated[tuple[str, ...], AfterValidator(_known)] = ()
    severities: Annotated[tuple[int, ...], AfterValidator(_severities)] = SEVERITIES
    data_range: RangeSetting = "data"
    seed: int = Field(0, ge=0)


class Corrupted(Record):
    """What the device said to all samples with one corruption at one severity.

    Attributes:
        level: what the severity stands for; see the corruption.
        answers: the device's labels, one for each sample.
        change: the median over the samples of the largest change of any value of an input, in int8 steps.
    """

    corruption: str
    severity: int = Field(ge=1, le=5)
    level: float
    answers: tuple[NonNegativeInt, ...]
    accuracy: Rate
    change: float = Field(ge=0, le=255)


class Example(Record):
    """A sample as it is and with one corruption, as the device was given both.

    Attributes:
        sample: its position in the test set.
        clean_base64: the int8 bytes of the input as it is.
        corrupted_base64: those of the corrupted input.
    """

    sample: int
    corruption: str
    severity: int
    shape: tuple[int, ...]
    clean_base64: str
    corrupted_base64: str


class CorruptionsResult(Study):
    """Accuracy on corrupted inputs: `corruptions.json`. Nothing here is a worst case, and nothing keeps to a ball.

    Attributes:
        data_range: the data's own range, which every picture keeps to; None for sound.
        labels: the true labels, in the order of the provenance's `sample_indices`.
        answers: the device's labels for the inputs as they are.
        clean: the accuracy on them.
        points: one for each corruption at each severity.
        confirmation: the comparison of the device with the twin on every input, as it is and corrupted.
    """

    schema_version: Literal[1] = 1
    kind: Literal["corruptions"] = "corruptions"
    plan: CorruptionsPlan
    model: ModelIdentity
    data_range: DataRange | None
    classes: tuple[str, ...] = Field(min_length=1)
    labels: tuple[NonNegativeInt, ...] = Field(min_length=1)
    answers: tuple[NonNegativeInt, ...]
    clean: Rate
    points: tuple[Corrupted, ...] = Field(min_length=1)
    examples: tuple[Example, ...]
    confirmation: Confirmation
    firmware: Firmware

    @override
    def _contradictions(self) -> Iterator[str]:
        for name, answers, rate in [
            ("clean", self.answers, self.clean),
            *((f"points.{place}", point.answers, point.accuracy) for place, point in enumerate(self.points)),
        ]:
            if len(answers) != len(self.labels):
                yield f"{name}: has {len(answers)} answers, labels has {len(self.labels)}"
            elif (counted := right(self.labels, answers)) != rate:
                yield f"{name}: says {rate.k} of {rate.n}, its answers make it {counted.k} of {counted.n}"
        if (inputs := len(self.labels) * (1 + len(self.points))) != self.confirmation.inputs:
            yield f"confirmation.inputs: {self.confirmation.inputs}, there are {inputs} inputs"
        yield from self._strays()
        yield from misstated(self.issues, check(self.clean, guessing(self.labels), self.confirmation))

    def _strays(self) -> Iterator[str]:
        """Compare samples, corruptions and severities with those that were asked for."""
        indices, ran = self.provenance.sample_indices, [(point.corruption, point.severity) for point in self.points]
        if len(self.labels) != len(indices):
            yield f"labels: are {len(self.labels)}, provenance.sample_indices has {len(indices)}"
        asked = [self.plan.corruptions] if self.plan.corruptions else [tuple(OF_PICTURES), tuple(OF_SOUND)]
        if ran not in [list(product(names, self.plan.severities)) for names in asked]:
            yield "points: are not the plan's corruptions at its severities, in order"
            return
        for place, point in enumerate(self.points):
            if point.level != (level := ALL[point.corruption].levels[point.severity - 1]):
                yield f"points.{place}.level: {point.level:g}, {point.corruption} has {level:g} there"
        for place, example in enumerate(self.examples):
            if example.sample not in indices or (example.corruption, example.severity) not in ran:
                yield f"examples.{place}: is of no sample, or of no corruption, that the device was asked about"

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.model.bundle_sha256, self.model.model_sha256}


def right(labels: Sequence[int], answers: Sequence[int]) -> Rate:
    """The share of answers that are right."""
    return Rate.of(sum(label == answer for label, answer in zip(labels, answers, strict=True)), len(labels))
