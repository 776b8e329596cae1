"""What each attack leaves of MLPerf Tiny's int8 nets and of ternary ones: scripts/bench attacks [--only MODEL].

Every attack of the catalog at four eps, L-infinity, judged on the deployed integer model. Gradient attacks have 40
gradients a sample, C&W more; black-box attacks some hundred queries, so that all of it takes half an hour on two idle
cores (BUDGETS). Jobs that are done are kept in DIR: a run that is killed goes on. Exit status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.bench.models import keywords, resnet8
from tests.support.shared import ROOT, shared_file
from tritguard.attack.catalog import ATTACKS, Settings
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import Run, Throughput, craft_all
from tritguard.campaign.store import Store
from tritguard.campaign.workers import Workers
from tritguard.cli.progress import bar
from tritguard.cli.train import train
from tritguard.convert import keras_to_tflite
from tritguard.data import load_dataset, to_input_bytes
from tritguard.emit import write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import Samples
from tritguard.predictor import Int8
from tritguard.processes import cores
from tritguard.train import TrainConfig
from tritguard.train.config import CALIBRATION, MODEL, AdversarialConfig

_NEXT_TO_NOTHING = 0.05  # where a single attack leaves no more than this, no other can be ahead of it by much
BUDGETS: dict[str, Settings] = {
    "noise": {"tries": 50},
    "pgd": {"steps": 40, "restarts": 1},
    "apgd-ce": {"steps": 40},
    "apgd-dlr": {"steps": 40},
    "apgd-margin": {"steps": 40},
    "apgd-t": {"steps": 10, "targets": 4},
    "cw": {"steps": 50, "searches": 3},
    "two-step": {"gradients": 40, "queries": 200},
    "square": {"queries": 500},
    "zoo": {"queries": 300, "coordinates": 16},
    "boundary": {"queries": 300},
    "hopskipjump": {"queries": 300},
}


@dataclass(frozen=True)
class Case:
    """A model, its samples and their eps; `inputs` takes scale and zero point of the model's input.

    Attributes:
        goals: for some eps, the largest share that the worst case of all attacks may leave.
    """

    content: bytes
    inputs: Callable[[float, int], Int8]
    labels: NDArray[np.int64]
    eps: tuple[int, ...]
    goals: dict[int, float] = field(default_factory=dict)


def keyword_spotter(_folder: Path) -> Case:
    data = np.load(shared_file("data/gsc_kws01.npz"))
    x, y = data["mfcc_int8"][:300], data["labels"][:300].astype(np.int64)
    return Case(keywords(), lambda _scale, _zero_point: x, y, (1, 2, 4, 8), {1: 0.01})


def resnet(_folder: Path) -> Case:
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    pixels, y = data["test_images"][:500], data["test_labels"][:500].astype(np.int64)
    goals = {2: 0.0, 4: 0.0, 8: 0.0}
    return Case(resnet8(), lambda scale, zero_point: to_input_bytes(pixels, scale, zero_point), y, (1, 2, 4, 8), goals)


def ternary_demo(folder: Path) -> Case:
    """The demo's network."""
    return _fashion(TrainConfig(), folder)


def ternary_defended(folder: Path) -> Case:
    """The same, trained against FGSM."""
    return _fashion(TrainConfig(adversarial=AdversarialConfig(attack="fgsm", eps=8)), folder)


def _fashion(config: TrainConfig, folder: Path) -> Case:
    """Train in `folder` unless the training is there already."""
    dataset = load_dataset(config.data)
    if not (folder / MODEL).is_file():
        train(config, dataset, folder)
    content = keras_to_tflite(folder / MODEL, folder / CALIBRATION)
    pixels, y = dataset.x_test[:300], dataset.y_test[:300].astype(np.int64)
    return Case(content, lambda scale, zero_point: to_input_bytes(pixels, scale, zero_point), y, (2, 4, 8, 16))


CASES: dict[str, Callable[[Path], Case]] = {
    "dscnn_int8": keyword_spotter,
    "resnet8_int8": resnet,
    "ternary-fashion": ternary_demo,
    "ternary-fashion-fgsm": ternary_defended,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=CASES, help="one model")
    parser.add_argument("--attacks", default=",".join(ATTACKS), help="names, separated by commas")
    parser.add_argument("--samples", type=int, help="attack at most this many samples")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "attacks", help="folder for what is found")
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    console = Console(width=max(100, Console().width))
    missed = []
    for name in [options.only] if options.only else CASES:
        outcome = attack(name, options.attacks.split(","), options.samples, options.out / name, options.workers)
        console.print(outcome.table())
        missed += [f"{name}: {what}" for what in outcome.missed()]
    for line in missed:
        console.print(f"MISSED: {line}", markup=False, highlight=False)
    return 1 if missed else 0


def attack(name: str, attacks: list[str], samples: int | None, folder: Path, workers: int) -> Outcome:
    case = CASES[name](folder / "train")
    bundle = write_bundle(case.content, folder / "bundle", name=name)
    source = bundle.manifest.input
    x, y = case.inputs(source.scale, source.zero_point)[:samples], case.labels[:samples]
    budgets = {attack: BUDGETS[attack] for attack in attacks if attack in BUDGETS}
    plan = Plan.model_validate({"samples": len(x), "eps": case.eps, "attacks": attacks, "settings": budgets})
    target = prepare(bundle, Samples(x, y, np.arange(len(x))), plan)
    assert target.view is not None
    store = Store(folder / "campaign.db", bundle.manifest.model_sha256)
    suite = plan.suite(int(np.prod(bundle.manifest.output.shape)))
    with bar(name) as report, Workers(workers) as crafting:
        crew = Crew(crafting, bundle.path, target.view.temperature, bundle.manifest.macs)
        runs, throughput = craft_all(target, plan.balls[:-1], suite, store, report, crew)
    right = target.predictor.predict(x).labels == y
    holds = [right & (target.predictor.predict(run.x).labels == y) for run in runs]
    title = f"{name}: {len(x)} samples, Linf, eps in int8 steps of {source.scale:.4g}"
    return Outcome(title, case, right, runs, holds, throughput)


@dataclass(frozen=True)
class Outcome:
    """What the attacks left of a model.

    Attributes:
        right: bool[n], on clean samples.
        holds: bool[n] a run, still right after it.
    """

    title: str
    case: Case
    right: NDArray[np.bool_]
    runs: tuple[Run, ...]
    holds: list[NDArray[np.bool_]]
    throughput: Throughput

    @property
    def worst(self) -> dict[int, float]:
        """By eps, the share of samples that withstands all attacks."""
        return {eps: float(np.all([hold for _, hold in self._at(eps)], axis=0).mean()) for eps in self.case.eps}

    def missed(self) -> Iterator[str]:
        """The goals that were not met, as lines to print."""
        worst = list(self.worst.values())
        if worst != sorted(worst, reverse=True):
            yield "the worst case rises with eps"
        for eps, goal in self.case.goals.items():
            if self.worst[eps] > goal:
                yield f"the worst case at eps {eps} is {self.worst[eps]:.1%}, goal {goal:.0%}"
        for eps in self.case.eps:
            left = {run.attack.name: hold.mean() for run, hold in self._at(eps)}
            best = min(left, key=lambda name: left[name])
            if left.get("Two-step", 0) > left[best] > _NEXT_TO_NOTHING:
                yield f"{best} leaves less than the two-step attack at eps {eps}"

    def table(self) -> Table:
        """A table with a line for each attack, and one for all of them together."""
        done = self.throughput
        reused = f", {done.reused} of {done.jobs} jobs done before" if done.reused else ""
        table = Table(
            title=self.title,
            caption="Queries and gradients: mean of a sample and eps. Seconds: of processor time, all eps together. "
            f"{done.workers} workers took {done.seconds:.0f} s by the clock{reused}; {cores()} cores.",
            title_justify="left",
            caption_justify="left",
            box=None,
        )
        for column in ("attack", *(f"eps {eps}" for eps in self.case.eps), "queries", "gradients", "seconds"):
            table.add_column(column, justify="left" if column == "attack" else "right")
        table.add_row("clean", *[f"{self.right.mean():.1%}"] * len(self.case.eps), "1")
        for name in dict.fromkeys(run.attack.name for run in self.runs):
            own = [(run, hold) for run, hold in zip(self.runs, self.holds, strict=True) if run.attack.name == name]
            calls = len(self.right) * len(own)
            table.add_row(
                name,
                *(f"{hold.mean():.1%}" for _, hold in own),
                f"{sum(run.queries for run, _ in own) / calls:,.0f}",
                f"{sum(run.gradients for run, _ in own) / calls:,.0f}",
                f"{sum(run.processor_seconds for run, _ in own):,.0f}",
            )
        seconds = sum(run.processor_seconds for run in self.runs)
        table.add_row("worst case", *(f"{share:.1%}" for share in self.worst.values()), "", "", f"{seconds:,.0f}")
        return table

    def _at(self, eps: int) -> list[tuple[Run, NDArray[np.bool_]]]:
        return [pair for pair in zip(self.runs, self.holds, strict=True) if pair[0].eps == eps]


if __name__ == "__main__":
    sys.exit(main())
