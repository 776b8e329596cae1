"""What each part of a training's recipe is worth, by short trainings that differ in it alone:
scripts/bench recipe TABLE --out DIR [--seeds 0 1] [--only NAME].

Tables: `cifar10` (ResNet8 on 10,000 pictures, 6 epochs against FGSM at eps 2), `ternary` (the same net by stages, with
and without a teacher), `digits` (both with DS-CNN on spoken digits, in a quarter of the time), and `jacobian` (there
too, the weights of both penalties). Each training that is done stays in DIR. The accuracies are of the form that ships,
on all test samples clean and on up to 1,000 of them under PGD with 20 steps, in float arithmetic that rounds as TFLite
does.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.robustness_data import cifar10, digits
from tritguard.data import Dataset
from tritguard.records import from_json, from_table
from tritguard.train import TrainConfig, TrainRecord
from tritguard.train.adversarial import perturbed
from tritguard.train.backend import compiled, keras, tf
from tritguard.train.config import MODEL, RECORD
from tritguard.train.evaluation import forms
from tritguard.train.fit import train
from tritguard.train.inputs import InputGrid, input_units, training_set
from tritguard.train.quantize import observe_ranges, plain, quantize, settled

ATTACKED, PGD_STEPS, BATCH = 1000, 20, 250
Settings = dict[str, Any]
FLOAT, TERNARY = {"weights": "none"}, {"weights": "stochastic", "first": "int8", "last": "int8"}
AT = {"attack": "fgsm", "eps": 2}


@dataclass(frozen=True)
class Table:
    """Trainings that differ from `base` in what stands beside their names; a value of a table goes into it.

    A `start` or a teacher's `model` that is one of the names means that training's folder.
    """

    data: Callable[[], Dataset]
    eps: tuple[float, ...]
    base: Settings
    trainings: dict[str, Settings]


CIFAR: Settings = {
    "net": "resnet8", "samples": 10_000, "epochs": 6, "batch_size": 128, "learning_rate": 0.01, "augment": "shift-flip",
    "precision": "bfloat16", "adversarial": AT, "quantize": FLOAT,
}  # fmt: skip
DIGITS: Settings = {
    "net": "ds-cnn", "samples": 2_700, "epochs": 12, "batch_size": 64, "learning_rate": 0.003, "adversarial": AT,
    "quantize": FLOAT,
}  # fmt: skip
WIDE: Settings = {
    "net": "residual",
    "stages": [
        {"channels": 32, "stride": 2},
        {"channels": 64, "stride": 2, "blocks": 1},
        {"channels": 128, "stride": 2},
    ],
}
# What every table of parts tries.
PARTS: dict[str, Settings] = {
    "labels smoothed by 0.1": {"label_smoothing": 0.1},
    "weights averaged, 0.99": {"average": 0.99},
    "one-cycle": {"schedule": "one-cycle"},
    "eps rises for half of it": {"adversarial": {"ramp": [0, 0.5]}},
    "TRADES, beta 6": {"adversarial": {"loss": "trades", "beta": 6}},
    "MART, beta 5": {"adversarial": {"loss": "mart", "beta": 5}},
    "PGD-7": {"adversarial": {"attack": "pgd"}},
    "no defence": {"adversarial": {"attack": "none"}},
}
TABLES = {
    "cifar10": Table(
        cifar10,
        (2, 4),
        CIFAR,
        {
            "as it is": {},
            "float32 products": {"precision": "float32"},
            "without shift and flip": {"augment": "none"},
            "cutout of 8": {"cutout": 8},
            **PARTS,
            "warm start: 3 epochs clean, 3 against FGSM": {"start": "clean half", "epochs": 3},
            "clean half": {"adversarial": {"attack": "none"}, "epochs": 3},
            "rounded activations": {"quantize": {"activations": "int8"}},
        },
    ),
    "ternary": Table(
        cifar10,
        (2, 4),
        CIFAR,
        {
            "float, 6 epochs": {},
            "wide teacher, float, 6 epochs": WIDE,
            "ternary from new weights, 9 epochs": {"quantize": TERNARY, "epochs": 9},
            "float, then ternary for 3": {"quantize": TERNARY, "epochs": 3, "start": "float, 6 epochs"},
            "the same, taught by its float stage": {
                "quantize": TERNARY, "epochs": 3, "start": "float, 6 epochs", "teacher": {"model": "float, 6 epochs"},
            },
            "the same, taught by the wide net": {
                "quantize": TERNARY, "epochs": 3, "start": "float, 6 epochs",
                "teacher": {"model": "wide teacher, float, 6 epochs"},
            },
            "float, taught by the wide net": {"teacher": {"model": "wide teacher, float, 6 epochs"}},
        },
    ),
    "digits": Table(
        digits,
        (1, 2),
        DIGITS,
        {
            "as it is": {},
            **PARTS,
            "warm start: 6 epochs clean, 6 against FGSM": {"start": "clean half", "epochs": 6},
            "clean half": {"adversarial": {"attack": "none"}, "epochs": 6},
            "rounded activations": {"quantize": {"activations": "int8"}},
            "stq-keywords": {"net": "stq-keywords"},
            "taught by stq-keywords": {"teacher": {"model": "stq-keywords"}},
            "ternary from new weights, 18 epochs": {"quantize": TERNARY, "epochs": 18},
            "as it is, then ternary for 6": {"quantize": TERNARY, "epochs": 6, "start": "as it is"},
            "the same, taught by its float stage": {
                "quantize": TERNARY, "epochs": 6, "start": "as it is", "teacher": {"model": "as it is"},
            },
            "the same, taught by stq-keywords": {
                "quantize": TERNARY, "epochs": 6, "start": "as it is", "teacher": {"model": "stq-keywords"},
            },
        },
    ),
    "jacobian": Table(
        digits,
        (1, 2),
        {**DIGITS, "adversarial": {"attack": "none", "eps": 2}},
        {
            "none": {},
            **{f"output {weight:g}": {"jacobian": {"output": weight}} for weight in (0.03, 0.3, 3)},
            **{f"layers {weight:g}": {"jacobian": {"layers": weight}} for weight in (0.001, 0.01, 0.1, 1)},
            "output 0.3, layers 0.01": {"jacobian": {"output": 0.3, "layers": 0.01}},
            "output 0.3, layers 0.1": {"jacobian": {"output": 0.3, "layers": 0.1}},
        },
    ),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("--out", type=Path, required=True, help="where trainings are kept")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", default="", help="trainings whose name holds this")
    options = parser.parse_args()
    table = TABLES[options.table]
    dataset = table.data()
    shares = [f"PGD {eps:g} %" for eps in table.eps]
    print("| training | clean % | " + " | ".join(shares) + " | ms a step | penalty's share of the loss % |")
    print("|---|" + "---:|" * (len(shares) + 3))
    for name in table.trainings:
        if options.only in name:
            rows = [_row(name, table, dataset, options.out, seed) for seed in options.seeds]
            print(f"| {name} | " + " | ".join(_mean(column) for column in zip(*rows, strict=True)) + " |", flush=True)


def _row(name: str, table: Table, dataset: Dataset, out: Path, seed: int) -> list[float]:
    record, folder = _trained(name, table, dataset, out, seed)
    clean, robust = _accuracies(folder, record.config, dataset, table.eps)
    penalty = _penalty(record) / record.loss if record.loss else 0.0
    return [100 * clean, *(100 * share for share in robust), 1e3 * record.seconds / record.steps, 100 * penalty]


def _mean(values: tuple[float, ...]) -> str:
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):.1f}{spread}"


def _penalty(record: TrainRecord) -> float:
    """The Jacobian terms of the last epoch's loss."""
    last, jacobian = record.history[-1], record.config.jacobian
    output = jacobian.output * last.get("jacobian_output", 0.0)
    return (output + jacobian.layers * last.get("jacobian_layers", 0.0)) / 2


def _trained(name: str, table: Table, dataset: Dataset, out: Path, seed: int) -> tuple[TrainRecord, Path]:
    """The training, after those that it needs; one that is in the folder with these settings is not repeated."""
    content: Settings = {**table.base, "data": dataset.name, "seed": seed}
    for key, value in table.trainings[name].items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    if "start" in content:
        content["start"] = str(_trained(content["start"], table, dataset, out, seed)[1])
    if "teacher" in content:
        content["teacher"] = {"model": str(_trained(content["teacher"]["model"], table, dataset, out, seed)[1])}
    config = from_table(TrainConfig, content, where=name)
    folder = out / f"{name.replace(' ', '-').replace(',', '').replace(':', '')}-{seed}"
    if (folder / RECORD).is_file():
        earlier = from_json(TrainRecord, folder / RECORD)
        if earlier.config == config and earlier.data_sha256 == dataset.sha256:
            return earlier, folder
    folder.mkdir(parents=True, exist_ok=True)
    return train(config, dataset, folder, all_forms=False), folder


def _accuracies(
    folder: Path, config: TrainConfig, dataset: Dataset, radii: tuple[float, ...]
) -> tuple[float, list[float]]:
    """Clean accuracy of the form that ships on all test samples, and what PGD leaves of some at each eps."""
    samples, net = training_set(config, dataset), plain(keras.saving.load_model(folder / MODEL))
    form = list(forms(config.quantize).values())[-1]
    model = quantize(net, form, (samples.grid.low, samples.grid.high))
    with settled(model):
        observe_ranges(model, input_units(samples.x[: config.calibration]))
        right = [float(np.mean(hits)) for hits in _hits(model, samples.grid, dataset, radii)]
    return right[0], right[1:]


def _hits(model: Any, grid: InputGrid, dataset: Dataset, radii: tuple[float, ...]) -> Iterator[np.ndarray]:
    def logits(x: Any) -> Any:
        return model(x, training=False)

    def attacked(x: Any, y: Any, eps: Any) -> Any:
        step, seed = 2.5 * eps / PGD_STEPS, tf.constant([0, 0])
        return logits(perturbed(logits, x, y, grid, eps=eps, step_size=step, steps=PGD_STEPS, seed=seed))

    forward, attack = compiled(logits), compiled(attacked)
    x, y = input_units(dataset.x_test), dataset.y_test
    yield np.concatenate([_right(forward(x[at : at + BATCH]), y[at : at + BATCH]) for at in range(0, len(x), BATCH)])
    clean = _right(forward(x[:ATTACKED]), y[:ATTACKED])
    for eps in radii:
        parts = [slice(at, at + BATCH) for at in range(0, min(ATTACKED, len(x)), BATCH)]
        radius = tf.constant(eps * grid.step, tf.float32)
        yield clean & np.concatenate([_right(attack(tf.constant(x[each]), y[each], radius), y[each]) for each in parts])


def _right(logits: Any, y: np.ndarray) -> np.ndarray:
    return np.asarray(np.asarray(logits).argmax(axis=1) == y)


if __name__ == "__main__":
    main()
