"""Starts Python processes of tritguard's own, the only way in which it starts any.

They never import what lies in the working directory, beside a model or beside the script that runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).resolve().parent
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")  # the environment variables that Python itself may need
FOLDERS = ("HOME", "TMPDIR", "TEMP", "TMP")  # the variables that name folders to write to
_SAFE_PATH = "PYTHONSAFEPATH"

# Runs in the new process before anything of tritguard. `-I` ignores PYTHONPATH and an entry in sys.path for the working
# directory, so the folders to import from are handed over, and tritguard itself by its file.
_START = """
import atexit, gc, importlib.util, json, runpy, sys
order = json.loads(sys.argv[1])
if not order["collect"]:
    gc.disable()
    atexit.register(gc.freeze)
try:
    import resource
except ImportError:  # POSIX only
    resource = None
for name, wanted in order["limits"].items() if resource else ():
    kind = getattr(resource, name)
    hard = resource.getrlimit(kind)[1]
    least = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(kind, (least, least))
    except (ValueError, OSError):  # some systems do not know each limit
        pass
sys.path[:] = order["path"]
spec = importlib.util.spec_from_file_location("tritguard", order["package"])
sys.modules["tritguard"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["tritguard"])
sys.argv[:] = [order["module"], *sys.argv[2:]]
runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
"""


def cores() -> int:
    """The number of cores that this process may use: by Python's own PYTHON_CPU_COUNT, or by what the system gives it.

    Python heeds that variable from 3.13 on. It is for users whose container may use fewer cores than it sees.
    """
    if (wanted := os.environ.get("PYTHON_CPU_COUNT", "")).isdecimal() and int(wanted) > 0:
        return int(wanted)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Limits:
    """What a process may take; a system that does not know a limit does without it.

    Attributes:
        seconds: time by the clock, after which it is killed.
        cpu_seconds: processor time, over all its threads.
        memory_bytes: memory for data, in it and in each process that it starts.
        file_bytes: size of each file it writes.
    """

    seconds: int
    cpu_seconds: int
    memory_bytes: int
    file_bytes: int = 1 << 30


def run_python(
    module: str,
    *arguments: str,
    folder: Path,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    one_output: bool = False,
    collect: bool = True,
) -> subprocess.CompletedProcess[bytes]:
    """Run a module as `python -m MODULE ARGUMENTS` would, isolated and within limits.

    The process has no stdin, imports the same tritguard as this one, and ends with everything it started when the
    limit of time or an exception such as KeyboardInterrupt ends the wait for it.

    Args:
        module: the module's name.
        arguments: its arguments.
        folder: its working directory, home and folder for temporary files.
        limits: what it may take.
        environment: environment variables added to those that Python itself may need.
        one_output: whether stderr goes to stdout, in the order in which both are written.
        collect: whether it collects cyclic garbage. A process that makes little of it and ends soon takes a fifth less
            processor time without: most of the search is among what imports make, which stays, and the last search is
            made when the process ends.

    Returns:
        Its exit status, stdout and stderr. A negative status is the signal that killed it.

    Raises:
        subprocess.TimeoutExpired: it took longer than `limits.seconds`.
    """
    process = start_python(
        module,
        *arguments,
        folder=folder,
        limits=limits,
        environment=environment,
        one_output=one_output,
        collect=collect,
    )
    with process:
        try:
            output, errors = process.communicate(timeout=limits.seconds)
        except BaseException:
            kill_group(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def start_python(
    module: str,
    *arguments: str,
    folder: Path | str,
    limits: Limits,
    environment: Mapping[str, str] | None = None,
    one_output: bool = False,
    collect: bool = True,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start what `run_python` runs, in a group of processes of its own, with pipes for stdout and stderr.

    The arguments are those of `run_python`, which also holds the process to `limits.seconds`; `stdin` is that of Popen.
    """
    order = {
        "limits": {
            "RLIMIT_CPU": limits.cpu_seconds,
            "RLIMIT_DATA": limits.memory_bytes,
            "RLIMIT_FSIZE": limits.file_bytes,
            "RLIMIT_CORE": 0,
        },
        "path": _import_path(),
        "package": str(_PACKAGE / "__init__.py"),
        "module": module,
        "collect": collect,
    }
    command = [sys.executable, "-I", "-c", _START, json.dumps(order), *arguments]
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    variables |= dict.fromkeys(FOLDERS, str(folder))
    variables |= {"OPENBLAS_NUM_THREADS": "1"}  # its buffers, one for each core, would count against the memory
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables | dict(environment or {}),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if one_output else subprocess.PIPE,
        process_group=0 if os.name == "posix" else None,
    )


@contextmanager
def spawning() -> Iterator[None]:
    """Isolate the processes that `multiprocessing` spawns in this block.

    A spawned process imports its parent's main module first. A script that attacks at its top level would attack again
    in each of its workers, without end; so the main module is hidden. The working directory and the script's folder
    are not on the new processes' `sys.path`, not even while they start. They never see Ctrl-C, which a terminal
    sends to all of them: they would show a trace while they import. In this process the signal waits until the block
    ends.
    """
    script, path, safe = sys.modules["__main__"], list(sys.path), os.environ.get(_SAFE_PATH)
    sys.path[:] = [*_import_path(), *_own_location()]
    sys.modules["__main__"] = ModuleType("__main__")
    os.environ[_SAFE_PATH] = "1"
    try:
        with _interrupts_later():
            yield
    finally:
        sys.modules["__main__"], sys.path[:] = script, path
        if safe is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = safe


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Block Ctrl-C's signal in this thread, and in the processes that it starts, where signals can be blocked."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker  # noqa: PLC0415 - most commands spawn nothing

    resource_tracker.ensure_running()  # the first lock would start it, and that unblocks the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _import_path() -> list[str]:
    """This process's `sys.path` without the working directory and without the folder of the script that runs."""
    left_out = {Path.cwd()}
    if script := getattr(sys.modules["__main__"], "__file__", None):
        left_out.add(Path(script).resolve().parent)
    return [entry for entry in sys.path if Path(entry).is_absolute() and Path(entry).resolve() not in left_out]


def _own_location() -> list[str]:
    """The folder that tritguard is imported from, if `_import_path` leaves it out."""
    location = str(_PACKAGE.parent)
    return [] if any(Path(entry).resolve() == _PACKAGE.parent for entry in _import_path()) else [location]


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that `start_python` started, and all that it has started."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
