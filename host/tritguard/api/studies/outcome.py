"""How a study is carried out, and what it leaves in its folder."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tritguard.api.journal import Journal
from tritguard.api.keeping import board_shown, keep_other_result, runs_on
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Bench, Device, open_device
from tritguard.emit import Bundle
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.progress import Stages
from tritguard.records import Record
from tritguard.report.registry import to_html

EARLIER = "earlier-"
"""What the name of an older result or report starts with while a new one is made, and after that has failed."""

P = TypeVar("P", bound=Record)
S = TypeVar("S", bound=Study)


def carry_out_on_device(  # noqa: PLR0913 - all that a study depends on
    kind: StudyKind[P, S],
    study: Callable[[Device, Dataset, P, Stages], S],
    plan: P,
    bundle: Bundle,
    firmware: Build,
    data: Dataset,
    out: Path,
    *,
    port: str | None,
    bench: Bench | None,
    replace: bool,
    stages: Stages,
) -> S:
    """Carry out a study that asks the device for all it finds, unless another result is in the way; see `carry_out`.

    Args:
        kind: the study.
        study: carries it out on the device of the build, which is opened for it.
        plan: its settings.
        bundle: the model.
        firmware: its build.
        data: its data.
        out: the folder of the result.
        port: the board's serial port, or `auto` to look for it; without it the emulated board is started.
        bench: commands that lease the board at the port and switch its power if it hangs.
        replace: put the result in the place of one of other data, another model, board or plan.
        stages: shows how far the work is.

    Raises:
        BadInputError: see `keep_other_result`.
        DeviceError, WrongFirmwareError: see `open_device`.
    """
    asked = plan.model_dump(mode="json") | runs_on(firmware.record.board.id, port)
    keep_other_result(kind, out, data, asked, [bundle], replace=replace)

    def studied(stages: Stages) -> S:
        with open_device(bundle, firmware, port, bench) as device:
            return study(device, data, plan, stages)

    return carry_out(kind, out, studied, stages, board=board_shown(firmware.record.board.name, port))


def carry_out(
    kind: StudyKind[Any, S],
    out: Path,
    run: Callable[[Stages], S],
    stages: Stages,
    configuration: str = "",
    *,
    board: str = "",
) -> S:
    """Carry a study out and write its result and report in the place of older ones; see `older_set_aside`.

    Args:
        kind: the study.
        out: the folder for both, made if it is missing.
        run: carries the study out; it is given `stages`.
        stages: shows how far the work is.
        configuration: the TOML text of the run that the study is part of, which its result keeps.
        board: the board it uses, as `board_shown` has it, which stays known if the study fails.
    """
    with Journal(out, kind.table, board=board) as journal:
        return carry_out_watched(kind, out, run, journal.watching(stages), configuration)


def carry_out_watched(
    kind: StudyKind[Any, S], out: Path, run: Callable[[Stages], S], stages: Stages, configuration: str = ""
) -> S:
    """Carry a study out where a journal is kept already; see `carry_out`."""
    with older_set_aside(kind, out):
        result = run(stages)
        provenance = result.provenance.model_copy(update={"configuration": configuration})
        result = result.model_copy(update={"provenance": provenance})
        path = out / kind.file
        write_whole(path, result.model_dump_json(indent=2) + "\n")
        write_whole(kind.report_beside(path), to_html(result))
    return result


@contextmanager
def older_set_aside(kind: StudyKind[Any, Any], out: Path) -> Iterator[None]:
    """Keep an older result and report of a study under other names until the block has written new ones.

    So that nobody takes an older result for that of a study which failed, a failure leaves it under the other name,
    `earlier-result.json` for `result.json`. When a study is interrupted or terminated, it gets its own name back. The
    folder is made now and not after minutes of work.
    """
    out.mkdir(parents=True, exist_ok=True)
    result = out / kind.file
    aside = {path: path.with_name(f"{EARLIER}{path.name}") for path in (result, kind.report_beside(result))}
    moved = [path for path in aside if path.exists()]
    if moved:  # what an earlier failure set aside is older than what is set aside now
        _remove(aside.values())
    for path in moved:
        path.replace(aside[path])
    try:
        yield
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C and SIGTERM
        if not result.exists():
            for path in moved:
                aside[path].replace(path)
        raise
    _remove(aside.values())


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
