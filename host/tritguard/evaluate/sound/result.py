"""The settings of a study of attacks on sound, and what it finds."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, NonNegativeInt
from typing_extensions import override

from tritguard.attack.sound import FrontEnd, SoundBall, decibels
from tritguard.data.sound import read_wav
from tritguard.errors import BadInputError
from tritguard.evaluate.findings import guessing, misstated
from tritguard.evaluate.measurement import Firmware
from tritguard.evaluate.sound.checks import check
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record

_ROUNDING = 1e-6  # dB, by which two machines' logarithms may differ
_FULL_SCALE = 32768
_NEAR_TIE = 1  # int8 step by which a feature may differ on another machine, whose transform rounds differently
LabelRow = tuple[NonNegativeInt, ...]  # the device's labels, one for each sample


def _falling(ratios: tuple[float, ...]) -> tuple[float, ...]:
    if not ratios or list(ratios) != sorted(set(ratios), reverse=True):
        raise ValueError("must be falling numbers of dB: the quietest perturbation first")
    return ratios


class SoundPlan(Record):
    """Settings of a study of attacks on sound; the `[sound]` table of a configuration file.

    Attributes:
        samples: how many recordings of the test set are attacked.
        snr: the bounds: the least ratios of the signal's energy to the perturbation's, in dB, falling.
        padding: whether perturbations may sound before and after a recording, in the zeros that fill it to a second.
        steps: gradient steps of the attack for each recording, bound and start.
        restarts: the number of its random starts.
        noise: draws of white noise for each recording and bound, the baseline.
        kept: how many recordings that break at a bound, and not at a quieter one, the result keeps as sound.
        seed: decides the samples, and all that is random in attacks.
    """

    samples: int = Field(100, ge=1)
    snr: Annotated[tuple[float, ...], AfterValidator(_falling)] = (40.0, 30.0, 20.0, 10.0)
    padding: bool = True
    steps: int = Field(50, ge=2)
    restarts: int = Field(1, ge=1)
    noise: int = Field(10, ge=1)
    kept: int = Field(2, ge=0)
    seed: int = Field(0, ge=0)


class SoundPoint(Record):
    """What was found at one bound.

    Attributes:
        snr: the bound.
        least_snr: the least ratio of all clips that were crafted here, in dB; None if nothing was changed.
        noise: the answers to the clips with noise.
        attack: those to the clips that the attack found.
        doubled: those to the clips that it found with twice its steps, where its first clips held; otherwise as in
            `attack`.
        robust: the share of samples that are right on the recording as it is and on all of these clips, at this bound
            and at all quieter ones.
        under_noise: the share of samples that are right as they are and with noise at this bound.
        queries, gradients: what the attack took, as means over the samples.
    """

    snr: float
    least_snr: float | None
    noise: LabelRow
    attack: LabelRow
    doubled: LabelRow
    robust: Rate
    under_noise: Rate
    queries: float = Field(ge=0)
    gradients: float = Field(ge=0)

    def gained(self, labels: Sequence[int]) -> int:
        """How many samples fell to twice the steps alone."""
        return int(((_array(self.doubled) != labels) & (_array(self.attack) == labels)).sum())

    def by_noise_alone(self, labels: Sequence[int]) -> int:
        """How many samples noise broke and the attack did not."""
        return int(((_array(self.noise) != labels) & (_array(self.doubled) == labels)).sum())


class SoundExample(Record):
    """A recording and the clip that broke it, both as WAV files with 16 bits at 16 kHz.

    Attributes:
        sample: its position in the test set.
        snr: the bound.
        clean_wav, adversarial_wav: the files, base64.
        features: what the device was given for the adversarial clip, int8[49, 10, 1], base64.
        measured: the measured ratio of the signal's energy to the perturbation's, in dB.
        prediction: the device's answer.
    """

    sample: int
    snr: float
    clean_wav: str
    adversarial_wav: str
    features: str
    measured: float
    prediction: NonNegativeInt

    def clips(self) -> NDArray[np.int16]:
        """int16[2, 16000]: the recording, and the adversarial clip.

        Raises:
            ValueError: one of them is no WAV file as tritguard writes it.
        """
        return np.stack([_samples(self.clean_wav), _samples(self.adversarial_wav)])


class SoundResult(Study):
    """What attacks on the waveform leave of a keyword spotter: `sound.json`.

    Attributes:
        scale, zero_point: those of the network's input, on whose grid the features lie.
        labels: the true labels, in the order of the provenance's `sample_indices`.
        answers: the device's labels for the recordings as they are.
        clean: the accuracy on them.
        confirmation: the comparison of the device with the twin on the features of every clip.
    """

    schema_version: Literal[1] = 1
    kind: Literal["sound"] = "sound"
    plan: SoundPlan
    model: ModelIdentity
    scale: float = Field(gt=0)
    zero_point: int = Field(ge=-128, le=127)
    classes: tuple[str, ...] = Field(min_length=1)
    labels: LabelRow = Field(min_length=1)
    answers: LabelRow
    clean: Rate
    points: tuple[SoundPoint, ...] = Field(min_length=1)
    examples: tuple[SoundExample, ...]
    confirmation: Confirmation
    firmware: Firmware

    @override
    def _contradictions(self) -> Iterator[str]:
        rows = [answers for point in self.points for answers in (point.noise, point.attack, point.doubled)]
        if any(len(answers) != len(self.labels) for answers in (self.answers, *rows)):
            yield f"answers: are not {len(self.labels)} everywhere, as labels are"
            return
        if len(self.labels) != (n := len(self.provenance.sample_indices)):
            yield f"labels: are {len(self.labels)}, provenance.sample_indices has {n}"
        if tuple(point.snr for point in self.points) != self.plan.snr:
            yield f"points: are not of the plan's bounds, {self.plan.snr}"
        if (inputs := n * (1 + 3 * len(self.points))) != self.confirmation.inputs:
            yield f"confirmation.inputs: {self.confirmation.inputs}, there are {inputs} inputs"
        clean, robust, noise = count(self.labels, self.answers, [(p.noise, p.attack, p.doubled) for p in self.points])
        pairs = [("clean", self.clean, clean)]
        for place, point in enumerate(self.points):
            pairs.append((f"points.{place}.robust", point.robust, robust[place]))
            pairs.append((f"points.{place}.under_noise", point.under_noise, noise[place]))
            if point.least_snr is not None and point.least_snr < point.snr - _ROUNDING:
                yield f"points.{place}.least_snr: {point.least_snr:g} dB is below the bound, {point.snr:g}"
            if point.least_snr is None and {point.noise, point.attack, point.doubled} != {self.answers}:
                yield f"points.{place}.least_snr: says that nothing was changed, but the answers are others"
        for name, stated, counted in pairs:
            if stated != counted:
                yield f"{name}: says {stated.k} of {stated.n}, the answers make it {counted.k} of {counted.n}"
        for place, example in enumerate(self.examples):
            yield from (f"examples.{place}.{what}" for what in self._strays(example))
            yield from (f"examples.{place}.{what}" for what in self._doubts(example))
        shown = check(self.clean, guessing(self.labels), self.points, self.labels, self.confirmation)
        yield from misstated(self.issues, shown)

    def _strays(self, example: SoundExample) -> Iterator[str]:
        """Look for an example's row among the answers."""
        if example.sample not in self.provenance.sample_indices:
            yield f"sample: {example.sample} is not among the samples"
        elif example.snr not in self.plan.snr:
            yield f"snr: {example.snr:g} dB is none of the bounds"
        else:
            place = self.provenance.sample_indices.index(example.sample)
            said = self.points[self.plan.snr.index(example.snr)].doubled[place]
            if example.prediction != said or said == self.labels[place]:
                yield f"prediction: {example.prediction}, the answer is {said} and the label {self.labels[place]}"

    def _doubts(self, example: SoundExample) -> Iterator[str]:
        """Compute an example's ratio and features again from its sounds."""
        try:
            clean, adversarial = example.clips()
        except ValueError as error:
            yield str(error)
            return
        ratio = float(decibels(adversarial[None], clean[None])[0])
        if not math.isclose(ratio, example.measured, abs_tol=_ROUNDING) or ratio < example.snr - _ROUNDING:
            yield f"measured: {example.measured:g} dB at a bound of {example.snr:g}, the sounds are {ratio:g} apart"
        moves = adversarial[None].astype(np.float64) - clean
        if (SoundBall(example.snr, self.plan.padding).covered(moves, clean[None]) != moves).any():
            yield "adversarial_wav: sounds where the recording is only filled with silence"
        computed = FrontEnd(self.scale, self.zero_point)(adversarial[None]).ravel()
        stated = np.frombuffer(base64.b64decode(example.features), np.int8)
        if stated.shape != computed.shape or np.abs(stated.astype(np.int16) - computed).max() > _NEAR_TIE:
            yield "features: are not those of the adversarial sound"

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.model.bundle_sha256, self.model.model_sha256}


def count(
    labels: Sequence[int], clean: Sequence[int], points: Sequence[tuple[Sequence[int], ...]]
) -> tuple[Rate, list[Rate], list[Rate]]:
    """Count accuracies: clean, and for each bound, quietest first, the worst case up to it and that under its noise.

    Args:
        labels: the true labels.
        clean: the answers to recordings as they are.
        points: for each bound the answers to its noise, and then those to what attacks found.

    Returns:
        The clean accuracy, and for each bound the worst case and the accuracy under noise.
    """
    holds = right = _array(clean) == labels
    robust, noise = [], []
    for answers in points:
        for row in answers:
            holds = holds & (_array(row) == labels)
        robust.append(_rate(holds))
        noise.append(_rate(right & (_array(answers[0]) == labels)))
    return _rate(right), robust, noise


def _rate(flags: NDArray[np.bool_]) -> Rate:
    return Rate.of(int(flags.sum()), len(flags))


def _array(values: Sequence[int]) -> NDArray[np.int64]:
    return np.asarray(values, np.int64)


def _samples(packed: str) -> NDArray[np.int16]:
    try:
        sound, rate = read_wav(base64.b64decode(packed, validate=True), "sound")
    except BadInputError as error:
        raise ValueError(f"wav: {error}") from error
    if (len(sound), rate) != (16_000, 16_000):
        raise ValueError(f"wav: {len(sound)} samples at {rate} Hz, one second at 16,000 Hz is wanted")
    return np.asarray(np.rint(sound.astype(np.float64) * _FULL_SCALE), np.int16)
