"""Writes an evidence folder."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tritguard import __version__
from tritguard.build import Build
from tritguard.build.record import BINARY, ELF, RECORD
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.emit.bundle import MANIFEST as BUNDLE_MANIFEST
from tritguard.emit.bundle import MODEL
from tritguard.errors import BadInputError, ToolMissingError
from tritguard.evaluate.measurement import Firmware
from tritguard.evaluate.registry import kind_of
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Study
from tritguard.files import whole_folder
from tritguard.report.evidence import answers, document, samples
from tritguard.report.evidence.answers import CleanAnswers
from tritguard.report.evidence.manifest import (
    CHECKSUMS,
    MANIFEST,
    EvidenceManifest,
    LeftOut,
    Part,
    checksums,
    file_changes,
    hashes_of,
    open_evidence,
    sha256_of,
)
from tritguard.report.evidence.signature import sign
from tritguard.report.pdf import to_pdf
from tritguard.report.registry import to_html
from tritguard.resources import firmware_dir

REPORT = "report.html"
PDF = "report.pdf"
NOTICES = "THIRD_PARTY_NOTICES.txt"
SBOMS = ("sbom/firmware.cdx.json", "sbom/tool.cdx.json")
BUNDLE = f"model/{BUNDLE_MANIFEST}"
GOLDEN = f"model/{MODEL}"
BUILD = f"firmware/{RECORD}"
# The file of each part that a folder can hold.
FILED = {
    "golden model": GOLDEN,
    "bundle": BUNDLE,
    "firmware image": f"firmware/{BINARY}",
    "firmware ELF": f"firmware/{ELF}",
}

_HASHES_ONLY = "only its hash was asked for"


@dataclass(frozen=True)
class Subject:
    """What evidence is written about.

    Attributes:
        result: the robustness evaluation.
        beside: other studies of the same model.
        bundle: the model that was evaluated.
        build: the firmware that answered.
        dataset: the data that was attacked with; None if it is not at hand.
        answers: the samples and what the model answers to them; None to leave model, firmware and inputs out.
        training_card: the card that a training left, where there is one.
        compiler: the compiler as it is found on this machine, if it is the one that the firmware was built with.
    """

    result: RobustnessResult
    beside: Sequence[Study]
    bundle: Bundle
    build: Build
    dataset: Dataset | None
    answers: CleanAnswers | None
    training_card: str | None
    compiler: Path | None


def write_evidence(subject: Subject, out: Path, *, key: Path | None = None, pdf: bool = True) -> EvidenceManifest:
    """Write the folder, completely or not at all.

    Args:
        subject: what the evidence is about.
        out: the folder; an older evidence folder there that nobody changed is replaced.
        key: the user's key to sign it with.
        pdf: whether to print the report as PDF too, where that is possible.

    Raises:
        BadInputError: `out` holds something else, the result has no samples, or the key cannot sign.
        ToolMissingError: a key was given, and OpenSSH is not installed.
    """
    with whole_folder(out, _check_untouched, "untouched evidence folder") as draft:
        left_out = _write_files(subject, draft, pdf=pdf)
        manifest = EvidenceManifest(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            tritguard=__version__,
            title=title_of(subject.bundle.manifest.name, subject.result.firmware),
            parts=tuple(_parts(subject, draft)),
            results=tuple(f"results/{kind_of(study).file}" for study in (subject.result, *subject.beside)),
            left_out=tuple(left_out),
            files={},
        )
        (draft / document.README).write_text(document.readme(manifest, subject.result, subject.beside))
        manifest = manifest.model_copy(update={"files": hashes_of(draft)})
        (draft / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
        (draft / CHECKSUMS).write_text(checksums(manifest.files, sha256_of(draft / MANIFEST)))
        if key is not None:
            sign(draft, key.resolve())
    return manifest


def _check_untouched(out: Path) -> None:
    if (change := next(file_changes(out, open_evidence(out)), None)) is not None:
        raise BadInputError(change.what, where=change.where)


def _write_files(subject: Subject, draft: Path, *, pdf: bool) -> list[LeftOut]:
    """Write everything that the manifest lists but the README; name what cannot be there."""
    from tritguard.report.evidence import notices, sbom  # noqa: PLC0415 - CycloneDX is for this alone

    left_out = []
    result, beside = subject.result, subject.beside
    page = to_html(result, beside)
    texts: dict[str, Callable[[], str]] = {
        **{f"results/{kind_of(one).file}": _json_of(one) for one in (result, *beside)},
        REPORT: lambda: page,
        samples.FILE: lambda: samples.samples_csv(result),
        document.MODEL_CARD: lambda: document.model_card(subject.bundle.manifest, result),
        document.DATA_CARD: lambda: document.data_card(result, subject.dataset),
        SBOMS[0]: lambda: sbom.firmware_sbom(subject.bundle, subject.build),
        SBOMS[1]: sbom.tool_sbom,
        NOTICES: lambda: notices.notices(subject.build),
    }
    if subject.training_card is not None:
        card = subject.training_card
        texts[document.TRAINING_CARD] = lambda: card
    for name, text in texts.items():
        _place(draft, name).write_text(text())
    try:
        if pdf:
            _place(draft, PDF).write_bytes(to_pdf(page))
        else:
            left_out.append(LeftOut(what=PDF, why="it was not asked for"))
    except ToolMissingError as error:
        left_out.append(LeftOut(what=PDF, why=str(error)))
    copied = {BUNDLE: subject.bundle.path / BUNDLE_MANIFEST, BUILD: subject.build.path / RECORD}
    if subject.answers is not None:
        _place(draft, answers.FILE).write_bytes(subject.answers.packed())
        copied |= {GOLDEN: subject.bundle.model_path}
        copied |= {f"firmware/{name}": subject.build.path / name for name in (ELF, BINARY)}
    else:
        left_out += [LeftOut(what=what, why=_HASHES_ONLY) for what in ("the golden model", "the firmware", "inputs")]
    for name, source in copied.items():
        shutil.copyfile(source, _place(draft, name))
    return left_out


def _json_of(study: Study) -> Callable[[], str]:
    return lambda: study.model_dump_json(indent=2) + "\n"


def _place(draft: Path, name: str) -> Path:
    path = draft / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _parts(subject: Subject, draft: Path) -> list[Part]:
    record, provenance = subject.build.record, subject.result.provenance
    compiler = None if subject.compiler is None else sha256_of(subject.compiler)
    found = [
        ("golden model", subject.bundle.manifest.name, record.model_sha256),
        ("bundle", subject.bundle.manifest.name, subject.bundle.sha256),
        ("firmware image", record.build_id, record.binary_sha256),
        ("firmware ELF", record.build_id, record.elf_sha256),
        ("data", provenance.data_name, provenance.data_sha256),
        ("tool", f"tritguard {__version__}", tool_sha256()),
        ("compiler", record.compiler, compiler),
    ]
    held = {role: file for role, file in FILED.items() if (draft / file).is_file()}
    return [
        Part.model_validate({"role": role, "name": name, "sha256": digest, "file": held.get(role)})
        for role, name, digest in found
    ]


def title_of(model: str, firmware: Firmware) -> str:
    """What an evidence folder is called: the model and the board."""
    return f"{model} on {firmware.board_name}{' (emulated)' if firmware.emulated else ''}"


def tool_sha256() -> str:
    """The SHA-256 over the names and contents of this tritguard's own files: Python, templates, firmware."""
    digest = hashlib.sha256()
    for folder in (Path(__file__).parents[2], firmware_dir()):
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and not any(part.startswith("_") and not part.endswith(".py") for part in inside.parts):
                digest.update(f"{inside.as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
