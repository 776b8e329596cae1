"""The settings of a study of transfer, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal

from pydantic import Field, NonNegativeInt, field_validator
from typing_extensions import override

from tritguard.evaluate.findings import misstated
from tritguard.evaluate.limits import DataRange, RangeSetting
from tritguard.evaluate.study import Rate, Study
from tritguard.evaluate.transfer.checks import GUESSING, check, check_drift
from tritguard.records import Record

_MOST_COMPARED = 100_000  # ten times what the study compares; the time that a check of drift takes grows with it


class TransferPlan(Record):
    """Settings of a study of transfer; the `[transfer]` table of a configuration file.

    Attributes:
        samples: the number of samples drawn from the test set.
        eps: L-infinity bounds in steps of the int8 input grid, rising.
        steps: gradient steps for each sample, of PGD on each model and of each start of DIVA.
        trigger_samples: the number of samples that patches are tried on, half of them to search and half to measure; 0
            goes without the search.
        trigger_steps: gradients for each patch that is improved.
        data_range: the range that all inputs keep to; see `tritguard.evaluate.robustness.plan.Plan`.
        seed: decides samples and attacks.
    """

    samples: int = Field(200, ge=1)
    eps: tuple[int, ...] = (1, 2, 4, 8)
    steps: int = Field(40, ge=1)
    trigger_samples: int = Field(100, ge=0)
    trigger_steps: int = Field(10, ge=0)
    data_range: RangeSetting = "data"
    seed: int = Field(0, ge=0)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or eps[0] < 1 or eps[-1] > 255:
            raise ValueError("must be rising whole numbers from 1 to 255")
        return eps


class Party(Record):
    """A model of the matrix; `sha256` is the hash of its bundle, or of a float model's file."""

    name: str
    form: Literal["float", "int8", "ternary"]
    sha256: str
    clean: Rate


class Cell(Record):
    """Inputs crafted on one model, answered by another.

    Attributes:
        source: position in `parties` of the model they were crafted on.
        target: position of the model that answered.
        accuracy: the target's accuracy on all samples.
        transferred: of the samples that both models had right and that were broken on the source, those that are broken
            on the target too; None if there was no such sample.
    """

    eps_steps: int
    source: int
    target: int
    accuracy: Rate
    transferred: Rate | None


class Apart(Record):
    """An attack that makes the deployed model wrong and keeps the float model right.

    Attributes:
        deployed: position in `parties` of the model that is to be wrong.
        keeper: position of the float model that is to stay right.
        fooled: of the samples that both had right, those for which the attack succeeded.
        crafted_alone: the same for inputs that were crafted on the deployed model without regard to the float model.
    """

    eps_steps: int
    deployed: int
    keeper: int
    fooled: Rate
    crafted_alone: Rate


class Drift(Record):
    """Where a deployed model answers differently from a float model, without any attack.

    Attributes:
        deployed: position in `parties` of the deployed model.
        keeper: position of the float model.
        samples: how many samples of the test set were compared, from the first on.
        differing: how many were answered differently.
        indices: the positions in the test set of the first of these.
        towards: for each class, how many of these the deployed model gives it.
        runner_up: for each class, how many of these have it as the float model's second choice.
    """

    deployed: int
    keeper: int
    samples: int
    differing: int
    indices: tuple[int, ...]
    towards: tuple[NonNegativeInt, ...]
    runner_up: tuple[NonNegativeInt, ...]


class Triggered(Record):
    """The patch that moves the most inputs to one class of a deployed model while its float model's answers stay.

    Attributes:
        deployed: position in `parties` of the deployed model.
        keeper: position of the float model.
        wanted: the class.
        row, column, height, width: where the patch lies, in the input's pixels.
        fooled: of the inputs that the search did not look at, and that neither model gives the class without the patch,
            those that it moves.
    """

    deployed: int
    keeper: int
    wanted: int
    row: int
    column: int
    height: int
    width: int
    fooled: Rate


class TransferResult(Study):
    """How attacks carry over between the forms of a model: `transfer.json`.

    Attributes:
        data_range: the data's own range, which every input keeps to; None if there is none.
        classes: the names of the classes.
        drift: how answers to the test set differ, for each deployed model and each float model.
        triggered: for each deployed model and the float model nearest to it, the strongest patch that was found.
    """

    schema_version: Literal[1] = 1
    kind: Literal["transfer"] = "transfer"
    plan: TransferPlan
    input_unit: str
    eps_input: tuple[float, ...]
    parties: tuple[Party, ...] = Field(min_length=1)
    cells: tuple[Cell, ...]
    apart: tuple[Apart, ...]
    data_range: DataRange | None = None
    classes: tuple[str, ...] = ()
    drift: tuple[Drift, ...] = ()
    triggered: tuple[Triggered, ...] = ()

    @override
    def _contradictions(self) -> Iterator[str]:
        """Make the checks again; versions that kept no classes leave it open what guessing would be."""
        yield from self._wrong_sums()
        yield from self._strays()
        yield from self._gaps()
        shown = (
            *check(self.parties, self.cells, self.plan, len(self.classes) or 1),
            *check_drift(self.parties, self.drift, self.triggered, self.classes),
        )
        yield from misstated(self.issues, shown, () if self.classes else (GUESSING,))

    def _wrong_sums(self) -> Iterator[str]:
        """Look for drift and triggers whose counts do not fit together."""
        for k, one in enumerate(self.drift):
            if not sum(one.towards) == sum(one.runner_up) == one.differing <= one.samples:
                yield f"drift.{k}: {one.differing} differ, towards has {sum(one.towards)}"
            if one.samples > _MOST_COMPARED:
                yield f"drift.{k}.samples: {one.samples}, of which at most {_MOST_COMPARED} are compared"
            if not len(one.towards) == len(one.runner_up) == len(self.classes):
                yield f"drift.{k}: is of {len(one.towards)} classes, classes has {len(self.classes)}"
            if one.differing and len(self.classes) == 1:
                yield f"drift.{k}.differing: {one.differing}, but there is only one class to answer"
        for k, found in enumerate(self.triggered):
            if not 0 <= found.wanted < len(self.classes):
                yield f"triggered.{k}.wanted: there is no class {found.wanted}"

    def _strays(self) -> Iterator[str]:
        """Look for rows of parties that do not exist, or of other numbers of samples."""
        places, rates = dict[str, int](), {f"parties.{k}.clean": party.clean for k, party in enumerate(self.parties)}
        for k, cell in enumerate(self.cells):
            places |= {f"cells.{k}.source": cell.source, f"cells.{k}.target": cell.target}
            rates[f"cells.{k}.accuracy"] = cell.accuracy
        for k, pair in enumerate(self.apart):
            places |= {f"apart.{k}.deployed": pair.deployed, f"apart.{k}.keeper": pair.keeper}
        for k, drift in enumerate(self.drift):
            places |= {f"drift.{k}.deployed": drift.deployed, f"drift.{k}.keeper": drift.keeper}
        for k, found in enumerate(self.triggered):
            places |= {f"triggered.{k}.deployed": found.deployed, f"triggered.{k}.keeper": found.keeper}
        for name, place in places.items():
            if not 0 <= place < len(self.parties):
                yield f"{name}: there is no party {place}, parties has {len(self.parties)}"
        samples = len(self.provenance.sample_indices)
        for name, rate in rates.items():
            if rate.n != samples:
                yield f"{name}: is of {rate.n} samples, provenance.sample_indices has {samples}"

    def _gaps(self) -> Iterator[str]:
        """Look for bounds without a size in input units, and for cells that are missing or of no bound of the plan."""
        if len(self.eps_input) != len(self.plan.eps):
            yield f"eps_input: has {len(self.eps_input)} bounds, plan.eps has {len(self.plan.eps)}"
        found = [(cell.eps_steps, cell.source, cell.target) for cell in self.cells]
        wanted = set(product(self.plan.eps, {cell.source for cell in self.cells}, range(len(self.parties))))
        for eps, source, target in sorted(wanted ^ set(found)):
            what = "are missing" if (eps, source, target) in wanted else "are there, but plan.eps has no such bound"
            yield f"cells: answers of party {target} to inputs crafted on party {source} at eps {eps} {what}"
        if len(found) > len(set(found)):
            yield f"cells: has {len(found)}, of which {len(set(found))} differ in eps, source or target"

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {party.sha256 for party in self.parties}
