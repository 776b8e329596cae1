"""Both engines on the same models: scripts/bench tflm [FILE.tflite ...] [--only kws] [--board BOARD].

TRITGUARD_TFLM names a tflite-micro checkout with a library for the board's core, or the library itself. Each model
runs in our firmware on the emulated board, once in TensorFlow Lite Micro and once in the native engine, and its bytes
have to be those of the interpreter. Instructions are exact and of one inference; flash and static RAM are of the whole
firmware. Of a model whose weights TFLM's DECODE can compress, two rows say what it takes so and as int8.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.models import MODELS, demo
from tritguard.boards import Board, load_board
from tritguard.build import build
from tritguard.build.engine import Engine, Library
from tritguard.build.tflm import find_library, tflm_engine
from tritguard.cli.progress import bar
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.golden import golden_of
from tritguard.emit.tflm import write_arrays
from tritguard.oracle import predict_apart, probes
from tritguard.predictor import Int8
from tritguard.profile import count

NETS = ("kws", "resnet8", "vww", "ad", "wake-word")
DEMO = "demo, ternary"
INPUTS = 3


@dataclass(frozen=True)
class Measured:
    """One firmware: instructions of one inference, and bytes of flash and static RAM."""

    instructions: int
    flash: int
    ram: int


@dataclass(frozen=True)
class Row:
    """One model in both engines; `how` is how TFLM has its weights, where there is a choice."""

    model: str
    how: str
    tflm: Measured
    native: Measured

    def cells(self) -> tuple[str, ...]:
        """The row as the table shows it."""
        theirs, ours = self.tflm, self.native
        million = f"{theirs.instructions / 1e6:.3g} / {ours.instructions / 1e6:.3g}"
        named = f"{self.model}, {self.how}" if self.how else self.model
        return named, million, f"{theirs.flash:,} / {ours.flash:,}", f"{theirs.ram:,} / {ours.ram:,}"


def rows(name: str, content: bytes, board: Board, library: Library, folder: Path) -> Iterator[Row]:
    """Measure one model.

    Raises:
        AssertionError: a byte differs from the interpreter's.
        TritguardError: the model is refused, or a firmware does not link.
    """
    golden = golden_of(content).content
    bundle = write_bundle(golden, folder / "bundle", name="model", core=board.core_class)
    manifest = bundle.manifest
    x = manifest.as_streams(probes(manifest.input_shape, INPUTS, manifest.input_dtype))
    wanted = predict_apart(golden, x)
    native = _measured(bundle, board, None, x, wanted, folder / "native")
    compressed = write_arrays(golden, folder / "arrays", name="model", has_decode=True)
    for how in ("DECODE", "int8") if compressed.manifest.compressed_tensors else ("",):
        arrays = compressed
        if how == "int8":
            arrays = write_arrays(golden, folder / "plain", name="model", uncompressed=True)
        engine = tflm_engine(bundle, arrays, library)
        yield Row(name, how, _measured(bundle, board, engine, x, wanted, folder / f"tflm{how}"), native)


def _measured(bundle: Bundle, board: Board, engine: Engine | None, x: Int8, wanted: Int8, folder: Path) -> Measured:
    built = build(bundle, board, folder, engine=engine)
    counted = count(bundle, built, x)
    assert np.array_equal(counted.outputs.answered, wanted), f"{folder.name} gives other bytes than the interpreter"
    inferences = x.shape[0] * (x.shape[1] if bundle.manifest.state_bytes else 1)
    sizes = built.record.sizes
    return Measured(counted.instructions // inferences, sizes.flash_total, sizes.ram_static)


def table(found: list[Row], board: Board, library: Library) -> Table:
    """Lay out the rows."""
    kind = "a release" if "TF_LITE_STRIP_ERROR_STRINGS" in library.defines else "with messages"
    kernels = "CMSIS-NN" if "CMSIS_NN" in library.defines else "reference kernels"
    title = f"TensorFlow Lite Micro ({kind}, {kernels}) / native, on {board.name}"
    made = Table(title=title, title_justify="left", box=None)
    for heading in ("model", "M instructions", "flash, B", "static RAM, B"):
        made.add_column(heading, justify="left" if heading == "model" else "right")
    for row in found:
        made.add_row(*row.cells())
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="int8 models instead of MLPerf Tiny's and the demo's")
    parser.add_argument("--only", default="", help=f"those whose name starts with this: {', '.join((*NETS, DEMO))}")
    parser.add_argument("--board", default="mps2-an386", help="an emulated board's id or file")
    chosen = parser.parse_args()
    place = os.environ.get("TRITGUARD_TFLM")
    if not place:
        parser.error("TRITGUARD_TFLM names no tflite-micro checkout with a library")
    board = load_board(chosen.board)
    library = find_library(place, board)
    nets = {name: MODELS[name] for name in NETS} | {DEMO: demo}
    models = {file.stem: file.read_bytes for file in chosen.files} or nets
    wanted = {name: read for name, read in models.items() if name.startswith(chosen.only)}
    if not wanted:
        parser.error(f"no model of {chosen.only}")
    found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="tritguard-bench-") as folder, bar("models") as progress:
        for done, (name, read) in enumerate(wanted.items()):
            progress(done, len(wanted))
            found += rows(name, read(), board, library, Path(folder) / str(done))
        progress(len(wanted), len(wanted))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table(found, board, library))


if __name__ == "__main__":
    main()
