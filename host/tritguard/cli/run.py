"""tritguard run: the whole road, from a configuration file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Self

import typer
from pydantic import model_validator

from tritguard import api
from tritguard.api.machine import require
from tritguard.api.models import earlier_training
from tritguard.api.robustness import REPORT, clear_results
from tritguard.boards import load_board
from tritguard.build import Budget
from tritguard.cli.attack import show
from tritguard.cli.convert import describe, note
from tritguard.cli.data import read_dataset
from tritguard.cli.faults import RESULT as FAULTS
from tritguard.cli.privacy import RESULT as PRIVACY
from tritguard.cli.progress import console, stages
from tritguard.cli.study import content, leave, study
from tritguard.cli.train import describe as describe_training
from tritguard.cli.train import train
from tritguard.cli.transfer import RESULT as TRANSFER
from tritguard.data import Dataset
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.faults.result import FaultPlan
from tritguard.evaluate.faults.study import study_faults
from tritguard.evaluate.privacy.result import PrivacyPlan
from tritguard.evaluate.privacy.study import open_training, study_privacy
from tritguard.evaluate.robustness.assemble import Subject
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.study import Study
from tritguard.evaluate.transfer.result import TransferPlan
from tritguard.evaluate.transfer.study import study_transfer
from tritguard.files import write_whole
from tritguard.records import Record, from_table, read_toml
from tritguard.report import html
from tritguard.report.study import Page
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.config import MODEL


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
        float_model: the float model that a model was made of, for `transfer`; where one is trained, it is known.
        faults: bit flips in flash; without the table they are not studied.
        transfer: how attacks carry over, to the float model and to the control trained along; likewise.
        privacy: membership inference on what was trained; likewise.
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
    faults: FaultPlan | None = None
    transfer: TransferPlan | None = None
    privacy: PrivacyPlan | None = None

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
        if self.train is None and self.privacy is not None:
            raise ValueError("[privacy] needs a [train] table: who was a member has to be known")
        if self.train is None and self.transfer is not None and self.float_model is None:
            raise ValueError("[transfer] needs a float_model where no model is trained")
        return self


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
    control = None if settings.control is None else Path(settings.control)
    if control is None and settings.train is not None:
        console.rule("train the undefended control")
        control = out / "control" / "train"
        describe_training(_trained(settings.train.undefended, learned, control), control)
    console.rule("attack")
    with stages() as named:
        result = api.attack(bundle, built, dataset, out, plan=settings.attack, control=control, stages=named)
    show(result, out)
    studies: list[tuple[Study, Page]] = []
    for one in _studies(settings, out, Subject(bundle, built), dataset, learned):
        studies.append((one, content(one)))
        write_whole(out / REPORT, html.render(result, studies))
    leave(result, *(one for one, _ in studies))


def _studies(settings: RunConfig, out: Path, subject: Subject, dataset: Dataset, learned: Dataset) -> Iterator[Study]:
    """What the verbs of these names do, on what this run has made."""
    trained, bundle = settings.train, subject.bundle
    if (faults := settings.faults) is not None:
        console.rule("faults")
        yield study(lambda progress: study_faults([(bundle, subject.build)], dataset, faults, progress), out / FAULTS)
    if (transfer := settings.transfer) is not None:
        console.rule("transfer")
        bundles, floats = [bundle], [(bundle.manifest.name, Path(settings.float_model or out / "train" / MODEL))]
        if trained is not None and settings.control is None:
            bundles.append(open_bundle(out / "control" / "bundle"))
            floats.append((bundles[1].manifest.name, out / "control" / "train" / MODEL))
        yield study(lambda progress: study_transfer(bundles, floats, dataset, transfer, progress), out / TRANSFER)
    if (privacy := settings.privacy) is not None and trained is not None:
        console.rule("privacy")
        training = open_training(out / "train", lambda _: learned, settings.name)
        board = load_board(settings.board)
        yield study(
            lambda progress: study_privacy([training], board, privacy, out / "privacy", progress), out / PRIVACY
        )


def _trained(config: TrainConfig, dataset: Dataset, folder: Path) -> TrainRecord:
    """Train, unless the same training on the same data has left its model here already."""
    earlier = earlier_training(config, dataset, folder)
    if earlier is None:
        return train(config, dataset, folder)
    console.print(f"trained before, with the same settings: remove {folder} to train anew", soft_wrap=True)
    return earlier
