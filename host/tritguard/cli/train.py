"""tritguard train: trains a ternary Keras model on a data set, or proposes one that fits a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from tritguard import api
from tritguard.cli.data import read_dataset
from tritguard.cli.progress import bar, start_tensorflow
from tritguard.cli.terminal import console, say, tell
from tritguard.data import Dataset
from tritguard.errors import BadInputError
from tritguard.files import write_whole
from tritguard.fitting import Proposals, as_toml, parse_budget
from tritguard.records import from_table
from tritguard.train import TrainConfig, TrainRecord, read_train_config
from tritguard.train.config import PGD_SAMPLES

PROPOSAL = "fit-{number}.toml"
BOARD = "mps2-an386"


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
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
    net: Annotated[str | None, typer.Option(metavar="NAME", help="Overrides the file's.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", "-d", metavar="DATA", help="Name or path of the data; overrides the file's.")
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="FLASH,RAM",
            help="Train nothing: propose, in a minute, widths and depths of the net (residual or separable) that fit, "
            f"and write files of settings for this verb: OUT/{PROPOSAL.format(number=1)} and so on. A third part "
            "bounds an inference: 322K,64K,40M (cycles) or 322K,64K,40MMACs.",
        ),
    ] = None,
    board: Annotated[
        str | None,
        typer.Option("--board", "-b", help=f"--fit: the board, as 'tritguard build' takes it; by default {BOARD}."),
    ] = None,
) -> None:
    """Train a small ternary network, Fashion-MNIST by default."""
    if config and config_option and config != config_option:
        raise BadInputError(f"two files of settings, {config} and {config_option}", where="--config", fix="give one")
    path = config or config_option
    settings = read_train_config(path) if path else TrainConfig()
    given = {"seed": seed, "epochs": epochs, "samples": samples, "net": net, "data": data}
    overridden = {key: value for key, value in given.items() if value is not None}
    settings = from_table(TrainConfig, {**settings.model_dump(), **overridden}, where="options")
    if board is not None and fit is None:
        raise BadInputError("belongs to --fit", where="--board")
    out.mkdir(parents=True, exist_ok=True)  # now, not after minutes of work
    if fit is not None:
        propose(fit, settings, board or BOARD, out)
        return
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


def propose(text: str, settings: TrainConfig, board: str, out: Path) -> None:
    """Propose nets that fit a budget, print them and write their settings."""
    budget, dataset = parse_budget(text), read_dataset(settings.data)
    start_tensorflow()
    with bar("Searching") as progress:
        found = api.fit(settings, dataset, budget, board, progress)
    tell(found)
    console.print(_table(found))
    for number, proposal in enumerate(found.proposals, start=1):
        takes = f"{proposal.flash:,} B of flash, {proposal.ram:,} B of RAM, {proposal.cycles:,} cycles, estimated"
        comments = (f"Proposed by tritguard train --fit {text} --board {found.board}:", f"{takes}.")
        write_whole(out / PROPOSAL.format(number=number), as_toml(proposal.config, *comments))
    last = out / PROPOSAL.format(number=len(found.proposals))
    say(f"nothing is trained yet: tritguard train {last} -o {out / 'train'}")


def _table(found: Proposals) -> Table:
    """A row for each proposal, the fastest first."""
    budget = found.budget
    table = Table(
        title=f"{found.proposals[0].config.net} on {found.board}: flash to {budget.flash:,} B, RAM to {budget.ram:,} B",
        caption="Flash: the whole firmware. RAM: static memory and stack. All are estimates, made before training; "
        "they say nothing about accuracy.",
        title_justify="left",
        caption_justify="left",
        box=None,
    )
    for heading in ("", "widths /stride, depth", "weights", "M MACs", "flash, B", "RAM, B", "M cycles", "ms"):
        table.add_column(heading, justify="left" if heading.startswith("widths") else "right")
    for number, proposal in enumerate(found.proposals, start=1):
        table.add_row(
            str(number),
            proposal.words,
            f"{proposal.weights:,}",
            f"{proposal.macs / 1e6:.1f}",
            f"{proposal.flash:,}",
            f"{proposal.ram:,}",
            f"{proposal.cycles / 1e6:.1f}",
            f"{1000 * proposal.cycles / found.hz:,.0f}",
        )
    return table
