"""Checks for what would make figures of a deployment misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tritguard.evaluate.findings import few_samples, no_better_than_chance, other_bytes
from tritguard.evaluate.study import Confirmation, Issue, Rate, invalid, warn

if TYPE_CHECKING:
    from tritguard.evaluate.deployment.result import OracleComparison


def check(
    accuracy: Rate, guessing: float, confirmation: Confirmation, oracle: OracleComparison | None
) -> Iterator[Issue]:
    """Find the issues that a reader has to know of; a study beyond doubt has none.

    Args:
        accuracy: the device's accuracy.
        guessing: the accuracy of the best constant answer on the same samples.
        confirmation: the comparison of the device with the twin.
        oracle: the comparison of the device with the oracle, if that was asked.
    """
    yield from other_bytes(confirmation)
    if oracle is None:
        yield warn("NO_ORACLE", "TensorFlow Lite Micro's interpreter was not asked: the twin alone confirms the bytes")
    elif oracle.mismatched_inputs:
        what = f"{oracle.mismatched_inputs} of {oracle.inputs} inputs got other scores than from the oracle"
        yield invalid("DEVICE_ORACLE_MISMATCH", what)
    yield from few_samples(accuracy.n, "accuracy and the slowest inference are rough")
    yield from no_better_than_chance(accuracy, guessing)
