"""White noise, the baseline that an attack on the waveform has to beat."""

from __future__ import annotations

import numpy as np

from tritguard.attack.arrays import column, euclidean
from tritguard.attack.base import Kind
from tritguard.attack.sound.ball import SoundBall
from tritguard.attack.sound.waveform import Heard, SoundTarget, Spoken


class SoundNoise:
    """White noise as loud as the ball allows; of several draws, the one nearest to the attacker's goal is kept.

    Args:
        tries: draws per sample.
    """

    name = "White noise"
    kind: Kind = "baseline"

    def __init__(self, tries: int = 10) -> None:
        self.tries = tries

    def craft(self, target: SoundTarget, ball: SoundBall) -> Spoken:
        """Draw noise for each clip."""
        rng = np.random.default_rng((target.network.seed, round(1000 * ball.snr) % 2**32))
        heard, everyone = Heard(target), np.arange(len(target.clips))
        for _ in range(self.tries):
            noise = ball.covered(rng.standard_normal(target.clips.shape), target.clips)
            loud = noise * column(ball.reach(target.clips) / np.maximum(euclidean(noise), 1e-12), noise)
            heard.ask(ball.to_grid(target.clips + loud, target.clips), everyone)
        return Spoken(heard.clips, heard.queries.made, gradients=0)
