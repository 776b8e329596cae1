"""Processes that craft side by side, each with TensorFlow and a twin of its own, on one core."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

from typing_extensions import override

from tritguard.campaign.job import Done
from tritguard.campaign.orders import Order, Pool, carry_out
from tritguard.errors import TritguardError
from tritguard.files import write_whole
from tritguard.processes import spawning


class Workers(Pool):
    """Processes that craft, started as they are needed and kept for all that is crafted inside the `with` block.

    Leaving the block ends them, at once if an exception leaves it.

    Args:
        count: the number of processes.
        least_seconds: they are started only for jobs that would take one process at least this long. Each has to start
            TensorFlow and to trace the view, which costs more than it saves where there is little to do.
    """

    def __init__(self, count: int, least_seconds: float = 0.0) -> None:
        self._count = count
        self._least_seconds = least_seconds
        self._pool: _Processes | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._end(at_once=kind is not None)

    @property
    @override
    def count(self) -> int:
        return self._count

    @override
    def pays(self, jobs: int, seconds: float) -> bool:
        worth = self._pool is not None or seconds >= self._least_seconds
        return worth and self._count > 1 and jobs > 1

    @override
    def run(self, orders: Sequence[Order]) -> Iterator[tuple[int, Done]]:
        finished = False
        self._pool = self._pool or _Processes(self.count)
        try:
            places = {future: place for place, future in enumerate(self._pool.submit(orders))}
            for future in as_completed(places):
                yield places[future], future.result()
            finished = True
        except BrokenProcessPool as error:
            fix = "ask for fewer --workers; what was crafted so far is kept"
            raise TritguardError("a process that crafted died, perhaps for lack of memory", fix=fix) from error
        finally:
            if not finished:
                self._end(at_once=True)

    def _end(self, at_once: bool) -> None:
        if self._pool is not None:
            self._pool.end(at_once)
        self._pool = None


class _Processes:
    """Spawned processes, which also end if this one is killed."""

    def __init__(self, count: int) -> None:
        settle_art()
        context = get_context("spawn")  # TensorFlow does not survive a fork
        self._alive, self._ours = context.Pipe(duplex=False)
        with spawning():  # the pool's locks start a process that tracks them
            self._executor = ProcessPoolExecutor(count, context, _start, (self._alive,))

    def submit(self, orders: Sequence[Order]) -> list[Future[Done]]:
        with spawning():
            return [self._executor.submit(carry_out, order) for order in orders]

    def end(self, at_once: bool) -> None:
        if not at_once:
            self._executor.shutdown(wait=True)  # a worker that ends by itself leaves no library's semaphore behind
        self._ours.close()
        self._executor.shutdown(cancel_futures=True)
        self._alive.close()


def settle_art() -> None:
    """Write the settings that ART writes where a user has none, before several processes import it at once.

    Each of them would, and one that reads what another has written half has no settings, and cannot import ART.
    """
    home = os.path.expanduser("~")  # noqa: PTH111 - as ART finds it
    folder = Path(home if os.access(home, os.W_OK) else "/tmp") / ".art"
    if find_spec("art") is None or (folder / "config.json").exists():
        return
    with suppress(OSError):  # ART does without
        folder.mkdir(exist_ok=True)
        write_whole(folder / "config.json", json.dumps({"ART_DATA_PATH": str(folder / "data")}, indent=4))


def _start(alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent process
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    with suppress(ImportError):  # else ART's progress bars make a semaphore that a worker ended early leaves behind
        import_module("tqdm").tqdm.set_lock(threading.RLock())


def _end_with(alive: Connection) -> None:
    try:
        alive.recv()
    except EOFError:
        os._exit(1)
