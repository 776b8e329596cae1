"""Comparisons of attacks on the same samples: one that knows less must not break more.

Each comparison is McNemar's exact test, one-sided, on the samples that only one side breaks. All comparisons that a
check makes, over the attacks and the bounds, share its level of 5 % (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tritguard.attack.base import Kind
from tritguard.evaluate.robustness.evidence import Evidence, Finding, NotMade
from tritguard.evaluate.robustness.figures import AttackRow
from tritguard.evaluate.robustness.significance import LEVEL, mcnemar
from tritguard.evaluate.robustness.table import Flags

Choice = Callable[[Evidence, AttackRow], bool]  # whether a row is chosen


@dataclass(frozen=True)
class _Pair:
    """Two searches on the same samples.

    Attributes:
        what: says which they are.
        first: bool[n], the samples that hold under the search that should break less.
        second: the same for the one that should break more.
    """

    what: str
    first: Flags
    second: Flags

    @property
    def wins(self) -> int:
        """The number of samples that only the first breaks."""
        return int((self.second & ~self.first).sum())

    @property
    def losses(self) -> int:
        """The number of samples that only the second breaks."""
        return int((self.first & ~self.second).sum())


def _beaten(pairs: list[_Pair]) -> list[str]:
    """Describe the pairs whose first search breaks significantly more."""
    return [
        f"{pair.what} (samples that only one of them breaks: {pair.wins} to {pair.losses})"
        for pair in pairs
        if mcnemar(pair.wins, pair.losses) <= LEVEL / len(pairs)
    ]


def weaker(
    name: str, chosen: Choice, strong: str, than: Choice, *, together: bool = False
) -> Callable[[Evidence], Finding]:
    """Make a check that no chosen attack breaks more than the others do at the same bound.

    Args:
        name: what the chosen attacks are, for a message.
        chosen: selects them.
        strong: what the others are.
        than: selects them.
        together: compare with all that the others break together, rather than with the best of them: for a chosen
            attack that is itself the best of many.
    """

    def find(e: Evidence) -> Finding:
        pairs = []
        for eps in e.bounds:
            others = [e.held(row) for row in e.at(eps) if than(e, row)]
            if others:
                held = np.logical_and.reduce(others) if together else min(others, key=np.count_nonzero)
                pairs += [_pair(eps, row, e.held(row), strong, held) for row in e.at(eps) if chosen(e, row)]
        return _beaten(pairs) if pairs else NotMade(f"no eps was attacked by {name} and by {strong}")

    return find


def _pair(eps: int, row: AttackRow, first: Flags, strong: str, second: Flags) -> _Pair:
    return _Pair(f"at eps {eps} {row.attack} leaves {first.mean():.1%}, {strong} {second.mean():.1%}", first, second)


def takes_gradients(row: AttackRow) -> bool:
    """Whether the attack of this row uses gradients."""
    return row.kind == "white box"


def by_gradients(e: Evidence, row: AttackRow) -> bool:
    """Whether gradients alone lead this attack: one that follows answers as well would hide that they lead nowhere."""
    return one_step(e, row) or iterated(e, row)


def one_step(e: Evidence, row: AttackRow) -> bool:
    """Whether a single gradient leads the attack of this row."""
    return takes_gradients(row) and e.follows[row.attack] == "one gradient"


def iterated(e: Evidence, row: AttackRow) -> bool:
    """Whether a loop of gradients, and nothing else, leads the attack of this row."""
    return takes_gradients(row) and e.follows[row.attack] == "gradients"


def of_kind(kind: Kind) -> Choice:
    """Select the attacks of this kind."""
    return lambda _evidence, row: row.kind == kind


def not_monotone(e: Evidence) -> Finding:
    """Compare each iterated attack with itself in the next smaller ball, which lies inside the larger one."""
    names = dict.fromkeys(row.attack for row in e.rows if iterated(e, row))
    pairs = [pair for name in names for pair in _rising(e, name)]
    return _beaten(pairs) if pairs else NotMade("no iterated gradient attack was run at two bounds")


def _rising(e: Evidence, name: str) -> list[_Pair]:
    rows = sorted((row for row in e.rows if row.attack == name), key=lambda row: row.eps_steps)
    return [
        _Pair(
            f"{name} alone leaves {before.robust.value:.1%} at eps {before.eps_steps} "
            f"but {after.robust.value:.1%} at {after.eps_steps}",
            e.held(before),
            e.held(after),
        )
        for before, after in pairwise(rows)
    ]


def found_elsewhere(e: Evidence, eps: int) -> float:
    """Compute the share of samples that fall at this bound, but not to iterated gradients."""
    led = [e.held(row) for row in e.at(eps) if iterated(e, row)]
    every = [e.held(row) for row in e.at(eps)]
    return float((np.logical_and.reduce(led) & ~np.logical_and.reduce(every)).mean()) if led else 0.0
