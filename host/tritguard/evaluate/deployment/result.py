"""The settings of a study of a deployment, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from typing_extensions import override

from tritguard.evaluate.deployment.checks import check
from tritguard.evaluate.findings import misstated
from tritguard.evaluate.measurement import Firmware, Latency
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record


class DeploymentPlan(Record):
    """Settings of a study of a deployment; the `[evaluate]` table of a configuration file.

    Attributes:
        samples: how many samples of the test set the device is given; 0: all of them.
        oracle_samples: how many of those, evenly spaced, the oracle is given too; 0 goes without it.
        seed: decides which samples are drawn, unless all are.
    """

    samples: int = Field(0, ge=0)
    oracle_samples: int = Field(1000, ge=0)
    seed: int = Field(0, ge=0)


class OracleComparison(Record):
    """The comparison of the device's scores with those of TensorFlow Lite Micro's interpreter.

    Attributes:
        inputs: how many inputs both were given.
        bytes_compared: the bytes of their scores.
        mismatched_inputs: how many inputs got other scores.
    """

    inputs: NonNegativeInt
    bytes_compared: NonNegativeInt
    mismatched_inputs: NonNegativeInt


class Spread(Record):
    """A measured figure over all inferences."""

    mean: float
    deviation: NonNegativeFloat
    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Self:
        """Summarize float64[n]; the deviation is the sample's, divided by n - 1."""
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        found = (float(values.mean()), deviation, float(values.min()), float(np.median(values)), float(values.max()))
        return cls(mean=found[0], deviation=found[1], least=found[2], median=found[3], most=found[4])


class Energy(Record):
    """The energy that an inference takes, from a log of the board's current.

    Attributes:
        log: the name of the log.
        log_sha256: the hash of the whole file.
        format: the instrument whose export it is.
        marks: the input that was high during inferences, or the current above which one was taken for running.
        volts: the supply's voltage, given or the log's mean.
        volts_measured: whether the log holds the voltage of each sample.
        samples_hz: the median number of samples per second.
        inferences: how many were cut out.
        joules: the energy of an inference, all that the board takes during it.
        joules_above_idle: the same without what the board would take in that time between inferences.
        idle_watts: the board's power between inferences; None if the log holds no time between them.
        seconds: how long an inference lasts by its marks.
    """

    log: str
    log_sha256: str
    format: str
    marks: str
    volts: PositiveFloat
    volts_measured: bool
    samples_hz: PositiveFloat
    inferences: PositiveInt
    joules: Spread
    joules_above_idle: Spread | None
    idle_watts: float | None
    seconds: Spread


class DeploymentResult(Study):
    """How a deployed model does on its test set, on the device itself: `deployment.json`.

    Attributes:
        confusion: for each true class, how many of its samples the device took for each class.
        confirmation: the comparison of the device with the twin.
        oracle: the comparison of the device with the oracle; None where that was not asked.
        energy: what a log of the board's current says, if one was read.
    """

    schema_version: Literal[1] = 1
    kind: Literal["deployment"] = "deployment"
    plan: DeploymentPlan
    model: ModelIdentity
    classes: tuple[str, ...] = Field(min_length=1)
    accuracy: Rate
    confusion: tuple[tuple[NonNegativeInt, ...], ...]
    confirmation: Confirmation
    oracle: OracleComparison | None
    firmware: Firmware
    latency: Latency
    energy: Energy | None = None

    @override
    def _contradictions(self) -> Iterator[str]:
        if any(len(row) != len(self.classes) for row in (self.classes, self.confusion, *self.confusion)):
            yield f"confusion: is not a table of {len(self.classes)} by {len(self.classes)} classes"
            return
        counts = np.array(self.confusion)
        counted = int(counts.trace()), int(counts.sum())
        if counted != (self.accuracy.k, self.accuracy.n):
            yield f"accuracy: {self.accuracy.k} of {self.accuracy.n}, the confusion has {counted[0]} of {counted[1]}"
        if self.accuracy.n != self.confirmation.inputs:
            yield f"confirmation.inputs: {self.confirmation.inputs}, accuracy is of {self.accuracy.n}"
        if self.energy is not None and self.firmware.emulated:
            yield "energy: an emulated board draws no current"
        guessing = float(counts.sum(axis=1).max() / self.accuracy.n)
        yield from misstated(self.issues, check(self.accuracy, guessing, self.confirmation, self.oracle))

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.model.bundle_sha256, self.model.model_sha256}
