"""How long Square takes on an MLPerf-size net, and whether the chip agrees: scripts/bench square [--model NET.tflite].

Square with 5,000 queries on 1,000 CIFAR-10 images (the lossless subset), Linf, on all cores; then every final input on
emulated boards, byte for byte against the twin. Chunks that are done are kept in --out: a run that is killed goes on.
The defended case is any net given by --model; with a small --eps few samples fall too, and it takes as long. Goal: 30
minutes on two idle cores, all in all: processor time over the workers, which other work on the machine does not
lengthen; the clock's time is told as well. Exit status 1 where the goal is missed or a byte differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.models import resnet8
from tests.support.shared import ROOT, shared_file
from tritguard.attack import Ball, Square, Target
from tritguard.boards import load_board
from tritguard.build import build
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import Store
from tritguard.campaign.workers import Workers
from tritguard.cli.progress import bar
from tritguard.data import to_input_bytes
from tritguard.device import open_device, reinforced
from tritguard.emit import write_bundle
from tritguard.processes import cores
from tritguard.twin import Twin

GOAL_MINUTES = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="an int8 .tflite for CIFAR-10; by default MLPerf Tiny's ResNet8")
    parser.add_argument("--eps", type=int, default=8, help="in int8 steps")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=5000, help="queries for each sample, at most")
    parser.add_argument("--board", default="mps2-an386", help="an emulated board")
    parser.add_argument("--workers", type=int, default=cores(), help="processes that craft, and emulated boards")
    parser.add_argument("--out", type=Path, default=ROOT / ".bench" / "square", help="where results are kept")
    options = parser.parse_args()
    name = options.model.stem if options.model else "resnet8_int8"
    content = options.model.read_bytes() if options.model else resnet8()
    board = load_board(options.board)
    folder = options.out / name
    bundle = write_bundle(content, folder / "bundle", name=name, core=board.core_class)
    firmware = build(bundle, board, folder / "build")
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    source = bundle.manifest.input
    x = to_input_bytes(data["test_images"][: options.samples], source.scale, source.zero_point)
    target = Target(Twin(bundle), None, x, data["test_labels"][: options.samples].astype(np.int64), seed=0)

    attack, ball = Square(options.queries), Ball("Linf", options.eps)
    store = Store(folder / "campaign.db", bundle.manifest.model_sha256)
    with bar("Square") as report, Workers(options.workers) as workers:
        crew = Crew(workers, bundle.path, temperature=1.0, macs=bundle.manifest.macs)
        (run,), throughput = craft_all(target, [ball], [attack], store, report, crew)
    start, before = time.perf_counter(), _processor_seconds()
    with (
        bar("Confirming on emulated boards") as report,
        open_device(bundle, firmware) as device,
        reinforced(device, options.workers) as fleet,
    ):
        theirs = fleet.predict(run.x, report)
    clock, confirming = time.perf_counter() - start, _processor_seconds() - before
    minutes = (run.processor_seconds + confirming) / options.workers / 60
    each = run.processor_seconds / run.queries
    ours = target.predictor.predict(run.x)
    differing = int(((ours.scores != theirs.scores).any(axis=1) | (ours.logits != theirs.logits).any(axis=1)).sum())

    most = len(x) * options.queries
    clean = target.predictor.predict(x).labels == target.y
    table = Table.grid(padding=(0, 2))
    table.title = (
        f"{name}: Square, {len(x)} samples, Linf, eps {ball.eps}, {throughput.workers} workers, {cores()} cores"
    )
    table.title_justify = "left"
    rows = [
        ("clean accuracy", f"{clean.mean():.1%}"),
        ("robust accuracy", f"{(clean & (theirs.labels == target.y)).mean():.1%} on the device"),
        ("queries made", f"{run.queries:,} of at most {most:,}: {run.queries / len(x):,.0f} a sample"),
        ("crafting", f"{run.processor_seconds:,.0f} s of processor time, {1e3 * each:.2f} ms a query"),
        ("by the clock", f"{throughput.seconds:,.0f} s, {throughput.reused} of {throughput.jobs} jobs done before"),
        ("confirmed on the device", f"{len(run.x):,} inputs, {differing} differ"),
        ("confirming", f"{confirming:,.0f} s of processor time, {clock:,.0f} s by the clock"),
        ("in all", f"{minutes:,.1f} min of processor time a worker (goal: {GOAL_MINUTES} with two)"),
        ("if no sample fell", f"{most * each / options.workers / 60 + confirming / options.workers / 60:,.1f} min"),
    ]
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 1 if differing or minutes > GOAL_MINUTES else 0


def _processor_seconds() -> float:
    """CPU seconds of this process and of the children it has waited for."""
    return sum(os.times()[:4])


if __name__ == "__main__":
    sys.exit(main())
