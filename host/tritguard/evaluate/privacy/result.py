"""The settings of a study of membership inference, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field
from typing_extensions import override

from tritguard.evaluate.findings import misstated
from tritguard.evaluate.privacy.checks import OTHER_MEMBERS, check
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
        samples: how many members are examined, and how many others; fewer if the data has fewer.
        shadows: the number of models trained like the attacked one, for the likelihood ratio; 0 goes without it.
        label_tries: noisy copies of each sample in the attack that sees labels alone.
        label_noise: the widest noise of that attack, as a standard deviation in int8 steps.
        indicator: for trainings in float, the number of networks of each bit width that the experimental indicator of
            post-training quantizers compares; 0 goes without it.
        device_samples: the number of inputs replayed on the device.
        seed: decides the samples, the shadow models' data and the noise.
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
        shown: what the attack saw of the outputs: logits (int32 accumulators, or a float model's), int8 scores, labels.
        auc: area under the ROC curve; 0.5 is guessing.
        advantage: true positive rate minus false positive rate.
        at_one_permille: members found at a false positive rate of at most 0.1 %; None if one of the others is already a
            larger share, so that the rate cannot be told.
        at_one_percent: the same at 1 %.
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
    """Accuracy of one precision on members and on others; the gap between them is what can leak."""

    precision: Precision
    members: Rate
    others: Rate


class QuantizerSecurity(Record):
    """The experimental indicator for one width; see `tritguard.evaluate.privacy.indicator.security_rate`.

    Attributes:
        bits: the bits of a weight; 2 stands for ternary weights.
        candidates: the number of different networks that were compared.
        rate: None if there was only one.
    """

    bits: int
    candidates: int
    rate: Estimate | None


class LeakingModel(Record):
    """One training run.

    Attributes:
        training_sha256: the hash of the float model's file that the training left; empty in results of earlier
            versions.
        control: area under the ROC curve of the shadow models' mean confidence, each asked about samples it never saw.
            It must be 0.5, or members and others differ in more than membership. None without shadow models.
        shadow_accuracy: mean test accuracy of the shadow models, in float.
        confirmation: the replay on the device; None if no board was named.
        quantizers: the experimental indicator for its float weights; empty if it was not asked for, or if the weights
            were quantized in training.
    """

    model: ModelIdentity
    training_sha256: str = ""
    train_samples: int
    fits: tuple[Fit, ...]
    leaks: tuple[Leak, ...]
    control: Estimate | None
    shadow_accuracy: float | None
    confirmation: Confirmation | None
    quantizers: tuple[QuantizerSecurity, ...] = ()


class PrivacyResult(Study):
    """What deployed models tell about their training samples: `privacy.json`."""

    schema_version: Literal[1] = 1
    kind: Literal["privacy"] = "privacy"
    plan: PrivacyPlan
    members: int
    others: int
    models: tuple[LeakingModel, ...] = Field(min_length=1)

    @override
    def _contradictions(self) -> Iterator[str]:
        """Make the checks again, but for what the models were trained on, which is not kept."""
        for place, model in enumerate(self.models):
            for number, leak in enumerate(model.leaks):
                if len(leak.curve) != len(FALSE_RATES):
                    where = f"models.{place}.leaks.{number}.curve"
                    yield f"{where}: has {len(leak.curve)} rates, one for each of {len(FALSE_RATES)} is wanted"
        shown = check(self.models, self.plan, self.others, same_run=True)
        yield from misstated(self.issues, shown, (OTHER_MEMBERS,))

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {model.model.model_sha256 for model in self.models}

    @property
    @override
    def _planned(self) -> dict[str, object]:
        plan, hashes = self.plan.model_dump(mode="json"), [model.training_sha256[:12] for model in self.models]
        return plan | {"trainings": hashes} if all(hashes) else plan
