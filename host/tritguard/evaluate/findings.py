"""Findings that several studies share, and the comparison of those that a result states with what its figures show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from tritguard.evaluate.data_checks import CHECKS
from tritguard.evaluate.study import Confirmation, Issue, Rate, invalid, warn

FEW_SAMPLES = 100  # below this number, figures are called rough
_OF_DATA = {check.code for check in CHECKS}


def guessing(labels: Sequence[int]) -> float:
    """The accuracy of the best constant answer to samples with these labels, of which there must be at least one."""
    return max(Counter(labels).values()) / len(labels)


def other_bytes(confirmation: Confirmation) -> Iterator[Issue]:
    """Find inputs that got other bytes on the device than on the twin."""
    if confirmation.mismatched_inputs:
        what = f"{confirmation.mismatched_inputs} of {confirmation.inputs} inputs got other bytes than on the twin"
        yield invalid("DEVICE_TWIN_MISMATCH", what)


def few_samples(samples: int, rough: str = "accuracies are rough") -> Iterator[Issue]:
    """Find that there are fewer samples than figures need; `rough` says which figures suffer."""
    if samples < FEW_SAMPLES:
        yield warn("FEW_SAMPLES", f"{samples} samples: {rough}")


def no_better_than_chance(accuracy: Rate, guessed: float) -> Iterator[Issue]:
    """Find an accuracy that cannot be told from that of the best constant answer on the same samples, `guessed`."""
    if accuracy.low <= guessed:
        yield warn("ACCURACY_AT_CHANCE", f"the best constant answer is right on {guessed:.1%} of the samples")


def misstated(stated: Iterable[Issue], shown: Iterable[Issue], unknown: Collection[str] = ()) -> Iterator[str]:
    """Name each finding that is stated and not shown, shown and not stated, or stated with another severity.

    Args:
        stated: a result's issues. Those about the data are passed over, because a result does not hold the data.
        shown: what the study's checks find when they are made again from the result.
        unknown: codes of checks that cannot be made again from this result, which are passed over too.
    """
    left_out = _OF_DATA | set(unknown)
    said, found = (
        {(issue.code, issue.severity) for issue in issues if issue.code not in left_out} for issues in (stated, shown)
    )
    for code, severity in sorted(found - said):
        yield f"issues: the figures show {code} ({severity}), but issues does not hold it"
    for code, severity in sorted(said - found):
        yield f"issues: nothing shows {code} ({severity}), but issues holds it"
