"""tritguard boards: lists the boards that firmware can be built for."""

from __future__ import annotations

from rich import box
from rich.table import Table

from tritguard.boards import Board, available_boards
from tritguard.cli.terminal import console, say
from tritguard.resources import boards_dir


def command() -> None:
    """List the boards, and what no hardware has confirmed of them."""
    table = Table("id", "board", "Cortex", "flash", "RAM", "runs by", "status", box=box.SIMPLE, padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = table.columns[-1].no_wrap = True
    for board in available_boards():
        flash, ram = (_size(region.bytes) for region in (board.memory.flash, board.memory.ram))
        table.add_row(
            board.id,
            board.name,
            board.core.removeprefix("cortex-").upper().replace("PLUS", "+"),
            flash,
            ram,
            "\n".join(ways(board)),
            board.status,
        )
    console.print(table)
    for board in available_boards():
        for fact in board.unconfirmed:
            say(f"{board.id}: no hardware has confirmed {fact}")
    console.print("--board takes a .toml file of your own, too; the shipped ones are in", boards_dir(), soft_wrap=True)


def _size(count: int) -> str:
    return f"{count >> 10} K" if count < 1 << 20 else f"{count >> 20} M"


def ways(board: Board) -> list[str]:
    """List the methods of 'tritguard flash' that this board has, the usual one first."""
    return (["emulator"] if board.emulator else []) + [way.method for way in board.upload]
