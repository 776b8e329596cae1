"""Estimates the share of a line's bytes that break, and what frames of a given size cost on such a line."""

from __future__ import annotations

import math

from tritguard.device.protocol import PART_BYTES_MAX, PLACE_BYTES, wire_bytes

_MEMORY_BYTES = 100_000.0  # what lies this many bytes back weighs a third
_SIZES = range(PLACE_BYTES, PART_BYTES_MAX + 1, PLACE_BYTES)


class Noise:
    """Learns from frames that arrive and frames that do not."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, because the line is another one."""
        self._bytes = 1.0
        self._lost = 0.0

    def learn(self, size: int, *, lost: bool) -> None:
        """Take note of a frame of `size` bytes on the wire. If it is lost, half of them count as sound."""
        fade = math.exp(-size / _MEMORY_BYTES)
        self._bytes = self._bytes * fade + (size / 2 if lost else size)
        self._lost = self._lost * fade + lost

    @property
    def share(self) -> float:
        """The estimated share of bytes that break, at most a half."""
        return min(0.5, self._lost / self._bytes)

    def survives(self, size: int) -> float:
        """The probability that `size` bytes in a row arrive."""
        return math.exp(size * math.log1p(-self.share))

    def cost(self, payload: int) -> float:
        """How many bytes go over the line per byte that arrives, in frames with `payload` bytes of payload."""
        size = wire_bytes(payload)
        return size / payload / max(self.survives(size), 1e-300)

    def best_part(self) -> int:
        """The payload in bytes of the parts that cost least."""
        return min(_SIZES, key=self.cost)

    def favours_parts(self, payload: int) -> bool:
        """Whether `payload` bytes cost less in parts than in one frame."""
        return any(self.cost(payload) > self.cost(size) for size in _SIZES if size < payload)
