"""Boards and functions that the tests of build and device share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from elftools.elf.elffile import ELFFile

from tests.support.known_models import ternary_model
from tritguard.build import Build
from tritguard.emit import Bundle
from tritguard.predictor import Int8

BOARDS = ("mps2-an386", "netduinoplus2")
# Further emulated boards, so that every core class and driver is there.
OTHER_BOARDS = (
    "lm3s6965evb",
    "microbit",
    "mps2-an385",
    "mps2-an385-m0plus",
    "mps2-an500",
    "mps2-an505",
    "mps3-an547",
    "netduino2",
)

# Instructions by which the firmware starts and stops SysTick around the model, and calls it.
TIMER_INSTRUCTIONS = 40

# Put in front of a model's function: the first byte of the input chooses a fault.
CRASHES = """
static volatile int32_t sink;
static int32_t deeper(int32_t depth)
{
    volatile int32_t room[64] = {depth};
    sink = room[0];
    return (depth < 0) ? 0 : deeper(depth + 1) + room[depth & 63];
}
static void honest_run(const int8_t *input, int8_t *output, int32_t *logits);
void tg_model_run(const int8_t *input, int8_t *output, int32_t *logits)
{
    if (input[0] == 1) {
        sink = *(volatile int32_t *)0x5FFFFFF0u;
    }
    if (input[0] == 2) {
        sink = deeper(0);
    }
    if (input[0] == 3) {
        __asm__ volatile("udf #0");
    }
    while (input[0] == 4) {
        sink = 4;
    }
    honest_run(input, output, logits);
}
static
"""

ENDLESS = 4  # the fault that is a loop without end

Builder = Callable[[Bundle, str], Build]


def inputs(bundle: Bundle, count: int, seed: int = 0) -> Int8:
    """Uniform random inputs, int8[count, *input_shape]."""
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (count, *bundle.manifest.input.shape), dtype=np.int8)


def changed_bundle(bundle: Bundle, path: Path, **changes: str) -> Bundle:
    """A copy of the bundle whose manifest has these changes."""
    shutil.copytree(bundle.path, path)
    manifest = bundle.manifest.model_copy(update=changes)
    (path / "manifest.json").write_text(manifest.model_dump_json())
    return Bundle(path, manifest, trusted=True)


def crashing_bundle(bundle: Bundle, path: Path) -> Bundle:
    """A copy of the bundle whose C fails as the first byte of the input says, from 1 to `ENDLESS`; see `CRASHES`."""
    made = changed_bundle(bundle, path, name="crashing")
    source = made.c_dir / "tg_model.c"
    source.write_text(source.read_text().replace("void tg_model_run", CRASHES + "void honest_run"))
    return made


def function_at(elf: Path, address: int) -> str | None:
    """The function of a firmware at an address; None if there is none."""
    with elf.open("rb") as file:
        for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols():
            start = symbol["st_value"] & ~1
            if symbol["st_info"]["type"] == "STT_FUNC" and start <= address < start + symbol["st_size"]:
                return str(symbol.name)
    return None


def lively_model() -> bytes:
    """`ternary_model` with other weights."""
    return ternary_model(seed=2)
