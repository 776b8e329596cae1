"""Reports as Chromium shows them: scripts/bench pages OUT PAGE.html... [--chromium PROGRAM].

Each page is opened at 390, 820 and 1,280 px, light and dark. OUT gets a screenshot of each, to be looked at. The goals:
axe-core finds nothing, nothing is asked for over a network, the console is empty, the page does not scroll sideways,
and text in drawings is at least 9 px high. Needs Chromium, Node.js and npm, which fetches playwright-core and axe-core.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGES = ("playwright-core@1", "axe-core@4")
SCRIPT = Path(__file__).with_suffix(".mjs")


def look_at(pages: list[Path], out: Path, chromium: str) -> dict[str, list[str]]:
    """What is wrong with each view of each page; screenshots go to `out`."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "install", "--silent", "--no-save", "--prefix", folder, *PACKAGES], check=True)
        shutil.copy(SCRIPT, folder)
        axe = Path(folder) / "node_modules" / "axe-core" / "axe.min.js"
        command = [
            "node",
            SCRIPT.name,
            chromium,
            str(axe),
            str(out.resolve()),
            *(str(page.resolve()) for page in pages),
        ]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    views = [json.loads(line) for line in done.stdout.splitlines()]
    return {view["name"]: view["found"] for view in views}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("pages", type=Path, nargs="+")
    parser.add_argument("--chromium", default=shutil.which("chromium") or shutil.which("google-chrome") or "chromium")
    options = parser.parse_args()
    views = look_at(options.pages, options.out, options.chromium)
    for name, found in views.items():
        print(f"{name:30} {'; '.join(found) or 'well'}")
    print(f"{len(views)} views, screenshots in {options.out}")
    sys.exit(any(views.values()))


if __name__ == "__main__":
    main()
