"""Checks for what would make a study of membership inference misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from tritguard.evaluate.study import Issue, invalid, warn

if TYPE_CHECKING:
    from tritguard.evaluate.privacy.result import LeakingModel, PrivacyPlan

OTHER_MEMBERS = "OTHER_MEMBERS"

_FEW_OTHERS = 1000  # one of them is 0.1 %
_FEW_SHADOWS = 8


def check(models: Sequence[LeakingModel], plan: PrivacyPlan, others: int, *, same_run: bool) -> tuple[Issue, ...]:
    """Collect all findings; a sound study has none."""
    return (*_settings(plan, others, same_run), *(issue for model in models for issue in _model(model)))


def _settings(plan: PrivacyPlan, others: int, same_run: bool) -> Iterator[Issue]:
    if others < _FEW_OTHERS:
        yield warn("FEW_SAMPLES", f"{others} others: too few to tell a false positive rate of 0.1 % from none at all")
    if plan.shadows == 0:
        yield warn(
            "NO_SHADOWS", "without shadow models the strongest of these attacks, the likelihood ratio, is not run"
        )
    elif plan.shadows < _FEW_SHADOWS:
        yield warn("FEW_SHADOWS", f"with {plan.shadows} shadow models the likelihood ratio is weaker than it could be")
    if not same_run:
        yield warn(OTHER_MEMBERS, "the models were not trained on the same samples, so their rows cannot be compared")


def _model(model: LeakingModel) -> Iterator[Issue]:
    name, control = model.model.name, model.control
    if control is not None and not control.low <= 0.5 <= control.high:
        yield warn(
            "MEMBERS_DIFFER",
            f"{name}: models that saw neither tell members from others with an AUC of {control.value:.3f}, so not all "
            "that the attacks find is membership",
        )
    if model.confirmation is None:
        yield warn("NO_DEVICE", f"{name}: no board was named, so the outputs of the deployed model are the twin's")
    elif model.confirmation.mismatched_inputs:
        what = f"{name}: device and twin differ on {model.confirmation.mismatched_inputs} inputs"
        yield invalid("DEVICE_TWIN_MISMATCH", what)
