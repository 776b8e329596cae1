"""Attacks on sound."""

from __future__ import annotations

from pathlib import Path

from tritguard.api.studies.outcome import carry_out_on_device
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Bench
from tritguard.emit import Bundle
from tritguard.evaluate.sound.result import SoundPlan, SoundResult
from tritguard.evaluate.sound.study import SOUND, study_sound
from tritguard.progress import Stages, silent


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
    return carry_out_on_device(
        SOUND,
        study_sound,
        plan or SoundPlan(),
        bundle,
        firmware,
        data,
        Path(out),
        port=port,
        bench=bench,
        replace=replace,
        stages=stages,
    )
