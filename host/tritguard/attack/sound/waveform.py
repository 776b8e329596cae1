"""The attack on the waveform, through the front end and the deployed network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.arrays import column, euclidean
from tritguard.attack.base import Kind, Places, Queries, Target
from tritguard.attack.gradient import Gradients
from tritguard.attack.sound.ball import Float64, FrontEnd, Int16, SoundBall

_FIRST, _LAST = 1.0, 0.02  # step sizes, as shares of the ball's radius
_MOMENTUM = 0.75


@dataclass(frozen=True)
class SoundTarget:
    """A deployed keyword spotter and recordings.

    Attributes:
        network: the network, with the features of the clips as its samples.
        front: the way from clips to features.
        clips: int16[n, 16000].
    """

    network: Target
    front: FrontEnd
    clips: Int16

    def part(self, samples: Places) -> SoundTarget:
        """The same network with only the samples at these places, int64[m]."""
        return replace(self, network=self.network.part(samples), clips=self.clips[samples])


@dataclass(frozen=True)
class Spoken:
    """Adversarial clips, int16[n, 16000], each in the ball, and the effort for all."""

    clips: Int16
    queries: int
    gradients: int


class Heard:
    """For each sample the clip that came nearest to the attacker's goal, on the features that the network gets."""

    def __init__(self, target: SoundTarget) -> None:
        self.clips = target.clips.copy()
        self.margins = np.full(len(target.clips), np.inf)
        self._target, self.queries = target, Queries(target.network)

    def ask(self, clips: Int16, samples: Places) -> NDArray[np.int8]:
        """Ask the network about clips for these samples, keep what is better, and return their features."""
        features = self._target.front(clips)
        margins = self.queries.margins(features, samples)
        better = margins < self.margins[samples]
        self.clips[samples[better]], self.margins[samples[better]] = clips[better], margins[better]
        return features


class Waveform:
    """Ascent on the waveform: the perturbation is itself a sound, and the features follow from it.

    Each gradient goes from the margin of the deployed integers' view back through the int8 grid (straight through), the
    cosine transform, the logarithm, the mel bands, the magnitudes of the spectrum and the division by the peak to the
    samples of the clip. Steps are Euclidean with momentum and shrink; each candidate is rounded to 16 bits inside the
    ball before its features are computed and the deployed network is asked. The first attack of this kind on speech is
    Carlini and Wagner's (2018, 1801.01944), whose bound is on the loudest sample; here it is on the energy.

    Threat model: white box, with one query of the deployed network per gradient. The perturbation is played into the
    device's microphone input exactly as it is: no room, no loudspeaker.

    Args:
        steps: gradients per sample and start.
        restarts: the number of random starts; each is white noise in the ball, because silence has no gradient.
    """

    name = "Waveform"
    kind: Kind = "white box"

    def __init__(self, steps: int = 50, restarts: int = 1) -> None:
        self.steps = steps
        self.restarts = restarts

    def craft(self, target: SoundTarget, ball: SoundBall, starts: Int16 | None = None) -> Spoken:
        """Search in the ball around each clip; `starts`, clips of its shape, are tried first where they are given."""
        rng = np.random.default_rng((target.network.seed, round(1000 * ball.snr) % 2**32))
        heard, gradients = Heard(target), Gradients(target.network, "margin")
        everyone = np.arange(len(target.clips))
        heard.ask(target.clips, everyone)
        if starts is not None:
            heard.ask(ball.to_grid(starts.astype(np.float64), target.clips), everyone)
        for _ in range(self.restarts):
            noise = ball.covered(rng.standard_normal(target.clips.shape), target.clips)
            self._ascend(target, ball, heard, gradients, _unit(noise) * column(ball.reach(target.clips) / 2, noise))
        return Spoken(heard.clips, heard.queries.made, gradients.taken)

    def _ascend(self, target: SoundTarget, ball: SoundBall, heard: Heard, gradients: Gradients, start: Float64) -> None:
        reach = ball.reach(target.clips)
        x = ball.shrink(target.clips + start, target.clips)
        velocity = np.zeros_like(x)
        for size in np.geomspace(_FIRST, _LAST, self.steps):
            active = np.flatnonzero((heard.margins > 0) & (reach > 0))
            if active.size == 0:
                return
            clean = target.clips[active]
            clips = ball.to_grid(x[active], clean)
            features = heard.ask(clips, active)
            slopes = gradients(features.astype(np.float32), active)[1]
            along = ball.covered(target.front.pull_back(clips.astype(np.float64), features, slopes), clean)
            velocity[active] = _MOMENTUM * velocity[active] + _unit(along)
            x[active] = ball.shrink(x[active] + column(size * reach[active], along) * _unit(velocity[active]), clean)
        active = np.flatnonzero((heard.margins > 0) & (reach > 0))
        if active.size:
            heard.ask(ball.to_grid(x[active], target.clips[active]), active)


def _unit(moves: Float64) -> Float64:
    return np.asarray(moves / column(np.maximum(euclidean(moves), 1e-12), moves))
