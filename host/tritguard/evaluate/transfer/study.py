"""How attacks carry over between a float model and what was deployed of it, and where they must not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball, Pgd, Target
from tritguard.attack.diva import Diva
from tritguard.attack.float_model import FloatModel, FloatTflite, open_float
from tritguard.attack.view import DifferentiableView, GradientView
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.emit.bundle import EdgeTensor, hash_file
from tritguard.errors import BadInputError
from tritguard.evaluate.samples import Samples, draw_samples
from tritguard.evaluate.study import ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.evaluate.transfer.checks import check
from tritguard.evaluate.transfer.result import Apart, Cell, Party, TransferPlan, TransferResult
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

Right = NDArray[np.bool_]


@dataclass(frozen=True)
class _Model:
    """A model of the matrix; its view is None where it has no gradients."""

    name: str
    form: Literal["float", "int8", "ternary"]
    sha256: str
    predictor: Predictor
    view: DifferentiableView | None


def study_transfer(
    bundles: Sequence[Bundle], floats: Sequence[tuple[str, Path]], dataset: Dataset, plan: TransferPlan,
    stages: Stages,
) -> TransferResult:  # fmt: skip
    """Craft on each model, ask all of them; then look for inputs that fool a deployed model alone.

    Args:
        bundles: deployed models that take the same inputs, byte for byte; at least one.
        floats: names and files of Keras models or float `.tflite` files, fed with the bytes' real values.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: the models do not take the same inputs, or a file is no such model.
    """
    grid = bundles[0].manifest.input
    models = [(name, path, open_float(path, grid)) for name, path in floats]
    samples = draw_samples(bundles[0], dataset, plan.samples, plan.seed)
    parties = [_float(name, path, model, samples.x) for name, path, model in models]
    parties += [_deployed(bundle, grid, samples.x) for bundle in bundles]
    right = [party.predictor.predict(samples.x).labels == samples.y for party in parties]
    crafted = _craft(parties, samples, plan, stages("Crafting on each model"))
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
    issues = check(result_parties, cells, plan, int(np.prod(bundles[0].manifest.output.shape)))
    return TransferResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, samples.indices.tolist(), {}),
        plan=plan,
        input_unit=dataset.unit_at(grid.scale),
        eps_input=tuple(eps * grid.scale for eps in plan.eps),
        parties=result_parties,
        cells=cells,
        apart=_apart(parties, samples, right, answers, plan, stages("Fooling the deployed model alone")),
    )


def _float(name: str, path: Path, model: FloatModel | FloatTflite, x: Int8) -> _Model:
    if isinstance(model, FloatModel):
        model.temperature = _temperature(model.predict(x))
    view = model if isinstance(model, FloatModel) else None
    return _Model(name, "float", hash_file(path), model, view)


def _deployed(bundle: Bundle, grid: EdgeTensor, x: Int8) -> _Model:
    edge, identity = bundle.manifest.input, ModelIdentity.of(bundle)
    same = edge.shape == grid.shape and edge.zero_point == grid.zero_point and np.isclose(edge.scale, grid.scale, 0.01)
    if not same:
        raise BadInputError(
            f"takes int8{list(edge.shape)} at scale {edge.scale:g}, zero point {edge.zero_point}; the first bundle "
            f"int8{list(grid.shape)} at {grid.scale:g}, {grid.zero_point}",
            where=str(bundle.path),
            fix="give models of the same inputs",
        )
    form: Literal["int8", "ternary"] = "ternary" if identity.ternary_layers else "int8"
    twin = Twin(bundle)
    view = GradientView(bundle.golden, _temperature(twin.predict(x)))
    return _Model(identity.name, form, identity.bundle_sha256, twin, view)


def _temperature(outputs: Outputs) -> float:
    """What brings the median margin of a model's logits to four, which makes those of several models alike."""
    values = outputs.scores.astype(np.float64) if outputs.logits is None else outputs.logits
    top = np.sort(values, axis=1)[:, -2:]
    return max(float(np.median(top[:, 1] - top[:, 0])) / 4, 1e-6)


def _craft(
    parties: Sequence[_Model], samples: Samples, plan: TransferPlan, progress: Progress
) -> dict[tuple[int, int], Int8]:
    """Inputs by eps and source. PGD goes on where it has won: an input just over the edge carries over badly."""
    sources = [number for number, party in enumerate(parties) if party.view is not None]
    jobs = list(product(plan.eps, sources))
    crafted = {}
    for done, (eps, source) in enumerate(jobs):
        progress(done, len(jobs))
        party = parties[source]
        target = Target(party.predictor, party.view, samples.x, samples.y, plan.seed)
        crafted[eps, source] = Pgd(plan.steps, 1, "margin").craft(target, Ball("Linf", eps)).x
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
    answers: dict[tuple[int, int], list[Right]], plan: TransferPlan, progress: Progress,
) -> tuple[Apart, ...]:  # fmt: skip
    keepers = [number for number, party in enumerate(parties) if isinstance(party.view, FloatModel)]
    deployed = [number for number, party in enumerate(parties) if party.form != "float"]
    jobs, found = list(product(plan.eps, deployed, keepers)), []
    for done, (eps, number, keeper) in enumerate(jobs):
        progress(done, len(jobs))
        both, party, kept = right[number] & right[keeper], parties[number], parties[keeper].view
        if not both.any():
            continue
        assert isinstance(kept, FloatModel)
        target = Target(party.predictor, party.view, samples.x[both], samples.y[both], plan.seed)
        x = Diva(kept, plan.steps).craft(target, Ball("Linf", eps)).x
        wrong = party.predictor.predict(x).labels != target.y
        stays = kept.predict(x).labels == target.y
        alone = answers[eps, number]
        found.append(
            Apart(
                eps_steps=eps,
                deployed=number,
                keeper=keeper,
                fooled=_rate(wrong & stays),
                crafted_alone=_rate((~alone[number] & alone[keeper])[both]),
            )
        )
    progress(len(jobs), len(jobs))
    return tuple(found)


def _rate(holds: Right) -> Rate:
    return Rate.of(int(holds.sum()), len(holds))
