"""Boards and functions that the tests of build and device share."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.support.known_models import ternary_model
from tritguard.build import Build
from tritguard.emit import Bundle
from tritguard.predictor import Int8

BOARDS = ("mps2-an386", "netduinoplus2")
# Further emulated boards, so that every core class and driver is there.
OTHER_BOARDS = (
    "lm3s6965evb", "microbit", "mps2-an385", "mps2-an385-m0plus", "mps2-an500", "mps2-an505", "mps3-an547", "netduino2",
)  # fmt: skip

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


def lively_model() -> bytes:
    """`ternary_model` with other weights."""
    return ternary_model(seed=2)
