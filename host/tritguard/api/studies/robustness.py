"""Attacks on a deployed model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.api.keeping import attacks_by, board_shown, keep_other_result, runs_on
from tritguard.api.models import convert_control
from tritguard.api.studies.outcome import carry_out
from tritguard.build import Build
from tritguard.campaign.means import Means
from tritguard.data import Dataset
from tritguard.device import Bench, open_device
from tritguard.emit import Bundle
from tritguard.evaluate.robustness.assemble import Subject
from tritguard.evaluate.robustness.live import Budget
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.study import ROBUSTNESS, study_robustness
from tritguard.progress import Stages, silent


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
        out: the folder of the result. An older result there is replaced by the new one; after a run that fails it is
            called `earlier-result.json`. What attacks find is kept there, and used again by a run of the same plan.
        plan: the threat model, the attacks and their budgets; by default those of the standard preset.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        control: an undefended model for the same task, a bundle or a `.tflite`, that the same attacks have to break.
        workers: the number of processes that craft; by default one for each core.
        boards: the number of emulated boards that confirm; by default as many as pay.
        scheduler: the address of a Dask scheduler, whose workers craft, and whose boards confirm beside this one.
        live: if given, the device itself is attacked, with the attacks that need no gradients; called beforehand with
            what this may take.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: data, plan, control and model do not fit each other.
        DeviceError, WrongFirmwareError: see `open_device`.
        ToolMissingError: the plan names an attack whose package is not installed.
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

    shown = board_shown(firmware.record.board.name, port)
    return carry_out(ROBUSTNESS, folder, evaluated, stages, board=shown)
