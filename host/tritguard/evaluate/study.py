"""What results have in common that are no robustness evaluation: faults, transfer, privacy."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, Self

from pydantic import model_validator

from tritguard import __version__
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.evaluate.result import Issue, Status, status_of
from tritguard.evaluate.store import versions
from tritguard.records import Record


class ModelIdentity(Record):
    """A deployed model, by the hashes of its bundle and of the golden model in it."""

    name: str
    bundle_sha256: str
    model_sha256: str
    ternary_layers: int
    weight_layers: int

    @classmethod
    def of(cls, bundle: Bundle) -> Self:
        """A bundle's."""
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
    """All that, with the models, is needed to repeat a study."""

    created: str  # ISO 8601, UTC
    command: str
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
        """Of a study that ends now, in this process."""
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


class Study(Record):
    """A result beside `evaluate.result.Result`: same status, same issues, a `kind` that says what it is."""

    schema_version: Literal[1] = 1
    kind: str
    status: Status
    issues: tuple[Issue, ...]
    provenance: StudyProvenance

    @property
    def models_sha256(self) -> set[str]:
        """Hashes of the models it is of, of their bundles or of the golden models in them."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _status_follows_issues(self) -> Self:
        if self.status != status_of(self.issues):
            raise ValueError(f"status is {self.status}, its issues make it {status_of(self.issues)}")
        return self
