"""The kind of a study: its settings, its result, and how a run carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from tritguard.boards import Board
from tritguard.build import Build
from tritguard.data import Dataset
from tritguard.device import Bench
from tritguard.emit import Bundle
from tritguard.evaluate.study import Study
from tritguard.progress import Stages
from tritguard.records import Record

P = TypeVar("P", bound=Record)
S = TypeVar("S", bound=Study)


@dataclass(frozen=True)
class RunContext:
    """What a run has made by the time its studies begin.

    Attributes:
        name: what reports call the model.
        dataset: the data that the model is attacked and measured with.
        out: the run's folder; a study keeps in it what a resumed run can use again.
        float_model: the Keras model that the bundle was made from, if it is known.
        training: the folder that a training of the model left, if this run trained it.
        trained_on: the data of that training.
        control: an undefended model of the same task.
        control_float: the Keras model that the control was made from, if this run trained it.
        port: the port of the board, which runs the build already; None for the emulated one.
        bench: what switches the board's power.
        earlier: the results of the studies that the run has carried out before this one.
    """

    name: str
    board: Board
    bundle: Bundle
    build: Build
    dataset: Dataset
    out: Path
    float_model: Path | None = None
    training: Path | None = None
    trained_on: Dataset | None = None
    control: Bundle | None = None
    control_float: Path | None = None
    port: str | None = None
    bench: Bench | None = None
    earlier: tuple[Study, ...] = ()


@dataclass(frozen=True)
class RunSources:
    """What a run's configuration promises before anything is made.

    Attributes:
        trained: whether the run trains the model.
        float_model: whether the float model will be known, because it is trained or named.
    """

    trained: bool
    float_model: bool


def needs_nothing(_sources: RunSources) -> str | None:
    """Ask no more of a configuration than a bundle and its build, which every run makes."""
    return None


def takes_any(_dataset: Dataset) -> None:
    """Ask nothing of a data set beyond what every study asks."""


@dataclass(frozen=True)
class StudyKind(Generic[P, S]):
    """One of the studies.

    Attributes:
        name: `Study.kind` of its results, and the module in `tritguard.report` that shows them.
        table: the table of a run's configuration that holds its settings.
        plan: its settings; each has a default.
        result: what it finds.
        run: carries it out on what a run has made.
        missing: what the study needs and a configuration does not provide, to complete "[table] needs ..."; None if
            nothing is missing.
        leads: whether its report is that of the whole run, `report.html`, and takes in the other studies of the model;
            its result is then `result.json`.
        needs_tensorflow: whether it cannot do without TensorFlow.
        takes: raises BadInputError where a data set does not suit the study, before anything else is done.
    """

    name: str
    table: str
    plan: type[P]
    result: type[S]
    run: Callable[[P, RunContext, Stages], S]
    missing: Callable[[RunSources], str | None] = needs_nothing
    leads: bool = False
    needs_tensorflow: bool = True
    takes: Callable[[Dataset], object] = takes_any

    @property
    def file(self) -> str:
        """The name of its result's file."""
        return "result.json" if self.leads else f"{self.name}.json"

    def report_beside(self, result: Path) -> Path:
        """Where the report of the result in this file is written."""
        return result.with_name("report.html") if self.leads else result.with_suffix(".html")
