"""How attacks carry over between a float model and its deployed form, and which of them fool the latter alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball, Pgd, Target
from tritguard.attack.base import Limits
from tritguard.attack.diva import Diva
from tritguard.attack.float_model import FloatModel, FloatTflite, open_float
from tritguard.attack.temperature import margin_temperature
from tritguard.attack.trigger import Pair
from tritguard.attack.view import DifferentiableView, GradientView
from tritguard.data import Dataset, to_input_bytes
from tritguard.emit import Bundle
from tritguard.emit.bundle import EdgeTensor, hash_file
from tritguard.errors import BadInputError
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.kind import RunContext, RunSources, StudyKind
from tritguard.evaluate.limits import find_range, limits_of
from tritguard.evaluate.samples import Samples, check_attackable, check_given, class_names, draw_samples
from tritguard.evaluate.study import ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.evaluate.transfer.checks import check, check_drift, closest
from tritguard.evaluate.transfer.drift import find_drift, find_triggered
from tritguard.evaluate.transfer.result import Apart, Cell, Drift, Party, TransferPlan, TransferResult, Triggered
from tritguard.graph.passes.unrolled import unrolled
from tritguard.predictor import Int8, Predictor
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

Right = NDArray[np.bool_]
_COMPARED = 10_000  # samples of the test set
_LEAST_TEMPERATURE = 1e-6  # small margins are widened too, so that the margins of all models are alike


@dataclass(frozen=True)
class _Model:
    """A model of the matrix; its view is None if it has no gradients."""

    name: str
    form: Literal["float", "int8", "ternary"]
    sha256: str
    predictor: Predictor
    view: DifferentiableView | None


def study_transfer(
    bundles: Sequence[Bundle], floats: Sequence[tuple[str, Path]], dataset: Dataset, plan: TransferPlan,
    stages: Stages,
) -> TransferResult:  # fmt: skip
    """Craft inputs on each model and give them to all; then look for inputs that fool a deployed model alone.

    Args:
        bundles: deployed models that take the same inputs, byte for byte; at least one.
        floats: names and files of Keras models or float `.tflite` files, which get the real values of the bytes.
        dataset: the data that samples are drawn from.
        plan: the settings.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: there is no bundle, the models do not take the same inputs, or a file holds no float model.
    """
    check_given(bundles, "bundle")
    for bundle in bundles:
        check_attackable(bundle.manifest)
        bundle.manifest.check_narrow()
    grid = bundles[0].manifest.input
    samples = draw_samples(bundles[0], dataset, plan.samples, plan.seed)
    stream = samples.x.shape[1:] if bundles[0].manifest.state_bytes else None
    models = [(name, path, open_float(path, grid, stream)) for name, path in floats]
    classes = class_names(bundles[0].manifest, dataset)
    checked = check_data(bundles[0].manifest, dataset=dataset)  # the other bundles take the same inputs
    parties = [_float(name, path, model, samples.x) for name, path, model in models]
    parties += [_deployed(bundle, grid, samples.x) for bundle in bundles]
    right = [party.predictor.predict(samples.x).labels == samples.y for party in parties]
    data_range = find_range(plan.data_range, dataset, grid)
    limits = limits_of(data_range)
    balls = [Ball("Linf", eps).within(limits) for eps in plan.eps]
    crafted = _craft(parties, samples, plan, balls, stages("Crafting on each model"))
    answers = {key: [party.predictor.predict(x).labels == samples.y for party in parties] for key, x in crafted.items()}
    cells = tuple(
        _cell(eps, source, target, right, after)
        for (eps, source), after in answers.items()
        for target in range(len(parties))
    )
    result_parties = tuple(
        Party(name=party.name, form=party.form, sha256=party.sha256, clean=_rate(holds))
        for party, holds in zip(parties, right, strict=True)
    )
    known = bundles[0].manifest.as_samples(to_input_bytes(dataset.x_test[:_COMPARED], grid.scale, grid.zero_point))
    told = stages("What deployment changed")
    drifts, triggered = _drift(parties, samples, known, len(classes), limits, plan, told)
    issues = (
        *checked.issues,
        *check(result_parties, cells, plan, len(classes)),
        *check_drift(result_parties, drifts, triggered, classes),
    )
    return TransferResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, samples.indices.tolist(), {}),
        plan=plan,
        input_unit=dataset.unit_at(grid.scale),
        eps_input=tuple(eps * grid.scale for eps in plan.eps),
        parties=result_parties,
        cells=cells,
        apart=_apart(parties, samples, right, answers, plan, balls, stages("Fooling the deployed model alone")),
        data_range=data_range,
        classes=classes,
        drift=drifts,
        triggered=triggered,
    )


def _float(name: str, path: Path, model: FloatModel | FloatTflite, x: Int8) -> _Model:
    if isinstance(model, FloatModel):
        model.temperature = margin_temperature(model.predict(x), least=_LEAST_TEMPERATURE)
    view = model if isinstance(model, FloatModel) else None
    return _Model(name, "float", hash_file(path), model, view)


def _deployed(bundle: Bundle, grid: EdgeTensor, x: Int8) -> _Model:
    edge, identity = bundle.manifest.input, ModelIdentity.of(bundle)
    streams = x.shape[1:] != grid.shape
    same = edge.shape == grid.shape and edge.zero_point == grid.zero_point and np.isclose(edge.scale, grid.scale, 0.01)
    if (bundle.manifest.state_bytes > 0) != streams:
        raise BadInputError(
            "of this model and the first one, one keeps state between frames and the other does not",
            where=str(bundle.path),
            fix="give models with the same inputs",
        )
    if not same:
        raise BadInputError(
            f"takes int8{list(edge.shape)} with scale {edge.scale:g} and zero point {edge.zero_point}, "
            f"the first bundle int8{list(grid.shape)} with {grid.scale:g} and {grid.zero_point}",
            where=str(bundle.path),
            fix="give models with the same inputs",
        )
    form: Literal["int8", "ternary"] = "ternary" if identity.ternary_layers else "int8"
    twin = Twin(bundle)
    outputs, scale = twin.predict(x), bundle.manifest.output.scale
    temperature = margin_temperature(outputs, score_scale=scale, least=_LEAST_TEMPERATURE)
    view = GradientView(unrolled(bundle.golden, x.shape[1]), temperature)
    return _Model(identity.name, form, identity.bundle_sha256, twin, view)


def _craft(
    parties: Sequence[_Model], samples: Samples, plan: TransferPlan, balls: Sequence[Ball], progress: Progress
) -> dict[tuple[int, int], Int8]:
    """Craft inputs on each model that has gradients, at each eps.

    PGD goes on after it has won: an input just across the boundary carries over badly.

    Returns:
        int8[n, *input_shape] by eps and by the position of the source.
    """
    sources = [number for number, party in enumerate(parties) if party.view is not None]
    jobs = list(product(balls, sources))
    crafted = {}
    for done, (ball, source) in enumerate(jobs):
        progress(done, len(jobs))
        party = parties[source]
        target = Target(party.predictor, party.view, samples.x, samples.y, plan.seed)
        crafted[ball.eps, source] = Pgd(plan.steps, 1, "margin").craft(target, ball).x
    progress(len(jobs), len(jobs))
    return crafted


def _cell(eps: int, source: int, target: int, right: Sequence[Right], after: Sequence[Right]) -> Cell:
    broken = right[source] & right[target] & ~after[source]
    return Cell(
        eps_steps=eps,
        source=source,
        target=target,
        accuracy=_rate(after[target]),
        transferred=Rate.of(int((broken & ~after[target]).sum()), int(broken.sum())) if broken.any() else None,
    )


def _apart(
    parties: Sequence[_Model], samples: Samples, right: Sequence[Right],
    answers: dict[tuple[int, int], list[Right]], plan: TransferPlan, balls: Sequence[Ball], progress: Progress,
) -> tuple[Apart, ...]:  # fmt: skip
    keepers = [number for number, party in enumerate(parties) if isinstance(party.view, FloatModel)]
    deployed = [number for number, party in enumerate(parties) if party.form != "float"]
    jobs, found = list(product(balls, deployed, keepers)), []
    for done, (ball, number, keeper) in enumerate(jobs):
        progress(done, len(jobs))
        both, party, kept = right[number] & right[keeper], parties[number], parties[keeper].view
        if not both.any():
            continue
        assert isinstance(kept, FloatModel)
        target = Target(party.predictor, party.view, samples.x[both], samples.y[both], plan.seed)
        x = Diva(kept, plan.steps).craft(target, ball).x
        wrong = party.predictor.predict(x).labels != target.y
        stays = kept.predict(x).labels == target.y
        alone = answers[ball.eps, number]
        found.append(
            Apart(
                eps_steps=ball.eps,
                deployed=number,
                keeper=keeper,
                fooled=_rate(wrong & stays),
                crafted_alone=_rate((~alone[number] & alone[keeper])[both]),
            )
        )
    progress(len(jobs), len(jobs))
    return tuple(found)


def _drift(
    parties: Sequence[_Model], samples: Samples, x: Int8, classes: int, limits: Limits, plan: TransferPlan,
    progress: Progress,
) -> tuple[tuple[Drift, ...], tuple[Triggered, ...]]:  # fmt: skip
    """Compare each deployed model with each float one on a test set x, and look for triggers between the nearest."""
    pairs = {
        (number, keeper): Pair(party.predictor, other.predictor, party.view, other.view)
        for (number, party), (keeper, other) in product(enumerate(parties), repeat=2)
        if party.form != "float" == other.form
    }
    steps, drifts = len(pairs) + 1, list[Drift]()
    for done, ((number, keeper), pair) in enumerate(pairs.items()):
        progress(done, steps)
        drifts.append(find_drift(pair, number, keeper, x, classes))
    found = [
        find_triggered(
            pairs[one.deployed, one.keeper], one, samples.x[: plan.trigger_samples], classes, plan.trigger_steps, limits
        )
        for one in closest(drifts)
    ]
    progress(steps, steps)
    return tuple(drifts), tuple(one for one in found if one is not None)


def _rate(holds: Right) -> Rate:
    return Rate.of(int(holds.sum()), len(holds))


def _in_run(plan: TransferPlan, run: RunContext, stages: Stages) -> TransferResult:
    """Study the run's model with its float model, and the control too if the run trained it."""
    pairs = [(run.bundle, run.float_model), (run.control, run.control_float)]
    known = [(bundle, path) for bundle, path in pairs if bundle is not None and path is not None]
    floats = [(bundle.manifest.name, path) for bundle, path in known]
    return study_transfer([bundle for bundle, _ in known], floats, run.dataset, plan, stages)


def _missing(sources: RunSources) -> str | None:
    return None if sources.float_model else "a float_model where no model is trained"


TRANSFER = StudyKind("transfer", "transfer", TransferPlan, TransferResult, _in_run, _missing)
