"""Finds the port that a board is at: by its ids on USB, then by what it answers to HELLO."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from serial.tools import list_ports

from tritguard.boards import Board
from tritguard.errors import BadInputError, DeviceError

AUTO = "auto"
"""Stands for a port that is to be looked for."""

_POLL_SECONDS = 0.25

T = TypeVar("T")


def candidates(board: Board) -> list[str]:
    """The ports of this machine at which the board may be.

    They are those with one of the board's ids; if there are none, or the board's file has no ids, all ports on USB.
    """
    ports = sorted((port for port in list_ports.comports() if port.vid is not None), key=lambda port: port.device)
    alike = [port for port in ports if f"{port.vid:04x}:{port.pid:04x}" in board.usb]
    return [port.device for port in alike or ports]


def check_any_port(board: Board) -> list[str]:
    """The ports of this machine at which the board may be, at least one; no board is asked anything.

    Raises:
        BadInputError: the board is emulated only.
        DeviceError: there is no serial port on USB.
    """
    places = candidates(board)
    if not places and board.emulator is not None and not board.upload and not board.usb:
        fix = "leave --port out: the emulated board is started"
        raise BadInputError("is emulated only, so no port has it", where=board.id, fix=fix)
    if not places:
        raise DeviceError(
            "no serial port on USB is there",
            where=board.id,
            fix="plug the board in with a cable that carries data, not only power; then 'tritguard doctor' lists it",
        )
    return places


def find_port(board: Board, ask: Callable[[str], T]) -> tuple[str, T]:
    """Find the port where the right board answers.

    Args:
        board: the board.
        ask: asks at a port who is there; raises DeviceError if it is not the right one.

    Returns:
        The port, and what `ask` returned there.

    Raises:
        DeviceError: there is no port, or at none of them the right board answers; it says what each of them said.
    """
    places = check_any_port(board)
    refusals = []
    for place in places:
        try:
            return place, ask(place)
        except DeviceError as error:
            refusals.append(error)
    if len(refusals) == 1:
        raise refusals[0]
    said = "; ".join(f"{error.where}: {error.what}" for error in refusals)
    raise DeviceError(
        f"at none of {len(places)} ports the board answers ({said})",
        where=board.id,
        fix="flash this build with 'tritguard flash', or name the port",
    )


def find_again(board: Board, port: str, ask: Callable[[str], T], seconds: float) -> tuple[str, T]:
    """Find a board that was at a port before it was flashed or powered anew, there or under another name.

    Args:
        board: the board.
        port: where it was; `auto` where that is not known.
        ask: see `find_port`.
        seconds: how long to wait for it.

    Returns:
        The port, and what `ask` returned there.

    Raises:
        DeviceError: the board was not found in time; the error is the last one at the old port.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return find_port(board, ask) if port == AUTO else (port, ask(port))
        except DeviceError as error:
            refusal = error
        if board.usb and port != AUTO:
            with suppress(DeviceError):
                return find_port(board, ask)
        if time.monotonic() > deadline:
            raise refusal
        time.sleep(_POLL_SECONDS)
