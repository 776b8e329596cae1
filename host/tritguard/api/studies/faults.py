"""Bits flipped in flash."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritguard.api.keeping import keep_other_result
from tritguard.api.studies.outcome import carry_out
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.evaluate.faults.result import FaultPlan, FaultResult
from tritguard.evaluate.faults.study import FAULTS, study_faults
from tritguard.progress import Stages, silent


def faults(
    subjects: Sequence[tuple[Bundle, Build | None]],
    data: Dataset,
    out: str | Path,
    *,
    plan: FaultPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> FaultResult:
    """Measure accuracy with bits of the weights flipped in flash; writes `faults.json` and `faults.html`.

    Args:
        subjects: bundles, each with its build for an emulated board, or None to use the twin alone.
        data: samples for the measurement and for the attacker.
        out: the folder of the result.
        plan: the numbers of flips and samples.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError, MismatchError: see `study_faults`.
    """
    settings, bundles = plan or FaultPlan(), [bundle for bundle, _ in subjects]
    keep_other_result(FAULTS, Path(out), data, settings.model_dump(mode="json"), bundles, replace=replace)
    return carry_out(FAULTS, Path(out), lambda named: study_faults(subjects, data, settings, named), stages)
