"""The settings of a study of proofs, and what it finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, field_validator
from typing_extensions import override

from tritguard.attack.norms import LP_NORMS, NormName
from tritguard.certify.bracket import LEVELS, Level
from tritguard.evaluate.certify.checks import CONTRADICTED, check
from tritguard.evaluate.findings import misstated
from tritguard.evaluate.limits import DataRange, RangeSetting
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, Study
from tritguard.records import Record

Statuses = Annotated[str, Field(pattern="^[pbo]*$")]  # a letter for each sample: proved, broken or open
Digits = Annotated[str, Field(pattern="^[0-3]*$")]  # a digit for each sample, the place of a level in `LEVELS`


class CertifyPlan(Record):
    """Settings of a study of proofs; the `[certify]` table of a configuration file.

    Attributes:
        samples: how many are drawn from the test set.
        eps: bounds in steps of the int8 input grid, rising.
        norm: the norm that they are measured in.
        data_range: the values that inputs can have; see `find_range`.
        level: how far to go: `intervals` alone, `relaxation` after them, or `splitting` after both.
        work: multiply-accumulates, in millions, that relaxation may spend on tighter bounds of one layer, for each
            sample.
        seconds: the processor time for which relaxation may look for tighter bounds for each sample and eps, and that
            which splitting may take.
        seed: decides which samples are drawn.
    """

    samples: int = Field(100, ge=1)
    eps: tuple[int, ...] = (1, 2, 4)
    norm: NormName = "Linf"
    data_range: RangeSetting = "data"
    level: Literal["intervals", "relaxation", "splitting"] = "splitting"
    work: int = Field(2000, ge=0)
    seconds: float = Field(2.0, ge=0)
    seed: int = Field(0, ge=0)

    @field_validator("eps")
    @classmethod
    def _rising(cls, eps: tuple[int, ...]) -> tuple[int, ...]:
        if not eps or list(eps) != sorted(set(eps)) or eps[0] < 1 or eps[-1] > 10**6:
            raise ValueError("must be rising whole numbers from 1 on")
        return eps

    @field_validator("norm")
    @classmethod
    def _of_an_order(cls, norm: str) -> str:
        if norm not in LP_NORMS:
            raise ValueError(f"{norm} is no Lp norm, and nothing is proved in its balls")
        return norm


class Counterexample(Record):
    """An input in a ball that gets another label than the clean input.

    Attributes:
        sample: its position in the test set.
        label: the deployed model's answer to it.
        shape: the shape of one input.
        input_base64: its int8 bytes, in the order of its elements.
    """

    sample: int
    label: int
    shape: tuple[int, ...]
    input_base64: str


class CertifyPoint(Record):
    """What is known at one eps.

    Attributes:
        eps_input: the bound in input units.
        statuses: whether each sample is proved, broken (by any input that was found, also by attacks that were handed
            in, or because the clean input is classified wrongly), or open.
        levels: the level that settled each sample; for open samples the last one that was tried.
        proved: the share of samples that are right on every input of the ball: a lower bound of robust accuracy.
        unbroken: the share of samples that are not broken: an upper bound.
        attacked: the accuracy that the attacks that were handed in leave at this eps; None without them.
        tried: on how many samples each level was tried.
        seconds: the processor time that each level took for all of them.
        counterexamples: what relaxation and splitting found.
    """

    eps_steps: PositiveInt
    eps_input: float
    statuses: Statuses
    levels: Digits
    proved: Rate
    unbroken: Rate
    attacked: Rate | None
    tried: dict[Level, NonNegativeInt]
    seconds: dict[Level, NonNegativeFloat]
    counterexamples: tuple[Counterexample, ...]

    def settled(self, status: str, level: Level) -> int:
        """The number of samples with this status, `p`, `b` or `o`, at this level."""
        digit = str(LEVELS.index(level))
        return sum(pair == (status, digit) for pair in zip(self.statuses, self.levels, strict=True))


class CertifyResult(Study):
    """Lower and upper bounds of the robust accuracy of the deployed integer network: `certify.json`.

    Attributes:
        input_unit: the unit of eps_input.
        data_range: the data's own range, which every input keeps to; None if there is none.
        clean: the accuracy on clean inputs, on the twin.
        points: one for each eps, rising.
        confirmation: clean inputs, counterexamples and inputs of proved balls on the device; None if there was none.
    """

    schema_version: Literal[1] = 1
    kind: Literal["certify"] = "certify"
    plan: CertifyPlan
    model: ModelIdentity
    input_unit: str
    data_range: DataRange | None
    clean: Rate
    points: tuple[CertifyPoint, ...]
    confirmation: Confirmation | None

    def broke(self, place: int, level: Level) -> int:
        """The number of samples that a level itself broke, at the eps of a point or at a smaller one.

        The other broken samples that it was tried on were broken by attacks that were handed in.
        """
        point, digit, indices = self.points[place], str(LEVELS.index(level)), self.provenance.sample_indices
        shown = {each.sample for before in self.points[: place + 1] for each in before.counterexamples}
        settled = zip(indices, point.statuses, point.levels, strict=True)
        return sum(status == "b" and at == digit and sample in shown for sample, status, at in settled)

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.model.bundle_sha256, self.model.model_sha256}

    @override
    def _contradictions(self) -> Iterator[str]:
        n = len(self.provenance.sample_indices)
        if tuple(point.eps_steps for point in self.points) != self.plan.eps:
            yield f"points: at eps {[point.eps_steps for point in self.points]}, the plan has {list(self.plan.eps)}"
        for place, point in enumerate(self.points):
            if len(point.statuses) != n or len(point.levels) != n:
                yield f"points.{place}: {len(point.statuses)} statuses, {len(point.levels)} levels of {n} samples"
            for name, by_level in (("tried", point.tried), ("seconds", point.seconds)):
                if missing := [level for level in LEVELS[1:] if level not in by_level]:
                    yield f"points.{place}.{name}: {missing[0]} is missing"
            counted = {"proved": point.statuses.count("p"), "unbroken": n - point.statuses.count("b")}
            for name, k in counted.items():
                rate: Rate = getattr(point, name)
                if (rate.k, rate.n) != (k, n):
                    yield f"points.{place}.{name}: {rate.k} of {rate.n} stated, its statuses give {k} of {n}"
        for place, (before, after) in enumerate(zip(self.points, self.points[1:], strict=False)):
            pairs = zip(before.statuses, after.statuses, strict=True)
            if any(pair in {("b", "p"), ("o", "p"), ("b", "o")} for pair in pairs):
                yield f"points.{place + 1}.statuses: a larger ball holds the smaller one, but says something else"
        # A result does not keep which samples attacks broke, nor what was tried in proved balls. So it may say that
        # proofs were contradicted, and must say so where attacks break more samples than it calls broken.
        said = any(issue.code == CONTRADICTED for issue in self.issues)
        shown = any(point.attacked is not None and point.attacked.k < point.unbroken.k for point in self.points)
        statuses = [(point.eps_steps, point.statuses) for point in self.points]
        yield from misstated(self.issues, check(statuses, None, int(said or shown), self.confirmation))
