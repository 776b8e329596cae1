"""What a study of membership inference is told and what it finds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from typing_extensions import override

from tritguard.evaluate.privacy.roc import Estimate
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record

Precision = Literal["float", "int8", "ternary"]
LeakAttack = Literal["loss threshold", "label only", "offline LiRA"]
Shown = Literal["logits", "scores", "labels"]

FALSE_RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class PrivacyPlan(Record):
    """Settings of a study of membership inference; the `[privacy]` table of a configuration file.

    Attributes:
        samples: of members, and as many of others; at most what there is.
        shadows: models trained like the attacked one, for the likelihood ratio; 0: without it.
        label_tries: noisy copies a sample, of the attack that sees labels alone.
        label_noise: its widest noise, standard deviation in int8 steps.
        indicator: networks of each bit width to compare for the experimental indicator of post-training quantizers, of
            trainings in float; 0: without it.
        device_samples: inputs replayed on the device.
        seed: of the samples, the shadow models' data and the noise.
    """

    samples: int = Field(1000, ge=10)
    shadows: int = Field(8, ge=0)
    label_tries: int = Field(8, ge=1)
    label_noise: int = Field(32, ge=1)
    indicator: int = Field(0, ge=0)
    device_samples: int = Field(50, ge=1)
    seed: int = Field(0, ge=0)


class Leak(Record):
    """One attack on one precision of one model.

    Attributes:
        attack: its name.
        shown: what it saw of the outputs: int32 logits (or a float model's), int8 scores, labels.
        auc: area under the ROC curve; 0.5 is guessing.
        advantage: true less false positives.
        at_one_permille, at_one_percent: members found at a false positive rate of at most 0.1 % and 1 %; None where
            there are too few others for one of them to be that share: it cannot be told.
        curve: true positive rates at FALSE_RATES.
    """

    precision: Precision
    attack: LeakAttack
    shown: Shown
    auc: Estimate
    advantage: Estimate
    at_one_permille: Rate | None
    at_one_percent: Rate | None
    curve: tuple[float, ...]


class Fit(Record):
    """Accuracy of one precision on members and on others: the gap is what there is to leak."""

    precision: Precision
    members: Rate
    others: Rate


class QuantizerSecurity(Record):
    """Experimental: see `tritguard.evaluate.privacy.indicator.security_rate`.

    Attributes:
        bits: of a weight; 2 are ternary.
        candidates: different networks that were compared.
        rate: None where there was but one.
    """

    bits: int
    candidates: int
    rate: Estimate | None


class LeakingModel(Record):
    """One training run.

    Attributes:
        control: area of the shadow models' mean confidence, each asked of samples it never saw: it must be 0.5, or
            members and others differ in more than membership. None without shadow models.
        shadow_accuracy: mean test accuracy of the shadow models, in float.
        confirmation: replay on the device; None where no board was named.
        quantizers: the experimental indicator of its float weights; empty where it was not asked for, or the weights
            were trained quantized.
    """

    model: ModelIdentity
    train_samples: int
    fits: tuple[Fit, ...]
    leaks: tuple[Leak, ...]
    control: Estimate | None
    shadow_accuracy: float | None
    confirmation: Confirmation | None
    quantizers: tuple[QuantizerSecurity, ...] = ()


class PrivacyResult(Study):
    """What deployed models tell of their training samples: `privacy.json`."""

    kind: Literal["privacy"] = "privacy"
    plan: PrivacyPlan
    members: int
    others: int
    models: tuple[LeakingModel, ...]

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {model.model.model_sha256 for model in self.models}
