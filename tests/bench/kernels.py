"""The engine's figures beside their goals: scripts/bench kernels [--only resnet8].

Exit status 1 where a figure misses its goal or, if it has one, its limit, or where a network takes more instructions
than CMSIS-NN's kernels for the same layers on the same core. Instructions are exact; cycles are estimates
of a static model; a row's model runs on the emulated board named behind it, and its bytes have to be the oracle's.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.cmsis import cmsis_nn, count_cmsis
from tests.bench.footprint import flash_bytes, ram_bytes
from tests.bench.models import MODELS
from tests.bench.xnnpack import has_litert, twin_against_xnnpack
from tests.support.device_support import inputs
from tritguard.boards import Board, load_board
from tritguard.build import Build, build
from tritguard.cli.progress import bar
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.bundle import Layer
from tritguard.oracle import predict_apart
from tritguard.predictor import Int8
from tritguard.profile import ModelCount, count
from tritguard.records import Record, from_table, read_toml
from tritguard.twin import measure_speed

GOALS = Path(__file__).with_suffix(".toml")
TWIN = "twin"
TWIN_BOARD = "mps2-an386"  # whose kernels the twin runs
_ANCHOR_BOARDS = ("mps2-an385-m0plus", "mps2-an385", "mps2-an386", "mps2-an500", "mps2-an505", "mps3-an547")
ANCHORED = tuple(f"{net}/{board}" for net in ("resnet8", "kws", "ad", "vww", "wake-word") for board in _ANCHOR_BOARDS)
"""What CMSIS-NN runs as well: each of MLPerf Tiny's networks on every core."""
LITERT = "x LiteRT with XNNPACK"
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
        "x LiteRT with XNNPACK",
        "instructions a MAC",
        "instructions an output",
    ]
    tflm: float | None = None
    goal: float | None = None
    limit: float | None = None
    why: str = ""

    @property
    def more_is_better(self) -> bool:
        return self.measure.startswith("x ")

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
        self.board: Board = load_board(TWIN_BOARD if place == TWIN else place)
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
    LITERT: lambda case: twin_against_xnnpack(case.bundle, inputs(case.bundle, 64)),
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
    if not has_litert() and any(figure.measure == LITERT for figure in figures):
        print("without LiteRT: pip install 'tritguard[bench]'", file=sys.stderr)
        figures = [figure for figure in figures if figure.measure != LITERT]
    anchored = [] if options.no_anchor else [name for name in ANCHORED if name.startswith(options.only)]
    if not figures and not anchored:
        parser.error(f"no figure of {options.only}")
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log has no width of its own
    with tempfile.TemporaryDirectory(prefix="tritguard-bench-") as folder:

        @functools.cache
        def case(name: str) -> Case:
            return Case(name, Path(folder))

        measured = []
        with bar("Measuring") as report:
            for done, figure in enumerate(figures, start=1):
                measured.append(case(figure.case).measure(figure.measure))
                report(done, len(figures))
        if figures:
            console.print(_table(figures, measured))
        lost = _print_anchor(console, anchored, case) if anchored else 0
    missed = [figure for figure, value in zip(figures, measured, strict=True) if figure.verdict(value) == "MISSED"]
    if missed:
        console.print(f"{len(missed)} of {len(figures)} figures miss their goal and have no limit that holds")
    if lost:
        console.print(f"{lost} of {len(anchored)} nets take more instructions than CMSIS-NN's kernels")
    return 1 if missed or lost else 0


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


def _print_anchor(console: Console, names: Sequence[str], case: Callable[[str], Case]) -> int:
    """CMSIS-NN on the layers it has kernels for beside ours on the same; returns on how many nets ours is behind."""
    if cmsis_nn() is None:
        console.print("no anchor: CMSIS-NN's sources come with bakenn (pip install 'tritguard[bench]')")
        return 0
    table = Table(title="The same layers by CMSIS-NN 4.0", title_justify="left", box=None)
    for name in ("model/board", "layers", "CMSIS-NN M instructions", "int8 M instructions", "ternary", "layers behind"):
        table.add_column(name, justify="left" if name == "model/board" else "right")
    lost = 0
    with bar("CMSIS-NN") as report:
        for done, name in enumerate(names, start=1):
            ours = case(name)
            anchor = count_cmsis(ours.bundle, ours.board, ours.folder)
            theirs = {layer.layer: layer.instructions for layer in anchor.layers if layer.layer is not None}
            own = _of_layers(ours.counted, theirs)
            behind = sum(own[layer] > theirs[layer] for layer in own)
            loses = sum(own.values()) > sum(theirs.values())
            net, _, board = name.partition("/")
            ternary = ""
            if f"{net}-ternary" in MODELS:
                ternary = _number(sum(_of_layers(case(f"{net}-ternary/{board}").counted, theirs).values()) / _M)
            numbers = (_number(sum(theirs.values()) / _M), _number(sum(own.values()) / _M), ternary)
            table.add_row(name, str(len(theirs)), *numbers, str(behind or ""), style="red" if loses else "")
            lost += loses
            report(done, len(names))
    console.print(table)
    return lost


def _of_layers(counted: ModelCount, layers: Collection[int]) -> dict[int, int]:
    """Instructions by layer, of these ones."""
    return {at: layer.instructions for layer in counted.layers if (at := layer.layer) is not None and at in layers}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
