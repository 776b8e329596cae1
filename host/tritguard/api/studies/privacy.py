"""What a model's outputs tell about its training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tritguard.api.keeping import keep_other_result
from tritguard.api.studies.outcome import carry_out
from tritguard.boards import Board, load_board
from tritguard.evaluate.privacy.result import PrivacyPlan, PrivacyResult
from tritguard.evaluate.privacy.study import PRIVACY, Training, study_privacy
from tritguard.evaluate.samples import check_given
from tritguard.progress import Stages, silent


def privacy(
    trainings: Sequence[Training],
    out: str | Path,
    *,
    board: str | Path | Board | None = None,
    plan: PrivacyPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> PrivacyResult:
    """Measure what a model's outputs tell about its training samples; writes `privacy.json` and `privacy.html`.

    Args:
        trainings: the trained models, see `open_training`.
        out: the folder of the result and of the shadow models.
        board: an emulated board that confirms the outputs; without it the twin gives them.
        plan: the numbers of samples and shadow models.
        replace: put the result in the place of one of other data, other trainings or another plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_privacy`.
    """
    check_given(trainings, "training")
    settings = plan or PrivacyPlan()
    asked = settings.model_dump(mode="json") | {"trainings": [training.sha256[:12] for training in trainings]}
    keep_other_result(PRIVACY, Path(out), trainings[0].dataset, asked, [], replace=replace)
    chip = board if board is None or isinstance(board, Board) else load_board(board)
    return carry_out(
        PRIVACY,
        Path(out),
        lambda named: study_privacy(trainings, chip, settings, Path(out), named),
        stages,
    )
