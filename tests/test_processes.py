"""Processes of tritguard's own: what they import, their environment, and their limits."""

from __future__ import annotations

import json
import os
import signal
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
from tritguard.forks import Forks
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
    wait_for_end(Path("/proc") / (tmp_path / "child").read_text() / "stat")


def wait_for_end(stat: Path) -> None:
    """Wait until the process of this file in /proc is no more."""
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().split()[2] != "Z":
        assert time.monotonic() < deadline, "it still runs"
        time.sleep(0.02)


CALLED = """
import os, sys, tempfile
PARENT, CALLS = os.getpid(), []
def main(kind, *rest):
    if kind == "says":
        print(os.getppid() == PARENT, {os.getcwd(), tempfile.gettempdir(), os.environ["HOME"]}, CALLS)
        CALLS.append(1)
    elif kind == "raises":
        raise ValueError("two\\nlines")
    elif kind == "aborts":
        os.abort()
    elif kind == "parent":
        print(PARENT)
    elif kind == "sleeps":
        import subprocess, time
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        open(rest[0], "w").write(str(child.pid))
        time.sleep(600)
    elif kind == "fills":
        bytearray(2 << 30)
"""


@pytest.fixture
def forks(module: Path) -> Iterator[Forks]:
    module.write_text(CALLED)
    made = Forks(module.stem, limits=Limits(seconds=5, cpu_seconds=60, memory_bytes=1 << 30))
    yield made
    made._end()


def test_each_call_runs_in_a_fork_of_one_process(forks: Forks, tmp_path: Path) -> None:
    for _ in range(2):  # what a call changes is gone in the next
        done = forks.call("says", folder=tmp_path)
        assert (done.returncode, done.stdout.decode()) == (0, f"True {{{str(tmp_path)!r}}} []\n"), done.stderr
    assert forks.call("parent", folder=tmp_path).stdout == forks.call("parent", folder=tmp_path).stdout


def test_a_call_that_fails_harms_no_other(forks: Forks, tmp_path: Path) -> None:
    done = forks.call("raises", folder=tmp_path)
    assert (done.returncode, done.stderr) == (1, b"ValueError: two\n")
    assert forks.call("aborts", folder=tmp_path).returncode == -signal.SIGABRT
    done = forks.call("fills", folder=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(b"MemoryError")
    parent = int(forks.call("parent", folder=tmp_path).stdout)
    os.kill(parent, signal.SIGKILL)  # as a system without memory does: the next call starts another
    wait_for_end(Path(f"/proc/{parent}/stat"))
    assert int(forks.call("parent", folder=tmp_path).stdout) != parent


def test_a_call_that_waits_for_ever_ends_with_what_it_started(forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        forks.call("sleeps", str(tmp_path / "child"), folder=tmp_path)
    wait_for_end(Path("/proc") / (tmp_path / "child").read_text() / "stat")
    assert forks.call("parent", folder=tmp_path).returncode == 0


def test_what_forks_ends_with_the_process_that_asks(module: Path, tmp_path: Path) -> None:
    """Even where that is killed."""
    module.write_text(CALLED)
    code = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(module.parent)!r})
from tritguard.forks import Forks
from tritguard.processes import Limits
asks = Forks({module.stem!r}, limits=Limits(seconds=5, cpu_seconds=60, memory_bytes=1 << 30))
print(asks.call("parent", folder=pathlib.Path({str(tmp_path)!r})).stdout.decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert done.returncode == -signal.SIGKILL
    wait_for_end(Path(f"/proc/{int(done.stdout)}/stat"))


def test_a_module_that_cannot_be_imported_is_named(module: Path, tmp_path: Path) -> None:
    module.write_text("import not_there_at_all\n")
    done = Forks(module.stem, limits=LIMITS).call(folder=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(b"ModuleNotFoundError: No module named 'not_there_at_all'")


@needs_oracle
def test_the_interpreters_process_imports_little() -> None:
    """It is started by most commands; records and the schema package take as long to import as all the rest."""
    code = "import sys, tritguard.interpreter, tflite_micro; print(*{'pydantic', 'tflite'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    kinds = (interpreter._FLOAT32, interpreter._UINT8, interpreter._INT8, interpreter._RESOURCE)
    assert kinds == tuple(getattr(tflite.TensorType, name) for name in ("FLOAT32", "UINT8", "INT8", "RESOURCE"))


@needs_oracle
def test_an_interpreter_beside_the_model_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "_FORKS", Forks(*oracle._FORKS._modules, limits=oracle._LIMITS))
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
    monkeypatch.setattr(oracle, "_FORKS", Forks("tritguard.interpreter", limits=limits))
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
