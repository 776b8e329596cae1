"""Processes that craft side by side: TensorFlow and the twin in each, on one core each."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from tritguard.attack.view import GradientView
from tritguard.emit import open_bundle
from tritguard.errors import TritguardError
from tritguard.evaluate.crafting.job import Done, Job, craft
from tritguard.twin import Twin


@dataclass(frozen=True)
class Workers:
    """How many processes craft, and what each makes its own target of.

    Attributes:
        bundle: folder of the attacked model.
        temperature: of the view, see `GradientView`.
    """

    count: int
    bundle: Path
    temperature: float

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Done]]:
        """The jobs' places and outcomes, as they come; dropping the iterator ends the processes at once.

        Raises:
            TritguardError: what an attack raised, or that a process died.
        """
        with self._pool(min(self.count, len(jobs))) as pool:
            # Neither a library nor a TensorFlow graph can be sent: a worker puts its own in.
            sent = [replace(job, target=replace(job.target, predictor=None, view=None)) for job in jobs]  # type: ignore[arg-type]
            places = {pool.submit(_craft, job): place for place, job in enumerate(sent)}
            try:
                for future in as_completed(places):
                    yield places[future], future.result()
            except BrokenProcessPool as error:
                fix = "ask for fewer --workers; what was crafted is kept"
                raise TritguardError("a process that crafted died, perhaps for want of memory", fix=fix) from error

    @contextmanager
    def _pool(self, count: int) -> Iterator[ProcessPoolExecutor]:
        context = get_context("spawn")  # TensorFlow does not survive a fork
        alive, ours = context.Pipe(duplex=False)
        pool = ProcessPoolExecutor(count, context, _start, (self.bundle, self.temperature, alive))
        try:
            yield pool
            pool.shutdown(wait=True)  # first: a worker that ends by itself leaves no semaphore of a library's behind
        finally:
            ours.close()  # when something failed, and if this process is killed: no worker outlives it
            pool.shutdown(cancel_futures=True)
            alive.close()


_MODEL: list[tuple[Twin, GradientView]] = []  # in a worker: what its jobs attack


def _start(bundle: Path, temperature: float, alive: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that asked
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS"):
        os.environ[name] = "1"
    opened = open_bundle(bundle)
    view = GradientView(opened.golden, temperature)
    with suppress(ImportError):  # ART's progress bars would make a semaphore that a worker ended early leaves behind
        import_module("tqdm").tqdm.set_lock(threading.RLock())
    _MODEL.append((Twin(opened, threads=1), view))


def _end_with(alive: Connection) -> None:
    try:
        alive.recv()
    except EOFError:
        os._exit(1)


def _craft(job: Job) -> Done:
    twin, view = _MODEL[0]
    if job.attack.kind == "white box":
        view.logits(job.target.x[:1].astype(np.float32))  # TensorFlow's start is no part of the attack's time
    return craft(replace(job, target=replace(job.target, predictor=twin, view=view)))
