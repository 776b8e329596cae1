"""The test set on the device, and what an inference takes."""

from __future__ import annotations

from pathlib import Path

from tritguard.api.studies.outcome import carry_out_on_device
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Bench
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.deployment.energy import check_against, measure_energy
from tritguard.evaluate.deployment.result import DeploymentPlan, DeploymentResult, Energy
from tritguard.evaluate.deployment.study import DEPLOYMENT, study_deployment
from tritguard.evaluate.registry import read_study
from tritguard.files import write_whole
from tritguard.progress import Stages, silent
from tritguard.report.registry import to_html


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
    return carry_out_on_device(
        DEPLOYMENT,
        study_deployment,
        plan or DeploymentPlan(),
        bundle,
        firmware,
        data,
        Path(out),
        port=port,
        bench=bench,
        replace=replace,
        stages=stages,
    )


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
        result: the `deployment.json` of the run that was logged; the energy is added to it and to its report.
        marks: the log's digital input that the board's `mark` is at; not needed where it has only one.
        above: for a log without inputs: the current in amperes above which an inference runs.
        volts: the supply's voltage; not needed where the log holds it.
        rate_hz: samples per second, for a log without times.

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
