"""Checks an evidence folder: every hash, and every figure that follows from the samples. Nothing of it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tritguard import __version__
from tritguard.build.record import BuildRecord
from tritguard.emit.bundle import Manifest
from tritguard.errors import BadInputError, TritguardError, first_line
from tritguard.evaluate.registry import read_study
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Study
from tritguard.records import from_json
from tritguard.report.evidence import answers, document, samples
from tritguard.report.evidence.folder import BUILD, BUNDLE, FILED, NOTICES, PDF, REPORT, SBOMS, title_of, tool_sha256
from tritguard.report.evidence.manifest import MANIFEST, Change, EvidenceManifest, file_changes, open_evidence
from tritguard.report.evidence.signature import signature_changes
from tritguard.report.registry import to_html


def changes(folder: Path, *, signers: Path | None = None, identity: str | None = None) -> list[Change]:
    """Name everything in an evidence folder that is not as it was filed.

    Args:
        folder: the evidence; it may come from anybody.
        signers: an allowed_signers file for OpenSSH, if the signature has to be by one of these signers.
        identity: which of the signers.

    Returns:
        What was found, file by file; empty if all is as it was filed.

    Raises:
        BadInputError: the folder is no evidence.
        ToolMissingError: it is signed, and OpenSSH is not installed.
    """
    manifest = open_evidence(folder)
    found = [*file_changes(folder, manifest), *signature_changes(folder, signers, identity)]
    found += [change for change in _refused(folder, manifest) if change not in found]
    return found


def read_studies(folder: Path, manifest: EvidenceManifest) -> tuple[RobustnessResult, list[Study]]:
    """Read the results of an evidence folder, which counts their figures again.

    Raises:
        BadInputError: a result contradicts itself or its samples, the first one is of another study, or one beside it
            is of another model or of a study that there is a result of already.
    """
    first, *beside = (read_study(folder / name) for name in manifest.results)
    if not isinstance(first, RobustnessResult):
        raise BadInputError(f"is of {first.kind}, not of robustness", where=str(folder / manifest.results[0]))
    seen: set[str] = {first.kind}
    for name, one in zip(manifest.results[1:], beside, strict=True):
        if not one.models_sha256 & first.models_sha256:
            raise BadInputError("is of another model than the first result", where=str(folder / name))
        if one.kind in seen:
            raise BadInputError(f"is a second result of {one.kind}", where=str(folder / name))
        seen.add(one.kind)
    return first, beside


def not_compared(manifest: EvidenceManifest) -> tuple[str, ...]:
    """The documents made from results, if another tritguard wrote them, so that this one would write others."""
    return () if comparable(manifest) else (document.README, REPORT, document.MODEL_CARD)


def only_hashed(manifest: EvidenceManifest) -> tuple[str, ...]:
    """The files of which nothing but the SHA-256 is compared, besides the documents of `not_compared`."""
    from_others = {PDF, *SBOMS, NOTICES, document.DATA_CARD, document.TRAINING_CARD, answers.FILE}
    return tuple(name for name in manifest.files if name in from_others)


def comparable(manifest: EvidenceManifest) -> bool:
    """Whether this tritguard is the one that wrote the folder, so that it writes the same documents."""
    tool = manifest.part("tool")
    return manifest.tritguard == __version__ and tool is not None and tool.sha256 == tool_sha256()


def _refused(folder: Path, manifest: EvidenceManifest) -> Iterator[Change]:
    """Make a finding of whatever goes wrong with the figures: the folder may come from anybody."""
    try:
        yield from _figures(folder, manifest)
    except Exception as error:
        yield Change("results", f"cannot be counted again ({type(error).__name__}: {first_line(error)})")


def _figures(folder: Path, manifest: EvidenceManifest) -> Iterator[Change]:
    """Count every figure again, and compare what was made from results with what is made from them now."""
    try:
        result, beside = read_studies(folder, manifest)
        yield from _identities(folder, manifest, result)
        table = samples.samples_csv(result)
    except TritguardError as error:
        yield Change(_inside(folder, error.where), error.what)
        return
    if (what := samples.first_difference(_text(folder / samples.FILE), table)) is not None:
        yield Change(samples.FILE, what)
    if not comparable(manifest):
        return
    remade = {
        document.README: document.readme(manifest, result, beside),
        REPORT: to_html(result, beside),
        document.MODEL_CARD: document.model_card(from_json(Manifest, folder / BUNDLE), result),
    }
    for name, text in remade.items():
        if _text(folder / name) != text:
            yield Change(name, "is not what the results give")


def _identities(folder: Path, manifest: EvidenceManifest, result: RobustnessResult) -> Iterator[Change]:
    """Compare what the manifest, the results and the records of bundle and build say about the same things."""
    bundle, build = from_json(Manifest, folder / BUNDLE), from_json(BuildRecord, folder / BUILD)
    provenance, firmware = result.provenance, result.firmware
    if manifest.title != (title := title_of(bundle.name, firmware)):
        yield Change(MANIFEST, f"has another title than the results give it: {title}")
    stated: dict[str, str | None] = {part.role: part.sha256 for part in manifest.parts}
    for role, where, digest in (
        ("golden model", manifest.results[0], provenance.model_sha256),
        ("golden model", BUNDLE, bundle.model_sha256),
        ("golden model", BUILD, build.model_sha256),
        ("bundle", manifest.results[0], provenance.bundle_sha256),
        ("bundle", BUILD, build.bundle_sha256),
        ("firmware ELF", manifest.results[0], firmware.elf_sha256),
        ("firmware ELF", BUILD, build.elf_sha256),
        ("firmware image", BUILD, build.binary_sha256),
        ("data", manifest.results[0], provenance.data_sha256),
    ):
        if stated.get(role) != digest:
            yield Change(where, f"is of another {role} than the manifest: {digest[:12]}, not {stated.get(role)}")
    for role, name in FILED.items():
        held, part = name in manifest.files, manifest.part(role)
        if held and manifest.files[name] != stated.get(role):
            yield Change(name, f"is another {role} than the one that was measured")
        if part is not None and part.file != (name if held else None):
            yield Change(MANIFEST, f"says of the {role} that its file is {part.file}, the folder's is {name}")


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if path.is_file() else ""


def _inside(folder: Path, where: str | None) -> str:
    """Name a file by its path in the folder."""
    path = Path(where or "")
    return path.relative_to(folder).as_posix() if where and path.is_relative_to(folder) else where or "results"
