"""Networks that fit a board, proposed before anything is trained."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards import Board, load_board
from tritguard.data import Dataset
from tritguard.fitting import ROWS, FitBudget, Proposals, parse_budget, propose
from tritguard.progress import Progress
from tritguard.train import TrainConfig

_SAMPLES = 16  # samples that set int8 ranges, on which sizes hardly depend


def fit(
    config: TrainConfig,
    data: Dataset,
    budget: str | FitBudget,
    board: str | Path | Board = "mps2-an386",
    progress: Progress | None = None,
    *,
    rows: int = ROWS,
) -> Proposals:
    """Search widths and depth of a network for those that make the most of a board; nothing is trained.

    Args:
        config: the settings that the proposals take over, all but the widths and the depth. Its `net` is `residual` or
            `separable`.
        data: a data set with training samples, whose shape and classes the network gets.
        budget: flash and RAM of the whole firmware, and cycles or MACs of an inference: "322K,64K" or "322K,64K,40M".
        board: a board's id, its `.toml` file, or its record.
        progress: called with (steps done, steps in all).
        rows: the most networks to propose.

    Raises:
        BadInputError: the text is no budget, or the network has no widths to choose or cannot be trained on `data`.
        OverBudgetError: nothing fits.
        BuildError, ToolMissingError: a firmware that is built for comparison fails.
    """
    from tritguard.train.inputs import training_set  # noqa: PLC0415 - comes with TensorFlow

    samples = training_set(config, data).x[:_SAMPLES]
    allowed = parse_budget(budget) if isinstance(budget, str) else budget
    target = board if isinstance(board, Board) else load_board(board)
    return propose(config, samples, len(data.classes), allowed, target, progress, rows=rows)
