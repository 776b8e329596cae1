"""Processes that craft side by side, each with TensorFlow and a twin of its own, on one core."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tritguard.attack import Attack, Ball, Target
from tritguard.attack.base import Access, Labels
from tritguard.attack.rivals import Rivals
from tritguard.attack.view import GradientView
from tritguard.campaign.job import Done, Job, craft
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError, TritguardError
from tritguard.predictor import Int8
from tritguard.processes import spawning
from tritguard.twin import Twin


class Workers:
    """Processes that craft, started as they are needed and kept for all that is crafted inside the `with` block.

    Leaving the block ends them, at once if by an exception.

    Args:
        count: the number of processes.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: _Pool | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        self._end(at_once=kind is not None)

    def run(self, orders: Sequence[_Order]) -> Iterator[tuple[int, Done]]:
        """The orders' places and outcomes, in the order they finish; dropping the iterator ends the processes at once.

        Raises:
            TritguardError: raised by an attack, or because a process died.
        """
        finished = False
        self._pool = self._pool or _Pool(self.count)
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


class _Pool:
    """Spawned processes, which also end if this one is killed."""

    def __init__(self, count: int) -> None:
        context = get_context("spawn")  # TensorFlow does not survive a fork
        self._alive, self._ours = context.Pipe(duplex=False)
        with spawning():  # the pool's locks start a process that tracks them
            self._executor = ProcessPoolExecutor(count, context, _start, (self._alive,))

    def submit(self, orders: Sequence[_Order]) -> list[Future[Done]]:
        with spawning():
            return [self._executor.submit(_craft, order) for order in orders]

    def end(self, at_once: bool) -> None:
        if not at_once:
            self._executor.shutdown(wait=True)  # a worker that ends by itself leaves no library's semaphore behind
        self._ours.close()
        self._executor.shutdown(cancel_futures=True)
        self._alive.close()


@dataclass(frozen=True)
class Crew:
    """A model, and the processes that craft on it.

    Attributes:
        workers: the processes, which other models may share.
        bundle: the folder of the attacked model.
        temperature: the temperature of the view, see `GradientView`.
    """

    workers: Workers
    bundle: Path
    temperature: float

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """The jobs' places and outcomes; see `Workers.run`.

        Raises:
            BadInputError: an attack is defined in the script that runs, which the processes do not import.
            TritguardError: raised by an attack, or because a process died.
        """
        for attack in (job.attack for job in jobs if type(job.attack).__module__ == "__main__"):
            raise BadInputError("is defined in the script that runs", where=attack.name, fix="move it to a module")
        return self.workers.run([_Order.of(job, self.bundle, self.temperature) for job in jobs])


@dataclass(frozen=True)
class _Order:
    """A job as it is sent: neither a library nor a TensorFlow graph can be, so a worker opens the model itself.

    Its other fields are those of `Job` and `Target`.

    Attributes:
        bundle: the folder of the attacked model.
        temperature: the temperature of its view.
    """

    attack: Attack
    ball: Ball
    first: int
    bundle: Path
    temperature: float
    x: Int8
    y: Labels
    seed: int
    aim: Labels | None
    access: Access
    rivals: Rivals | None
    starts: Int8 | None

    @classmethod
    def of(cls, job: Job, bundle: Path, temperature: float) -> _Order:
        part = job.target
        return cls(
            job.attack, job.ball, job.first, bundle, temperature, part.x, part.y, part.seed, part.aim, part.access,
            part.rivals, part.starts,
        )  # fmt: skip

    def job(self, twin: Twin, view: GradientView) -> Job:
        target = Target(twin, view, self.x, self.y, self.seed, self.aim, self.access, self.rivals, self.starts)
        return Job(self.attack, self.ball, target, self.first)


@lru_cache(maxsize=2)  # the model and its control
def _model(bundle: Path, temperature: float) -> tuple[Twin, GradientView]:
    """What a worker's jobs attack, opened once a process."""
    opened = open_bundle(bundle, trust=True)  # the process that sent the job has compiled its C already
    return Twin(opened, threads=1), GradientView(opened.golden, temperature)


def _start(alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent process
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    with suppress(ImportError):  # or ART's progress bars make a semaphore that a worker ended early leaves behind
        import_module("tqdm").tqdm.set_lock(threading.RLock())


def _end_with(alive: Connection) -> None:
    try:
        alive.recv()
    except EOFError:
        os._exit(1)


def _craft(order: _Order) -> Done:
    twin, view = _model(order.bundle, order.temperature)
    if order.attack.kind == "white box":
        view.logits(order.x[:1].astype(np.float32))  # so that TensorFlow's start is not part of the attack's time
    return craft(order.job(twin, view))
