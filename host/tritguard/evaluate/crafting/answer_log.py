"""A device's answers, kept until the search they serve is done, so that an interrupted one asks nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from tritguard.predictor import Int8, Outputs


class AnswerLog:
    """A file of answers in the order in which they were given.

    A search that is started again with the same seed asks the same questions in the same order. As long as it does, it
    gets the answers in the file; at the first question that differs, the remaining answers are dropped.

    Args:
        path: the file, made with the first answer. A record left half written at its end by a kill is not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = list(_read(path)) if path.is_file() else []
        self._at = 0

    def recall(self, x: Int8) -> Outputs | None:
        """The answer to int8[n, *input_shape] at this point of the search; None if it was not asked before."""
        if self._at < len(self._known) and self._known[self._at][0] == _digest(x):
            self._at += 1
            return self._known[self._at - 1][1]
        return None

    def keep(self, x: Int8, outputs: Outputs) -> None:
        """Record the answer to a question that could not be recalled."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        end = self._known[self._at - 1][2] if self._at else 0
        logits = np.zeros((0, 0)) if outputs.logits is None else outputs.logits
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.seek(end)
            file.truncate()
            for array in (np.frombuffer(_digest(x), np.uint8), outputs.scores, logits):
                np.save(file, array, allow_pickle=False)
            end = file.tell()
        self._known[self._at :] = [(_digest(x), outputs, end)]
        self._at += 1

    def clear(self) -> None:
        """Forget all answers, because the search they served is done."""
        self._path.unlink(missing_ok=True)
        self._known, self._at = [], 0


def _digest(x: Int8) -> bytes:
    return hashlib.sha256(str(x.shape).encode() + x.tobytes()).digest()


def _read(path: Path) -> Iterator[tuple[bytes, Outputs, int]]:
    """For each question its digest, its answer, and the position in the file where the record ends."""
    with path.open("rb") as file:
        while (arrays := _arrays(file)) is not None:
            digest, scores, logits = arrays
            yield digest.tobytes(), Outputs(scores, logits if len(logits) else None), file.tell()


def _arrays(file: IO[bytes]) -> list[np.ndarray] | None:
    try:
        return [np.load(file, allow_pickle=False) for _ in range(3)]
    except (EOFError, ValueError):  # the end of the file, or a partial record
        return None
