"""Puts what an evaluation found into a Result."""

from __future__ import annotations

import base64
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from tritguard import __version__
from tritguard.attack import Target
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Device, emulator_version
from tritguard.emit import Bundle
from tritguard.emit.bundle import Manifest
from tritguard.evaluate.checks import Evidence, check
from tritguard.evaluate.crafting import Run
from tritguard.evaluate.plan import Plan
from tritguard.evaluate.result import (
    AttackRow,
    Confirmation,
    CurvePoint,
    Firmware,
    FlashLayer,
    Footprint,
    Latency,
    Picture,
    Provenance,
    Rate,
    Result,
    ThreatModel,
    Throughput,
    status_of,
)
from tritguard.evaluate.store import versions
from tritguard.predictor import Int8
from tritguard.profile import estimate_cycles

PICTURES = 5


@dataclass(frozen=True)
class Subject:
    """What is evaluated: a bundle and the firmware built from it."""

    bundle: Bundle
    build: Build


@dataclass(frozen=True)
class Samples:
    """The part of a data set an evaluation uses.

    Attributes:
        x: int8[n, *input_shape], clean inputs.
        y: int64[n], labels.
        indices: int64[n], their places in the test set, rising.
    """

    x: Int8
    y: NDArray[np.int64]
    indices: NDArray[np.int64]


@dataclass(frozen=True)
class Replay:
    """What the device answered to every distinct input.

    Attributes:
        ticks: int64[inputs].
        clean_labels: int64[n], the device's labels of the clean inputs.
        run_labels: per run, int64[n], the device's labels of its candidates.
    """

    confirmation: Confirmation
    ticks: NDArray[np.int64]
    clean_labels: NDArray[np.int64]
    run_labels: tuple[NDArray[np.int64], ...]


@dataclass(frozen=True)
class Findings:
    """What the stages of an evaluation found.

    Attributes:
        clean_full: accuracy on the whole test set, on the twin.
    """

    runs: tuple[Run, ...]
    throughput: Throughput
    replay: Replay
    clean_full: Rate


def assemble(
    subject: Subject, dataset: Dataset, plan: Plan, samples: Samples, target: Target, found: Findings, device: Device
) -> Result:
    """One Result of all stages' outcomes. Robust accuracy is what the device said; the twin only led the search."""
    runs, replay = found.runs, found.replay
    manifest = subject.bundle.manifest
    right = replay.clean_labels == samples.y
    fooled = [labels != samples.y for labels in replay.run_labels]
    curve = _curve(plan, runs, fooled, right, manifest.input.scale)
    rows = tuple(_row(run, wrong, right, target) for run, wrong in zip(runs, fooled, strict=True))
    clean = Rate.of(int(right.sum()), len(right))
    view = target.view
    issues = check(
        Evidence(
            clean=clean,
            curve=curve,
            headline=next(point for point in curve if point.eps_steps == plan.eps[-1]),
            rows=rows,
            classes=int(np.prod(manifest.output.shape)),
            mismatched_inputs=replay.confirmation.mismatched_inputs,
            zero_gradient_share=0.0
            if view is None
            else view.zero_gradient_share(samples.x.astype(np.float32), samples.y),
            has_logits=manifest.logits is not None,
        )
    )
    weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
    return Result(
        status=status_of(issues),
        issues=issues,
        provenance=_provenance(subject, dataset, plan, samples, device),
        threat_model=ThreatModel(
            norm=plan.norm,
            eps_steps=plan.eps,
            eps_input=tuple(eps * manifest.input.scale for eps in plan.eps),
            input_unit=dataset.unit_at(manifest.input.scale),
            knowledge=f"white box: model file and gradients of its integer graph; black box: {_shown(plan, manifest)}",
        ),
        classes=manifest.classes or dataset.classes,
        model_macs=manifest.macs,
        ternary_layers=sum(layer.ternary is not None for layer in weighted),
        weight_layers=len(weighted),
        clean=clean,
        clean_full=found.clean_full,
        curve=curve,
        attacks=rows,
        throughput=found.throughput,
        confirmation=replay.confirmation,
        firmware=_firmware(subject, device),
        latency=_latency(subject, device, replay.ticks),
        footprint=_footprint(subject, device),
        pictures=_pictures(plan, samples, runs, replay, right),
    )


def _shown(plan: Plan, manifest: Manifest) -> str:
    """What black-box attacks see of the outputs."""
    if plan.access == "logits" and manifest.logits is not None:
        return "int32 logits"
    return "labels alone" if plan.access == "labels" else "int8 scores"


def _curve(
    plan: Plan, runs: tuple[Run, ...], fooled: list[NDArray[np.bool_]], right: NDArray[np.bool_], scale: float
) -> tuple[CurvePoint, ...]:
    """What broke a sample within a smaller ball lies in the larger one too."""
    holds = right.copy()
    points = []
    for eps in plan.bounds:
        for run, wrong in zip(runs, fooled, strict=True):
            if run.eps == eps:
                holds &= ~wrong
        points.append(CurvePoint(eps_steps=eps, eps_input=eps * scale, robust=Rate.of(int(holds.sum()), len(holds))))
    return tuple(points)


def _row(run: Run, wrong: NDArray[np.bool_], right: NDArray[np.bool_], target: Target) -> AttackRow:
    n = len(right)
    parameters = dict(run.attack.parameters)
    if run.attack.kind == "white box" and target.view is not None:
        parameters["temperature"] = round(target.view.temperature, 3)
    return AttackRow(
        attack=run.attack.name,
        kind=run.attack.kind,
        eps_steps=run.eps,
        robust=Rate.of(int((right & ~wrong).sum()), n),
        parameters=parameters,
        queries_per_sample=run.queries / n,
        gradients_per_sample=run.gradients / n,
        seconds=run.seconds,
    )


def _pictures(
    plan: Plan, samples: Samples, runs: tuple[Run, ...], replay: Replay, right: NDArray[np.bool_]
) -> tuple[Picture, ...]:
    """For different classes where possible: samples with the smallest eps of the threat model that broke them."""
    found: dict[int, Picture] = {}
    labels_seen: set[int] = set()
    for distinct in (True, False):
        for run, labels in zip(runs, replay.run_labels, strict=True):
            if run.attack.kind == "baseline" or run.eps not in plan.eps:
                continue
            for sample in np.flatnonzero(right & (labels != samples.y)):
                label = int(samples.y[sample])
                if len(found) == PICTURES:
                    return tuple(found.values())
                if int(sample) in found or (distinct and label in labels_seen):
                    continue
                labels_seen.add(label)
                found[int(sample)] = Picture(
                    sample=int(samples.indices[sample]),
                    label=label,
                    clean_prediction=int(replay.clean_labels[sample]),
                    adversarial_prediction=int(labels[sample]),
                    attack=run.attack.name,
                    eps_steps=run.eps,
                    shape=samples.x.shape[1:],
                    clean_base64=base64.b64encode(samples.x[sample].tobytes()).decode(),
                    adversarial_base64=base64.b64encode(run.x[sample].tobytes()).decode(),
                )
    return tuple(found.values())


def _provenance(subject: Subject, dataset: Dataset, plan: Plan, samples: Samples, device: Device) -> Provenance:
    manifest = subject.bundle.manifest
    tools = {"compiler": subject.build.record.compiler}
    if device.emulated:
        tools["emulator"] = emulator_version() or "unknown version"
    return Provenance(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["tritguard", *sys.argv[1:]]),
        tritguard=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        packages=versions(),
        tools=tools,
        seed=plan.seed,
        bundle_sha256=subject.bundle.sha256,
        model_name=manifest.name,
        model_sha256=manifest.model_sha256,
        data_name=dataset.name,
        data_sha256=dataset.sha256,
        sample_indices=tuple(samples.indices.tolist()),
    )


def _firmware(subject: Subject, device: Device) -> Firmware:
    record = subject.build.record
    return Firmware(
        board=record.board.id,
        board_name=record.board.name,
        core=record.board.core,
        engine=device.hello.engine,
        emulated=device.emulated,
        build_id=device.hello.build_id,
        model_sha256=device.hello.model_sha256,
        elf_sha256=record.elf_sha256,
        clock_hz=device.hello.clock_hz,
    )


def _latency(subject: Subject, device: Device, ticks: NDArray[np.int64]) -> Latency:
    median = int(np.median(ticks))
    instructions = device.instructions(median)
    estimate = None if instructions is None else estimate_cycles(subject.bundle, subject.build)
    return Latency(
        runs=len(ticks),
        ticks_median=median,
        ticks_min=int(ticks.min()),
        ticks_max=int(ticks.max()),
        tick_hz=device.tick_hz,
        instructions=instructions,
        cycles_estimated=round(instructions * estimate.per_instruction) if instructions and estimate else None,
        cycles_method=estimate.method if estimate else None,
        core_hz=subject.build.record.board.clock.hz,
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
    )
