"""Processes of tritguard's own: what they import, their environment, and their limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tflite

import tritguard
from tests.support.known_models import ternary_model
from tests.support.shared import ROOT
from tritguard import interpreter, oracle
from tritguard.errors import BadModelError
from tritguard.oracle import oracle_available, predict_apart
from tritguard.processes import Limits, cores, run_python

LIMITS = Limits(seconds=60, cpu_seconds=60, memory_bytes=1 << 30)
NEVER = "raise SystemExit('imported from where it must not be')\n"
needs_oracle = pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of a module that processes of ours can import, in a folder of its own."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    yield folder / "what_to_run.py"


def run(module: Path, code: str, folder: Path, limits: Limits = LIMITS) -> subprocess.CompletedProcess[bytes]:
    module.write_text(code)
    return run_python(module.stem, "an argument", folder=folder, limits=limits)


def test_a_process_imports_the_same_tritguard(module: Path, tmp_path: Path) -> None:
    code = "import sys, tritguard.errors as errors\nprint(errors.__file__, __name__, *sys.argv[1:])\n"
    done = run(module, code, tmp_path)
    assert done.stdout.decode().split(maxsplit=2) == [
        str(Path(tritguard.__file__).parent / "errors.py"), "__main__", "an argument\n",
    ]  # fmt: skip


def test_nothing_in_the_working_directory_is_imported(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "runpy", "numpy", "tritguard"):
        (tmp_path / f"{name}.py").write_text(NEVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run(module, "import sys, numpy, tritguard\nprint(sys.path)\n", tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    assert str(tmp_path) not in done.stdout.decode().split("'")


def test_only_what_is_needed_of_the_environment_is_handed_over(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_SECRET", "key")
    monkeypatch.setenv("PYTHONSTARTUP", "nothing.py")
    done = run(module, "import json, os\nprint(json.dumps(dict(os.environ)))\n", tmp_path)
    given = json.loads(done.stdout)
    assert (given["HOME"], given["PATH"]) == (str(tmp_path), os.environ["PATH"])
    assert not {"A_SECRET", "PYTHONSTARTUP", "PYTHONPATH"} & given.keys()


@pytest.mark.parametrize("wanted", ["1", "3", "0", "-2", "many", ""])
def test_the_number_of_cores_can_be_given(wanted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHON_CPU_COUNT", raising=False)
    seen = cores()
    assert 1 <= seen <= (os.cpu_count() or 1)
    monkeypatch.setenv("PYTHON_CPU_COUNT", wanted)
    assert cores() == {"1": 1, "3": 3}.get(wanted, seen)


@pytest.mark.parametrize("collect", [True, False])
def test_circles_are_collected_until_the_end_or_never(collect: bool, module: Path, tmp_path: Path) -> None:
    module.write_text(
        "import gc\n"
        "class Last:\n"
        "    def __del__(self): print('collected')\n"
        "print(gc.isenabled())\n"
        "circle = Last()\n"
        "circle.self = circle\n"
        "del circle\n"
    )
    done = run_python(module.stem, folder=tmp_path, limits=LIMITS, collect=collect)
    assert done.stdout.decode().split() == (["True", "collected"] if collect else ["False"])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold every limit")
def test_memory_and_processor_time_are_limited(module: Path, tmp_path: Path) -> None:
    done = run(module, "bytearray(2 << 30)\n", tmp_path)
    assert done.returncode == 1 and b"MemoryError" in done.stderr
    limits = Limits(seconds=60, cpu_seconds=1, memory_bytes=1 << 30, file_bytes=1000)
    assert run(module, "while True: pass\n", tmp_path, limits).returncode < 0
    done = run(module, "with open('large', 'wb') as file: file.write(bytes(2000))\n", tmp_path, limits)
    assert done.returncode != 0 and (tmp_path / "large").stat().st_size <= 1000


def test_a_process_that_waits_for_ever_ends_with_what_it_started(module: Path, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open('child', 'w').write(str(child.pid))\n"
        "time.sleep(600)\n"
    )
    with pytest.raises(subprocess.TimeoutExpired):
        run(module, code, tmp_path, Limits(seconds=3, cpu_seconds=60, memory_bytes=1 << 30))
    stat = Path("/proc") / (tmp_path / "child").read_text() / "stat"
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "its child still runs"
        time.sleep(0.02)


@needs_oracle
def test_the_interpreters_process_imports_little() -> None:
    """It is started for each model; records and the schema package take as long to import as all the rest."""
    code = "import sys, tritguard.interpreter, tflite_micro; print(*{'pydantic', 'tflite'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    kinds = (interpreter._FLOAT32, interpreter._UINT8, interpreter._INT8, interpreter._RESOURCE)
    assert kinds == tuple(getattr(tflite.TensorType, name) for name in ("FLOAT32", "UINT8", "INT8", "RESOURCE"))


@needs_oracle
def test_an_interpreter_beside_the_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tflite_micro", "numpy", "tritguard"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + NEVER)
    monkeypatch.chdir(tmp_path)
    scores = predict_apart(ternary_model(), np.zeros((1, 8, 8, 3), np.int8))
    assert scores.shape[0] == 1 and not (tmp_path / "ran").exists()


@needs_oracle
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(seconds=60, cpu_seconds=60, memory_bytes=16 << 20), "refuses the model"),
        (Limits(seconds=0, cpu_seconds=60, memory_bytes=1 << 30), "does not finish within 0 s"),
    ],
)
def test_the_interpreters_process_has_limits(limits: Limits, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "_LIMITS", limits)
    with pytest.raises(BadModelError, match=words):
        predict_apart(ternary_model(), np.zeros((1, 8, 8, 3), np.int8))


SPAWN = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
import tritguard
from tritguard.processes import spawning

print("script", tritguard.__file__)
for folder in sys.argv[1:]:  # only now, because this process would import them too
    for name in ("struct", "selectors", "signal", "runpy"):
        Path(folder, f"{name}.py").write_text("raise SystemExit('imported from where it must not be')")
with spawning():
    pool = ProcessPoolExecutor(1, get_context("spawn"))
    found = pool.submit(eval, "__import__('sys').path + [__import__('tritguard').__file__]").result()
pool.shutdown()
print(*found, sep="\\n")
"""


@pytest.mark.parametrize("script", [True, False])
def test_spawned_workers_import_nothing_beside_the_script_or_the_model(script: bool, tmp_path: Path) -> None:
    folder = tmp_path / "scripts"
    folder.mkdir()
    (folder / "attack.py").write_text(SPAWN)
    command = [sys.executable, *([str(folder / "attack.py")] if script else ["-c", SPAWN]), str(folder), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "host")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, *path, package = done.stdout.splitlines()
    assert first == f"script {package}"
    assert {"", str(tmp_path), str(folder)}.isdisjoint(path)


INTERRUPTED = """
import os, signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from tritguard.processes import spawning

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with spawning():
        pool = ProcessPoolExecutor(2, get_context("spawn"))
        found = [pool.submit(pow, 2, n) for n in range(2)]
        os.killpg(0, signal.SIGINT)  # while the new processes import
except KeyboardInterrupt:
    print([one.result() for one in found])
"""


def test_ctrl_c_is_seen_by_the_process_that_spawns_and_by_no_other(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "host")}
    command = [sys.executable, "-c", INTERRUPTED]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, start_new_session=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


@pytest.mark.slow
def test_tensorflow_is_imported_without_a_word() -> None:
    """Its notes come before its log level applies; errors of an import have to be seen all the same."""
    code = "import tritguard.train.backend, os; os.write(2, b'after\\n')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "after\n")
