"""What each attack leaves of MLPerf Tiny's int8 nets and of a ternary one: scripts/bench attacks [--only MODEL].

Every attack of the catalog with the budget of the preset `standard` (its own where the preset has none), at four eps,
L-infinity, judged on the deployed integer model. Chunks that are done are kept in DIR: a run that is killed goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.bench.models import keywords, resnet8
from tests.shared import ROOT, shared_file
from tritguard.attack import Target
from tritguard.attack.catalog import ATTACKS
from tritguard.cli.attack import cores
from tritguard.cli.progress import bar
from tritguard.cli.train import train
from tritguard.convert import keras_to_tflite
from tritguard.data import load_dataset, to_input_bytes
from tritguard.emit import write_bundle
from tritguard.evaluate.assemble import Samples
from tritguard.evaluate.campaign import prepare
from tritguard.evaluate.crafting import Run, craft_all
from tritguard.evaluate.plan import Plan
from tritguard.evaluate.presets import PRESETS
from tritguard.evaluate.store import Store
from tritguard.evaluate.workers import Workers
from tritguard.predictor import Int8
from tritguard.train import TrainConfig
from tritguard.train.config import CALIBRATION, MODEL


@dataclass(frozen=True)
class Case:
    """A model, its samples and their eps; `inputs` takes scale and zero point of the model's input."""

    content: bytes
    inputs: Callable[[float, int], Int8]
    labels: NDArray[np.int64]
    eps: tuple[int, ...]


def keyword_spotter(_folder: Path) -> Case:
    data = np.load(shared_file("data/gsc_kws01.npz"))
    x, y = data["mfcc_int8"][:300], data["labels"][:300].astype(np.int64)
    return Case(keywords(), lambda _scale, _zero_point: x, y, (1, 2, 4, 8))


def resnet(_folder: Path) -> Case:
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    pixels, y = data["test_images"][:500], data["test_labels"][:500].astype(np.int64)
    return Case(resnet8(), lambda scale, zero_point: to_input_bytes(pixels, scale, zero_point), y, (1, 2, 4, 8))


def ternary_demo(folder: Path) -> Case:
    """The demo's network; trained in `folder` unless it is there."""
    if not (folder / MODEL).is_file():
        train(TrainConfig(), folder)
    dataset = load_dataset("fashion-mnist")
    content = keras_to_tflite(folder / MODEL, folder / CALIBRATION)
    pixels, y = dataset.x_test[:300], dataset.y_test[:300].astype(np.int64)
    return Case(content, lambda scale, zero_point: to_input_bytes(pixels, scale, zero_point), y, (2, 4, 8, 16))


CASES: dict[str, Callable[[Path], Case]] = {
    "dscnn_int8": keyword_spotter,
    "resnet8_int8": resnet,
    "ternary-fashion": ternary_demo,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, help="one model")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help="names, separated by commas")
    parser.add_argument("--samples", type=int, help="fewer samples")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "attacks", help="folder for what is found")
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    console = Console(width=max(100, Console().width))
    for name in [options.only] if options.only else CASES:
        table = attack(name, options.attacks.split(","), options.samples, options.out / name, options.workers)
        console.print(table)


def attack(name: str, attacks: list[str], samples: int | None, folder: Path, workers: int) -> Table:
    case = CASES[name](folder / "train")
    bundle = write_bundle(case.content, folder / "bundle", name=name)
    source = bundle.manifest.input
    x, y = case.inputs(source.scale, source.zero_point)[:samples], case.labels[:samples]
    budgets = {attack: PRESETS["standard"][attack] for attack in attacks if attack in PRESETS["standard"]}
    plan = Plan.model_validate({"samples": len(x), "eps": case.eps, "attacks": attacks, "settings": budgets})
    target = prepare(bundle, Samples(x, y, np.arange(len(x))), plan)
    assert target.view is not None
    crew = Workers(workers, bundle.path, target.view.temperature)
    store = Store(folder / "crafted", bundle.manifest.model_sha256)
    suite = plan.suite(int(np.prod(bundle.manifest.output.shape)))
    with bar(name) as report:
        runs, throughput = craft_all(target, plan.balls[:-1], suite, store, report, crew)
    table = Table(
        title=f"{name}: {len(x)} samples, Linf, eps in int8 steps of {source.scale:.4g}",
        caption=f"seconds: of one core, all eps together; {throughput.workers} workers took {throughput.seconds:.0f} s "
        f"by the clock{f', {throughput.reused} of {throughput.jobs} jobs done before' if throughput.reused else ''}; "
        f"{cores()} cores. Queries and gradients: a sample and eps.",
        title_justify="left",
        caption_justify="left",
        box=None,
    )
    for column in ("attack", *(f"eps {eps}" for eps in plan.eps), "queries", "gradients", "seconds"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    right = target.predictor.predict(x).labels == y
    table.add_row("clean", *[_percent(right)] * len(plan.eps), "1")
    for row in _rows(runs, target, right, plan.eps):
        table.add_row(*row)
    return table


def _rows(runs: tuple[Run, ...], target: Target, right: NDArray[np.bool_], eps: tuple[int, ...]) -> Iterator[list[str]]:
    """A line an attack, and one for the worst case of them all, in which a larger ball holds the smaller ones."""
    n, holds, worst = len(right), right.copy(), []
    left: dict[str, list[Run]] = {}
    robust: dict[str, list[str]] = {}
    for bound in eps:
        for run in (run for run in runs if run.eps == bound):
            survived = right & (target.predictor.predict(run.x).labels == target.y)
            holds &= survived
            left.setdefault(run.attack.name, []).append(run)
            robust.setdefault(run.attack.name, []).append(_percent(survived))
        worst.append(_percent(holds))
    for name, own in left.items():
        queries, gradients = (
            sum(getattr(run, what) for run in own) / n / len(own) for what in ("queries", "gradients")
        )
        yield [name, *robust[name], f"{queries:,.0f}", f"{gradients:,.0f}", f"{sum(run.seconds for run in own):,.0f}"]
    yield ["worst case", *worst, "", "", f"{sum(run.seconds for run in runs):,.0f}"]


def _percent(holds: NDArray[np.bool_]) -> str:
    return f"{holds.mean():.1%}"


if __name__ == "__main__":
    main()
