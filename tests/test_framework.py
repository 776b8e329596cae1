"""Firmware on a framework, built by the real PlatformIO on a stand-in of the Arduino API and run on it in QEMU."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile

from tests.support.device_support import ENDLESS, crashing_bundle, function_at, inputs
from tests.support.shared import ROOT
from tests.support.standin import STANDIN_BOARD
from tritguard.boards import Board, load_board
from tritguard.boards.platformio import CORES, known_boards
from tritguard.build import Build, build, open_build
from tritguard.build.engine import native_engine
from tritguard.build.framework_sizes import _group, _in_flash, read_image
from tritguard.build.linker_map import Piece, read_pieces
from tritguard.build.pio import _explain
from tritguard.build.project import write_project
from tritguard.build.record import Region
from tritguard.build.scons import provide_scons
from tritguard.device import EmulatedBoard, connect, open_device
from tritguard.device.protocol import Interrupts, Reset, TickSource
from tritguard.emit import Bundle
from tritguard.errors import BadInputError, DeviceError, ToolMissingError
from tritguard.profile import count
from tritguard.records import from_table
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures", "tests.support.standin")


def test_it_gives_the_bytes_of_the_twin(small_bundle: Bundle, standin_build: Build) -> None:
    x = inputs(small_bundle, 200)
    wanted = Twin(small_bundle).predict(x)
    with open_device(small_bundle, standin_build) as device:
        found = device.predict(x)
        memory = device.memory()
        assert device.echo(bytes(range(256))) == bytes(range(256))
        assert device.resent_frames == 0 and not device.bulk
        assert device.hello.board == "standin" and device.hello.clock_hz == 25_000_000
        # QEMU has no cycle counter, and the stand-in's line is a UART.
        facts = device.hello.facts
        assert (facts.ticks, facts.tick_hz) == (TickSource.MICROSECONDS, 1_000_000)
        assert (facts.interrupts, facts.reset, facts.port) == (Interrupts.MASKED, Reset.UNKNOWN, "arduino")
        assert 1000 < facts.watchdog_ms < 60_000
        assert found.ticks is not None and device.instructions(int(found.ticks[0])) is None
    assert np.array_equal(found.scores, wanted.scores)
    assert np.array_equal(found.logits, wanted.logits)
    assert len(np.unique(found.logits)) > 100
    # Its clock counts microseconds. QEMU's takes 64 ns an instruction, and the plugin says how many there are.
    counted = count(small_bundle, standin_build, x[:1])
    assert found.ticks[0] == pytest.approx(counted.instructions * 64e-3, rel=0.02, abs=1)
    assert memory.static == standin_build.record.sizes.ram_static
    assert 100 < memory.stack_peak < memory.stack_reserved <= 4096 + 64


def test_its_faults_are_recorded_and_an_endless_loop_is_one(
    small_bundle: Bundle, standin_cores: Path, tmp_path: Path
) -> None:
    bundle = crashing_bundle(small_bundle, tmp_path / "crashing")
    made = build(bundle, load_board(STANDIN_BOARD), tmp_path / "build")
    x = inputs(bundle, 3)
    x[:, 0, 0, 0] = (0, 3, ENDLESS)
    with EmulatedBoard(made.record.board, made.elf) as emulated:
        for crash, words in enumerate(("usage fault", "an inference without end, stopped by the watchdog"), start=1):
            with connect(emulated.url, bundle, made) as device:
                assert device.hello.facts.reset == (Reset.UNKNOWN if crash == 1 else Reset.FAULT)
                with pytest.raises(DeviceError, match=f"crashed and the board reset itself: {words} at 0x"):
                    device.predict(x[crash : crash + 1])
        with connect(emulated.url, bundle, made) as device:
            assert function_at(made.elf, device.hello.fault.pc) == "tg_model_run"
            assert device.hello.fault.count == 2
            assert (device.predict(x[:1]).scores == Twin(small_bundle).predict(x[:1]).scores).all()


def test_a_systick_from_another_clock_ends_no_inference(
    small_bundle: Bundle, standin_cores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU's core has no cycle counter that would tell how long one of its periods is."""
    cores = shutil.copytree(standin_cores, tmp_path / "cores")
    core = cores / "packages" / "framework-arduinostandin" / "core.cpp"
    core.write_text(core.read_text().replace("SYST_CSR = 7u;", "SYST_CSR = 3u;"))
    assert "SYST_CSR = 3u;" in core.read_text()
    monkeypatch.setenv(CORES, str(cores))
    made = build(small_bundle, load_board(STANDIN_BOARD), tmp_path / "build")
    x = inputs(small_bundle, 2)
    with open_device(small_bundle, made) as device:
        assert device.hello.facts.watchdog_ms == 0
        assert np.array_equal(device.predict(x).scores, Twin(small_bundle).predict(x).scores)


def test_every_layer_is_marked_although_the_linker_collects(small_bundle: Bundle, standin_build: Build) -> None:
    counted = count(small_bundle, standin_build, inputs(small_bundle, 1))
    assert {layer.layer for layer in counted.layers} >= {
        layer.index for layer in small_bundle.manifest.layers if layer.macs
    }


def test_the_image_of_a_core_that_makes_none_is_what_objcopy_would_make(standin_build: Build) -> None:
    assert read_image(standin_build.elf) == (0, standin_build.binary.read_bytes())


def test_sizes_come_from_addresses(small_bundle: Bundle, standin_build: Build) -> None:
    sizes = standin_build.record.sizes
    assert sizes.flash_total == standin_build.binary.stat().st_size
    assert sizes.flash_total == sum(sizes.flash_sections.values()) == sum(sizes.flash_groups.values())
    assert set(sizes.flash_groups) == {
        "weights and parameters", "kernels", "protocol and port", "framework", "C library", "alignment",
    }  # fmt: skip
    assert 0 <= sizes.flash_groups["alignment"] < 300
    assert sizes.flash_groups["weights and parameters"] == sum(layer.bytes for layer in sizes.flash_layers)
    for layer in small_bundle.manifest.layers:
        found = next((item.bytes for item in sizes.flash_layers if item.layer == layer.index), 0)
        assert found >= layer.weight_bytes
    assert sizes.ram_arena == small_bundle.manifest.arena_with_input
    # The 2 KiB that the script reserves for heap and stack are none of it.
    with standin_build.elf.open("rb") as file:
        (end,) = ELFFile(file).get_section_by_name(".symtab").get_symbol_by_name("_end")
    assert sizes.ram_arena < sizes.ram_static <= end["st_value"] - 0x2000_0000 < sizes.ram_static + 1024


def test_the_project_is_kept_and_builds_by_itself(standin_build: Build, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(standin_build.project, project)
    assert {path.name for path in project.iterdir()} == {"platformio.ini", "src"}
    variables = {"PLATFORMIO_CORE_DIR": str(tmp_path / "core")}
    provide_scons(tmp_path / "core" / "packages")  # a user's PlatformIO fetches its own
    command = [sys.executable, "-m", "platformio", "run", "--project-dir", str(project)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    made = project / ".pio" / "build" / "firmware" / "firmware.bin"
    assert made.read_bytes() == standin_build.binary.read_bytes()


def test_a_warning_is_an_error_in_the_port_and_none_in_the_core(
    standin_cores: Path, small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in's headers warn under our flags, as those of real cores do."""
    header = (standin_cores / "packages" / "framework-arduinostandin" / "Arduino.h").read_text()
    assert "-Wconversion" in header
    copy = tmp_path / "repository"
    for folder in ("firmware", "boards", "host"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    port = copy / "firmware" / "port" / "arduino" / "driver.cpp"
    port.write_text(port.read_text() + "int narrow(long long wide) { return wide; }\n")
    script = (
        "import sys; from pathlib import Path;"
        "from tritguard.boards import load_board; from tritguard.build import build;"
        "from tritguard.emit import open_bundle;"
        "build(open_bundle(Path(sys.argv[1])), load_board(sys.argv[2]), Path(sys.argv[3]))"
    )
    command = [sys.executable, "-c", script, str(small_bundle.path), str(STANDIN_BOARD), str(tmp_path / "build")]
    environment = os.environ | {"PYTHONPATH": str(copy / "host")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode != 0
    assert "src/port/arduino/driver.cpp:" in done.stderr and "-Werror=conversion" in done.stderr


def test_a_changed_image_is_refused(standin_build: Build, tmp_path: Path) -> None:
    shutil.copytree(standin_build.path, tmp_path / "build")
    assert set(standin_build.record.images) == {"firmware.bin"}
    open_build(tmp_path / "build")
    (tmp_path / "build" / "firmware.bin").write_bytes(b"other")
    with pytest.raises(BadInputError, match=r"firmware\.bin was changed since it was built"):
        open_build(tmp_path / "build")


def test_what_a_file_leaves_out_is_platformios(standin_cores: Path) -> None:
    board = load_board("pio:standin/standin_an386")
    assert (board.id, board.core, board.clock.hz) == ("standin_an386", "cortex-m4", 25_000_000)
    assert (board.memory.flash.bytes, board.memory.ram.bytes) == (262_144, 65_536)
    assert board.usb == ("1209:0001",) and [way.method for way in board.upload] == ["platformio"]
    assert board.status == "unconfirmed" and "PlatformIO's own file" in board.unconfirmed[0]
    from_file = load_board(STANDIN_BOARD)
    assert from_file.id == "standin" and from_file.emulator is not None
    assert from_file.memory == board.memory and from_file.platformio is not None
    assert [known.board for known in known_boards() if known.platform == "standin"] == ["standin_an386"]


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("pio:none/such", ToolMissingError, "platform none is not on this machine; pio pkg install --global"),
        ("pio:renesas-ra/uno_r4_minima", ToolMissingError, "platform renesas-ra is not on this machine"),
        ("pio:raspberrypi/rpipico", ToolMissingError, "--platform https://github.com/maxgerhardt/platform-raspberrypi"),
        ("pio:standin/an386", BadInputError, "has no board 'an386'; 'tritguard boards --search' lists them, such as s"),
        ("pio:standin", BadInputError, "as pio:ststm32/nucleo_f446re"),
        ("pio:../x/y", BadInputError, "as pio:ststm32/nucleo_f446re"),
    ],
)
def test_what_platformio_does_not_know_is_said(
    name: str, error: type[Exception], words: str, standin_cores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path))
    with pytest.raises(error) as raised:
        load_board(name)
    assert words in str(raised.value)


def test_a_board_asks_for_the_version_that_its_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path))
    path = tmp_path / "own.toml"
    path.write_text('[platformio]\nplatform = "none"\nversion = "1.2.3"\nboard = "such"\nframework = "arduino"\n')
    with pytest.raises(ToolMissingError, match=r"pio pkg install --global --platform platformio/none@1\.2\.3"):
        load_board(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('platform = "https://example.org/x.git"', "platformio.platform: String should match pattern"),
        ('platform = "someone/ststm32"', "platformio.platform: String should match pattern"),
        ('framework = "mbed"', "platformio.framework: Input should be 'arduino'"),
        ('defines = ["X=1 -wrapper sh"]', "platformio.defines.0: String should match pattern"),
        ('board = "x\\nextra_scripts = y.py"', "platformio.board: String should match pattern"),
        ('version = "file:///tmp"', "platformio.version: String should match pattern"),
        ('upload_command = "rm"', "platformio.upload_command: there is no such key"),
    ],
)
def test_a_board_file_cannot_choose_what_runs(line: str, words: str, standin_cores: Path, tmp_path: Path) -> None:
    """A platform and its builder are programs, so a file may only name those that PlatformIO itself keeps."""
    table = load_board("pio:standin/standin_an386").model_dump(mode="json", exclude_none=True)
    given = {"platform": "standin", "board": "standin_an386", "framework": "arduino"}
    key = line.split(" ", maxsplit=1)[0]
    settings = [f'{name} = "{value}"' for name, value in given.items() if name != key]
    lines = [f"{name} = {_toml(value)}" for name, value in table.items() if not isinstance(value, dict)]
    for name, value in table.items():
        if isinstance(value, dict) and name not in ("platformio", "memory"):
            lines += [f"[{name}]", *(f"{key} = {_toml(part)}" for key, part in value.items())]
    lines += ["[memory]", "flash.bytes = 262144", "ram.bytes = 65536", "[platformio]", *settings, line]
    path = tmp_path / "own.toml"
    path.write_text("\n".join(line for line in lines if not line.startswith("upload")))
    if key == "upload_command":
        path.write_text(path.read_text() + f"\n{line}")
    with pytest.raises(BadInputError) as error:
        load_board(path)
    assert words in str(error.value)


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_toml(part) for part in value if not isinstance(part, dict))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def test_a_framework_and_a_driver_of_ones_own_exclude_each_other(tmp_path: Path) -> None:
    table = load_board("mps2-an386").model_dump()
    asked = {"platform": "standin", "board": "x", "framework": "arduino"}
    with pytest.raises(BadInputError, match="the driver cmsdk does not go with the framework arduino"):
        from_table(Board, table | {"platformio": asked}, where="x")
    with pytest.raises(BadInputError, match="does not go with the framework None"):
        from_table(Board, table | {"uart": {"driver": "arduino", "baud": 9600}, "clock": {"hz": 1}}, where="x")
    with pytest.raises(BadInputError, match="need an origin"):
        from_table(Board, table | {"memory": {"flash": {"bytes": 9}, "ram": {"bytes": 9}}}, where="x")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('usb = ["0483:374b"]', "'usb' is no part of a table: write it above the first [table]"),
        ('platformio.defines = ["X"]', "within [platformio] a key is written without 'platformio.'"),
    ],
)
def test_a_key_in_the_wrong_table_is_said(line: str, words: str, standin_cores: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[platformio]\nplatform = "standin"\nversion = "1.2.3"\nboard = "standin_an386"\n'
        f'framework = "arduino"\n{line}\n'
    )
    with pytest.raises(BadInputError, match=re.escape(words)):
        load_board(path)


def test_a_registry_that_cannot_be_reached_is_said(standin_cores: Path, tmp_path: Path) -> None:
    for output in (
        "HTTPClientError: None\n",
        "UnknownPackageError: Could not find the package with 'x' requirements\n",
        "fatal: unable to access 'https://x/'\nVCSBaseException: VCS: Could not process command ['git', 'clone']\n",
        "ConnectionError: Traceback (most recent call last):\nrequests.exceptions.ConnectionError: Max retries\n",
    ):
        error = _explain(f"Platform Manager: Installing standin\n{output}", load_board(STANDIN_BOARD), tmp_path / "log")
        assert isinstance(error, ToolMissingError)
        assert "pio pkg install --global --platform platformio/standin@1.2.3" in str(error)
    # The platform is there, and a package that it wants is not.
    tools = "Tool Manager: Installing symlink:///here/gcc\nTool Manager: gcc@1.1.2 has been installed!\n"
    tools += "Tool Manager: Installing platformio/framework-x @ ~4.5.0\nHTTPClientError: \n"
    said = str(_explain(tools, load_board(STANDIN_BOARD), tmp_path / "log"))
    lacking = f"platformio/framework-x @ ~4.5.0, which standin needs and {standin_cores / 'packages'} lacks"
    assert f"could not fetch {lacking}; with a connection: build again" in said


def test_a_users_project_names_the_registry(
    small_bundle: Bundle, standin_cores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = load_board(STANDIN_BOARD)
    monkeypatch.delenv(CORES)
    write_project(tmp_path, small_bundle, board, native_engine(small_bundle))
    ini = (tmp_path / "platformio.ini").read_text()
    assert "platform = platformio/standin@1.2.3\n" in ini and "symlink" not in ini


def test_pieces_of_a_linker_map() -> None:
    text = """Discarded input sections

 .text.unused   0x00000000       0x10 .pio/build/firmware/src/main.c.o

Linker script and memory map

.text           0x08000000      0x104
 *(.text*)
 KEEP(*(.boot))
 .text.first    0x08000000       0x20 .pio/build/firmware/src/main.c.o
                0x08000000                first
 *fill*         0x08000020        0x2 00
 .text.a_name_that_is_far_too_long
                0x08000022       0x80 /usr/lib/libc_nano.a(memcpy.o)
 .text.empty    0x080000a2        0x0 x.o
.debug_info     0x00000000      0x100
 .debug_info    0x00000000      0x100 .pio/build/firmware/src/main.c.o
"""
    assert list(read_pieces(text)) == [
        Piece(".text", ".text.first", 0x08000000, 0x20, ".pio/build/firmware/src/main.c.o"),
        Piece(".text", "*fill*", 0x08000020, 2, "00"),
        Piece(".text", ".text.a_name_that_is_far_too_long", 0x08000022, 0x80, "/usr/lib/libc_nano.a(memcpy.o)"),
        Piece(".debug_info", ".debug_info", 0, 0x100, ".pio/build/firmware/src/main.c.o"),
    ]


def test_code_that_runs_from_ram_counts_in_flash() -> None:
    """On a Teensy 4, code lies at address 0 while it runs, below what comes before it in the map."""
    text = """Linker script and memory map

.text.progmem   0x60001000       0x10
 .progmem.tritguard
                0x60001000       0x10 .pio/build/firmware/src/model/tg_model.c.o
.text.itcm      0x00000000       0x30 load address 0x60001010
 .text.run      0x00000000       0x20 .pio/build/firmware/src/model/tg_model.c.o
 .text.lib      0x00000020       0x10 /opt/lib/libc_nano.a(memcpy.o)
.bss            0x20000000       0x40
 .bss.x         0x20000000       0x40 .pio/build/firmware/src/main.c.o
"""
    regions = (
        Region(name=".text.progmem", start=0x60001000, bytes=0x10, load=0x60001000),
        Region(name=".text.itcm", start=0, bytes=0x30, load=0x60001010),
        Region(name=".bss", start=0x20000000, bytes=0x40, load=None),
    )
    found = [(_group(piece), piece.bytes) for piece in _in_flash(text, regions)]
    assert found == [("weights and parameters", 0x10), ("kernels", 0x20), ("C library", 0x10)]
    assert [region.in_ram for region in regions] == [False, True, True]
