"""The figures of a robustness evaluation, as its result and its checks share them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeInt

from tritguard.attack.base import Access, Follows
from tritguard.evaluate.robustness.table import ControlSamples
from tritguard.evaluate.study import Rate
from tritguard.records import Record


class AttackRow(Record):
    """One attack at one eps.

    Attributes:
        follows: what leads the attack, see `Attack.follows`; None if the result is of schema version 1.
        starts: from how many points it searched for each sample.
        robust: the accuracy that this attack alone leaves.
        queries_per_sample: forward passes of the attacked model.
    """

    attack: str
    kind: Literal["white box", "black box", "transfer", "baseline"]
    follows: Follows | None = None
    starts: int = 1
    eps_steps: int
    robust: Rate
    parameters: dict[str, float | int | str]
    queries_per_sample: float
    gradients_per_sample: float
    seconds: float


class Control(Record):
    """An undefended model under the same attacks at the largest eps of the threat model, on its twin.

    At each smaller eps one iterated attack ran on it, to see what carries over.

    Attributes:
        eps_steps: that eps in steps of the control's own input grid.
        robust: the worst case over all attacks.
        samples: what both rates are counted from; None if the result is of schema version 1.
    """

    name: str
    model_sha256: str
    eps_steps: int
    clean: Rate
    robust: Rate
    samples: ControlSamples | None = None

    @property
    def called(self) -> str:
        """What follows "the control" in a message: its name, with a space before it, if it has one of its own."""
        return "" if self.name == "control" else f" {self.name}"


class Doubling(Record):
    """The inputs that held at one eps of the threat model, attacked again with twice the steps.

    Attributes:
        tried: the number of inputs that held.
        broken: how many of them the doubled attack breaks; they count in the worst case.
    """

    attack: str
    eps_steps: int
    steps: int
    tried: int
    broken: int


class Growth(Record):
    """A black box that broke more than gradients did, and was given more queries until it stopped gaining.

    Attributes:
        queries: its budget for each sample: the plan's, then twice as much each time.
        broken: how many samples each larger budget broke in addition, on the twin.
        settled: whether the last of them broke so few that more queries are not expected to change the figure.
    """

    attack: str
    eps_steps: int
    queries: tuple[int, ...] = Field(min_length=1)
    broken: tuple[int, ...]
    settled: bool


class Fidelity(Record):
    """Whether gradients lead where they promise, on the samples that hold at one eps; see `fidelity.measure`.

    Attributes:
        held: the number of samples that hold under all of the plan's attacks.
        astray: how many of them have gradients that lead nowhere in the ball.
        rough: how many have gradients that lead nowhere within one step.
        repaired: whether attacks followed repaired gradients for that reason; they do in Lp balls alone.
        left: how many samples hold in the end.
        lost: how many of those have gradients that lead nowhere, in the deployed network's view and in repaired ones,
            which are made for Lp balls alone.
        gained: how many more samples fell to twice the steps along repaired gradients, which are tried where the first
            run along them broke more than 2 % of all samples.
        failed: whether so many gradients fail that they have to be repaired, in this norm or not; false in results of
            versions that did not store it.
    """

    eps_steps: int
    held: NonNegativeInt
    astray: NonNegativeInt
    rough: NonNegativeInt
    repaired: bool
    left: NonNegativeInt
    lost: NonNegativeInt
    gained: NonNegativeInt = 0
    failed: bool = False


class Symptoms(Record):
    """What was measured on the model itself, which the samples of a result do not show.

    Attributes:
        shown: what black-box attacks saw; `scores` also where logits were allowed and the model has none.
        softmax_head: whether the int8 scores come out of a softmax.
        unsteady_inputs: the number of inputs that gave other outputs when asked again.
        zero_gradients: the share of samples whose loss, as the attacks scale it, has no gradient; None if TensorFlow,
            which computes gradients, is not installed.
        saturated: the same for the plain cross-entropy of the model's own logits.
        plateaus: the share of samples whose margin no small change moved; None if only labels are shown.
        control_guesses: whether the control's answers to clean inputs cannot be told from guessing.
        fidelity: what gradients are worth on the samples that hold at each eps; empty if there are no gradients.
    """

    shown: Access
    softmax_head: bool
    unsteady_inputs: NonNegativeInt
    zero_gradients: float | None
    saturated: float | None
    plateaus: float | None
    control_guesses: bool
    fidelity: tuple[Fidelity, ...] = ()


class Unmade(Record):
    """A check that could not be made, and why."""

    code: str
    reason: str


class CurvePoint(Record):
    """The worst case for each sample over the clean input and all attacks with an eps up to this one."""

    eps_steps: int
    eps_input: float
    robust: Rate
