"""A bench of boards: commands of the user's that lease a board, switch its power and program it."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from tritguard.build import Build
from tritguard.errors import DeviceError, ToolMissingError
from tritguard.records import Record, from_toml

_TABLE = "bench"
_HEADER = re.compile(rf"\s*\[\s*{_TABLE}\s*\]")
_PLACES = {"port", "elf", "binary", "board"}


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
        for word in words:
            word.format_map(dict.fromkeys(_PLACES, ""))
    except (ValueError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"no command ({error}); it may name {', '.join(sorted(_PLACES))} in braces") from error
    if not words:
        raise ValueError("no command")
    return text


_Command = Annotated[str, AfterValidator(_command)]


def without_bench(text: str) -> str:
    """Take the table `[bench]` out of a configuration's text, for records that others read: commands may hold secrets.

    Args:
        text: valid TOML.

    Returns:
        The other lines as they are; if the table cannot be told from them, as where its keys are dotted, a comment
        that says so.
    """
    tables = tomllib.loads(text)
    if tables.pop(_TABLE, None) is None:
        return text
    kept, inside = [], False
    for line in text.splitlines(keepends=True):
        if line.lstrip().startswith("["):
            inside = _HEADER.match(line) is not None
        if not inside:
            kept.append(line)
    left = "".join(kept)
    try:
        alike = tomllib.loads(left) == tables
    except tomllib.TOMLDecodeError:
        alike = False
    return left if alike else "# Not kept: the commands of its bench could not be told from the rest.\n"


class Bench(Record):
    """The table `[bench]` of the user's own configuration; a board's file cannot hold one.

    Each command is split into words as a shell would, and started without a shell. `{port}`, `{elf}`, `{binary}` and
    `{board}` in it stand for the port, the firmware's files and the board's id.

    Attributes:
        acquire: run before the board is used; None for no command, as for the others.
        release: run after the board was used, whatever happened.
        power_cycle: run when the board hangs.
        upload: run instead of the board's own way of flashing.
        seconds: how long a command may take.
    """

    acquire: _Command | None = None
    release: _Command | None = None
    power_cycle: _Command | None = None
    upload: _Command | None = None
    seconds: Annotated[int, Field(gt=0, le=3600)] = 120

    def run(self, name: Literal["acquire", "release", "power_cycle", "upload"], build: Build, port: str | None) -> bool:
        """Run a command; return False if the bench has none of this name.

        Raises:
            ToolMissingError: its program is not installed.
            DeviceError: it failed, or took too long.
        """
        command = getattr(self, name)
        if command is None:
            return False
        facts = {"port": port or "", "elf": build.elf.resolve(), "binary": build.binary.resolve()}
        words = [word.format_map(facts | {"board": build.record.board.id}) for word in shlex.split(command)]
        where = f"[{_TABLE}] {name}"
        self._check_program(name, words[0])
        try:
            done = subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=self.seconds, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{words[0]} did not finish within {self.seconds} s", where=where) from error
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise DeviceError(f"{words[0]} ended with {done.returncode} ({said[-1]})", where=where)
        return True

    def _check_program(self, name: str, program: str) -> None:
        if shutil.which(program) is None:
            fix = "install it, or mend the command"
            raise ToolMissingError(f"{program} is not installed", where=f"[{_TABLE}] {name}", fix=fix)

    @contextmanager
    def held(self, build: Build, port: str | None) -> Iterator[None]:
        """Acquire the board for a block, and release it whatever happens in there.

        Raises:
            ToolMissingError: the program of one of the commands is not installed, even of one that may never be run.
            DeviceError: see `run`.
        """
        for name in ("acquire", "release", "power_cycle", "upload"):
            if command := getattr(self, name):
                self._check_program(name, shlex.split(command)[0].format_map(defaultdict(str)))
        self.run("acquire", build, port)
        try:
            yield
        finally:
            self.run("release", build, port)


def read_bench(path: Path | None) -> Bench | None:
    """Read the table `[bench]` of a TOML file; None without a file.

    Raises:
        BadInputError: the file cannot be read, has no such table, or a key in it is unknown or no command.
    """
    return None if path is None else from_toml(Bench, path, table=_TABLE)
