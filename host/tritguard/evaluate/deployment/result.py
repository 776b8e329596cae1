"""The settings of a study of a deployment, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, model_validator
from typing_extensions import override

from tritguard.evaluate.measurement import Firmware, Latency
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record


class DeploymentPlan(Record):
    """Settings of a study of a deployment; the `[evaluate]` table of a configuration file.

    Attributes:
        samples: how many samples of the test set the device is given; 0: all of them.
        oracle_samples: how many of those, evenly spaced, the oracle is given too; 0 goes without it.
        seed: decides which samples are drawn, where they are not all.
    """

    samples: int = Field(0, ge=0)
    oracle_samples: int = Field(1000, ge=0)
    seed: int = Field(0, ge=0)


class OracleComparison(Record):
    """The device's int8 scores beside those of TensorFlow Lite Micro's interpreter.

    Attributes:
        inputs: how many inputs both were given.
        bytes_compared: the bytes of their scores.
        mismatched_inputs: how many inputs got other scores.
    """

    inputs: NonNegativeInt
    bytes_compared: NonNegativeInt
    mismatched_inputs: NonNegativeInt


class DeploymentResult(Study):
    """How a deployed model does on its test set, on the device itself: `deployment.json`.

    Attributes:
        confusion: for each true class, how many of its samples the device took for each class.
        confirmation: the device beside the twin.
        oracle: None where the oracle was not asked.
    """

    schema_version: Literal[1] = 1
    kind: Literal["deployment"] = "deployment"
    plan: DeploymentPlan
    model: ModelIdentity
    classes: tuple[str, ...]
    accuracy: Rate
    confusion: tuple[tuple[NonNegativeInt, ...], ...]
    confirmation: Confirmation
    oracle: OracleComparison | None
    firmware: Firmware
    latency: Latency

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if what := next(self._contradictions(), None):
            raise ValueError(what)
        return self

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

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.model.bundle_sha256, self.model.model_sha256}
