"""A Python process of tritguard's own that imports a module once, and calls its `main` in a fork of its own each time.

It is for work that takes less time than the imports do, in processes that may crash or have to be limited.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from tritguard.errors import first_line
from tritguard.processes import FOLDERS, Limits, kill_group, start_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_OUTPUT, _ERRORS = "stdout", "stderr"  # the files in a call's folder that take what it prints
_WRITTEN = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class Forks:
    """Calls a module's `main` in a process of its own each time, which is a fork of one that has imported the module.

    That process starts with the first call and ends with this one, however this one ends. POSIX only.

    Args:
        module: the module's name.
        others: modules that `main` imports when it is called, to be imported ahead too. None of them may start a thread
            when it is imported.
        limits: what each call may take; see `processes.run_python`.
    """

    def __init__(self, module: str, *others: str, limits: Limits) -> None:
        self._modules = (module, *others)
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._turn = threading.Lock()

    def call(self, *arguments: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
        """Call `main` with arguments.

        Args:
            arguments: what `main` is called with.
            folder: its working directory, home and folder for temporary files. What it prints is left there.

        Returns:
            The arguments; 0, 1 if an exception left `main`, or the negative number of the signal that killed it; and
            what it printed to stdout and stderr, which ends with the exception in one line.

        Raises:
            subprocess.TimeoutExpired: it took longer than `limits.seconds`.
        """
        with self._turn:
            process = self._started()
            try:
                status = self._answer(process, json.dumps([str(folder), *arguments]).encode())
            except BaseException:
                self._end()
                raise
            if status is None:  # it ended before it could fork
                errors = process.communicate()[1]
                self._process = None
                return subprocess.CompletedProcess(arguments, process.returncode or 1, b"", errors)
        return subprocess.CompletedProcess(arguments, status, *(_read(folder / name) for name in (_OUTPUT, _ERRORS)))

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None or self._owner != os.getpid():
            self._owner = os.getpid()
            self._process = start_python(
                __name__, *self._modules, folder="/", limits=self._limits, collect=False, stdin=subprocess.PIPE
            )
            atexit.register(self._end)
        return self._process

    def _answer(self, process: subprocess.Popen[bytes], order: bytes) -> int | None:
        """The exit status of a call, or None if the process that forks has ended."""
        assert process.stdin is not None and process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(order + b"\n")
            process.stdin.flush()
        if not select.select([process.stdout], [], [], self._limits.seconds)[0]:
            raise subprocess.TimeoutExpired(self._modules[0], self._limits.seconds)
        line = process.stdout.readline()
        return int(line) if line else None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            kill_group(process)
            with suppress(BrokenPipeError), process:  # closes its pipes and waits for it
                pass


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _serve(module: str, *others: str) -> None:
    """Fork for each line of stdin, until it ends, and print the forks' exit statuses."""
    try:
        main = importlib.import_module(module).main
        for other in others:
            importlib.import_module(other)
    except Exception as problem:
        sys.exit(f"{type(problem).__name__}: {first_line(problem)}")
    gc.freeze()  # what imports made stays
    while line := sys.stdin.buffer.readline():
        folder, *arguments = json.loads(line)
        fork = os.fork()
        if fork == 0:
            _call(main, folder, arguments)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1])}\n")
        sys.stdout.flush()


def _call(main: Callable[..., None], folder: str, arguments: list[str]) -> NoReturn:
    """Call `main` in this process, which ends with it."""
    status = 1
    try:
        os.chdir(folder)
        os.environ.update(dict.fromkeys(FOLDERS, folder))
        tempfile.tempdir = None  # is looked for anew
        for stream, name, mode in ((0, os.devnull, os.O_RDONLY), (1, _OUTPUT, _WRITTEN), (2, _ERRORS, _WRITTEN)):
            os.dup2(os.open(name, mode, 0o600), stream)
        main(*arguments)
        status = 0
    except Exception as problem:  # the caller quotes one line
        sys.stderr.write(f"{type(problem).__name__}: {first_line(problem)}\n")
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
