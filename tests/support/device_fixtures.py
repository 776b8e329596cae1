"""Bundles and their firmwares, built once for the whole run. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.device_support import BOARDS, Builder, lively_model
from tests.support.known_models import ternary_model
from tests.support.made_once import made_once
from tritguard.boards import load_board
from tritguard.build import Build, build, open_build
from tritguard.emit import Bundle, open_bundle, write_bundle


@pytest.fixture(scope="session")
def small_bundle(common_temp: Path) -> Bundle:
    folder = common_temp / "bundles" / "small"
    return open_bundle(made_once(folder, lambda out: write_bundle(ternary_model(), out, name="small")))


@pytest.fixture(scope="session")
def lively_bundle(common_temp: Path) -> Bundle:
    folder = common_temp / "bundles" / "lively"
    return open_bundle(made_once(folder, lambda out: write_bundle(lively_model(), out, name="lively")))


@pytest.fixture(scope="session")
def firmware(common_temp: Path) -> Builder:
    """Builds a bundle for a board, or hands out the build there is."""

    def of(bundle: Bundle, board: str) -> Build:
        folder = common_temp / "builds" / f"{bundle.sha256[:16]}-{board}"
        return open_build(made_once(folder, lambda out: build(bundle, load_board(board), out)))

    return of


@pytest.fixture(scope="session")
def small_build(small_bundle: Bundle, firmware: Builder) -> Build:
    """The small model on the board that everything else is tested on."""
    return firmware(small_bundle, BOARDS[0])
