"""Opens the device of a build: a board at a port, or a temporary emulated one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tritguard.build import Build
from tritguard.device.bench import Bench
from tritguard.device.board import Device
from tritguard.device.bulk import BulkLine, Mailbox
from tritguard.device.emulators import Counting, EmulatedBoard, Emulator, emulator_of, is_emulated
from tritguard.device.greeting import check_facts, greet_over, identify, rate_of
from tritguard.device.line import Line, SerialLine
from tritguard.device.ports import AUTO, find_port
from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError, DeviceError

# Cycles that a firmware needs at most to take a request of 256 bytes and to answer it, an inference aside.
_CYCLES_OF_A_REQUEST = 200_000


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
        DeviceError: the port cannot be opened, nothing answers, or what the board says about itself cannot be.
    """
    _check_bundle(bundle, build)
    if url == AUTO:
        url, _ = find_port(build.record.board, lambda place: identify(place, build))
    emulator = emulator_of(build.record.board) if (is_emulated(url) if emulated is None else emulated) else None
    return _connect(SerialLine(url, build.record.board.uart.baud), bundle, build, emulator, bench)


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


def _connect(line: Line, bundle: Bundle, build: Build, emulator: Emulator | None, bench: Bench | None = None) -> Device:
    if emulator is not None and emulator.slowest_hz is not None:
        line.slack = _CYCLES_OF_A_REQUEST / emulator.slowest_hz
    link, hello = greet_over(line, build)
    try:
        check_facts(line.url, hello, bundle, build)
        rate = rate_of(link, build, emulator)
    except BaseException:
        link.close()
        raise
    return Device(link, hello, bundle, build, emulator, rate, bench)


def _check_bundle(bundle: Bundle, build: Build) -> None:
    if build.record.bundle_sha256 != bundle.sha256:
        what = f"was built from another bundle than {bundle.path}"
        fix = "give the bundle that it was built from (selftest takes it by --bundle), or build it again"
        raise BadInputError(what, where=str(build.path), fix=fix)
