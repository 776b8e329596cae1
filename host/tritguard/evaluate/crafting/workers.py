"""Processes that craft side by side, each with TensorFlow and a twin of its own, on one core."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tritguard.attack import Attack, Ball, Target
from tritguard.attack.base import Access, Labels
from tritguard.attack.view import GradientView
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError, TritguardError
from tritguard.evaluate.crafting.job import Done, Job, craft
from tritguard.predictor import Int8
from tritguard.processes import spawning
from tritguard.twin import Twin


@dataclass(frozen=True)
class Workers:
    """How many processes craft, and the model that each of them opens.

    Attributes:
        count: the number of processes.
        bundle: the folder of the attacked model.
        temperature: the temperature of the view, see `GradientView`.
    """

    count: int
    bundle: Path
    temperature: float

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """The jobs' places and outcomes, in the order they finish; dropping the iterator ends the processes at once.

        Raises:
            BadInputError: an attack is defined in the script that runs, which the processes do not import.
            TritguardError: raised by an attack, or because a process died.
        """
        for attack in (job.attack for job in jobs if type(job.attack).__module__ == "__main__"):
            raise BadInputError("is defined in the script that runs", where=attack.name, fix="move it to a module")
        with self._pool(min(self.count, len(jobs))) as pool:
            orders = [_Order.of(job, self.bundle, self.temperature) for job in jobs]
            with spawning():
                places = {pool.submit(_craft, order): place for place, order in enumerate(orders)}
            try:
                for future in as_completed(places):
                    yield places[future], future.result()
            except BrokenProcessPool as error:
                fix = "ask for fewer --workers; what was crafted so far is kept"
                raise TritguardError("a process that crafted died, perhaps for lack of memory", fix=fix) from error

    @contextmanager
    def _pool(self, count: int) -> Iterator[ProcessPoolExecutor]:
        context = get_context("spawn")  # TensorFlow does not survive a fork
        alive, ours = context.Pipe(duplex=False)
        with spawning():  # the pool's locks start a process that tracks them
            pool = ProcessPoolExecutor(count, context, _start, (self.bundle, self.temperature, alive))
        try:
            yield pool
            pool.shutdown(wait=True)  # first, because a worker that ends by itself leaves no library's semaphore behind
        finally:
            ours.close()  # on a failure, and also if this process is killed: no worker outlives it
            pool.shutdown(cancel_futures=True)
            alive.close()


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

    @classmethod
    def of(cls, job: Job, bundle: Path, temperature: float) -> _Order:
        part = job.target
        return cls(
            job.attack, job.ball, job.first, bundle, temperature, part.x, part.y, part.seed, part.aim, part.access
        )

    def job(self, twin: Twin, view: GradientView) -> Job:
        target = Target(twin, view, self.x, self.y, self.seed, self.aim, self.access)
        return Job(self.attack, self.ball, target, self.first)


@lru_cache(maxsize=1)
def _model(bundle: Path, temperature: float) -> tuple[Twin, GradientView]:
    """What a worker's jobs attack, opened once a process."""
    opened = open_bundle(bundle)
    return Twin(opened, threads=1), GradientView(opened.golden, temperature)


def _start(bundle: Path, temperature: float, alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the parent process
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    with suppress(ImportError):  # or ART's progress bars make a semaphore that a worker ended early leaves behind
        import_module("tqdm").tqdm.set_lock(threading.RLock())
    _model(bundle, temperature)  # a model that cannot be opened ends the worker at its start


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
