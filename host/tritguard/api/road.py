"""The whole road, from one configuration."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import create_model, model_validator

from tritguard.api.firmware import build
from tritguard.api.flashing import check_attached, check_flashable, flash
from tritguard.api.journal import Journal
from tritguard.api.keeping import FIX, attacks_by, board_shown, differing, earlier_result, refuse, runs_on
from tritguard.api.machine import require
from tritguard.api.models import convert, convert_control, earlier_training, load_data, train
from tritguard.api.studies.outcome import carry_out_watched, older_set_aside
from tritguard.boards import Board, load_board
from tritguard.build import Budget, Build
from tritguard.data import Dataset
from tritguard.device import Bench
from tritguard.device.bench import without_bench
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import RunContext, RunSources, StudyKind
from tritguard.evaluate.registry import STUDIES, kind_of, leading
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.progress import Progress, in_one_piece, silent
from tritguard.records import Record, from_toml
from tritguard.report.registry import to_html
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import MODEL

T = TypeVar("T")


class RunSettings(Record):
    """A run's configuration without the tables of the studies; see `RunConfig`.

    Attributes:
        name: what reports call the model.
        board: a board's id or file, or `pio:PLATFORM/BOARD`.
        port: the serial port of a real board, or `auto`; the run flashes it. Without one the board is emulated.
        bench: the user's commands that lease the board at the port, flash it and switch its power.
        model: the model to take, where none is trained; relative paths start at the working directory.
        data: what the model is attacked with; by default what it was trained on.
        control: an undefended model that the attacks have to break; where a model is trained, another one is trained
            without any defence.
        train: how to train a model, where none is taken.
        build: the flash and RAM that the firmware may take.
        attack: the robustness evaluation.
        float_model: the float model that the model was made from, for studies that need it; where a model is trained,
            it is known.
    """

    name: str
    board: str = "mps2-an386"
    port: str | None = None
    bench: Bench | None = None
    model: str | None = None
    data: str | None = None
    control: str | None = None
    train: TrainConfig | None = None
    build: Budget = Budget()
    attack: Plan = Plan()
    float_model: str | None = None

    @property
    def studies(self) -> list[tuple[StudyKind[Any, Any], Record]]:
        """The studies to carry out, with their settings, in order."""
        plans = [(kind, getattr(self, kind.table, None)) for kind in STUDIES]
        return [(kind, plan) for kind, plan in plans if plan is not None]

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.train is None):
            raise ValueError("give either a model or a [train] table")
        if self.train is None and self.data is None:
            raise ValueError("a model that is taken needs data")
        return self

    @model_validator(mode="after")
    def _studies_have_their_models(self) -> Self:
        if self.train is not None and self.float_model is not None:
            raise ValueError("float_model is for a model that is taken; the float model of a training is known")
        trained = self.train is not None
        sources = RunSources(trained, float_model=trained or self.float_model is not None)
        for kind, _ in self.studies:
            if (missing := kind.missing(sources)) is not None:
                raise ValueError(f"[{kind.table}] needs {missing}")
        return self


_TABLES: dict[str, Any] = {
    kind.table: (kind.plan | None, None) for kind in STUDIES if kind.table not in RunSettings.model_fields
}
_ABOUT = """A run's configuration: `RunSettings`, and a table for the plan of each further study.

A study is not carried out where its table is missing.
"""
RunConfig = create_model("RunConfig", __base__=RunSettings, __doc__=_ABOUT, **_TABLES)


def read_run_config(path: str | Path) -> RunSettings:
    """Read a run's configuration from a TOML file.

    Raises:
        BadInputError: the file cannot be read, or a key in it is unknown or out of range.
    """
    return from_toml(RunConfig, Path(path))


class Watcher:
    """Follows a run; this one ignores what it is told.

    A step begins, may show stages with their progress, and ends with one of the methods that are given its outcome.
    """

    def begins(self, step: str) -> None:
        """Take note that a step with this name begins."""

    def stage(self, name: str) -> Progress:
        """Give the callback for the progress of a stage of the step."""
        return silent(name)

    def note(self, line: str) -> None:
        """Take note of what a reader of the model's conversion should know."""

    def loss(self, mean: float) -> None:
        """Take note of the mean loss of a training's current epoch so far."""

    def trained(self, record: TrainRecord, folder: Path, *, before: bool) -> None:
        """Take note of a training; `before` says whether an earlier run left it in the folder."""

    def converted(self, bundle: Bundle) -> None:
        """Take note of the bundle."""

    def built(self, build: Build) -> None:
        """Take note of the firmware."""

    def studied(self, study: Study, path: Path) -> None:
        """Take note of a study, whose result was written to this path."""


def run(
    config: RunSettings, out: str | Path, watcher: Watcher | None = None, *, text: str = "", replace: bool = False
) -> list[Study]:
    """Train or take a model, convert it, build its firmware, attack it on its board, and carry out further studies.

    A training that an earlier run finished in the same folder with the same settings and data is taken over, and so is
    what its attacks have found.

    Args:
        config: what to do; see `read_run_config`.
        out: the folder of everything the run makes.
        watcher: follows the run.
        text: the TOML text that the configuration was read from, which the results keep and the report shows, without
            the table `[bench]`.
        replace: put the results in the place of those of another configuration or board.

    Returns:
        The results, that of the attack first. Each lies in `out`, and `report.html` there shows all.

    Raises:
        BadInputError: the folder holds the result of another configuration or board, or one that cannot be read.
        DeviceError: the board is to be looked for and no serial port is there; see `check_attached`.
        TritguardError: what a step raises; an older result is then kept as `earlier-result.json`.
    """
    board = load_board(config.board)
    if config.port is None and board.emulator is None:
        raise BadInputError("this board has no emulator", where=board.id, fix="name its port, or --port auto")
    for what, path in (("model", config.model), ("float model", config.float_model), ("control", config.control)):
        if path is not None and not Path(path).exists():
            raise BadInputError(f"no such {what}", where=path, fix="paths start at the working directory")
    folder = Path(out)
    if not replace:
        _keep_other_run(config, board, folder, without_bench(text))
    check_flashable(board, config.port, config.bench)
    if config.bench is not None and config.port is None:
        raise BadInputError(
            "a bench is for real boards", where=board.id, fix="name the board's port, or leave [bench] out"
        )
    config.attack.check_installed()
    watch = watcher or Watcher()
    check_attached(board, config.port, config.bench, watch.note)
    shown = board_shown(board.name, config.port)
    with Journal(folder, "run", config.name, shown) as journal, older_set_aside(leading(), folder):
        return _go(config, board, folder, _Followed(watch, journal), text)


class _Followed:
    """A watcher, and the journal that hears of the same steps and stages."""

    def __init__(self, watch: Watcher, journal: Journal) -> None:
        self.watch = watch
        self.stage = journal.watching(watch.stage)
        self._journal = journal

    def begins(self, step: str) -> None:
        self.watch.begins(step)
        self._journal.begins(step)


def _go(config: RunSettings, board: Board, folder: Path, road: _Followed, text: str) -> list[Study]:
    watch = road.watch
    tensorflow = _needs_tensorflow(config)
    _shown(road, "Looking for compilers and packages", partial(require, board, tensorflow=tensorflow))
    reading = road.stage("Reading data")
    data, learned = _data(config, reading)
    float_model = None if config.float_model is None else Path(config.float_model)
    source = Path(config.model or folder / "train")
    if tensorflow:
        _shown(road, "Starting TensorFlow", lambda: import_module("tritguard.train.backend"))
    for line in config.attack.says_left_out():
        watch.note(line)
    if config.train is not None:
        _train(config.train, learned, source, "train", road)
        float_model = source / MODEL
    road.begins("convert")
    converting = partial(convert, source, folder / "bundle", core=board.core, classes=data.classes, name=config.name)
    bundle = _shown(road, "Converting", partial(converting, data=data, note=watch.note))
    bundle.manifest.check_narrow()  # before anything is built for the attacks
    watch.converted(bundle)
    road.begins("build")
    building = partial(build, bundle, folder / "build", board=board, budget=config.build)
    firmware = _shown(road, f"Building for {board.name}", building)
    watch.built(firmware)
    port = config.port
    if port is not None:
        road.begins("flash")
        flashing = partial(flash, firmware, port=port, bench=config.bench, note=watch.note)
        found = _shown(road, f"Flashing {board.name}", flashing)
        port = port if found is None else found[0]
    control, control_float = None if config.control is None else Path(config.control), None
    if control is None and config.train is not None:
        control = folder / "control" / "train"
        control_float = control / MODEL
        _train(config.train.undefended, learned, control, "train the undefended control", road)
    undefended = None
    if control is not None:
        undefended = _shown(road, "Converting the control", partial(convert_control, control, folder, board.core))
    context = RunContext(
        name=config.name,
        board=board,
        bundle=bundle,
        build=firmware,
        dataset=data,
        out=folder,
        float_model=float_model,
        training=None if config.train is None else source,
        trained_on=learned,
        control=undefended,
        control_float=control_float,
        port=port,
        bench=config.bench,
    )
    return _studies(config, context, road, without_bench(text))


def _keep_other_run(config: RunSettings, board: Board, folder: Path, text: str) -> None:
    """Refuse to put results in the place of those of another configuration or of another board.

    Args:
        config: the configuration, whose board and port may be others than the text's.
        board: its board.
        folder: the folder of the run.
        text: the configuration's TOML text without `[bench]`. Where there is none, what is known before the data is
            read has to agree: the name and the plan of the attacks.
    """
    path = folder / leading().file
    if (other := earlier_result(path)) is None:
        return
    stated = other.provenance.configuration
    if text and not stated:
        raise BadInputError("is no run's result", where=str(path), fix=FIX)
    if text and (odd := _other_keys(stated, text)):
        raise BadInputError(f"is the result of another configuration ({', '.join(odd)})", where=str(path), fix=FIX)
    wanted, different = runs_on(board.id, config.port), dict[str, tuple[object, object]]()
    if not text and isinstance(other, RobustnessResult):
        wanted |= attacks_by(config.attack, len(other.classes), None, live=False)
        if config.name and (name := other.provenance.model_name) != config.name:
            different["name"] = (name, config.name)
    refuse(different | differing(other, wanted), path)


def _other_keys(stated: str, text: str) -> list[str]:
    """List the top-level keys and tables in which two configurations differ, except those of further studies.

    A study that is added to a configuration has a result of its own, and replaces none.
    """
    further = {kind.table for kind in STUDIES if not kind.leads}
    try:
        there, here = tomllib.loads(stated), tomllib.loads(text)
    except (ValueError, RecursionError):  # what an older file states may be anything
        return ["all of it"]
    keys = sorted({*there, *here} - further)
    return [key for key in keys if there.get(key) != here.get(key)]


def _needs_tensorflow(config: RunSettings) -> bool:
    return Path(config.model or "").suffix != ".tflite" or any(kind.needs_tensorflow for kind, _ in config.studies)


def _data(config: RunSettings, progress: Progress) -> tuple[Dataset, Dataset]:
    """Load the data to attack with and the data to train on, once where they are the same."""
    trained_on = None if config.train is None else config.train.data
    data = load_data(config.data or trained_on or "", progress)
    if trained_on is None or trained_on == (config.data or trained_on):
        return data, data
    return data, load_data(trained_on, progress)


def _train(config: TrainConfig, data: Dataset, folder: Path, step: str, road: _Followed) -> None:
    road.begins(step)
    earlier = earlier_training(config, data, folder)
    record = earlier or train(config, data, folder, road.stage("Training"), show_loss=road.watch.loss)
    road.watch.trained(record, folder, before=earlier is not None)


def _studies(config: RunSettings, context: RunContext, road: _Followed, text: str) -> list[Study]:
    """Carry out the studies of a configuration; the report of the run grows with each."""
    done: list[Study] = []
    for kind, plan in config.studies:
        road.begins(kind.table)
        context = replace(context, earlier=tuple(done))
        done.append(carry_out_watched(kind, context.out, partial(kind.run, plan, context), road.stage, text))
        if (first := done[0]) is not done[-1]:
            write_whole(kind_of(first).report_beside(context.out / kind_of(first).file), to_html(first, done[1:]))
        road.watch.studied(done[-1], context.out / kind.file)
    return done


def _shown(road: _Followed, stage: str, work: Callable[[], T]) -> T:
    """Do a step's work as a stage of one piece."""
    return in_one_piece(road.stage(stage), work)
