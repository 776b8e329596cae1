"""Runs PlatformIO and turns the output of a failed run into one error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import platformdirs

from tritguard.boards import Board
from tritguard.boards.platformio import core_dir, cores_folder, requirement
from tritguard.build.scons import provide_scons
from tritguard.errors import BuildError, ToolMissingError, TritguardError
from tritguard.files import write_whole
from tritguard.processes import Limits, run_python

COMPILER = "arm-none-eabi-gcc"

_COMPILE_ERROR = re.compile(r"^(?P<where>[^\s:]+:\d+)(?::\d+)?: (?:fatal )?error: (?P<what>.*)$", re.MULTILINE)
_LINK_ERROR = re.compile(
    r"^(?:\S*ld(?:\.bfd)?: )?(?P<what>.*(?:undefined reference|multiple definition|cannot ).*)$", re.M
)
_MISSING = (
    (
        re.compile(r"(?:std\w+|string)\.h: No such file|cannot find -lc\b"),
        f"{COMPILER} has no C library",
        "libnewlib-arm-none-eabi",
    ),
    (
        re.compile(
            r"fatal error: (?:c[a-z]+|algorithm|initializer_list|limits|memory|new|type_traits|utility): No such"
        ),
        "arm-none-eabi-g++ has no C++ library",
        "libstdc++-arm-none-eabi-newlib",
    ),
)
_HARD_FLOAT = re.compile(r"error: (?P<file>\S+) uses VFP register arguments")
# VCSBaseException: git could not clone a platform or a package that is in no registry, as the Pico's. What is fetched
# by its address fails with a trace that ends in an error of requests, or with the server's status.
_NOT_REACHED = (
    r"HTTPClientError|InternetConnectionError|VCSBaseException|requests\.exceptions\.\w+"
    "|PackageException: Got the unrecognized status code"
)
_OFFLINE = re.compile(rf"^(?:{_NOT_REACHED})\b", re.MULTILINE)
_TOOL = re.compile(r"^Tool Manager: Installing (?!symlink:)(?P<package>.+)\n(?!Tool Manager:)", re.MULTILINE)
_UNKNOWN = re.compile(rf"^(?:{_NOT_REACHED}|UnknownPackageError|UnknownPlatform|PackageException)\b", re.MULTILINE)
_OVERFLOW = re.compile(r"region [`'](?P<region>\w+)' overflowed by (?P<bytes>\d+) byte")


class MemoryFullError(BuildError):
    """The firmware does not fit its board.

    Attributes:
        excess: by region of the linker script, FLASH or RAM, the bytes that do not fit.
    """

    def __init__(self, excess: dict[str, int]) -> None:
        super().__init__("the firmware does not fit its board")
        self.excess = excess


# Enough to fetch a compiler over a slow line.
_LIMITS = Limits(seconds=3600, cpu_seconds=3600, memory_bytes=8 << 30, file_bytes=4 << 30)
# PlatformIO may fetch a compiler or a library: variables that name a home, a proxy, certificates and keys are kept.
_KEPT = (
    *("HOME", "USERPROFILE", "XDG_CACHE_HOME", "LOCALAPPDATA", "TMPDIR", "TEMP", "TMP"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSH_AUTH_SOCK"),
)


def run_platformio(project: Path, board: Board, log: Path, variables: Mapping[str, str] | None = None) -> None:
    """Build a project in its own folder.

    Args:
        project: a folder with a platformio.ini.
        board: the board it is built for, named in messages.
        log: where PlatformIO's output goes if it fails.
        variables: environment variables for the project's own build scripts.

    Raises:
        MemoryFullError: the firmware does not fit the board.
        BuildError: the sources do not compile.
        ToolMissingError: there is no compiler on this machine, and PlatformIO cannot fetch one.
    """
    try:
        failed, output = call_platformio(project, board, _LIMITS, variables=variables)
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"PlatformIO did not finish within {_LIMITS.seconds} s", where=board.id) from error
    if failed:
        write_whole(log, output)
        raise _explain(output, board, log)


def call_platformio(
    project: Path, board: Board, limits: Limits, *options: str, variables: Mapping[str, str] | None = None
) -> tuple[bool, str]:
    """Run PlatformIO on a project in its own folder.

    Args:
        project: a folder with a platformio.ini.
        board: the board that it is for.
        limits: what PlatformIO may take.
        options: what follows `pio run`, such as `-t upload`.
        variables: environment variables besides those that PlatformIO needs.

    Returns:
        Whether it failed, and what it printed.

    Raises:
        subprocess.TimeoutExpired: it took too long.
    """
    done = run_python(
        "platformio",
        *("run", "--project-dir", str(project), *options),
        folder=project,
        limits=limits,
        environment=_environment(project, board) | dict(variables or {}),
        one_output=True,
        collect=False,
    )
    return done.returncode != 0, done.stdout.decode(errors="replace")


def is_offline(output: str) -> bool:
    """Whether PlatformIO failed because its registry, or a repository, cannot be reached."""
    return _OFFLINE.search(output) is not None


def _environment(project: Path, board: Board) -> dict[str, str]:
    """An environment in which PlatformIO ignores the user's settings and does not use the network unasked.

    The platform and packages of a framework stay where PlatformIO keeps its own, so that the next build, and the user's
    own, find what was fetched once; unless they are those of TRITGUARD_CORES.
    """
    inherited = {name: os.environ[name] for name in _KEPT if name in os.environ}
    shared = board.platformio is not None and cores_folder() is None
    core = core_dir() if shared else project / ".pio" / "core"
    provide_scons(core / "packages")
    own = {
        "PLATFORMIO_CORE_DIR": str(core),
        "PLATFORMIO_DISABLE_UPGRADE_CHECK": "true",
        "PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL": "36500",
        "PLATFORMIO_SETTING_CHECK_PRUNE_SYSTEM_THRESHOLD": "0",
        "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
        "PLATFORMIO_NO_ANSI": "true",
        "LC_ALL": "C",
    }
    if (
        board.platformio is None and shutil.which(COMPILER) is None
    ):  # PlatformIO downloads one: keep it for the next build
        own["PLATFORMIO_PACKAGES_DIR"] = str(Path(platformdirs.user_cache_dir("tritguard")) / "platformio-packages")
    return inherited | own


def _explain(output: str, board: Board, log: Path) -> TritguardError:
    overflows = {match["region"]: int(match["bytes"]) for match in _OVERFLOW.finditer(output)}
    if overflows:
        return MemoryFullError(overflows)
    for pattern, what, package in _MISSING:
        if pattern.search(output):
            return ToolMissingError(what, fix=f"on Debian or Ubuntu: apt install {package}")
    if match := _COMPILE_ERROR.search(output):
        return BuildError(f"does not compile ({match['what']})", where=match["where"], fix=f"the whole log is in {log}")
    if failure := _link_failure(output, board, log):
        return failure
    if missing := _not_fetched(output, board, log):
        return missing
    last = next((line for line in reversed(output.splitlines()) if line.strip()), "no output")
    return BuildError(f"PlatformIO failed ({last.strip()})", fix=f"the whole log is in {log}")


def _not_fetched(output: str, board: Board, log: Path) -> ToolMissingError | None:
    if board.platformio is not None and _UNKNOWN.search(output):
        wanted = requirement(board.platformio.platform, board.platformio.version)
        fix = f"with a connection: pio pkg install --global --platform {wanted} (log: {log})"
        if tool := _TOOL.search(output):  # the platform is there, and what comes last is what failed
            lacks = "" if (folder := cores_folder()) is None else f" and {folder / 'packages'} lacks"
            what = f"PlatformIO could not fetch {tool['package']}, which {board.id} needs{lacks}"
            return ToolMissingError(what, fix=f"with a connection: build again (log: {log})")
        return ToolMissingError(f"PlatformIO could not fetch what {board.id} needs", fix=fix)
    if board.platformio is None and shutil.which(COMPILER) is None:
        return ToolMissingError(
            f"{COMPILER} is not on PATH, and PlatformIO could not fetch one",
            fix=f"on Debian or Ubuntu: apt install gcc-arm-none-eabi libnewlib-arm-none-eabi (log: {log})",
        )
    if is_offline(output):
        return ToolMissingError(
            "PlatformIO cannot reach its registry", fix=f"name a folder here, by its path or symlink:// (log: {log})"
        )
    return None


def _link_failure(output: str, board: Board, log: Path) -> BuildError | None:
    if match := _HARD_FLOAT.search(output):
        return BuildError(
            "built for floats in hardware, the firmware is not",
            where=match["file"],
            fix="build it for the core without '+fp'",
        )
    if match := _LINK_ERROR.search(output):
        return BuildError(f"does not link ({match['what']})", where=board.id, fix=f"the whole log is in {log}")
    return None
