"""Checks for what would make a bracket misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritguard.evaluate.findings import few_samples
from tritguard.evaluate.study import Attacked, Confirmation, Issue, invalid, warn

CONTRADICTED = "PROOF_CONTRADICTED"


def check(
    statuses: Sequence[tuple[int, str]], attacked: Attacked | None, contradicted: int, confirmation: Confirmation | None
) -> Iterator[Issue]:
    """Find the issues that a reader has to know of; a study beyond doubt has none.

    Args:
        statuses: each eps, with a letter for what is known of each sample there without the attacks.
        attacked: what attacks found on the same samples.
        contradicted: how many inputs of proved balls got another label when they were tried.
        confirmation: the comparison of the device with the twin.
    """
    if attacked is not None:
        for eps, letters in statuses:
            fallen = [first is not None and first <= eps for first in attacked.first]
            if count := sum(broken and letter == "p" for broken, letter in zip(fallen, letters, strict=True)):
                what = f"at eps {eps} attacks break {count} samples that are said to be proved: a fault in tritguard"
                yield invalid(CONTRADICTED, what)
    if contradicted:
        what = f"{contradicted} inputs of balls that are said to be proved get another label: a fault in tritguard"
        yield invalid(CONTRADICTED, what)
    if confirmation is None:
        yield warn("NO_DEVICE", "no build was given, so nothing was confirmed on a device")
    elif count := confirmation.mismatched_inputs:
        yield invalid("DEVICE_TWIN_MISMATCH", f"device and twin differ on {count} inputs")
    yield from few_samples(len(statuses[0][1]), "the intervals are wide")
