"""One board that runs a model, as a Predictor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self, TypeVar

import numpy as np

from tritguard.build import Build
from tritguard.device.emulator import NANOSECONDS_PER_INSTRUCTION, EmulatedBoard
from tritguard.device.link import ANSWER_SECONDS, Link
from tritguard.device.protocol import Hello, Inference, LayerTicks, MemoryUse, ProtocolError, Request
from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError, DeviceError, WrongFirmwareError
from tritguard.predictor import Int8, Outputs
from tritguard.progress import Progress

_T = TypeVar("_T")

# A board that is still starting up drops what it receives: the first request goes out again soon and often.
_FIRST_SECONDS = 0.2
_FIRST_ATTEMPTS = 25
# What the portable kernels need of a Cortex-M4 is about 15; an inference is timed from the first on.
_CYCLES_PER_MAC = 20
# How many times the slowest inference so far the next one may take.
_PATIENCE = 8


class Device:
    """A board whose firmware is known to be the one asked for; a Predictor with scores, logits and ticks.

    Made by `connect` or `open_device`; a context manager.

    Attributes:
        hello: what the board said of itself when it was connected.
        bundle: the model it runs.
        build: the firmware it runs.
        emulated: whether its ticks count instructions instead of time.
    """

    def __init__(self, link: Link, hello: Hello, bundle: Bundle, build: Build, *, emulated: bool) -> None:
        self.hello = hello
        self.bundle = bundle
        self.build = build
        self.emulated = emulated
        self._link = link
        self._resent_before = link.resent
        logits = bundle.manifest.logits
        # An engine may give none of a model that has them.
        self._scale = None if logits is None or hello.logits == 0 else np.array(logits.scale)
        self._slowest = 0.0

    @property
    def resent_frames(self) -> int:
        """Requests that had to be sent again, since the board was connected."""
        return self._link.resent - self._resent_before

    @property
    def tick_hz(self) -> int:
        """Rate of the ticks in `Outputs`."""
        emulator = self.build.record.board.emulator
        return emulator.tick_hz if self.emulated and emulator else self.hello.clock_hz

    def instructions(self, ticks: int) -> int | None:
        """How many instructions took so many ticks; None on a real board.

        Exact: some 25 for starting and stopping the timer, and 10 every 2**24 ticks, are counted too.
        """
        if not self.emulated:
            return None
        return round(ticks * 1e9 / self.tick_hz / NANOSECONDS_PER_INSTRUCTION)

    def predict(self, x: Int8, progress: Progress | None = None) -> Outputs:
        """Run int8[n, *input_shape], one after the other.

        Args:
            x: the inputs.
            progress: called with (done, n) after each.

        Raises:
            BadInputError: x has another dtype or shape.
            DeviceError: the board stopped answering, crashed, or vanished.
        """
        self._check_input(x)
        scores = np.empty((len(x), self.hello.outputs), dtype=np.int8)
        accumulators = np.empty((len(x), self.hello.logits), dtype=np.int32)
        ticks = np.empty(len(x), dtype=np.int64)
        for i, sample in enumerate(x):
            inference = self._infer(sample.tobytes())
            scores[i], accumulators[i], ticks[i] = inference.scores, inference.accumulators, inference.ticks
            if progress is not None:
                progress(i + 1, len(x))
        return Outputs(scores, None if self._scale is None else accumulators * self._scale, ticks)

    def profile(self, sample: Int8) -> LayerTicks:
        """Run one int8[*input_shape] and time its layers.

        Raises:
            BadInputError: the sample has another dtype or shape, or the firmware was built without a profiler.
            DeviceError: see `predict`.
        """
        if not self.build.record.times_layers:
            raise BadInputError(
                "was built without a profiler", where=str(self.build.path), fix="build with --profile, and flash that"
            )
        self._check_input(sample[None])
        answer = self._ask_model(Request.PROFILE, sample.tobytes())
        return _parsed(self._link, LayerTicks.parse, answer)

    def memory(self) -> MemoryUse:
        """RAM in use, and the stack's deepest use since the board's reset.

        Raises:
            DeviceError: see `predict`.
        """
        return _parsed(self._link, MemoryUse.parse, self._link.ask(Request.MEMORY))

    def echo(self, data: bytes) -> bytes:
        """Send up to 256 bytes there and back.

        Raises:
            DeviceError: see `predict`.
        """
        return self._link.ask(Request.ECHO, data)

    def close(self) -> None:
        """Close the port."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_input(self, x: Int8) -> None:
        shape = self.bundle.manifest.input.shape
        if x.dtype != np.int8 or x.shape[1:] != shape:
            raise BadInputError(f"{x.dtype}{list(x.shape)} for a model that takes int8[n, {shape}]")

    def _infer(self, sample: bytes) -> Inference:
        answer = self._ask_model(Request.INFER, sample)
        return _parsed(self._link, lambda data: Inference.parse(data, self.hello.outputs, self.hello.logits), answer)

    def _ask_model(self, request: Request, sample: bytes) -> bytes:
        """Ask what makes the board silent for as long as an inference takes."""
        start = time.monotonic()
        resent = self._link.resent
        answer = self._link.ask(
            request,
            sample,
            seconds=ANSWER_SECONDS + (_PATIENCE * self._slowest or self._estimated_seconds()),
            busy_seconds=self._slowest,
            on_silence=self._check_for_crash,
        )
        if self._link.resent == resent:  # else the time says nothing of one inference
            self._slowest = max(self._slowest, time.monotonic() - start)
        return answer

    def _estimated_seconds(self) -> float:
        """At most how long an inference takes, both ways over the line included."""
        line_bytes = 2 * (self.hello.inputs + self.hello.outputs + 4 * self.hello.logits)
        line_seconds = 10 * line_bytes / self.build.record.board.uart.baud  # ten bits a byte
        return line_seconds + self.bundle.manifest.macs * _CYCLES_PER_MAC / self.hello.clock_hz

    def _check_for_crash(self) -> None:
        fault = greet(self._link).fault
        if fault.count != self.hello.fault.count:
            raise DeviceError(
                f"the firmware crashed and the board reset itself: {fault}",
                where=self._link.url,
                fix="look the address up with arm-none-eabi-addr2line in firmware.elf",
            )


def greet(link: Link) -> Hello:
    """Ask a board who it is, which may still be starting up.

    Raises:
        DeviceError: it does not answer, or it is no tritguard firmware.
    """
    answer = link.ask(Request.HELLO, seconds=_FIRST_SECONDS, attempts=_FIRST_ATTEMPTS)
    return _parsed(link, Hello.parse, answer)


def connect(url: str, bundle: Bundle, build: Build, *, emulated: bool | None = None) -> Device:
    """Open a port and make sure the board there runs this model and this firmware.

    Args:
        url: what pyserial opens.
        bundle: the model.
        build: the firmware; made from `bundle`.
        emulated: whether ticks count instructions; by default, whether it is a socket and the board has an emulator.

    Raises:
        BadInputError: the build was made from another bundle.
        WrongFirmwareError: the board runs something else.
        DeviceError: the port cannot be opened, or nothing answers.
    """
    if build.record.bundle_sha256 != bundle.sha256:
        raise BadInputError("was built from another bundle", where=str(build.path), fix="build again")
    link = Link(url, build.record.board.uart.baud)
    try:
        hello = greet(link)
        check_firmware(url, hello, build)
    except BaseException:
        link.close()
        raise
    if emulated is None:
        emulated = url.startswith("socket://") and build.record.board.emulator is not None
    return Device(link, hello, bundle, build, emulated=emulated)


def identify(url: str, build: Build) -> Hello:
    """Ask the board at a port who it is, and make sure it runs this firmware.

    Raises:
        WrongFirmwareError, DeviceError: see `connect`.
    """
    with Link(url, build.record.board.uart.baud) as link:
        hello = greet(link)
    check_firmware(url, hello, build)
    return hello


@contextmanager
def open_device(bundle: Bundle, build: Build, port: str | None = None) -> Iterator[Device]:
    """The device of this build: the board at `port`, or without one an emulated board started for the occasion.

    Raises:
        BadInputError: no port is given and the board has no emulator; or see `connect`.
        ToolMissingError, DeviceError: see `EmulatedBoard` and `connect`.
    """
    if port is not None:
        with connect(port, bundle, build) as device:
            yield device
        return
    with (
        EmulatedBoard(build.record.board, build.elf) as emulated_board,
        connect(emulated_board.url, bundle, build, emulated=True) as device,
    ):
        yield device


def check_firmware(url: str, found: Hello, build: Build) -> None:
    """Raise WrongFirmwareError unless a board's HELLO is that of this build."""
    wanted = build.record
    for what, there, here in (
        ("is of another kind", found.board, wanted.board.id),
        ("runs another model", found.model_sha256[:12], wanted.model_sha256[:12]),
        ("runs this model in another firmware", found.build_id[:12], wanted.build_id[:12]),
    ):
        if there != here:
            raise WrongFirmwareError(
                f"the board {what}: {there}, not {here}", where=url, fix="put this build there with 'tritguard flash'"
            )


def _parsed(link: Link, parse: Callable[[bytes], _T], payload: bytes) -> _T:
    try:
        return parse(payload)
    except ProtocolError as error:
        raise DeviceError(f"the board answered something else: {error}", where=link.url) from error
