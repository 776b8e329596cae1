"""Sound files of each kind, for tests to damage."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.known_models import (
    any_edges,
    computed_ahead,
    edged,
    float_end,
    other_ops_model,
    ternary_model,
    wide_edges,
)
from tests.support.robustness_result import make_result
from tests.support.shared import ROOT
from tests.support.stateful import STATEFUL
from tests.support.wide import size_as_input, wide_net
from tritguard.emit import write_bundle
from tritguard.emit.bundle import MANIFEST


def sound_files(kind: str, folder: Path) -> list[bytes]:
    """Files of a kind of `mutated_files.KINDS`; what else a file needs beside it is written to the folder.

    Args:
        kind: its key.
        folder: where the damaged files will stand.
    """
    return _MAKERS[kind](folder)


def _tflites(_folder: Path) -> list[bytes]:
    """Networks of our own, and of each kind of op and edge one."""
    made = [ternary_model(), other_ops_model(), any_edges(), edged("FLOAT32"), edged("UINT8"), wide_edges()]
    made += [float_end(), computed_ahead(), wide_net(0), size_as_input(), *(model() for model in STATEFUL.values())]
    return made + _texts("examples/digits-stq-keywords", "*.tflite")


def _texts(place: str, pattern: str) -> list[bytes]:
    return [file.read_bytes() for file in sorted((ROOT / place).glob(pattern))]


def _manifest(folder: Path) -> list[bytes]:
    made = write_bundle(ternary_model(), folder / "made", name="small").path
    for file in made.iterdir():
        file.rename(folder / file.name)
    made.rmdir()
    return [(folder / MANIFEST).read_bytes()]


def _samples() -> bytes:
    rng, target = np.random.default_rng(0), io.BytesIO()
    arrays = {
        "x_train": rng.random((20, 8, 8, 1), dtype=np.float32),
        "y_train": rng.integers(0, 4, 20),
        "x_test": rng.random((20, 8, 8, 1), dtype=np.float32),
        "y_test": rng.integers(0, 4, 20),
        "classes": np.array(["a", "b", "c", "d"]),
    }
    np.savez(target, **arrays)  # type: ignore[arg-type] # mypy matches them with allow_pickle
    return target.getvalue()


_MAKERS: dict[str, Callable[[Path], list[bytes]]] = {
    "tflite": _tflites,
    "keras": lambda _: _texts("examples/digits-stq-keywords", "*.keras"),
    "npz": lambda _: [_samples()],
    "board": lambda _: _texts("boards", "*.toml"),
    "run": lambda _: _texts("docs", "*.toml"),
    "manifest": _manifest,
    "result": lambda _: [make_result().model_dump_json().encode()],
}
