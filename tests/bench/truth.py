"""Whether robust accuracy can be fooled: scripts/bench truth [--only NAME] [--zoo masked|honest|large].

Two zoos go through a whole evaluation on the twin. The first holds networks that hide how weak they are, with the best
attack known on each: the headline may be at most 2 points above what that leaves, or the result has to be `invalid`.
The second holds honest networks, none of which may be `invalid`. `large` are MLPerf Tiny's, masked and as they are;
they need files of the folder that `TRITGUARD_SHARED` names and are left out, loudly, without them. Exit status 1 if a
goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from tests.support import honest, masks
from tests.support.judged import evaluated, victim
from tests.support.masks.task import Masked, left_by_known
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.presets import Preset
from tritguard.evaluate.robustness.search import Victim

SLACK = 0.02  # how much above the best attack known a headline may be
LARGE = "MLPerf Tiny's"


@dataclass(frozen=True)
class Row:
    """One network under the tool.

    Attributes:
        headline: robust accuracy at the largest eps.
        known: what the best attack known leaves there; None for honest networks.
    """

    name: str
    eps: int
    clean: float
    headline: float
    known: float | None
    status: str
    codes: tuple[str, ...]
    seconds: float

    @property
    def reached(self) -> bool:
        """Whether the goal is reached."""
        if self.known is None:
            return self.status != "invalid"
        return self.status == "invalid" or self.headline <= self.known + SLACK + 1e-9


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="networks whose name holds this")
    parser.add_argument("--zoo", choices=("masked", "honest", "large"), help="one of the zoos; by default all")
    parser.add_argument("--preset", default="quick", choices=("quick", "standard", "full"))
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = []
    for name, run in _cases(options.zoo, options.only):
        try:
            rows.append(run(name, options.preset))
        except pytest.skip.Exception as skipped:
            console.print(f"[bold red]LEFT OUT:[/] {name}: {skipped}", soft_wrap=True)
            continue
        console.print("  ".join(_cells(rows[-1])), soft_wrap=True)
    table = Table("network", "eps", "clean %", "headline %", "best known %", "status", "goal", "s", "codes")
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    return 0 if rows and all(row.reached for row in rows) else 1


def _cases(zoo: str | None, only: str) -> Iterator[tuple[str, Callable[[str, Preset], Row]]]:
    runs = {("masked", name): _masked(make) for name, make in masks.ZOO.items()}
    runs |= {("honest", name): _honest(make) for name, make in honest.ZOO.items()}
    for (kind, name), run in runs.items():
        belongs = "large" if name.startswith(LARGE) else kind
        if zoo in (None, belongs) and only in name:
            yield name, run


def _masked(make: Callable[[], Masked]) -> Callable[[str, Preset], Row]:
    def run(name: str, preset: Preset) -> Row:
        case = make()
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(samples=len(case.x), eps=case.eps, access=case.access, preset=preset)
            model = victim(case.content, Path(folder), plan, case.x, case.y)
            control = None
            if case.control is not None:
                control = victim(case.control, Path(folder) / "control", plan, case.x, case.y)
            return _row(name, model, plan, control, left_by_known(case, model.target, Path(folder)))

    return run


def _honest(make: Callable[[], honest.Case]) -> Callable[[str, Preset], Row]:
    def run(name: str, preset: Preset) -> Row:
        case = make()
        with tempfile.TemporaryDirectory() as folder:
            plan = Plan(samples=len(case.x), eps=case.eps, preset=preset)
            model = victim(case.content, Path(folder), plan, case.x, case.y)
            return _row(name, model, plan, model, None)

    return run


def _row(name: str, model: Victim, plan: Plan, control: Victim | None, known: float | None) -> Row:
    start = time.process_time()
    _, judged = evaluated(model, plan, control)
    headline = next(point for point in judged.curve if point.eps_steps == plan.eps[-1])
    codes = tuple(dict.fromkeys(issue.code for issue in judged.issues))
    seconds = time.process_time() - start
    clean = judged.clean.value
    return Row(name, plan.eps[-1], clean, headline.robust.value, known, judged.status, codes, seconds)


def _cells(row: Row) -> list[str]:
    known = "" if row.known is None else f"{100 * row.known:.1f}"
    goal = "reached" if row.reached else "[bold red]MISSED[/]"
    figures = [str(row.eps), f"{100 * row.clean:.1f}", f"{100 * row.headline:.1f}", known]
    return [row.name, *figures, row.status, goal, f"{row.seconds:.0f}", ", ".join(row.codes)]


if __name__ == "__main__":
    np.seterr(all="ignore")
    sys.exit(main())
