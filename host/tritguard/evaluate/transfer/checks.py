"""Checks for what would make a study of transfer misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritguard.evaluate.study import Issue, invalid, warn
from tritguard.evaluate.transfer.result import Cell, Party, TransferPlan

_FEW_SAMPLES = 100


def check(parties: Sequence[Party], cells: Sequence[Cell], plan: TransferPlan, classes: int) -> tuple[Issue, ...]:
    """Collect all findings; a sound study has none."""
    return (*_settings(parties, plan, classes), *_stronger_from_elsewhere(parties, cells))


def _settings(parties: Sequence[Party], plan: TransferPlan, classes: int) -> Iterator[Issue]:
    if plan.samples < _FEW_SAMPLES:
        yield warn("FEW_SAMPLES", f"{plan.samples} samples: accuracies are rough")
    if all(party.form != "float" for party in parties):
        yield warn("NO_FLOAT", "no float model was given, so nothing shows what deployment changed")
    for party in parties:
        if party.clean.low <= 1 / classes:
            what = f"{party.name} ({party.form}) cannot be told from guessing: wrong data, or data in another unit"
            yield invalid("CLEAN_AT_CHANCE", what)


def _stronger_from_elsewhere(parties: Sequence[Party], cells: Sequence[Cell]) -> Iterator[Issue]:
    """Compare attacks from elsewhere with those on the model itself; if they are stronger, gradients are masked."""
    own = {(cell.eps_steps, cell.target): cell.accuracy for cell in cells if cell.source == cell.target}
    for cell in cells:
        white = own.get((cell.eps_steps, cell.target))
        if white is not None and cell.accuracy.high < white.low:
            source, target = parties[cell.source], parties[cell.target]
            yield warn(
                "TRANSFER_BEATS_WHITE_BOX",
                f"at eps {cell.eps_steps} inputs crafted on {source.name} ({source.form}) leave {target.name} "
                f"({target.form}) {cell.accuracy.value:.1%}, its own gradients {white.value:.1%}",
            )
