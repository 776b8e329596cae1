"""What PlatformIO knows about boards: its platforms on this machine, and a JSON file for each of their boards."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tritguard.errors import BadInputError, ToolMissingError

CORES = "TRITGUARD_CORES"
"""The environment variable that names a folder with `platforms/` and `packages/`, laid out as PlatformIO's own."""

# A platform is a program that runs at every build, so a board's file names one and never says where it comes from.
_RASPBERRYPI = "https://github.com/maxgerhardt/platform-raspberrypi.git#2d445020acf8b792768a5fa5ba1870ac9607c11c"
_NOT_IN_THE_REGISTRY = {"raspberrypi": _RASPBERRYPI}

_STACK_BYTES = 4096
_BAUD = 115_200
_UNTRIED = "everything: it comes from PlatformIO's own file"


@dataclass(frozen=True)
class KnownBoard:
    """A board that a platform of PlatformIO on this machine knows.

    A part of its file that is not of the kind it has to be counts as absent.

    Attributes:
        platform: the platform's name.
        board: the platform's id of the board.
        facts: the board's JSON file.
    """

    platform: str
    board: str
    facts: dict[str, Any]

    @property
    def name(self) -> str:
        """What the board is called; empty where the file does not say."""
        return str(self.facts.get("name") or "")

    @property
    def core(self) -> str:
        """The compiler's name for the core; empty where the file does not say."""
        return str(self.build.get("cpu") or "")

    @property
    def build(self) -> dict[str, Any]:
        """What the file says for the compiler."""
        return _table(self.facts.get("build"))

    @property
    def upload(self) -> dict[str, Any]:
        """What the file says of uploads, and the sizes of the memories."""
        return _table(self.facts.get("upload"))

    @property
    def flash_bytes(self) -> int:
        """The size of the flash; 0 where the file does not say."""
        return _whole(self.upload.get("maximum_size"))

    @property
    def ram_bytes(self) -> int:
        """The size of the RAM; 0 where the file does not say."""
        return _whole(self.upload.get("maximum_ram_size"))


def requirement(platform: str, version: str | None) -> str:
    """What `platform =` says in a project that PlatformIO builds: where the platform comes from, and its version."""
    if platform in _NOT_IN_THE_REGISTRY:
        return _NOT_IN_THE_REGISTRY[platform]
    return f"platformio/{platform}" + (f"@{version}" if version else "")


def cores_folder() -> Path | None:
    """The folder that TRITGUARD_CORES names; None where it names none."""
    named = os.environ.get(CORES)
    return Path(named).resolve() if named else None


def core_dir() -> Path:
    """Where PlatformIO keeps what it fetched for this user."""
    named = os.environ.get("PLATFORMIO_CORE_DIR")
    return Path(named) if named else Path.home() / ".platformio"


def platform_folder(platform: str) -> Path | None:
    """The platform on this machine, in TRITGUARD_CORES or where PlatformIO keeps its own; None if it is not there."""
    return _platforms(cores_folder(), core_dir()).get(platform)


def kept_platform(platform: str) -> Path | None:
    """The platform in TRITGUARD_CORES, which nobody has to fetch; None if it is not there."""
    cores, local = cores_folder(), platform_folder(platform)
    return local if cores is not None and local is not None and local.is_relative_to(cores) else None


def package_folders(platform: Path) -> dict[str, Path]:
    """The packages that a platform names and TRITGUARD_CORES holds, by their names."""
    cores = cores_folder()
    if cores is None:
        return {}
    named = _table(_json(platform / "platform.json").get("packages"))
    places = {name: cores / "packages" / name for name in sorted(named)}
    return {name: place for name, place in places.items() if place.is_dir()}


def known_boards() -> Iterator[KnownBoard]:
    """All Cortex-M boards of the platforms on this machine that have the Arduino framework, sorted."""
    for platform, folder in sorted(_platforms(cores_folder(), core_dir()).items()):
        for file in sorted((folder / "boards").glob("*.json")):
            board = KnownBoard(platform, file.stem, _json(file))
            if board.core.startswith("cortex-m") and "arduino" in _texts(board.facts.get("frameworks")):
                yield board


def find_board(platform: str, board: str, where: str, version: str | None = None) -> KnownBoard:
    """Read what a platform says about a board.

    Args:
        platform: the platform's name.
        board: its id of the board.
        where: what an error names.
        version: the platform's version to ask for where it is not on this machine; None for the newest.

    Raises:
        ToolMissingError: the platform is not on this machine.
        BadInputError: the platform has no such board, or its file cannot be read.
    """
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", platform) or not re.fullmatch(r"[A-Za-z0-9_-]+", board):
        raise BadInputError("no platform and board of PlatformIO", where=where, fix="as pio:ststm32/nucleo_f446re")
    folder = platform_folder(platform)
    if folder is None:
        raise ToolMissingError(
            f"PlatformIO's platform {platform} is not on this machine",
            where=where,
            fix=f"pio pkg install --global --platform {requirement(platform, version)}",
        )
    file = folder / "boards" / f"{board}.json"
    if not file.is_file():
        close = sorted(path.stem for path in file.parent.glob(f"*{board.rsplit('_', maxsplit=1)[-1]}*.json"))[:5]
        fix = f"'tritguard boards --search' lists them{', such as ' + ', '.join(close) if close else ''}"
        raise BadInputError(f"the platform {platform} has no board '{board}'", where=where, fix=fix)
    return KnownBoard(platform, board, _json(file))


def completed(table: dict[str, Any], where: str) -> dict[str, Any]:
    """Fill in what a board's table with `[platformio]` leaves out, from PlatformIO's own file of the board.

    Args:
        table: the table, which itself is not changed.
        where: what an error names.

    Raises:
        ToolMissingError, BadInputError: see `find_board`; only if something that the table needs is left out.
    """
    asked = table["platformio"]
    known = {"stack_bytes": _STACK_BYTES, "uart": {"driver": asked.get("framework"), "baud": _BAUD}}
    table = known | table
    if {"name", "vendor", "url", "core", "memory", "clock", "status"} <= set(table):
        return table
    board = find_board(str(asked.get("platform")), str(asked.get("board")), where, asked.get("version"))
    return facts(board) | table


def facts(board: KnownBoard) -> dict[str, Any]:
    """A board's table as far as PlatformIO's file has it.

    Raises:
        BadInputError: the file lacks the core, a size or the clock, or has USB numbers that are none.
    """
    hz = _whole(re.sub(r"[^0-9]", "", str(board.build.get("f_cpu"))))
    flash, ram = board.flash_bytes, board.ram_bytes
    said = {"cpu": board.core, "f_cpu": hz, "maximum_size": flash, "maximum_ram_size": ram}
    fix = "write a .toml for this board"
    if missing := [name for name, value in said.items() if not value]:
        raise BadInputError(f"PlatformIO's file does not say {missing[0]}", where=board.board, fix=fix)
    usb = [usb_id(pair) for pair in _list(board.build.get("hwids"))]
    if "" in usb:
        raise BadInputError("PlatformIO's file has hwids that are no pairs of numbers", where=board.board, fix=fix)
    protocols = _texts([board.upload.get("protocol"), *_list(board.upload.get("protocols"))])
    return {
        "id": board.board.lower()[:31],
        "name": _plain(board.name or board.board),
        "vendor": _plain(str(board.facts.get("vendor") or "")),
        "url": str(board.facts.get("url") or ""),
        "core": board.core,
        "status": "unconfirmed",
        "unconfirmed": [_UNTRIED],
        "memory": {"flash": {"bytes": flash}, "ram": {"bytes": ram}},
        "clock": {"hz": hz},
        "usb": usb,
        "upload": [{"method": "platformio", "protocol": name} for name in dict.fromkeys(protocols) if name],
    }


def usb_id(pair: object) -> str:
    """A vendor's and a product's number, as in `["0x2341", "0x8057"]`, as `2341:8057`; empty for anything else."""
    numbers = _texts(pair)
    if len(numbers) != 2 or not all(re.fullmatch(r"(0[xX])?[0-9a-fA-F]{1,4}", number) for number in numbers):
        return ""
    return ":".join(f"{int(number, 16):04x}" for number in numbers)


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _texts(value: object) -> list[str]:
    return [each for each in _list(value) if isinstance(each, str)]


def _whole(value: object) -> int:
    """A whole number, or one that is written as a text; 0 for anything else and for what no board has."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text := str(value)) else 0


def _plain(text: str) -> str:
    """A title without what a board's file may not hold."""
    return re.sub(r"[^A-Za-z0-9 .,:;()+&/#'_-]", "", text)


@cache
def _platforms(*roots: Path | None) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in roots:
        for file in () if root is None else sorted((root / "platforms").glob("*/platform.json")):
            found.setdefault(str(_json(file).get("name")), file.parent)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot be read ({error})", where=str(path)) from error
    if not isinstance(read, dict):
        raise BadInputError("is no JSON object", where=str(path))
    return read
