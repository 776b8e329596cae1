"""Proofs for samples that no attack broke where attacks ought to break nearly all.

A model that keeps much of its accuracy at the sanity bound, or an undefended control that keeps it at the largest eps,
may show that the attacks are weak. Samples for which it is proved that no input of the ball breaks them show nothing of
that kind, and the checks leave them out.
"""

from __future__ import annotations

import numpy as np

from tritguard.attack import Ball, Target
from tritguard.attack.view import GradientView
from tritguard.certify.bracket import Depth, certify
from tritguard.certify.network import Network
from tritguard.certify.refinement import Effort
from tritguard.errors import TritguardError
from tritguard.evaluate.robustness.table import Bits, Flags, to_bits
from tritguard.evaluate.study import Rate
from tritguard.predictor import Int8
from tritguard.progress import silent

UNBROKEN = 0.1  # share left above which attacks are not said to have broken a model; less if chance is less
_DEPTH = Depth(Effort(work=2e8))  # a fraction of a second for each sample


def prove(target: Target, ball: Ball, held: Flags) -> Bits | None:
    """Prove what held in a ball.

    Args:
        target: the model and its samples.
        ball: the inputs that the attacks could use.
        held: bool[n], the samples that no attack broke.

    Returns:
        A digit for each sample, 1 where it is proved; None if the attack was targeted, the model has no bounds, or the
        ball is of no Lp norm, on which proofs rest.
    """
    view, rows = target.view, np.flatnonzero(held)
    if target.aim is not None or not isinstance(view, GradientView) or ball.geometry.order is None:
        return None
    try:
        network = Network.of(view.graph)
    except TritguardError:
        return None

    def answer(x: Int8) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return target.predictor.predict(x).labels

    found = certify(network, answer, target.x[rows], target.y[rows], ball, _DEPTH, silent("Proving what held"))
    proved = np.zeros(len(held), dtype=bool)
    proved[rows] = np.array(found.status) == "proved"
    return to_bits(proved)


def unproved(rate: Rate, proved: Bits | None) -> Rate:
    """The rate at which samples that are not proved hold; 0 where all are proved."""
    done = 0 if proved is None else proved.count("1")
    return Rate.of(0, rate.n) if done >= rate.n else Rate.of(max(0, rate.k - done), rate.n - done)
