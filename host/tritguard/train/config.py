"""What a training run is told, and what it leaves on record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tritguard.errors import BadInputError
from tritguard.records import Record, from_table, read_toml

TABLE = "train"
# What a training leaves in its folder.
MODEL = "model.keras"
CALIBRATION = "calibration.npz"
RECORD = "train.json"
CARD = "card.md"
CURVES = "curve.svg"
LOGS = "logs"
CHECKPOINT = "checkpoint.npz"  # while it runs


def _rising(ramp: tuple[float, float]) -> tuple[float, float]:
    if ramp[0] > ramp[1]:
        raise ValueError("the end lies before the start")
    return ramp


class Block(Record):
    """A depthwise-separable block: 3x3 depthwise convolution with this stride, then 1x1 convolution to `channels`."""

    channels: Annotated[int, Field(ge=1, le=1024)]
    stride: Annotated[int, Field(ge=1, le=4)] = 1


class QuantizeConfig(Record):
    """The `[train.quantize]` table.

    Attributes:
        weights: what becomes of the weights. `ternary`: QKeras' `ternary` rule. `stochastic`: its
            `stochastic_ternary`, drawn in training. `incremental`: stochastic quantization (Dong et al. 2017): a
            growing share of each layer's channels is ternary, drawn each step with probability inverse to the
            quantization error, the rest stays float. `none`: all become int8.
        first, last: where weights are ternary, whether those of the first and last layer are too, or become int8.
        activations: `int8`: rounded in training as on the device; `float`: only at conversion.
        temperature: steepness of the stochastic draws. QKeras' default is 8; 16 is less noisy and trains narrow
            nets faster (the demo's: 0.03 more test accuracy after 1,600 steps).
        alpha: how a scale is found: `auto` by least squares, `auto_po2` rounded to a power of two.
        one_scale: take one scale for a whole depthwise kernel, as QKeras does; small channels die.
        shares: of `incremental`, the share of channels quantized, each for an equal part of the training.
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
        """The share of channels that is quantized after this share of the training, 0 to 1."""
        return self.shares[min(int(progress * len(self.shares)), len(self.shares) - 1)]


# Shares of the training at which a term sets in and at which it has its full strength, rising along a straight line.
Ramp = tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]]


class AdversarialConfig(Record):
    """The `[train.adversarial]` table: training on adversarial samples, L-infinity.

    Attributes:
        attack: `fgsm`: one step from a random start (Wong et al. 2020); `pgd`: `steps` of them (Madry et al. 2018).
        eps: the ball's radius, in steps of the int8 input grid; of pixels, 8 is the usual 8/255.
        steps: of `pgd`.
        step_size: in steps of the int8 input grid; by default 1.25 eps for `fgsm`, 2.5 eps / steps for `pgd`.
        weight: share of the cross-entropy that is taken on adversarial samples, the rest on clean ones.
        ramp: over which part of the training eps rises.
    """

    attack: Literal["none", "fgsm", "pgd"] = "none"
    eps: Annotated[float, Field(gt=0, le=255)] = 8.0
    steps: Annotated[int, Field(ge=1, le=1000)] = 7
    step_size: Annotated[float, Field(gt=0, le=255)] | None = None
    weight: Annotated[float, Field(gt=0, le=1)] = 1.0
    ramp: Ramp = (0.0, 0.0)

    _rising = field_validator("ramp")(_rising)

    @property
    def steps_in_effect(self) -> int:
        """Gradients taken a sample."""
        return self.steps if self.attack == "pgd" else 1

    @property
    def step_size_in_effect(self) -> float:
        """In steps of the int8 input grid."""
        return self.step_size or self.eps * (2.5 / self.steps if self.attack == "pgd" else 1.25)


class JacobianConfig(Record):
    """The `[train.jacobian]` table: Jacobian regularization (Hoffman et al. 2019).

    Attributes:
        output: weight of half the squared Frobenius norm of the logits' Jacobian with respect to the input.
        layers: weight of half the mean of those with respect to the input of each further layer with weights.
        projections: random directions a sample and step.
        every: the penalty is taken each so many steps, with so many times its weight, as StyleGAN2 does (Karras et
            al. 2020, arXiv 1912.04958, appendix B): the same mean gradient, for less time.
        ramp: over which part of the training both weights rise.
    """

    output: Annotated[float, Field(ge=0)] = 0.0
    layers: Annotated[float, Field(ge=0)] = 0.0
    projections: Annotated[int, Field(ge=1, le=1000)] = 1
    every: Annotated[int, Field(ge=1, le=1000)] = 1
    ramp: Ramp = (0.0, 0.0)

    _rising = field_validator("ramp")(_rising)


class TrainConfig(Record):
    """The `[train]` table of a configuration file. The defaults are the demo's.

    Attributes:
        data: `fashion-mnist`, or the path of an `.npz` file with a training set.
        net: the network, by its name in `tritguard.train.nets`.
        stem: of the net `separable`, channels of the first convolution, 3x3 with stride 2.
        blocks: of the net `separable`, the depthwise-separable blocks after it.
        start: a `.keras` file of the same net, or the folder of a training that left one: its float weights, whatever
            quantizer was in front of them, are those this training starts from. Without one they are drawn.
        quantize: what becomes of the weights.
        adversarial: the attack trained against; none by default.
        jacobian: the penalty on the logits' Jacobian; none by default.
        augment: `shift`: pictures are moved by up to 4 pixels at random; `shift-flip`: mirrored too.
        epochs: passes over the training samples.
        samples: how many training samples to use, drawn with `seed`; all where the set has fewer.
        batch_size: samples a step.
        learning_rate: Adam's, at the start; it falls to zero along a half cosine.
        weight_decay: share of each kernel, times the learning rate, taken off at every step, apart from Adam's moments
            (Loshchilov and Hutter 2019, arXiv 1711.05101); biases and batch-norm are left alone.
        calibration: inputs kept in calibration.npz, from which the int8 ranges are taken.
        seed: of the draw of samples, the initial weights, the order and the ternary draws.
    """

    data: str = "fashion-mnist"
    net: Literal["separable", "ds-cnn", "resnet8", "stq-image", "stq-keywords"] = "separable"
    stem: Annotated[int, Field(ge=1, le=1024)] = 16
    blocks: tuple[Block, ...] = (
        Block(channels=48, stride=2),
        Block(channels=64),
        Block(channels=96, stride=2),
        Block(channels=128),
    )
    start: str = ""
    quantize: QuantizeConfig = QuantizeConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    jacobian: JacobianConfig = JacobianConfig()
    augment: Literal["none", "shift", "shift-flip"] = "none"
    epochs: Annotated[int, Field(ge=1)] = 5
    samples: Annotated[int, Field(ge=1)] = 40_000
    batch_size: Annotated[int, Field(ge=1)] = 128
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    weight_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    calibration: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @property
    def undefended(self) -> TrainConfig:
        """The control: the same net on the same data from fresh int8 weights, with nothing that may defend it."""
        plain = QuantizeConfig(weights="none")
        return self.model_copy(
            update={
                "start": "",
                "quantize": plain,
                "adversarial": AdversarialConfig(),
                "jacobian": JacobianConfig(),
            }
        )


class Accuracy(Record):
    """Shares of samples that are right: of the test set clean, and of some of it after a quick PGD."""

    clean: float
    pgd: float


class TrainRecord(Record):
    """What a training run did: `train.json`.

    Attributes:
        start_sha256: of the file that `config.start` names.
        accuracy: share of the test set that is right in the form that ships.
        evaluation: of the forms `float`, `int8` and, where weights are ternary, `ternary`; the last one ships.
        history: of each epoch, the means of the loss and its parts; see `tritguard.train.objective`.
        dead_channels: for each ternary layer, the output channels whose weights are all zero.
        findings: what the user should know of the weights.
        parameters: weights and biases, batch-norm statistics included.
        seconds: of the fit.
        hardware: it ran on.
        versions: of the packages that decide the numbers.
    """

    schema_version: Literal[2] = 2
    config: TrainConfig
    start_sha256: str | None = None
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
    """Read the `[train]` table of a TOML file; other tables are left to other verbs.

    Raises:
        BadInputError: unreadable, no such table, or a key or value it does not take.
    """
    tables = read_toml(path)
    if TABLE not in tables:
        raise BadInputError(
            f"no [{TABLE}] table", where=str(path), fix=f"add one; an empty [{TABLE}] takes all defaults"
        )
    return from_table(TrainConfig, tables[TABLE], where=f"{path}: {TABLE}")
