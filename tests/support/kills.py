"""Campaigns on emulated boards whose processes are killed, and what has to be the same in the end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tests.support.core_install import core_install
from tests.support.device_support import inputs
from tests.support.process_tree import descendants
from tritguard.build import Build
from tritguard.data import Dataset, write_dataset
from tritguard.emit import Bundle
from tritguard.twin import Twin

Victim = Literal["host", "worker", "emulator"]
VICTIMS: tuple[Victim, ...] = ("host", "worker", "emulator")
DONE = {0, 1}  # 1: nothing can be said of a net of random weights


@dataclass
class Campaign:
    """An attack with three emulated boards and two processes that craft.

    Attributes:
        command: of the attack, without its folder.
        killed: how many processes of each kind were killed.
        starts: how often the attack was started.
    """

    command: list[str]
    killed: Counter[Victim] = field(default_factory=Counter)
    starts: int = 0

    def start(self, out: Path) -> subprocess.Popen[str]:
        """Start the attack, or go on with it."""
        self.starts += 1
        command = [*self.command, "--out", str(out)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def finish(self, out: Path) -> dict[str, Any]:
        """Run the attack to its end; its result without times."""
        with self.start(out) as process:
            _, said = process.communicate()
        assert process.returncode in DONE, said
        return without_times(out)

    def kill(self, process: subprocess.Popen[str], victim: Victim, number: int | None = None) -> bool:
        """Kill a process of the attack with SIGKILL, any of its kind or that of this number; False if there is none."""
        found = descendants(process.pid)
        chosen = {
            "host": [process.pid],
            "worker": [pid for pid, (name, _) in found.items() if "python" in name][1:],  # the first tracks the others
            "emulator": [pid for pid, (name, _) in found.items() if "qemu" in name],
        }[victim]
        if process.poll() is not None or not chosen:
            return False
        with suppress(ProcessLookupError):
            os.kill(random.choice(chosen) if number is None else sorted(chosen)[number], signal.SIGKILL)
        self.killed[victim] += 1
        return True

    def survive(self, out: Path, seconds: float, kills: int) -> dict[str, Any]:
        """Kill processes at random times, at most so many, and start again, until the attack ends.

        Args:
            out: an empty folder.
            seconds: the longest to wait before a kill.
            kills: the most kills.

        Returns:
            The result without times.
        """
        ended = False
        while not ended:
            process = self.start(out)
            if kills > 0:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(random.uniform(0, seconds))
                victims = random.sample(VICTIMS, len(VICTIMS))
                kills -= any(self.kill(process, victim) for victim in victims)
            _, said = process.communicate()
            ended = process.returncode in DONE and (out / "result.json").exists()
            assert ended or process.returncode in {-signal.SIGKILL, 1, 4}, said
            assert "Traceback" not in said, said
        return without_times(out)


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
