"""The cores that a test process may use, and with it all that it starts."""

from __future__ import annotations

import os

_COUNT = "PYTHON_CPU_COUNT"


def keep_to_its_share() -> None:
    """Leave this process, if it is one of several that test side by side, its share of the cores and at least one.

    Processes beyond one for each core take what the others leave while they wait, on any core, and tritguard crafts in
    one process there too. `pytest -n 0` and systems that cannot keep a process to a core go without.
    """
    place, count = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if place and count > 1 and hasattr(os, "sched_setaffinity"):
        number, cores = int(place.removeprefix("gw")), sorted(os.sched_getaffinity(0))
        if number < len(cores):
            os.sched_setaffinity(0, cores[number :: min(count, len(cores))])
        else:
            os.environ[_COUNT] = "1"
