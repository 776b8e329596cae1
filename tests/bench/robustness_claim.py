"""Nets of ours at the eps at which a claim would be true of the net that it names: scripts/bench robustness claim TABLE
[NET ...] --out DIR.

The claim (CIFAR-10: 82.44 % clean and 33.59 % under PGD, where DS-CNN keeps 12.54 %) states no eps. So an undefended
DS-CNN is attacked, and eps* is where PGD with 20 steps leaves it 12.54 %: interpolated linearly between the two integer
steps of the input grid around it, with a 95 % interval by bootstrap over the samples. TABLE is `cifar10` (DS-CNN is
trained in DIR), `digits` (the same, on spoken digits), `keywords` (MLPerf Tiny's DS-CNN on EEMBC's 1,000 samples) or
`speech-commands` (the same net on the whole test set, which is downloaded). A NET is a folder of `tritguard train` or
an int8 `.tflite`. Each gets a row: clean over the whole test set, PGD-20 at eps* interpolated in the same way, the
worst case over all attacks of the preset `standard`, flash, RAM and cycles. A second table has PGD-20, APGD, Square and
the worst case at the integers of `--at`. Nets whose trainings differ in their seeds alone also get a line with mean
and standard deviation. What is done stays in DIR, attacks of a run that was killed too. The tables are printed, and
kept as DIR/claim-TABLE.md and .json, from which `scripts/bench robustness front` draws.

A share at an eps is of the samples that are right at this eps and at every smaller one, clean included.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from rich.console import Console

from tests.bench import robustness, robustness_data, robustness_mlperf
from tests.support.shared import shared_file
from tritguard.api.source import golden
from tritguard.attack import Attack, Target
from tritguard.boards import load_board
from tritguard.build import Budget, build
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import FILE, Store
from tritguard.campaign.workers import Workers
from tritguard.cli.progress import bar
from tritguard.data import Dataset, load_dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import in_chunks, prepare
from tritguard.evaluate.samples import draw_samples
from tritguard.evaluate.study import Rate, wilson
from tritguard.files import write_whole
from tritguard.processes import cores
from tritguard.profile import expected_cycles
from tritguard.records import Record, from_json
from tritguard.train.config import CALIBRATION, RECORD, TrainRecord
from tritguard.twin import Twin, verify_against_oracle

LEFT = 0.1254  # what the claim leaves DS-CNN
BOARD = "mps2-an386"
_HOLDS = 1 << 20  # stands for "not broken at any eps that was tried"
_RESAMPLED = 4000
_MOST_EPS = 32


class Attacked(Record):
    """One network under one set of attacks.

    Attributes:
        attacks: what was run, in words.
        eps: the bounds that were tried, in steps of the int8 input grid, rising.
        broken: for each sample, the smallest eps at which any of the attacks makes it wrong; 0 if it is on the clean
            input, and a large number if it holds at all of them.
        each: the same for single attacks, by name, where there are several.
        seconds: of processor time that the attacks took, those of a run that was killed too.
    """

    attacks: str
    eps: tuple[int, ...]
    broken: tuple[int, ...]
    each: dict[str, tuple[int, ...]] = Field(default_factory=dict)
    seconds: float

    def alone(self, attack: str) -> Attacked:
        """What one of the attacks leaves."""
        return self.model_copy(update={"attacks": attack, "broken": self.each[attack], "each": {}})

    def share(self, eps: float) -> float:
        """The share left at an eps, interpolated between the integers around it."""
        return float(shares(self._counts(eps)[None] / len(self.broken), eps)[0])

    def interval(self, eps: float) -> tuple[float, float]:
        """Wilson's 95 % interval of that share; between two integers it is somewhat wider than 95 %."""
        return wilson(self.share(eps) * len(self.broken), len(self.broken))

    def resampled(self, eps: float) -> NDArray[np.float64]:
        """float64[draws, bounds]: shares that are broken at each integer from 0 to the next above `eps`."""
        counts = self._counts(eps)
        drawn = np.random.default_rng(0).multinomial(
            len(self.broken), [*counts / len(self.broken), 1 - counts.sum() / len(self.broken)], _RESAMPLED
        )
        return np.asarray(drawn[:, :-1] / len(self.broken))

    def _counts(self, eps: float) -> NDArray[np.int64]:
        above = int(np.ceil(eps))
        assert set(range(int(np.floor(eps)), above + 1)) <= {0, *self.eps}, f"not attacked around {eps}"
        return np.bincount([at for at in self.broken if at <= above], minlength=above + 1)


def shares(broken: NDArray[np.float64], eps: float) -> NDArray[np.float64]:
    """The share left at an eps, from shares broken first at 0, 1, 2, ... (last axis), interpolated linearly."""
    left = 1 - np.cumsum(broken, axis=-1)
    below, part = int(np.floor(eps)), eps - np.floor(eps)
    return np.asarray(left[..., below] if part == 0 else (1 - part) * left[..., below] + part * left[..., below + 1])


def eps_at(broken: NDArray[np.float64], left: float) -> float:
    """The eps at which `left` is left, NaN if it is larger than all, 0 if no more is left clean; `broken` as above."""
    still = 1 - np.cumsum(broken)
    if still[0] <= left:
        return 0.0
    above = np.flatnonzero(still <= left)
    if not len(above):
        return float("nan")
    at = int(above[0])
    return float(at - 1 + (still[at - 1] - left) / (still[at - 1] - still[at]))


class Calibration(Record):
    """The eps at which PGD-20 leaves the named net what the claim says, with its 95 % interval.

    Attributes:
        net: the net.
        left: the share that is left.
        eps, low, high: in steps of the int8 input grid.
        clean: of the attacked samples.
        found: what the attack left at each integer eps.
    """

    net: str
    left: float
    eps: float
    low: float
    high: float
    clean: float
    found: Attacked


class Claimed(Record):
    """A network at eps*.

    Attributes:
        clean: of the whole test set.
        ternary: layers whose weights are ternary, of all that have weights.
        flash_bytes, ram_bytes: of the whole firmware; RAM with the stack.
        cycles: of an inference, estimated.
        hours: of the training; None if it was not done here.
        recipe: a digest of the training's settings without its seed, the same for several seeds; empty if unknown.
    """

    name: str
    eps: float
    clean: Rate
    pgd: Attacked
    worst: Attacked | None
    ternary: tuple[int, int]
    flash_bytes: int
    ram_bytes: int
    cycles: int | None
    hours: float | None
    machine: str
    recipe: str = ""


class Claims(Record):
    """What a call of this bench found, `claim-TABLE.json`."""

    table: str
    calibration: Calibration
    at: tuple[int, ...]
    rows: tuple[Claimed, ...]


@dataclass(frozen=True)
class Table:
    """A task: its data, and the undefended net of the claim."""

    data: Callable[[], Dataset]
    baseline: Callable[[argparse.Namespace, Dataset], Path]


def _trained(table: str) -> Callable[[argparse.Namespace, Dataset], Path]:
    def train(options: argparse.Namespace, dataset: Dataset) -> Path:
        settings = robustness.read_settings()
        case = robustness.Case("ds-cnn", "int8", "none", options.seed)
        robustness.trained(case, settings["tables"][table], settings, options, dataset)
        return Path(options.out) / case.name

    return train


def _of_mlperf(_options: argparse.Namespace, _dataset: Dataset) -> Path:
    return shared_file("models/dscnn_int8.tflite")


TABLES = {
    "cifar10": Table(robustness_data.cifar10, _trained("cifar10")),
    "digits": Table(robustness_data.digits, _trained("digits")),
    "keywords": Table(robustness_mlperf.keywords, _of_mlperf),
    "speech-commands": Table(lambda: load_dataset("speech-commands"), _of_mlperf),
}


def main(arguments: Sequence[str]) -> None:
    options = _options(arguments)
    console = Console()
    with console.status("Reading data"):
        dataset = TABLES[options.table].data()
    options.out.mkdir(parents=True, exist_ok=True)
    baseline = TABLES[options.table].baseline(options, dataset)
    found = calibrate(baseline, dataset, options)
    write_whole(options.out / f"eps-{options.table}.json", found.model_dump_json(indent=2) + "\n")
    console.print(describe(found), markup=False, highlight=False, soft_wrap=True)
    rows = []
    for net in [baseline, *options.nets]:
        console.rule(_name(net))
        count = options.calibrated if net == baseline else options.attacked
        rows.append(measure(net, dataset, options.eps or found.eps, count, options))
        write_whole(options.out / f"claim-{options.table}.md", as_markdown(rows, found, options.at))
        whole = Claims(table=options.table, calibration=found, at=tuple(options.at), rows=tuple(rows))
        write_whole(options.out / f"claim-{options.table}.json", whole.model_dump_json(indent=1) + "\n")
    console.print((options.out / f"claim-{options.table}.md").read_text(), markup=False, soft_wrap=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="robustness claim", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("nets", type=Path, nargs="*", help="ours: folders of trainings, or .tflite files")
    parser.add_argument("--out", type=Path, required=True, help="where trainings, attacks and the table are kept")
    parser.add_argument("--calibrated", type=int, default=1000, help="test samples for PGD-20 on the net of the claim")
    parser.add_argument("--attacked", type=int, default=500, help="test samples for PGD-20 on the others")
    parser.add_argument(
        "--worst", type=int, default=200, help="test samples for the preset `standard`; 0 leaves it out"
    )
    parser.add_argument(
        "--at", type=int, nargs="+", default=[], help="also what is left at these eps, in a second table"
    )
    parser.add_argument("--left", type=float, default=LEFT, help="what PGD-20 leaves the net of the claim at eps*")
    parser.add_argument("--eps", type=float, help="rows at this eps instead of eps*")
    parser.add_argument("--seed", type=int, default=0, help="of the net of the claim, where it is trained")
    parser.add_argument("--workers", type=int, default=cores())
    parser.set_defaults(epochs=None, samples=None)  # of the training, as `robustness` takes them
    return parser.parse_intermixed_args(arguments)


def calibrate(net: Path, dataset: Dataset, options: argparse.Namespace) -> Calibration:
    """Attack at 1, 2, 3, ... steps until the share is below what the claim leaves."""
    folder, bundle = _bundle(net, options.out)
    for bound in range(1, _MOST_EPS + 1):
        found = attacked(bundle, dataset, _pgd(options.calibrated, range(1, bound + 1)), folder, options.workers)
        if found.share(bound) <= options.left:
            break
    drawn = found.resampled(max(found.eps))
    values = np.array([eps_at(each, options.left) for each in drawn])
    # Draws that keep more than that at the largest eps lie above it.
    low, high = np.quantile(np.nan_to_num(values, nan=max(found.eps)), [0.025, 0.975])
    broken = np.bincount([at for at in found.broken if at <= max(found.eps)], minlength=max(found.eps) + 1)
    eps = eps_at(broken / len(found.broken), options.left)
    return Calibration(
        net=_name(net), left=options.left, eps=eps, low=low, high=high, clean=found.share(0), found=found
    )


def describe(found: Calibration) -> str:
    """The curve and eps*, in words."""
    left = ", ".join(f"{100 * found.found.share(eps):.1f} % at {eps}" for eps in found.found.eps)
    return (
        f"{found.net}: {100 * found.clean:.1f} % of {len(found.found.broken):,} samples clean; PGD-20 leaves {left}.\n"
        f"It leaves {100 * found.left:.2f} % at eps* = {found.eps:.3f} steps of the int8 input grid "
        f"(95 %: {found.low:.3f} to {found.high:.3f})."
    )


def measure(net: Path, dataset: Dataset, eps: float, count: int, options: argparse.Namespace) -> Claimed:
    """A net's row, with `count` samples for PGD-20; what was measured before is read."""
    folder, bundle = _bundle(net, options.out)
    bounds = sorted({max(1, int(np.floor(eps))), max(1, int(np.ceil(eps))), *options.at})
    pgd = attacked(bundle, dataset, _pgd(count, bounds), folder, options.workers)
    worst = None
    if options.worst:
        plan = Plan(samples=min(options.worst, len(dataset.x_test)), eps=tuple(bounds), preset="standard")
        worst = attacked(bundle, dataset, plan, folder, options.workers)
    board = load_board(BOARD)
    built = build(bundle, board, folder / "build", budget=Budget())
    expected, sizes = expected_cycles(bundle, built), built.record.sizes
    record = from_json(TrainRecord, net / RECORD) if (net / RECORD).is_file() else None
    return Claimed(
        name=_name(net),
        eps=eps,
        clean=_clean(bundle, dataset, folder),
        pgd=pgd,
        worst=worst,
        ternary=robustness_mlperf.ternary_layers(bundle),
        flash_bytes=sizes.flash_total,
        ram_bytes=sizes.ram_static + sizes.stack_reserved,
        cycles=None if expected is None else expected.cycles,
        hours=None if record is None else record.seconds / 3600,
        machine=robustness.processor(),
        recipe="" if record is None else _recipe(record),
    )


def _recipe(record: TrainRecord) -> str:
    """A digest of what a training is made of, but for its seed, and for the folders of others of the same seed."""
    settings = record.config.model_dump_json(exclude={"seed": True, "start": True, "teacher": {"model"}})
    return hashlib.sha256(f"{record.data_sha256} {settings}".encode()).hexdigest()[:12]


def _pgd(count: int, eps: Sequence[int]) -> Plan:
    settings: dict[str, dict[str, float | int | str]] = {"pgd": {"steps": 20, "restarts": 1}}
    return Plan(samples=count, eps=tuple(eps), attacks=("pgd",), settings=settings)


def attacked(bundle: Bundle, dataset: Dataset, plan: Plan, folder: Path, workers: int) -> Attacked:
    """Carry out a plan's attacks in the balls of its threat model, or read what was found when that was done."""
    plan = plan.model_copy(update={"samples": min(plan.samples, len(dataset.x_test))})
    key = hashlib.sha256(f"{dataset.sha256} {plan.model_dump_json()}".encode()).hexdigest()[:12]
    kept = folder / "attacked" / f"{key}.json"
    if kept.is_file():
        return from_json(Attacked, kept)
    samples = draw_samples(bundle, dataset, plan.samples, plan.seed)
    target = prepare(bundle, samples, plan)
    assert target.view is not None
    suite = plan.suite(int(np.prod(bundle.manifest.output.shape)))
    store = Store(folder / FILE, bundle.manifest.model_sha256)
    with bar(f"{bundle.manifest.name}, {_words(suite)}") as report, Workers(workers) as crafting:
        crew = Crew(crafting, bundle.path, target.view.temperature, bundle.manifest.macs)
        runs, _ = craft_all(target, plan.balls[:-1], suite, store, report, crew)
    each = {
        attack.name: first_broken(target, [(run.eps, run.x) for run in runs if run.attack.name == attack.name])
        for attack in suite
    }
    found = Attacked(
        attacks=_words(suite),
        eps=plan.eps,
        broken=tuple(int(at) for at in np.min(list(each.values()), axis=0)),
        each={name: tuple(map(int, broken)) for name, broken in each.items()} if len(each) > 1 else {},
        seconds=sum(run.processor_seconds for run in runs),
    )
    kept.parent.mkdir(exist_ok=True)
    write_whole(kept, found.model_dump_json() + "\n")
    return found


def first_broken(target: Target, runs: Sequence[tuple[int, NDArray[np.int8]]]) -> NDArray[np.int64]:
    """int64[n]: for each sample the smallest eps at which it is wrong; see `Attacked`."""
    right = target.predictor.predict(target.x).labels == target.y
    broken = np.where(right, _HOLDS, 0)
    for eps, x in runs:
        wrong = target.predictor.predict(x).labels != target.y
        broken = np.where(wrong, np.minimum(broken, eps), broken)
    return broken


def _words(suite: Sequence[Attack]) -> str:
    return ", ".join(f"{attack.name}-{attack.parameters['steps']}" if attack.name == "PGD" else attack.name
                     for attack in suite)  # fmt: skip


def _clean(bundle: Bundle, dataset: Dataset, folder: Path) -> Rate:
    kept = folder / f"clean-{dataset.sha256[:12]}.json"
    if kept.is_file():
        return from_json(Rate, kept)
    samples = draw_samples(bundle, dataset, len(dataset.x_test), 0)
    with bar("clean") as report:
        right = in_chunks(Twin(bundle), samples.x, report).labels == samples.y
    rate = Rate.of(int(right.sum()), len(right))
    write_whole(kept, rate.model_dump_json() + "\n")
    return rate


def _bundle(net: Path, out: Path) -> tuple[Path, Bundle]:
    """A net's folder in `out`, by its golden model, and its bundle."""
    kept = net / "model.tflite"  # of examples/, which come without calibration inputs
    content = golden(kept if kept.is_file() and not (net / CALIBRATION).is_file() else net, None)
    folder = out / f"net-{hashlib.sha256(content).hexdigest()[:12]}"
    core = load_board(BOARD).core_class
    return folder, write_bundle(content, folder / "bundle", name=_name(net), core=core, check=verify_against_oracle)


def _name(net: Path) -> str:
    return net.resolve().name.removesuffix(".tflite")


def as_markdown(rows: list[Claimed], found: Calibration, at: Sequence[int]) -> str:
    """The curve of the net of the claim, a line for each net, and what is left at further eps."""
    heads = ["net", "ternary layers", "clean %", "PGD-20 at eps* %", "worst case %", "flash kB", "RAM kB", "M cycles"]
    lines = [describe(found), "", "| " + " | ".join([*heads, "training h"]) + " |"]
    lines.append("|---|---|" + "---:|" * (len(heads) - 1))
    for row in rows:
        of, all_of = row.ternary
        cells = [row.name, f"{of} of {all_of}", _percent(row.clean.value, (row.clean.low, row.clean.high))]
        cells += [_left(row.pgd, row.eps), "" if row.worst is None else _left(row.worst, row.eps)]
        cells += [f"{row.flash_bytes / 1000:.1f}", f"{row.ram_bytes / 1000:.1f}"]
        cells.append("" if row.cycles is None else f"{row.cycles / 1e6:.1f}")
        cells.append("" if row.hours is None else f"{row.hours:.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    for name, same in _seeds(rows).items():
        shares = [[row.clean.value for row in same], [row.pgd.share(row.eps) for row in same]]
        shares.append([row.worst.share(row.eps) for row in same if row.worst is not None])
        lines.append(f"| {name}, {len(same)} seeds | | " + " | ".join(map(_spread, shares)) + " | | | | |")
    lines += ["", *_further(rows, at)] if at else []
    first = rows[0]
    worst = "" if first.worst is None else f", worst case on {len(first.worst.broken)} ({first.worst.attacks})"
    minutes = sum(row.pgd.seconds + (row.worst.seconds if row.worst else 0) for row in rows) / 60
    counts = " and ".join(dict.fromkeys(f"{len(row.pgd.broken):,}" for row in rows))
    lines += ["", f"Rows at {first.eps:.3f} steps. Clean on {first.clean.n:,} samples, PGD-20 on {counts}{worst}; in "
              f"brackets 95 %. The attacks took {minutes:.0f} min of processor time on {first.machine}; "
              f"{time.strftime('%Y-%m-%d', time.gmtime())}."]  # fmt: skip
    return "\n".join(lines) + "\n"


_SHOWN = ("APGD-CE", "Square")


def _further(rows: list[Claimed], at: Sequence[int]) -> list[str]:
    """A line for each net and eps: PGD-20, single attacks of the preset, and the worst case."""
    heads = ["net", "eps", "PGD-20 %", *(f"{name} %" for name in _SHOWN), "worst case %"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|---:" * (len(heads) - 1) + "|"]
    for row in rows:
        for eps in at:
            cells = [row.name, str(eps), _left(row.pgd, eps)]
            cells += [
                _left(row.worst.alone(name), eps) if row.worst and name in row.worst.each else "" for name in _SHOWN
            ]
            lines.append("| " + " | ".join([*cells, _left(row.worst, eps) if row.worst else ""]) + " |")
    for name, same in _seeds(rows).items():
        worst = [row.worst for row in same if row.worst is not None]
        for eps in at:
            parts = [[row.pgd for row in same]]
            parts += [[found.alone(attack) for found in worst if attack in found.each] for attack in _SHOWN]
            cells = [_spread([found.share(eps) for found in part]) for part in [*parts, worst]]
            lines.append(f"| {name}, {len(same)} seeds | {eps} | " + " | ".join(cells) + " |")
    return lines


def _seeds(rows: list[Claimed]) -> dict[str, list[Claimed]]:
    """The nets that were trained with several seeds, by what their names have before the seed."""
    recipes: dict[str, list[Claimed]] = {}
    for row in rows:
        if row.recipe:
            recipes.setdefault(row.recipe, []).append(row)
    return {re.sub(r"-\d+$", "", same[0].name): same for same in recipes.values() if len(same) > 1}


def _spread(values: list[float]) -> str:
    """The mean and the standard deviation of shares in percent; empty unless there are several."""
    return f"{100 * np.mean(values):.1f} ± {100 * np.std(values, ddof=1):.1f}" if len(values) > 1 else ""


def _left(found: Attacked, eps: float) -> str:
    return _percent(found.share(eps), found.interval(eps))


def _percent(value: float, interval: tuple[float, float]) -> str:
    return f"{100 * value:.1f} ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})"
