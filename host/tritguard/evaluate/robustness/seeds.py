"""What broke a sample in one ball, as the start of searches in another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.campaign.runs import Run
from tritguard.evaluate.robustness.table import Flags


def seeded(target: Target, ball: Ball, found: Sequence[tuple[Run, Flags]]) -> Target:
    """The target with starts in a ball: for each sample what broke it in the nearest other ball, cut to this one.

    Args:
        target: the attacked model.
        ball: what searches may use.
        found: runs, each with the samples that hold under it: bool[n].
    """
    starts = target.x.copy()
    for run, holds in sorted(found, key=lambda pair: -pair[0].eps):
        starts[~holds] = run.x[~holds]
    return replace(target, starts=ball.to_grid(starts.astype(np.float64), target.x))
