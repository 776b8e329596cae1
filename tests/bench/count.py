"""Exact instructions of a model on a core, by layer and function: scripts/bench count MODEL [--core CORE]."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from tests.bench.models import MODELS
from tritguard.boards import load_board
from tritguard.emit import write_bundle
from tritguard.profile import FunctionCount, LayerCount, ModelCount, count_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help=f"a .tflite file, or one of {', '.join(MODELS)}")
    parser.add_argument("--board", default="mps2-an386", help="an emulated board's id or file")
    parser.add_argument("--core", help="compile for this core instead of the board's, as -mcpu= has it")
    options = parser.parse_args()
    board = load_board(options.board)
    if options.core:
        board = board.model_copy(update={"core": options.core})
    with tempfile.TemporaryDirectory() as folder:
        content = MODELS[options.model]() if options.model in MODELS else Path(options.model).read_bytes()
        bundle = write_bundle(content, Path(folder) / "bundle", name="model", core=board.core_class)
        x = np.random.default_rng(0).integers(-128, 128, (1, *bundle.manifest.input.shape), dtype=np.int8)
        counted = count_model(bundle, board, x)
    layers = {layer.index: layer for layer in bundle.manifest.layers}
    for layer in counted.layers:
        known = layers.get(-1 if layer.layer is None else layer.layer)
        print(_line(_named(layer.layer, known.op if known else ""), layer, known.macs if known else 0))
        for function in layer.functions[:3]:
            print(_line(f"    {function.name}", function, 0))
    print(_line("all", counted, bundle.manifest.macs))


def _named(layer: int | None, op: str) -> str:
    return f"{layer} {op}" if layer is not None else op or "outside the layers"


def _line(name: str, counted: FunctionCount | LayerCount | ModelCount, macs: int) -> str:
    cycles = "-" if counted.cycles is None else f"{counted.cycles:,}"
    per_mac = f"  {counted.instructions / macs:.3f} instructions" if macs else ""
    if macs and counted.cycles is not None:
        per_mac += f", {counted.cycles / macs:.3f} cycles"
    return f"{name:40} {counted.instructions:>12,} instructions {cycles:>12} cycles{per_mac}{' a MAC' if macs else ''}"


if __name__ == "__main__":
    main()
