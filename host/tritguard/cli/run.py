"""tritguard run: the whole road, from a configuration file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import typer
from pydantic import create_model, model_validator

from tritguard import api
from tritguard.api.machine import require
from tritguard.api.models import convert_control, earlier_training
from tritguard.api.robustness import REPORT, clear_results
from tritguard.boards import load_board
from tritguard.build import Budget
from tritguard.cli.convert import describe, note
from tritguard.cli.data import read_dataset
from tritguard.cli.progress import console
from tritguard.cli.study import leave, study
from tritguard.cli.train import describe as describe_training
from tritguard.cli.train import train
from tritguard.data import Dataset
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import RunContext, RunSources, StudyKind
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.study import Study
from tritguard.files import write_whole
from tritguard.records import Record, from_table, read_toml
from tritguard.report.registry import to_html
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import MODEL


class RunSettings(Record):
    """A run's configuration but for the tables of the studies; see `RunConfig`.

    Attributes:
        name: what reports call the model.
        board: a board's id or file.
        model: the model to take, where none is trained; relative paths start at the working directory.
        data: what it is attacked with; by default what it was trained on.
        control: an undefended model that the attacks have to break; where a model is trained, another one is trained
            without any defence.
        train: how to train a model, where none is taken.
        build: flash and RAM the firmware may take.
        attack: the robustness evaluation.
        float_model: the float model that a model was made of, for studies of it; where one is trained, it is known.
    """

    name: str
    board: str = "mps2-an386"
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
        plans = [(kind, getattr(self, kind.table)) for kind in STUDIES]
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
# With a table for the plan of each other study, which is not carried out where the table is missing.
RunConfig = create_model("RunConfig", __base__=RunSettings, **_TABLES)


def command(
    config: Annotated[Path, typer.Argument(help="A TOML file; docs/demo.toml is one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of everything the run makes.")],
) -> None:
    """Train or take a model, convert, build, attack on the board, report."""
    settings = from_table(RunConfig, read_toml(config), where=str(config))
    board = load_board(settings.board)
    data = settings.data or (settings.train.data if settings.train else "")
    for what, path in (
        ("model", settings.model),
        ("float model", settings.float_model),
        ("control", settings.control),
    ):
        if path is not None and not Path(path).exists():
            raise BadInputError(f"no such {what}", where=path, fix="paths start at the working directory")
    clear_results(out)
    with console.status("Looking for compilers and packages"):
        require(board)
    dataset = learned = read_dataset(data)
    if settings.train is not None:
        console.rule("train")
        source = out / "train"
        if settings.train.data != data:
            learned = read_dataset(settings.train.data)
        describe_training(_trained(settings.train, learned, source), source)
    else:
        source = Path(settings.model or "")
    console.rule("convert")
    with console.status("Converting"):
        bundle = api.convert(
            source, out / "bundle", core=board.core, classes=dataset.classes, name=settings.name, data=dataset,
            note=note,
        )  # fmt: skip
    describe(bundle)
    console.rule("build")
    with console.status(f"Building for {board.name}"):
        built = api.build(bundle, out / "build", board=board, budget=settings.build)
    sizes = built.record.sizes
    console.print(
        f"{built.elf}: {sizes.flash_total:,} B flash, {sizes.ram_static:,} B static RAM",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    control, control_float = None if settings.control is None else Path(settings.control), None
    if control is None and settings.train is not None:
        console.rule("train the undefended control")
        control = out / "control" / "train"
        control_float = control / MODEL
        describe_training(_trained(settings.train.undefended, learned, control), control)
    undefended = None
    if control is not None:
        with console.status("Converting the control"):
            undefended = convert_control(control, out, board.core)
    float_model = source / MODEL if settings.train is not None else settings.float_model
    context = RunContext(
        name=settings.name,
        board=board,
        bundle=bundle,
        build=built,
        dataset=dataset,
        out=out,
        float_model=None if float_model is None else Path(float_model),
        training=None if settings.train is None else source,
        trained_on=learned,
        control=undefended,
        control_float=control_float,
    )
    leave(*_studies(settings, context))


def _studies(settings: RunSettings, context: RunContext) -> list[Study]:
    """Carry out the studies of a configuration; the report of the run grows with each."""
    done: list[Study] = []
    for kind, plan in settings.studies:
        console.rule(kind.table)
        done.append(study(kind, context.out, partial(kind.run, plan, context)))
        write_whole(context.out / REPORT, to_html(done[0], done[1:]))
    return done


def _trained(config: TrainConfig, dataset: Dataset, folder: Path) -> TrainRecord:
    """Train, unless the same training on the same data has left its model here already."""
    earlier = earlier_training(config, dataset, folder)
    if earlier is None:
        return train(config, dataset, folder)
    console.print(f"trained before, with the same settings: remove {folder} to train anew", soft_wrap=True)
    return earlier
