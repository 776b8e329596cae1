"""Many models in one ELF, run on a bare emulated core: what the kernels of a core class compute, byte for byte."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import pytest
from filelock import FileLock
from numpy.typing import NDArray

from tritguard.boards import Board, load_board
from tritguard.boards.core import machine_flags
from tritguard.build.engine import INPUT_FLAG
from tritguard.emit import Bundle
from tritguard.emit.bundle import EdgeTensor
from tritguard.resources import firmware_dir

_HERE = Path(__file__).parent
_KERNELS = firmware_dir() / "kernels"
_FLAGS = ("-std=c11", "-O2", "-ffunction-sections", "-Wall", "-Wextra", "-Werror")


Core = Board
M0PLUS = load_board("mps2-an385-m0plus")  # a Cortex-M3 runs its code
M3 = load_board("mps2-an385")
M4 = load_board("mps2-an386")
M7 = load_board("mps2-an500")
M33 = load_board("mps2-an505")
M55 = load_board("mps3-an547")
EVERY = (M0PLUS, M3, M4, M7, M33, M55)


@dataclass(frozen=True)
class Case:
    """A model and its inputs, int8 or int16 [n, ...], one stream for a model with state.

    All cases of a run have the same n.
    """

    bundle: Bundle
    x: NDArray[np.int8]


def run(core: Core, cases: Sequence[Case], folder: Path) -> list[tuple[NDArray[np.int8], NDArray[np.int32]]]:
    """steps[n, outputs] and int32[n, logits] of every case, from one emulated run in an empty folder."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    assert core.emulator is not None
    elf = _link(core, cases, folder)
    subprocess.run(
        ["qemu-system-arm", "-M", core.emulator.machine, "-nographic", "-monitor", "none", "-serial", "none",
         "-semihosting-config", "enable=on,target=native", "-kernel", str(elf)],
        cwd=folder, check=True, timeout=300,
    )  # fmt: skip
    content = (folder / "outputs.bin").read_bytes()
    results, at = [], 0
    for case in cases:
        size = case.bundle.manifest.output_bytes
        logits = size if case.bundle.manifest.logits is not None else 0
        count = len(case.x) * (size + 4 * logits)
        rows = np.frombuffer(content, dtype=np.uint8, count=count, offset=at).reshape(len(case.x), -1)
        results.append(
            (rows[:, :size].copy().view(case.bundle.manifest.output_dtype), rows[:, size:].copy().view(np.int32))
        )
        at += count
    assert at == len(content)
    return results


def _link(core: Core, cases: Sequence[Case], folder: Path) -> Path:
    """Kernels once, each model's own file under names of its own."""
    flags = [*machine_flags(core.core), *_FLAGS]
    kernels = set()
    objects = []
    for i, case in enumerate(cases):
        kernels |= {file.name for file in case.bundle.c_dir.glob("*.c") if file.name != "tg_model.c"}
        _assert_shipped_as_they_are(case.bundle)
        names = [f"-Dtg_{name}={name.removeprefix('model_')}_{i}"
                 for name in ("model_run", "model_reset", "model_sha256", "arena")]  # fmt: skip
        names.append(INPUT_FLAG)
        objects.append(_compile(flags + names, case.bundle.c_dir / "tg_model.c", folder / f"model_{i}.o"))
    objects += [_kernel(tuple(flags), name) for name in sorted(kernels)]
    (folder / "models.h").write_text(_table(cases))
    (folder / "inputs.bin").write_bytes(b"".join(map(_inputs, cases)))
    elf = folder / "runner.elf"
    memory = [
        f"-Wl,--defsym={name}_{fact}={getattr(region, fact.lower())}"
        for name, region in (("CODE", core.memory.flash), ("RAM", core.memory.ram))
        for fact in ("ORIGIN", "BYTES")
    ]
    subprocess.run(
        ["arm-none-eabi-gcc", *flags, "-nostartfiles", f"-T{_HERE / 'runner.ld'}", "-Wl,--gc-sections", *memory,
         f"-I{folder}", str(_HERE / "runner.c"), *map(str, objects), "-o", str(elf)],
        cwd=folder, check=True,
    )  # fmt: skip
    return elf


def _inputs(case: Case) -> bytes:
    """A case's inputs one after the other; those of the next case begin at a word."""
    content = case.x.tobytes()
    return content + bytes(-len(content) % 4)


def _assert_shipped_as_they_are(bundle: Bundle) -> None:
    for file in bundle.c_dir.iterdir():
        if file.stem != "tg_model":
            assert file.read_bytes() == (_KERNELS / file.name).read_bytes()


@functools.cache
def _kernel(flags: tuple[str, ...], name: str) -> Path:
    """A kernel's object, compiled once for all runs on a core, by whichever test process needs it first."""
    objects = Path(platformdirs.user_cache_dir("tritguard")) / "emulated"  # the run's own, see tests/conftest.py
    folder = objects / hashlib.sha256(repr(flags).encode()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}.o"
    with FileLock(f"{target}.lock"):
        return target if target.exists() else _compile(list(flags), _KERNELS / name, target)


def _compile(flags: list[str], source: Path, target: Path) -> Path:
    """Compile to a file that is there whole or not at all."""
    part = target.with_suffix(".part")
    command = ["arm-none-eabi-gcc", *flags, f"-I{source.parent}", "-c", str(source), "-o", str(part)]
    subprocess.run(command, check=True)
    return part.replace(target)


def _table(cases: Sequence[Case]) -> str:
    lines = ["#include <stdint.h>", "#include <string.h>"]
    lines += [f"#define MODEL_COUNT {len(cases)}u", f"#define INPUTS {len(cases[0].x)}u"]
    largest = max(case.bundle.manifest.output_bytes for case in cases)
    lines.append(f"#define LARGEST_OUTPUT {largest}u")
    lines += [
        "typedef struct {",
        "    void (*reset)(void);",
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
        lines += _call(i, case)
        logits = 0 if manifest.logits is None else manifest.output_bytes
        reset = f"reset_{i}" if manifest.state_bytes else "0"
        entries.append(
            f"    {{{reset}, call_{i}, inputs + {at}, {case.x[0].nbytes}, {manifest.output_bytes}, {logits}}},"
        )
        at += len(_inputs(case))
    return "\n".join([*lines, "static const model_t models[] = {", *entries, "};", ""])


def _call(i: int, case: Case) -> list[str]:
    """A model's entry, and a function that lays several inputs and outputs one behind the other.

    A single input is every other time given where the plan of the arena has a place for it.
    """
    manifest, place = case.bundle.manifest, case.bundle.emission.plan.input
    sources, source = _edges("const int8_t", "input", (manifest.input, *manifest.further_inputs))
    sinks, sink = _edges("int8_t", "output", (manifest.output, *manifest.further_outputs))
    arena = []
    if place is not None:
        arena = [f"extern int8_t arena_{i}[];", f"static uint32_t calls_{i};"]
        moved = f"memcpy(arena_{i} + {place.offset}, input, {manifest.input.bytes})"
        sources = f"(calls_{i}++ % 2u == 0u) ? {moved} : input"
    return [
        *arena,
        f"void reset_{i}(void);",
        f"void run_{i}({source}, {sink}, int32_t *logits);",
        f"static void call_{i}(const int8_t *input, int8_t *output, int32_t *logits)",
        f"{{ run_{i}({sources}, {sinks}, logits); }}",
    ]


def _edges(kind: str, name: str, edges: tuple[EdgeTensor, ...]) -> tuple[str, str]:
    """The argument and the parameter: a pointer, or where there are several an array of them."""
    if len(edges) == 1:
        return name, f"{kind} *{name}"
    starts = [sum(edge.bytes for edge in edges[:place]) for place in range(len(edges))]
    return f"({kind} *const[]){{{', '.join(f'{name} + {start}' for start in starts)}}}", f"{kind} *const {name}[]"
