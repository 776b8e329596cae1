"""What the checks of an evaluation look at, and what they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tritguard.attack.base import Follows
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint, Doubling, Growth, Symptoms
from tritguard.evaluate.robustness.significance import chance, guesses
from tritguard.evaluate.robustness.table import Bits, Figures, Flags, SampleTable, to_flags
from tritguard.evaluate.study import Rate


@dataclass(frozen=True)
class Evidence:
    """What the checks look at.

    Attributes:
        curve: the worst case at each eps; the last point is the sanity bound.
        headline: the point at the largest eps of the threat model.
        rows: each attack alone at each eps.
        holds: by the attack's name and eps, bool[n]: the samples that are right, clean and under this attack alone.
        follows: what leads each attack of the rows, by the attack's name; see `Attack.follows`.
        starts: from how many points each of them searched for each sample; see `Attack.starts`.
        chance: the accuracy of the best constant answer on the samples' labels.
        guesses: whether the answers to clean inputs cannot be told from guessing; see `significance.guesses`.
        symptoms: what was measured on the model itself.
        mismatched_inputs: the number of inputs on which device and twin differ.
        disagreed: the boards that answered other bytes than the other boards.
        doubled: by eps, the share of samples that the iterated attack breaks there only with twice its steps; empty if
            it was not run.
        growths: the black boxes that broke more than gradients, with the queries that they were given.
        control: an undefended model under the same attacks.
        proved: a digit for each sample, 1 where it is proved that nothing breaks it at the sanity bound; None if that
            was not tried.
        left_out: the preset's attacks that could not run, each with the package that is missing.
    """

    clean: Rate
    curve: tuple[CurvePoint, ...]
    headline: CurvePoint
    rows: tuple[AttackRow, ...]
    holds: Mapping[tuple[str, int], Flags]
    follows: Mapping[str, Follows]
    starts: Mapping[str, int]
    chance: float
    guesses: bool
    symptoms: Symptoms
    mismatched_inputs: int
    doubled: Mapping[int, float]
    growths: tuple[Growth, ...]
    control: Control | None
    proved: Bits | None = None
    disagreed: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)

    def at(self, eps: int) -> list[AttackRow]:
        """The rows of one bound."""
        return [row for row in self.rows if row.eps_steps == eps]

    def held(self, row: AttackRow) -> Flags:
        """The samples, bool[n], that hold under the attack of this row alone."""
        return self.holds[row.attack, row.eps_steps]

    @property
    def bounds(self) -> list[int]:
        """The bounds of the rows, rising."""
        return sorted({row.eps_steps for row in self.rows})

    @property
    def threat(self) -> list[int]:
        """The bounds that belong to the threat model, rising."""
        return [eps for eps in self.bounds if eps <= self.headline.eps_steps]


@dataclass(frozen=True)
class Measured:
    """What evidence is gathered from: the fields of these names in a result."""

    samples: SampleTable
    curve: tuple[CurvePoint, ...]
    attacks: tuple[AttackRow, ...]
    doubling: tuple[Doubling, ...]
    growth: tuple[Growth, ...]
    control: Control | None
    symptoms: Symptoms
    mismatched_inputs: int
    left_out: Mapping[str, str]
    disagreed: tuple[str, ...] = ()


def gather(found: Measured, figures: Figures, largest: int) -> Evidence:
    """Gather the evidence by which a result is judged, when it is made and again whenever it is read.

    Args:
        found: what was measured.
        figures: what its samples give.
        largest: the largest eps of the threat model, one of the curve's.
    """
    labels, clean = np.array(found.samples.labels), np.array(found.samples.clean)
    right, n = clean == labels, len(labels)
    return Evidence(
        clean=figures.clean,
        curve=found.curve,
        headline=next(point for point in found.curve if point.eps_steps == largest),
        rows=found.attacks,
        holds={(row.attack, row.eps_steps): right & ~to_flags(row.broken) for row in found.samples.attacks},
        follows={row.attack: row.follows for row in found.attacks if row.follows is not None},
        starts={row.attack: row.starts for row in found.attacks},
        chance=chance(labels),
        guesses=guesses(clean, labels),
        symptoms=found.symptoms,
        mismatched_inputs=found.mismatched_inputs,
        doubled={one.eps_steps: one.broken / n for one in found.doubling},
        growths=found.growth,
        control=found.control,
        proved=found.samples.proved,
        disagreed=found.disagreed,
        left_out=found.left_out,
    )


@dataclass(frozen=True)
class NotMade:
    """The answer of a check that could not be made: why."""

    reason: str


Finding = list[str] | NotMade  # what was seen; an empty list if the check passed
