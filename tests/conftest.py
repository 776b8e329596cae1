"""Settings and fixtures that all tests share."""

from __future__ import annotations

import gc
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.cores import keep_to_its_share

# By default hypothesis fails an example that takes longer than 200 ms, which says how busy the machine is.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# There is a test process for each core at least: threads beside it, in it or in processes it starts, would only wait
# for each other, and so would processes that craft, each of which imports TensorFlow for itself. TensorFlow and
# OpenBLAS read the variables when they are imported; tritguard starts a process for each core that it may use.
keep_to_its_share()
for _variable in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")


# The tests start hundreds of Python processes, each of which would compile all that it imports of tritguard.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def common_temp(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder of this run, the same for all its processes."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


@pytest.fixture(autouse=True, scope="session")
def _own_folders(common_temp: Path) -> None:
    """Compiled libraries and temporary files lie in the run's own folder, those of child processes too.

    Pytest removes that folder when all tests passed, and with it what others leave behind: TensorFlow, for one, writes
    a `__autograph_generated_file*.py` for each function it traces.
    """
    for variable, name in (("XDG_CACHE_HOME", "cache"), ("TMPDIR", "temporary")):
        folder = common_temp / name
        folder.mkdir(exist_ok=True)
        os.environ[variable] = str(folder)
    tempfile.tempdir = None  # asked for again, by TMPDIR
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that at the end no process is left alone with one of them."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtestloop() -> None:
    """What was imported stays: garbage is not looked for among it, and less often than after each 700 objects."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


@pytest.fixture
def all_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans name their attacks as where every package is installed, which a quick run's environment lacks."""
    monkeypatch.setattr("tritguard.attack.catalog.first_missing", lambda _needs: None)
