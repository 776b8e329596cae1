"""What tritguard withstands: scripts/bench reliability [--rows line,times,kills,soak,fuzz] [--count N] [--share S].

`line`: how well a serial line is used, quiet and noisy. `times`: those of the road, each beside another one of the same
run (ResNet8 is in the folder that TRITGUARD_SHARED names). `kills`: a hundred kills of processes of a campaign. `soak`:
10^6 inferences on the twin and 10^5 on an emulated board. `fuzz`: 10^7 blocks at the firmware built for this machine,
10^5 at an emulated board. --share 0.01 does a hundredth of the last three, and says what the whole would take.

The line is modelled: 921,600 Bd, 1 ms of latency each way, inferences of 40 ms on 3,072 bytes, and at its end the
firmware's own C (tests/support/modelled_line.py). Exit status 1 if an answer is wrong or a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.models import demo, resnet8
from tests.support.endurance import Row, fuzz_board, fuzz_host, kills, soak_board, soak_twin
from tests.support.host_firmware import host_firmware
from tests.support.kills import PLACES, VICTIMS, Victim
from tests.support.known_models import image_model, ternary_model
from tests.support.modelled_line import ModelledLine, Weather
from tests.support.times import Timing, help_time, line_time, workers_time
from tritguard.boards import load_board
from tritguard.build import build
from tritguard.device.greeting import greet
from tritguard.device.inferences import Inferences
from tritguard.device.link import Link
from tritguard.device.protocol import Inference, wire_bytes
from tritguard.device.rate import Rate
from tritguard.emit import Bundle, write_bundle
from tritguard.twin import Twin

BAUD = 921_600
COMPUTE = 0.04
ESTIMATE = 0.3  # what the host takes an inference for before the first
QUIET = "quiet"
RESNET8_GOAL = (1_000, 60.0)  # inputs, and the processor time that they may take
DEMO_GOAL = (2_509, 10.0)  # 5 s on two cores, with a board for each
ROWS = ("line", "times", "kills", "soak", "fuzz")


@dataclass(frozen=True)
class Case:
    """A kind of weather, and the goal: at least this share of the longer of both used, or at most so much slower."""

    name: str
    weather: Weather
    used: float | None = None
    slower: float | None = None


CASES = (
    Case(QUIET, Weather(), used=0.95),
    Case("0.1 % of bytes broken", Weather(broken=lambda _: 0.001), slower=3),
    Case("1 % of bytes broken", Weather(broken=lambda _: 0.01), slower=3),
    Case("3 % of bytes broken", Weather(broken=lambda _: 0.03)),
    Case("1 % of writes late, by up to 0.2 s", Weather(delayed=(0.01, 0.2)), slower=3),
    Case("cut for 0.1 s and 0.5 s", Weather(cuts=((0.5, 0.6), (1.2, 1.7)))),
)


@dataclass(frozen=True)
class Measured:
    """What came of a case; `seconds` is for one inference."""

    seconds: float
    wrong: int
    resent: int
    computed: int

    @property
    def used(self) -> float:
        """The share of the time that the longer of transfer and inference takes."""
        return max(COMPUTE, wire_bytes(3072) * 10 / BAUD) / self.seconds


def measure(program: Path, bundle: Bundle, weather: Weather, count: int, ring: int = 4608) -> Measured:
    """Ask for inferences over a modelled line, and hold every answer against the twin's."""
    x = np.random.default_rng(1).integers(-128, 128, (count, *bundle.manifest.input.shape), dtype=np.int8)
    twin = Twin(bundle).predict(x)
    assert bundle.manifest.logits is not None and twin.logits is not None
    logits = np.rint(twin.logits / np.array(bundle.manifest.logits.scale)).astype(np.int64)
    answers: dict[int, Inference] = {}
    with ModelledLine(program, baud=BAUD, compute=COMPUTE, ring=ring, weather=weather) as line:
        link = Link(line)
        hello = greet(link)
        rate = Rate(link, line, BAUD, ())
        size = 8 + 4 * hello.logits + hello.outputs
        inferences = Inferences(link, rate, hello.ring, size, lambda: ESTIMATE, lambda: void(greet(link)))
        start = line.now()
        for i, payload in inferences.run([sample.tobytes() for sample in x]):
            assert i not in answers, "an input was answered twice"
            answers[i] = Inference.parse(payload, hello.outputs, hello.logits)
        seconds = (line.now() - start) / count
        computed = line.computed
    right = [
        (answers[i].scores == twin.scores[i]).all() and (answers[i].accumulators == logits[i]).all()
        for i in range(count)
    ]
    return Measured(seconds, right.count(False), link.resent, computed)


def void(_: object) -> None:
    """Forget a value."""


def lines(count: int) -> tuple[Table, int]:
    """Measure every case of the line; the table, and how many missed their goals."""
    table = Table("line", "an inference", "used", "slower", "sent again", "computed again", "wrong", "goal", "")
    quiet, missed = 0.0, 0
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(image_model(), Path(folder) / "bundle", name="image")
        program = host_firmware(bundle, Path(folder) / "firmware", "modelled_port.c")
        for case in CASES:
            found = measure(program, bundle, case.weather, count)
            quiet = found.seconds if case.name == QUIET else quiet
            slower = found.seconds / quiet
            is_met = not found.wrong
            is_met &= case.used is None or found.used >= case.used
            is_met &= case.slower is None or slower <= case.slower
            missed += not is_met
            goal = f"{case.used:.0%} used" if case.used else f"{case.slower:g} x" if case.slower else "all right"
            table.add_row(
                case.name, f"{1e3 * found.seconds:.1f} ms", f"{found.used:.1%}", f"{slower:.2f} x", f"{found.resent:,}",
                f"{found.computed - count:,}", f"{found.wrong}", goal, "goal" if is_met else "MISSED",
            )  # fmt: skip
    return table, missed


def times() -> tuple[Table, int]:
    """Measure the times of the road; the table, and how many missed their goals."""
    table = Table("processor time of", "", "beside", "", "ratio", "goal", "", "")
    missed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = write_bundle(ternary_model(), folder / "bundle", name="small")
        firmware = build(small, load_board("mps2-an386"), folder / "build")
        work: list[Callable[[], Timing]] = [
            help_time,
            lambda: line_time(resnet8(), "ResNet8", folder / "resnet8", 40, RESNET8_GOAL),
            lambda: line_time(demo(), "the demo's network", folder / "demo", 100, DEMO_GOAL),
            lambda: workers_time(small, firmware, folder / "workers"),
        ]
        for one in (measure_one() for measure_one in work):
            missed += not one.is_met
            table.add_row(
                one.name, _in_words(one.seconds), one.other, _in_words(one.other_seconds), f"{one.ratio:.3g}", one.goal,
                one.note, "goal" if one.is_met else "MISSED",
            )  # fmt: skip
    return table, missed


def _in_words(seconds: float) -> str:
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.1f} s"


def endured(rows: set[str], share: float, keep: Path | None) -> tuple[list[Table], int]:
    """Carry out a share of the long rows; the tables, and how many failed."""
    table = Table("row", "done", "of", "time", "a second", "the whole takes", "", "")
    tables = [table]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = write_bundle(ternary_model(), folder / "bundle", name="small")
        firmware = build(bundle, load_board("mps2-an386"), folder / "build")
        work: list[tuple[str, Callable[[], Row]]] = [
            ("kills", lambda: kills(bundle, firmware, folder, max(1, round(100 * share)))),
            ("soak", lambda: soak_twin(bundle, round(1e6 * share))),
            ("soak", lambda: soak_board(bundle, firmware, round(1e5 * share))),
            ("fuzz", lambda: fuzz_host(bundle, folder / "fuzz", round(1e7 * share), keep)),
            ("fuzz", lambda: fuzz_board(firmware, round(1e5 * share))),
        ]
        for row in (one() for kind, one in work if kind in rows):
            failed += bool(row.failure)
            rate = row.count / row.seconds
            whole = timedelta(seconds=round(row.goal / rate)) if row.count else "?"
            table.add_row(
                row.name, f"{row.count:,}", f"{row.goal:,}", f"{row.seconds:.0f} s", f"{rate:,.3g}", str(whole),
                row.note, row.failure or "goal",
            )  # fmt: skip
            tables += [by_place(row.killed)] if row.killed else []
    return tables, failed


def by_place(killed: Mapping[tuple[Victim, str], int]) -> Table:
    """How many processes of each kind were killed at each place of a campaign."""
    table = Table("killed", *PLACES, "in all")
    for victim in VICTIMS:
        counts = [killed.get((victim, place), 0) for place in PLACES]
        table.add_row(victim, *map(str, counts), str(sum(counts)))
    sums = [sum(killed.get((victim, place), 0) for victim in VICTIMS) for place in PLACES]
    table.add_row("in all", *map(str, sums), str(sum(sums)))
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=",".join(ROWS), help="by commas")
    parser.add_argument("--count", type=int, default=200, help="inferences in each case of the line")
    parser.add_argument("--share", type=float, default=1.0, help="of the other rows' goals")
    parser.add_argument("--keep", type=Path, help="file for the corpus that fuzzing ends with")
    options = parser.parse_args()
    rows = set(options.rows.split(","))
    if not rows <= set(ROWS):
        parser.error(f"--rows: {', '.join(ROWS)}")
    missed, console = 0, Console(width=None if sys.stdout.isatty() else 140)
    if "line" in rows:
        table, missed = lines(options.count)
        console.print(table)
    if "times" in rows:
        table, slow = times()
        missed += slow
        console.print(table)
    if rows - {"line", "times"}:
        tables, failed = endured(rows, options.share, options.keep)
        missed += failed
        console.print(*tables, sep="\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
