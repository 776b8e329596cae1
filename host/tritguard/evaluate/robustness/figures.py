"""The figures of a robustness evaluation, as its result and its checks share them."""

from __future__ import annotations

from typing import Literal

from tritguard.evaluate.robustness.table import ControlSamples
from tritguard.evaluate.study import Rate
from tritguard.records import Record


class AttackRow(Record):
    """One attack at one eps.

    Attributes:
        robust: the accuracy that this attack alone leaves.
        queries_per_sample: forward passes of the attacked model.
    """

    attack: str
    kind: Literal["white box", "black box", "transfer", "baseline"]
    eps_steps: int
    robust: Rate
    parameters: dict[str, float | int | str]
    queries_per_sample: float
    gradients_per_sample: float
    seconds: float


class Control(Record):
    """An undefended model under the same attacks at the largest eps of the threat model, on its twin.

    Attributes:
        eps_steps: that eps in steps of the control's own input grid.
        robust: the worst case over all attacks.
        samples: what both rates are counted from; None in results of schema version 1.
    """

    name: str
    model_sha256: str
    eps_steps: int
    clean: Rate
    robust: Rate
    samples: ControlSamples | None = None


class Doubling(Record):
    """The inputs that held at the largest eps of the threat model, attacked again with twice the steps.

    Attributes:
        tried: the number of inputs that held.
        broken: how many of them the doubled attack breaks; they count in the worst case.
    """

    attack: str
    steps: int
    tried: int
    broken: int


class Unmade(Record):
    """A check that could not be made, and why."""

    code: str
    reason: str


class CurvePoint(Record):
    """The worst case for each sample over the clean input and all attacks with an eps up to this one."""

    eps_steps: int
    eps_input: float
    robust: Rate
