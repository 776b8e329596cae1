"""The twin beside LiteRT with XNNPACK, one thread each: processor time for the same inputs, in turns within one run.

LiteRT rounds once where TensorFlow Lite Micro rounds twice, so its bytes are others. It is PyPI's ai-edge-litert.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Callable
from typing import cast

from tritguard.emit import Bundle
from tritguard.predictor import Int8
from tritguard.twin import Twin

_ROUNDS = 7


def has_litert() -> bool:
    """Whether LiteRT is installed."""
    return importlib.util.find_spec("ai_edge_litert") is not None


def twin_against_xnnpack(bundle: Bundle, x: Int8) -> float:
    """How many times as fast as LiteRT with XNNPACK the twin is, each the best of several rounds over x."""
    runs: tuple[Callable[[Int8], object], ...] = (
        Twin(bundle, threads=1).run,
        _litert(bundle.model_path.read_bytes()),
    )
    best = [float("inf"), float("inf")]
    for _ in range(_ROUNDS):
        for at, run in enumerate(runs):
            start = time.process_time()
            run(x)
            best[at] = min(best[at], time.process_time() - start)
    return best[1] / best[0]


def _litert(content: bytes) -> Callable[[Int8], None]:
    interpreter = importlib.import_module("ai_edge_litert.interpreter").Interpreter(
        model_content=content, num_threads=1
    )
    interpreter.allocate_tensors()
    place = cast(int, interpreter.get_input_details()[0]["index"])

    def run(x: Int8) -> None:
        for row in x:
            interpreter.set_tensor(place, row[None])
            interpreter.invoke()

    return run
