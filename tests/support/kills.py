"""Campaigns on emulated boards whose processes are killed, and what has to be the same in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.support.core_install import core_install
from tests.support.device_support import inputs
from tests.support.process_tree import descendants
from tritguard.api.journal import read_progress
from tritguard.build import Build
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle
from tritguard.twin import Twin

Victim = Literal["host", "worker", "emulator"]
VICTIMS: tuple[Victim, ...] = ("host", "worker", "emulator")
_EARLY_VICTIMS: tuple[Victim, ...] = ("host", "worker", "worker", "emulator")  # workers end when all is crafted
_LATE_VICTIMS: tuple[Victim, ...] = ("host", "emulator")
DONE = {0, 1}  # 1: nothing can be said of a net of random weights
PLACES = ("starting", "preparing", "crafting", "confirming", "ending")
_STAGES = {  # the place of each stage of `progress.json`; boards are started between "More queries" and their answers
    "Preparing the attacks": "preparing",
    "Crafting on the twin": "crafting",
    "More queries": "confirming",
    "Confirming on the device": "confirming",
    "Comparing with the twin": "ending",
    "The whole test set, on the twin": "ending",
}
_LOOK_SECONDS = 0.02
_LATER_SECONDS = 0.1  # at most, after what is waited for is kept


@dataclass(frozen=True)
class Clean:
    """A campaign that was left alone.

    Attributes:
        result: without times.
        seconds: what it took.
        jobs: how many it crafted.
        answers: how many it asked for.
    """

    result: dict[str, Any]
    seconds: float
    jobs: int
    answers: int


@dataclass
class Campaign:
    """An attack with three emulated boards and two processes that craft.

    Attributes:
        command: of the attack, without its folder.
        killed: how many processes of each kind were killed at each of the places.
        starts: how often the attack was started.
    """

    command: list[str]
    killed: Counter[tuple[Victim, str]] = field(default_factory=Counter)
    starts: int = 0
    _begun: dict[int, float] = field(default_factory=dict)

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Start the attack, or go on with it."""
        self.starts += 1
        command = [*self.command, "--out", str(out)]
        now = time.time()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._begun[process.pid] = now
        return process

    def finish(self, out: Path) -> Clean:
        """Run the attack to its end."""
        start = time.perf_counter()
        with self.start(out) as process:
            _, said = process.communicate()
        seconds = time.perf_counter() - start
        assert process.returncode in DONE, said
        whole = json.loads((out / "result.json").read_text())
        return Clean(without_times(out), seconds, whole["throughput"]["jobs"], whole["confirmation"]["inputs"])

    def kill(self, process: subprocess.Popen[str], out: Path, victim: Victim, number: int | None = None) -> bool:
        """Kill a process of the attack with SIGKILL, any of its kind or that of this number; False if there is none."""
        found = descendants(process.pid)
        chosen = {
            "host": [process.pid],
            "worker": [pid for pid, (name, _) in found.items() if "python" in name][1:],  # the first tracks the others
            "emulator": [pid for pid, (name, _) in found.items() if "qemu" in name],
        }[victim]
        if process.poll() is not None or not chosen:
            return False
        place = self._place(process, out)
        try:
            os.kill(random.choice(chosen) if number is None else sorted(chosen)[number], signal.SIGKILL)
        except ProcessLookupError:  # it has just ended by itself
            return False
        if victim == "host":
            process.wait()
        self.killed[victim, place] += 1
        return True

    def _place(self, process: subprocess.Popen[str], out: Path) -> str:
        """Where an attack is by its own word; that of one before it, which was killed, does not count."""
        progress = read_progress(out)
        if progress is None or progress.started.timestamp() < self._begun[process.pid]:
            return "starting"
        return _STAGES[progress.stages[-1].name] if progress.stages else "preparing"

    def survive(self, out: Path, clean: Clean, kills: int) -> int:
        """Kill processes at random places, and start again what ended by that, until the attack ends.

        No process may outlive the attack that started it.

        Args:
            out: an empty folder, which holds the result then.
            clean: the same attack, left alone.
            kills: the most kills.

        Returns:
            How many were killed.
        """
        killed, ended = 0, False
        while not ended:
            process, seen = self.start(out), dict[int, tuple[str, str]]()
            while killed < kills and self._strike(process, out, clean, seen):
                killed += 1
            _, said = process.communicate()
            ended = process.returncode in DONE and (out / "result.json").exists()
            assert ended or process.returncode in {-signal.SIGKILL, 1, 4}, said
            assert "Traceback" not in said, said
            assert gone(seen), f"outlived the attack: {seen}"
        return killed

    def _strike(
        self, process: subprocess.Popen[str], out: Path, clean: Clean, seen: dict[int, tuple[str, str]]
    ) -> bool:
        """Kill a process of a random kind as soon as it is there after a random moment; False if the attack ended."""
        file = out / "campaign.db"

        def crafted() -> bool:
            return _kept(file, "jobs") >= clean.jobs

        victim = random.choice(_LATE_VICTIMS if crafted() else _EARLY_VICTIMS)
        is_due = _moment(file, clean, ("", "jobs") if victim == "worker" else ("", "jobs", "answers"))
        while process.poll() is None:
            seen.update(descendants(process.pid))
            if is_due():
                if victim == "worker" and crafted():
                    victim = random.choice(_LATE_VICTIMS)
                if self.kill(process, out, victim):
                    return True
            time.sleep(_LOOK_SECONDS)
        return False


def _moment(file: Path, clean: Clean, tables: Sequence[str]) -> Callable[[], bool]:
    """Draw a moment of what is left of a campaign: at any time, or soon after a row of a table is kept."""
    begun, table = time.monotonic(), random.choice(tables)
    kept, goal = _kept(file, table) if table else 0, {"": 0, "jobs": clean.jobs, "answers": clean.answers}[table]
    if kept >= goal:
        after = random.uniform(0, clean.seconds)
        return lambda: time.monotonic() - begun >= after
    wanted, later, reached = random.randrange(kept, goal), random.uniform(0, _LATER_SECONDS), list[float]()

    def is_due() -> bool:
        if not reached and _kept(file, table) >= wanted:
            reached.append(time.monotonic())
        return bool(reached) and time.monotonic() - reached[0] >= later

    return is_due


def _kept(file: Path, table: str) -> int:
    """How many rows of a table a campaign's file holds; nothing of the file changes."""
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])
    except sqlite3.OperationalError:  # there is no file, or no table, yet
        return 0


def campaign(bundle: Bundle, build: Build, folder: Path, samples: int, queries: int) -> Campaign:
    """A campaign on a small model; the folder keeps its data.

    It runs in a core installation, because most of its time would be that of starting TensorFlow.
    """
    x = inputs(bundle, samples)
    y = np.asarray(Twin(bundle).predict(x).labels)
    write_dataset(folder / "data.npz", Dataset("noise", x, y, tuple("abcde"), "steps", "none"))
    command = [
        str(core_install(folder / "core")),
        "-m",
        "tritguard",
        "attack",
        str(bundle.path),
        str(build.path),
        "--trust",
    ]
    command += ["--data", str(folder / "data.npz"), "-n", str(samples), "--eps", "1"]
    command += ["--attacks", "noise,square", "--set", f"square.queries={queries}", "--workers", "2", "--boards", "3"]
    return Campaign(command)


def without_times(out: Path) -> dict[str, Any]:
    """A result, without what says when, how fast, and after which troubles it was found."""
    result: dict[str, Any] = json.loads((out / "result.json").read_text())
    del result["throughput"], result["provenance"]["created"], result["provenance"]["command"]
    for row in result["attacks"]:
        del row["seconds"]
    for name in ("seconds", "resent_frames", "quarantined"):
        del result["confirmation"][name]
    return result


def gone(started: dict[int, tuple[str, str]], seconds: float = 60) -> bool:
    """Wait until none of these processes is left."""
    deadline = time.monotonic() + seconds
    while any(descendants(1, everyone=True).get(pid) == known for pid, known in started.items()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
