"""Writes the self-contained PlatformIO project of a firmware, and computes the id of everything it is made from."""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from math import prod
from pathlib import Path

from jinja2 import Environment

from tritguard import __version__
from tritguard.boards import Board, PlatformIO
from tritguard.boards.core import machine_flags
from tritguard.boards.platformio import kept_platform, package_folders, requirement
from tritguard.build.engine import C_ONLY, Engine
from tritguard.emit.bundle import Bundle
from tritguard.emit.render import c_comment
from tritguard.resources import firmware_dir
from tritguard.templating import environment

# The least that the UART's buffer holds, which is enough to answer while a short request comes in.
RING_BYTES_MIN = 1024
# A whole input in parts of 32 bytes, each in a frame with 15 bytes of its own, is nearly half as long again.
_RING_SHARE = 1.5

_PLATFORM = ("platform.json", "platform.py", "builder/main.py", "firmware.ld")


@cache
def templates() -> Environment:
    """The templates of a firmware's project, with a filter for text in comments."""
    made = environment("tritguard.build")
    made.filters["c_comment"] = c_comment
    return made


def firmware_sources(board: Board, adapter: str = "engine_native.c") -> dict[str, Path]:
    """The firmware's own files for this board and engine, by their path in the project's src/."""
    root = firmware_dir()
    shared = [file for file in root.glob("*.[ch]") if not file.match("engine_*.c")]
    frameworks = [root / "port" / name for name in ("fault.c", "fault.h", "port.h")]
    common = frameworks if board.platformio else (root / "port").glob("*.[ch]")
    places = {file.relative_to(root).as_posix(): file for file in (*shared, root / adapter, *common)}
    own = [file for file in board.driver.folder.iterdir() if file.suffix in (".c", ".cpp", ".h")]
    places |= {f"port/{board.driver.name}/{file.name}": file for file in own}
    return dict(sorted(places.items()))


def build_id(bundle: Bundle, board: Board, engine: Engine, max_ram: int | None = None) -> bytes:
    """Sixteen bytes that change with anything the firmware is made from: model, sources, board, engine or flags."""
    digest = hashlib.sha256(bundle.sha256.encode())
    platform = {f"platform/{name}": firmware_dir() / "platform" / name for name in _PLATFORM}
    for name, file in (firmware_sources(board, engine.adapter) | platform).items():
        digest.update(f"\0{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    digest.update(board.model_dump_json().encode() + engine.sha256)
    if max_ram is not None:
        digest.update(max_ram.to_bytes(8, "little"))
    return digest.digest()[:16]


def write_project(folder: Path, bundle: Bundle, board: Board, engine: Engine, max_ram: int | None = None) -> None:
    """Write the project into an existing empty folder; `pio run` there makes .pio/build/firmware/firmware.{elf,bin}.

    The UART's buffer takes the RAM that is left over, up to a whole request and never more than `max_ram` in all.
    """
    for name, file in firmware_sources(board, engine.adapter).items():
        _copy(file, folder / "src" / name)
    (folder / "src" / "model").mkdir()
    for name, content in engine.model_files.items():
        (folder / "src" / "model" / name).write_bytes(content)
    context = {
        "board": board,
        "engine": engine,
        "cxx_flags": [flag for flag in engine.flags if flag not in C_ONLY],
        "version": __version__,
        "build_id": build_id(bundle, board, engine, max_ram),
        "input_bytes": bundle.manifest.input.bytes,
        "keeps_state": bundle.manifest.state_bytes > 0,
        "output_bytes": bundle.manifest.output.bytes,
        "macs": bundle.manifest.macs + bundle.manifest.removed.macs,  # an engine may run the model as it was
        "elements": sum(prod(layer.output_shape) for layer in bundle.manifest.layers),
        "layer_count": 1 + max(layer.index for layer in bundle.manifest.layers),
    }
    for name in ("config.h", "id.h"):
        (folder / "src" / name).write_text(templates().get_template(f"{name}.jinja").render(context))
    if board.platformio is not None:
        _write_ini(folder, "framework.ini.jinja", context | _origin(board.platformio))
        return
    _write_ini(folder, "platformio.ini.jinja", context)
    for name in _PLATFORM:
        _copy(firmware_dir() / "platform" / name, folder / "platform" / name)
    (folder / "boards").mkdir()
    (folder / "boards" / f"{board.id}.json").write_text(
        json.dumps(_platformio_board(board, bundle.manifest.input.bytes, max_ram), indent=2)
    )


def write_upload_project(folder: Path, board: Board, protocol: str) -> None:
    """Write the project with which PlatformIO flashes what is built already, into an existing empty folder.

    A project runs what it names, its `extra_scripts`, even where nothing is built. So the one in a build folder, which
    may be anybody's, is not used: this one says nothing but platform, board, framework and macros of the validated
    record.

    Args:
        folder: where platformio.ini goes.
        board: a board on a framework.
        protocol: PlatformIO's name for the uploader, as `PlatformioUpload` has it.
    """
    assert board.platformio is not None
    _write_ini(folder, "upload.ini.jinja", {"board": board, "protocol": protocol} | _origin(board.platformio))


def _write_ini(folder: Path, template: str, context: dict[str, object]) -> None:
    (folder / "platformio.ini").write_text(templates().get_template(template).render(context))


def _origin(wanted: PlatformIO) -> dict[str, object]:
    """Where PlatformIO takes platform and packages from: TRITGUARD_CORES, or else where it looks itself."""
    local = kept_platform(wanted.platform)
    if local is None:
        return {"platform": requirement(wanted.platform, wanted.version), "packages": {}}
    return {"platform": f"symlink://{local}", "packages": package_folders(local)}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _platformio_board(board: Board, input_bytes: int, max_ram: int | None) -> dict[str, object]:
    ram = board.memory.ram.bytes
    ring = max(RING_BYTES_MIN, 4 * round(_RING_SHARE * input_bytes / 4))
    return {
        "name": board.name,
        "vendor": board.vendor,
        "url": board.url,
        "build": {
            "cpu": board.core,
            "machine_flags": " ".join(machine_flags(board.core)),
            "mcu": board.id,
            "f_cpu": f"{board.clock.hz}L",
            "flash_origin": board.memory.flash.origin,
            "ram_origin": board.memory.ram.origin,
            "stack_bytes": board.stack_bytes,
            "ram_allowed": ram if max_ram is None else min(ram, max_ram),
            "ring_bytes": ring,
            "ring_bytes_min": RING_BYTES_MIN,
        },
        "upload": {
            "maximum_size": board.memory.flash.bytes,
            "maximum_ram_size": ram,
        },
    }
