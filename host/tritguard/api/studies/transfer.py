"""Attacks that carry over between models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritguard.api.keeping import keep_other_result
from tritguard.api.source import title
from tritguard.api.studies.outcome import carry_out
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.evaluate.transfer.result import TransferPlan, TransferResult
from tritguard.evaluate.transfer.study import TRANSFER, study_transfer
from tritguard.progress import Stages, silent
from tritguard.train.config import MODEL


def transfer(
    bundles: Sequence[Bundle],
    data: Dataset,
    out: str | Path,
    *,
    floats: Sequence[str | Path] = (),
    plan: TransferPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> TransferResult:
    """Measure how attacks carry over between models; writes `transfer.json` and `transfer.html`.

    Args:
        bundles: the deployed models.
        data: what they are attacked with.
        out: the folder of the result.
        floats: float models, each a `.keras` file or a float `.tflite`.
        plan: the bounds and the number of samples.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_transfer`.
    """
    settings = plan or TransferPlan()
    keep_other_result(TRANSFER, Path(out), data, settings.model_dump(mode="json"), bundles, replace=replace)
    models = [(_float_name(Path(path)), Path(path)) for path in floats]
    return carry_out(TRANSFER, Path(out), lambda named: study_transfer(bundles, models, data, settings, named), stages)


def _float_name(path: Path) -> str:
    """Name a float model for reports, as `convert` names the training that left it."""
    return title(path.parent if path.name == MODEL else path, None)
