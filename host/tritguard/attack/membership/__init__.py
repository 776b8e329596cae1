"""Was this sample in the training set? Attacks that score it by what the model answers, one a file."""

from tritguard.attack.membership.label_only import label_robustness
from tritguard.attack.membership.likelihood_ratio import likelihood_ratio, scaled_confidence
from tritguard.attack.membership.loss_threshold import loss_score

__all__ = ["label_robustness", "likelihood_ratio", "loss_score", "scaled_confidence"]
