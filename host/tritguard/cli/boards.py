"""tritguard boards: lists the boards that firmware can be built for."""

from __future__ import annotations

from typing import Annotated

import typer
from rich import box
from rich.table import Table

from tritguard.api.flashing import way_name
from tritguard.boards import Board, available_boards
from tritguard.boards.platformio import CORES, KnownBoard, known_boards
from tritguard.cli.terminal import console, say, tell
from tritguard.resources import boards_dir

_ROOM = 110  # columns of a terminal in which a way to flash fits in one line


def command(
    search: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", help="Those with this in their names, also of all boards that PlatformIO knows here."
        ),
    ] = None,
) -> None:
    """List the boards, and what no hardware has confirmed of them."""
    boards = [board for board in available_boards() if search is None or _fits(search, board.id, board.name)]
    known = [] if search is None else list(known_boards())
    shipped = {board.platformio.board for board in boards if board.platformio is not None}
    others = [board for board in known if board.board not in shipped and _fits(search or "", board.board, board.name)]
    tell({"boards": boards, "platformio": [_told(board) for board in others]})
    table = _empty_table()
    for board in boards:
        flash, ram = (_size(region.bytes) for region in (board.memory.flash, board.memory.ram))
        table.add_row(board.id, board.name, _core(board.core), flash, ram, "\n".join(ways(board)), board.status)
    for one in others:
        table.add_row(*_row(one))
    if search is not None and not known:
        console.print(
            "no platform of PlatformIO is on this machine, so only shipped boards are listed; one is fetched by "
            f"'pio pkg install --global --platform platformio/ststm32', or {CORES} names a folder that has some",
            soft_wrap=True,
        )
    if boards or others:
        console.print(table)
    else:
        say(f"no board has {search!r} in its id or name")
    _say_facts(boards)
    for board in boards:
        if board.built is not None:
            say(f"{board.id}: built {board.built}")
    console.print("--board takes a .toml file of your own, too; the shipped ones are in", boards_dir(), soft_wrap=True)
    if search is None:
        console.print(
            "--search TEXT also looks in the platforms of PlatformIO that are on this machine", soft_wrap=True
        )


def _empty_table() -> Table:
    roomy = console.width >= _ROOM
    padding = (0, 1, 0, 0) if roomy else 0
    table = Table("id", "board", "Cortex", "flash", "RAM", "runs by", "status", box=box.SIMPLE, padding=padding)
    for column in table.columns:
        column.no_wrap = column.header not in {"board", "runs by"}
        column.overflow = "fold"  # a way to flash is one long word
    if not roomy:
        table.columns[-2].width = len("platformio:")  # so that it breaks behind the colon
    return table


def _told(board: KnownBoard) -> dict[str, object]:
    """What is known of a board that no file of ours describes; sizes in bytes."""
    return {
        "id": f"pio:{board.platform}/{board.board}",
        "name": board.name,
        "core": board.core,
        "flash_bytes": board.flash_bytes,
        "ram_bytes": board.ram_bytes,
        "upload": f"platformio:{board.upload.get('protocol') or ''}",
    }


def _row(board: KnownBoard) -> tuple[str, ...]:
    told = _told(board)
    sizes = (_size(int(str(told[key]))) for key in ("flash_bytes", "ram_bytes"))
    return (str(told["id"]), board.name, _core(board.core), *sizes, str(told["upload"]), "untried")


def _fits(search: str, *names: str) -> bool:
    return any(search.lower() in name.lower() for name in names)


def _core(core: str) -> str:
    return core.removeprefix("cortex-").upper().replace("PLUS", "+")


def _size(count: int) -> str:
    return f"{count >> 10} K" if count < 1 << 20 else f"{count >> 20} M"


def _say_facts(boards: list[Board]) -> None:
    """Say what is not confirmed, each fact once with all the boards that it is about."""
    facts: dict[str, list[str]] = {}
    for board in boards:
        for fact in board.unconfirmed:
            facts.setdefault(fact, []).append(board.id)
    for fact, ids in facts.items():
        say(f"{', '.join(ids)}: no hardware has confirmed {fact}")


def ways(board: Board) -> list[str]:
    """List the methods of 'tritguard flash' that this board has, the usual one first."""
    return (["emulator"] if board.emulator else []) + [way_name(way) for way in board.upload]
