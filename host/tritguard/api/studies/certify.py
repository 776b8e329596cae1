"""Proofs about a deployed model."""

from __future__ import annotations

from pathlib import Path

from tritguard.api.keeping import keep_other_result
from tritguard.api.studies.outcome import carry_out
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.certify.result import CertifyPlan, CertifyResult
from tritguard.evaluate.certify.study import CERTIFY, study_certify
from tritguard.evaluate.study import Study
from tritguard.progress import Stages, silent


def certify(
    bundle: Bundle,
    data: Dataset,
    out: str | Path,
    *,
    firmware: Build | None = None,
    plan: CertifyPlan | None = None,
    attacked: Study | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> CertifyResult:
    """Bound robust accuracy from below by proofs, and from above; writes `certify.json` and `certify.html`.

    Args:
        bundle: the model.
        data: the data whose samples the balls are around.
        out: the folder of the result.
        firmware: its build for an emulated board, which confirms what the twin says; without it the twin stands alone.
        plan: the samples, the balls and how far to go.
        attacked: a result with attacks on the same samples in the same balls, as `attack` returns it.
        replace: put the result in the place of one of other data, another model or another plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_certify`; or the result has no attacks with their samples.
    """
    if attacked is not None and attacked.attacked is None:
        raise BadInputError("the result has no untargeted attacks with their samples", fix="give one of 'attack'")
    other, settings = None if attacked is None else attacked.attacked, plan or CertifyPlan()
    keep_other_result(CERTIFY, Path(out), data, settings.model_dump(mode="json"), [bundle], replace=replace)
    return carry_out(
        CERTIFY,
        Path(out),
        lambda named: study_certify(bundle, firmware, data, settings, named, other),
        stages,
    )
