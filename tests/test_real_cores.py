"""Whole images with the real platforms and Arduino cores, where TRITGUARD_CORES names a folder that holds them, and the
one of them that QEMU knows the board of.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from platformio.platform.factory import PlatformFactory

from tests.support.device_support import ENDLESS, crashing_bundle, function_at, inputs
from tests.support.known_models import ternary_model
from tests.support.shared import ROOT
from tritguard.boards import Board, available_boards, load_board
from tritguard.boards.platformio import CORES, kept_platform, package_folders
from tritguard.build import Build, build
from tritguard.build.framework_sizes import read_image
from tritguard.build.linker_map import read_pieces
from tritguard.build.record import MAP
from tritguard.device import EmulatedBoard, connect, open_device
from tritguard.device.emulators.qemu import Qemu, major_version
from tritguard.device.protocol import Interrupts, Reset, TickSource
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import DeviceError
from tritguard.twin import Twin

BUILT = [board for board in available_boards() if board.status == "built"]
EMULATED = "disco_l475vg_iot01a"


def need_core(board: Board) -> None:
    """Skip the test where the board's platform or its Arduino core is not at hand."""
    assert board.platformio is not None
    folder = kept_platform(board.platformio.platform)
    if folder is None:
        pytest.skip(f"needs PlatformIO's platform {board.platformio.platform}: {CORES} names a folder that holds it")
    platform = PlatformFactory.new(str(folder))
    platform.configure_default_packages({"board": board.platformio.board, "pioframework": ["arduino"]}, [])
    core = platform.frameworks["arduino"]["package"]
    if core not in package_folders(folder):
        pytest.skip(f"needs {core}: {CORES} names a folder that holds it")


def model_for(board: Board, out: Path) -> Bundle:
    return write_bundle(ternary_model(), out, name="small", core=board.core_class)


@pytest.mark.slow
@pytest.mark.parametrize("board", BUILT, ids=lambda board: board.id)
def test_a_board_that_was_built_is_built(board: Board, tmp_path: Path) -> None:
    need_core(board)
    bundle = model_for(board, tmp_path / "bundle")
    made = build(bundle, board, tmp_path / "build")
    sizes = made.record.sizes
    assert sizes.flash_total == made.binary.stat().st_size == sum(sizes.flash_groups.values())
    assert read_image(made.elf)[1] == made.binary.read_bytes()
    assert sizes.flash_total <= board.memory.flash.bytes
    assert sizes.ram_arena < sizes.ram_static <= board.memory.ram.bytes
    assert sizes.flash_groups["framework"] > 0
    _weights_stay_in_flash(bundle, made)


def _weights_stay_in_flash(bundle: Bundle, made: Build) -> None:
    """A core's script may copy constants into RAM; those of the model are marked so that it does not."""
    regions = {region.name: region for region in made.record.sizes.regions}
    pieces = read_pieces((made.path / MAP).read_text(errors="replace"))
    constants = [piece for piece in pieces if re.search(r"\.tg_l\d|\.tritguard$", piece.section) and piece.bytes]
    loaded = [piece for piece in constants if piece.output in regions]
    assert sum(piece.bytes for piece in loaded) >= sum(layer.weight_bytes for layer in bundle.manifest.layers)
    assert not [piece for piece in loaded if regions[piece.output].in_ram]


def test_the_table_of_what_was_built_has_those_boards() -> None:
    text = (ROOT / "docs" / "boards.md").read_text()
    table = text.split("## Built with the real cores")[1].split("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(board.id for board in BUILT)


@pytest.fixture
def board_in_qemu() -> Board:
    board = load_board(EMULATED)
    need_core(board)
    assert board.emulator is not None and board.emulator.since is not None
    if (there := major_version(Qemu().version())) < board.emulator.since:
        pytest.skip(f"needs QEMU {board.emulator.since} or newer, not {there} (Debian: backports)")
    return board


def test_a_real_core_in_qemu_gives_the_bytes_of_the_twin(board_in_qemu: Board, tmp_path: Path) -> None:
    bundle = model_for(board_in_qemu, tmp_path / "bundle")
    made = build(bundle, board_in_qemu, tmp_path / "build")
    x = inputs(bundle, 200)
    wanted = Twin(bundle).predict(x)
    with open_device(bundle, made) as device:
        found = device.predict(x)
        facts = device.hello.facts
        assert (facts.ticks, facts.interrupts, facts.reset) == (
            TickSource.MICROSECONDS, Interrupts.MASKED, Reset.POWER,
        )  # fmt: skip
        assert facts.watchdog_ms > 1000 and device.resent_frames == 0
        memory = device.memory()
    assert memory.static == made.record.sizes.ram_static
    assert 100 < memory.stack_peak < memory.stack_reserved
    assert np.array_equal(found.scores, wanted.scores)
    assert found.logits is not None and wanted.logits is not None
    assert np.array_equal(found.logits, wanted.logits)
    assert len(np.unique(found.logits)) > 100


def test_faults_under_a_real_core_are_recorded(board_in_qemu: Board, tmp_path: Path) -> None:
    small = model_for(board_in_qemu, tmp_path / "bundle")
    bundle = crashing_bundle(small, tmp_path / "crashing")
    made = build(bundle, board_in_qemu, tmp_path / "build")
    x = inputs(bundle, 3)
    x[:, 0, 0, 0] = (0, 3, ENDLESS)
    with EmulatedBoard(board_in_qemu, made.elf) as emulated:
        for crash, words in enumerate(("usage fault", "an inference without end, stopped by the watchdog"), start=1):
            with (
                connect(emulated.url, bundle, made) as device,
                pytest.raises(DeviceError, match=f"crashed and the board reset itself: {words} at 0x"),
            ):
                device.predict(x[crash : crash + 1])
        with connect(emulated.url, bundle, made) as device:
            assert function_at(made.elf, device.hello.fault.pc) == "tg_model_run"
            assert device.hello.fault.count == 2
            assert (device.predict(x[:1]).scores == Twin(small).predict(x[:1]).scores).all()
