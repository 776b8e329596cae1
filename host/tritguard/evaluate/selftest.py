"""Checks in a minute that a board does what it has to, and leaves a record whose damage shows."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np

from tritguard import __version__
from tritguard.boards import Board
from tritguard.device import Device, emulator_version
from tritguard.emit.bundle import Manifest
from tritguard.errors import BadInputError
from tritguard.evaluate.samples import compared, differing
from tritguard.files import write_whole
from tritguard.predictor import Int8, Predictor
from tritguard.records import Record, from_json

_ECHO_BYTES = (0, 1, 2, 253, 254, 255, 256)
_INPUTS = 64
_LEAST_INPUTS = 8
_SECONDS = 30.0  # inferences end after this time, once `_LEAST_INPUTS` of them are made
_REPEATS = 16
_SPREAD = 0.05  # between the shortest and the longest time of the same inference, as a share of the median
_SEED = 0


class Check(Record):
    """One thing that was looked at, and in words what was seen."""

    name: str
    passed: bool
    seen: str


class Selftest(Record):
    """The record of a selftest. Hashes and ids are in hex, times in ticks of `tick_hz`.

    Attributes:
        emulator: what emulated the board; None for a real one.
        inputs: how many inputs the board was given.
        mismatched: how many of the answers were other bytes than the twin's.
        ticks: the shortest, the median and the longest time of one inference on the same input.
        seal: SHA-256 of the record without it, as `sealed` computes it. It shows damage, but not who made the record.
    """

    schema_version: Literal[1] = 1
    tritguard: str
    made: str
    board: Board
    emulator: str | None
    engine: str
    clock_hz: int
    compiler: str
    build_id: str
    bundle_sha256: str
    model_sha256: str
    elf_sha256: str
    inputs: int
    mismatched: int
    tick_hz: int
    ticks: tuple[int, int, int]
    seconds: float
    checks: tuple[Check, ...]
    seal: str = ""

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def sealed(self) -> Selftest:
        """The record with its seal."""
        content = self.model_dump(mode="json", exclude={"seal"})
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return self.model_copy(update={"seal": hashlib.sha256(canonical.encode()).hexdigest()})


def selftest(device: Device, twin: Predictor, out: Path, note: Callable[[Check], None] = lambda _: None) -> Selftest:
    """Try a connected board: its line, its memory, its bytes against the twin's, and how steady its time is.

    Args:
        device: the board.
        twin: the same model on this machine.
        out: the file of the record, which is written whatever the outcome.
        note: called with each check once it is made.

    Returns:
        The record.

    Raises:
        DeviceError: the board stopped answering.
    """
    start = time.perf_counter()
    asked = _Asked(device, twin)
    checks = []
    for check in asked.checks():
        checks.append(check)
        note(check)
    record, build = device.build.record, device.build
    made = Selftest(
        tritguard=__version__,
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        board=record.board,
        emulator=emulator_version(record.board) if device.emulated else None,
        engine=device.hello.engine,
        clock_hz=device.hello.clock_hz,
        compiler=record.compiler,
        build_id=record.build_id,
        bundle_sha256=record.bundle_sha256,
        model_sha256=record.model_sha256,
        elf_sha256=build.record.elf_sha256,
        inputs=asked.inputs,
        mismatched=asked.mismatched,
        tick_hz=device.tick_hz,
        ticks=asked.ticks,
        seconds=round(time.perf_counter() - start, 3),
        checks=tuple(checks),
    ).sealed()
    write_whole(out, made.model_dump_json(indent=2) + "\n")
    return made


def read_selftest(path: Path) -> Selftest:
    """Read a record and check its seal.

    Raises:
        BadInputError: the file cannot be read, is no record, or was changed since it was sealed.
    """
    record = from_json(Selftest, path, fix="run the selftest again")
    if record.sealed().seal != record.seal:
        raise BadInputError("was changed since it was sealed", where=str(path), fix="run the selftest again")
    return record


class _Asked:
    """What the board answered, one check after the other."""

    def __init__(self, device: Device, twin: Predictor) -> None:
        self._device, self._twin = device, twin
        self.inputs = self.mismatched = 0
        self.ticks = (0, 0, 0)

    def checks(self) -> Iterator[Check]:
        hello = self._device.hello
        seen = f"{hello.board}, {hello.clock_hz / 1e6:g} MHz, this firmware; {hello.facts}"
        yield Check(name="hello", passed=True, seen=seen)
        yield self._echo()
        yield self._inferences()
        yield self._memory()
        yield self._steadiness()
        yield self._line()

    def _echo(self) -> Check:
        rng = np.random.default_rng(_SEED)
        sent = [bytes(range(count % 256)) if count < 256 else bytes(range(256)) for count in _ECHO_BYTES]
        sent += [bytes(count) for count in (1, 128, 256)]
        sent += [rng.bytes(int(count)) for count in rng.integers(1, 257, 8)]
        wrong = sum(self._device.echo(data) != data for data in sent)
        return Check(
            name="echo", passed=wrong == 0, seen=f"{len(sent)} blocks of up to 256 B, {wrong} came back changed"
        )

    def _inferences(self) -> Check:
        manifest = self._device.bundle.manifest
        x = manifest.as_streams(_inputs(manifest), _LEAST_INPUTS)
        begun, done, wrong, total = time.monotonic(), 0, 0, 0
        for chosen in np.array_split(x, len(x) // _LEAST_INPUTS):
            theirs, ours = self._device.predict(chosen), self._twin.predict(chosen)
            wrong += differing(ours, theirs)
            total += compared(theirs)
            done += len(chosen)
            if time.monotonic() - begun > _SECONDS:
                break
        self.inputs, self.mismatched = done, wrong
        seen = f"{done} inputs, {total:,} B compared with the twin's, {wrong} answers differ"
        return Check(name="bytes", passed=wrong == 0, seen=seen)

    def _memory(self) -> Check:
        use, sizes = self._device.memory(), self._device.build.record.sizes
        known = use.stack_reserved > 0  # an RTOS keeps its stacks to itself
        stack = f"stack {use.stack_peak:,} of {use.stack_reserved:,} B" if known else "stack not known"
        right = use.arena == sizes.ram_arena <= use.static and (not known or use.stack_peak < use.stack_reserved)
        # A framework's own linker script may leave sections out of the symbols that the firmware counts by.
        static = f"static {sizes.ram_static:,} B by the image"
        if use.static != sizes.ram_static:
            static += f", {use.static:,} B by the board's own count"
        return Check(name="memory", passed=right, seen=f"{static}, of it arena {use.arena:,} B; {stack}")

    def _steadiness(self) -> Check:
        manifest = self._device.bundle.manifest
        x = manifest.as_streams(np.repeat(_inputs(manifest)[:1], _REPEATS, axis=0), _REPEATS)
        ticks = self._device.predict(x).ticks
        if ticks is None:
            return Check(name="time", passed=False, seen="the board gives no ticks")
        self.ticks = (int(ticks.min()), int(np.median(ticks)), int(ticks.max()))
        spread = (self.ticks[2] - self.ticks[0]) / self.ticks[1]
        time = f"{1e3 * self.ticks[1] / self._device.tick_hz:.3f} ms, measured"
        if self._device.hello.facts.ticks.is_cycles:
            time += f", {self.ticks[1]:,} cycles"
        if self._device.emulated:
            time = f"{self.ticks[1]:,} ticks of an emulator, which are not time"
        seen = f"{time}; median of {_REPEATS} on one input, shortest to longest {spread:.2%}"
        return Check(name="time", passed=spread <= _SPREAD, seen=seen)

    def _line(self) -> Check:
        resent = self._device.resent_frames
        return Check(name="line", passed=resent == 0, seen=f"{resent} frames had to be sent again")


def _inputs(manifest: Manifest) -> Int8:
    """steps[n, *input_shape]: the extremes, zero, and random inputs."""
    rng, limits = np.random.default_rng(_SEED), np.iinfo(manifest.input_dtype)
    shape = (_INPUTS, *manifest.input.shape)
    x: Int8 = rng.integers(limits.min, limits.max, shape, dtype=manifest.input_dtype, endpoint=True)
    x[1], x[2], x[3] = limits.min, limits.max, 0
    return x
