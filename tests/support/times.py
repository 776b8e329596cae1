"""Times of the road, each beside another one that is measured in the same run, in turns with it.

They are processor time, which other work on the machine lengthens little.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support.kills import DONE, campaign
from tests.support.process_tree import descendants, processor_seconds
from tritguard.boards import load_board
from tritguard.build import Build, build
from tritguard.device import emulate
from tritguard.emit import Bundle, write_bundle
from tritguard.predictor import Int8

_HELP_RATIO = 24  # 0.3 s where an empty Python takes 12.5 ms; importing NumPy would add 8
_HELPS = 5  # the least of so many is taken
_PARTS = 4  # of the inputs, each over both lines
_WORKERS_RATIO = 0.6  # of two to one: crafting halves, starting and confirming do not
_CAMPAIGNS = 2  # with each number of workers
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class Timing:
    """Two times of one run.

    Attributes:
        name: what took `seconds`.
        other: what took `other_seconds`.
        goal: in words.
        is_met: whether the goal is met.
        note: what else is to be said.
    """

    name: str
    seconds: float
    other: str
    other_seconds: float
    goal: str
    is_met: bool
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the other one it is."""
        return self.seconds / self.other_seconds


def help_time() -> Timing:
    """`tritguard --help` beside a Python that does nothing."""
    commands = ([sys.executable, "-m", "tritguard", "--help"], [sys.executable, "-c", ""])
    least = [np.inf, np.inf]
    for _ in range(_HELPS):
        for place, command in enumerate(commands):
            before = _children()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            least[place] = min(least[place], _children() - before)
    goal = f"at most {_HELP_RATIO}"
    return Timing("tritguard --help", least[0], "an empty Python", least[1], goal, least[0] <= _HELP_RATIO * least[1])


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def line_time(content: bytes, name: str, folder: Path, count: int, goal: tuple[int, float]) -> Timing:
    """An input over the bulk line beside one over the UART.

    Args:
        content: the model.
        name: what it is called.
        folder: an empty folder.
        count: inputs over each line.
        goal: so many inputs over the bulk line take so many seconds of processor time, at most.
    """
    bundle = write_bundle(content, folder / "bundle", name="timed")
    x = np.random.default_rng(0).integers(-128, 128, (count, *bundle.manifest.input.shape), dtype=np.int8)
    uart, bulk = line_seconds(bundle, build(bundle, load_board("mps2-an386"), folder / "build"), x)
    inputs, seconds = goal
    note = f"{inputs:,} take {inputs * bulk:.1f} s"
    return Timing(
        f"an input of {name} over the bulk line", bulk, "over the UART", uart, f"{inputs:,} in {seconds:g} s",
        inputs * bulk < seconds, note,
    )  # fmt: skip


def line_seconds(bundle: Bundle, build: Build, x: Int8) -> tuple[float, float]:
    """Seconds of processor time that an input takes over the UART and over the bulk line, the emulator's included."""
    used = {False: 0.0, True: 0.0}
    for part in np.array_split(x, min(_PARTS, len(x))):
        for bulk in used:
            with emulate(bundle, build, bulk=bulk) as device:
                device.predict(part[:1])
                emulators = [pid for pid, (name, _) in descendants(os.getpid()).items() if "qemu" in name]
                before = sum(map(processor_seconds, [os.getpid(), *emulators]))
                device.predict(part)
                used[bulk] += sum(map(processor_seconds, [os.getpid(), *emulators])) - before
    return used[False] / len(x), used[True] / len(x)


def workers_time(bundle: Bundle, build: Build, folder: Path, queries: int = 9000) -> Timing:
    """A campaign on an emulated board that two workers craft, beside one that a single process crafts.

    Its time is that of the longest chain of processes: of the one that attacks, which waits for the others, and of the
    busiest of those that craft and of the emulators. That is the time by the clock where each has a core; the time by
    the clock here is said beside it.
    """
    folder.mkdir()
    attack = campaign(bundle, build, folder, samples=200, queries=queries)
    chain, clock = {1: 0.0, 2: 0.0}, {1: 0.0, 2: 0.0}
    for workers in (1, 2, 2, 1) * (_CAMPAIGNS // 2):
        out = folder / "timed"
        start = time.perf_counter()
        chain[workers] += _longest_chain([*attack.command, "--workers", str(workers), "--out", str(out)])
        clock[workers] += time.perf_counter() - start
        shutil.rmtree(out)
    one, two = (chain[workers] / _CAMPAIGNS for workers in chain)
    note = f"by the clock, at a load of {os.getloadavg()[0]:.1f}: {clock[2] / clock[1]:.2f}"
    goal = f"at most {_WORKERS_RATIO}"
    return Timing("a campaign with two workers", two, "with one", one, goal, two <= _WORKERS_RATIO * one, note)


def _longest_chain(command: Sequence[str]) -> float:
    """Run an attack; see `workers_time`."""
    seconds = {"host": dict[int, float](), "python": dict[int, float](), "qemu": dict[int, float]()}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        seconds["host"][process.pid] = processor_seconds(process.pid)
        for pid, (name, _) in descendants(process.pid).items():
            for kind in ("python", "qemu"):
                if kind in name:
                    seconds[kind][pid] = processor_seconds(pid)
        time.sleep(_LOOK_SECONDS)
    assert process.returncode in DONE, command
    return sum(max(found.values(), default=0.0) for found in seconds.values())
