"""A board that runs a model, as a Predictor."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
from typing_extensions import override

from tritguard.build import Build
from tritguard.device.bench import Bench
from tritguard.device.bulk import BulkLine, Mailbox
from tritguard.device.emulators import Counting, EmulatedBoard, Emulator, emulator_of, is_emulated
from tritguard.device.inferences import Inferences
from tritguard.device.line import Line, NoAnswerError, SerialLine, StreamLine
from tritguard.device.link import Link, Patience
from tritguard.device.ports import AUTO, find_again, find_port
from tritguard.device.protocol import Hello, Inference, LayerTicks, MemoryUse, ProtocolError, Request
from tritguard.device.rate import Rate, call_back
from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError, DeviceError, WrongFirmwareError
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress

_T = TypeVar("_T")

# A board that is still starting up drops what it receives, so the first request is repeated soon and often.
_FIRST = Patience(seconds=0.2, attempts=25)
# Used to estimate how long the first inference takes. The portable kernels need about 15 on a Cortex-M4.
_CYCLES_PER_MAC = 20
# A board that was switched on again has started by then, its USB and all.
_RETURN_SECONDS = 30.0
# No board is waited for longer than this until its watchdog ends an inference, whatever it says of it.
_LONGEST_LOOP_SECONDS = 600.0
# A board whose crystal did not start runs slower than its file says, but by less than this factor.
_SLOWDOWN = 64


class Device(Predictor):
    """A board whose firmware was checked to be the one asked for; it predicts scores, logits and ticks.

    `connect` and `open_device` make it. It is a context manager that closes the port.

    Attributes:
        hello: what the board reported about itself when it was connected.
        bundle: the model it runs.
        build: the firmware it runs.
        emulator: what emulates the board; None for a real one, whose ticks are time.
        power_cycles: how often the bench switched the board off and on because it hung.
    """

    def __init__(
        self,
        link: Link,
        hello: Hello,
        bundle: Bundle,
        build: Build,
        emulator: Emulator | None,
        rate: Rate | None,
        bench: Bench | None = None,
    ) -> None:
        self.bundle = bundle
        self.build = build
        self.emulator = emulator
        self.power_cycles = 0
        self._bench = bench
        logits = bundle.manifest.logits
        # An engine may give no logits even if the model has them.
        self._scale = None if logits is None or hello.logits == 0 else np.array(logits.scale)
        self._adopt(link, hello, rate)

    def _adopt(self, link: Link, hello: Hello, rate: Rate | None, resent: int = 0) -> None:
        """Take over a link to the board, over which so many requests count as sent again already."""
        self.hello = hello
        self._link = link
        self._resent_before = link.resent - resent
        self._rate = rate
        # An emulated board counts the instructions of receiving as well, so it receives only while it is idle.
        ahead = 0 if rate is None or self.emulated else hello.ring
        answer_bytes = 8 + 4 * hello.logits + hello.outputs
        self._inferences = Inferences(link, rate, ahead, answer_bytes, self._estimated_seconds, self._check_for_crash)

    @property
    def resent_frames(self) -> int:
        """How many requests had to be sent again since the board was connected."""
        return self._link.resent - self._resent_before

    @property
    def name(self) -> str:
        """Where it is: its port, or which board is emulated."""
        return self._link.url

    @property
    def bulk(self) -> bool:
        """Whether it is asked over the bulk line instead of its UART."""
        return self._link.line.bulk

    @property
    def tick_hz(self) -> int:
        """The rate of the ticks in `Outputs`, per second."""
        settings = self.build.record.board.emulator
        if self.emulated and settings:
            return settings.tick_hz
        return self.hello.facts.tick_hz or self.hello.clock_hz  # an earlier firmware does not tell of its ticks

    @property
    def emulated(self) -> bool:
        """Whether an emulator runs it, so that its ticks are not time."""
        return self.emulator is not None

    @property
    def kind(self) -> str:
        """Whether it is real, or what emulates it."""
        return "real" if self.emulator is None else f"emulated by {type(self.emulator).__name__}"

    def instructions(self, ticks: int) -> int | None:
        """Convert ticks to instructions; None on a real board, in an emulator whose timers count something else, and
        where a framework's clock gives microseconds only.

        The number is exact, but it includes about 25 instructions that start and stop the timer, and 10 more every
        2**24 ticks.
        """
        if self.emulator is None or self.build.record.board.platformio is not None:
            return None
        return self.emulator.instructions(ticks, self.tick_hz)

    @override
    def predict(self, x: Int8, progress: Progress | None = None) -> Outputs:
        """Run the model on the inputs. A real board is sent the next one while it works on one.

        Args:
            x: the inputs, int8[n, *input_shape]; of a model with state, streams int8[n, frames, *input_shape].
            progress: called with (done, n) after each inference or stream.

        Raises:
            BadInputError: x has the wrong dtype or shape.
            DeviceError: the board stopped answering, crashed, or was disconnected.
        """
        manifest = self.bundle.manifest
        manifest.check_inputs(x)
        streams = manifest.state_bytes > 0
        shape = x.shape[: 1 + streams]
        scores = np.empty((*shape, self.hello.outputs), dtype=np.int8)
        accumulators = np.empty((*shape, self.hello.logits), dtype=np.int32)
        ticks = np.empty(shape, dtype=np.int64)
        resent = self.resent_frames
        for done, (at, answer) in enumerate(self._run_streams(x) if streams else self._run_samples(x), start=1):
            inference = _parsed(self._link, self._parse_inference, answer)
            scores[at], accumulators[at], ticks[at] = inference.scores, inference.accumulators, inference.ticks
            frames = shape[1] if streams else 1
            if progress is not None and done % frames == 0:
                progress(done // frames, len(x))
        if self.resent_frames > resent:  # a crash that does not repeat looks like a frame that was lost
            self._ask(self._check_for_crash)
        logits = None if self._scale is None else accumulators * self._scale
        threshold = manifest.label_rule.threshold_steps
        return (
            Outputs.of_streams(scores, logits, threshold, ticks)
            if streams
            else Outputs(scores, logits, ticks, threshold)
        )

    def profile(self, sample: Int8) -> LayerTicks:
        """Run the model on one int8[*input_shape] and time its layers.

        Raises:
            BadInputError: the sample has the wrong dtype or shape, or the firmware was built without a profiler.
            DeviceError: see `predict`.
        """
        if not self.build.record.times_layers:
            raise BadInputError(
                "was built without a profiler",
                where=str(self.build.path),
                fix="build with --profile and flash that",
            )
        self.bundle.manifest.check_inputs(self.bundle.manifest.as_streams(sample[None]))
        answer = self._ask(lambda: self._inferences.ask(Request.PROFILE, sample.tobytes()))
        layers = 1 + max(layer.index for layer in self.bundle.manifest.layers)
        return _parsed(self._link, lambda data: LayerTicks.parse(data, layers), answer)

    def memory(self) -> MemoryUse:
        """Ask for the RAM in use, and for the deepest use of the stack since the board's reset.

        Raises:
            DeviceError: see `predict`.
        """
        return _parsed(self._link, MemoryUse.parse, self._ask(lambda: self._link.ask(Request.MEMORY)))

    def echo(self, data: bytes) -> bytes:
        """Send up to 256 bytes and return them as the board sends them back.

        Raises:
            DeviceError: see `predict`.
        """
        return self._ask(lambda: self._link.ask(Request.ECHO, data))

    def close(self) -> None:
        """Close the port."""
        self._link.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, ask: Callable[[], _T]) -> _T:
        """Ask; if the board hangs, have the bench switch it off and on, and ask once more."""
        try:
            return ask()
        except NoAnswerError:
            if self._bench is None or self._bench.power_cycle is None:
                raise
            self._power_cycle(self._bench)
        return ask()

    def _run_streams(self, streams: Int8) -> Iterator[tuple[tuple[int, ...], bytes]]:
        """Yield the stream and the number of each frame, and its answer; a stream is begun again if the board hung."""
        for number, stream in enumerate(streams):
            frames = [frame.tobytes() for frame in stream]
            answers = self._ask(partial(self._whole_stream, frames))
            yield from (((number, at), answer) for at, answer in answers)

    def _whole_stream(self, frames: list[bytes]) -> list[tuple[int, bytes]]:
        return list(self._inferences.run_stream(frames))

    def _run_samples(self, x: Int8) -> Iterator[tuple[tuple[int, ...], bytes]]:
        return (((at,), answer) for at, answer in self._run([sample.tobytes() for sample in x]))

    def _run(self, samples: list[bytes]) -> Iterator[tuple[int, bytes]]:
        """Yield the position of each sample and its answer, in any order.

        A board that hangs is switched off and on by the bench, and asked for what is left; twice without an answer in
        between, it is given up.
        """
        left, hung_before = dict(enumerate(samples)), -1
        while left:
            places = list(left)
            try:
                for at, answer in self._inferences.run(list(left.values())):
                    del left[places[at]]
                    yield places[at], answer
            except NoAnswerError:
                if self._bench is None or self._bench.power_cycle is None or len(left) == hung_before:
                    raise
                hung_before = len(left)
                self._power_cycle(self._bench)

    def _parse_inference(self, payload: bytes) -> Inference:
        return Inference.parse(payload, self.hello.outputs, self.hello.logits)

    def _power_cycle(self, bench: Bench) -> None:
        """Have the bench switch a board that hangs off and on, and connect to it again, whatever its port is called."""
        resent, url = self.resent_frames, self._link.url
        self._link.close()
        bench.run("power_cycle", self.build, url)
        _, (link, hello) = find_again(
            self.build.record.board, url, lambda place: _reach(place, self.build), _RETURN_SECONDS
        )
        try:
            _check_facts(link.url, hello, self.bundle, self.build)
            before, now = self.hello.clock_hz, hello.clock_hz
            if now != before:  # the ticks of one run would not be comparable
                raise DeviceError(
                    f"the board's clock was {before:,} Hz and is {now:,} Hz since it was switched off and on",
                    where=link.url,
                    fix="start the run again",
                )
            rate = _rate_of(link, self.build, self.emulator)
        except BaseException:
            link.close()
            raise
        self._adopt(link, hello, rate, resent)
        self.power_cycles += 1

    def _estimated_seconds(self) -> float:
        """An upper estimate of the time for one inference, including both directions of the serial line."""
        line_bytes = 2 * (self.hello.inputs + self.hello.outputs + 4 * self.hello.logits)
        line_seconds = 10 * line_bytes / self.build.record.board.uart.baud  # a byte takes ten bits on the line
        slowest = None if self.emulator is None else self.emulator.slowest_hz
        hz = self.hello.clock_hz if slowest is None else min(slowest, self.hello.clock_hz)
        return line_seconds + self.bundle.manifest.macs * _CYCLES_PER_MAC / hz

    def _check_for_crash(self) -> None:
        fault = self._greet_again(self._watchdog_seconds()).fault
        if fault.count != self.hello.fault.count:
            raise DeviceError(
                f"the firmware crashed and the board reset itself: {fault}",
                where=self._link.url,
                fix="look the address up with arm-none-eabi-addr2line in firmware.elf",
            )

    def _watchdog_seconds(self) -> float:
        """How long a model in an endless loop keeps the board silent, before the board's watchdog ends it."""
        seconds = self.hello.facts.watchdog_ms / 1000
        slowest = None if self.emulator is None else self.emulator.slowest_hz
        return min(_LONGEST_LOOP_SECONDS, seconds * max(1.0, self.hello.clock_hz / (slowest or self.hello.clock_hz)))

    def _greet_again(self, silent: float) -> Hello:
        """Greet the board, which may be silent for so many seconds, and may be back at the rate of its beginning."""
        patience = replace(_FIRST, attempts=_FIRST.attempts + round(silent / _FIRST.seconds))
        try:
            return greet(self._link, patience=patience)
        except NoAnswerError:
            if self._rate is None or not self._rate.can_fall:
                raise
        self._rate.start_again()
        return greet(self._link)


def greet(link: Link, on_silence: Callable[[], None] | None = None, patience: Patience = _FIRST) -> Hello:
    """Ask a board, which may still be starting up, to identify itself; `on_silence` is called before each repetition.

    Raises:
        DeviceError: it does not answer, or it does not run a tritguard firmware.
    """
    answer = link.ask(Request.HELLO, b"", patience, on_silence=on_silence)
    return _parsed(link, Hello.parse, answer)


def connect(
    url: str, bundle: Bundle, build: Build, *, emulated: bool | None = None, bench: Bench | None = None
) -> Device:
    """Open a port and make sure that the board there runs this model in this firmware.

    Args:
        url: the port, in any form that pyserial opens; `auto` looks for it.
        bundle: the model.
        build: the firmware, built from `bundle`.
        emulated: whether an emulator runs the board; by default true if tritguard started one at this port.
        bench: switches the board off and on if it hangs.

    Raises:
        BadInputError: the build was made from another bundle.
        WrongFirmwareError: the board runs another model or firmware.
        DeviceError: the port cannot be opened, nothing answers, or the board tells of itself what cannot be.
    """
    _check_bundle(bundle, build)
    if url == AUTO:
        url, _ = find_port(build.record.board, lambda place: identify(place, build))
    emulator = emulator_of(build.record.board) if (is_emulated(url) if emulated is None else emulated) else None
    return _connect(SerialLine(url, build.record.board.uart.baud), bundle, build, emulator, bench)


def _check_bundle(bundle: Bundle, build: Build) -> None:
    if build.record.bundle_sha256 != bundle.sha256:
        raise BadInputError("was built from another bundle", where=str(build.path), fix="build it again from this one")


def _connect(line: Line, bundle: Bundle, build: Build, emulator: Emulator | None, bench: Bench | None = None) -> Device:
    link, hello = _greet_over(line, build)
    try:
        _check_facts(line.url, hello, bundle, build)
        rate = _rate_of(link, build, emulator)
    except BaseException:
        link.close()
        raise
    return Device(link, hello, bundle, build, emulator, rate, bench)


def _rate_of(link: Link, build: Build, emulator: Emulator | None) -> Rate | None:
    """The rate of a line that has one; on a real board the fastest that works."""
    if not isinstance(link.line, StreamLine):
        return None
    uart = build.record.board.uart
    rate = Rate(link, link.line, uart.baud, uart.rates)
    if emulator is None:
        rate.rise()
    return rate


def _reach(url: str, build: Build) -> tuple[Link, Hello]:
    return _greet_over(SerialLine(url, build.record.board.uart.baud), build)


def _greet_over(line: Line, build: Build) -> tuple[Link, Hello]:
    """Ask the board on a line who it is, and make sure that it runs this firmware; the line is closed otherwise."""
    link = Link(line)
    try:
        hello = greet(link, _caller(line, build))
        check_firmware(line.url, hello, build)
    except BaseException:
        link.close()
        raise
    return link, hello


def _caller(line: Line, build: Build) -> Callable[[], None] | None:
    """What calls back a board that an earlier session left at a faster rate; None if it has none."""
    return (lambda: call_back(line)) if isinstance(line, StreamLine) and build.record.board.uart.rates else None


def identify(url: str, build: Build) -> Hello:
    """Ask the board at a port to identify itself, and make sure that it runs this firmware.

    Raises:
        WrongFirmwareError, DeviceError: see `connect`.
    """
    link, hello = _reach(url, build)
    link.close()
    return hello


@contextmanager
def open_device(bundle: Bundle, build: Build, port: str | None = None, bench: Bench | None = None) -> Iterator[Device]:
    """Open the device of a build: the board at `port`, or if no port is given a temporary emulated board.

    Args:
        bundle: the model.
        build: the firmware, built from `bundle`.
        port: see `connect`.
        bench: the user's commands that lease the board and switch its power; for a board at a port.

    Raises:
        BadInputError: no port is given, and the board has no emulator or there is a bench; see also `connect`.
        ToolMissingError, DeviceError: see `EmulatedBoard`, `connect` and `Bench`.
    """
    if port is None:
        if bench is not None:
            raise BadInputError("a bench is for real boards", where=build.record.board.id, fix="name the board's port")
        with emulate(bundle, build) as device:
            yield device
        return
    with (bench or Bench()).held(build, port), connect(port, bundle, build, bench=bench) as device:
        yield device


@contextmanager
def emulate(
    bundle: Bundle, build: Build, *, elf: Path | None = None, counting: Counting | None = None, bulk: bool = True
) -> Iterator[Device]:
    """Start a temporary emulated board.

    Args:
        bundle: the model.
        build: the firmware, built from `bundle`.
        elf: the image to boot instead of the build's.
        counting: see `EmulatedBoard`.
        bulk: ask it over the bulk line, unless the firmware, the emulator or this system has none; otherwise over the
            UART.

    Raises:
        BadInputError, ToolMissingError, DeviceError: see `EmulatedBoard` and `connect`.
    """
    _check_bundle(bundle, build)
    board, image = build.record.board, build.elf if elf is None else elf
    emulator = emulator_of(board)
    bulk = bulk and board.platformio is None and emulator.has_debugger and hasattr(socket, "AF_UNIX")
    mailbox = Mailbox.find(image) if bulk else None
    if mailbox is None:
        with (
            EmulatedBoard(board, image, counting) as emulated_board,
            connect(emulated_board.url, bundle, build, emulated=True) as device,
        ):
            yield device
        return
    ours, theirs = socket.socketpair()
    with ours, theirs, EmulatedBoard(board, image, counting, debugger=theirs) as emulated_board:
        theirs.close()  # so that the line breaks when QEMU ends
        try:
            line = BulkLine(ours, mailbox, emulated_board.url)
        except DeviceError as error:
            raise emulated_board.exited() from error
        with _connect(line, bundle, build, emulator) as device:
            yield device


def check_firmware(url: str, found: Hello, build: Build) -> None:
    """Raise WrongFirmwareError unless the HELLO of the board at `url` matches this build."""
    wanted = build.record
    for what, there, here in (
        ("is of another kind", found.board, wanted.board.id),
        ("runs another model", found.model_sha256[:12], wanted.model_sha256[:12]),
        ("runs this model in another firmware", found.build_id[:12], wanted.build_id[:12]),
    ):
        if there != here:
            raise WrongFirmwareError(
                f"the board {what}: {there}, not {here}", where=url, fix="flash this build with 'tritguard flash'"
            )


def _check_facts(url: str, found: Hello, bundle: Bundle, build: Build) -> None:
    """Raise DeviceError unless the numbers in a HELLO are those of the model and near those of the board."""
    manifest, hz = bundle.manifest, build.record.board.clock.hz
    # An engine may give no logits even if the model has them.
    logits = (0,) if manifest.logits is None else (0, manifest.output_bytes)
    for what, there, right in (
        ("inputs", found.inputs, found.inputs == manifest.input.bytes),
        ("outputs", found.outputs, found.outputs == manifest.output_bytes),
        ("logits", found.logits, found.logits in logits),
        ("Hz of its clock", found.clock_hz, hz / _SLOWDOWN <= found.clock_hz <= 2 * hz),
        ("ticks a second", found.facts.tick_hz, found.facts.tick_hz <= 2 * hz),
    ):
        if not right:
            raise DeviceError(
                f"the board tells of {there:,} {what}, which its model or board file rules out",
                where=url,
                fix="flash this build with 'tritguard flash'",
            )


def _parsed(link: Link, parse: Callable[[bytes], _T], payload: bytes) -> _T:
    try:
        return parse(payload)
    except ProtocolError as error:
        raise link.nonsense(error) from error
