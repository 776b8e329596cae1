"""What can be proved of whole networks: scripts/bench certify [--samples 50] [--seconds 5] [--only NAME]
[--net NAME=FILE] [--train FOLDER].

For each network and eps 1, 2 and 4: the samples that are proved, open and broken, by level, and the seconds that a
level takes for a sample it is tried on. The networks are MLPerf Tiny's DS-CNN and ResNet8, the examples, and those that
`--net` names: the demo's with `--net demo=demo/bundle/model.tflite`. The latter are given Fashion-MNIST. `--train`
makes a ternary net that is trained for proofs, as certify.toml beside this file says, and fails where it misses the
goals there; what an earlier run left in the folder is used again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.robustness_data import digits
from tests.bench.robustness_mlperf import keywords, pictures
from tests.support.shared import ROOT, shared_file
from tritguard import api
from tritguard.api.models import earlier_training
from tritguard.api.source import golden
from tritguard.certify.bracket import LEVELS
from tritguard.data import Dataset, load_dataset
from tritguard.emit import write_bundle
from tritguard.evaluate.certify.result import CertifyPlan, CertifyPoint, CertifyResult
from tritguard.evaluate.certify.study import study_certify
from tritguard.progress import silent
from tritguard.records import read_toml
from tritguard.train import TrainConfig

EPS = (1, 2, 4)
TRAINED = "small-conv, trained for proofs"
SETTINGS = Path(__file__).with_suffix(".toml")
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


def trained(folder: Path) -> Path:
    """Train the net of certify.toml, stage by stage, and convert it; gives its .tflite."""
    data, start = load_dataset("fashion-mnist"), ""
    for name, stage in read_toml(SETTINGS)["stages"].items():
        config = TrainConfig.model_validate({**stage, "start": start})
        if earlier_training(config, data, folder / name) is None:
            api.train(config, data, folder / name)
        start = str(folder / name)
    bundle = api.convert(start, folder / "bundle", data=data)
    return bundle.model_path


def missed(result: CertifyResult) -> Iterator[str]:
    """The goals of certify.toml that a result does not reach."""
    goals = read_toml(SETTINGS)["goals"]
    if result.clean.value < goals["clean"]:
        yield f"clean {result.clean.value:.1%}, goal {goals['clean']:.0%}"
    for point in result.points:
        eps, width = str(point.eps_steps), point.unbroken.value - point.proved.value
        if point.proved.value < goals["proved"].get(eps, 0):
            yield f"proved {point.proved.value:.1%} at eps {eps}, goal {goals['proved'][eps]:.0%}"
        if width > goals["width"].get(eps, 1):
            yield f"the bracket is {width:.1%} wide at eps {eps}, goal {goals['width'][eps]:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50)
    parser.add_argument("--eps", type=int, nargs="+", default=list(EPS))
    parser.add_argument("--seconds", type=float, default=5, help="of splitting, for a sample and eps")
    parser.add_argument("--work", type=int, default=CertifyPlan().work, help="as in the table [certify]")
    parser.add_argument("--only", default="", help="networks whose names hold this")
    parser.add_argument("--net", action="append", default=[], metavar="NAME=FILE", help="for Fashion-MNIST")
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="train a net for proofs, and judge it")
    options = parser.parse_args()
    plan = CertifyPlan(
        samples=options.samples, eps=tuple(options.eps), data_range="none", seconds=options.seconds, work=options.work
    )
    nets = dict(NETS)
    for given in options.net:
        name, _, file = given.partition("=")
        nets[name] = (lambda file=file: Path(file), lambda: load_dataset("fashion-mnist"))
    if options.train:
        nets[TRAINED] = (lambda: trained(options.train), lambda: load_dataset("fashion-mnist"))
    chosen = {name: net for name, net in nets.items() if options.only in name}
    misses: list[str] = []
    console, table = Console(), Table(*columns(), title=f"{plan.samples} samples")
    for name, (path, data) in chosen.items():
        found = data()
        own = plan.model_copy(update={"data_range": "data" if found.own_range is not None else "none"})
        result = measure(path(), found, own)
        for row in rows(name, result):
            table.add_row(*row)
            console.print("| " + " | ".join(row) + " |", soft_wrap=True)
        misses += [f"MISSED: {what}" for what in missed(result)] if name == TRAINED else []
    console.print(table)
    console.print("\n".join(misses), style="red")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
