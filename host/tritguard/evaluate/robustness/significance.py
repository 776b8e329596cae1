"""Whether differences on the same samples, and agreement with labels, are more than chance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Labels
from tritguard.evaluate.study import Rate

LEVEL = 0.05  # the significance level that all comparisons of a check share
_SHUFFLES = 999
_GUESS_LEVEL = 0.01  # share of shuffles that may be right as often as the answers of a network that does not guess


def mcnemar(wins: int, losses: int) -> float:
    """McNemar's exact test, one-sided (McNemar 1947).

    Args:
        wins: the number of samples that only the first of two attacks breaks.
        losses: the number that only the second one breaks.

    Returns:
        The probability of at least this many wins if a fair coin decided each sample on which the attacks differ.
    """
    n = wins + losses
    ways, total = math.comb(n, wins), 0
    for k in range(wins, n + 1):
        total += ways
        ways = ways * (n - k) // (k + 1)  # to choose k + 1 of n
    return total / (1 << n)


def chance(y: Labels) -> float:
    """Compute the accuracy of the best constant answer on the labels y, int64[n]."""
    return float(np.bincount(y).max() / len(y))


def guesses(labels: Labels, y: Labels) -> bool:
    """Say whether answers, int64[n], cannot be told from guessing the labels y, int64[n].

    That is so if significantly more samples would be right with the best constant answer, or if neither the 95 %
    interval of the accuracy lies above that of the best constant answer, nor are the answers right more often than the
    same answers dealt out to the samples at random (a permutation test at 1 %). A network that gives one answer fails
    both, however unbalanced the labels are; one that finds the few samples of a rare class passes the second.
    """
    right = int((labels == y).sum())
    rate, constant = Rate.of(right, len(y)), chance(y)
    if rate.high < constant:
        return True
    return rate.low <= constant and _by_luck(labels, y, right) > _GUESS_LEVEL


def _by_luck(labels: NDArray[np.int64], y: Labels, right: int) -> float:
    """Estimate how probably answers in a random order are right as often: a p-value, the same in every run."""
    rng = np.random.default_rng(0)
    reached = sum(int((rng.permutation(labels) == y).sum()) >= right for _ in range(_SHUFFLES))
    return (1 + reached) / (1 + _SHUFFLES)
