"""The engine's figures beside their goals: scripts/bench kernels [--only resnet8].

Exit status 1 where a figure misses its goal or, if it has one, its limit. Instructions are exact; cycles are estimates
of a static model; a row's model runs on the emulated board named behind it, and its bytes have to be the oracle's.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.cmsis import cmsis_nn, count_cmsis
from tests.bench.footprint import flash_bytes, ram_bytes
from tests.bench.models import KINDS, MODELS
from tests.support.device_support import inputs
from tritguard.boards import Board, load_board
from tritguard.build import Build, build
from tritguard.cli.progress import bar
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.bundle import Layer
from tritguard.errors import OverBudgetError
from tritguard.oracle import predict_apart
from tritguard.predictor import Int8
from tritguard.profile import ModelCount, count
from tritguard.records import Record, from_table, read_toml
from tritguard.twin import measure_speed

GOALS = Path(__file__).with_suffix(".toml")
TWIN = "twin"
ANCHOR_BOARD = "mps2-an386"
_M = 1e6
_KB = 1e3


class Figure(Record):
    """One figure and what it has to be; `case` is MODEL/BOARD."""

    case: str
    measure: Literal[
        "M instructions",
        "M cycles, estimated",
        "kB flash",
        "kB RAM",
        "x interpreter",
        "instructions a MAC",
        "instructions an output",
    ]
    tflm: float | None = None
    goal: float | None = None
    limit: float | None = None
    why: str = ""

    @property
    def more_is_better(self) -> bool:
        return self.measure == "x interpreter"

    def verdict(self, measured: float) -> Literal["goal", "limit", "MISSED", ""]:
        """Which of the two the figure reaches."""
        if self.goal is None:
            return ""
        if self._reaches(measured, self.goal):
            return "goal"
        return "limit" if self.limit is not None and self._reaches(measured, self.limit) else "MISSED"

    def _reaches(self, measured: float, wanted: float) -> bool:
        return measured >= wanted if self.more_is_better else measured <= wanted


def read_figures(path: Path = GOALS) -> list[Figure]:
    """The figures that the table has a row for."""
    return [from_table(Figure, table, where=str(path)) for table in read_toml(path)["figure"]]


class Case:
    """One model on one board, or as the twin; each step is done once."""

    def __init__(self, name: str, folder: Path) -> None:
        model, _, place = name.partition("/")
        self.folder = folder / name.replace("/", "-")
        self.folder.mkdir()
        self.board: Board = load_board(ANCHOR_BOARD if place == TWIN else place)
        content = MODELS[model]()
        self.bundle: Bundle = write_bundle(content, self.folder / "bundle", name=model, core=self.board.core_class)
        rng = np.random.default_rng(0)
        self.x: Int8 = rng.integers(-128, 128, (1, *self.bundle.manifest.input.shape), dtype=np.int8)

    @cached_property
    def built(self) -> Build:
        return build(self.bundle, self.board, self.folder / "build")

    @cached_property
    def counted(self) -> ModelCount:
        counted = count(self.bundle, self.built, self.x)
        wanted = predict_apart(self.bundle.model_path.read_bytes(), self.x)
        assert (counted.outputs.scores == wanted).all(), f"{self.folder.name} differs from the oracle"
        return counted

    def measure(self, what: str) -> float:
        """The figure in its measure's unit."""
        return _MEASURES[what](self)


def _cycles(case: Case) -> float:
    cycles = case.counted.cycles
    assert cycles is not None, f"no cycle model for {case.board.core}"
    return cycles / _M


def _speed_up(case: Case) -> float:
    return measure_speed(case.bundle, inputs(case.bundle, 16)).ratio


def _of_the_first_layer(case: Case, count: Callable[[Layer], int]) -> float:
    """Instructions of the layer that a net of one kind is made for."""
    first = case.bundle.manifest.layers[0]
    (counted,) = (layer for layer in case.counted.layers if layer.layer == first.index)
    return counted.instructions / count(first)


_MEASURES: dict[str, Callable[[Case], float]] = {
    "M instructions": lambda case: case.counted.instructions / _M,
    "M cycles, estimated": _cycles,
    "kB flash": lambda case: flash_bytes(case.bundle, case.board, case.folder / "flash") / _KB,
    "kB RAM": lambda case: ram_bytes(case.bundle, case.built, case.x) / _KB,
    "x interpreter": _speed_up,
    "instructions a MAC": lambda case: _of_the_first_layer(case, lambda layer: layer.macs),
    "instructions an output": lambda case: _of_the_first_layer(case, lambda layer: math.prod(layer.output_shape)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", default="", help="figures whose case starts with this, for example resnet8 or kws-ternary/"
    )
    parser.add_argument("--no-anchor", action="store_true", help="without CMSIS-NN on the same layers")
    options = parser.parse_args()
    figures = [figure for figure in read_figures() if figure.case.startswith(options.only)]
    if not figures:
        parser.error(f"no figure of {options.only}")
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width of its own
    with tempfile.TemporaryDirectory(prefix="tritguard-bench-") as folder:
        cases: dict[str, Case] = {}
        measured = []
        with bar("Measuring") as report:
            for done, figure in enumerate(figures, start=1):
                if figure.case not in cases:
                    cases[figure.case] = Case(figure.case, Path(folder))
                measured.append(cases[figure.case].measure(figure.measure))
                report(done, len(figures))
        console.print(_table(figures, measured))
        if not options.no_anchor:
            nets = [name for name in cases if name.partition("/")[0] not in KINDS and "ternary" not in name]
            names = [name for name in nets if not name.endswith(f"/{TWIN}")]
            _print_anchor(console, names, cases)
    missed = [figure for figure, value in zip(figures, measured, strict=True) if figure.verdict(value) == "MISSED"]
    if missed:
        console.print(f"{len(missed)} of {len(figures)} figures miss their goal and have no limit that holds")
    return 1 if missed else 0


def _table(figures: Iterable[Figure], measured: Iterable[float]) -> Table:
    table = Table(title="Figures", title_justify="left", box=None)
    for name in ("model/board", "measure", "TFLM+CMSIS-NN", "goal", "limit", "measured", ""):
        table.add_column(name, justify="left" if name in ("model/board", "measure", "") else "right")
    for figure, value in zip(figures, measured, strict=True):
        verdict = figure.verdict(value)
        style = {"goal": "green", "limit": "yellow", "MISSED": "red"}.get(verdict, "")
        numbers = (_number(figure.tflm), _number(figure.goal), _number(figure.limit), _number(value))
        table.add_row(figure.case, figure.measure, *numbers, verdict, style=style)
    return table


def _print_anchor(console: Console, names: list[str], cases: dict[str, Case]) -> None:
    """CMSIS-NN on the layers it has kernels for, on every core, beside ours on the same: M instructions and cycles."""
    if cmsis_nn() is None:
        console.print("no anchor: CMSIS-NN's sources come with bakenn (pip install 'tritguard[bench]')")
        return
    table = Table(title="The same layers by CMSIS-NN 4.0", title_justify="left", box=None)
    for name in ("model/board", "layers", "CMSIS-NN M instructions", "M cycles", "int8 M instructions", "ternary"):
        table.add_column(name, justify="left" if name == "model/board" else "right")
    with bar("CMSIS-NN") as report:
        for done, name in enumerate(names, start=1):
            case = cases[name]
            try:
                anchor = count_cmsis(case.bundle, case.board, case.folder)
            except OverBudgetError:  # it keeps the inputs and outputs of all layers at once
                table.add_row(name, "", "too large for the board")
                continue
            layers = {layer.layer for layer in anchor.layers} - {None}
            theirs = [layer for layer in anchor.layers if layer.layer in layers]
            cycles = sum(layer.cycles or 0 for layer in theirs)
            twin = cases.get(name.replace("/", "-ternary/"))
            table.add_row(
                name,
                str(len(layers)),
                _number(sum(layer.instructions for layer in theirs) / _M),
                _number(cycles / _M if cycles else None),
                _number(_of_layers(case.counted, layers)),
                _number(_of_layers(twin.counted, layers)) if twin else "",
            )
            report(done, len(names))
    console.print(table)


def _of_layers(counted: ModelCount, layers: Iterable[int | None]) -> float:
    wanted = set(layers)
    return sum(layer.instructions for layer in counted.layers if layer.layer in wanted) / _M


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
