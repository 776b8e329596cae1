"""What would make a study of membership inference misleading; each finding has a stable code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tritguard.evaluate.privacy.result import LeakingModel, PrivacyPlan
from tritguard.evaluate.study import Issue, invalid, warn

_FEW_OTHERS = 1000  # one of them is 0.1 %
_FEW_SHADOWS = 8


def check(models: Sequence[LeakingModel], plan: PrivacyPlan, others: int, *, same_run: bool) -> tuple[Issue, ...]:
    """Every finding; none is the good case."""
    return (*_settings(plan, others, same_run), *(issue for model in models for issue in _model(model)))


def _settings(plan: PrivacyPlan, others: int, same_run: bool) -> Iterator[Issue]:
    if others < _FEW_OTHERS:
        yield warn("FEW_SAMPLES", f"{others} others: a false positive rate of 0.1 % cannot be told from none at all")
    if plan.shadows == 0:
        yield warn("NO_SHADOWS", "without shadow models the strongest attack here, the likelihood ratio, is not run")
    elif plan.shadows < _FEW_SHADOWS:
        yield warn("FEW_SHADOWS", f"{plan.shadows} shadow models: the likelihood ratio is weaker than it could be")
    if not same_run:
        yield warn("OTHER_MEMBERS", "the models were not trained on the same samples: their rows are no comparison")


def _model(model: LeakingModel) -> Iterator[Issue]:
    name, control = model.model.name, model.control
    if control is not None and not control.low <= 0.5 <= control.high:
        yield warn(
            "MEMBERS_DIFFER",
            f"{name}: models that never saw them tell members from others, AUC {control.value:.3f}: not all that the "
            "attacks find is membership",
        )
    if model.confirmation is None:
        yield warn("NO_DEVICE", f"{name}: no board was named, the deployed model's outputs are the twin's")
    elif model.confirmation.mismatched_inputs:
        what = f"{name}: the device gave other bytes on {model.confirmation.mismatched_inputs} inputs"
        yield invalid("DEVICE_TWIN_MISMATCH", what)
