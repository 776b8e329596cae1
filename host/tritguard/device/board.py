"""A board that runs a model, as a Predictor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Self, TypeVar

import numpy as np
from typing_extensions import override

from tritguard.build import Build
from tritguard.device.bench import Bench
from tritguard.device.emulators import Emulator
from tritguard.device.greeting import FIRST, check_facts, greet, rate_of, reach
from tritguard.device.inferences import Inferences
from tritguard.device.line import NoAnswerError
from tritguard.device.link import Link
from tritguard.device.ports import find_again
from tritguard.device.protocol import Hello, Inference, LayerTicks, MemoryUse, Request
from tritguard.device.rate import Rate
from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError, DeviceError
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.progress import Progress

_T = TypeVar("_T")

# Used to estimate how long the first inference takes. The portable kernels need about 15 cycles per MAC on a Cortex-M4.
_CYCLES_PER_MAC = 20
# By then a board that was switched on again has started, with its USB.
_RETURN_SECONDS = 30.0
# How long at most to wait until a board's watchdog ends an inference, whatever the board says about its watchdog.
_LONGEST_LOOP_SECONDS = 600.0


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
        """Take over a link to the board; `resent` requests count as sent again before it."""
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
        return self.hello.facts.tick_hz or self.hello.clock_hz  # an earlier firmware does not report its ticks' rate

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
            x: the inputs, int8[n, *input_shape], or int16 where the model takes it; for a model with state, streams
                [n, frames, *input_shape].
            progress: called with (done, n) at the start and after each inference or stream.

        Raises:
            BadInputError: x has the wrong dtype or shape.
            DeviceError: the board stopped answering, crashed, or was disconnected.
        """
        manifest = self.bundle.manifest
        manifest.check_inputs(x)
        streams = manifest.state_bytes > 0
        shape = x.shape[: 1 + streams]
        steps = manifest.output_dtype
        scores = np.empty((*shape, self.hello.outputs // steps.itemsize), dtype=steps)
        accumulators = np.empty((*shape, self.hello.logits), dtype=np.int32)
        ticks = np.empty(shape, dtype=np.int64)
        resent = self.resent_frames
        if progress is not None:
            progress(0, len(x))
        for done, (at, answer) in enumerate(self._run_streams(x) if streams else self._run_samples(x), start=1):
            inference = self._link.parsed(self._parse_inference, answer)
            scores[at], ticks[at] = inference.scores.view(steps), inference.ticks
            accumulators[at] = inference.accumulators
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
        return self._link.parsed(lambda data: LayerTicks.parse(data, layers), answer)

    def memory(self) -> MemoryUse:
        """Ask for the RAM in use, and for the deepest use of the stack since the board's reset.

        Raises:
            DeviceError: see `predict`.
        """
        return self._link.parsed(MemoryUse.parse, self._ask(lambda: self._link.ask(Request.MEMORY)))

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

        A board that hangs is switched off and on by the bench, and asked for what is left; if it hangs twice without an
        answer in between, it is given up.
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
            self.build.record.board, url, lambda place: reach(place, self.build), _RETURN_SECONDS
        )
        try:
            check_facts(link.url, hello, self.bundle, self.build)
            before, now = self.hello.clock_hz, hello.clock_hz
            if now != before:  # the ticks of one run would not be comparable
                raise DeviceError(
                    f"the board's clock was {before:,} Hz and is {now:,} Hz since it was switched off and on",
                    where=link.url,
                    fix="start the run again",
                )
            rate = rate_of(link, self.build, self.emulator)
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
        """Greet the board, which may not answer for `silent` seconds, and may be back at its first rate."""
        patience = replace(FIRST, attempts=FIRST.attempts + round(silent / FIRST.seconds))
        try:
            return greet(self._link, patience=patience)
        except NoAnswerError:
            if self._rate is None or not self._rate.can_fall:
                raise
        self._rate.start_again()
        return greet(self._link)
