"""What a robustness evaluation finds, and all that its report reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator
from typing_extensions import override

from tritguard.attack.base import Access
from tritguard.attack.norms import NormName
from tritguard.build.record import Region
from tritguard.campaign.runs import Throughput
from tritguard.evaluate.limits import DataRange, limits_of
from tritguard.evaluate.measurement import Firmware, Latency
from tritguard.evaluate.robustness.consistency import contradictions
from tritguard.evaluate.robustness.figures import AttackRow, Control, CurvePoint, Doubling, Growth, Symptoms, Unmade
from tritguard.evaluate.robustness.table import HELD, SampleTable, count
from tritguard.evaluate.study import Attacked, Confirmation, Rate, Study, StudyProvenance, warn
from tritguard.records import Record, from_json


class ThreatModel(Record):
    """What the attacker wants, may change and knows.

    Attributes:
        eps_steps: the bounds in steps of the int8 input grid, rising.
        eps_input: the same bounds in input units.
        space: whether attacks change what a sensor gives, or features that are computed from it.
        access: what the plan lets black-box attacks see; None in the results of versions that did not say.
        data_range: the data's own range, which every input keeps to; None if there is none.
    """

    goal: Literal["untargeted", "targeted"] = "untargeted"
    norm: NormName = "Linf"
    eps_steps: tuple[int, ...]
    eps_input: tuple[float, ...]
    input_unit: str
    knowledge: str
    access: Access | None = None
    space: Literal["input", "features"] = "input"
    data_range: DataRange | None = None


class FlashLayer(Record):
    """The bytes of constants that a layer keeps in flash, read from the ELF."""

    layer: int
    op: str
    name: str
    bytes: int


class Footprint(Record):
    """Bytes in flash and RAM, from the ELF; the stack's peak is read on the device from a painted watermark.

    Attributes:
        flash_groups: by what the bytes are for: weights and parameters, kernels, protocol and port, C library.
        ram_static: .data and .bss, with the arena and without the stack.
        regions: the sections in memory, by address; none in results of earlier versions.
    """

    flash_total: PositiveInt
    flash_sections: dict[str, int]
    flash_groups: dict[str, int]
    flash_layers: tuple[FlashLayer, ...]
    ram_static: int
    ram_arena: int
    stack_peak: int
    stack_reserved: int
    regions: tuple[Region, ...] = ()


class Picture(Record):
    """A clean input and the adversarial one made of it, with what the device said to both.

    Attributes:
        sample: its position in the test set.
        clean_base64: the int8 bytes of the clean input.
        adversarial_base64: those of the adversarial input.
    """

    sample: int
    label: int
    clean_prediction: int
    adversarial_prediction: int
    attack: str
    eps_steps: int
    shape: tuple[int, ...]
    clean_base64: str
    adversarial_base64: str


class RobustnessProvenance(StudyProvenance):
    """All that is needed to repeat the run, with the model that was evaluated."""

    bundle_sha256: str
    model_name: str
    model_sha256: str


def _as_now(doubling: dict[str, Any] | None, fields: dict[str, Any]) -> list[dict[str, Any]]:
    """Turn the one doubled attack that files of schema version 1 have, at the largest eps, into a list."""
    threat = fields.get("threat_model")
    bounds = threat.get("eps_steps") if isinstance(threat, dict) else None
    return [] if doubling is None or not bounds else [{"eps_steps": bounds[-1], **doubling}]


def planned(  # noqa: PLR0913 - all that tells one plan from another
    *, samples: int, seed: int, norm: str, goal: str, access: str | None, eps: Sequence[int], sanity: int,
    data_range: tuple[float, float] | None, budgets: Mapping[str, Mapping[str, float | int | str]], live: bool,
) -> dict[str, object]:  # fmt: skip
    """What a result states about its plan, known before it runs: results that differ in it are of different plans."""
    attacks = [f"{name} {dict(sorted(settings.items()))}" if settings else name for name, settings in budgets.items()]
    known = {} if access is None else {"access": access}
    return {
        "samples": samples,
        "seed": seed,
        "norm": norm,
        "goal": goal,
        "eps": list(eps),
        "sanity-eps": sanity,
        "data-range": "none" if data_range is None else f"{data_range[0]:.9g},{data_range[1]:.9g}",
        "attacks": ", ".join(attacks),
        "live": live,
        **known,
    }


NO_SAMPLES = "NO_SAMPLE_TABLE"


class RobustnessResult(Study):
    """What attacks leave of a deployed model: `result.json`. No figure of an `invalid` one may be quoted.

    A result whose figures contradict its samples or each other is refused. Files of schema version 1, which had no
    samples, and among them those that had no `kind` yet, are read as well; they get the issue `NO_SAMPLE_TABLE`.

    Attributes:
        samples: what every accuracy is counted from; None if the result is of schema version 1.
        symptoms: what was measured on the model itself; None if the result is of schema version 1.
        data_checks: the share that each check of the data measured, by its code; None if it could not be made.
        clean_full: accuracy over the whole test set, on the twin.
        passed: codes of the checks that found nothing.
        unmade: the checks that could not be made; empty in the results of versions that did not list them.
        preset: the preset's name, where the plan did not list attacks.
        budgets: the attacks that ran, with the settings that the plan gave them.
        left_out: the preset's attacks that could not run, each with the package that is not installed.
        live: whether the attacks queried the device itself.
        doubling: what twice the steps broke at each eps; empty if the plan had no attack whose steps can be doubled.
        growth: the black boxes that broke more than gradients, with the queries that they were given.
        throughput: how fast the attacks ran; None in the results of versions that did not measure it.
    """

    schema_version: Literal[1, 2] = 2
    kind: Literal["robustness"] = "robustness"
    provenance: RobustnessProvenance
    threat_model: ThreatModel
    classes: tuple[str, ...]
    model_macs: int
    ternary_layers: int
    weight_layers: int
    clean: Rate
    clean_full: Rate | None = None
    curve: tuple[CurvePoint, ...]
    attacks: tuple[AttackRow, ...]
    samples: SampleTable | None = None
    symptoms: Symptoms | None = None
    data_checks: dict[str, float | None] = Field(default_factory=dict)
    passed: tuple[str, ...] = ()
    unmade: tuple[Unmade, ...] = ()
    preset: str = ""
    budgets: dict[str, dict[str, float | int | str]] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict)
    live: bool = False
    control: Control | None = None
    doubling: tuple[Doubling, ...] = ()
    growth: tuple[Growth, ...] = ()
    throughput: Throughput | None = None
    confirmation: Confirmation
    firmware: Firmware
    latency: Latency
    footprint: Footprint
    pictures: tuple[Picture, ...]

    @model_validator(mode="before")
    @classmethod
    def _old_ones_are_marked(cls, fields: Any) -> Any:
        """Add an issue to a result whose figures cannot be counted again, so that no one takes it for `valid`."""
        if not isinstance(fields, dict) or fields.get("schema_version") != 1:
            return fields
        if isinstance(doubling := fields.get("doubling", ()), dict) or doubling is None:
            fields = {**fields, "doubling": _as_now(doubling, fields)}
        issues = fields.get("issues")
        if not isinstance(issues, list | tuple) or any(
            isinstance(issue, dict) and issue.get("code") == NO_SAMPLES for issue in issues
        ):
            return fields
        mark = warn(NO_SAMPLES, "made before results carried their samples: its figures cannot be recomputed")
        found = {**fields, "issues": [*issues, mark.model_dump()]}
        if not issues and fields.get("status") == "valid":
            found["status"] = "degraded"
        return found

    @override
    def _contradictions(self) -> Iterator[str]:
        return contradictions(self)

    @property
    @override
    def models_sha256(self) -> set[str]:
        return {self.provenance.bundle_sha256, self.provenance.model_sha256}

    @property
    @override
    def _planned(self) -> dict[str, object]:
        threat = self.threat_model
        found = threat.data_range
        return planned(
            samples=len(self.provenance.sample_indices),
            seed=self.provenance.seed,
            norm=threat.norm,
            goal=threat.goal,
            access=threat.access,
            eps=threat.eps_steps,
            sanity=max((point.eps_steps for point in self.curve), default=0),
            data_range=None if found is None else (found.low, found.high),
            budgets=self.budgets,
            live=self.live,
        )

    @property
    @override
    def attacked(self) -> Attacked | None:
        if self.samples is None or self.threat_model.goal != "untargeted":
            return None
        first = count(self.samples).first.tolist()
        return Attacked(
            model_sha256=self.provenance.model_sha256,
            data_sha256=self.provenance.data_sha256,
            sample_indices=self.provenance.sample_indices,
            norm=self.threat_model.norm,
            limits=limits_of(self.threat_model.data_range),
            bounds=tuple(point.eps_steps for point in self.curve),
            first=tuple(None if eps == HELD else eps for eps in first),
        )


def read_result(path: Path) -> RobustnessResult:
    """Read a `result.json`.

    Raises:
        BadInputError: the file is missing, is no result of a known schema version, or contradicts itself.
    """
    return from_json(RobustnessResult, path, fix="give a result.json as tritguard wrote it")
