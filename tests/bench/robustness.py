"""Clean and robust accuracy of float, int8 and ternary networks, with and without Jacobian regularization (JR) and
adversarial training (AT): scripts/bench robustness digits --out DIR [--epochs 5] [--seeds 0 1 2] [--only NAME].
`scripts/bench robustness claim --help` is about the claim in circulation, and `... front --help` about a picture.

Every training and every row that is done stays in DIR and is taken as it is while its settings are these, and a
training that was killed goes on: start the same command again. The table is printed, and kept as DIR/TABLE.md. Attacks
are the product's, on the twin (the bytes of the device) with gradients through the deployed integers, and for `float`
on the Keras model, on the same inputs and grid.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from tests.bench.robustness_data import TABLES
from tritguard.attack import Attack, Ball, Fgsm, Pgd, Square, Target
from tritguard.attack.float_model import FloatModel
from tritguard.boards import load_board
from tritguard.build import Budget, build
from tritguard.cli.progress import bar
from tritguard.convert import keras_to_tflite
from tritguard.convert.archive import load_model
from tritguard.data import Dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import draw_samples
from tritguard.files import write_whole
from tritguard.records import Record, from_json, from_table, read_toml
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.adversarial import perturbed
from tritguard.train.config import CALIBRATION, MODEL, RECORD
from tritguard.train.fit import train
from tritguard.train.inputs import input_grid, input_units
from tritguard.train.quanos import bit_widths, noise_sensitivity, with_widths
from tritguard.train.start import start_digest
from tritguard.twin import verify_against_oracle

SETTINGS = Path(__file__).with_suffix(".toml")
_QUANOS_SAMPLES = 1000
BOARD = "netduinoplus2"  # any board with a megabyte of flash will do, because only sizes are measured
WHITE_BOX: tuple[Attack, ...] = (Fgsm(), Pgd(steps=20))
ATTACKS: tuple[Attack, ...] = (*WHITE_BOX, Square(queries=300))


class Row(Record):
    """One network, deployed one way, under attack.

    Attributes:
        deployed: `float`, `int8`, `ternary`, or `QUANOS`: the int8 training's weights on 2, 4 or 8 bits.
        clean: share of the samples it gets right.
        robust: for each attack and eps, "PGD 8": share right on the clean input and on the attacked one.
        weights_bytes, flash_bytes: of the deployed model and of the whole firmware; None for float.
        train_seconds: of the training and of nothing else.
        settings: digest of what was trained on what, and of how it was attacked.
    """

    net: str
    defence: str
    deployed: str
    seed: int
    epochs: int
    train_samples: int
    attacked_samples: int
    clean: float
    robust: dict[str, float]
    weights_bytes: int | None
    flash_bytes: int | None
    train_seconds: float
    machine: str
    settings: str


@dataclass(frozen=True)
class Case:
    """A training: network, weights, defence, seed."""

    net: str
    weights: str
    defence: str
    seed: int

    @property
    def name(self) -> str:
        return f"{self.net}-{self.weights}-{self.defence}-{self.seed}"


def main() -> None:
    if sys.argv[1:2] in (["claim"], ["front"]):
        import_module(f"tests.bench.robustness_{sys.argv[1]}").main(sys.argv[2:])  # they import this module
        return
    options = _options()
    settings = read_settings()
    table = settings["tables"][options.table]
    console = Console()
    with console.status("Reading data"):
        dataset = TABLES[options.table]()
    rows = []
    for case in _cases(table, options):
        console.rule(case.name)
        record = trained(case, table, settings, options, dataset)
        if not options.attacked:
            continue
        digest = _digest(record, table, options)
        kept = [from_json(Row, path) for path in sorted((options.out / "rows").glob(f"{case.name}-*.json"))]
        if not kept or any(row.settings != digest for row in kept):
            kept = _measure(case, record, dataset, table, options, digest)
        rows += kept
        write_whole(options.out / f"{options.table}.md", as_markdown(rows))
    if options.attacked:
        console.print((options.out / f"{options.table}.md").read_text(), markup=False, soft_wrap=True)


def read_settings() -> dict[str, Any]:
    """The tables, weights and defences of the file of settings."""
    return read_toml(SETTINGS)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--out", type=Path, required=True, help="where trainings, rows and the table are kept")
    parser.add_argument("--epochs", type=int, help="epochs of each training, instead of those of the file")
    parser.add_argument("--samples", type=int, help="train on at most this many samples")
    parser.add_argument("--attacked", type=int, default=200, help="test samples to attack; 0 only trains")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default="", help="trainings whose name (net-weights-defence-seed) holds this")
    return parser.parse_args()


def _cases(table: dict[str, Any], options: argparse.Namespace) -> Iterator[Case]:
    for seed in options.seeds:
        for net in table["nets"]:
            for training in table["trainings"]:
                weights, _, defence = training.partition("-")
                case = Case(net, weights, defence, seed)
                if options.only in case.name:
                    yield case


def _start(case: Case, table: dict[str, Any]) -> Case | None:
    """The training whose weights this one begins with."""
    start = table["trainings"][f"{case.weights}-{case.defence}"].get("start")
    if start is None:
        return None
    weights, _, defence = start.partition("-")
    return replace(case, weights=weights, defence=defence)


def _config(case: Case, table: dict[str, Any], settings: dict[str, Any], options: argparse.Namespace) -> TrainConfig:
    """The training's settings; an attack, its card's quick PGD too, has the largest eps of the table."""
    content = {"net": case.net, "seed": case.seed, "quantize": settings["weights"][case.weights], **table["train"]}
    content["data"] = table["data"]
    own = dict(table["trainings"][f"{case.weights}-{case.defence}"])
    for layer in (settings["defences"][case.defence], own):
        for key, value in layer.items():
            content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    content["adversarial"] = {"eps": max(table["eps"]), **content.get("adversarial", {})}
    start = _start(case, table)
    content |= {"start": str(options.out / start.name)} if start else {}
    content |= {key: value for key in ("epochs", "samples") if (value := getattr(options, key))}
    return from_table(TrainConfig, content, where=str(SETTINGS))


def trained(
    case: Case, table: dict[str, Any], settings: dict[str, Any], options: argparse.Namespace, dataset: Dataset
) -> TrainRecord:
    """The training, after the one it begins with; those that are in the folder with these settings are not repeated."""
    start = _start(case, table)
    if start:
        trained(start, table, settings, options, dataset)
    config, folder = _config(case, table, settings, options), options.out / case.name
    if (folder / RECORD).is_file():
        earlier = from_json(TrainRecord, folder / RECORD)
        same = earlier.config.model_copy(update={"start": config.start, "data": config.data}) == config
        same &= earlier.data_sha256 == dataset.sha256
        if same and earlier.start_sha256 == start_digest(config.start):
            return earlier
    folder.mkdir(parents=True, exist_ok=True)
    with bar(f"Training {case.name}") as report:
        return train(config, dataset, folder, report)


def _digest(record: TrainRecord, table: dict[str, Any], options: argparse.Namespace) -> str:
    trained = record.config.model_dump(mode="json", exclude={"start", "data"})
    attacked = [table["eps"], table["queries"], options.attacked]
    return hashlib.sha256(json.dumps([trained, record.start_sha256, record.data_sha256, attacked]).encode()).hexdigest()


def _measure(
    case: Case, record: TrainRecord, dataset: Dataset, table: dict[str, Any], options: argparse.Namespace, digest: str
) -> list[Row]:
    folder, eps = options.out / case.name, table["eps"]
    bundle = _bundle(folder, case.net)
    plan = Plan(samples=min(options.attacked, len(dataset.x_test)), eps=tuple(eps), seed=case.seed)
    samples = draw_samples(bundle, dataset, plan.samples, plan.seed)
    deployed = prepare(bundle, samples, plan)
    targets: dict[str, tuple[Target, Bundle | None]] = {case.weights: (deployed, bundle)}
    if case.weights == "int8":
        targets["float"] = _of_float(folder / MODEL, bundle, deployed), None
    if case.weights == "int8" and case.defence == "none":
        baseline = _quanos(folder, case.net, dataset, max(eps))
        targets["QUANOS"] = prepare(baseline, samples, plan), baseline
    rows = []
    for name, (target, made) in targets.items():
        black_box = (
            () if made is None else (Square(queries=table["queries"]),)
        )  # a float model is not on a device that can be queried
        clean, robust = _attacked(target, eps, f"{case.name} {name}", (*WHITE_BOX, *black_box))
        row = Row(
            net=case.net,
            defence=case.defence,
            deployed=name,
            seed=case.seed,
            epochs=record.config.epochs,
            train_samples=record.train_samples,
            attacked_samples=len(samples.x),
            clean=clean,
            robust=robust,
            weights_bytes=None if made is None else sum(layer.weight_bytes for layer in made.manifest.layers),
            flash_bytes=None if made is None else _flash(made),
            train_seconds=record.seconds,
            machine=f"{processor()}, {os.cpu_count()} cores",
            settings=digest,
        )
        rows.append(row)
    paths = [options.out / "rows" / f"{case.name}-{row.deployed}.json" for row in rows]
    for path, row in zip(
        paths, rows, strict=True
    ):  # all of them at the end, so that a training has all its rows or none
        write_whole(path, row.model_dump_json(indent=2) + "\n")
    return rows


def _flash(bundle: Bundle) -> int:
    """The size of the whole firmware in bytes of flash."""
    built = build(bundle, load_board(BOARD), bundle.path.with_name("build"), budget=Budget())
    return built.record.sizes.flash_total


def _quanos(folder: Path, name: str, dataset: Dataset, eps: int) -> Bundle:
    """The trained network with widths by QUANOS' rule, from its sensitivity to FGSM on training samples."""
    assert dataset.x_train is not None and dataset.y_train is not None
    model, grid = load_model(folder / MODEL), input_grid(dataset.x_train)
    x, y = input_units(dataset.x_train[:_QUANOS_SAMPLES]), dataset.y_train[:_QUANOS_SAMPLES]
    step = eps * grid.step
    adversarial = perturbed(model, x, y, grid, eps=step, step_size=step, steps=1, seed=(0, 0))
    widths = bit_widths(noise_sensitivity(model, x, adversarial))
    (folder / "quanos").mkdir(exist_ok=True)
    with_widths(model, widths, x).save(folder / "quanos" / MODEL)
    shutil.copy(folder / CALIBRATION, folder / "quanos" / CALIBRATION)
    return _bundle(folder / "quanos", name)


def _bundle(folder: Path, name: str) -> Bundle:
    content = keras_to_tflite(folder / MODEL, folder / CALIBRATION)
    return write_bundle(
        content, folder / "bundle", name=name, core=load_board(BOARD).core_class, check=verify_against_oracle
    )


def _of_float(path: Path, bundle: Bundle, deployed: Target) -> Target:
    """The float model on the same inputs; its loss is kept from saturating in the way of `prepare`."""
    plain = FloatModel(path, bundle.manifest.input)
    logits = plain.predict(deployed.x).logits
    assert logits is not None
    top = np.sort(logits, axis=1)[:, -2:]
    view = FloatModel(path, bundle.manifest.input, max(1.0, float(np.median(top[:, 1] - top[:, 0])) / 4))
    return replace(deployed, predictor=plain, view=view)  # type: ignore[arg-type] # a view by its methods


def _attacked(
    target: Target, eps: list[int], what: str, attacks: tuple[Attack, ...] = ATTACKS
) -> tuple[float, dict[str, float]]:
    """Clean accuracy, and what is left of it after each attack at each eps."""
    right = target.predictor.predict(target.x).labels == target.y
    robust = {}
    with bar(what) as report:
        total = len(attacks) * len(eps)
        for done, (attack, bound) in enumerate((a, e) for e in eps for a in attacks):
            report(done, total)
            crafted = attack.craft(target, Ball("Linf", bound))
            still = target.predictor.predict(crafted.x).labels == target.y
            robust[f"{attack.name} {bound}"] = float((right & still).mean())
        report(total, total)
    return float(right.mean()), robust


def as_markdown(rows: list[Row]) -> str:
    """The table: a row for each network, defence and deployed form, the mean over its seeds and, of several, +- std."""
    columns = list(dict.fromkeys(name for row in rows for name in row.robust))
    headings = [
        "net",
        "defence",
        "deployed",
        "clean %",
        *(f"{c} %" for c in columns),
        "weights kB",
        "flash kB",
        "epochs",
        "training h",
        "seeds",
    ]
    lines = ["| " + " | ".join(headings) + " |", "|---" * 3 + "|---:" * (len(headings) - 3) + "|"]
    for key in dict.fromkeys((row.net, row.defence, row.deployed) for row in rows):
        same = [row for row in rows if (row.net, row.defence, row.deployed) == key]
        cells = [*key, _share([row.clean for row in same])]
        cells += [_share([row.robust[column] for row in same if column in row.robust]) for column in columns]
        cells += [_kilobytes(same[0].weights_bytes), _kilobytes(same[0].flash_bytes)]
        cells += [f"{same[0].epochs}", f"{np.mean([row.train_seconds for row in same]) / 3600:.2f}", str(len(same))]
        lines.append("| " + " | ".join(cells) + " |")
    first = rows[0]
    lines += ["", f"{first.train_samples:,} training samples, {first.attacked_samples} attacked, on "
              f"{first.machine}; {time.strftime('%Y-%m-%d', time.gmtime())}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _share(values: list[float]) -> str:
    mean = f"{100 * np.mean(values):.1f}" if values else ""
    return mean if len(values) < 2 else f"{mean} ± {100 * np.std(values, ddof=1):.1f}"


def _kilobytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1000:.1f}"


def processor() -> str:
    """The processor's name where Linux tells it, otherwise the machine's."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
