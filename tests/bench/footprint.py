"""Flash and RAM of a model, without the evaluation protocol around it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tritguard.boards import Board
from tritguard.boards.core import machine_flags
from tritguard.build import Build
from tritguard.build.engine import FLAGS, INPUT_FLAG
from tritguard.device import open_device
from tritguard.emit import Bundle
from tritguard.predictor import Int8
from tritguard.resources import firmware_dir

_MAIN = Path(__file__).with_name("minimal.c")
_STACK_BYTES = 4096  # of RAM; takes no flash


def flash_bytes(bundle: Bundle, board: Board, folder: Path) -> int:
    """Flash in bytes of the smallest program that runs the model: its data, kernels, C library and start-up."""
    model = folder / "src" / "model"  # where firmware.ld looks for kernels
    model.mkdir(parents=True)
    machine = machine_flags(board.core)
    objects = []
    for source in (*bundle.c_dir.glob("*.c"), _MAIN):
        objects.append(f"src/model/{source.stem}.o")
        command = ["arm-none-eabi-gcc", *machine, *FLAGS, f"-I{bundle.c_dir}", "-c", str(source), "-o", objects[-1]]
        subprocess.run(command, cwd=folder, check=True)
    symbols = {
        "FLASH_ORIGIN": board.memory.flash.origin,
        "FLASH_BYTES": board.memory.flash.bytes,
        "RAM_ORIGIN": board.memory.ram.origin,
        "RAM_BYTES": board.memory.ram.bytes,
        "RAM_ALLOWED": board.memory.ram.bytes,
        "RING_BYTES": 0,  # it has no serial line
        "RING_BYTES_MIN": 0,
        "STACK_BYTES": _STACK_BYTES,
    }
    link = [
        "arm-none-eabi-gcc",
        *machine,
        *objects,
        "-nostartfiles",
        "--specs=nano.specs",
        "-Wl,--gc-sections",
        "-o",
        "minimal.elf",
    ]
    link += [f"-T{firmware_dir() / 'platform' / 'firmware.ld'}", *(f"-Wl,--defsym={k}={v}" for k, v in symbols.items())]
    subprocess.run(link, cwd=folder, check=True)
    subprocess.run(["arm-none-eabi-objcopy", "-O", "binary", "minimal.elf", "minimal.bin"], cwd=folder, check=True)
    return (folder / "minimal.bin").stat().st_size


def ram_bytes(bundle: Bundle, built: Build, x: Int8) -> int:
    """RAM in bytes: arena, with the input in it or beside it, output, and the deepest use of the painted stack."""
    with open_device(bundle, built) as device:
        device.predict(x)
        use = device.memory()
    beside = 0 if INPUT_FLAG in built.record.flags else bundle.manifest.input.bytes
    return use.arena + beside + bundle.manifest.output.bytes + use.stack_peak
