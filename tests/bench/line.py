"""The speed of an emulated board over its UART and over the bulk line: scripts/bench line BUNDLE BUILD [--count N]."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tritguard.build import open_build
from tritguard.device import emulate
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
    seconds = {False: 0.0, True: 0.0}
    for part in np.array_split(x, min(5, options.count)):  # in turns, so that a busy machine slows both
        for bulk in seconds:
            with emulate(bundle, build, bulk=bulk) as device:
                start = time.perf_counter()
                device.predict(part)
                seconds[bulk] += time.perf_counter() - start
    for bulk, name in ((False, "UART"), (True, "bulk line")):
        print(f"{name:10} {1e3 * seconds[bulk] / options.count:8.2f} ms an input")
    print(f"{'ratio':10} {seconds[False] / seconds[True]:8.2f}")


if __name__ == "__main__":
    main()
