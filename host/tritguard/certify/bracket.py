"""Which samples no input of their ball can break, and which some input does: level by level."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from tritguard.attack import Ball
from tritguard.certify.box import Bool, Region
from tritguard.certify.network import Network
from tritguard.certify.refinement import Effort
from tritguard.certify.relaxation import Relaxation
from tritguard.certify.splitting import Answer, Limit, lowest_corner, search
from tritguard.graph.model import Float64, Int8, Int64
from tritguard.progress import Progress

Status = Literal["proved", "broken", "open"]
Level = Literal["clean", "intervals", "relaxation", "splitting"]
LEVELS: tuple[Level, ...] = get_args(Level)

_CHUNK = 32  # samples whose intervals are propagated at a time


@dataclass(frozen=True)
class Depth:
    """How far to go for a sample.

    Attributes:
        relaxation: what linear relaxation may take; None for intervals alone.
        splitting: when a search ends; None for no search.
    """

    relaxation: Effort | None = field(default_factory=Effort)
    splitting: Limit | None = None


@dataclass(eq=False)
class Verdicts:
    """What was found for each of n samples in one ball.

    Attributes:
        status: whether every input of the ball gives the label, some input does not, or neither is known.
        level: the level that settled it; for an open sample, the last one that was tried.
        counterexamples: by sample, int8[*input_shape], an input that gives another label.
        tried: by level, how many samples it was tried on.
        seconds: by level, the processor time of this process that it took in all.
    """

    status: list[Status]
    level: list[Level]
    counterexamples: dict[int, Int8] = field(default_factory=dict)
    tried: Counter[Level] = field(default_factory=Counter)
    seconds: dict[Level, float] = field(default_factory=dict)

    def settle(self, sample: int, status: Status, level: Level, x: Int8 | None = None) -> None:
        """Record what was found for a sample."""
        self.status[sample], self.level[sample] = status, level
        if x is not None:
            self.counterexamples[sample] = x

    def spend(self, level: Level, seconds: float, samples: int = 1) -> None:
        """Record the processor time that a level took for some samples."""
        self.tried[level] += samples
        self.seconds[level] = self.seconds.get(level, 0.0) + seconds

    @property
    def open(self) -> list[int]:
        """The samples that are not settled."""
        return [sample for sample, status in enumerate(self.status) if status == "open"]


def certify(
    network: Network, answer: Answer, x: Int8, y: Int64, ball: Ball, depth: Depth, progress: Progress
) -> Verdicts:
    """Prove or break each sample, cheap levels first.

    Args:
        network: the deployed network.
        answer: asks the deployed model for labels.
        x: int8[n, *input_shape], clean inputs.
        y: int64[n], their labels.
        ball: the inputs that the attacker may use for each.
        depth: how far to go.
        progress: called with (samples done, samples in all).
    """
    n = len(x)
    progress(0, n)
    found = Verdicts(["open"] * n, ["intervals"] * n)
    for sample in np.flatnonzero(answer(x) != y).tolist():
        found.settle(sample, "broken", "clean", x[sample])
    start = time.process_time()
    for first in range(0, len(rest := found.open), _CHUNK):
        part = np.array(rest[first : first + _CHUNK])
        bounds = network.intervals(Region.of(ball, x[part]).box)
        for sample in part[network.decision.proved(network.stages, bounds, y[part]).all(axis=1)].tolist():
            found.settle(sample, "proved", "intervals")
    found.spend("intervals", time.process_time() - start, len(rest))
    rest = found.open
    for done, sample in enumerate(rest):
        progress(n - len(rest) + done, n)
        _one(network, answer, Region.of(ball, x[sample : sample + 1]), int(y[sample]), depth, found, sample)
    progress(n, n)
    return found


def _one(
    network: Network, answer: Answer, region: Region, label: int, depth: Depth, found: Verdicts, sample: int
) -> None:
    if depth.relaxation is None:
        return
    start = time.process_time()
    found.level[sample] = "relaxation"
    relaxation = network.relaxed(region, network.intervals(region.box))
    settled = _tried(network, answer, relaxation, label, found, sample)
    if not settled and depth.relaxation.work > 0:
        relaxation = network.refined(region, depth.relaxation)
        _tried(network, answer, relaxation, label, found, sample)
    found.spend("relaxation", time.process_time() - start)
    if depth.splitting is None or found.status[sample] != "open":
        return
    start = time.process_time()
    result = search(network, relaxation, label, answer, depth.splitting)
    found.level[sample] = "splitting"
    if result.proved or result.counterexample is not None:
        found.settle(sample, "proved" if result.proved else "broken", "splitting", result.counterexample)
    found.spend("splitting", time.process_time() - start)


def _tried(network: Network, answer: Answer, relaxation: Relaxation, label: int, found: Verdicts, sample: int) -> bool:
    """Whether linear relaxation with these bounds, or the corner at which it is lowest, settles a sample."""
    trace = dict[int, Float64]()
    _, proved = network.margins(relaxation, np.array([label]), trace)
    if proved.all():
        found.settle(sample, "proved", "relaxation")
    elif (corner := _broken_corner(network, answer, relaxation.region, label, trace, proved)) is not None:
        found.settle(sample, "broken", "relaxation", corner)
    return found.status[sample] != "open"


def _broken_corner(
    network: Network, answer: Answer, region: Region, label: int, trace: dict[int, Float64], proved: Bool
) -> Int8 | None:  # fmt: skip
    """The corner at which an objective's bound is lowest, if it gives another label."""
    if network.source not in trace:
        return None
    slopes = trace[network.source][0][~proved[0]]
    corners = lowest_corner(region.rows(np.zeros(len(slopes), np.int64)), slopes)
    wrong = np.flatnonzero(answer(corners) != label)
    return corners[wrong[0]] if len(wrong) else None
