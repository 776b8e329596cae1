"""How a fleet grows: scripts/bench scale [--boards 1,10,100] [--inputs N] [--folder DIR].

The boards are simulated: each takes 40 ms of waiting for an inference and computes nothing, so what is measured is the
scheduling of the fleet and the file that keeps the answers, as an attack uses both. Prints, for each number of boards,
the time beside the boards' own, processor time, memory, and the size of the file.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tritguard.campaign.answers import Answers
from tritguard.device.fleet import Fleet
from tritguard.predictor import Int8, Outputs

BOARDS = (1, 10, 100, 1_000, 10_000)
SECONDS = 0.04  # of an inference
SIZE, CLASSES = 3072, 10
PROBES = 16


class SimulatedBoard:
    """A board that takes its time and answers with the first bytes of each input."""

    def __init__(self, number: int) -> None:
        self.name = f"simulated {number}"
        self.resent_frames = 0

    def predict(self, x: Int8) -> Outputs:
        """Wait as long as a real one would compute."""
        time.sleep(len(x) * SECONDS)
        scores = x[:, :CLASSES].copy()
        return Outputs(scores, scores.astype(np.float64), np.full(len(x), 1_000_000))


def measure(boards: int, inputs: int, path: Path) -> str:
    """Ask a fleet for so many inputs a board; a row of figures, by commas."""
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, (boards * inputs, SIZE), dtype=np.int8)
    answers, before = Answers(path, "simulated", None), resource.getrusage(resource.RUSAGE_SELF)
    fleet = Fleet([SimulatedBoard(number) for number in range(boards)])
    start, processor = time.perf_counter(), time.process_time()
    outputs = fleet.predict(x, kept=lambda part, said, board: answers.keep(x[part], said, board))
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    assert np.array_equal(outputs.scores, x[:, :CLASSES]) and not fleet.sick
    answers.close()
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before.ru_maxrss) / 1024
    return f"{seconds},{processor},{memory},{path.stat().st_size}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--boards", default=",".join(map(str, BOARDS)), help="numbers of boards, by commas")
    parser.add_argument("--inputs", type=int, default=64, help="inputs for each board")
    parser.add_argument("--folder", type=Path, help="where the files are made; by default a temporary folder")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    numbers = [int(number) for number in options.boards.split(",")]
    if options.one:
        print(measure(numbers[0], options.inputs, options.folder / "campaign.db"))
        return 0
    table = Table(
        "boards",
        "inputs",
        "boards' own time",
        "time",
        "inputs a second",
        "processor time",
        "memory",
        "file",
        "an input",
    )
    for boards in numbers:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            command = [sys.executable, "-m", "tests.bench.scale", "--one", "--boards", str(boards)]
            command += ["--inputs", str(options.inputs), "--folder", folder]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, processor, memory, size = map(float, said.split(","))
        own = (options.inputs + (PROBES if boards > 1 else 0)) * SECONDS
        count = boards * options.inputs
        table.add_row(
            f"{boards:,}", f"{count:,}", f"{own:.1f} s", f"{seconds:.1f} s", f"{count / seconds:,.0f}",
            f"{processor:.1f} s", f"{memory:,.0f} MiB", f"{size / 1e6:,.1f} MB", f"{size / count:.0f} B",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
