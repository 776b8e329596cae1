"""From a build to a board that runs it."""

from __future__ import annotations

from collections.abc import Callable

from tritguard.boards import Board
from tritguard.build import Build
from tritguard.device import (
    AUTO,
    Bench,
    Hello,
    by_boot_loader,
    check_any_port,
    find_again,
    identify,
    upload,
    waits_for,
)
from tritguard.errors import BadInputError, DeviceError

_BENCH = "bench"
_RETURN_SECONDS = 20.0


def methods(firmware: Build, bench: Bench | None = None) -> list[str]:
    """The ways of flashing that a build's board has, the usual one first; a bench's own goes before them.

    Where a board has one method for several probes, they are told apart as METHOD:PROTOCOL.
    """
    ways = [way_name(way) for way in firmware.record.board.upload]
    return ([_BENCH] if bench is not None and bench.upload is not None else []) + ways


def way_name(way: object) -> str:
    """What the user calls one of a board's ways of flashing."""
    method, protocol = getattr(way, "method", ""), getattr(way, "protocol", None)
    return f"{method}:{protocol}" if protocol else str(method)


def check_flashable(board: Board, port: str | None, bench: Bench | None = None) -> None:
    """Check that a board at a port, or on a bench, could be flashed.

    Raises:
        BadInputError: the board is emulated only, and a port was given, or a bench that cannot flash it.
    """
    by_bench = bench is not None and bench.upload is not None
    if board.emulator is None or board.upload or by_bench:
        return
    if bench is not None and port is None:
        raise BadInputError("a bench is for real boards", where=board.id, fix="leave the bench out for an emulated one")
    if port is not None:
        what = "is emulated only, so nothing can be flashed to a board at a port"
        raise BadInputError(what, where=board.id, fix="leave --port out: the emulated board is started")


def check_attached(board: Board, port: str | None, bench: Bench | None, note: Callable[[str], object]) -> None:
    """Check, before the work whose outcome is to be flashed, that a board to look for may be there.

    A bench may have to plug the board in first. A board whose boot loader takes the firmware may have no serial port
    before it has been flashed: only `note` is told then.

    Raises:
        DeviceError: there is no serial port on USB, and the board is flashed only by a probe, which would show one.
    """
    if port != AUTO or bench is not None:
        return
    try:
        check_any_port(board)
    except DeviceError as error:
        if not any(by_boot_loader(way) for way in board.upload):
            raise
        note(
            f"{error.what}: by the time it is flashed, {board.name} has to be plugged in, and in its boot loader if it "
            "runs no firmware"
        )


def flash(
    firmware: Build,
    *,
    method: str | None = None,
    port: str | None = None,
    bench: Bench | None = None,
    note: Callable[[str], object] | None = None,
) -> tuple[str, Hello] | None:
    """Write a firmware into its board's flash, and ask the board who it is once it has started.

    Args:
        firmware: the build.
        method: one of `methods`, or the first part of one; by default the first.
        port: the board's serial port, or `auto` to look for it; without it, the board is looked for where its file has
            ids of its port on USB.
        bench: the user's commands that lease the board, and may flash it.
        note: told what the user may have to do while the board is waited for.

    Returns:
        The port where the board is now, which may have another name than before, and its answer; None if there is no
        port to ask at.

    Raises:
        BadInputError: the board has no such method.
        ToolMissingError, DeviceError, WrongFirmwareError: see `upload`, `Bench` and `identify`.
    """
    board = firmware.record.board
    check_flashable(board, port, bench)
    known = methods(firmware, bench)
    chosen = next((name for name in known if method is None or name == method or name.startswith(f"{method}:")), None)
    if chosen is None:
        wanted = f"no method {method}" if method else "no method"
        where = board.id if port is None else f"{board.id} at a port"
        others = ["emulator"] if board.emulator is not None and port is None else []
        raise BadInputError(wanted, where=where, fix=f"it has {', '.join(others + known) or 'none'}")
    named = None if port == AUTO else port
    with (bench or Bench()).held(firmware, named):
        if bench is None or chosen != _BENCH or not bench.run("upload", firmware, named):
            way = next(way for way in board.upload if way_name(way) == chosen)
            if note is not None and (waited := waits_for(way)):
                note(waited)
            upload(firmware, way, named)
        if port is None and not board.usb:
            return None
        place = port or AUTO
        return find_again(board, place, lambda url: identify(url, firmware), _RETURN_SECONDS)
