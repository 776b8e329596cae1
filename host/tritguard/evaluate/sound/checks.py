"""Checks for what would make figures of attacks on sound misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tritguard.evaluate.findings import few_samples, no_better_than_chance, other_bytes
from tritguard.evaluate.study import Confirmation, Issue, Rate, invalid, warn

if TYPE_CHECKING:
    from tritguard.evaluate.sound.result import SoundPoint

_GAIN = 0.02  # share of samples that twice the steps, or noise, may break in addition


def check(
    clean: Rate, guessing: float, points: tuple[SoundPoint, ...], labels: tuple[int, ...], confirmation: Confirmation
) -> Iterator[Issue]:
    """Find the issues that a reader has to know of; a study beyond doubt has none.

    Args:
        clean: the device's accuracy on the recordings as they are.
        guessing: the accuracy of the best constant answer on the same samples.
        points: what was found at each bound.
        labels: the true labels.
        confirmation: the comparison of the device with the twin.
    """
    yield from other_bytes(confirmation)
    yield from few_samples(clean.n)
    yield from no_better_than_chance(clean, guessing)
    for point in points:
        gained = point.gained(labels) / clean.n
        if gained > _GAIN:
            what = f"at {point.snr:g} dB twice the steps break another {gained:.1%} of the samples: give more"
            yield warn("TOO_FEW_STEPS", what)
        only = point.by_noise_alone(labels) / clean.n
        if only > _GAIN:
            what = f"at {point.snr:g} dB white noise breaks {only:.1%} of the samples that gradients do not"
            yield invalid("NOISE_BEATS_GRADIENTS", what)
