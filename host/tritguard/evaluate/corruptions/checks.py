"""Checks for what would make figures of common corruptions misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator

from tritguard.evaluate.findings import few_samples, no_better_than_chance, other_bytes
from tritguard.evaluate.study import Confirmation, Issue, Rate


def check(clean: Rate, guessing: float, confirmation: Confirmation) -> Iterator[Issue]:
    """Find the issues that a reader has to know of; a study beyond doubt has none.

    Args:
        clean: the device's accuracy on the inputs as they are.
        guessing: the accuracy of the best constant answer on the same samples.
        confirmation: the comparison of the device with the twin.
    """
    yield from other_bytes(confirmation)
    yield from few_samples(clean.n)
    yield from no_better_than_chance(clean, guessing)
