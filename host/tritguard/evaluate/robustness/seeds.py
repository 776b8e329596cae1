"""What broke a sample in one ball, as the start of searches in another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.evaluate.crafting.runs import Run


def seeded(target: Target, ball: Ball, runs: Sequence[Run]) -> Target:
    """The target with starts in a ball: for each sample what broke it in the nearest other ball, cut to this one."""
    starts = target.x.copy()
    for run in sorted(runs, key=lambda run: -run.eps):
        broken = target.broken(target.predictor.predict(run.x).labels)
        starts[broken] = run.x[broken]
    return replace(target, starts=ball.to_grid(starts.astype(np.float64), target.x))
