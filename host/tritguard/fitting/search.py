"""Searches a family of networks for those that make the most of a budget.

What each choice computes is counted for all of them at once (`families`). How many bytes a weight takes, how much of
the activations is in the arena at a time, and how many cycles a multiply-accumulate takes are learnt from the choices
that are converted and planned. The best by the counts is converted next, a few times or until none is left that would
be better than the best one that fits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from tritguard.boards import Board
from tritguard.data import SampleArray
from tritguard.errors import BadInputError, OverBudgetError
from tritguard.fitting.budget import FitBudget
from tritguard.fitting.families import Family, Stages, Work, family_of
from tritguard.fitting.measure import Around, Built, Golden, Model, around, built, golden_maker, model_of
from tritguard.fitting.proposal import Proposal, Proposals
from tritguard.progress import Progress
from tritguard.train.config import TrainConfig

ROWS = 6  # the front has this many; each may take half the time of the next one
_TRIES = 4  # choices converted for a row
_TERNARY, _INT8 = 0.27, 1.05  # bytes per weight, until a network was converted
_PLANNED = 0.6  # share of the peak of activations that the arena takes, until a network was planned
_FIRMWARE = 20_000  # bytes of flash besides the weights, until a firmware was built
_RAM = 11_000


@dataclass(frozen=True)
class _Choice:
    stages: Stages
    work: Work

    @property
    def worth(self) -> float:
        """What to have much of: weights and computation. It orders choices and says nothing about accuracy."""
        return math.log(self.work.weights) + math.log(self.work.macs)


@dataclass
class _Ratios:
    """How counts become bytes and cycles, as the last converted choice showed."""

    weight: float
    peak: float = _PLANNED
    cycles: float = 1.0
    code: int = 0

    def learn(self, work: Work, model: Model) -> None:
        self.weight, self.peak = model.weight_bytes / work.weights, model.arena_bytes / work.peak
        self.cycles, self.code = model.cycles / work.macs, model.code_bytes


@dataclass
class _Search:
    """The choices and what is known about them."""

    choices: list[_Choice]
    make: Callable[[Stages], bytes]
    board: Board
    budget: FitBudget
    ratios: _Ratios
    around: Around | None = None
    small: Built | None = None
    models: dict[int, Model] = field(default_factory=dict)
    progress: Progress | None = None

    def __post_init__(self) -> None:
        self.choices.sort(key=lambda choice: -choice.worth)
        works = [choice.work for choice in self.choices]
        self._weights, self._macs, self._peaks = (
            np.array([getattr(work, name) for work in works], dtype=np.float64) for name in ("weights", "macs", "peak")
        )

    def calibrate(self) -> None:
        """Build the firmware of a choice that ought to fit easily, to learn what it takes besides the model."""
        found = np.flatnonzero(
            (self.ratios.weight * self._weights + _FIRMWARE <= self.budget.flash / 2)
            & (self.ratios.peak * self._peaks + _RAM <= self.budget.ram / 2)
        )
        at = int(found[0]) if len(found) else len(self.choices) - 1
        self.small = built(self.make(self.choices[at].stages), self.board)
        self._keep(at, self.small.model)
        self.around = around(self.small)

    def refine(self, at: int) -> None:
        """Build another firmware, of a choice that is proposed, and estimate by both from here on."""
        self.around = around(built(self.make(self.choices[at].stages), self.board), self.small)

    def best(self, most: float) -> int | None:
        """The place of the best choice that fits and takes at most `most` cycles; None if none was found."""
        assert self.around is not None
        allowed = np.ones(len(self.choices), dtype=np.bool_)
        best = None
        for _ in range(_TRIES):
            at = self._next(allowed, most, best)
            if at is None:
                break
            if at not in self.models:
                self._keep(at, model_of(self.make(self.choices[at].stages), self.board))
            model = self.models[at]
            self.ratios.learn(self.choices[at].work, model)
            allowed[at] = False
            if self.fits(model, most):
                best = at
        return best

    def fits(self, model: Model, most: float) -> bool:
        """Whether a model is within the budget and takes at most `most` cycles."""
        rest, budget = self.around, self.budget
        assert rest is not None
        time = rest.cycles_of(model) <= min(most, budget.cycles or math.inf)
        space = rest.flash_of(model) <= budget.flash and rest.ram_of(model, budget.ram) <= budget.ram
        return time and space and model.macs <= (budget.macs or math.inf)

    def smallest(self) -> int:
        """The place of the choice with the fewest weights."""
        at = int(np.argmin(self._weights))
        if at not in self.models:
            self._keep(at, model_of(self.make(self.choices[at].stages), self.board))
        return at

    def _next(self, allowed: np.ndarray, most: float, best: int | None) -> int | None:
        """The best choice by the counts among those not tried; None if it would be no better than `best`."""
        rest, ratios, budget = self.around, self.ratios, self.budget
        assert rest is not None
        fits = allowed & (rest.flash + ratios.code + ratios.weight * self._weights <= budget.flash)
        fits &= rest.ram + rest.stack + rest.least_buffer + ratios.peak * self._peaks <= budget.ram
        fits &= rest.slowdown * ratios.cycles * self._macs <= min(most, budget.cycles or math.inf)
        fits &= self._macs <= (budget.macs or math.inf)
        found = np.flatnonzero(fits if best is None else fits[:best])
        return int(found[0]) if len(found) else None

    def _keep(self, at: int, model: Model) -> None:
        self.models[at] = model
        self.ratios.learn(self.choices[at].work, model)


def propose(
    config: TrainConfig,
    samples: SampleArray,
    classes: int,
    budget: FitBudget,
    board: Board,
    progress: Progress | None = None,
    *,
    rows: int = ROWS,
) -> Proposals:
    """Search the widths and the depth of `config.net` for a budget.

    The first proposals are the fastest. Each further one may take twice the time, and is, of all that fit in that time,
    the one with most weights times multiply-accumulates.

    Args:
        config: the settings that the proposals take over, all but the widths and the depth; how weights are quantized
            counts.
        samples: [n, height, width, channels], some real inputs.
        classes: number of outputs.
        budget: what the firmware may take; never more than the board has.
        board: the board.
        progress: called with (steps done, steps in all).
        rows: the most nets to propose.

    Raises:
        BadInputError: the network has no widths to choose, or samples are not pictures.
        OverBudgetError: nothing fits.
        BuildError, ToolMissingError, DeviceError: see `tritguard.build.build` and `tritguard.profile.expected_cycles`.
    """
    family, shape = family_of(config.net), samples.shape[1:]
    if len(shape) != 3:
        raise BadInputError(f"samples have shape {shape}", where="--fit", fix="give (height, width, channels)")
    memory = board.memory
    flash, ram = min(budget.flash, memory.flash.bytes), min(budget.ram, memory.ram.bytes)
    budget = budget.model_copy(update={"flash": flash, "ram": ram})
    search = _search(family, config, samples, classes, budget, board)
    tell = progress or (lambda _done, _total: None)
    tell(0, rows + 1)
    search.calibrate()
    found = _front(search, rows, lambda done: tell(done, rows + 1))
    if found:
        search.refine(found[0])
        if not search.fits(search.models[found[0]], math.inf):  # its firmware is slightly over the budget
            found = _front(search, rows)
    tell(rows + 1, rows + 1)
    assert search.around is not None
    if not found:
        raise _nothing(search.around, search.models[search.smallest()], budget, config.net)
    proposals = [
        _proposal(search.choices[at], search.models[at], search.around, family, config, budget) for at in found
    ]
    return Proposals(
        budget=budget,
        board=board.id,
        hz=board.clock.hz,
        proposals=tuple(sorted(proposals, key=lambda proposal: proposal.cycles)),
        tried=(len(search.choices), len(search.models)),
    )


def _search(
    family: Family, config: TrainConfig, samples: SampleArray, classes: int, budget: FitBudget, board: Board
) -> _Search:
    height, width, channels = samples.shape[1:]
    shape = (height, width, channels)
    golden: Golden = golden_maker(shape, classes, samples)
    choices = [_Choice(stages, family.work(stages, shape, classes)) for stages in family.choices(shape)]
    ratios = _Ratios(_INT8 if config.quantize.weights == "none" else _TERNARY)
    return _Search(choices, functools.cache(lambda stages: golden(_set(config, family, stages))), board, budget, ratios)


def _set(config: TrainConfig, family: Family, stages: Stages) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), **family.settings(stages)})


def _front(search: _Search, most_rows: int, tell: Callable[[int], None] = lambda _done: None) -> list[int]:
    """The places of the choices to propose, the slowest first."""
    assert search.around is not None
    most: float = math.inf
    rows: list[int] = []
    for level in range(most_rows):
        tell(1 + level)
        found = search.best(most)
        if found is None and level == 0 and search.fits(search.models[search.smallest()], most):
            found = search.smallest()
        if found is None:
            break
        if found not in rows:
            rows.append(found)
        most = min(most, search.around.cycles_of(search.models[found])) / 2
    return rows


def _proposal(
    choice: _Choice, model: Model, rest: Around, family: Family, config: TrainConfig, budget: FitBudget
) -> Proposal:
    return Proposal(
        config=_set(config, family, choice.stages),
        words=family.words(choice.stages),
        weights=choice.work.weights,
        macs=choice.work.macs,
        flash=rest.flash_of(model),
        ram=rest.ram_of(model, budget.ram),
        cycles=rest.cycles_of(model),
    )


def _nothing(rest: Around, model: Model, budget: FitBudget, net: str) -> OverBudgetError:
    """The error that says what the smallest network takes, and what is allowed."""
    takes = f"{rest.flash_of(model):,} B of flash, {rest.ram_of(model, 0):,} B of RAM, {rest.cycles_of(model):,} cycles"
    time = f", {budget.cycles:,} cycles" if budget.cycles else f", {budget.macs:,} MACs" if budget.macs else ""
    allowed = f"{budget.flash:,} B, {budget.ram:,} B{time}"
    return OverBudgetError(
        f"no {net} fits {allowed}: the smallest takes {takes} and {model.macs:,} MACs",
        where="--fit",
        fix="allow more, or take another net",
    )
