"""MLPerf Tiny's int8 networks as they ship, undefended, beside ours: scripts/bench robustness_mlperf TABLE --out DIR
[NET ...].

TABLE is `cifar10` (ResNet8, on the lossless test pictures) or `keywords` (DS-CNN, on EEMBC's Speech Commands samples);
a NET is a folder left by `tritguard train`, or an int8 `.tflite`, trained on the same task. Same samples, same attacks,
judged on the twin (the bytes of the device), with gradients through the deployed integers. A network that is done stays
in DIR. The table is printed, and kept as DIR/TABLE.md.
"""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from rich.console import Console

from tests.bench import robustness
from tests.support.shared import shared_file
from tritguard.api.source import golden
from tritguard.boards import load_board
from tritguard.data import Dataset
from tritguard.data.cifar10 import CLASSES
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.data.mfcc import INPUT_UNIT
from tritguard.emit import Bundle, write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import draw_samples
from tritguard.files import write_whole
from tritguard.records import Record, from_json
from tritguard.twin import verify_against_oracle

EPS = (1, 2, 4, 8)
_MFCC_SCALE, _MFCC_ZERO_POINT = 0.5847029, 83  # of DS-CNN's input, on whose grid EEMBC's samples lie


class Contender(Record):
    """A deployed network under attack.

    Attributes:
        name: MLPerf's, or the file's.
        clean: share of the samples it gets right.
        robust: for each attack and eps, "PGD 8": share right on the clean input and on the attacked one.
        ternary: layers whose weights are ternary, of all that have weights.
        weights_bytes, flash_bytes: of the weights, and of the whole firmware.
        samples: attacked.
        seconds: that the attacks took.
    """

    name: str
    clean: float
    robust: dict[str, float]
    ternary: tuple[int, int]
    weights_bytes: int
    flash_bytes: int
    samples: int
    seconds: float
    machine: str


def pictures() -> Dataset:
    """CIFAR-10 as published, the first 1,017 test pictures."""
    arrays = dict(np.load(shared_file("data/cifar10_lossless_subset.npz")))
    y = arrays["test_labels"].astype(np.int64)
    licence = "no formal licence (Krizhevsky 2009), for research"
    return Dataset("CIFAR-10, lossless", arrays["test_images"], y, CLASSES, PIXEL_UNIT, licence)


def keywords() -> Dataset:
    """EEMBC's 1,000 test samples of Speech Commands in MFCC."""
    arrays = dict(np.load(shared_file("data/gsc_kws01.npz")))
    x = (arrays["mfcc_int8"].astype(np.float32) - _MFCC_ZERO_POINT) * np.float32(_MFCC_SCALE)
    names = tuple(map(str, arrays["classes"]))
    return Dataset("Speech Commands", x, arrays["labels"].astype(np.int64), names, INPUT_UNIT, "CC BY 4.0 (Warden)")


TABLES: dict[str, tuple[str, str, Callable[[], Dataset]]] = {  # MLPerf's network, its file, the data
    "cifar10": ("ResNet8 (MLPerf Tiny)", "models/resnet8_int8.tflite", pictures),
    "keywords": ("DS-CNN (MLPerf Tiny)", "models/dscnn_int8.tflite", keywords),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=TABLES)
    parser.add_argument("nets", type=Path, nargs="*", help="ours: folders of trainings, or .tflite files")
    parser.add_argument("--out", type=Path, required=True, help="where results and the table are kept")
    parser.add_argument("--attacked", type=int, default=500, help="test samples to attack")
    parser.add_argument("--eps", type=int, nargs="+", default=list(EPS), help="in steps of the int8 input grid")
    options = parser.parse_intermixed_args()  # NETs may stand last
    console = Console()
    name, path, read = TABLES[options.table]
    dataset = read()
    plan = Plan(samples=min(options.attacked, len(dataset.x_test)), eps=tuple(options.eps), seed=0)
    nets = {name: shared_file(path)} | {net.resolve().name.removesuffix(".tflite"): net for net in options.nets}
    rows = []
    for name, net in nets.items():
        console.rule(name)
        rows.append(measure(name, golden(net, None), dataset, plan, options.out / options.table))
        write_whole(options.out / f"{options.table}.md", as_markdown(rows))
    console.print((options.out / f"{options.table}.md").read_text(), markup=False, soft_wrap=True)


def measure(name: str, content: bytes, dataset: Dataset, plan: Plan, out: Path) -> Contender:
    """Attack a network, or read what was found when it was; one folder a model, samples and bounds."""
    key = hashlib.sha256(content + f"{dataset.sha256} {plan.samples} {plan.eps}".encode()).hexdigest()
    folder = out / key[:12]
    kept = folder / "row.json"
    if kept.is_file():
        return from_json(Contender, kept).model_copy(update={"name": name})
    core = load_board(robustness.BOARD).core_class
    bundle = write_bundle(content, folder / "bundle", name=name, core=core, check=verify_against_oracle)
    samples = draw_samples(bundle, dataset, plan.samples, plan.seed)
    start = time.monotonic()
    clean, robust = robustness._attacked(prepare(bundle, samples, plan), list(plan.eps), name)
    seconds = time.monotonic() - start
    row = Contender(
        name=name,
        clean=clean,
        robust=robust,
        ternary=ternary_layers(bundle),
        weights_bytes=sum(layer.weight_bytes for layer in bundle.manifest.layers),
        flash_bytes=robustness._flash(bundle),
        samples=plan.samples,
        seconds=seconds,
        machine=robustness.processor(),
    )
    write_whole(kept, row.model_dump_json(indent=2) + "\n")
    return row


def ternary_layers(bundle: Bundle) -> tuple[int, int]:
    weighted = [layer for layer in bundle.manifest.layers if layer.weight_format != "none"]
    return sum(layer.ternary is not None for layer in weighted), len(weighted)


def as_markdown(rows: list[Contender]) -> str:
    """A line for each network and attack, a column for each eps."""
    bounds = sorted({int(key.rpartition(" ")[2]) for row in rows for key in row.robust})
    headings = ["net", "ternary layers", "weights kB", "flash kB", "clean %", "attack", *(f"eps {b} %" for b in bounds)]
    lines = ["| " + " | ".join(headings) + " |", "|---|---|---:|---:|---:|---|" + "---:|" * len(bounds)]
    for row in rows:
        lines += _lines(row, bounds)
    first = rows[0]
    minutes = sum(row.seconds for row in rows) / 60
    lines += ["", f"{first.samples} samples; the attacks on all networks took {minutes:.0f} min on {first.machine}; "
              f"{time.strftime('%Y-%m-%d', time.gmtime())}."]  # fmt: skip
    return "\n".join(lines) + "\n"


def _lines(row: Contender, bounds: list[int]) -> Iterator[str]:
    of, all_of = row.ternary
    sizes = [f"{size / 1000:.1f}" for size in (row.weights_bytes, row.flash_bytes)]
    about = [row.name, f"{of} of {all_of}", *sizes, f"{100 * row.clean:.1f}"]
    for attack in dict.fromkeys(key.rpartition(" ")[0] for key in row.robust):
        found = [row.robust.get(f"{attack} {bound}") for bound in bounds]
        cells = [*about, attack, *("" if share is None else f"{100 * share:.1f}" for share in found)]
        yield "| " + " | ".join(cells) + " |"
        about = [""] * len(about)


if __name__ == "__main__":
    main()
