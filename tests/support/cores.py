"""The cores that a test process may use, and with it all that it starts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@cache
def all_cores() -> frozenset[int]:
    """The cores of the whole run. The first call comes before `keep_to_its_share` gives some of them up."""
    return frozenset(os.sched_getaffinity(0))


def keep_to_its_share() -> None:
    """Leave this process, if it is one of several that test side by side, its share of the cores and at least one.

    `pytest -n 0` and systems that cannot keep a process to a core go without.
    """
    place, count = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if place and count > 1 and hasattr(os, "sched_setaffinity"):
        share = sorted(all_cores())[int(place.removeprefix("gw")) % len(all_cores()) :: count]
        os.sched_setaffinity(0, share)


@contextmanager
def on_all_cores() -> Iterator[None]:
    """What is started in the block may use the cores of the whole run."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    share = os.sched_getaffinity(0)
    os.sched_setaffinity(0, all_cores())
    try:
        yield
    finally:
        os.sched_setaffinity(0, share)
