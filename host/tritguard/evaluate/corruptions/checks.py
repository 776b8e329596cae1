"""Checks for what would make figures of common corruptions misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator

from tritguard.evaluate.study import Confirmation, Issue, Rate, invalid, warn

_FEW_SAMPLES = 100


def check(clean: Rate, guessing: float, confirmation: Confirmation) -> Iterator[Issue]:
    """Find what a reader has to know; a sound study has nothing.

    Args:
        clean: the device's accuracy on the inputs as they are.
        guessing: the accuracy of the best constant answer on the same samples.
        confirmation: the device beside the twin.
    """
    if confirmation.mismatched_inputs:
        what = f"{confirmation.mismatched_inputs} of {confirmation.inputs} inputs got other bytes than on the twin"
        yield invalid("DEVICE_TWIN_MISMATCH", what)
    if clean.n < _FEW_SAMPLES:
        yield warn("FEW_SAMPLES", f"{clean.n} samples: accuracies are rough")
    if clean.low <= guessing:
        yield warn("ACCURACY_AT_CHANCE", f"the best constant answer is right on {guessing:.1%} of the samples")
