"""The published JSON Schemas: one for each kind of file that tritguard writes, or that people write for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tritguard.api.journal import RunProgress
from tritguard.api.road import RunConfig
from tritguard.boards import Board
from tritguard.build.record import BuildRecord
from tritguard.emit.bundle import Manifest
from tritguard.emit.tflm.manifest import ArraysManifest
from tritguard.errors import BadInputError
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.robustness.so_far import CurveSoFar
from tritguard.evaluate.selftest import Selftest
from tritguard.export.folder import ExportManifest
from tritguard.files import write_whole
from tritguard.profile.record import Profile
from tritguard.records import Record
from tritguard.report.comparison import Comparison
from tritguard.report.evidence.manifest import EvidenceManifest
from tritguard.report.schema import schema_text
from tritguard.train import TrainRecord

WRITTEN: Mapping[str, type[Record]] = {
    **{kind.name: kind.result for kind in STUDIES},
    "bundle": Manifest,
    "build": BuildRecord,
    "training": TrainRecord,
    "profile": Profile,
    "export": ExportManifest,
    "tflm-arrays": ArraysManifest,
    "evidence": EvidenceManifest,
    "comparison": Comparison,
    "selftest": Selftest,
    "progress": RunProgress,
    "so-far": CurveSoFar,
}
"""What tritguard writes, by the name of the schema."""

READ: Mapping[str, type[Record]] = {"configuration": RunConfig, "board": Board}
"""What people write, as TOML."""


def schema(name: str) -> str:
    """The JSON Schema (draft 2020-12) of a kind of file, as text.

    Raises:
        BadInputError: there is no schema of this name.
    """
    if name in WRITTEN:
        return schema_text(WRITTEN[name], name, "serialization")
    if name in READ:
        return schema_text(READ[name], name, "validation")
    raise BadInputError(f"there is no schema {name!r}", fix=f"give one of {', '.join([*WRITTEN, *READ])}")


def write_schemas(folder: str | Path) -> list[Path]:
    """Write every schema into a folder, as NAME.json.

    Returns:
        The files.
    """
    files = [Path(folder) / f"{name}.json" for name in (*WRITTEN, *READ)]
    for file in files:
        write_whole(file, schema(file.stem))
    return files
