"""A device's answers to inputs, kept while it is asked, so that a confirmation that is interrupted goes on."""

from __future__ import annotations

import hashlib
import hmac
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.campaign.database import Database
from tritguard.campaign.seal import sealer
from tritguard.predictor import Int8, Outputs

Sealer = Callable[[Iterable[bytes]], bytes]


class Answers:
    """One firmware's answers to inputs over one line, each kept once and sealed (see `tritguard.campaign.seal`).

    Args:
        path: the campaign's file.
        device: what answers: the firmware and the line, and whatever else a second answer may depend on.
        threshold: see `Outputs`.
        frame: for a model with state, the number of bytes that it answers after each frame; None for one without.
    """

    def __init__(self, path: Path, device: str, threshold: float | None, frame: int | None = None) -> None:
        self._database, self._device, self._threshold, self._frame = Database(path), device, threshold, frame

    def recall(self, x: Int8) -> tuple[NDArray[np.bool_], Outputs | None]:
        """Look up the answers to int8[n, *input_shape], or to streams int8[n, frames, *input_shape].

        Returns:
            bool[n], the inputs that were answered, and the answers to those, in order; None if there are none. An
            answer whose seal does not hold counts as none.

        Raises:
            BadInputError, OSError: see `Database`.
            TritguardError: see `seal`.
        """
        known, found = np.zeros(len(x), bool), []
        sealed = sealer()
        try:
            with self._database.reading() as connection:
                for place, sample in enumerate(x if connection is not None else ()):
                    assert connection is not None
                    answer = self._read(connection, sample, sealed)
                    if answer is not None:
                        known[place] = True
                        found.append(answer)
        except sqlite3.DatabaseError:
            self._database.put_aside()
            return np.zeros(len(x), bool), None
        return known, Outputs.joined(found) if found else None

    def keep(self, x: Int8, outputs: Outputs, board: str) -> None:
        """Keep the answers to int8[n, *input_shape], or to streams, that a board of this name gave.

        Raises:
            BadInputError, OSError: see `Database`.
            TritguardError: see `seal`.
        """
        rows, sealed = [], sealer()
        for place, sample in enumerate(x):
            logits = None if outputs.logits is None else outputs.logits[place].astype("<f8").tobytes()
            ticks = None if outputs.ticks is None else int(outputs.ticks[place])
            values = (_digest(sample), outputs.answered[place].tobytes(), logits, ticks, board)
            rows.append((self._device, *values, sealed(self._sealed(values))))
        command = "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)"
        self._database.write(lambda connection: connection.executemany(command, rows))

    def clear(self) -> None:
        """Forget this device's answers, because the confirmation that they were part of is complete."""
        command = "DELETE FROM answers WHERE device = ?"
        self._database.write(lambda connection: connection.execute(command, (self._device,)))

    def close(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._database.close()

    def _read(self, connection: sqlite3.Connection, sample: Int8, sealed: Sealer) -> Outputs | None:
        query = "SELECT input, scores, logits, ticks, board, seal FROM answers WHERE device = ? AND input = ?"
        row = connection.execute(query, (self._device, _digest(sample))).fetchone()
        if row is None:
            return None
        try:
            if not hmac.compare_digest(row[-1], sealed(self._sealed(row[:-1]))):
                return None
            _, answered, logits, ticks, *_ = row
            said = np.frombuffer(answered, np.int8).reshape(-1, self._frame or len(answered))
            return Outputs(
                said[-1:],
                None if logits is None else np.frombuffer(logits, "<f8")[None],
                None if ticks is None else np.array([ticks]),
                self._threshold,
                None if self._frame is None else said[None],
            )
        except (TypeError, ValueError):  # a damaged file may hold values of other types than its tables say
            return None

    def _sealed(self, values: Sequence[Any]) -> list[bytes]:
        digest, scores, logits, ticks, board = values
        said = json.dumps([self._device, logits is None, ticks, board]).encode()
        return [b"answer", said, digest, scores, logits or b""]


def _digest(x: Int8) -> bytes:
    return hashlib.sha256(str(x.shape).encode() + x.tobytes()).digest()
