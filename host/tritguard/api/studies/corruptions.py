"""Common corruptions."""

from __future__ import annotations

from pathlib import Path

from tritguard.api.studies.outcome import carry_out_on_device
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Bench
from tritguard.emit import Bundle
from tritguard.evaluate.corruptions.result import CorruptionsPlan, CorruptionsResult
from tritguard.evaluate.corruptions.study import CORRUPTIONS, study_corruptions
from tritguard.progress import Stages, silent


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
    return carry_out_on_device(
        CORRUPTIONS,
        study_corruptions,
        plan or CorruptionsPlan(),
        bundle,
        firmware,
        data,
        Path(out),
        port=port,
        bench=bench,
        replace=replace,
        stages=stages,
    )
