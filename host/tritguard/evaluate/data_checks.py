"""Checks of the data against the model, made before anything is attacked; each doubt has a stable code.

Every check measures one share of the whole test set, or one distance. Above its first bound the study's figures are
doubtful, above its second they mean nothing.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.data import Dataset, SampleArray
from tritguard.emit.bundle import EdgeTensor, Manifest
from tritguard.evaluate.study import Issue
from tritguard.predictor import Int8

_SPREAD = (0.1, 99.9)  # percentiles between which a set's values are said to lie: a few outliers do not count


@dataclass(frozen=True)
class Checked:
    """The outcome of the checks.

    Attributes:
        issues: what they found.
        passed: the codes of those that found nothing.
        shares: what each check measured, by its code; None if it could not be made. For several models, the largest.
    """

    issues: tuple[Issue, ...] = ()
    passed: tuple[str, ...] = ()
    shares: tuple[tuple[str, float | None], ...] = ()

    def __add__(self, other: Checked) -> Checked:
        """Both outcomes together; what both found is listed once, and what either found has not passed."""
        issues = tuple(dict.fromkeys((*self.issues, *other.issues)))
        found = {issue.code for issue in issues}
        passed = dict.fromkeys((*self.passed, *other.passed))
        shares = dict(self.shares)
        for code, share in other.shares:
            before = shares.get(code)
            shares[code] = share if before is None else before if share is None else max(before, share)
        return Checked(issues, tuple(code for code in passed if code not in found), tuple(shares.items()))


def check_data(*manifests: Manifest, dataset: Dataset) -> Checked:
    """Make all checks of a data set whose samples have the shape that these models take.

    Raises:
        BadInputError: the samples cannot be put on a model's input grid; see `to_input_bytes`.
    """
    return sum((_check(manifest, dataset) for manifest in manifests), Checked())


def _check(manifest: Manifest, dataset: Dataset) -> Checked:
    facts = Facts(manifest, dataset)
    shares = tuple((check.code, check.measure(facts)) for check in CHECKS)
    found = {check.code: check.severity(share) for check, (_, share) in zip(CHECKS, shares, strict=True)}
    issues = (
        Issue(code=check.code, severity=severity, message=check.message.format(share=share, facts=facts))
        for check, (_, share) in zip(CHECKS, shares, strict=True)
        if (severity := found[check.code]) is not None and severity != "passed"
    )
    return Checked(tuple(issues), tuple(code for code, severity in found.items() if severity == "passed"), shares)


@dataclass(frozen=True)
class Facts:
    """What the checks measure, computed when it is first asked for.

    Attributes:
        manifest: the model.
        dataset: the data, whose test set is looked at as a whole.
    """

    manifest: Manifest
    dataset: Dataset

    @property
    def grid(self) -> EdgeTensor:
        """The model's input."""
        return self.manifest.input

    @cached_property
    def steps(self) -> Int8:
        """The test set as the model gets it, steps[n, *input_shape]."""
        return self.grid.steps_of(self.dataset.x_test)

    @cached_property
    def spread(self) -> tuple[float, float]:
        """The real values between which nearly all float32 samples lie."""
        low, high = np.percentile(self.dataset.x_test, _SPREAD)
        return float(low), float(high)

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest step of the grid."""
        limits = np.iinfo(self.grid.dtype)
        return int(limits.min), int(limits.max)

    @property
    def range(self) -> tuple[float, float]:
        """The real values of the lowest and the highest step."""
        return self.real(self.ends[0]), self.real(self.ends[1])

    def real(self, step: float) -> float:
        """The real value of a step."""
        return self.grid.scale * (step - self.grid.zero_point)

    @cached_property
    def used(self) -> tuple[int, int]:
        """The lowest and the highest step that occur."""
        return int(self.steps.min()), int(self.steps.max())

    @cached_property
    def digests(self) -> list[bytes]:
        """A digest of each test sample."""
        return _digests(self.dataset.x_test)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """int64[classes]: how many test samples each class of the model has."""
        return np.bincount(self.dataset.y_test, minlength=self.manifest.label_rule.classes)

    @property
    def largest(self) -> str:
        """The name of the class with the most test samples."""
        return self.dataset.classes[int(self.counts.argmax())]


def _digests(x: SampleArray) -> list[bytes]:
    return [hashlib.blake2b(np.ascontiguousarray(sample).data, digest_size=16).digest() for sample in x]


def _clipped(facts: Facts) -> float | None:
    """The share of values more than a step outside the range; pixels and steps cannot be outside."""
    if facts.dataset.x_test.dtype != np.float32:
        return None
    low, high = facts.real(facts.ends[0] - 1), facts.real(facts.ends[1] + 1)
    return float(((facts.dataset.x_test < low) | (facts.dataset.x_test > high)).mean())


def _exceeding(facts: Facts) -> float | None:
    """The share of the interval between the data's lowest and highest values that lies outside the model's range."""
    if facts.dataset.x_test.dtype != np.float32:
        return None
    (low, high), (lowest, highest) = facts.spread, facts.range
    if high <= low:
        return None
    return 1 - max(0.0, min(high, highest) - max(low, lowest)) / (high - low)


def _saturated(facts: Facts) -> float | None:
    """The share of values at either end of the grid, without the most frequent value, which may be a background."""
    if facts.dataset.x_test.dtype == np.float32:
        return None
    low, high = facts.ends
    counts = np.bincount(facts.steps.ravel().astype(np.int64) - low, minlength=high - low + 1)
    ends = {0, high - low} - {int(counts.argmax())}
    return float(sum(counts[list(ends)]) / counts.sum())


def _unused(facts: Facts) -> float:
    """The share of the grid's steps below the lowest and above the highest that occur.

    An int16 grid has its zero in the middle, so values of one sign leave half of it unused: there the largest magnitude
    counts.
    """
    (low, high), (lowest, highest) = facts.used, facts.ends
    if facts.grid.type == "int16":
        return 1 - max(-low, high, 0) / -lowest
    return 1 - (high - low + 1) / (highest - lowest + 1)


def _constant(facts: Facts) -> float | None:
    """The share of test samples that the model gets as one value throughout; None if a sample is a single value."""
    flat = facts.steps.reshape(len(facts.steps), -1)
    return None if flat.shape[1] == 1 else float((flat == flat[:, :1]).all(axis=1).mean())


def _off_calibration(facts: Facts) -> float | None:
    """The distance of the mean of all values from the calibration's mean, in the calibration's standard deviations."""
    known = facts.manifest.calibration
    return None if known is None else abs(float(facts.steps.mean()) - known.mean) / max(known.deviation, 1.0)


def _duplicates(facts: Facts) -> float:
    """The share of test samples that are a further copy of one before them."""
    return 1 - len(set(facts.digests)) / len(facts.digests)


def _conflicting(facts: Facts) -> float:
    """The share of test samples that occur with another label too."""
    labels = defaultdict(set)
    for digest, label in zip(facts.digests, facts.dataset.y_test.tolist(), strict=True):
        labels[digest].add(label)
    return sum(len(labels[digest]) > 1 for digest in facts.digests) / len(facts.digests)


def _in_training(facts: Facts) -> float | None:
    """The share of test samples that are training samples as well."""
    if facts.dataset.x_train is None:
        return None
    known = set(_digests(facts.dataset.x_train))
    return sum(digest in known for digest in facts.digests) / len(facts.digests)


def _majority(facts: Facts) -> float:
    return float(facts.counts.max() / facts.counts.sum())


def _missing(facts: Facts) -> float:
    """The share of the model's classes that no test sample has."""
    return float((facts.counts == 0).mean())


def _misplaced(facts: Facts) -> float | None:
    """The share of classes whose place differs between model and data, if both name the same ones."""
    ours, theirs = facts.manifest.classes, facts.dataset.classes
    if ours is None or Counter(ours) != Counter(theirs):
        return None
    return sum(a != b for a, b in zip(ours, theirs, strict=True)) / len(ours)


@dataclass(frozen=True)
class DataCheck:
    """One doubt about the data.

    Attributes:
        code: its stable code.
        doubtful: the share up to which the check passes.
        meaningless: the share up to which it warns; above it, the figures mean nothing. 1 if it always warns.
        measure: gives the share; None if the check cannot be made on this data.
        message: what was seen, with {share} and {facts}.
    """

    code: str
    doubtful: float
    meaningless: float
    measure: Callable[[Facts], float | None]
    message: str

    def severity(self, share: float | None) -> Literal["passed", "warn", "invalid"] | None:
        """What a share means; None if the check was not made."""
        if share is None:
            return None
        return "passed" if share <= self.doubtful else "warn" if share <= self.meaningless else "invalid"


_UNIT = (
    "the data goes from {facts.spread[0]:.4g} to {facts.spread[1]:.4g}, the model takes {facts.range[0]:.4g} to "
    "{facts.range[1]:.4g}: give samples in the model's input unit"
)

# Fashion-MNIST, CIFAR-10, Speech Commands (MFCC) and spoken digits (MFCC) have at most 0.6 % copies, 0.8 % saturated
# values and 12 % of their samples in one class, and the other checks find nothing in them.
CHECKS = (
    DataCheck("INPUTS_CLIPPED", 0.01, 0.1, _clipped, "{share:.1%} of the input values are clipped: " + _UNIT),
    DataCheck(
        "INPUTS_EXCEED_RANGE", 0.3, 0.6, _exceeding, "{share:.1%} of the data's range is out of the model's: " + _UNIT
    ),
    DataCheck(
        "INPUTS_SATURATED",
        0.15,
        1.0,
        _saturated,
        "{share:.1%} of the input values are the lowest or the highest step: were they clipped before?",
    ),
    DataCheck(
        "INPUT_RANGE_UNUSED",
        0.45,
        0.9,
        _unused,
        "the inputs use the {facts.grid.type} steps {facts.used[0]} to {facts.used[1]} alone and leave {share:.1%} of "
        "the model's range unused: was it made for samples in this unit?",
    ),
    DataCheck(
        "CONSTANT_INPUTS",
        0.01,
        0.5,
        _constant,
        "{share:.1%} of the test samples reach the model as one value throughout",
    ),
    DataCheck(
        "INPUTS_OFF_CALIBRATION",
        0.5,
        0.9,
        _off_calibration,
        "the mean of the inputs is {share:.0%} of a standard deviation off that of the inputs that the model was "
        "calibrated with: is this data prepared as those were?",
    ),
    DataCheck("DUPLICATE_INPUTS", 0.02, 0.5, _duplicates, "{share:.1%} of the test samples are copies of others"),
    DataCheck(
        "CONFLICTING_LABELS", 0.01, 0.25, _conflicting, "{share:.1%} of the test samples occur with another label too"
    ),
    DataCheck("TEST_IN_TRAINING", 0.02, 0.5, _in_training, "{share:.1%} of the test samples are training samples too"),
    DataCheck(
        "CLASS_IMBALANCE",
        0.9,
        1 - 1e-9,
        _majority,
        "{share:.1%} of the test samples are of class {facts.largest}: a network that always says so is as often right",
    ),
    DataCheck("CLASSES_MISSING", 0.5, 1.0, _missing, "{share:.1%} of the model's classes have no test sample"),
    DataCheck(
        "CLASS_ORDER",
        0.0,
        1.0,
        _misplaced,
        "{share:.1%} of the classes have another place in the data than in the model",
    ),
)
