"""Many models in one ELF, run on a bare emulated core: what the kernels of a core class compute, byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tritguard.boards.core import machine_flags
from tritguard.emit import Bundle

_HERE = Path(__file__).parent
_FLAGS = ("-std=c11", "-O2", "-ffunction-sections", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Core:
    """A core to compile for and the machine whose processor runs its code; memory at 0 and 0x20000000, in KB."""

    cpu: str
    machine: str
    code_kb: int
    ram_kb: int


M0PLUS = Core("cortex-m0plus", "mps2-an385", 4096, 4096)
M3 = Core("cortex-m3", "mps2-an385", 4096, 4096)
M4 = Core("cortex-m4", "mps2-an386", 4096, 4096)
M7 = Core("cortex-m7", "mps2-an500", 4096, 4096)
M55 = Core("cortex-m55", "mps3-an547", 512, 512)


@dataclass(frozen=True)
class Case:
    """A model and its inputs, int8[n, ...]; n is the same for all cases of a run."""

    bundle: Bundle
    x: NDArray[np.int8]


def run(core: Core, cases: Sequence[Case], folder: Path) -> list[tuple[NDArray[np.int8], NDArray[np.int32]]]:
    """int8[n, outputs] and int32[n, logits] of every case, from one emulated run in an empty folder."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    elf = _link(core, cases, folder)
    subprocess.run(
        ["qemu-system-arm", "-M", core.machine, "-nographic", "-monitor", "none", "-serial", "none",
         "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)],
        cwd=folder, check=True, timeout=300,
    )  # fmt: skip
    content = (folder / "outputs.bin").read_bytes()
    results, at = [], 0
    for case in cases:
        size = int(np.prod(case.bundle.manifest.output.shape))
        logits = size if case.bundle.manifest.logits is not None else 0
        count = len(case.x) * (size + 4 * logits)
        rows = np.frombuffer(content, dtype=np.uint8, count=count, offset=at).reshape(len(case.x), -1)
        results.append((rows[:, :size].copy().view(np.int8), rows[:, size:].copy().view(np.int32)))
        at += count
    assert at == len(content)
    return results


def _link(core: Core, cases: Sequence[Case], folder: Path) -> Path:
    """Kernels once, each model's own file under names of its own."""
    flags = [*machine_flags(core.cpu), *_FLAGS]
    kernels: dict[str, Path] = {}
    objects = []
    for i, case in enumerate(cases):
        for file in case.bundle.c_dir.glob("*.c"):
            if file.name != "tg_model.c":
                kernels.setdefault(file.name, file)
        names = [f"-Dtg_model_run=run_{i}", f"-Dtg_model_sha256=sha256_{i}"]
        objects.append(_compile(flags + names, case.bundle.c_dir / "tg_model.c", folder / f"model_{i}.o"))
    objects += [_compile(flags, file, folder / f"{name}.o") for name, file in kernels.items()]
    (folder / "models.h").write_text(_table(cases))
    (folder / "inputs.bin").write_bytes(b"".join(case.x.tobytes() for case in cases))
    elf = folder / "runner.elf"
    memory = [f"-Wl,--defsym=CODE_BYTES={core.code_kb * 1024}", f"-Wl,--defsym=RAM_BYTES={core.ram_kb * 1024}"]
    subprocess.run(
        ["arm-none-eabi-gcc", *flags, "-nostartfiles", f"-T{_HERE / 'runner.ld'}", "-Wl,--gc-sections", *memory,
         f"-I{folder}", str(_HERE / "runner.c"), *map(str, objects), "-o", str(elf)],
        cwd=folder, check=True,
    )  # fmt: skip
    return elf


def _compile(flags: list[str], source: Path, target: Path) -> Path:
    command = ["arm-none-eabi-gcc", *flags, f"-I{source.parent}", "-c", str(source), "-o", str(target)]
    subprocess.run(command, check=True)
    return target


def _table(cases: Sequence[Case]) -> str:
    lines = ["#include <stdint.h>", f"#define MODEL_COUNT {len(cases)}u", f"#define INPUTS {len(cases[0].x)}u"]
    largest = max(int(np.prod(case.bundle.manifest.output.shape)) for case in cases)
    lines.append(f"#define LARGEST_OUTPUT {largest}u")
    lines += [
        "typedef struct {",
        "    void (*run)(const int8_t *input, int8_t *output, int32_t *logits);",
        "    const int8_t *inputs;",
        "    uint32_t input_bytes, output_bytes, logit_count;",
        "} model_t;",
        '__asm(".section .rodata.inputs\\n.balign 4\\ninputs: .incbin \\"inputs.bin\\"\\n.text");',
        "extern const int8_t inputs[];",
    ]
    entries, at = [], 0
    for i, case in enumerate(cases):
        manifest = case.bundle.manifest
        size = int(np.prod(manifest.output.shape))
        lines.append(f"void run_{i}(const int8_t *input, int8_t *output, int32_t *logits);")
        logits = 0 if manifest.logits is None else size
        entries.append(f"    {{run_{i}, inputs + {at}, {case.x[0].size}, {size}, {logits}}},")
        at += case.x.size
    return "\n".join([*lines, "static const model_t models[] = {", *entries, "};", ""])
