"""Measures accuracy on corrupted inputs, all of them on the device."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.corruptions import OF_PICTURES, OF_SOUND, Corruption
from tritguard.attack.sound.ball import FrontEnd, as_sound
from tritguard.attack.windows import as_image
from tritguard.data import Dataset
from tritguard.data.sound import to_pcm
from tritguard.device import Device, open_device
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.confirmation import ask
from tritguard.evaluate.corruptions.checks import check
from tritguard.evaluate.corruptions.result import Corrupted, CorruptionsPlan, CorruptionsResult, Example, right
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.findings import guessing
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.limits import DataRange, find_range
from tritguard.evaluate.measurement import Firmware, tools_of
from tritguard.evaluate.samples import Samples, class_names, draw_samples
from tritguard.evaluate.study import ModelIdentity, StudyProvenance, status_of
from tritguard.predictor import Int8
from tritguard.progress import Stages
from tritguard.twin import Twin


@dataclass(frozen=True)
class _Part:
    """All samples with one corruption at one severity: `x` is int8[n, *input_shape]."""

    corruption: Corruption
    severity: int
    x: Int8


def study_corruptions(device: Device, dataset: Dataset, plan: CorruptionsPlan, stages: Stages) -> CorruptionsResult:
    """Corrupt samples of a test set, and ask a device about all of them.

    Where the data set holds the recordings of its test samples, they are corrupted; otherwise the samples are pictures.

    Args:
        device: the device that runs the model.
        dataset: its test set is used.
        plan: the corruptions, their severities and the number of samples.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: data and model do not fit each other, there is no range of values for pictures, or the data has
            no corruption of these names.
        DeviceError, MismatchError: see `ask`.
    """
    bundle = device.bundle
    samples = draw_samples(bundle, dataset, plan.samples, plan.seed)
    checked = check_data(bundle.manifest, dataset=dataset)
    data_range = find_range(plan.data_range, dataset, bundle.manifest.input)
    if dataset.sound_test is None:
        parts = _pictures(samples, dataset, data_range, plan)
    else:
        samples, parts = _sound(samples, dataset.sound_test, bundle, plan)
    x = np.concatenate([samples.x, *(part.x for part in parts)])
    answered = ask(device, x, stages(f"Corrupted inputs on {device.build.record.board.name}"))
    confirmation = answered.confirmation(Twin(bundle).predict(x))
    labels = samples.y.tolist()
    clean, *others = (group.tolist() for group in np.split(answered.outputs.labels, 1 + len(parts)))
    rate = right(labels, clean)
    issues = (*checked.issues, *check(rate, guessing(labels), confirmation))
    return CorruptionsResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, samples.indices.tolist(), tools_of(device)),
        plan=plan,
        model=ModelIdentity.of(bundle),
        data_range=data_range,
        classes=class_names(bundle.manifest, dataset),
        labels=tuple(labels),
        answers=tuple(clean),
        clean=rate,
        points=tuple(_point(part, samples, answers) for part, answers in zip(parts, others, strict=True)),
        examples=_examples(parts, samples, bundle),
        confirmation=confirmation,
        firmware=Firmware.of(device),
    )


def _pictures(
    samples: Samples, dataset: Dataset, data_range: DataRange | None, plan: CorruptionsPlan
) -> Sequence[_Part]:
    """Corrupt pictures between the lowest and the highest value that the data can have."""
    if data_range is None:
        raise BadInputError(
            "says no lowest and highest value, so that nothing tells what is black and what is white",
            where=dataset.name,
            fix="for pictures add value_range=[LOW, HIGH] to the .npz, or data_range = [LOW, HIGH] to "
            "the [corruptions] table of a --config",
        )
    low, high = data_range.limits
    shape = (len(samples.x), *as_image(samples.x.shape[1:]))
    clean = np.clip((samples.x.astype(np.float64).reshape(shape) - low) / (high - low), 0, 1)

    def on_grid(corruption: Corruption, severity: int) -> Int8:
        share = np.clip(corruption.at(clean, severity, plan.seed), 0, 1)
        return np.asarray(np.rint(low + share * (high - low)), np.int8).reshape(samples.x.shape)

    chosen = _chosen(plan, OF_PICTURES, "pictures")
    return [_Part(each, severity, on_grid(each, severity)) for each in chosen for severity in plan.severities]


def _sound(
    samples: Samples, sound: NDArray[np.int16], bundle: Bundle, plan: CorruptionsPlan
) -> tuple[Samples, Sequence[_Part]]:
    """Corrupt recordings; the samples without corruption become the features of the 16-bit clips."""
    grid, clips = bundle.manifest.input, sound[samples.indices]
    front, clean = FrontEnd(grid.scale, grid.zero_point), as_sound(clips).astype(np.float64)
    parts = [
        _Part(each, severity, front(to_pcm(each.at(clean, severity, plan.seed))))
        for each in _chosen(plan, OF_SOUND, "sound")
        for severity in plan.severities
    ]
    return replace(samples, x=front(clips)), parts


def _chosen(plan: CorruptionsPlan, known: Mapping[str, Corruption], what: str) -> list[Corruption]:
    if strangers := [name for name in plan.corruptions if name not in known]:
        fix = f"give some of {', '.join(known)}"
        raise BadInputError(f"{strangers[0]} is no corruption of {what}", where="corruptions", fix=fix)
    return [known[name] for name in plan.corruptions or known]


def _point(part: _Part, samples: Samples, answers: list[int]) -> Corrupted:
    moves = np.abs(part.x.astype(np.int16) - samples.x).reshape(len(samples.x), -1)
    return Corrupted(
        corruption=part.corruption.name,
        severity=part.severity,
        level=part.corruption.levels[part.severity - 1],
        answers=tuple(answers),
        accuracy=right(samples.y.tolist(), answers),
        change=float(np.median(moves.max(axis=1))),
    )


def _examples(parts: Sequence[_Part], samples: Samples, bundle: Bundle) -> tuple[Example, ...]:
    """The first sample with each corruption, at the highest severity."""
    severest = {part.corruption.name: part for part in parts}
    return tuple(
        Example(
            sample=int(samples.indices[0]),
            corruption=name,
            severity=part.severity,
            shape=bundle.manifest.input.shape,
            clean_base64=base64.b64encode(samples.x[0].tobytes()).decode(),
            corrupted_base64=base64.b64encode(part.x[0].tobytes()).decode(),
        )
        for name, part in severest.items()
    )


def _in_run(plan: CorruptionsPlan, run: RunContext, stages: Stages) -> CorruptionsResult:
    with open_device(run.bundle, run.build, run.port, run.bench) as device:
        return study_corruptions(device, run.dataset, plan, stages)


CORRUPTIONS = StudyKind("corruptions", "corruptions", CorruptionsPlan, CorruptionsResult, _in_run)
