"""A whole evaluation on the twin alone: search, and the checks of what it found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.campaign.store import Store
from tritguard.emit import write_bundle
from tritguard.evaluate.robustness.judgement import DeviceAnswers, Judgement, judge
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import Found, Victim, search
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.robustness.symptoms import unsteady
from tritguard.evaluate.samples import Samples
from tritguard.predictor import Int8


def victim(content: bytes, folder: Path, plan: Plan, x: Int8, y: NDArray[np.int64]) -> Victim:
    """Prepare a model for attack; the folder keeps its bundle and what is found."""
    bundle = write_bundle(content, folder / "bundle", name=folder.name)
    target = prepare(bundle, Samples(x, y, np.arange(len(x))), plan)
    return Victim(folder.name, bundle.manifest.model_sha256, target, Store(folder / "campaign.db", "model"))


def evaluated(model: Victim, plan: Plan, control: Victim | None) -> tuple[Found, Judgement]:
    """As an evaluation does it, with the twin for a device."""

    def labels(x: Int8) -> NDArray[np.int64]:
        return model.target.predictor.predict(x).labels

    found = search(model, plan, control, lambda _stage: lambda _done, _total: None)
    first = model.target.predictor.predict(model.target.x)
    answers = DeviceAnswers(
        clean=labels(model.target.x),
        runs=tuple(labels(run.x) for run in found.runs),
        again=tuple(labels(run.x) for run in found.again),
        mismatched=0,
        unsteady=unsteady(model.target.predictor, model.target.x, first),
    )
    return found, judge(plan, model.target, found, answers)
