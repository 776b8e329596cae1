"""A device's answers, kept until the search they serve is done, so that an interrupted search asks nothing twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from tritguard.campaign.seal import holds, seal
from tritguard.predictor import Int8, Outputs


class AnswerLog:
    """A file of answers in the order in which they were given.

    A search that is started again with the same seed asks the same questions in the same order. As long as it does, it
    gets the answers in the file; at the first question that differs, the remaining answers are dropped. Each record is
    sealed together with the one before it (`tritguard.campaign.seal`); from the first record whose seal does not hold,
    all are dropped too.

    Args:
        path: the file, made with the first answer. A record left half written at its end by a kill is not read.
        identity: the model and the device that answers.

    Attributes:
        refused: whether records were dropped because of a seal.

    Raises:
        TritguardError: see `seal`.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._start = path, identity.encode()
        self._known: list[_Record] = []
        self._at, self.refused = 0, False
        if path.is_file():
            self._read()

    def recall(self, x: Int8) -> Outputs | None:
        """Return the answer to int8[n, *input_shape] at this point of the search; None if it was not asked before."""
        if self._at < len(self._known) and self._known[self._at].digest == _digest(x):
            self._at += 1
            return self._known[self._at - 1].outputs
        return None

    def keep(self, x: Int8, outputs: Outputs) -> None:
        """Record the answer to a question that could not be recalled.

        Raises:
            TritguardError: see `seal`.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        end = self._known[self._at - 1].end if self._at else 0
        logits = np.zeros((0, 0)) if outputs.logits is None else outputs.logits
        arrays: list[np.ndarray] = [np.frombuffer(_digest(x), np.uint8), outputs.scores, logits]
        sealed = seal(_sealed(self._before(self._at), arrays))
        with self._path.open("r+b" if self._path.exists() else "w+b") as file:
            file.seek(end)
            file.truncate()
            for array in (*arrays, np.frombuffer(sealed, np.uint8)):
                np.save(file, array, allow_pickle=False)
            end = file.tell()
        self._known[self._at :] = [_Record(_digest(x), outputs, sealed, end)]
        self._at += 1

    def clear(self) -> None:
        """Forget all answers, because the search they served is done."""
        self._path.unlink(missing_ok=True)
        self._known, self._at = [], 0

    def _before(self, place: int) -> bytes:
        """Return what the seal of the record at this place covers of the records before it."""
        return self._known[place - 1].seal if place else self._start

    def _read(self) -> None:
        with self._path.open("rb") as file:
            while (arrays := _arrays(file)) is not None:
                digest, scores, logits, sealed = arrays
                if not holds(sealed.tobytes(), _sealed(self._before(len(self._known)), arrays[:3])):
                    self.refused = True
                    return
                outputs = Outputs(scores, logits if len(logits) else None)
                self._known.append(_Record(digest.tobytes(), outputs, sealed.tobytes(), file.tell()))


@dataclass(frozen=True)
class _Record:
    """A question and its answer.

    Attributes:
        digest: the hash of the question.
        end: the position in the file where the record ends.
    """

    digest: bytes
    outputs: Outputs
    seal: bytes
    end: int


def _sealed(before: bytes, arrays: Sequence[np.ndarray]) -> list[bytes]:
    parts = [before]
    for array in arrays:
        parts += [f"{array.dtype.str} {array.shape}".encode(), array.tobytes()]
    return parts


def _digest(x: Int8) -> bytes:
    return hashlib.sha256(str(x.shape).encode() + x.tobytes()).digest()


def _arrays(file: IO[bytes]) -> list[np.ndarray] | None:
    try:
        return [np.load(file, allow_pickle=False) for _ in range(4)]
    except Exception:  # the end of the file, or a partial or damaged record, on which NumPy raises many kinds
        return None
