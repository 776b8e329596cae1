"""Two chips that people own, as real firmware for each: the RP2040 on rp2040js, an emulator that others wrote, and the
STM32F205 in QEMU. Each goes the whole road: 200 inputs, selftest, profile, evaluate and attack.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from typer.testing import CliRunner

from tests.support.device_support import ENDLESS, Builder, crashing_bundle, inputs
from tests.support.pico import need_rp2040js
from tests.support.tiny_nets import tiny_model
from tritguard import api
from tritguard.boards import load_board
from tritguard.build import Build, build
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.device import EmulatedBoard, connect, emulate, open_device
from tritguard.device.protocol import Reset, TickSource
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import DeviceError, ToolMissingError
from tritguard.evaluate.deployment.result import DeploymentResult
from tritguard.profile import count
from tritguard.report.registry import to_html
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

BOARD = "pico"
F205 = "netduino2"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tiny_model(), tmp_path_factory.mktemp("tiny") / "bundle", name="tiny", core="m0")


@pytest.fixture(scope="module")
def built(tiny: Bundle, firmware: Builder) -> Build:
    return firmware(tiny, BOARD)


@pytest.fixture(scope="module")
def f205_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(tiny_model(), tmp_path_factory.mktemp("f205") / "bundle", name="tiny", core="m3")


@pytest.fixture(scope="module")
def f205(f205_bundle: Bundle, firmware: Builder) -> Build:
    return firmware(f205_bundle, F205)


def labelled(bundle: Bundle, count: int) -> Dataset:
    x = inputs(bundle, count)
    return Dataset("noise", x, Twin(bundle).predict(x).labels, tuple("abc"), "steps", "none")


def test_the_boot_rom_would_accept_the_second_boot_loader(built: Build) -> None:
    """Its CRC: polynomial 04C11DB7, most significant bit first, from all ones, nothing inverted at the end."""
    with built.elf.open("rb") as file:
        image = ELFFile(file)
        boot, vectors = image.get_section_by_name(".boot"), image.get_section_by_name(".vectors")
        data, addresses = boot.data(), (boot["sh_addr"], vectors["sh_addr"])
    assert (len(data), addresses) == (256, (0x10000000, 0x10000100))
    crc = 0xFFFFFFFF
    for byte in data[:252]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    assert int.from_bytes(data[252:], "little") == crc


def test_two_hundred_inputs_are_answered_as_the_twin_does(tiny: Bundle, built: Build) -> None:
    need_rp2040js()
    x = inputs(tiny, 200)
    with open_device(tiny, built) as device:
        outputs, memory, hello = device.predict(x), device.memory(), device.hello
        assert device.echo(bytes(range(256))) == bytes(range(256))
        assert (device.emulated, device.bulk, device.resent_frames) == (True, False, 0)
    twin = Twin(tiny).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert outputs.logits is not None and (outputs.logits == twin.logits).all()
    assert (hello.board, hello.clock_hz, hello.fault.count) == (BOARD, 125_000_000, 0)
    assert memory.static == built.record.sizes.ram_static and memory.stack_peak < memory.stack_reserved


def test_the_f205_answers_two_hundred_inputs_over_its_uart_as_the_twin_does(f205_bundle: Bundle, f205: Build) -> None:
    x = inputs(f205_bundle, 200)
    with emulate(f205_bundle, f205, bulk=False) as device:
        outputs, hello = device.predict(x), device.hello
        assert (device.emulated, device.bulk, device.resent_frames) == (True, False, 0)
    twin = Twin(f205_bundle).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert outputs.logits is not None and (outputs.logits == twin.logits).all()
    assert (hello.board, hello.facts.port, hello.facts.ticks) == (F205, "stm32f4", TickSource.SYSTICK)


def test_the_f205_goes_the_road_and_no_figure_of_it_is_a_time(f205_bundle: Bundle, f205: Build, tmp_path: Path) -> None:
    """There is no cycle model of a Cortex-M3, so that nothing is left to estimate a time from."""
    found = api.selftest(f205_bundle, f205, tmp_path / "selftest.json")
    assert found.passed, found.checks
    assert "which are not time" in next(check.seen for check in found.checks if check.name == "time")
    counted = api.profile(f205_bundle, f205)
    assert (counted.method, counted.total.cycles) == ("counted", None)
    data = Dataset("noise", inputs(f205_bundle, 21), np.arange(21) % 3, tuple("abc"), "steps", "none")
    result = api.evaluate(f205_bundle, f205, data, tmp_path)
    latency = result.latency
    assert latency.instructions is not None and latency.instructions >= counted.total.instructions
    assert (latency.cycles_estimated, latency.tick_source, latency.cycles_expected) == (None, None, None)
    page = to_html(result)
    assert "instructions, exact" in page and "ticks are not time" in page
    assert "ms, " not in page


@pytest.mark.slow
def test_an_endless_loop_ends_on_the_pico_as_well(tiny: Bundle, tmp_path: Path) -> None:
    need_rp2040js()
    bundle = crashing_bundle(tiny, tmp_path / "crashing")
    made = build(bundle, load_board(BOARD), tmp_path / "build")
    x = inputs(bundle, 2)
    x[:, 0, 0, 0] = (0, ENDLESS)
    with EmulatedBoard(made.record.board, made.elf) as emulated:
        with (
            connect(emulated.url, bundle, made) as device,
            pytest.raises(DeviceError, match="an inference without end, stopped by the watchdog at 0x"),
        ):
            device.predict(x[1:])
        with connect(emulated.url, bundle, made) as device:
            assert device.hello.facts.reset == Reset.FAULT
            assert (device.predict(x[:1]).scores == Twin(tiny).predict(x[:1]).scores).all()


def test_selftest_passes_and_calls_its_ticks_no_time(tiny: Bundle, built: Build, tmp_path: Path) -> None:
    need_rp2040js()
    found = api.selftest(tiny, built, tmp_path / "selftest.json")
    assert found.passed, found.checks
    assert found.emulator is not None and found.emulator.startswith("rp2040js")
    assert "which are not time" in next(check.seen for check in found.checks if check.name == "time")


def test_a_stayed_board_is_known_for_an_emulated_one_and_another_port_is_not(tiny: Bundle, built: Build) -> None:
    need_rp2040js()
    with EmulatedBoard(built.record.board, built.elf) as emulated:
        with connect(emulated.url, tiny, built) as device:
            assert device.emulator is not None and device.emulator.name == "rp2040js"
        with connect(emulated.url.replace("127.0.0.1", "localhost"), tiny, built) as device:
            assert not device.emulated  # nobody said that this name leads to an emulator


def test_both_emulators_count_the_same_instructions(tiny: Bundle, built: Build, firmware: Builder) -> None:
    need_rp2040js()
    x = inputs(tiny, 2)
    ours, theirs = (count(tiny, build, x) for build in (built, firmware(tiny, "mps2-an385-m0plus")))
    assert len(ours.layers) == 4
    assert [(one.layer, one.instructions) for one in ours.layers] == [
        (one.layer, one.instructions) for one in theirs.layers
    ]
    with open_device(tiny, built) as device:
        ticks = device.predict(x).ticks
    assert ticks is not None and ours.cycles is not None
    assert ticks.sum() == pytest.approx(ours.cycles, rel=0.01)  # its timing and our static model of the core


def test_evaluate_says_whose_estimate_the_time_is(tiny: Bundle, built: Build, tmp_path: Path) -> None:
    need_rp2040js()
    x, labels = inputs(tiny, 21), np.arange(21) % 3
    data = Dataset("noise", x, labels, tuple("abc"), "steps", "none")
    write_dataset(tmp_path / "data.npz", data)
    arguments = ["evaluate", str(tiny.path), str(built.path), "-d", str(tmp_path / "data.npz"), "-o", str(tmp_path)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    result = api.read_study(tmp_path / "deployment.json")
    assert isinstance(result, DeploymentResult)
    assert result.accuracy.k == int((Twin(tiny).predict(x).labels == labels).sum())
    assert result.confirmation.bulk_inputs == 0
    latency = result.latency
    assert (latency.instructions, latency.cycles_estimated) == (None, latency.ticks_median)
    assert "rp2040js's own timing" in (latency.cycles_method or "")
    assert latency.milliseconds == pytest.approx(latency.ticks_median / 125_000)
    page = to_html(result)
    assert "ms, ESTIMATED" in page and "measured" not in page and "instructions, exact" not in page
    assert result.provenance.tools["emulator"].startswith("rp2040js 1.")


@pytest.mark.slow
def test_an_attack_is_confirmed_on_both(
    tiny: Bundle, built: Build, f205_bundle: Bundle, f205: Build, tmp_path: Path
) -> None:
    need_rp2040js()
    pytest.importorskip("art", reason="attacks need the extra 'attack'")
    plan = api.Plan(samples=4, attacks=("noise", "fgsm"), eps=(8,), sanity_eps=64)
    pages = {}
    for bundle, firmware in ((tiny, built), (f205_bundle, f205)):
        board = firmware.record.board.id
        result = api.attack(bundle, firmware, labelled(bundle, 12), tmp_path / board, plan=plan, workers=1)
        assert (result.confirmation.mismatched_inputs, result.firmware.emulated) == (0, True)
        pages[board] = to_html(result)
    assert "ESTIMATED</span> by rp2040js" in pages[BOARD] and "counted by the emulator" not in pages[BOARD]
    assert "counted by the emulator" in pages[F205] and "are not time" in pages[F205]
    assert "ms, median" not in pages[F205] and "ESTIMATED" not in pages[F205]


def test_what_is_missing_is_said(built: Build, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match=r"node is not installed.*npm install --global --prefix"):
        EmulatedBoard(load_board(BOARD), built.elf)
