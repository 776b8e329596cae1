"""From a firmware to its robust accuracy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.api.models import convert_control
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import open_device
from tritguard.emit import Bundle
from tritguard.evaluate.robustness.assemble import Subject
from tritguard.evaluate.robustness.live import Budget
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.study import ROBUSTNESS, study_robustness
from tritguard.files import write_whole
from tritguard.progress import Stages, silent

RESULT = ROBUSTNESS.file
REPORT = ROBUSTNESS.report_beside(Path(RESULT)).name


def attack(  # noqa: PLR0913 - all that an evaluation depends on
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: str | Path,
    *,
    plan: Plan | None = None,
    port: str | None = None,
    control: str | Path | None = None,
    workers: int | None = None,
    live: Callable[[Budget], None] | None = None,
    stages: Stages = silent,
) -> RobustnessResult:
    """Attack the deployed model, replay every input on the device, and write `result.json`.

    Args:
        bundle: the model.
        firmware: its build.
        data: what it is attacked with.
        out: folder of the result. An older result there goes first: a run that fails leaves none. What attacks have
            found is kept there, and used again by a run of the same plan.
        plan: threat model, attacks and their budgets; the standard preset without it.
        port: the board's serial port; without it the emulated board is started.
        control: an undefended model of the same task that the same attacks have to break.
        workers: processes that craft; one a core by default.
        live: attack the device itself, with what needs no gradients; called beforehand with what it may take.
        stages: shows how far it is.

    Raises:
        BadInputError: data, plan, control and model do not fit each other.
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    folder = Path(out)
    clear_results(folder)
    undefended = None
    if control is not None:
        converting = stages("Converting the control")
        converting(0, 1)
        undefended = convert_control(control, folder, firmware.record.board.core)
        converting(1, 1)
    with open_device(bundle, firmware, port) as device:
        result = study_robustness(
            Subject(bundle, firmware),
            data,
            plan or Plan(),
            device,
            folder,
            stages,
            control=undefended,
            workers=workers,
            live=live,
        )
    write_whole(folder / RESULT, result.model_dump_json(indent=2) + "\n")
    return result


def clear_results(out: Path) -> None:
    """Make the folder, now and not after minutes of work, and remove an older result: a failed run leaves none."""
    out.mkdir(parents=True, exist_ok=True)
    for name in (RESULT, REPORT):
        (out / name).unlink(missing_ok=True)
