"""An honest linear int8 network, attacked and proved by the tool: scripts/bench certify_linear [--folder FOLDER].

Both results have to be valid, confirmed on the emulated board, with every sample decided: proved is what is not broken,
and, where the attack finds the worst corner of each ball, what the attack leaves. At the largest eps two samples are
decided by rounding alone: there two scores come so close that the corners tie, and only the search finds the inputs
nearby that do not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from tests.support.honest import ZOO
from tritguard import api
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.evaluate.certify.result import CertifyResult

EPS = (6, 10, 12)
TIED = {12: 2}  # samples that the attack leaves and the search breaks


def measure(folder: Path) -> CertifyResult:
    """From .tflite files to certify.json, verb by verb."""
    for name, file in (("linear", "linear"), ("tiny", "control")):
        case = ZOO[name]()
        (folder / f"{file}.tflite").write_bytes(case.content)
        if name == "linear":
            names = tuple(map(str, range(10)))
            write_dataset(folder / "data.npz", Dataset("drawn", case.x, case.y, names, "steps", "none"))
    at = {name: str(folder / name) for name in ("bundle", "build", "linear.tflite", "control.tflite", "result.json")}
    to = ["-d", str(folder / "data.npz"), "-o", str(folder), "--eps", ",".join(map(str, EPS))]
    for arguments in (
        ["convert", at["linear.tflite"], "-o", at["bundle"]],
        ["build", at["bundle"], "--board", "mps2-an386", "-o", at["build"]],
        ["attack", at["bundle"], at["build"], *to, "--preset", "quick", "--control", at["control.tflite"]],
        ["certify", at["bundle"], *to, "--build", at["build"], "--attacked", at["result.json"], "--seconds", "30"],
    ):
        done = CliRunner().invoke(app, arguments)
        if done.exit_code:
            sys.exit(f"tritguard {arguments[0]}: exit code {done.exit_code}\n{done.output}")
    result = api.read_study(folder / "certify.json")
    assert isinstance(result, CertifyResult)
    return result


def missed(folder: Path, result: CertifyResult) -> Iterator[str]:
    """What is not as it has to be."""
    for study in (api.read_study(folder / "result.json"), result):
        if study.status != "valid":
            yield f"{study.kind} is {study.status}: {[issue.code for issue in study.issues]}"
    for point in result.points:
        eps, left = point.eps_steps, None if point.attacked is None else point.attacked.k
        print(f"eps {eps}: proved {point.proved.k}, not broken {point.unbroken.k}, attacks leave {left}")
        if point.proved.k != point.unbroken.k:
            yield f"eps {eps}: {point.unbroken.k - point.proved.k} samples are open"
        if left is None or not point.proved.k <= left <= point.proved.k + TIED.get(eps, 0):
            yield f"eps {eps}: attacks leave {left}, {point.proved.k} are proved"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keeps what is made; by default nothing is kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        folder = options.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        misses = list(missed(folder, measure(folder)))
    print("\n".join(f"MISSED: {miss}" for miss in misses))
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
