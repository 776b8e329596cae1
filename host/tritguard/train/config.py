"""The settings of a training, and the record that it leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from tritguard.records import Record, from_toml

TABLE = "train"
# The files that a training leaves in its folder.
MODEL = "model.keras"
CALIBRATION = "calibration.npz"
RECORD = "train.json"
CARD = "card.md"
CURVES = "curve.svg"
LOGS = "logs"
CHECKPOINT = "checkpoint.npz"  # exists while the training runs
PGD_SAMPLES = 256  # test samples on which each form of a trained network is attacked


def _rising(ramp: tuple[float, float]) -> tuple[float, float]:
    if ramp[0] > ramp[1]:
        raise ValueError("the end lies before the start")
    return ramp


class Block(Record):
    """A depthwise-separable block: a 3x3 depthwise convolution with `stride`, then a 1x1 convolution to `channels`."""

    channels: Annotated[int, Field(ge=1, le=1024)]
    stride: Annotated[int, Field(ge=1, le=4)] = 1


class Stage(Record):
    """A stage of a residual net: a 3x3 convolution with `stride` to `channels`, then `blocks` residual blocks."""

    channels: Annotated[int, Field(ge=1, le=1024)]
    stride: Annotated[int, Field(ge=1, le=4)] = 1
    blocks: Annotated[int, Field(ge=0, le=32)] = 0


class QuantizeConfig(Record):
    """The `[train.quantize]` table.

    Attributes:
        weights: how weights are quantized. `ternary` is QKeras' rule of this name. `stochastic` is QKeras'
            `stochastic_ternary`, whose trits are drawn in training. `incremental` is stochastic quantization (Dong et
            al. 2017): a growing share of each layer's channels is ternary, drawn in each step with a probability
            inverse to the quantization error, and the rest stays float. With `none` all weights become int8.
        first, last: whether the first and the last layer are ternary too or become int8, if weights are ternary.
        activations: `int8` rounds activations in training as on the device; `float` leaves that to conversion.
        temperature: steepness of the stochastic draws. QKeras' default is 8; 16 is less noisy and trains narrow
            nets faster (the demo's gains 0.03 in test accuracy after 1,600 steps).
        alpha: how a scale is found: `auto` by least squares, `auto_po2` rounded to a power of two.
        one_scale: use one scale for a whole depthwise kernel, as QKeras does; channels with small weights then die.
        shares: for `incremental`, the shares of channels quantized, each during an equal part of the training.
    """

    weights: Literal["none", "ternary", "stochastic", "incremental"] = "stochastic"
    first: Literal["ternary", "int8"] = "ternary"
    last: Literal["ternary", "int8"] = "ternary"
    activations: Literal["float", "int8"] = "float"
    temperature: Annotated[float, Field(gt=0, le=1000)] = 16.0
    alpha: Literal["auto", "auto_po2"] = "auto"
    one_scale: bool = False
    shares: Annotated[tuple[Annotated[float, Field(gt=0, le=1)], ...], Field(min_length=1)] = (0.5, 0.75, 0.875, 1.0)

    @field_validator("shares")
    @classmethod
    def _ends_whole(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if list(shares) != sorted(shares) or shares[-1] != 1:
            raise ValueError("must rise to 1")
        return shares

    def share_at(self, progress: float) -> float:
        """The share of channels that is quantized at this point of the training; `progress` rises from 0 to 1."""
        return self.shares[min(int(progress * len(self.shares)), len(self.shares) - 1)]


Precision = Literal["float32", "bfloat16"]
# The shares of the training at which a term starts and at which it reaches its full strength. It rises linearly.
Ramp = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]


class AdversarialConfig(Record):
    """The `[train.adversarial]` table: training on adversarial samples within an L-infinity bound.

    Attributes:
        attack: `fgsm` takes one step from a random start (Wong et al. 2020), `pgd` takes `steps` (Madry et al. 2018).
        eps: radius of the ball, in steps of the int8 input grid; for pixels, 8 is the usual 8/255.
        steps: number of steps of `pgd`.
        step_size: length of a step, in steps of the int8 input grid; by default 1.25 eps for `fgsm`, 2.5 eps / steps
            for `pgd`.
        weight: share of the cross-entropy that is computed on adversarial samples; the rest is on clean ones.
        loss: `cross-entropy` on the adversarial samples; `trades`, the cross-entropy on clean samples and `beta` times
            the divergence of the outputs on adversarial ones from those, which the attack then raises (Zhang et al.
            2019, arXiv 1901.08573); or `mart`, which weighs that divergence by how unsure the network is of the clean
            sample, and pushes the runner-up away (Wang et al. 2020, "Improving adversarial robustness requires
            revisiting misclassified examples").
        beta: weight of the divergence; the papers have 6 for `trades` and 5 for `mart`, at 8/255.
        ramp: the part of the training in which eps rises.
    """

    attack: Literal["none", "fgsm", "pgd"] = "none"
    eps: Annotated[float, Field(gt=0, le=255)] = 8.0
    steps: Annotated[int, Field(ge=1, le=1000)] = 7
    step_size: Annotated[float, Field(gt=0, le=255)] | None = None
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    loss: Literal["cross-entropy", "trades", "mart"] = "cross-entropy"
    beta: Annotated[float, Field(gt=0, le=1000)] = 6.0
    ramp: Ramp = (0.0, 0.0)

    _rising = field_validator("ramp")(_rising)

    @model_validator(mode="after")
    def _fits_its_loss(self) -> Self:
        if self.loss != "cross-entropy" and self.attack == "none":
            raise ValueError(f"the loss {self.loss} needs an attack")
        if self.loss != "cross-entropy" and self.weight < 1:
            raise ValueError(f"weight is of the loss cross-entropy only; {self.loss} has beta")
        return self

    @property
    def steps_in_effect(self) -> int:
        """The number of gradients for each sample."""
        return self.steps if self.attack == "pgd" else 1

    @property
    def step_size_in_effect(self) -> float:
        """The size of a step, in steps of the int8 input grid."""
        return self.step_size or self.eps * (2.5 / self.steps if self.attack == "pgd" else 1.25)


class JacobianConfig(Record):
    """The `[train.jacobian]` table: Jacobian regularization (Hoffman et al. 2019).

    Attributes:
        output: weight of half the squared Frobenius norm of the logits' Jacobian with respect to the input.
        layers: weight of half the mean of the same norms with respect to the inputs of all later layers with weights.
        projections: number of random directions for each sample and step.
        every: the penalty is computed in every k-th step, with k times its weight, as in StyleGAN2 (Karras et al. 2020,
            arXiv 1912.04958, appendix B). The mean gradient is the same and costs less time.
        ramp: the part of the training in which both weights rise.
    """

    output: Annotated[float, Field(ge=0)] = 0.0
    layers: Annotated[float, Field(ge=0)] = 0.0
    projections: Annotated[int, Field(ge=1, le=1000)] = 1
    every: Annotated[int, Field(ge=1, le=1000)] = 1
    ramp: Ramp = (0.0, 0.0)

    _rising = field_validator("ramp")(_rising)


class CertifiedConfig(Record):
    """The `[train.certified]` table: training for proofs, by interval bounds (Gowal et al. 2018, arXiv 1810.12715).

    Attributes:
        eps: radius of the ball, in steps of the int8 input grid; 0 trains without.
        weight: share of the loss that is the cross-entropy of the worst logits in a box.
        box: the box's radius, as a share of eps: 1 for the whole ball; smaller boxes around adversarial samples (SABR,
            Mueller et al. 2022, arXiv 2210.04871) need an `adversarial` attack.
        ramp: the part of the training in which eps rises.
    """

    eps: Annotated[float, Field(ge=0, le=255)] = 0.0
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    box: Annotated[float, Field(gt=0, le=1)] = 1.0
    ramp: Ramp = (0.0, 0.5)

    _rising = field_validator("ramp")(_rising)


class TeacherConfig(Record):
    """The `[train.teacher]` table: distillation from a trained network (Hinton et al. 2015, arXiv 1503.02531).

    The teacher sees the clean sample, and the trained network the adversarial one if there is an attack, as in RSLAD
    (Zi et al. 2021, arXiv 2108.07969), so that a robust teacher's outputs are what it learns to hold.

    Attributes:
        model: the folder of a training with as many classes and samples of the same shape, or the `.keras` file in it;
            its net may be another. If empty, there is no teacher.
        weight: share of the loss that is the divergence from the teacher's outputs.
        temperature: number by which both networks' logits are divided; a higher one shows more of the wrong classes.
    """

    model: str = ""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Annotated[float, Field(gt=0, le=100)] = 2.0


class TrainConfig(Record):
    """The `[train]` table of a configuration file. The defaults are those of the demo.

    Attributes:
        data: `fashion-mnist`, or the path of an `.npz` file with a training set.
        net: the network, by its name in `tritguard.train.nets`.
        stem: channels of the first convolution of the net `separable`, which is 3x3 with stride 2.
        blocks: the depthwise-separable blocks of the net `separable`.
        stages: the stages of the net `residual`. By default it fits 322 kB of flash if its weights are ternary.
        start: a `.keras` file of the same net, or the folder of a training that left one. This training starts from its
            float weights, whatever quantizer they were trained with. If empty, the initial weights are drawn.
        quantize: how weights and activations are quantized.
        adversarial: the attack against which the net is trained; none by default.
        jacobian: the penalty on the logits' Jacobian; none by default.
        certified: the ball in which the net is trained to be provable; none by default.
        teacher: the trained net from which this one learns; none by default.
        augment: `shift` moves pictures by up to 4 pixels at random; `shift-flip` also mirrors them.
        cutout: side in pixels of a square that is set to zero at a random place of each picture, which may lie partly
            outside (DeVries and Taylor 2017, arXiv 1708.04552); 0 for none.
        label_smoothing: share of each label that is spread evenly over all classes (Szegedy et al. 2015, arXiv
            1512.00567). Attacks are made on the label itself.
        epochs: number of passes over the training samples.
        samples: number of training samples, drawn with `seed`; all of them if the set has fewer.
        batch_size: number of samples in a step.
        learning_rate: Adam's highest learning rate.
        schedule: `cosine` starts at that rate and falls to zero along a half cosine (Loshchilov and Hutter 2017, arXiv
            1608.03983); `one-cycle` first rises to it in a quarter of the steps (Smith and Topin 2017, arXiv
            1708.07120), from a 25th.
        average: if not 0, the stored weights are the exponential moving average of those of all steps (Polyak and
            Juditsky 1992), in which each step keeps this share of the average so far; 0.999 averages about a thousand.
        precision: type of the products in convolutions. Weights and all else stay float32, and so does the trained
            model. `bfloat16` takes two thirds of the time on processors that have such products (AVX512-BF16, AMX), and
            longer on others.
        weight_decay: share of each kernel, times the learning rate, that is subtracted in every step, separately from
            Adam's moments (Loshchilov and Hutter 2019, arXiv 1711.05101). Biases and batch norms do not decay.
        calibration: number of inputs kept in calibration.npz, which set the int8 ranges.
        seed: determines the choice of samples, the initial weights, the order of samples and the ternary draws.
    """

    data: str = "fashion-mnist"
    net: Literal["separable", "residual", "small-conv", "ds-cnn", "resnet8", "stq-image", "stq-keywords"] = "separable"
    stem: Annotated[int, Field(ge=1, le=1024)] = 16
    blocks: tuple[Block, ...] = (
        Block(channels=48, stride=2),
        Block(channels=64),
        Block(channels=96, stride=2),
        Block(channels=128),
    )
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (
        Stage(channels=32),
        Stage(channels=64, stride=2),
        Stage(channels=128, stride=2, blocks=1),
        Stage(channels=160, stride=2, blocks=1),
    )
    start: str = ""
    quantize: QuantizeConfig = QuantizeConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    jacobian: JacobianConfig = JacobianConfig()
    certified: CertifiedConfig = CertifiedConfig()
    teacher: TeacherConfig = TeacherConfig()
    augment: Literal["none", "shift", "shift-flip"] = "none"
    cutout: Annotated[int, Field(ge=0, le=1024)] = 0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    epochs: Annotated[int, Field(ge=1)] = 5
    samples: Annotated[int, Field(ge=1)] = 40_000
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    schedule: Literal["cosine", "one-cycle"] = "cosine"
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    precision: Precision = "float32"
    calibration: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def undefended(self) -> TrainConfig:
        """The control: the same net on the same data, trained from new weights in int8 and without any defence."""
        plain = QuantizeConfig(weights="none")
        return self.model_copy(
            update={
                "start": "",
                "quantize": plain,
                "adversarial": AdversarialConfig(),
                "jacobian": JacobianConfig(),
                "certified": CertifiedConfig(),
                "teacher": TeacherConfig(),
            }
        )


class Accuracy(Record):
    """The shares of samples that are classified correctly: clean, of the test set; after a quick PGD, of some of it."""

    clean: float
    pgd: float


class TrainRecord(Record):
    """The record of a training, `train.json`.

    Attributes:
        start_sha256: SHA-256 of the file that `config.start` names, or None.
        teacher_sha256: the same for `config.teacher.model`.
        accuracy: share of the test set that the form that ships classifies correctly.
        evaluation: the accuracies of the forms `float`, `int8` and, if weights are ternary, `ternary`; the last one
            ships.
        history: for each epoch, the means of the loss and its parts; see `tritguard.train.objective`.
        dead_channels: for each ternary layer, the number of output channels whose weights are all zero.
        findings: what the user should know about the weights.
        parameters: the number of weights and biases, including batch-norm statistics.
        seconds: the duration of the training steps.
        hardware: the hardware on which it ran.
        versions: versions of the packages that determine the numbers.
    """

    schema_version: Literal[2] = 2
    config: TrainConfig
    start_sha256: str | None = None
    teacher_sha256: str | None = None
    data_name: str
    data_sha256: str
    train_samples: int
    test_samples: int
    steps: int
    seconds: float
    hardware: str
    loss: float
    history: tuple[dict[str, float], ...]
    accuracy: float
    evaluation: dict[str, Accuracy]
    parameters: int
    dead_channels: dict[str, int]
    findings: tuple[str, ...]
    versions: dict[str, str]


def read_train_config(path: Path) -> TrainConfig:
    """Read the `[train]` table of a TOML file. Other tables are ignored, because they belong to other verbs.

    Raises:
        BadInputError: the file cannot be read, has no such table, or has an unknown key or an invalid value in it.
    """
    return from_toml(TrainConfig, path, table=TABLE)
