"""The speed of an emulated board over its UART and over the bulk line: scripts/bench line BUNDLE BUILD [--count N]."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tests.support.times import line_seconds
from tritguard.build import open_build
from tritguard.emit import open_bundle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("build", type=Path)
    parser.add_argument("--count", type=int, default=100, help="inputs over each line")
    options = parser.parse_args()
    bundle, build = open_bundle(options.bundle), open_build(options.build)
    shape = (options.count, *bundle.manifest.input.shape)
    x = np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)
    uart, bulk = line_seconds(bundle, build, x)
    for seconds, name in ((uart, "UART"), (bulk, "bulk line")):
        print(f"{name:10} {1e3 * seconds:8.2f} ms of processor time an input")
    print(f"{'ratio':10} {uart / bulk:8.2f}")


if __name__ == "__main__":
    main()
