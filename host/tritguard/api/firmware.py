"""From a bundle to a firmware."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards import Board, load_board
from tritguard.build import Budget, Build
from tritguard.build import build as build_firmware
from tritguard.build.engine import Engine, native_engine
from tritguard.build.tflm import find_library
from tritguard.build.tflm import tflm_engine as engine_with
from tritguard.emit import Bundle
from tritguard.emit.tflm import open_arrays, write_arrays
from tritguard.files import scratch_folder

__all__ = ["Engine", "build", "native_engine", "tflm_engine"]


def build(
    bundle: Bundle,
    out: str | Path,
    *,
    board: str | Path | Board = "mps2-an386",
    engine: Engine | None = None,
    budget: Budget | None = None,
) -> Build:
    """Build the firmware that runs a model on a board, with PlatformIO.

    Args:
        bundle: the model.
        out: the folder to write; an older build there is replaced.
        board: a board's id, its `.toml` file, or its record.
        engine: what runs the model; by default the bundle's own C.
        budget: flash and RAM the firmware may take.

    Raises:
        BadInputError: there is no such board, or `out` exists and is no build.
        BuildError: the compiler or linker fails.
        OverBudgetError: the firmware takes more than its budget.
        ToolMissingError: the compiler or PlatformIO is missing.
    """
    target = board if isinstance(board, Board) else load_board(board)
    return build_firmware(bundle, target, Path(out), engine=engine, budget=budget)


def tflm_engine(
    bundle: Bundle,
    board: Board,
    library: str,
    arrays: str | Path | None = None,
    *,
    trust: bool = False,
    profile: bool = False,
) -> Engine:
    """TensorFlow Lite Micro, which you provide, with a bundle's model.

    Args:
        bundle: the model.
        board: the library has to fit its core.
        library: a folder with headers and static library as TensorFlow Lite Micro's makefile leaves them, or what
            PlatformIO's `lib_deps` takes.
        arrays: a folder written by `convert_to_arrays`; by default they are made from the bundle's golden model.
        trust: see `open_arrays`.
        profile: let the firmware time its layers, for `profile`.

    Raises:
        BadInputError, ToolMissingError: see `find_library`, `open_arrays`, `trusted_arrays`, `write_arrays`.
    """
    found = find_library(library, board)
    if arrays is not None:
        return engine_with(bundle, open_arrays(Path(arrays), trust=trust), found, profile=profile)
    with scratch_folder() as scratch:
        made = write_arrays(bundle.model_path.read_bytes(), scratch / "arrays", name=bundle.manifest.name)
        return engine_with(bundle, made, found, profile=profile)
