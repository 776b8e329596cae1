"""Accuracy with bits flipped in flash, on the twin; firmware that boots with the same flips confirms it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.faults import Flip, ProgressiveSearch, draw_flips, every_bit, flip
from tritguard.attack.temperature import margin_temperature
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import emulator_version
from tritguard.emit import Bundle
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.faults.checks import check
from tritguard.evaluate.faults.firmware import FaultyFirmware
from tritguard.evaluate.faults.interpreter import FaultyInterpreter
from tritguard.evaluate.faults.result import (
    ChosenFlip,
    FaultDraw,
    FaultedModel,
    FaultPlan,
    FaultPoint,
    FaultReplay,
    FaultResult,
    from_few,
)
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.samples import (
    Samples,
    check_attackable,
    check_given,
    compared,
    differing,
    draw_samples,
    without_recurrent,
)
from tritguard.evaluate.study import ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.graph.model import Weighted
from tritguard.oracle import oracle_available
from tritguard.predictor import Outputs
from tritguard.progress import Progress, Stages
from tritguard.twin import OpenTwin


@dataclass(frozen=True)
class _Case:
    """One model, and what it is studied with.

    Attributes:
        measured: the samples that accuracy is measured on.
        known: the samples that the attacker knows.
    """

    bundle: Bundle
    twin: OpenTwin
    firmware: FaultyFirmware | None
    measured: Samples
    known: Samples
    plan: FaultPlan

    @contextmanager
    def faulty(self, flips: Sequence[Flip]) -> Iterator[OpenTwin]:
        """Give the twin with flips, which are taken back when the block ends."""
        flip(self.twin.weights, flips)
        try:
            yield self.twin
        finally:
            flip(self.twin.weights, flips)

    def is_defined(self, flips: Sequence[Flip]) -> bool:
        """Say whether the twin can follow these flips."""
        clean = {each.symbol: self.twin.weights[each.symbol].copy() for each in flips}
        kernels = self.bundle.emission.kernels
        with self.faulty(flips) as twin:
            return all(
                kernels[at].weights.is_defined(op, twin.weights[symbol], clean[symbol])
                for at, op in enumerate(self.bundle.emission.graph.ops)
                if isinstance(op, Weighted) and (symbol := twin.symbol(op.index)) in clean
            )


def study_faults(
    subjects: Sequence[tuple[Bundle, Build | None]],
    dataset: Dataset,
    plan: FaultPlan,
    stages: Stages,
) -> FaultResult:
    """Measure each model's accuracy with bits of its weights flipped.

    Args:
        subjects: bundles, each with its build for an emulated board, or None to use the twin alone.
        dataset: data with enough test samples for the measurement and the attacker.
        plan: the settings.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: there is no subject, there are too few samples, or a build does not fit; see `FaultyFirmware`.
        UnsupportedOpError: a model has an LSTM or SVDF.
        MismatchError: firmware and twin do not hold the same weights.
    """
    check_given(subjects, "bundle")
    for bundle, _ in subjects:
        bundle.manifest.check_narrow()
        without_recurrent(
            bundle, "and bits of its weights are not flipped, so the figures would leave most of them out"
        )
    for bundle, _ in subjects if plan.greedy else ():
        check_attackable(bundle.manifest)  # the search follows the loss; random flips need the labels alone
    cases = [_case(bundle, build, dataset, plan) for bundle, build in subjects]
    checked = check_data(*(bundle.manifest for bundle, _ in subjects), dataset=dataset)
    models = tuple(_study(case, stages) for case in cases)
    classes = cases[0].bundle.manifest.label_rule.classes
    issues = (*checked.issues, *check(models, plan, classes))
    booted = [case.firmware.build.record.board for case in cases if case.firmware]
    tools = {"emulator": ", ".join(dict.fromkeys(map(emulator_version, booted)))} if booted else {}
    return FaultResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, cases[0].measured.indices.tolist(), tools),
        plan=plan,
        classes=classes,
        models=models,
    )


def _case(bundle: Bundle, build: Build | None, dataset: Dataset, plan: FaultPlan) -> _Case:
    drawn = draw_samples(bundle, dataset, plan.samples + plan.attacker_samples, plan.seed)
    order = np.random.default_rng(plan.seed).permutation(len(drawn.y))

    def part(chosen: NDArray[np.int64]) -> Samples:
        return Samples(drawn.x[chosen], drawn.y[chosen], drawn.indices[chosen])

    firmware = None if build is None else FaultyFirmware(bundle, build)
    measured, known = part(np.sort(order[: plan.samples])), part(np.sort(order[plan.samples :]))
    twin = OpenTwin(bundle)
    bits = every_bit(twin.weights)
    possible = tuple(flips for flips in plan.flips if flips <= bits)  # the checks say which were left out
    return _Case(bundle, twin, firmware, measured, known, plan.model_copy(update={"flips": possible}))


def _study(case: _Case, stages: Stages) -> FaultedModel:
    name, plan = case.bundle.manifest.name, case.plan
    clean = _accuracy(case.twin.predict(case.measured.x), case.measured)
    random, undefined = _random_points(case, stages(f"{name}: random flips"))
    chosen = _chosen(case, stages(f"{name}: searching for flips")) if plan.greedy else ()
    counts = sorted(count for count in {*plan.flips, len(chosen)} if 0 < count <= len(chosen))
    greedy = tuple(FaultPoint.of("greedy", count, (_on_twin(case, chosen[:count], None),)) for count in counts)
    tflm = _in_tflm(case, chosen, counts, stages(f"{name}: the same flips in TFLM"))
    confirmed = [*_to_boot(case), *(chosen[:count] for count in counts)]
    return FaultedModel(
        model=ModelIdentity.of(case.bundle),
        weight_bits=every_bit(case.twin.weights),
        formats=_formats(case.twin),
        clean=clean,
        points=(*random, *greedy),
        tflm=tflm,
        chosen=tuple(
            ChosenFlip(symbol=each.symbol, layer=case.twin.layer(each.symbol), byte=each.byte, bit=each.bit)
            for each in chosen
        ),
        undefined=undefined,
        replay=_replay(case, case.firmware, confirmed, stages(f"{name}: booting faulty images"))
        if case.firmware
        else None,
    )


def _random_points(case: _Case, progress: Progress) -> tuple[tuple[FaultPoint, ...], int]:
    """Measure random flips: a point for each number of flips, and how many draws had to be left out."""
    plan = case.plan
    draws: dict[int, list[FaultDraw]] = {count: [] for count in plan.flips}
    total = plan.draws * len(plan.flips)
    for done in range(total):
        progress(done, total)
        seed, count = plan.seed + done // len(plan.flips), plan.flips[done % len(plan.flips)]
        flips = draw_flips(case.twin.weights, count, seed)
        if case.is_defined(flips):
            draws[count].append(_on_twin(case, flips, seed))
        elif case.firmware is not None:
            draws[count].append(_on_device(case, case.firmware, flips, seed))
    progress(total, total)
    points = tuple(FaultPoint.of("random", count, tuple(each)) for count, each in draws.items() if each)
    return points, total - sum(map(len, draws.values()))


def _chosen(case: _Case, progress: Progress) -> tuple[Flip, ...]:
    """Search for flips, with a loss that a temperature keeps from saturating, as in the gradient attacks."""
    known = case.known
    search = ProgressiveSearch(temperature=margin_temperature(case.twin.predict(known.x)))
    return search.search(case.twin, case.bundle.emission, known.x, known.y, case.plan.greedy, progress)


def _on_twin(case: _Case, flips: Sequence[Flip], seed: int | None) -> FaultDraw:
    with case.faulty(flips) as twin:
        return FaultDraw(seed=seed, accuracy=_accuracy(twin.predict(case.measured.x), case.measured))


def _on_device(case: _Case, firmware: FaultyFirmware, flips: Sequence[Flip], seed: int) -> FaultDraw:
    count = min(case.plan.device_samples, len(case.measured.y))
    few = Samples(case.measured.x[:count], case.measured.y[:count], case.measured.indices[:count])
    right = case.twin.predict(case.measured.x).labels == case.measured.y
    with case.faulty(flips) as twin:
        image = firmware.image(flips, twin.weights)
    outputs = firmware.answers(image, few.x)
    still = np.zeros(count, bool) if outputs is None else outputs.labels == few.y
    return FaultDraw(
        seed=seed,
        accuracy=Rate.of(int(still.sum()), count),
        ran_on="device",
        crashed=outputs is None,
        estimate=from_few(float(right.mean()), right[:count], still) if count < len(right) else None,
    )


def _in_tflm(
    case: _Case, chosen: tuple[Flip, ...], counts: Sequence[int], progress: Progress
) -> tuple[FaultPoint, ...]:
    """Measure the same flips in TensorFlow Lite Micro: those of each draw, and the chosen ones."""
    plan, count = case.plan, min(case.plan.tflm_samples, len(case.measured.y))
    if count == 0 or not oracle_available():
        return ()
    x, y = case.measured.x[:count], case.measured.y[:count]
    interpreter = FaultyInterpreter(case.bundle, case.twin, x)
    right = case.twin.predict(case.measured.x).labels == case.measured.y

    def drawn(flips: Sequence[Flip], seed: int | None) -> FaultDraw | None:
        content = interpreter.flipped(flips, seed or plan.seed)
        if content is None:
            return None
        still = interpreter.answers(content, x).labels == y
        estimate = from_few(float(right.mean()), right[:count], still) if count < len(right) else None
        return FaultDraw(seed=seed, accuracy=Rate.of(int(still.sum()), count), ran_on="tflm", estimate=estimate)

    points = []
    for done, flips in enumerate(plan.flips):
        progress(done, len(plan.flips))
        seeds = range(plan.seed, plan.seed + plan.draws)
        draws = [drawn(draw_flips(case.twin.weights, flips, seed), seed) for seed in seeds]
        if made := tuple(draw for draw in draws if draw is not None):
            points.append(FaultPoint.of("random", flips, made))
    found = ((flips, drawn(chosen[:flips], None)) for flips in counts)
    points += [FaultPoint.of("greedy", flips, (one,)) for flips, one in found if one is not None]
    progress(len(plan.flips), len(plan.flips))
    return tuple(points)


def _to_boot(case: _Case) -> Iterator[tuple[Flip, ...]]:
    """Take for each number of flips the first draw that the twin can follow."""
    plan = case.plan
    for count in plan.flips:
        draws = (draw_flips(case.twin.weights, count, plan.seed + draw) for draw in range(plan.draws))
        if (defined := next(filter(case.is_defined, draws), None)) is not None:
            yield defined


def _replay(
    case: _Case, firmware: FaultyFirmware, flip_sets: Sequence[Sequence[Flip]], progress: Progress
) -> FaultReplay:
    """Boot an image for each set of flips, all of which the twin can follow, and compare every byte it answers."""
    x = case.measured.x[: case.plan.device_samples]
    sets = [(), *flip_sets]
    bytes_compared = mismatched = 0
    for done, flips in enumerate(sets):
        progress(done, len(sets))
        with case.faulty(flips) as twin:
            image, ours = firmware.image(flips, twin.weights), twin.predict(x)
        theirs = firmware.answers(image, x)
        if theirs is None:
            mismatched += len(x)
            continue
        bytes_compared += compared(theirs)
        mismatched += differing(ours, theirs)
    progress(len(sets), len(sets))
    return FaultReplay(
        board=firmware.build.record.board.id,
        build_id=firmware.build.record.build_id,
        weight_bytes=firmware.weight_bytes,
        images=len(sets),
        inputs=len(sets) * len(x),
        bytes_compared=bytes_compared,
        mismatched_inputs=mismatched,
    )


def _accuracy(outputs: Outputs, samples: Samples) -> Rate:
    return Rate.of(int((outputs.labels == samples.y).sum()), len(samples.y))


def _formats(twin: OpenTwin) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for array in twin.arrays:
        sizes[array.weight_format] = sizes.get(array.weight_format, 0) + array.size
    return sizes


def _in_run(plan: FaultPlan, run: RunContext, stages: Stages) -> FaultResult:
    return study_faults([(run.bundle, run.build)], run.dataset, plan, stages)


FAULTS = StudyKind("faults", "faults", FaultPlan, FaultResult, _in_run)
