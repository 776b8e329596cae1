"""The evidence of a run: written as a folder to file, checked again, and repeated."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tritguard.api.firmware import build as build_firmware
from tritguard.api.models import load_data
from tritguard.boards import Board
from tritguard.boards.platformio import CORES, kept_platform
from tritguard.build import Budget, Build, open_build
from tritguard.build.pio import COMPILER
from tritguard.build.record import BuildRecord
from tritguard.data import Dataset, to_input_bytes
from tritguard.device import open_device
from tritguard.emit import Bundle, open_bundle, write_bundle
from tritguard.emit.bundle import C_DIR, Manifest, hash_file
from tritguard.errors import BadInputError, MismatchError, first_line
from tritguard.evaluate.registry import leading, read_study, studies_beside
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.samples import compared, differing
from tritguard.files import scratch_folder
from tritguard.predictor import Outputs
from tritguard.progress import Stages, silent
from tritguard.records import from_json
from tritguard.report.evidence import answers, checking
from tritguard.report.evidence.answers import CleanAnswers, read_answers
from tritguard.report.evidence.folder import BUILD, BUNDLE, GOLDEN, Subject, write_evidence
from tritguard.report.evidence.manifest import Change, EvidenceManifest, open_evidence
from tritguard.train.config import CARD
from tritguard.twin import Twin, verify_against_oracle


def evidence(  # noqa: PLR0913 - where all that it is about can lie
    run: str | Path,
    out: str | Path,
    *,
    bundle: str | Path | None = None,
    firmware: str | Path | None = None,
    data: str | None = None,
    hashes_only: bool = False,
    key: str | Path | None = None,
    pdf: bool = True,
    trust: bool = False,
) -> EvidenceManifest:
    """Write the evidence of a robustness evaluation, and of the studies beside it, as a folder to file.

    Args:
        run: the folder of a run, or its `result.json`.
        out: the folder to write; an older one there that nobody changed is replaced.
        bundle: the model that was evaluated; by default the folder `bundle` of the run.
        firmware: the build that answered; by default the folder `build` of the run.
        data: what the model was attacked with; by default what the run's configuration names.
        hashes_only: leave the model, the firmware and the inputs out; their hashes are in the folder all the same.
        key: an OpenSSH key to sign the folder with.
        pdf: print the report as a PDF too, if WeasyPrint is installed.
        trust: see `open_bundle`.

    Raises:
        BadInputError: something is missing, or is not what the result was measured on.
        MismatchError: the model's answers differ from those of the device in the result.
        ToolMissingError: a key was given, and OpenSSH is not installed.
    """
    place = Path(run)
    path = place / leading().file if place.is_dir() else place
    result = _robustness(path)
    opened = _bundle_of(result, Path(bundle or path.parent / "bundle"), trust)
    built = _build_of(result, Path(firmware or path.parent / "build"))
    source = data or _configured_data(result)
    dataset = None if source is None else _data_of(result, source)
    if dataset is None and not hashes_only:
        what, fix = "does not say where its data is", "give it with --data, or leave inputs out with --hashes-only"
        raise BadInputError(what, where=str(path), fix=fix)
    subject = Subject(
        result=result,
        beside=studies_beside(path, result),
        bundle=opened,
        build=built,
        dataset=dataset,
        answers=None if dataset is None or hashes_only else _answers(opened, dataset, result),
        training_card=_training_card(result, path.parent / "train" / CARD),
        compiler=_compiler(built.record),
    )
    return write_evidence(subject, Path(out), key=None if key is None else Path(key), pdf=pdf)


def _robustness(path: Path) -> RobustnessResult:
    study = read_study(path)
    if not isinstance(study, RobustnessResult):
        raise BadInputError(f"is a result of {study.kind}", where=str(path), fix=f"give the {leading().file} beside it")
    return study


def _bundle_of(result: RobustnessResult, folder: Path, trust: bool) -> Bundle:
    opened = open_bundle(folder, trust=trust)
    if opened.sha256 != result.provenance.bundle_sha256:
        what = f"is not the bundle that was evaluated, which has SHA-256 {result.provenance.bundle_sha256[:12]}"
        raise BadInputError(what, where=str(folder), fix="name that one with --bundle")
    return opened


def _build_of(result: RobustnessResult, folder: Path) -> Build:
    built = open_build(folder)
    if built.record.elf_sha256 != result.firmware.elf_sha256:
        what = f"is not the firmware that answered, whose ELF has SHA-256 {result.firmware.elf_sha256[:12]}"
        raise BadInputError(what, where=str(folder), fix="name that one with --build")
    return built


def _training_card(result: RobustnessResult, card: Path) -> str | None:
    """The card of the run's own training. It is copied, so it must not be a link, which may lead to a private file."""
    if "train" not in _configuration(result) or not card.is_file():
        return None
    if card.is_symlink() or card.parent.is_symlink():
        fix = "put the file itself there, or remove the link"
        raise BadInputError("is a link, whose file would be copied into the evidence", where=str(card), fix=fix)
    return card.read_text(errors="replace")


def _configuration(result: RobustnessResult) -> dict[str, Any]:
    """The configuration's tables of the run that a result was part of; none if it was part of none."""
    try:
        return tomllib.loads(result.provenance.configuration)
    except (ValueError, OverflowError, RecursionError) as error:
        what = f"provenance.configuration: not TOML ({first_line(error)})"
        raise BadInputError(what, where=leading().file, fix="give a result as tritguard wrote it") from error


def _configured_data(result: RobustnessResult) -> str | None:
    """The data set that the configuration of the run names, if it was part of one."""
    config = _configuration(result)
    trained = config.get("train")
    found = config.get("data") or (trained.get("data", "fashion-mnist") if isinstance(trained, dict) else None)
    return found if isinstance(found, str) else None


def _data_of(result: RobustnessResult, source: str) -> Dataset:
    dataset = load_data(source)
    if dataset.sha256 != result.provenance.data_sha256:
        what = f"is not the data that was attacked, which has SHA-256 {result.provenance.data_sha256[:12]}"
        raise BadInputError(what, where=source, fix="name that data with --data")
    return dataset


def _answers(bundle: Bundle, dataset: Dataset, result: RobustnessResult) -> CleanAnswers:
    """Give the twin the clean samples once more; its classes have to be those of the device in the result."""
    grid, chosen = bundle.manifest.input, np.array(result.provenance.sample_indices)
    x = bundle.manifest.as_samples(to_input_bytes(dataset.x_test[chosen], grid.scale, grid.zero_point))
    outputs = Twin(bundle).predict(x)
    if result.samples is None or outputs.labels.tolist() != list(result.samples.clean):
        raise MismatchError(
            "the model gives some samples other classes than the result holds",
            where=str(bundle.path),
            fix="run the evaluation again",
        )
    return CleanAnswers(x, outputs)


def _compiler(record: BuildRecord) -> Path | None:
    """The compiler's program on this machine, if its version is the one that a firmware was built with."""
    program = shutil.which(COMPILER)
    if program is None:
        return None
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, errors="replace", check=False)
    version = printed.stdout.partition("\n")[0].partition(" ")[2]
    return Path(program) if version and version == record.compiler.removeprefix("GCC: ") else None


@dataclass(frozen=True)
class Repetition:
    """What a firmware that was made again from an evidence folder's golden model answered to the folder's samples.

    Attributes:
        samples: how many samples it was given.
        bytes_compared: the bytes of their answers.
        mismatched: the positions in the test set of those whose answers differ from the folder's.
        same_code: whether the C that was generated again is, file by file, the same as in the evaluated bundle.
    """

    samples: int
    bytes_compared: int
    mismatched: tuple[int, ...]
    same_code: bool


class Verification(NamedTuple):
    """What was found in an evidence folder.

    Attributes:
        manifest: what the folder says it holds.
        changes: what is not as it was filed.
        not_compared: documents that another tritguard wrote, so that this one cannot tell what the results give.
        only_hashed: files whose hashes were compared and nothing else.
    """

    manifest: EvidenceManifest
    changes: list[Change]
    not_compared: tuple[str, ...]
    only_hashed: tuple[str, ...]


def verify(folder: str | Path, *, signers: str | Path | None = None, identity: str | None = None) -> Verification:
    """Compute every hash of an evidence folder again, and every figure that follows from its samples.

    Nothing in the folder is executed.

    Args:
        folder: what `evidence` wrote; it may come from anybody.
        signers: an allowed_signers file for OpenSSH: the folder has to be signed by one of these signers.
        identity: which of the signers.

    Returns:
        The folder's manifest, what is not as it was filed, and what could not be computed again.

    Raises:
        BadInputError: the folder is no evidence, or of signers and identity only one was given.
        ToolMissingError: it is signed, and OpenSSH is not installed.
    """
    place = Path(folder)
    if signers is not None and not identity:
        raise BadInputError("says who may sign, but not who has to", where=str(signers), fix="give --identity too")
    if signers is None and identity:
        raise BadInputError("has to have signed, and no key is known", where=identity, fix="give --signers too")
    found = checking.changes(place, signers=None if signers is None else Path(signers), identity=identity)
    manifest = open_evidence(place)
    return Verification(manifest, found, checking.not_compared(manifest), checking.only_hashed(manifest))


def repeat(folder: str | Path, samples: int, *, port: str | None = None, stages: Stages = silent) -> Repetition:
    """Make the firmware of an evidence folder again from its golden model, and give it the samples.

    The bundle and the build that the folder describes are programs of whoever filed it, so they are not used: the
    golden `.tflite` is converted and built here, with the formats that the folder names.

    Args:
        folder: what `evidence` wrote; `verify` has found nothing in it.
        samples: how many to give it, evenly spaced; all if there are fewer.
        port: the serial port of a board that is to answer; it has to run this very firmware. Without it the emulated
            board is started.
        stages: shows how far the work is.

    Raises:
        BadInputError: the folder holds no model or no inputs, its board has no emulator and no port was given, or
            PlatformIO would fetch the platform that its board names. Also if filed answers and the firmware's differ in
            the number of scores, or only one side has logits.
        MismatchError: its model is not the one that was measured.
        TritguardError: what converting, building and asking raise.
    """
    place = Path(folder)
    manifest = open_evidence(place)
    for name, what in ((GOLDEN, "golden model"), (answers.FILE, "inputs")):
        if not (place / name).is_file():
            listed = name in manifest.files
            reason = "it was removed" if listed else "it was written with --hashes-only"
            raise BadInputError(f"holds no {what}: {reason}", where=str(place), fix="nothing can be asked again")
    result, _ = checking.read_studies(place, manifest)
    if hash_file(place / GOLDEN) != result.provenance.model_sha256:
        fix = "see what 'tritguard verify' finds without --repeat"
        raise MismatchError("is another model than the one that was measured", where=str(place / GOLDEN), fix=fix)
    record = from_json(BuildRecord, place / BUILD)
    if record.engine != "native":
        what = f"the firmware ran the engine {record.engine}, whose library is not in the folder"
        raise BadInputError(what, where=str(place), fix="only a native firmware can be made again")
    _refuse_fetching(record.board, place)
    with scratch_folder() as scratch:
        converting = stages("Converting the golden model")
        converting(0, 1)
        bundle = _remade(place, scratch / "bundle")
        converting(1, 1)
        building = stages("Building the firmware")
        building(0, 1)
        built = build_firmware(bundle, scratch / "build", board=record.board, budget=Budget(max_ram=record.max_ram))
        building(1, 1)
        label = bundle.manifest.label_rule
        count = len(result.provenance.sample_indices)
        shape, streams = bundle.manifest.input.shape, bundle.manifest.state_bytes > 0
        filed = read_answers(place / answers.FILE, count, shape, label.threshold_steps, streams=streams)
        asked = np.arange(min(samples, count)) * count // max(1, min(samples, count))
        with open_device(bundle, built, port) as device:
            theirs = device.predict(filed.x[asked], stages("Asking the device"))
        same_code = _code_of(bundle.manifest) == _code_of(from_json(Manifest, place / BUNDLE))
    check_alike(filed.outputs, theirs, place / answers.FILE)
    return _compare(result, filed, asked, theirs, same_code)


def _refuse_fetching(board: Board, folder: Path) -> None:
    """Refuse a board for which PlatformIO would fetch a platform: a program whose version the folder chose."""
    wanted = board.platformio
    if wanted is None or kept_platform(wanted.platform) is not None:
        return
    what = f"building for its board {board.id} would fetch and run PlatformIO's platform {wanted.platform}"
    version = f" {wanted.version}" if wanted.version else ""
    fix = f"let {CORES} name a folder with a platform {wanted.platform}{version} that you trust, or leave --repeat out"
    raise BadInputError(what, where=str(folder / BUILD), fix=fix)


def _remade(folder: Path, out: Path) -> Bundle:
    """Convert the golden model of an evidence folder with the choices that its bundle's manifest names."""
    filed = from_json(Manifest, folder / BUNDLE)
    content = (folder / GOLDEN).read_bytes()
    bundle = write_bundle(
        content,
        out,
        name=filed.name,
        core=filed.core,
        classes=filed.classes,
        formats=filed.formats_asked,
        stripes=filed.stripes_allowed,
        check=verify_against_oracle,
    )
    assert hash_file(bundle.model_path) == bundle.manifest.model_sha256
    return bundle


def _code_of(manifest: Manifest) -> dict[str, str]:
    """The hashes of a bundle's C, by file."""
    return {name: digest for name, digest in manifest.files.items() if name.startswith(f"{C_DIR}/")}


def check_alike(filed: Outputs, theirs: Outputs, where: Path) -> None:
    """Refuse answers that could be compared only in part, so that every byte that counts as compared was compared."""
    if filed.scores.shape[1:] != theirs.scores.shape[1:] or (filed.logits is None) != (theirs.logits is None):
        ours, other = (
            f"{outputs.scores.shape[1]} scores and {'no' if outputs.logits is None else 'as many'} logits"
            for outputs in (filed, theirs)
        )
        fix = "ask whoever filed the folder for it again"
        raise BadInputError(f"has {ours} for each sample, the firmware answers {other}", where=str(where), fix=fix)


def _compare(
    result: RobustnessResult, filed: CleanAnswers, asked: np.ndarray[tuple[int], np.dtype[np.int64]], theirs: Outputs,
    same_code: bool,
) -> Repetition:  # fmt: skip
    """Compare bytes sample by sample, and classes with the result's own table."""
    assert result.samples is not None
    wrong = []
    for row, place in enumerate(asked.tolist()):
        ours = _one(filed.outputs, place)
        other = differing(ours, _one(theirs, row)) > 0
        if other or int(ours.labels[0]) != result.samples.clean[place]:
            wrong.append(result.provenance.sample_indices[place])
    return Repetition(len(asked), compared(theirs), tuple(wrong), same_code)


def _one(outputs: Outputs, place: int) -> Outputs:
    logits = None if outputs.logits is None else outputs.logits[place : place + 1]
    return Outputs(outputs.scores[place : place + 1], logits, threshold=outputs.threshold)
