"""tritguard run: goes the whole road, from a configuration file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from typing_extensions import override

from tritguard.api.road import Watcher, read_run_config, run
from tritguard.api.start import CONFIG
from tritguard.build import Build
from tritguard.cli.build import outline
from tritguard.cli.convert import describe, note
from tritguard.cli.gates import AnnotationsOption, FailOnOption, FailUnderOption, JunitOption, leave_by_gates
from tritguard.cli.progress import Stage, stages
from tritguard.cli.study import show
from tritguard.cli.terminal import console, tell
from tritguard.cli.train import describe as describe_training
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.study import Study
from tritguard.train import TrainRecord


def command(
    config: Annotated[Path, typer.Argument(help="A TOML file, as 'tritguard init' writes one.")] = Path(CONFIG),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of everything the run makes.")] = Path("run"),
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", help="Another board than the file's: an id, a .toml, pio:PLATFORM/BOARD."),
    ] = None,
    port: Annotated[
        str | None, typer.Option("--port", "-p", help="Serial port of a real board, or 'auto'; the run flashes it.")
    ] = None,
    fail_under: FailUnderOption = None,
    fail_on: FailOnOption = None,
    junit: JunitOption = None,
    annotate: AnnotationsOption = False,
) -> None:
    """Train or take a model, convert, build, attack on the board, report."""
    if not config.exists() and config == Path(CONFIG):
        raise BadInputError(f"no {CONFIG} here", fix="write one with 'tritguard init', or name another file")
    given = {name: value for name, value in (("board", board), ("port", port)) if value is not None}
    settings = read_run_config(config).model_copy(update=given)
    with _Shown() as shown:
        results = run(settings, out, shown, text=config.read_text())
    tell({study.kind: study for study in results})
    leave_by_gates(results, fail_under, fail_on, junit, annotate)


class _Shown(Watcher):
    """Prints a rule before each step, its progress bars, and a few lines about its outcome."""

    def __init__(self) -> None:
        self._bars = ExitStack()
        self._named = self._bars.enter_context(stages())
        self._last: Stage | None = None

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.close()

    def _settle(self) -> None:
        """End the bars, so that lines follow below them; the next stage has new ones."""
        self._bars.close()
        self._named = self._bars.enter_context(stages())

    @override
    def begins(self, step: str) -> None:
        self._settle()
        console.rule(step)

    @override
    def stage(self, name: str) -> Stage:
        self._last = self._named(name)
        return self._last

    @override
    def note(self, line: str) -> None:
        note(line)

    @override
    def loss(self, mean: float) -> None:
        if self._last is not None:
            self._last.note(f"loss {mean:.3f}")

    @override
    def trained(self, record: TrainRecord, folder: Path, *, before: bool) -> None:
        self._settle()
        if before:
            console.print(f"trained before, with the same settings: remove {folder} to train anew", soft_wrap=True)
        describe_training(record, folder)

    @override
    def converted(self, bundle: Bundle) -> None:
        self._settle()
        describe(bundle)

    @override
    def built(self, build: Build) -> None:
        self._settle()
        outline(build)

    @override
    def studied(self, study: Study, path: Path) -> None:
        self._settle()
        show(study, path, alone=False)
