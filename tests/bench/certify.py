"""What can be proved of whole networks: scripts/bench certify [--samples 5] [--trained 100] [--seconds 1]
[--only NAME] [--folder build/certify].

For each network and eps 1, 2 and 4: the samples that are proved, open and broken, by level, and the seconds of
processor time that a level takes for a sample it is tried on. The networks are the demo's, the examples, MLPerf Tiny's
DS-CNN and ResNet8, and two that are trained for proofs as certify.toml beside this file says; of these more samples are
looked at, and it is an error if they miss the goals there. What is trained stays in the folder and is used again: the
first run takes some ten minutes longer.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from tests.bench.robustness_data import digits
from tests.bench.robustness_mlperf import keywords, pictures
from tests.support.shared import ROOT, shared_file
from tritguard import api
from tritguard.api.models import earlier_training
from tritguard.api.source import golden
from tritguard.certify.bracket import LEVELS
from tritguard.data import Dataset, load_dataset
from tritguard.emit import open_bundle, write_bundle
from tritguard.evaluate.certify.result import CertifyPlan, CertifyPoint, CertifyResult
from tritguard.evaluate.certify.study import study_certify
from tritguard.progress import silent
from tritguard.records import read_toml
from tritguard.train import TrainConfig

EPS = (1, 2, 4)
SETTINGS = Path(__file__).with_suffix(".toml")
FASHION = "fashion-mnist"


@dataclass(frozen=True)
class Net:
    """A network.

    Attributes:
        path: gives its .tflite; is told the folder of what is trained.
        data: gives what it is certified on.
        goals: whether it was trained for proofs and has to reach the goals.
    """

    path: Callable[[Path], Path]
    data: Callable[[], Dataset]
    goals: bool = False


def nets() -> dict[str, Net]:
    """All networks, by name."""
    found = {
        "demo, ternary": Net(lambda folder: trained(folder / "demo", {"train": {}}), fashion),
        "cifar10-stq-image, ternary": Net(lambda _: ROOT / "examples/cifar10-stq-image/model.tflite", pictures),
        "digits-stq-keywords, ternary": Net(
            lambda _: ROOT / "examples/digits-stq-keywords/model.tflite", lambda: digits(training=False)
        ),
        "DS-CNN (MLPerf Tiny), int8": Net(lambda _: shared_file("models/dscnn_int8.tflite"), keywords),
        "ResNet8 (MLPerf Tiny), int8": Net(lambda _: shared_file("models/resnet8_int8.tflite"), pictures),
    }
    for name, stages in read_toml(SETTINGS)["nets"].items():
        made = partial(_made, name, stages)
        found[f"small-conv, {name}, trained for proofs"] = Net(made, fashion, goals=True)
    return found


def _made(name: str, stages: dict[str, Any], folder: Path) -> Path:
    return trained(folder / name, stages)


def fashion() -> Dataset:
    """Fashion-MNIST."""
    return load_dataset(FASHION)


def measure(path: Path, data: Dataset, plan: CertifyPlan) -> CertifyResult:
    """Certify a network on its twin."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(golden(path, None), Path(folder) / "bundle", name=path.stem)
        return study_certify(bundle, None, data, plan, silent)


def columns() -> list[str]:
    """The headings: what all levels came to, then each level with what it settled and took."""
    return ["net", "samples", "eps", "right", "proved", "open", "broken", *LEVELS[1:]]


def rows(name: str, result: CertifyResult) -> Iterator[list[str]]:
    """A line for each eps."""
    for point in result.points:
        yield [
            name,
            f"{result.clean.n:,}",
            str(point.eps_steps),
            str(result.clean.k),
            *(str(point.statuses.count(letter)) for letter in "pob"),
            *(_level(point, place) for place in range(1, len(LEVELS))),
        ]


def _level(point: CertifyPoint, place: int) -> str:
    level = LEVELS[place]
    tried = point.tried[level]
    if not tried:
        return "not tried"
    settled = " / ".join(str(point.settled(letter, level)) for letter in "pb")
    return f"{settled}, {point.seconds[level] / tried:.2g} s"


def trained(folder: Path, stages: dict[str, Any]) -> Path:
    """Train a net stage by stage, each from the weights of the one before, and convert it; gives its .tflite."""
    data, start, new = fashion(), "", not (folder / "bundle").exists()
    for name, stage in stages.items():
        config = TrainConfig.model_validate({**stage, "start": start})
        if earlier_training(config, data, folder / name) is None:
            api.train(config, data, folder / name)
            new = True
        start = str(folder / name)
    return (api.convert(start, folder / "bundle", data=data) if new else open_bundle(folder / "bundle")).model_path


def missed(result: CertifyResult) -> Iterator[str]:
    """The goals of certify.toml that a result does not reach."""
    goals = read_toml(SETTINGS)["goals"]
    if result.clean.n < goals["samples"]:
        return
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
    parser.add_argument("--samples", type=int, default=5)
    parser.add_argument("--trained", type=int, default=100, help="samples, of nets that are trained for proofs")
    parser.add_argument("--eps", type=int, nargs="+", default=list(EPS))
    parser.add_argument("--seconds", type=float, default=1, help="of relaxation, and of splitting, a sample and eps")
    parser.add_argument("--work", type=int, default=CertifyPlan().work, help="as in the table [certify]")
    parser.add_argument("--only", default="", help="networks whose names hold this")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "certify", help="of what is trained")
    options = parser.parse_args()
    misses: list[str] = []
    console = Console()
    print("| " + " | ".join(columns()) + " |", flush=True)
    for name, net in nets().items():
        if options.only not in name:
            continue
        data = net.data()
        plan = CertifyPlan(
            samples=options.trained if net.goals else options.samples, eps=tuple(options.eps), seconds=options.seconds,
            data_range="data" if data.own_range is not None else "none", work=options.work,
        )  # fmt: skip
        start = time.process_time()
        result = measure(net.path(options.folder), data, plan)
        for row in rows(name, result):
            print("| " + " | ".join(row) + " |", flush=True)
        print(f"{name}: {time.process_time() - start:.0f} s of processor time", file=sys.stderr)
        misses += [f"MISSED: {name}: {what}" for what in missed(result)] if net.goals else []
    console.print("\n".join(misses), style="red")
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
