"""Measures of how well a score tells two groups apart: area, advantage, and hits where false alarms are rare."""

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
    """Compute the area under the ROC curve, with the interval of DeLong et al. 1988.

    Args:
        members: float64[n], their scores; ties with others count half.
        others: float64[m], their scores.
    """
    below, above = _share_below(members, others), 1 - _share_below(others, members)
    value = float(below.mean())
    half = _Z * math.sqrt(_variance_of_mean(below) + _variance_of_mean(above))
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half))


def advantage(members: Float64, others: Float64) -> Estimate:
    """Compute the true positive rate minus the false positive rate at the best threshold (Yeom et al. 2018).

    The threshold is chosen on every second sample and measured on the rest, and the other way round. Measured on the
    samples it was chosen on, even a score that knows nothing would look better than chance.
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
    """Count the members found by the lowest threshold that keeps to a false positive rate.

    Args:
        members: float64[n], their scores.
        others: float64[m], their scores.
        false_rate: the largest share of the others that may be taken for members.
    """
    allowed = math.floor(false_rate * len(others) + 1e-9)
    if allowed >= len(others):
        return Rate.of(len(members), len(members))
    threshold = np.sort(others)[-allowed - 1]  # above it are at most `allowed`
    return Rate.of(int((members > threshold).sum()), len(members))


def curve(members: Float64, others: Float64, false_rates: tuple[float, ...]) -> tuple[float, ...]:
    """Compute the true positive rate at each of these false positive rates."""
    return tuple(hits_at(members, others, rate).value for rate in false_rates)


def _best_threshold(members: Float64, others: Float64) -> float:
    thresholds = np.unique(np.concatenate([members, others]))
    hit = 1 - np.searchsorted(np.sort(members), thresholds) / len(members)
    false = 1 - np.searchsorted(np.sort(others), thresholds) / len(others)
    return float(thresholds[np.argmax(hit - false)])


def _share_below(values: Float64, others: Float64) -> Float64:
    """Compute for each value the share of the others below it; equal ones count half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return np.asarray(ranks / 2 / len(others))


def _variance_of_mean(values: Float64) -> float:
    return float(values.var(ddof=1) / len(values)) if len(values) > 1 else 0.0
