"""Damaged files of each kind that tritguard takes: scripts/bench mutated [--count N] [--kinds A,B] [--first SEED].

Every one has to end in a message or be taken as it is: no trace, crash or hang. Prints a table; exit status 1 if
a case failed, with the number that makes its file again in --keep.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.mutated_files import KINDS, Verdict, case, try_all
from tests.support.sound_files import sound_files
from tritguard.cli.progress import bar

GOAL = 10_000
_TOLD = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=GOAL, help="files of each kind")
    parser.add_argument("--kinds", default=",".join(KINDS), help="by commas")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--keep", type=Path, help="folder for the files that failed")
    options = parser.parse_args()
    table = Table("kind", "files", "taken", "refused", "failed", "seconds", title="damaged files", title_justify="left")
    failed: list[Verdict] = []
    for kind in options.kinds.split(","):
        start, counts = time.perf_counter(), Counter[str]()
        with tempfile.TemporaryDirectory() as scratch, bar(kind) as progress:
            sound = sound_files(kind, Path(scratch))
            seeds = range(options.first, options.first + options.count)
            progress(0, len(seeds))
            for done, verdict in enumerate(try_all(kind, sound, seeds, Path(scratch))):
                progress(done + 1, len(seeds))
                plain = verdict.outcome in ("taken", "refused")
                counts[verdict.outcome if plain else "failed"] += 1
                if not plain:
                    failed.append(verdict)
                    if options.keep is not None:
                        options.keep.mkdir(parents=True, exist_ok=True)
                        name = f"{verdict.seed}-{KINDS[kind].name}"
                        (options.keep / name).write_bytes(case(kind, sound, verdict.seed))
        row = [f"{counts[outcome]:,}" for outcome in ("taken", "refused", "failed")]
        table.add_row(kind, f"{counts.total():,}", *row, f"{time.perf_counter() - start:.0f}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for verdict in failed[:_TOLD]:
        console.print(f"{verdict.kind} {verdict.seed}: {verdict.outcome}", markup=False)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
