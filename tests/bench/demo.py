"""The demo's network, trained in full and converted: scripts/bench demo.

The suite trains a shorter one (`tests/support/demo_fixture.py`). Prints a table of accuracies with their goals; exit
status 1 where one is missed.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from tests.support.shared import ROOT
from tritguard.cli.progress import bar
from tritguard.convert import keras_to_tflite
from tritguard.convert.check import input_quantization
from tritguard.data import load_dataset, to_input_bytes
from tritguard.oracle import Oracle
from tritguard.train import read_train_config
from tritguard.train.config import CALIBRATION, MODEL
from tritguard.train.fit import train

GOALS = {"as trained": 0.85, "int8, on the interpreter": 0.85}  # shares of Fashion-MNIST's 10,000 test pictures


def main() -> int:
    """Train, convert, and compare both accuracies with their goals."""
    config = read_train_config(ROOT / "docs" / "demo.toml")
    data = load_dataset(config.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with bar("training") as progress:
            record = train(config, data, folder, progress)
        content = keras_to_tflite(folder / MODEL, folder / CALIBRATION)
    labels = Oracle(content).predict(to_input_bytes(data.x_test, *input_quantization(content))).labels
    measured = (record.accuracy, float(np.mean(labels == data.y_test)))
    missed = False
    print(f"{'accuracy':26} {'goal':>6} {'measured':>9}    ({record.seconds:.0f} s of training)")
    for (form, goal), accuracy in zip(GOALS.items(), measured, strict=True):
        missed |= accuracy < goal
        print(f"{form:26} {goal:6.1%} {accuracy:9.2%}{'  MISSED' if accuracy < goal else ''}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
