"""Compares the speed of the twin and the oracle, on the same inputs and in turns, so that machine load hits both."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from tritguard.emit.bundle import Bundle
from tritguard.errors import MismatchError
from tritguard.oracle import Oracle
from tritguard.predictor import Int8
from tritguard.progress import Progress
from tritguard.twin.library import Twin

ROUNDS = 5


@dataclass(frozen=True)
class Speed:
    """Inferences per second, each the best of several rounds.

    Attributes:
        twin: the twin on one core.
        oracle: the `tflite-micro` interpreter on one core.
        threads: how many threads `threaded` used.
        threaded: the twin on all of these threads.
    """

    twin: float
    oracle: float
    threads: int
    threaded: float

    @property
    def ratio(self) -> float:
        """How many times as fast as the interpreter the twin is, each on one core."""
        return self.twin / self.oracle


def measure_speed(
    bundle: Bundle, x: Int8, *, rounds: int = ROUNDS, repeat: int = 20, progress: Progress | None = None
) -> Speed:
    """Time twin and interpreter on the same inputs, one round of each after the other.

    Args:
        bundle: the model.
        x: int8[n, *input_shape], which the interpreter runs once per round.
        rounds: how many rounds to run; the best one counts.
        repeat: how many times the twin runs x per round; it is so much faster that one pass would be too short.
        progress: called with (finished rounds, all rounds) after each round.

    Raises:
        MismatchError: a score byte differs between the two.
        ToolMissingError: the oracle is not installed.
    """
    oracle, alone, threaded = Oracle(bundle.model_path.read_bytes()), Twin(bundle, threads=1), Twin(bundle)
    many = np.concatenate([x] * repeat)
    best = [0.0, 0.0, 0.0]
    for done in range(rounds):
        times, scores = [], []
        for predict, inputs in ((alone.predict, many), (oracle.predict, x), (threaded.predict, many)):
            start = time.perf_counter()
            scores.append(predict(inputs).scores)
            times.append(len(inputs) / (time.perf_counter() - start))
        if any(not np.array_equal(given[: len(x)], scores[1]) for given in scores):
            raise MismatchError("the twin's scores differ from the interpreter's", where=bundle.manifest.name)
        best = [max(pair) for pair in zip(best, times, strict=True)]
        if progress is not None:
            progress(done + 1, rounds)
    return Speed(twin=best[0], oracle=best[1], threads=threaded.threads, threaded=best[2])
