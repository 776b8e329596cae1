"""tritguard train: trains a ternary Keras model on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard import api
from tritguard.cli.data import read_dataset
from tritguard.cli.progress import bar, start_tensorflow
from tritguard.cli.terminal import console, say, tell
from tritguard.data import Dataset
from tritguard.errors import BadInputError
from tritguard.records import from_table
from tritguard.train import TrainConfig, TrainRecord, read_train_config
from tritguard.train.config import PGD_SAMPLES


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the model, for 'tritguard convert'.")],
    config: Annotated[
        Path | None, typer.Argument(help="A TOML file with a \\[train] table; without one, the demo's settings.")
    ] = None,
    config_option: Annotated[
        Path | None, typer.Option("--config", "-c", metavar="CONFIG", help="The same, as other verbs take it.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Overrides the file's.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Overrides the file's.")] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="Training samples at most; overrides the file's.")] = None,
) -> None:
    """Train a small ternary network, Fashion-MNIST by default."""
    if config and config_option and config != config_option:
        raise BadInputError(f"two files of settings, {config} and {config_option}", where="--config", fix="give one")
    path = config or config_option
    settings = read_train_config(path) if path else TrainConfig()
    given = {"seed": seed, "epochs": epochs, "samples": samples}
    overridden = {key: value for key, value in given.items() if value is not None}
    settings = from_table(TrainConfig, {**settings.model_dump(), **overridden}, where="options")
    out.mkdir(parents=True, exist_ok=True)  # now, not after minutes of work
    record = train(settings, read_dataset(settings.data), out)
    tell(record)
    describe(record, out)


def train(config: TrainConfig, dataset: Dataset, out: Path) -> TrainRecord:
    """Train with a progress bar that tells the loss; see `api.train` for what it raises."""
    start_tensorflow()
    with bar("Training") as progress:
        return api.train(config, dataset, out, progress, show_loss=lambda loss: progress.note(f"loss {loss:.3f}"))


def describe(record: TrainRecord, out: Path) -> None:
    """Print what the training gave, in one line and one for each finding."""
    robust = list(record.evaluation.values())[-1].pgd
    right = f"{record.accuracy:.2%} of {record.test_samples:,} test samples right"
    right += f", {robust:.2%} of {min(PGD_SAMPLES, record.test_samples)} of them under quick PGD"
    dead = sum(record.dead_channels.values())
    console.print(
        f"{out}: {right}, {record.parameters:,} parameters, {dead} dead channels, {record.seconds:.0f} s",
        soft_wrap=True,
    )
    for finding in record.findings:
        say(f"  {finding}")
