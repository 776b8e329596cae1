"""tritguard data: fetches or makes a data set and says what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tritguard.api import load_data
from tritguard.cli.progress import bar
from tritguard.cli.terminal import console, say, tell
from tritguard.data import Dataset, write_dataset


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="fashion-mnist, cifar-10 or speech-commands, which are downloaded once; or an .npz, an official "
            "archive of the latter two, or a folder of sound files."
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write it as an .npz.")] = None,
) -> None:
    """Fetch a data set, or make one of your own sound files, and say what it holds."""
    dataset = read_dataset(source)
    tell(summary(dataset))
    describe(dataset)
    if out is not None:
        with console.status("Writing"):
            write_dataset(out, dataset)
        console.print(f"{out}: written", soft_wrap=True)


def read_dataset(name: str) -> Dataset:
    """Load a data set with a progress bar; see `api.load_data` for what it raises."""
    with bar("Reading data") as progress:
        return load_data(name, progress)


def summary(dataset: Dataset) -> dict[str, object]:
    """What a data set holds, as JSON has it."""
    return {
        "name": dataset.name,
        "sha256": dataset.sha256,
        "train": 0 if dataset.x_train is None else len(dataset.x_train),
        "test": len(dataset.x_test),
        "shape": dataset.x_test.shape[1:],
        "dtype": str(dataset.x_test.dtype),
        "input_unit": dataset.input_unit,
        "licence": dataset.licence,
        "classes": dataset.classes,
        "test_per_class": np.bincount(dataset.y_test, minlength=len(dataset.classes)).tolist(),
    }


def describe(dataset: Dataset) -> None:
    """Print what a data set holds, in a few lines."""
    train = 0 if dataset.x_train is None else len(dataset.x_train)
    shape = "x".join(map(str, dataset.x_test.shape[1:]))
    per_class = np.bincount(dataset.y_test, minlength=len(dataset.classes))
    for line in (
        f"{dataset.name}: {train:,} samples to train on, {len(dataset.x_test):,} to test with, "
        f"{shape} {dataset.x_test.dtype}, unit {dataset.input_unit}, licence: {dataset.licence}",
        "test samples of each class: "
        + ", ".join(f"{name} {count}" for name, count in zip(dataset.classes, per_class, strict=True)),
    ):
        say(line)
