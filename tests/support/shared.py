"""Reference models and data sets that are too large for the repository: tests that need them skip loudly without."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def shared_file(name: str) -> Path:
    """A file below TRITGUARD_SHARED (by default ../shared); the test is skipped where it is not there."""
    folder = Path(os.environ.get("TRITGUARD_SHARED", ROOT.parent / "shared"))
    path = folder / name
    if not path.exists():
        pytest.skip(f"needs {name}: set TRITGUARD_SHARED to a folder that holds it (looked in {folder})")
    return path
