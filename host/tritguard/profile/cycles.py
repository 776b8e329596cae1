"""Estimates cycles by applying a static model of a core to exact instruction counts.

The model of the Cortex-M4 follows Arm DDI 0439, table 3-1, with P = 2 for the refill after a taken branch, SDIV at 7 of
its 2 to 12 cycles and stores through the write buffer. Those of the Cortex-M0 and M0+ follow Arm DDI 0432 and DDI 0484,
table 3-1, with the fast multiplier. Flash wait states and bus contention are not modelled, so the result is an
estimate, not a measurement on silicon.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

COMPILER_PREFIX = "arm-none-eabi-"


@dataclass(frozen=True)
class Cost:
    """The cycles of one instruction.

    Attributes:
        run: cycles each time it runs.
        taken: additional cycles each time execution continues elsewhere than at the following instruction.
    """

    run: int
    taken: int = 0


@dataclass(frozen=True)
class Timing:
    """A core's instruction timing, in cycles. `*_taken` and `pc` are added to the instruction's own cycles.

    Attributes:
        load: a single load that does not directly follow another.
        next_load: a load directly after another load.
        pc: a load that writes the program counter.
    """

    load: int
    next_load: int
    store: int
    divide: int
    branch_taken: int
    call_taken: int
    pc: int


_TIMINGS = {
    "cortex-m4": Timing(load=2, next_load=1, store=1, divide=7, branch_taken=2, call_taken=2, pc=2),
    "cortex-m0": Timing(load=2, next_load=2, store=2, divide=1, branch_taken=2, call_taken=3, pc=3),
    "cortex-m0plus": Timing(load=2, next_load=2, store=2, divide=1, branch_taken=1, call_taken=2, pc=2),
}

_CONDITIONS = "eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo"
_KINDS = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in {
        "call": r"bl",
        "branch": rf"b(x|lx|{_CONDITIONS})?|cbn?z|tb[bh]",
        "pair": r"(ldrd|strd).*",
        "multiple": r"(ldm|stm|push|pop|vldm|vstm|vpush|vpop).*",
        "load": r"v?ldr.*",
        "store": r"v?str.*",
        "divide": r"[su]div.*",
    }.items()
)
_LINE = re.compile(r"^\s*([0-9a-f]+):\t(\S+)[ \t]*([^;@]*)")
_REGISTERS = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}


def has_model(core: str) -> bool:
    """Whether there is a cycle model of a core, given by the compiler's name for it."""
    return core in _TIMINGS


def instruction_costs(elf: Path, core: str) -> Mapping[int, Cost]:
    """Return the cost of every instruction in an ELF by its address, for a core that has a cycle model."""
    timing = _TIMINGS[core]
    command = [f"{COMPILER_PREFIX}objdump", "-d", "--no-show-raw-insn", str(elf)]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    costs: dict[int, Cost] = {}
    before = ""
    for line in listing.splitlines():
        if match := _LINE.match(line):
            kind = _kind(match[2])
            costs[int(match[1], 16)] = _cost(timing, kind, match[3], before)
            before = kind
        else:
            before = ""
    return costs


def _kind(mnemonic: str) -> str:
    stem = mnemonic.partition(".")[0]
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(stem)), "other")


def _cost(timing: Timing, kind: str, operands: str, before: str) -> Cost:
    taken = {"call": timing.call_taken, "branch": timing.branch_taken}
    return Cost(_cycles(timing, kind, operands, before), taken.get(kind, 0))


def _cycles(timing: Timing, kind: str, operands: str, before: str) -> int:
    if kind == "multiple":
        registers = re.search(r"\{(.*)\}", operands)
        listed = registers[1] if registers else ""
        return 1 + _count_registers(listed) + (timing.pc if "pc" in listed else 0)
    if kind == "load":
        return (timing.next_load if before == "load" else timing.load) + (timing.pc if operands[:2] == "pc" else 0)
    return {"pair": 3, "store": timing.store, "divide": timing.divide}.get(kind, 1)


def _count_registers(listed: str) -> int:
    total = 0
    for part in listed.split(","):
        first, _, last = part.strip().partition("-")
        total += _register(last) - _register(first) + 1 if last else 1
    return total


def _register(name: str) -> int:
    return _REGISTERS[name] if name in _REGISTERS else int(name[1:])
