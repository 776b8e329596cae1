"""What a study of transfer is told and what it finds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from typing_extensions import override

from tritguard.evaluate.study import Rate, Study
from tritguard.records import Record


class TransferPlan(Record):
    """Settings of a study of transfer; the `[transfer]` table of a configuration file.

    Attributes:
        samples: drawn from the test set with the seed.
        eps: L-infinity bounds in steps of the int8 input grid, rising.
        steps: gradients a sample, of PGD on each model and of each start of DIVA.
        seed: of samples and attacks.
    """

    samples: int = Field(200, ge=1)
    eps: tuple[int, ...] = (1, 2, 4, 8)
    steps: int = Field(40, ge=1)
    seed: int = Field(0, ge=0)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or eps[0] < 1 or eps[-1] > 255:
            raise ValueError("must be rising whole numbers from 1 to 255")
        return eps


class Party(Record):
    """A model of the matrix; sha256 is that of its bundle or file."""

    name: str
    form: Literal["float", "int8", "ternary"]
    sha256: str
    clean: Rate


class Cell(Record):
    """Inputs crafted on one model, answered by another.

    Attributes:
        source, target: places in `parties`.
        accuracy: the target's, on all samples.
        transferred: of the samples right on both models and broken on the source, those broken on the target too;
            None where there is none.
    """

    eps_steps: int
    source: int
    target: int
    accuracy: Rate
    transferred: Rate | None


class Apart(Record):
    """An attack that wants the deployed model wrong and the float model right.

    Attributes:
        fooled: of the samples right on both, those it got there.
        crafted_alone: the same of inputs crafted on the deployed model without a thought of the float one.
    """

    eps_steps: int
    deployed: int
    keeper: int
    fooled: Rate
    crafted_alone: Rate


class TransferResult(Study):
    """How attacks carry over between the forms of a model: `transfer.json`."""

    kind: Literal["transfer"] = "transfer"
    plan: TransferPlan
    input_unit: str
    eps_input: tuple[float, ...]
    parties: tuple[Party, ...]
    cells: tuple[Cell, ...]
    apart: tuple[Apart, ...]

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {party.sha256 for party in self.parties}
