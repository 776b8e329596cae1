"""Campaigns through a real Dask scheduler: workers and boards that come, go and are killed; nothing is lost."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Future

from tests.support.device_support import inputs
from tests.support.targets import ignore
from tritguard.attack import Ball, Noise, Square, Target
from tritguard.attack.view import GradientView
from tritguard.build import Build
from tritguard.campaign.dask import DaskWorkers, RemoteBoard
from tritguard.campaign.orders import Crew
from tritguard.campaign.runs import CHUNK, craft_all
from tritguard.campaign.store import Store
from tritguard.device import Fleet, open_device
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError, TritguardError
from tritguard.evaluate.confirmation import ask
from tritguard.twin import Twin

pytest_plugins = ["tests.support.device_fixtures"]


@contextmanager
def started(*command: str, said: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A Python process, and what its output holds behind `said`."""
    called = [sys.executable, "-m", *command]
    process = subprocess.Popen(called, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not (found := re.search(rf"{said}\s*(\S+)", lines[-1] if lines else "")):
            lines.append(process.stdout.readline())
            assert lines[-1], "".join(lines)
        yield process, found[1].rstrip(":")
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler() -> Iterator[str]:
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    with started("distributed.cli.dask_scheduler", *options, said="Scheduler at:") as (_, address):
        yield address


def test_workers_and_boards_that_are_killed_lose_nothing(
    scheduler: str, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    x = inputs(small_bundle, 3 * CHUNK)
    twin = Twin(small_bundle)
    target = Target(twin, GradientView(small_bundle.golden), x, twin.predict(x).labels, seed=1)
    attacks, balls = (Noise(3), Square(30)), [Ball("Linf", 2), Ball("Linf", 4)]
    alone, _ = craft_all(target, balls, attacks, Store(tmp_path / "alone.db", "model"), ignore)
    firmware = ("--bundle", str(small_bundle.path), "--build", str(small_build.path), "--trust")
    with ExitStack() as stack:

        def worker(*options: str) -> subprocess.Popen[str]:
            said = "working as"
            return stack.enter_context(started("tritguard", "worker", scheduler, *options, said=said))[0]

        crafting = [worker(), worker()]
        pool = stack.enter_context(DaskWorkers(scheduler))
        assert pool.count == 2 and boards_of(pool, small_build) == []
        assert all(address.startswith("tcp://127.0.0.1:") for address in pool._workers())
        with pytest.raises(TritguardError, match=r"a job failed on its worker \(TimeoutError: of the job\)"):
            pool._outcome(failing(pool))
        with pytest.raises(DeviceError, match=r"board 0 at tcp.*: its worker failed .*of the job"):
            RemoteBoard(pool.client, next(iter(pool._workers())), "real board 1", 0)._awaited(failing(pool))

        def kill(done: int, _total: int) -> None:
            if done >= 3 and crafting[0].poll() is None:
                crafting[0].kill()

        store = Store(tmp_path / "campaign.db", "model")
        runs, throughput = craft_all(
            target, balls, attacks, store, kill, Crew(pool, small_bundle.path, 1.0, small_bundle.manifest.macs)
        )
        assert crafting[0].wait() == -signal.SIGKILL and throughput.jobs == 12
        for ours, theirs in zip(runs, alone, strict=True):
            assert (ours.attack.name, ours.eps, ours.queries) == (theirs.attack.name, theirs.eps, theirs.queries)
            assert np.array_equal(ours.x, theirs.x)
        lending = worker(*firmware, "--boards", "2")
        boards = boards_of(pool, small_build)
        assert len(boards) == 2 and pool.boards(small_build.record.build_id, emulated=False) == []
        with open_device(small_bundle, small_build) as device:
            right = device.predict(x)
            answered = ask(device, x[:64], ignore, boards=1, others=boards)
            assert np.array_equal(answered.outputs.scores, right.scores[:64]) and not answered.quarantined
            confirmed = answered.confirmation(twin.predict(x[:64]))
            assert 1 <= confirmed.lent_boards <= 2 and 0 < confirmed.lent_inputs <= 64
            fleet = Fleet([*boards, device], twin.predict)

            def unplug(done: int, _total: int) -> None:
                if done >= 32 and lending.poll() is None:
                    lending.kill()

            outputs = fleet.predict(x, unplug)
            assert np.array_equal(outputs.scores, right.scores) and np.array_equal(outputs.ticks, right.ticks)
            assert sorted(sick.board for sick in fleet.sick) == sorted(board.name for board in boards)
        crafting[1].kill()
        until(lambda: pool.count == 0 and boards_of(pool, small_build) == [])


def boards_of(pool: DaskWorkers, build: Build) -> list[RemoteBoard]:
    """The emulated boards that workers lend."""
    return pool.boards(build.record.build_id, emulated=True)


def failing(pool: DaskWorkers) -> Future:
    """A job that raised what is also raised where a worker is lost."""
    job = pool.client.submit(exec, "raise TimeoutError('of the job')", pure=False)
    until(job.done)
    return job


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_scheduler_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritguard.campaign.dask._CONNECT_SECONDS", 1)
    with pytest.raises(BadInputError, match=r"no Dask scheduler answers .*start one with 'dask scheduler'"):
        DaskWorkers("tcp://127.0.0.1:1")
