"""A stand-in of a vendor's platform and Arduino core, so that firmware on a framework is built without any of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.made_once import made_once
from tests.support.shared import ROOT
from tritguard.boards import load_board
from tritguard.boards.platformio import CORES
from tritguard.build import Build, build, open_build
from tritguard.emit import Bundle

STANDIN_CORES = ROOT / "tests" / "arduino"
STANDIN_BOARD = STANDIN_CORES / "standin.toml"


@pytest.fixture
def standin_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """TRITGUARD_CORES names the stand-in."""
    monkeypatch.setenv(CORES, str(STANDIN_CORES))
    yield STANDIN_CORES


@pytest.fixture
def standin_build(standin_cores: Path, small_bundle: Bundle, common_temp: Path) -> Build:
    """The small model on the stand-in board, built once for the whole run."""
    folder = common_temp / "builds" / "standin"
    return open_build(made_once(folder, lambda out: build(small_bundle, load_board(STANDIN_BOARD), out)))
