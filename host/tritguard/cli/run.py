"""tritguard run: the whole road, from a configuration file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

import typer
from pydantic import model_validator

from tritguard import __version__
from tritguard.boards import load_board
from tritguard.build import Budget, build
from tritguard.cli.attack import attack, clear_results, finish
from tritguard.cli.convert import convert, describe
from tritguard.cli.machine import require
from tritguard.cli.progress import bar, console
from tritguard.cli.train import describe as describe_training
from tritguard.cli.train import train
from tritguard.data import load_dataset
from tritguard.errors import BadInputError
from tritguard.evaluate.plan import Plan
from tritguard.records import Record, from_json, from_table, read_toml
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import MODEL, RECORD


class RunConfig(Record):
    """A run's configuration.

    Attributes:
        name: what reports call the model.
        board: a board's id or file.
        model: the model to take, where none is trained; relative paths start at the working directory.
        data: what it is attacked with; by default what it was trained on.
        control: an undefended model that the attacks have to break; where a model is trained, another one is trained
            without any defence.
        train: how to train a model, where none is taken.
        build: flash and RAM the firmware may take.
        attack: the evaluation.
    """

    name: str
    board: str = "mps2-an386"
    model: str | None = None
    data: str | None = None
    control: str | None = None
    train: TrainConfig | None = None
    build: Budget = Budget()
    attack: Plan = Plan()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.model is None) == (self.train is None):
            raise ValueError("give either a model or a [train] table")
        if self.train is None and self.data is None:
            raise ValueError("a model that is taken needs data")
        return self


def command(
    config: Annotated[Path, typer.Argument(help="A TOML file; docs/demo.toml is one.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of everything the run makes.")],
) -> None:
    """Train or take a model, convert, build, attack on the board, report."""
    settings = from_table(RunConfig, read_toml(config), where=str(config))
    board = load_board(settings.board)
    data = settings.data or (settings.train.data if settings.train else "")
    for what, path in (("model", settings.model), ("control", settings.control)):
        if path is not None and not Path(path).exists():
            raise BadInputError(f"no such {what}", where=path, fix="paths start at the working directory")
    clear_results(out)
    with console.status("Looking for compilers and packages"):
        require(board)
    with bar("Reading data") as report:
        dataset = load_dataset(data, report)
    if settings.train is not None:
        console.rule("train")
        source = out / "train"
        describe_training(_trained(settings.train, source), source)
    else:
        source = Path(settings.model or "")
    console.rule("convert")
    with console.status("Converting"):
        bundle = convert(
            source, out / "bundle", core=board.core_class, classes=dataset.classes, name=settings.name, judge=dataset
        )
    describe(bundle)
    console.rule("build")
    with console.status(f"Building for {board.name}"):
        built = build(bundle, board, out / "build", budget=settings.build)
    sizes = built.record.sizes
    console.print(
        f"{built.elf}: {sizes.flash_total:,} B flash, {sizes.ram_static:,} B static RAM",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    control = None if settings.control is None else Path(settings.control)
    if control is None and settings.train is not None:
        console.rule("train the undefended control")
        control = out / "control" / "train"
        describe_training(_trained(settings.train.undefended, control), control)
    console.rule("attack")
    finish(attack(bundle.path, built.path, data, settings.attack, out, control=control), out)


def _trained(config: TrainConfig, folder: Path) -> TrainRecord:
    """Train, unless the same training has left its model here already."""
    record = folder / RECORD
    if record.is_file():
        earlier = from_json(TrainRecord, record, fix="remove the folder to train anew")
        from tritguard.train.start import start_digest  # noqa: PLC0415 - h5py comes with TensorFlow

        same = earlier.config == config and earlier.start_sha256 == start_digest(config.start)
        if same and earlier.versions["tritguard"] == __version__ and (folder / MODEL).is_file():
            console.print(f"trained before, with the same settings: remove {folder} to train anew", soft_wrap=True)
            return earlier
    return train(config, folder)
