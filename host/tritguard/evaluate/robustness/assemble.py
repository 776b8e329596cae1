"""Puts together the result of an evaluation from what its stages found."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Target
from tritguard.attack.norms import NORMS
from tritguard.build import Build
from tritguard.campaign.runs import Run
from tritguard.data import Dataset
from tritguard.device import Device
from tritguard.emit import Bundle
from tritguard.emit.bundle import Manifest
from tritguard.evaluate.data_checks import Checked
from tritguard.evaluate.limits import DataRange, limits_of
from tritguard.evaluate.measurement import Firmware, Latency, tools_of
from tritguard.evaluate.robustness.figures import AttackRow
from tritguard.evaluate.robustness.judgement import DeviceAnswers, judge
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import (
    FlashLayer,
    Footprint,
    Picture,
    RobustnessProvenance,
    RobustnessResult,
    ThreatModel,
)
from tritguard.evaluate.robustness.search import Found
from tritguard.evaluate.samples import Samples, class_names
from tritguard.evaluate.study import Confirmation, Rate, StudyProvenance, status_of

PICTURES = 5


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a bundle and the firmware built from it."""

    bundle: Bundle
    build: Build


@dataclass(frozen=True)
class Replay:
    """What the device answered to every distinct input.

    Attributes:
        ticks: int64[inputs], the time of each inference in the board's timer ticks.
    """

    confirmation: Confirmation
    ticks: NDArray[np.int64]
    answers: DeviceAnswers


@dataclass(frozen=True)
class Findings:
    """What the stages of an evaluation found.

    Attributes:
        clean_full: the accuracy on the whole test set, on the twin.
        data: what the checks of the data found.
        data_range: the data's own range, which every input kept to; None if there is none.
    """

    search: Found
    replay: Replay
    clean_full: Rate
    data: Checked
    data_range: DataRange | None


def assemble(
    subject: Subject, dataset: Dataset, plan: Plan, samples: Samples, target: Target, found: Findings, device: Device
) -> RobustnessResult:
    """Put together the result from what all stages found."""
    manifest = subject.bundle.manifest
    judged = judge(plan, target, found.search, found.replay.answers, limits_of(found.data_range))
    issues = tuple(sorted((*found.data.issues, *judged.issues), key=lambda issue: issue.severity))  # invalid, then warn
    weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
    return RobustnessResult(
        status=status_of(issues),
        issues=issues,
        passed=(*found.data.passed, *judged.passed),
        unmade=judged.unmade,
        provenance=_provenance(subject, dataset, plan, samples, device),
        threat_model=ThreatModel(
            goal=plan.goal,
            norm=plan.norm,
            eps_steps=plan.eps,
            eps_input=tuple(NORMS[plan.norm].scaled(eps, manifest.input.scale) for eps in plan.eps),
            input_unit=dataset.unit_at(manifest.input.scale),
            access=plan.access,
            space="features" if dataset.holds_features else "input",
            data_range=found.data_range,
            knowledge=f"{_gradients(found.search, judged.rows)}; black box: {_shown(plan, manifest)}",
        ),
        classes=class_names(manifest, dataset),
        model_macs=manifest.macs,
        ternary_layers=sum(layer.ternary is not None for layer in weighted),
        weight_layers=len(weighted),
        clean=judged.clean,
        clean_full=found.clean_full,
        curve=judged.curve,
        attacks=judged.rows,
        samples=judged.samples,
        symptoms=judged.symptoms,
        data_checks=dict(found.data.shares),
        preset="" if plan.attacks else plan.preset,
        budgets={name: dict(settings) for name, settings in plan.budgets_for(manifest.label_rule.classes).items()},
        left_out={} if found.search.live else plan.left_out,
        live=found.search.live,
        control=found.search.control,
        doubling=judged.doubling,
        growth=judged.growth,
        throughput=found.search.throughput,
        confirmation=found.replay.confirmation,
        firmware=Firmware.of(device),
        latency=Latency.of(device, found.replay.ticks, target.x.shape[1] if manifest.state_bytes else 1),
        footprint=_footprint(subject, device),
        pictures=_pictures(plan, samples, target, found.search.runs, found.replay.answers),
    )


def _gradients(found: Found, rows: tuple[AttackRow, ...]) -> str:
    if found.live:
        return "no gradients: every query was an inference on the device"
    if not any(row.kind == "white box" for row in rows):
        return "no gradients"
    return "white box: model file and gradients of its integer graph"


def _shown(plan: Plan, manifest: Manifest) -> str:
    """Say what black-box attacks see of the outputs."""
    if plan.access == "logits" and manifest.logits is not None:
        return "int32 logits"
    return "labels alone" if plan.access == "labels" else "int8 scores"


def _pictures(
    plan: Plan, samples: Samples, target: Target, runs: tuple[Run, ...], answers: DeviceAnswers
) -> tuple[Picture, ...]:
    """Choose broken samples within the threat model, of different attacks and classes as far as there are any."""
    broken = [
        (run, int(sample), labels)
        for run, labels in zip(runs, answers.runs, strict=True)
        if run.attack.kind != "baseline" and run.eps in plan.eps
        for sample in np.flatnonzero((answers.clean == samples.y) & target.broken(labels))
    ]
    shown: set[object] = set()

    def known(candidate: tuple[Run, int, NDArray[np.int64]]) -> int:
        run, sample, _ = candidate
        return (run.attack.name in shown) + (int(samples.y[sample]) in shown)

    pictures: list[Picture] = []
    while broken and len(pictures) < PICTURES:
        run, sample, labels = min(broken, key=known)
        shown |= {run.attack.name, int(samples.y[sample])}
        pictures.append(_picture(run, samples, sample, answers.clean, labels))
        broken = [candidate for candidate in broken if candidate[1] != sample]
    return tuple(pictures)


def _picture(
    run: Run, samples: Samples, sample: int, clean_labels: NDArray[np.int64], labels: NDArray[np.int64]
) -> Picture:
    return Picture(
        sample=int(samples.indices[sample]),
        label=int(samples.y[sample]),
        clean_prediction=int(clean_labels[sample]),
        adversarial_prediction=int(labels[sample]),
        attack=run.attack.name,
        eps_steps=run.eps,
        shape=samples.x.shape[1:],
        clean_base64=base64.b64encode(samples.x[sample].tobytes()).decode(),
        adversarial_base64=base64.b64encode(run.x[sample].tobytes()).decode(),
    )


def _provenance(
    subject: Subject, dataset: Dataset, plan: Plan, samples: Samples, device: Device
) -> RobustnessProvenance:
    manifest = subject.bundle.manifest
    common = StudyProvenance.now(dataset, plan.seed, samples.indices.tolist(), tools_of(device))
    return RobustnessProvenance(
        **common.model_dump(),
        bundle_sha256=subject.bundle.sha256,
        model_name=manifest.name,
        model_sha256=manifest.model_sha256,
    )


def _footprint(subject: Subject, device: Device) -> Footprint:
    sizes, memory = subject.build.record.sizes, device.memory()
    layers = {layer.index: layer for layer in subject.bundle.manifest.layers}
    return Footprint(
        flash_total=sizes.flash_total,
        flash_sections=sizes.flash_sections,
        flash_groups=sizes.flash_groups,
        flash_layers=tuple(
            FlashLayer(layer=item.layer, op=layers[item.layer].op, name=layers[item.layer].name, bytes=item.bytes)
            for item in sizes.flash_layers
        ),
        ram_static=sizes.ram_static,
        ram_arena=sizes.ram_arena,
        stack_peak=memory.stack_peak,
        stack_reserved=sizes.stack_reserved,
        regions=sizes.regions,
    )
