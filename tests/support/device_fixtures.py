"""Bundles and their firmwares, built once a session. A plugin: test modules name it in `pytest_plugins`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.device_support import BOARDS, Builder, lively_model
from tests.support.known_models import ternary_model
from tritguard.boards import load_board
from tritguard.build import Build, build
from tritguard.emit import Bundle, write_bundle


@pytest.fixture(scope="session")
def small_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(ternary_model(), tmp_path_factory.mktemp("bundles") / "small", name="small")


@pytest.fixture(scope="session")
def lively_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(lively_model(), tmp_path_factory.mktemp("bundles") / "lively", name="lively")


@pytest.fixture(scope="session")
def firmware(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    """Builds a bundle for a board, or hands out the build there is."""
    folder = tmp_path_factory.mktemp("builds")
    made: dict[tuple[Path, str], Build] = {}

    def of(bundle: Bundle, board: str) -> Build:
        key = (bundle.path, board)
        if key not in made:
            made[key] = build(bundle, load_board(board), folder / f"{len(made)}")
        return made[key]

    return of


@pytest.fixture(scope="session")
def small_build(small_bundle: Bundle, firmware: Builder) -> Build:
    """The small model on the board everything else is tested on."""
    return firmware(small_bundle, BOARDS[0])
