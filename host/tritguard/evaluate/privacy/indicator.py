"""An experimental indicator of how well a post-training quantizer hides the training samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.data import SampleArray
from tritguard.evaluate.privacy.result import QuantizerSecurity
from tritguard.evaluate.privacy.roc import Estimate
from tritguard.progress import Progress
from tritguard.train.config import MODEL, TrainConfig

Float64 = NDArray[np.float64]
Int64 = NDArray[np.int64]
_DRAWS = 200  # bootstrap samples


def quantizer_security(
    training: Path, config: TrainConfig, members: tuple[SampleArray, Int64], others: tuple[SampleArray, Int64],
    count: int, seed: int, progress: Progress,
) -> tuple[QuantizerSecurity, ...]:  # fmt: skip
    """Rank rounding to 8 and 4 bits and to ternary weights by `security_rate`, for a training in float.

    Candidates are the trained network and what it becomes in a few more steps on its members, all rounded to the grid
    of the first (see `tritguard.train.candidates`). Which networks the paper compares could not be found out.

    Args:
        training: the folder that the training left.
        config: the settings of the training.
        members: samples and labels that the candidates take their steps on.
        others: samples and labels that the candidates' losses are measured on.
        count: the number of candidates of each width.
        seed: decides the batches of the steps, and the intervals.
        progress: called with (candidates done, count).
    """
    from tritguard.convert.archive import load_model  # noqa: PLC0415 - imports TensorFlow
    from tritguard.train.candidates import candidate_losses  # noqa: PLC0415
    from tritguard.train.inputs import input_units  # noqa: PLC0415

    losses = candidate_losses(
        load_model(training / MODEL),
        (input_units(members[0]), members[1]),
        (input_units(others[0]), others[1]),
        config,
        widths=(8, 4, 2),
        count=count,
        seed=seed,
        progress=progress,
    )
    return tuple(
        QuantizerSecurity(bits=bits, candidates=len(rows), rate=security_rate(rows, seed))
        for bits, rows in losses.items()
    )


def security_rate(losses: Float64, seed: int) -> Estimate | None:
    """Rate a quantizer after Aubinais et al. (AISTATS 2026, 2502.06567), as far as the paper's text was available.

    A quantizer leaves finitely many networks, and which of them a training ends in is all that its samples can have
    decided. From the paper's abstract and others' accounts of it: the Membership Inference Security of n training
    samples is bounded by 1 - exp(-n r (1 + o(1))), where r follows from the gaps between the candidates' expected
    losses and from the variances of those losses; it is estimated along a training, to rank quantizers.

    Our reading of r may differ from theirs: it is the smallest delta^2 / (2 sigma^2) over all candidates but the best,
    where delta is the mean and sigma^2 the variance of the samples' loss differences from the best one. By the normal
    approximation that is the rate at which n samples become less likely to prefer the other candidate. A larger r is
    more private.

    Args:
        losses: float64[candidates, samples], on samples that no candidate was trained on.
        seed: decides the bootstrap over samples that gives the interval.

    Returns:
        r and its 95 % interval; None for a single candidate, where no sample decides anything.
    """
    if len(losses) < 2:
        return None
    rng, samples = np.random.default_rng(seed), losses.shape[1]
    drawn = [_rate(losses[:, rng.integers(0, samples, samples)]) for _ in range(_DRAWS)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    value = _rate(losses)
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def _rate(losses: Float64) -> float:
    best = int(losses.mean(axis=1).argmin())
    apart = np.delete(losses, best, axis=0) - losses[best]
    variance = apart.var(axis=1)
    rates = np.divide(apart.mean(axis=1) ** 2, 2 * variance, out=np.full(len(apart), np.inf), where=variance > 0)
    rates[(variance == 0) & (apart == 0).all(axis=1)] = 0.0  # no sample tells the two apart: either may be chosen
    return float(rates.min())
