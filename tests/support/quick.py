"""The plugin of `scripts/test --quick`, loaded by `pytest -p tests.support.quick`.

A test that reaches for what takes long is skipped at that point, so nobody has to mark tests for quick runs: whether a
test or one of its fixtures imports TensorFlow, or starts a cross compiler, an emulator, PlatformIO or another Python,
shows in Python's audit events when it does so. Property tests run with a few of their examples. The default suite
runs all of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import emulated

# TensorFlow, which takes four seconds to import, and what the extra `test` does not install.
HEAVY_MODULES = frozenset({"tensorflow", "keras", "tf_keras", "art", "h5py", "sklearn"})
HEAVY_PROGRAMS = ("arm-none-eabi-", "qemu-", "platformio", "cmake", "python", "node")
EXAMPLES = 2


def heavy(event: str, arguments: tuple[Any, ...]) -> str | None:
    """The module or program that an audit event announces if a quick run goes without it, otherwise None."""
    if event == "import":
        package = str(arguments[0]).partition(".")[0]
        return package if package in HEAVY_MODULES else None
    if event == "subprocess.Popen":
        program = Path(os.fsdecode(arguments[0])).name
        return program if program.startswith(HEAVY_PROGRAMS) else None
    return None


def _skip_what_is_heavy(event: str, arguments: tuple[Any, ...]) -> None:
    if (what := heavy(event, arguments)) is not None:
        raise pytest.skip.Exception(f"a quick run goes without {what}", allow_module_level=True)


def pytest_configure(config: pytest.Config) -> None:
    # xdist's controller runs no test, but starts Python for those that do.
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        sys.addaudithook(_skip_what_is_heavy)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what runs on an emulated core before it makes models for it; lower the counts of examples."""
    for item in items:
        if any(isinstance(value, emulated.Core) for value in _parameters(item)):
            item.add_marker(pytest.mark.skip(reason="a quick run goes without qemu-system-arm"))
        test = getattr(item, "obj", None)
        own = getattr(test, "_hypothesis_internal_use_settings", None)
        if own is not None and own.max_examples > EXAMPLES:
            test._hypothesis_internal_use_settings = settings(own, max_examples=EXAMPLES)


def _parameters(item: pytest.Item) -> list[Any]:
    callspec = getattr(item, "callspec", None)
    return [] if callspec is None or not hasattr(item.module, "emulated") else list(callspec.params.values())
