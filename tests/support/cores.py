"""The cores that a test process may use, and with it all that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

_COUNT = "PYTHON_CPU_COUNT"


@cache
def all_cores() -> frozenset[int]:
    """The cores of the whole run. The first call comes before `keep_to_its_share` gives some of them up."""
    return frozenset(os.sched_getaffinity(0))


def keep_to_its_share() -> None:
    """Leave this process, if it is one of several that test side by side, its share of the cores and at least one.

    Processes beyond one for each core take what the others leave while they wait, on any core, and tritguard crafts in
    one process there too. `pytest -n 0` and systems that cannot keep a process to a core go without.
    """
    place, count = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if place and count > 1 and hasattr(os, "sched_setaffinity"):
        number = int(place.removeprefix("gw"))
        if number < len(all_cores()):
            os.sched_setaffinity(0, sorted(all_cores())[number :: min(count, len(all_cores()))])
        else:
            os.environ[_COUNT] = "1"


@contextmanager
def on_all_cores() -> Iterator[None]:
    """What is started in the block may use the cores of the whole run."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    share, count = os.sched_getaffinity(0), os.environ.pop(_COUNT, None)
    os.sched_setaffinity(0, all_cores())
    try:
        yield
    finally:
        os.sched_setaffinity(0, share)
        if count is not None:
            os.environ[_COUNT] = count
