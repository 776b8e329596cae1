"""Asks a board on a line what it is, and checks that against its build."""

from __future__ import annotations

from collections.abc import Callable

from tritguard.build import Build
from tritguard.device.emulators import Emulator
from tritguard.device.line import Line, SerialLine, StreamLine
from tritguard.device.link import Link, Patience
from tritguard.device.protocol import Hello, Request
from tritguard.device.rate import Rate, call_back
from tritguard.emit.bundle import Bundle
from tritguard.errors import DeviceError, WrongFirmwareError

# A board that is still starting up drops what it receives, so the first request is repeated soon and often.
FIRST = Patience(seconds=0.2, attempts=25)
# A board whose crystal did not start runs slower than its file says, but by less than this factor.
_SLOWDOWN = 64


def greet(link: Link, on_silence: Callable[[], None] | None = None, patience: Patience = FIRST) -> Hello:
    """Ask a board, which may still be starting up, to identify itself; `on_silence` is called before each repetition.

    Raises:
        DeviceError: it does not answer, or it does not run a tritguard firmware.
    """
    answer = link.ask(Request.HELLO, b"", patience, on_silence=on_silence)
    return link.parsed(Hello.parse, answer)


def reach(url: str, build: Build) -> tuple[Link, Hello]:
    """Open a port and `greet_over` it."""
    return greet_over(SerialLine(url, build.record.board.uart.baud), build)


def greet_over(line: Line, build: Build) -> tuple[Link, Hello]:
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
    """What calls back a board that an earlier session left at a faster rate; None if it has no faster rate."""
    return (lambda: call_back(line)) if isinstance(line, StreamLine) and build.record.board.uart.rates else None


def identify(url: str, build: Build) -> Hello:
    """Ask the board at a port to identify itself, and make sure that it runs this firmware.

    Raises:
        WrongFirmwareError, DeviceError: see `connect`.
    """
    link, hello = reach(url, build)
    link.close()
    return hello


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


def check_facts(url: str, found: Hello, bundle: Bundle, build: Build) -> None:
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


def rate_of(link: Link, build: Build, emulator: Emulator | None) -> Rate | None:
    """The rate of a line that has one; on a real board the fastest that works."""
    if not isinstance(link.line, StreamLine):
        return None
    uart = build.record.board.uart
    rate = Rate(link, link.line, uart.baud, uart.rates)
    if emulator is None:
        rate.rise()
    return rate
