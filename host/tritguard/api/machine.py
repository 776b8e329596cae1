"""Looks for what tritguard needs on this machine, and says how to mend what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from serial.tools import list_ports

from tritguard.boards import Board, available_boards
from tritguard.build.pio import COMPILER
from tritguard.device.emulators.qemu import PROGRAM as QEMU
from tritguard.device.emulators.qemu import Qemu, major_version
from tritguard.device.emulators.rp2040js import PACKAGE, Rp2040js, how_to_install
from tritguard.device.upload import DFU_UTIL, OPENOCD
from tritguard.errors import ToolMissingError
from tritguard.host_compiler import host_compiler

TENSORFLOW, ART = "TensorFlow", "ART"
_INSTALL = "apt install --no-install-recommends"
# What installs a program, on Debian and its kin, macOS and Windows.
_WAYS = {
    "C compiler": {
        "linux": "apt install gcc, or set CC",
        "darwin": "xcode-select --install",
        "win32": "install gcc of MSYS2 (winget install MSYS2.MSYS2), and set CC",
    },
    COMPILER: {
        "linux": f"{_INSTALL} gcc-arm-none-eabi",
        "darwin": "brew install --cask gcc-arm-embedded",
        "win32": "winget install Arm.GnuArmEmbeddedToolchain",
    },
    "newlib": {
        "linux": f"{_INSTALL} libnewlib-arm-none-eabi",
        "darwin": "brew install --cask gcc-arm-embedded, which has it; brew's arm-none-eabi-gcc has not",
        "win32": "winget install Arm.GnuArmEmbeddedToolchain, which has it",
    },
    QEMU: {
        "linux": f"{_INSTALL} qemu-system-arm",
        "darwin": "brew install qemu",
        "win32": "winget install SoftwareFreedomConservancy.QEMU",
    },
    OPENOCD: {
        "linux": f"apt install {OPENOCD}",
        "darwin": "brew install open-ocd",
        "win32": "install xPack OpenOCD, and put it on the PATH",
    },
    DFU_UTIL: {
        "linux": f"apt install {DFU_UTIL}",
        "darwin": "brew install dfu-util",
        "win32": "install dfu-util, and put it on the PATH",
    },
}
TRIED = ("linux",)
"""Systems, as Python names them, on which tritguard has been run."""


def how_to_install_here(name: str, system: str = sys.platform) -> str:
    """Say what installs a program on a system; as on Debian where nothing else is known."""
    ways = _WAYS[name]
    return ways.get(system, ways["linux"])


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    Attributes:
        name: the name of the program or package.
        found: its version or place; None where it is missing.
        why: what it is used for.
        mend: what to do where it is missing or unfit.
        fits: whether what was found can be used.
        needed: whether the road from a model to an attack on an emulated board needs it.
    """

    name: str
    found: str | None
    why: str
    mend: str
    fits: bool = True
    needed: bool = True

    @property
    def good(self) -> bool:
        """Whether it is there and fit for use."""
        return self.found is not None and self.fits


def examine() -> Iterator[Finding]:
    """Look for everything, one thing after the other."""
    compiler = host_compiler() or ["cc"]
    yield Finding("C compiler", _version(compiler[0]), "the twin", how_to_install_here("C compiler"))
    yield Finding(COMPILER, _version(COMPILER), "firmware", how_to_install_here(COMPILER))
    yield Finding("newlib", _newlib(), "firmware", how_to_install_here("newlib"))
    yield _emulator()
    yield Finding("PlatformIO", _package("platformio"), "firmware", "pip install --upgrade tritguard")
    yield _scons()
    tensorflow = _package("tensorflow-cpu") or _package("tensorflow")
    yield Finding(
        TENSORFLOW, tensorflow, "training, attacks by gradients", "pip install 'tritguard[train]'", needed=False
    )
    art = _package("adversarial-robustness-toolbox")
    yield Finding(ART, art, "FGSM and PGD", "pip install 'tritguard[attack]'", needed=False)
    oracle = _package("tflite-micro")
    mend = "pip install 'tritguard[oracle]', on Linux and x86-64 only"
    yield Finding("tflite-micro", oracle, "the oracle", mend, needed=False)
    yield Finding(PACKAGE, Rp2040js().version(), "the emulated Raspberry Pi Pico", how_to_install(), needed=False)
    yield Finding(OPENOCD, _version(OPENOCD), "flashing by probe", how_to_install_here(OPENOCD), needed=False)
    yield Finding(DFU_UTIL, _version(DFU_UTIL), "flashing by USB", how_to_install_here(DFU_UTIL), needed=False)
    yield from _serial_ports()


def require(board: Board, *, tensorflow: bool) -> None:
    """Look for what the whole road to this board needs, before minutes of work.

    Args:
        board: the board.
        tensorflow: whether the road needs TensorFlow, so that all attacks that follow gradients have to run.

    Raises:
        ToolMissingError: the first thing that is missing or unfit.
    """
    uses_qemu = board.emulator is not None and board.emulator.program == "qemu"
    for finding in examine():
        wanted = finding.needed or (tensorflow and finding.name in (TENSORFLOW, ART))
        if not finding.good and wanted and (finding.name != QEMU or uses_qemu):
            raise ToolMissingError(
                f"{finding.found or 'not installed'}; it is needed for {finding.why}",
                where=finding.name,
                fix=finding.mend,
            )


def _run(*command: str) -> str | None:
    """Return what a program prints; None where it is not installed or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return done.stdout + done.stderr if done.returncode == 0 else None


def _version(program: str) -> str | None:
    """Return the last dotted number of a program's first line: distributions put their own before the program's."""
    printed = _run(program, "--version")
    if printed is None:
        return None
    numbers = re.findall(r"(?<![\w.:-])\d+(?:\.\d+)+", printed.partition("\n")[0])
    return numbers[-1] if numbers else "installed"


def _package(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _newlib() -> str | None:
    """Look for the C library of an integer-only Cortex-M4; a compiler without one echoes the bare name."""
    library = _run(COMPILER, "-mthumb", "-mcpu=cortex-m4", "-mfloat-abi=soft", "-print-file-name=libc.a")
    headers = _run(COMPILER, "-fsyntax-only", "-include", "string.h", "-x", "c", os.devnull)
    if library is None or headers is None or library.strip() == "libc.a":
        return None
    return "installed"


def _emulator() -> Finding:
    version = _version(QEMU)
    listed = _run(QEMU, "-M", "help") or ""
    machines = {line.split(" ")[0] for line in listed.splitlines()}
    major = major_version(Qemu().version())
    wanted = {board.emulator for board in available_boards() if board.emulator and board.emulator.program == "qemu"}
    lacking = {emulator.machine for emulator in wanted if major >= (emulator.since or 0)} - machines
    if version and lacking:
        version = f"{version}, without {', '.join(sorted(lacking))}"
    return Finding(QEMU, version, "emulated boards", how_to_install_here(QEMU), fits=not lacking)


def _scons() -> Finding:
    from platformio.dependencies import get_core_dependencies  # noqa: PLC0415 - slow to import

    # PlatformIO's way to ask for 4.11.1 is ~4.41101.0.
    major, packed, _ = get_core_dependencies()["tool-scons"].lstrip("~").split(".")
    digits = packed.removeprefix(major)
    wanted = f"{major}.{int(digits[:-2])}.{int(digits[-2:])}"
    found = _package("scons")
    fits = found == wanted
    return Finding("SCons", found, "firmware", f"pip install 'scons=={wanted}'", fits=fits)


def _serial_ports() -> Iterator[Finding]:
    ports = sorted(list_ports.comports())
    # A machine's own ports are there whether or not anything is wired to them; what is plugged in has a vendor id.
    if not any(port.vid is not None for port in ports):
        yield Finding(
            "serial port",
            None,
            "real boards",
            "plug a board in, or name with --port the one it is wired to",
            needed=False,
        )
    for port in ports:
        if port.vid is None:
            continue
        usable = os.name == "nt" or os.access(port.device, os.R_OK | os.W_OK)
        found = port.description if usable else "no permission"
        mend = "sudo usermod -aG dialout $USER, then log in again"
        yield Finding(port.device, found, "real boards", mend, fits=usable, needed=False)
