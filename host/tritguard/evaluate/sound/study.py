"""Attacks recordings through the front end, and gives the features of every clip to the device."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Labels, Target
from tritguard.attack.rivals import find_rivals
from tritguard.attack.sound import FrontEnd, SoundBall, SoundNoise, SoundTarget, Spoken, Waveform, decibels
from tritguard.attack.temperature import margin_temperature
from tritguard.attack.view import GradientView
from tritguard.data import Dataset
from tritguard.data.sound import write_wav
from tritguard.device import Device, open_device
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.confirmation import ask
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.findings import guessing
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.measurement import Firmware, tools_of
from tritguard.evaluate.samples import check_attackable, class_names, draw_samples
from tritguard.evaluate.sound.checks import check
from tritguard.evaluate.sound.result import SoundExample, SoundPlan, SoundPoint, SoundResult, count
from tritguard.evaluate.study import ModelIdentity, StudyProvenance, status_of
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

Int16 = NDArray[np.int16]


@dataclass(frozen=True)
class _Found:
    """What was crafted at one bound: `doubled` has the clips of twice the steps where those of `attack` held."""

    ball: SoundBall
    noise: Spoken
    attack: Spoken
    doubled: Spoken

    @property
    def clips(self) -> tuple[Int16, Int16, Int16]:
        return self.noise.clips, self.attack.clips, self.doubled.clips


def check_recordings(dataset: Dataset) -> Int16:
    """The recordings of a data set's test samples, as int16.

    Raises:
        BadInputError: the data set holds none.
    """
    if dataset.sound_test is None:
        raise BadInputError(
            "holds no recordings of its test samples, and features alone cannot be played",
            where=dataset.name,
            fix="give the folder of the recordings, or an .npz with sound_test; see docs/sound.md",
        )
    return dataset.sound_test


def study_sound(device: Device, dataset: Dataset, plan: SoundPlan, stages: Stages) -> SoundResult:
    """Attack the recordings of a test set, and ask a device about the features of every clip.

    Args:
        device: the device that runs the model.
        dataset: its test set, which has to hold its recordings.
        plan: the bounds, the attack's steps and the number of samples.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: data and model do not fit each other, or the data holds no recordings.
        DeviceError, MismatchError: see `ask`.
    """
    bundle = device.bundle
    recordings = check_recordings(dataset)
    check_attackable(bundle.manifest)
    drawn = draw_samples(bundle, dataset, plan.samples, plan.seed)
    checked = check_data(bundle.manifest, dataset=dataset)
    target = _target(bundle, recordings[drawn.indices], drawn.y, plan.seed)
    found = _search(target, plan, stages("Attacking the sound on the twin"))
    clips = [target.clips, *(clips for one in found for clips in one.clips)]
    x = np.concatenate([target.front(each) for each in clips])
    answered = ask(device, x, stages(f"The features of every clip on {device.build.record.board.name}"))
    confirmation = answered.confirmation(Twin(bundle).predict(x))
    clean, *rest = np.split(answered.outputs.labels, len(clips))
    answers = [tuple(rest[place : place + 3]) for place in range(0, len(rest), 3)]
    points = _points(target, found, clean, answers)
    labels = tuple(drawn.y.tolist())
    accuracy = count(labels, clean.tolist(), ())[0]
    issues = (*checked.issues, *check(accuracy, guessing(labels), points, labels, confirmation))
    return SoundResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, drawn.indices.tolist(), tools_of(device)),
        plan=plan,
        model=ModelIdentity.of(bundle),
        scale=target.front.scale,
        zero_point=target.front.zero_point,
        classes=class_names(bundle.manifest, dataset),
        labels=labels,
        answers=tuple(clean.tolist()),
        clean=accuracy,
        points=points,
        examples=_examples(target, found, clean, answers, drawn.indices, plan.kept),
        confirmation=confirmation,
        firmware=Firmware.of(device),
    )


def _target(bundle: Bundle, clips: Int16, y: Labels, seed: int) -> SoundTarget:
    """The network with the features of the clips, and a view whose temperature keeps the loss from saturating."""
    grid, twin = bundle.manifest.input, Twin(bundle)
    front = FrontEnd(grid.scale, grid.zero_point)
    x = front(clips)
    rivals = find_rivals(twin, x, y)
    temperature = margin_temperature(twin.predict(x), score_scale=bundle.manifest.output.scale, rivals=rivals)
    view = GradientView(bundle.golden, temperature)
    return SoundTarget(Target(twin, view, x, y, seed, rivals=rivals), front, clips)


def _search(target: SoundTarget, plan: SoundPlan, progress: Progress) -> list[_Found]:
    """Attack at every bound, from the quietest on; what was found there is tried at the next one first."""
    found: list[_Found] = []
    noise = SoundNoise(plan.noise)
    once, twice = (Waveform(steps, plan.restarts) for steps in (plan.steps, 2 * plan.steps))
    for place, snr in enumerate(plan.snr):
        progress(place, len(plan.snr))
        ball, known = SoundBall(snr, plan.padding), found[-1].doubled.clips if found else None
        attack = once.craft(target, ball, known)
        labels = target.network.predictor.predict(target.front(attack.clips)).labels
        held = np.flatnonzero(labels == target.network.y)
        more = twice.craft(target.part(held), ball) if held.size else attack
        clips = attack.clips.copy()
        if held.size:
            clips[held] = more.clips
        found.append(_Found(ball, noise.craft(target, ball), attack, Spoken(clips, more.queries, more.gradients)))
    progress(len(plan.snr), len(plan.snr))
    return found


def _points(
    target: SoundTarget, found: Sequence[_Found], clean: Labels, answers: Sequence[tuple[Labels, ...]]
) -> tuple[SoundPoint, ...]:
    labels, n = target.network.y.tolist(), len(target.clips)
    _, robust, under_noise = count(labels, clean.tolist(), [tuple(each.tolist() for each in row) for row in answers])
    points = []
    for place, one in enumerate(found):
        least = min(float(decibels(clips, target.clips).min()) for clips in one.clips)
        noise, attack, doubled = (tuple(each.tolist()) for each in answers[place])
        points.append(
            SoundPoint(
                snr=one.ball.snr,
                least_snr=least if np.isfinite(least) else None,
                noise=noise,
                attack=attack,
                doubled=doubled,
                robust=robust[place],
                under_noise=under_noise[place],
                queries=one.attack.queries / n,
                gradients=one.attack.gradients / n,
            )
        )
    return tuple(points)


def _examples(
    target: SoundTarget,
    found: Sequence[_Found],
    clean: Labels,
    answers: Sequence[tuple[Labels, ...]],
    indices: Labels,
    kept: int,
) -> tuple[SoundExample, ...]:
    """Choose for each bound the first recordings that break there and hold at quieter ones."""
    holds = clean == target.network.y
    examples = []
    for one, row in zip(found, answers, strict=True):
        broken = holds & (row[-1] != target.network.y)
        holds &= ~broken
        for sample in np.flatnonzero(broken)[:kept].tolist():
            clip = one.doubled.clips[sample]
            examples.append(
                SoundExample(
                    sample=int(indices[sample]),
                    snr=one.ball.snr,
                    clean_wav=base64.b64encode(write_wav(target.clips[sample])).decode(),
                    adversarial_wav=base64.b64encode(write_wav(clip)).decode(),
                    features=base64.b64encode(target.front(clip[None]).tobytes()).decode(),
                    measured=float(decibels(clip[None], target.clips[sample][None])[0]),
                    prediction=int(row[-1][sample]),
                )
            )
    return tuple(examples)


def _in_run(plan: SoundPlan, run: RunContext, stages: Stages) -> SoundResult:
    with open_device(run.bundle, run.build, run.port, run.bench) as device:
        return study_sound(device, run.dataset, plan, stages)


SOUND = StudyKind("sound", "sound", SoundPlan, SoundResult, _in_run, takes=check_recordings)
