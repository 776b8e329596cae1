"""The studies of a deployed model: each leaves its result as JSON and its report as HTML."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from tritguard.api.journal import Journal
from tritguard.api.keeping import attacks_by, keep_other_result, runs_on
from tritguard.api.models import convert_control
from tritguard.boards import Board, load_board
from tritguard.build import Build
from tritguard.campaign.means import Means
from tritguard.data import Dataset
from tritguard.device import Bench, open_device
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.certify.result import CertifyPlan, CertifyResult
from tritguard.evaluate.certify.study import CERTIFY, study_certify
from tritguard.evaluate.corruptions.result import CorruptionsPlan, CorruptionsResult
from tritguard.evaluate.corruptions.study import CORRUPTIONS, study_corruptions
from tritguard.evaluate.deployment.energy import check_against, measure_energy
from tritguard.evaluate.deployment.result import DeploymentPlan, DeploymentResult, Energy
from tritguard.evaluate.deployment.study import DEPLOYMENT, study_deployment
from tritguard.evaluate.faults.result import FaultPlan, FaultResult
from tritguard.evaluate.faults.study import FAULTS, study_faults
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.privacy.result import PrivacyPlan, PrivacyResult
from tritguard.evaluate.privacy.study import PRIVACY, Training, study_privacy
from tritguard.evaluate.registry import kind_of, leading, read_study, studies_beside
from tritguard.evaluate.robustness.assemble import Subject
from tritguard.evaluate.robustness.live import Budget
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.study import ROBUSTNESS, study_robustness
from tritguard.evaluate.selftest import Check, Selftest
from tritguard.evaluate.selftest import selftest as try_board
from tritguard.evaluate.sound.result import SoundPlan, SoundResult
from tritguard.evaluate.sound.study import SOUND, study_sound
from tritguard.evaluate.study import Study
from tritguard.evaluate.transfer.result import TransferPlan, TransferResult
from tritguard.evaluate.transfer.study import TRANSFER, study_transfer
from tritguard.files import write_whole
from tritguard.progress import Stages, silent
from tritguard.report.registry import to_html
from tritguard.twin import Twin

S = TypeVar("S", bound=Study)


def attack(  # noqa: PLR0913 - all that an evaluation depends on
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: str | Path,
    *,
    plan: Plan | None = None,
    port: str | None = None,
    bench: Bench | None = None,
    control: str | Path | None = None,
    workers: int | None = None,
    boards: int = 0,
    scheduler: str | None = None,
    live: Callable[[Budget], None] | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> RobustnessResult:
    """Attack a deployed model, and replay every input on the device; writes `result.json` and `report.html`.

    Args:
        bundle: the model.
        firmware: its build.
        data: what the model is attacked with.
        out: the folder of the result. An older result there is removed first, so that a run that fails leaves none.
            What attacks find is kept there, and used again by a run of the same plan.
        plan: the threat model, the attacks and their budgets; by default those of the standard preset.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        control: an undefended model for the same task, a bundle or a `.tflite`, that the same attacks have to break.
        workers: the number of processes that craft; by default one for each core.
        boards: the number of emulated boards that confirm; by default as many as pay.
        scheduler: the address of a Dask scheduler, whose workers craft, and whose boards confirm beside this one.
        live: attack the device itself, with the attacks that need no gradients; called beforehand with what this may
            take.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: data, plan, control and model do not fit each other.
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    folder = Path(out)
    chosen = plan or Plan()
    asked = attacks_by(chosen, bundle.manifest.label_rule.classes, data, live=live is not None)
    asked |= runs_on(firmware.record.board.id, port)
    keep_other_result(ROBUSTNESS, folder, data, asked, [bundle], replace=replace)

    def evaluated(stages: Stages) -> RobustnessResult:
        undefended = None
        if control is not None:
            converting = stages("Converting the control")
            converting(0, 1)
            undefended = convert_control(control, folder, firmware.record.board.core)
            converting(1, 1)
        subject = Subject(bundle, firmware)
        with open_device(bundle, firmware, port, bench) as device:
            return study_robustness(
                subject,
                data,
                chosen,
                device,
                folder,
                stages,
                control=undefended,
                means=Means(workers, boards, scheduler),
                live=live,
            )

    return carry_out(ROBUSTNESS, folder, evaluated, stages)


def certify(
    bundle: Bundle,
    data: Dataset,
    out: str | Path,
    *,
    firmware: Build | None = None,
    plan: CertifyPlan | None = None,
    attacked: Study | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> CertifyResult:
    """Bound robust accuracy from below by proofs, and from above; writes `certify.json` and `certify.html`.

    Args:
        bundle: the model.
        data: what its balls are drawn around.
        out: the folder of the result.
        firmware: its build for an emulated board, which confirms what the twin says; without it the twin stands alone.
        plan: the samples, the balls and how far to go.
        attacked: a result with attacks on the same samples in the same balls, as `attack` returns it.
        replace: put the result in the place of one of other data, another model or another plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_certify`; or the result has no attacks with their samples.
    """
    if attacked is not None and attacked.attacked is None:
        raise BadInputError("the result has no untargeted attacks with their samples", fix="give one of 'attack'")
    other, settings = None if attacked is None else attacked.attacked, plan or CertifyPlan()
    keep_other_result(CERTIFY, Path(out), data, settings.model_dump(mode="json"), [bundle], replace=replace)
    return carry_out(
        CERTIFY,
        Path(out),
        lambda named: study_certify(bundle, firmware, data, settings, named, other),
        stages,
    )


def evaluate(  # noqa: PLR0913 - all that a study depends on
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: str | Path,
    *,
    plan: DeploymentPlan | None = None,
    port: str | None = None,
    bench: Bench | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> DeploymentResult:
    """Run the test set on the device; writes `deployment.json` and `deployment.html`.

    Args:
        bundle: the model.
        firmware: its build.
        data: its test set is used.
        out: the folder of the result.
        plan: the number of samples; by default all.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError, BadModelError: see `study_deployment`.
        DeviceError, WrongFirmwareError: see `open_device`.
    """

    settings = plan or DeploymentPlan()
    asked = settings.model_dump(mode="json") | runs_on(firmware.record.board.id, port)
    keep_other_result(DEPLOYMENT, Path(out), data, asked, [bundle], replace=replace)

    def evaluated(stages: Stages) -> DeploymentResult:
        with open_device(bundle, firmware, port, bench) as device:
            return study_deployment(device, data, settings, stages)

    return carry_out(DEPLOYMENT, Path(out), evaluated, stages)


def energy(
    log: str | Path,
    result: str | Path | None = None,
    *,
    marks: str | None = None,
    above: float | None = None,
    volts: float | None = None,
    rate_hz: float | None = None,
) -> Energy:
    """Measure the energy of an inference from a log of the board's current.

    Args:
        log: the log, as Joulescope, the Power Profiler Kit II or the X-NUCLEO-LPM01A export it.
        result: the `deployment.json` of the run that was logged, which takes the energy in, with its report.
        marks: the log's digital input that the board's `mark` is at; not needed where it has one only.
        above: for a log without inputs: the current in amperes above which an inference runs.
        volts: the supply's voltage; not needed where the log holds it.
        rate_hz: samples a second, for a log without times.

    Raises:
        BadInputError: the log cannot be read or marks no inference, or it is not of the run of `result`.
    """
    found = measure_energy(Path(log), marks=marks, above=above, volts=volts, rate_hz=rate_hz)
    if result is not None:
        path = Path(result)
        study = read_study(path)
        if not isinstance(study, DeploymentResult):
            raise BadInputError("is no result of evaluate", where=str(path), fix="give a deployment.json")
        check_against(found, study, str(log))
        study = study.model_copy(update={"energy": found})
        write_whole(path, study.model_dump_json(indent=2) + "\n")
        write_whole(DEPLOYMENT.report_beside(path), to_html(study))
    return found


def corruptions(  # noqa: PLR0913 - all that a study depends on
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: str | Path,
    *,
    plan: CorruptionsPlan | None = None,
    port: str | None = None,
    bench: Bench | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> CorruptionsResult:
    """Measure accuracy under common corruptions on the device; writes `corruptions.json` and `corruptions.html`.

    Args:
        bundle: the model.
        firmware: its build.
        data: its test set is corrupted.
        out: the folder of the result.
        plan: the corruptions, their severities and the number of samples.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_corruptions`.
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    chosen = plan or CorruptionsPlan()
    asked = chosen.model_dump(mode="json") | runs_on(firmware.record.board.id, port)
    keep_other_result(CORRUPTIONS, Path(out), data, asked, [bundle], replace=replace)

    def corrupted(stages: Stages) -> CorruptionsResult:
        with open_device(bundle, firmware, port, bench) as device:
            return study_corruptions(device, data, chosen, stages)

    return carry_out(CORRUPTIONS, Path(out), corrupted, stages)


def sound(  # noqa: PLR0913 - all that a study depends on
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: str | Path,
    *,
    plan: SoundPlan | None = None,
    port: str | None = None,
    bench: Bench | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> SoundResult:
    """Attack recordings through the front end of a keyword spotter; writes `sound.json` and `sound.html`.

    Args:
        bundle: the model.
        firmware: its build.
        data: keyword data that holds the recordings of its test samples.
        out: the folder of the result.
        plan: the bounds in dB, the attack's steps and the number of samples.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_sound`.
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    chosen = plan or SoundPlan()
    asked = chosen.model_dump(mode="json") | runs_on(firmware.record.board.id, port)
    keep_other_result(SOUND, Path(out), data, asked, [bundle], replace=replace)

    def attacked(stages: Stages) -> SoundResult:
        with open_device(bundle, firmware, port, bench) as device:
            return study_sound(device, data, chosen, stages)

    return carry_out(SOUND, Path(out), attacked, stages)


def selftest(
    bundle: Bundle,
    firmware: Build,
    out: str | Path,
    *,
    port: str | None = None,
    bench: Bench | None = None,
    note: Callable[[Check], None] = lambda _: None,
) -> Selftest:
    """Try a board in a minute: its line, its memory, its bytes against the twin's, and how steady its time is.

    Args:
        bundle: the model.
        firmware: its build, which the board runs.
        out: the file of the sealed record.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        note: called with each check once it is made.

    Raises:
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    twin = Twin(bundle)
    with open_device(bundle, firmware, port, bench) as device:
        return try_board(device, twin, Path(out), note)


def faults(
    subjects: Sequence[tuple[Bundle, Build | None]],
    data: Dataset,
    out: str | Path,
    *,
    plan: FaultPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> FaultResult:
    """Measure accuracy with bits of the weights flipped in flash; writes `faults.json` and `faults.html`.

    Args:
        subjects: bundles, each with its build for an emulated board, or None to use the twin alone.
        data: samples for the measurement and for the attacker.
        out: the folder of the result.
        plan: the numbers of flips and samples.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError, MismatchError: see `study_faults`.
    """
    settings, bundles = plan or FaultPlan(), [bundle for bundle, _ in subjects]
    keep_other_result(FAULTS, Path(out), data, settings.model_dump(mode="json"), bundles, replace=replace)
    return carry_out(FAULTS, Path(out), lambda named: study_faults(subjects, data, settings, named), stages)


def transfer(
    bundles: Sequence[Bundle],
    data: Dataset,
    out: str | Path,
    *,
    floats: Sequence[str | Path] = (),
    plan: TransferPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> TransferResult:
    """Measure how attacks carry over between models; writes `transfer.json` and `transfer.html`.

    Args:
        bundles: the deployed models.
        data: what they are attacked with.
        out: the folder of the result.
        floats: float models, each a `.keras` file or a float `.tflite`.
        plan: the bounds and the number of samples.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_transfer`.
    """
    settings = plan or TransferPlan()
    keep_other_result(TRANSFER, Path(out), data, settings.model_dump(mode="json"), bundles, replace=replace)
    models = [(_float_name(Path(path)), Path(path)) for path in floats]
    return carry_out(TRANSFER, Path(out), lambda named: study_transfer(bundles, models, data, settings, named), stages)


def privacy(
    trainings: Sequence[Training],
    out: str | Path,
    *,
    board: str | Path | Board | None = None,
    plan: PrivacyPlan | None = None,
    replace: bool = False,
    stages: Stages = silent,
) -> PrivacyResult:
    """Measure what a model's outputs tell about its training samples; writes `privacy.json` and `privacy.html`.

    Args:
        trainings: the trained models, see `open_training`.
        out: the folder of the result and of the shadow models.
        board: an emulated board that confirms the outputs; without it the twin gives them.
        plan: the numbers of samples and shadow models.
        replace: put the result in the place of one of other data, other trainings or another plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `study_privacy`.
    """
    settings = plan or PrivacyPlan()
    asked = settings.model_dump(mode="json") | {"trainings": [training.sha256[:12] for training in trainings]}
    keep_other_result(PRIVACY, Path(out), trainings[0].dataset, asked, [], replace=replace)
    chip = board if board is None or isinstance(board, Board) else load_board(board)
    return carry_out(
        PRIVACY,
        Path(out),
        lambda named: study_privacy(trainings, chip, settings, Path(out), named),
        stages,
    )


def carry_out(
    kind: StudyKind[Any, S], out: Path, run: Callable[[Stages], S], stages: Stages, configuration: str = ""
) -> S:
    """Carry a study out and write its result and report; older ones go first, so that a failure leaves none.

    Args:
        kind: the study.
        out: the folder for both, made if it is missing.
        run: carries the study out; it is given `stages`.
        stages: shows how far the work is.
        configuration: the TOML text of the run that the study is part of, which its result keeps.
    """
    with Journal(out, kind.table) as journal:
        return carry_out_watched(kind, out, run, journal.watching(stages), configuration)


def carry_out_watched(
    kind: StudyKind[Any, S], out: Path, run: Callable[[Stages], S], stages: Stages, configuration: str = ""
) -> S:
    """Carry a study out where a journal is kept already; see `carry_out`."""
    clear(kind, out)
    result = run(stages)
    provenance = result.provenance.model_copy(update={"configuration": configuration})
    result = result.model_copy(update={"provenance": provenance})
    path = out / kind.file
    write_whole(path, result.model_dump_json(indent=2) + "\n")
    write_whole(kind.report_beside(path), to_html(result))
    return result


def clear(kind: StudyKind[Any, Any], out: Path) -> None:
    """Make the folder, now and not after minutes of work, and remove an older result and report of this study."""
    out.mkdir(parents=True, exist_ok=True)
    for older in (out / kind.file, kind.report_beside(out / kind.file)):
        older.unlink(missing_ok=True)


def report(source: str | Path, out: str | Path | None = None) -> tuple[Path, list[Study]]:
    """Read a result again and write its report as one self-contained HTML file.

    Args:
        source: a result's JSON file, or the folder of a run.
        out: the HTML file; by default it is written beside the result.

    Returns:
        The file that was written, and the results in it: the one read, then those of other studies of the same model
        that lie beside it and that its report takes in.

    Raises:
        BadInputError: the result cannot be read, is damaged or of another version, or the report cannot be written.
    """
    place = Path(source)
    path = place / leading().file if place.is_dir() else place
    if path.suffix == ".html":
        fix = f"give its folder, or the {leading().file} beside it"
        raise BadInputError("is a report, made from a result", where=str(path), fix=fix)
    study = read_study(path)
    target = kind_of(study).report_beside(path) if out is None else Path(out)
    if target.resolve() == path.resolve():
        raise BadInputError("is the result itself", where=str(target), fix="name another file for the report")
    beside = studies_beside(path, study)
    page = to_html(study, beside)
    try:
        write_whole(target, page)
    except OSError as error:
        raise BadInputError(f"cannot be written ({error.strerror})", where=str(target)) from error
    return target, [study, *beside]


def _float_name(path: Path) -> str:
    """Name a float model for reports: one that a training left after the training's folder."""
    return path.resolve().parent.name if path.suffix == ".keras" else path.stem
