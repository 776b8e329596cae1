"""What the results of all studies have in common: rates, issues and the status they lead to, provenance."""

from __future__ import annotations

import math
import platform
import shlex
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import NonNegativeInt, PositiveInt, model_validator

from tritguard import __version__
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.records import Record
from tritguard.versions import versions

_ROUNDING = 1e-9  # what another machine's square root and a decimal representation may change in an interval

Status = Literal["valid", "degraded", "invalid"]


class Rate(Record):
    """k of n, with its 95 % Wilson score interval (Wilson 1927)."""

    k: NonNegativeInt
    n: PositiveInt
    low: float
    high: float

    @model_validator(mode="after")
    def _is_an_interval_ofwilson(self) -> Self:
        if self.k > self.n:
            raise ValueError(f"{self.k} of {self.n}")
        stated, computed = (self.low, self.high), wilson(self.k, self.n)
        if any(abs(ours - theirs) > _ROUNDING for ours, theirs in zip(stated, computed, strict=True)):
            raise ValueError(
                f"the interval of {self.k} of {self.n} is {stated[0]:.4f} to {stated[1]:.4f}, "
                f"Wilson's is {computed[0]:.4f} to {computed[1]:.4f}"
            )
        return self

    @property
    def value(self) -> float:
        """k / n."""
        return self.k / self.n

    @classmethod
    def of(cls, k: int, n: int) -> Rate:
        """The rate of k among n, which must be positive."""
        low, high = wilson(k, n)
        return cls(k=k, n=n, low=low, high=high)


def wilson(k: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of k of n (Wilson 1927); k may be a fraction, as for an estimated rate."""
    z = 1.959963984540054  # 97.5 % quantile of the normal distribution
    centre = (k + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


class Issue(Record):
    """A check that did not pass: a stable code, and what was seen."""

    code: str
    severity: Literal["warn", "invalid"]
    message: str


def warn(code: str, message: str) -> Issue:
    """Make an issue that leaves the result standing, with a reservation."""
    return Issue(code=code, severity="warn", message=message)


def invalid(code: str, message: str) -> Issue:
    """Make an issue for which the result must not be quoted."""
    return Issue(code=code, severity="invalid", message=message)


class Quarantined(Record):
    """A board that was asked no more, because it fell silent, crashed, or answered differently from the others.

    Attributes:
        board: where it was.
        reason: what it did.
        disagreed: whether it answered other bytes than the other boards; earlier versions left it out.
    """

    board: str
    reason: str
    disagreed: bool = False


class Confirmation(Record):
    """A replay of inputs on the device, whose answers were compared with the twin's byte for byte.

    Attributes:
        inputs: how many inputs were replayed.
        bytes_compared: the bytes of the answers.
        mismatched_inputs: how many inputs got other bytes than on the twin.
        resent_frames: how many requests had to be sent again.
        seconds: the time that it took.
        bulk_inputs: how many inputs went over the bulk line of an emulated board; the others went over the UART.
        uart_again: how many of those went over the UART too and got the same bytes and ticks there.
        quarantined: the boards whose work others took over.
        lent_boards: how many boards of other machines answered some of the inputs.
        lent_inputs: how many inputs they answered.
    """

    inputs: int
    bytes_compared: int
    mismatched_inputs: int
    resent_frames: int
    seconds: float
    bulk_inputs: int = 0
    uart_again: int = 0
    quarantined: tuple[Quarantined, ...] = ()
    lent_boards: int = 0
    lent_inputs: int = 0

    @property
    def disagreed(self) -> tuple[str, ...]:
        """The boards that answered other bytes than the other boards."""
        return tuple(one.board for one in self.quarantined if one.disagreed)


def status_of(issues: tuple[Issue, ...]) -> Status:
    """Derive the status: `invalid` if an issue is, `degraded` if there are only warnings, else `valid`."""
    severities = {issue.severity for issue in issues}
    if "invalid" in severities:
        return "invalid"
    return "degraded" if severities else "valid"


class ModelIdentity(Record):
    """A deployed model, by the hashes of its bundle and of the golden model in it."""

    name: str
    bundle_sha256: str
    model_sha256: str
    ternary_layers: int
    weight_layers: int

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """Identify the model of a bundle."""
        manifest = bundle.manifest
        weighted = [layer for layer in manifest.layers if layer.weight_format != "none"]
        return cls(
            name=manifest.name,
            bundle_sha256=bundle.sha256,
            model_sha256=manifest.model_sha256,
            ternary_layers=sum(layer.ternary is not None for layer in weighted),
            weight_layers=len(weighted),
        )


class StudyProvenance(Record):
    """All that is needed, besides the models, to repeat a study.

    Attributes:
        created: when it ended, ISO 8601 in UTC.
        command: as it was typed, or what a script was called with.
        configuration: the TOML text of the run that it was part of; empty if it was part of none.
        sample_indices: the positions of its samples in the test set.
    """

    created: str
    command: str
    configuration: str = ""
    tritguard: str
    python: str
    platform: str
    packages: dict[str, str]
    tools: dict[str, str]
    seed: int
    data_name: str
    data_sha256: str
    sample_indices: tuple[int, ...]

    @classmethod
    def now(cls, dataset: Dataset, seed: int, indices: Sequence[int], tools: dict[str, str]) -> Self:
        """Describe a study that ends now, in this process.

        Args:
            dataset: the data that the samples were drawn from.
            seed: the seed they were drawn with.
            indices: their positions in the test set.
            tools: versions of the tools that were used besides Python packages, such as the emulator.
        """
        return cls(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            command=shlex.join(["tritguard", *sys.argv[1:]]),
            tritguard=__version__,
            python=platform.python_version(),
            platform=platform.platform(),
            packages=versions(),
            tools=tools,
            seed=seed,
            data_name=dataset.name,
            data_sha256=dataset.sha256,
            sample_indices=tuple(map(int, indices)),
        )


class Attacked(Record):
    """What attacks found, for a study that bounds it from the other side.

    Attributes:
        model_sha256: the hash of the golden model.
        data_sha256, sample_indices: the samples.
        norm: the norm of the balls.
        limits: the lowest and the highest int8 step of inputs.
        bounds: every eps that was attacked, in steps of the int8 input grid, rising.
        first: for each sample the smallest eps at which it is broken; 0 if the clean input is classified wrongly, None
            if nothing broke it.
    """

    model_sha256: str
    data_sha256: str
    sample_indices: tuple[int, ...]
    norm: str
    limits: tuple[int, int]
    bounds: tuple[int, ...]
    first: tuple[int | None, ...]


class Study(Record):
    """What the results of all studies have in common; `kind` says which study a result is of."""

    schema_version: int
    kind: str
    status: Status
    issues: tuple[Issue, ...]
    provenance: StudyProvenance

    @property
    def models_sha256(self) -> set[str]:
        """The hashes by which its models are known: of their bundles, or of the golden models in them."""
        raise NotImplementedError

    @property
    def asked(self) -> dict[str, object]:
        """What it was asked for, by the names of options: data and plan. Its models are compared by their hashes."""
        data = f"{self.provenance.data_name} ({self.provenance.data_sha256[:12]})"
        return {"data": data} | self._planned

    @property
    def _planned(self) -> dict[str, object]:
        plan = getattr(self, "plan", None)
        return plan.model_dump(mode="json") if isinstance(plan, Record) else {}

    @property
    def attacked(self) -> Attacked | None:
        """What its attacks found, sample by sample; None if it makes none or keeps no samples."""
        return None

    @model_validator(mode="after")
    def _status_follows_issues(self) -> Self:
        if self.status != status_of(self.issues):
            raise ValueError(f"status is {self.status}, its issues make it {status_of(self.issues)}")
        return self

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if what := next(self._contradictions(), None):
            raise ValueError(what)
        return self

    def _contradictions(self) -> Iterator[str]:
        """Name each place where a study's figures and findings contradict each other; a result with any is refused."""
        yield from ()
