"""A serial line in modelled time, with a rate, latency and noise, and at its end the firmware's own C.

Time passes only where the model says so: a byte takes ten bits, an inference as long as it is told to. What a busy
machine does in between is not measured, so the figures are the same every time.
"""

from __future__ import annotations

import struct
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from typing_extensions import override

from tritguard.device.line import StreamLine

_EVENT = struct.Struct("<cII")
_BYTE_SECONDS = 0.2e-6  # the board's time to decode and check a byte: 34 cycles at 168 MHz
_GATHER_SECONDS = 0.0005  # a USB adapter hands over together what arrived within half a frame
_PORT_BYTES = 4096  # what the host's port keeps before writing to it waits


@dataclass
class Weather:
    """What a line does to bytes, in both directions.

    Attributes:
        broken: the share of bytes that become another byte, given the rate in bits per second.
        latency: seconds from the end of a byte to its arrival, as a USB adapter adds.
        delayed: the share of writes that arrive late, and by how many seconds at most.
        cuts: from when to when nothing arrives, in seconds.
        seed: of the random numbers.
    """

    broken: Callable[[int], float] = lambda _: 0.0
    latency: float = 0.001
    delayed: tuple[float, float] = (0.0, 0.0)
    cuts: tuple[tuple[float, float], ...] = ()
    seed: int = 0


@dataclass
class _Chunk:
    first: float  # when its first byte arrives
    step: float  # seconds a byte
    baud: int
    data: bytes


@dataclass
class _Way:
    """One direction: bytes arrive in order, at their times."""

    weather: Weather
    rng: np.random.Generator
    free: float = 0.0  # when the last byte has left
    bytes_sent: int = 0
    _last: float = 0.0
    _chunks: deque[_Chunk] = field(default_factory=deque)

    def send(self, data: bytes, now: float, baud: int) -> None:
        step = 10 / baud
        start = max(now, self.free)
        self.free = start + len(data) * step
        self.bytes_sent += len(data)
        share, most = self.weather.delayed
        late = self.rng.random() * most if self.rng.random() < share else 0.0
        first = max(start + step + self.weather.latency + late, self._last + step)
        self._last = first + (len(data) - 1) * step
        noisy = np.frombuffer(data, np.uint8).copy()
        hit = self.rng.random(len(noisy)) < self.weather.broken(baud)
        noisy[hit] += self.rng.integers(1, 256, hit.sum(), dtype=np.uint8)
        times = first + step * np.arange(len(noisy))
        kept = np.ones(len(noisy), bool)
        for begin, end in self.weather.cuts:
            kept &= (times < begin) | (times >= end)
        if kept.all():
            self._chunks.append(_Chunk(first, step, baud, noisy.tobytes()))
            return
        for time, byte in zip(times[kept], noisy[kept], strict=True):
            self._chunks.append(_Chunk(float(time), step, baud, bytes([byte])))

    def next_arrival(self) -> float | None:
        return self._chunks[0].first if self._chunks else None

    def arrived(self, now: float, baud: int) -> bytes:
        """Take what arrived by now; bytes of another rate are other bytes, but a zero stays low all the time."""
        parts = []
        while self._chunks and self._chunks[0].first <= now:
            chunk = self._chunks.popleft()
            count = min(len(chunk.data), 1 + int((now - chunk.first) / chunk.step + 1e-6))
            data = chunk.data[:count]
            if count < len(chunk.data):
                rest = _Chunk(chunk.first + count * chunk.step, chunk.step, chunk.baud, chunk.data[count:])
                self._chunks.appendleft(rest)
            if chunk.baud != baud:
                data = bytes(int(self.rng.integers(1, 256)) if byte else 0 for byte in data)
            parts.append(data)
        return b"".join(parts)


class ModelledLine(StreamLine):
    """The host's end of the line, with the board at the other end. A context manager.

    Args:
        program: the firmware, built with `modelled_port.c`.
        baud: the rate of both at the start, in bits per second.
        compute: the time of an inference, in seconds.
        ring: how many received bytes the board keeps.
        weather: what the line does to bytes.
    """

    def __init__(
        self,
        program: Path,
        *,
        baud: int = 921_600,
        compute: float = 0.04,
        ring: int = 4608,
        weather: Weather | None = None,
    ) -> None:
        super().__init__("modelled line", has_rate=True)
        weather = weather or Weather()
        rng = np.random.default_rng(weather.seed)
        self.baud = self.board_baud = self._start_baud = baud
        self.to_board, self.to_host = _Way(weather, rng), _Way(weather, rng)
        self.computed = 0
        self._now = 0.0
        self._compute = compute
        self._ring = ring
        self._program = program
        self._start_board()

    def _start_board(self) -> None:
        self._process = subprocess.Popen([self._program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._board_now = self._now
        self.board_baud = self._start_baud
        self._write(struct.pack("<I", self._ring))
        self._begin()

    def reset_board(self) -> None:
        """Reset the board: it forgets everything, and is at the rate of its start."""
        self.end()
        self.to_board.arrived(self._now, self.board_baud)
        self._start_board()

    # The board: it is always within an event, which ends at a time that is known unless it sleeps.

    def _begin(self) -> None:
        assert self._process.stdout is not None
        header = self._process.stdout.read(_EVENT.size)
        assert len(header) == _EVENT.size, "the firmware ended"
        self._kind, taken, self._number = _EVENT.unpack(header)
        self._board_now += taken * _BYTE_SECONDS
        if self._kind == b"W":
            data = self._process.stdout.read(self._number)
            self.to_host.send(data, self._board_now, self.board_baud)
            self._board_now = self.to_host.free  # a UART without a buffer
        elif self._kind == b"C":
            self.computed += 1
            self._board_now += self._compute

    def _event_ends(self) -> float | None:
        if self._kind != b"S":
            return self._board_now
        arrival = self.to_board.next_arrival()
        return None if arrival is None else max(arrival, self._board_now)

    def _run_board(self, until: float) -> None:
        while (ends := self._event_ends()) is not None and ends <= until:
            self._board_now = ends
            received = self.to_board.arrived(ends, self.board_baud)
            if self._kind == b"R":
                self.board_baud = self._number
            self._write(struct.pack("<I", len(received)) + received)
            self._begin()

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(data)
        self._process.stdin.flush()

    # The host.

    @override
    def now(self) -> float:
        return self._now

    @override
    def pause(self, seconds: float) -> None:
        self._now += seconds
        self._run_board(self._now)

    @override
    def write(self, data: bytes) -> None:
        self.to_board.send(data, self._now, self.baud)
        self.pause(max(0.0, self.to_board.free - _PORT_BYTES * 10 / self.baud - self._now))

    @override
    def read(self, seconds: float) -> bytes:
        deadline = self._now + seconds
        while True:
            arrival = self.to_host.next_arrival()
            if arrival is not None and arrival <= deadline:
                self._now = max(self._now, min(arrival + _GATHER_SECONDS, deadline))
                self._run_board(self._now)
                return self.to_host.arrived(self._now, self.baud)
            ends = self._event_ends()
            if ends is None or ends > deadline:
                self._now = deadline
                return b""
            self._run_board(ends)

    @override
    def set_rate(self, baud: int) -> None:
        self.pause(max(0.0, self.to_board.free - self._now))
        self.baud = baud

    def end(self) -> None:
        """End the board."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        status = self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert status == 0, "the sanitizers found something"

    @override
    def close(self) -> None:
        if self._process.returncode is None:
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
