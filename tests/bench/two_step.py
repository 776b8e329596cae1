"""The two-step attack beside single ones, with the same limits: scripts/bench two_step BUNDLE --data fashion-mnist.

Every attack may take so many gradients and queries a sample, and no more: singles that ask once a gradient leave
queries over. The last two rows trade those for gradients: as many of both together as the two-step attack has.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tritguard.attack import Apgd, ApgdTargeted, Attack, Ball, CarliniWagner, Pgd, Square, Target, TwoStep
from tritguard.data import load_dataset
from tritguard.emit import open_bundle
from tritguard.evaluate.campaign import draw_samples, prepare
from tritguard.evaluate.plan import Plan

_HEAD = f"{'':22} {'left':>7} {'changed':>8} {'gradients':>10} {'queries':>8} {'seconds':>8}"


def main() -> None:
    """Print one table an eps: share left, elements changed where it is over (median), calls made a sample."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--eps", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--gradients", type=int, default=40)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    bundle = open_bundle(options.bundle)
    plan = Plan(samples=options.samples)
    target = prepare(bundle, draw_samples(bundle, load_dataset(options.data), plan), plan)
    for eps in options.eps:
        print(f"{options.bundle.name}, Linf, eps {eps} steps, {options.samples} samples\n{_HEAD}")
        for attack in _attacks(options.gradients, options.queries):
            print(_row(attack, target, Ball("Linf", eps)), flush=True)


def _attacks(gradients: int, queries: int) -> list[Attack]:
    traded = (gradients + queries) // 2
    return [
        TwoStep(gradients, queries),
        Pgd(gradients),
        Pgd(gradients // 2, restarts=2),
        Apgd("ce", gradients),
        Apgd("margin", gradients),
        Apgd("dlr", gradients),
        Apgd("ce", gradients // 2, restarts=2),
        ApgdTargeted(gradients // 4, 4),
        CarliniWagner(gradients // 2, 2),
        Square(queries),
        Apgd("ce", traded),
        Apgd("margin", traded),
    ]


def _row(attack: Attack, target: Target, ball: Ball) -> str:
    start = time.perf_counter()
    crafted = attack.craft(target, ball)
    seconds = time.perf_counter() - start
    over = target.broken(target.predictor.predict(crafted.x).labels)
    changed = (crafted.x != target.x).reshape(len(target.x), -1).sum(axis=1)
    fooled = over & (changed > 0)
    steps, restarts = attack.parameters.get("steps", ""), attack.parameters.get("restarts", 1)
    calls = crafted.gradients / len(target.x), crafted.queries / len(target.x)
    median = np.median(changed[fooled]) if fooled.any() else np.nan
    name = f"{attack.name:<14} {steps!s:>3} x{restarts!s:<2}"
    return f"{name} {1 - over.mean():>7.2%} {median:>8.0f} {calls[0]:>10.1f} {calls[1]:>8.1f} {seconds:>8.1f}"


if __name__ == "__main__":
    main()
