"""The boards that the runs of a folder ran on, and those plugged into this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from serial.tools import list_ports

from tritguard.boards import available_boards
from tritguard.device.line import port_user
from tritguard.evaluate.selftest import Selftest
from tritguard.evaluate.study import Confirmation
from tritguard.report import wording as say
from tritguard.serve.runs import Run
from tritguard.serve.views import minute


@dataclass(frozen=True)
class Used:
    """A board as its newest result saw it.

    Attributes:
        run: the id of the run that has this result.
        health: `healthy`, `weak line` if frames had to be sent again, or `other bytes` than the twin's.
        seen: what happened to the inputs.
    """

    name: str
    emulated: bool
    run: str
    when: str
    health: str
    seen: str


@dataclass(frozen=True)
class Tried:
    """A board that a selftest tried; `failed` names what it did not pass."""

    name: str
    emulated: bool
    file: str
    when: str
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Plugged:
    """A port of this machine, the boards that have its ids, and which process of tritguard uses it (0 if unknown)."""

    port: str
    what: str
    boards: tuple[str, ...]
    user: int | None


def used(runs: Iterable[Run]) -> list[Used]:
    """Find the boards of robustness results, each with what the newest one says about it."""
    newest: dict[tuple[str, bool], Used] = {}
    for run in runs:
        if (result := run.robustness) is None:
            continue
        firmware, when = result.firmware, result.provenance.created
        key = firmware.board_name, firmware.emulated
        if key not in newest or newest[key].when < when:
            seen = result.confirmation
            newest[key] = Used(*key, run.id, when, _health(seen), _seen(seen))
    shown = [replace(one, when=minute(one.when)) for one in newest.values()]
    return sorted(shown, key=lambda one: (one.emulated, one.name))


def _health(seen: Confirmation) -> str:
    if seen.mismatched_inputs:
        return "other bytes"
    return "weak line" if seen.resent_frames else "healthy"


def _seen(seen: Confirmation) -> str:
    return (
        f"{say.count(seen.inputs)} inputs, {say.count(seen.mismatched_inputs)} with other bytes than the twin, "
        f"{say.count(seen.resent_frames)} frames sent again"
    )


def tried(selftests: Sequence[tuple[str, Selftest]]) -> list[Tried]:
    """Describe the records of selftests."""
    return [
        Tried(
            record.board.name,
            record.emulator is not None,
            file,
            minute(record.made),
            tuple(f"{check.name}: {check.seen}" for check in record.checks if not check.passed),
        )
        for file, record in selftests
    ]


def plugged() -> list[Plugged]:
    """List what is plugged into this machine's USB, without opening any port."""
    boards = available_boards()
    found = []
    for port in sorted(port for port in list_ports.comports() if port.vid is not None):
        ids = f"{port.vid:04x}:{port.pid:04x}"
        alike = tuple(board.name for board in boards if ids in board.usb)
        found.append(Plugged(port.device, port.description, alike, port_user(port.device)))
    return found
