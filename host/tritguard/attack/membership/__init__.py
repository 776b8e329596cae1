"""Membership inference: attacks, one per file, that score from a model's answers whether it was trained on a sample."""

from tritguard.attack.membership.label_only import label_robustness
from tritguard.attack.membership.likelihood_ratio import likelihood_ratio, scaled_confidence
from tritguard.attack.membership.loss_threshold import loss_score

__all__ = ["label_robustness", "likelihood_ratio", "loss_score", "scaled_confidence"]
