"""How well a score tells two groups apart: area, advantage, and true positives where false ones are rare."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tritguard.evaluate.study import Rate
from tritguard.records import Record

Float64 = NDArray[np.float64]
_Z = 1.959963984540054


class Estimate(Record):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


def auc(members: Float64, others: Float64) -> Estimate:
    """Area under the ROC curve, its interval by DeLong et al. 1988: float64[n], float64[m], ties count half."""
    below, above = _share_below(members, others), 1 - _share_below(others, members)
    value = float(below.mean())
    half = _Z * math.sqrt(_variance_of_mean(below) + _variance_of_mean(above))
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def advantage(members: Float64, others: Float64) -> Estimate:
    """True positives less false ones at the best threshold (Yeom et al. 2018).

    The threshold is chosen on every other sample and measured on the rest, both ways: chosen where it is measured,
    even a score that knows nothing would look better than chance.
    """
    rates = []
    for fold in (0, 1):
        threshold = _best_threshold(members[fold::2], others[fold::2])
        rates += [(members[1 - fold :: 2] >= threshold).mean(), (others[1 - fold :: 2] >= threshold).mean()]
    hit, false = (rates[0] + rates[2]) / 2, (rates[1] + rates[3]) / 2
    half = _Z * math.sqrt(hit * (1 - hit) / len(members) + false * (1 - false) / len(others))
    value = float(hit - false)
    return Estimate(value=value, low=max(-1.0, value - half), high=min(1.0, value + half))


def hits_at(members: Float64, others: Float64, false_rate: float) -> Rate:
    """Members found by the lowest threshold at which no larger share of the others is taken for members."""
    allowed = math.floor(false_rate * len(others) + 1e-9)
    if allowed >= len(others):
        return Rate.of(len(members), len(members))
    threshold = np.sort(others)[-allowed - 1]  # above it are at most `allowed`
    return Rate.of(int((members > threshold).sum()), len(members))


def curve(members: Float64, others: Float64, false_rates: tuple[float, ...]) -> tuple[float, ...]:
    """The true positive rate at each of these false positive rates."""
    return tuple(hits_at(members, others, rate).value for rate in false_rates)


def _best_threshold(members: Float64, others: Float64) -> float:
    thresholds = np.unique(np.concatenate([members, others]))
    hit = 1 - np.searchsorted(np.sort(members), thresholds) / len(members)
    false = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    return float(thresholds[np.argmax(hit - false)])


def _share_below(values: Float64, others: Float64) -> Float64:
    """For each value the share of the others below it, equals counting half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(ranks / 2 / len(others))


def _variance_of_mean(values: Float64) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0
