"""What can be proved of whole networks: scripts/bench certify [--samples 50] [--seconds 5] [--only NAME]
[--net NAME=FILE].

For each network and eps 1, 2 and 4: the samples that are proved, open and broken, by level, and the seconds that a
level takes for a sample it is tried on. The networks are MLPerf Tiny's DS-CNN and ResNet8, the examples, and those that
`--net` names: the demo's with `--net demo=demo/bundle/model.tflite`. The latter are given Fashion-MNIST.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.robustness_data import digits
from tests.bench.robustness_mlperf import keywords, pictures
from tests.support.shared import ROOT, shared_file
from tritguard.api.source import golden
from tritguard.certify.bracket import LEVELS
from tritguard.data import Dataset, load_dataset
from tritguard.emit import write_bundle
from tritguard.evaluate.certify.result import CertifyPlan, CertifyPoint, CertifyResult
from tritguard.evaluate.certify.study import study_certify
from tritguard.progress import silent

EPS = (1, 2, 4)
Net = tuple[Callable[[], Path], Callable[[], Dataset]]
NETS: dict[str, Net] = {
    "DS-CNN (MLPerf Tiny)": (lambda: shared_file("models/dscnn_int8.tflite"), keywords),
    "ResNet8 (MLPerf Tiny)": (lambda: shared_file("models/resnet8_int8.tflite"), pictures),
    "cifar10-stq-image": (lambda: ROOT / "examples/cifar10-stq-image/model.tflite", pictures),
    "digits-stq-keywords": (
        lambda: ROOT / "examples/digits-stq-keywords/model.tflite",
        lambda: digits(training=False),
    ),
}


def measure(path: Path, data: Dataset, plan: CertifyPlan) -> CertifyResult:
    """Certify a network on its twin."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(golden(path, None), Path(folder) / "bundle", name=path.stem)
        return study_certify(bundle, None, data, plan, silent)


def columns() -> list[str]:
    """The headings: what all levels came to, then each level with what it settled and took."""
    return ["net", "eps", "clean", "proved", "open", "broken", *(f"{level}: p / b, s" for level in LEVELS[1:])]


def rows(name: str, result: CertifyResult) -> Iterator[list[str]]:
    """A line for each eps."""
    for point in result.points:
        yield [
            name,
            str(point.eps_steps),
            str(result.clean.k),
            *(str(point.statuses.count(letter)) for letter in "pob"),
            *(_level(point, place) for place in range(1, len(LEVELS))),
        ]


def _level(point: CertifyPoint, place: int) -> str:
    level = LEVELS[place]
    tried = point.tried[level]
    if not tried:
        return "-"
    settled = " / ".join(str(point.settled(letter, level)) for letter in "pb")
    return f"{settled}, {point.seconds[level] / tried:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--eps", type=int, nargs="+", default=list(EPS))
    parser.add_argument("--seconds", type=float, default=5, help="of splitting, for a sample and eps")
    parser.add_argument("--work", type=int, default=CertifyPlan().work, help="as in the table [certify]")
    parser.add_argument("--only", default="", help="networks whose names hold this")
    parser.add_argument("--net", action="append", default=[], metavar="NAME=FILE", help="for Fashion-MNIST")
    options = parser.parse_args()
    plan = CertifyPlan(
        samples=options.samples, eps=tuple(options.eps), data_range="none", seconds=options.seconds, work=options.work
    )
    nets = dict(NETS)
    for given in options.net:
        name, _, file = given.partition("=")
        nets[name] = (lambda file=file: Path(file), lambda: load_dataset("fashion-mnist"))
    chosen = {name: net for name, net in nets.items() if options.only in name}
    console, table = Console(), Table(*columns(), title=f"{plan.samples} samples")
    for name, (path, data) in chosen.items():
        found = data()
        own = plan.model_copy(update={"data_range": "data" if found.own_range is not None else "none"})
        for row in rows(name, measure(path(), found, own)):
            table.add_row(*row)
            console.print("| " + " | ".join(row) + " |", soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
