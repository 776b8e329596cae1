"""The two-step attack beside single ones, with the same limits: scripts/bench two_step BUNDLE --data fashion-mnist.

Every attack may take so many gradients and queries a sample, and no more: singles that ask once a gradient leave
queries over. The last two rows trade those for gradients: as many of both together as the two-step attack has.
`wins` counts the samples that the two-step attack alone breaks, of the two, `losses` those that the other alone
breaks, p is of the two-sided sign test. Samples are drawn with --seed from those that no setting was chosen on. Jobs
that are done are kept in --out. Exit status 1 where one with the same limits leaves less than the two-step attack.
"""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.support.shared import ROOT
from tritguard.attack import Apgd, ApgdTargeted, Attack, CarliniWagner, Pgd, Square, Target, TwoStep
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import Run, craft_all
from tritguard.campaign.store import Store
from tritguard.campaign.workers import Workers
from tritguard.cli.progress import bar
from tritguard.data import load_dataset
from tritguard.emit import open_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import draw_samples
from tritguard.processes import cores

_TUNED_ON = {"fashion-mnist": range(5000, 6200)}  # test images that the two-step attack's shares were chosen on
_COLUMNS = {"left": 7, "wins": 5, "losses": 7, "p": 6, "changed": 8, "gradients": 10, "queries": 8, "seconds": 8}
_HEAD = " ".join([" " * 20, *(f"{name:>{width}}" for name, width in _COLUMNS.items())])


def main() -> int:
    """Print a table for each eps: share left, elements changed where it is over (median), calls a sample."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--eps", type=int, nargs="+", default=[8])
    parser.add_argument("--gradients", type=int, default=40)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="only the strongest single attacks")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "two_step", help="where results are kept")
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    bundle, dataset = open_bundle(options.bundle), load_dataset(options.data)
    fresh = np.setdiff1d(np.arange(len(dataset.y_test)), _TUNED_ON.get(options.data, ()))
    dataset = replace(dataset, x_test=dataset.x_test[fresh], y_test=dataset.y_test[fresh])
    plan = Plan(samples=options.samples, seed=options.seed, eps=options.eps)
    target = prepare(bundle, draw_samples(bundle, dataset, plan.samples, plan.seed), plan)
    assert target.view is not None
    equal, traded = _attacks(options.gradients, options.queries, options.quick)
    store = Store(options.out / f"{options.bundle.name}.db", bundle.manifest.model_sha256)
    lowest = True
    with Workers(options.workers) as workers:
        crew = Crew(workers, bundle.path, target.view.temperature, bundle.manifest.macs)
        for ball in plan.balls[:-1]:
            with bar(f"eps {ball.eps}") as report:
                runs, _ = craft_all(target, [ball], [*equal, *traded], store, report, crew)
            print(f"{options.bundle.name}, Linf, eps {ball.eps} steps, {options.samples} samples\n{_HEAD}")
            holds = [~target.broken(target.predictor.predict(run.x).labels) for run in runs]
            for run, hold in zip(runs, holds, strict=True):
                print(_row(run, hold, holds[0], target))
            print(f"{'all together':20} {np.all(holds, axis=0).mean():>7.2%}", flush=True)
            lowest &= all(holds[0].sum() <= hold.sum() for hold in holds[: len(equal)])
    return 0 if lowest else 1


def _attacks(gradients: int, queries: int, quick: bool) -> tuple[list[Attack], list[Attack]]:
    """The two-step attack and singles with the same limits, and singles that trade queries for gradients."""
    total = (gradients + queries) // 2
    strongest: list[Attack] = [
        TwoStep(gradients, queries),
        Apgd("ce", gradients),
        Apgd("margin", gradients),
        Apgd("dlr", gradients),
        ApgdTargeted(gradients // 4, 4),
    ]
    others: list[Attack] = [
        Apgd("ce", gradients // 2, restarts=2),
        Pgd(gradients),
        Pgd(gradients // 2, restarts=2),
        CarliniWagner(gradients // 2, 2),
        Square(queries),
    ]
    return strongest + ([] if quick else others), [Apgd("ce", total), Apgd("margin", total)]


def _row(run: Run, hold: NDArray[np.bool_], ours: NDArray[np.bool_], target: Target) -> str:
    n, attack = len(hold), run.attack
    changed = (run.x != target.x).reshape(n, -1).sum(axis=1)
    fooled = ~hold & (changed > 0)
    steps, restarts = attack.parameters.get("steps", ""), attack.parameters.get("restarts", 1)
    wins, losses = int((hold & ~ours).sum()), int((ours & ~hold).sum())
    versus = f"{wins:>5} {losses:>7} {_sign_test(wins, losses):>6.2g}" if hold is not ours else " " * 20
    median = np.median(changed[fooled]) if fooled.any() else np.nan
    name = f"{attack.name:<12} {steps!s:>3} x{restarts!s:<2}"
    calls = f"{run.gradients / n:>10.1f} {run.queries / n:>8.1f} {run.processor_seconds:>8.1f}"
    return f"{name} {hold.mean():>7.2%} {versus} {median:>8.0f} {calls}"


def _sign_test(wins: int, losses: int) -> float:
    """The two-sided p-value of a split this uneven if both sides were equally likely (sign test)."""
    n, most = wins + losses, max(wins, losses)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(most, n + 1)) / 2**n)


if __name__ == "__main__":
    sys.exit(main())
