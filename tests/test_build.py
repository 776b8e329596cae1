"""Firmware builds, by the real PlatformIO."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from tests.bench.models import MODELS
from tests.support.device_support import BOARDS, Builder, changed_bundle, inputs, lively_model
from tests.support.shared import ROOT
from tritguard.boards import Board, load_board
from tritguard.boards.driver import drivers, read_driver
from tritguard.build import Budget, Build, build, open_build, parse_bytes
from tritguard.build.engine import native_engine
from tritguard.build.kernel_objects import kernel_objects
from tritguard.build.pio import COMPILER
from tritguard.build.project import build_id, firmware_sources, write_project
from tritguard.cli.build import describe
from tritguard.device import open_device
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError, BuildError, OverBudgetError, ToolMissingError
from tritguard.records import from_table
from tritguard.resources import firmware_dir
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)


def symbols(elf: Path) -> set[str]:
    with elf.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        return {symbol.name for symbol in table.iter_symbols()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("board", BOARDS)
def test_the_sizes_are_those_of_the_image(board: str, small_bundle: Bundle, firmware: Builder) -> None:
    made = firmware(small_bundle, board)
    sizes = made.record.sizes
    assert sizes.flash_total == made.binary.stat().st_size
    assert sizes.flash_total == sum(sizes.flash_sections.values()) == sum(sizes.flash_groups.values())
    assert set(sizes.flash_groups) <= {
        "weights and parameters",
        "kernels",
        "protocol and port",
        "C library",
        "alignment",
    }
    constants = sum(layer.bytes for layer in sizes.flash_layers)
    assert constants <= sizes.flash_groups["weights and parameters"] < constants + 4 * len(sizes.flash_layers) + 4
    assert {layer.layer for layer in sizes.flash_layers} <= {layer.index for layer in small_bundle.manifest.layers}
    for layer in small_bundle.manifest.layers:
        found = next((item.bytes for item in sizes.flash_layers if item.layer == layer.index), 0)
        assert found >= layer.weight_bytes
    assert sizes.ram_arena == small_bundle.manifest.arena_with_input
    assert sizes.ram_arena < sizes.ram_static
    assert sizes.stack_reserved == made.record.board.stack_bytes
    assert (made.path / "firmware.map").stat().st_size > 0


@pytest.mark.parametrize("board", BOARDS)
def test_no_float_and_no_heap_on_the_board(board: str, small_bundle: Bundle, firmware: Builder) -> None:
    names = symbols(firmware(small_bundle, board).elf)
    assert not {name for name in names if name.startswith(("__aeabi_f", "__aeabi_d", "__adddf", "__mulsf"))} - {
        "__aeabi_dcmp"
    }
    assert not names & {"malloc", "free", "calloc", "sbrk", "_sbrk", "printf"}


def test_the_same_parts_make_the_same_firmware(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    again = build(small_bundle, small_build.record.board, tmp_path / "again")
    assert again.record == small_build.record
    assert open_build(tmp_path / "again").record == again.record


def kept_objects(cache: Path) -> list[Path]:
    return sorted(cache.glob("tritguard/kernel-objects/*/[0-9A-F][0-9A-F]/*"))


def test_kernels_that_were_kept_make_the_same_firmware_and_damaged_ones_are_compiled_again(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    board = load_board(BOARDS[0])
    first = build(small_bundle, board, tmp_path / "first")
    kept = kept_objects(tmp_path / "cache")
    kernels = {name for name in native_engine(small_bundle).model_files if name.endswith(".c")} - {"tg_model.c"}
    around = {name for name in firmware_sources(board) if name.endswith(".c")} - {"build_id.c", "engine_native.c"}
    assert len(kept) == len(kernels) + len(around) > 12  # nothing else: there would be more with every bundle
    damaged, *whole = kept
    content = damaged.read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    for file in kept:
        os.utime(file, (0, 0))
    second = build(small_bundle, board, tmp_path / "second")
    assert second.elf.read_bytes() == first.elf.read_bytes()
    assert kept_objects(tmp_path / "cache") == kept
    assert damaged.read_bytes() == content
    assert all(file.stat().st_mtime > 0 for file in whole)  # SCons says so of those that it took


def test_a_kernel_that_a_bundle_changed_is_neither_kept_nor_taken_from_the_cache(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a bundle that was opened with trust."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    board, engine = load_board(BOARDS[0]), native_engine(small_bundle)
    honest = build(small_bundle, board, tmp_path / "honest", engine)
    kept = {file: file.read_bytes() for file in kept_objects(tmp_path / "cache")}
    name = "tg_taps_m4.h"
    mark = b"static const int changed_here __attribute__((used)) = 1;\n"
    other = replace(engine, model_files=engine.model_files | {name: engine.model_files[name] + mark})
    made = build(small_bundle, board, tmp_path / "other", other)
    assert b"changed_here" in made.elf.read_bytes() and b"changed_here" not in honest.elf.read_bytes()
    assert {file: file.read_bytes() for file in kept_objects(tmp_path / "cache")} == kept


def test_objects_of_other_versions_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tmp_path / "tritguard" / "kernel-objects"
    for age in range(9):
        (root / str(age)).mkdir(parents=True)
        os.utime(root / str(age), (1e9 - age, 1e9 - age))
    honest = {name: (firmware_dir() / "kernels" / name).read_bytes() for name in ("tg_fixed.h", "tg_lookup.c")}
    honest |= {"tg_model.h": b"", "tg_model.c": b""}
    named = kernel_objects(honest, COMPILER)["TRITGUARD_KEPT_OBJECTS"]
    assert set(root.iterdir()) == {Path(named), *(root / str(age) for age in range(3))}
    assert kernel_objects(honest, "no-such-compiler") == kernel_objects({}, COMPILER) == {}
    for stranger in ("newlib.h", "tg_fixed.h.gch", "STDINT.H"):  # which the compiler would take for another one
        assert kernel_objects(honest | {stranger: b""}, COMPILER) == {}


def test_the_build_id_follows_every_part(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    board = small_build.record.board
    engine = native_engine(small_bundle)
    assert build_id(small_bundle, board, engine).hex() == small_build.record.build_id
    renamed = changed_bundle(small_bundle, tmp_path / "renamed", name="renamed")
    assert build_id(renamed, board, engine) != build_id(small_bundle, board, engine)
    other = board.model_copy(update={"stack_bytes": 8192})
    assert build_id(small_bundle, other, engine) != build_id(small_bundle, board, engine)
    for bundle, folder in ((small_bundle, tmp_path / "one"), (renamed, tmp_path / "two")):
        folder.mkdir()
        write_project(folder, bundle, board, engine)
    one, two = (
        {name: (tmp_path / each / "src" / name).read_bytes() for name in ("config.h", "id.h")}
        for each in ("one", "two")
    )
    assert one["id.h"] != two["id.h"] and one["config.h"] == two["config.h"]  # so that objects can be kept
    fast = replace(engine, flags=(*engine.flags, "-O3"))
    assert build_id(small_bundle, board, fast) != build_id(small_bundle, board, engine)


def test_the_watchdog_counts_all_that_an_engine_may_compute(small_bundle: Bundle, tmp_path: Path) -> None:
    manifest = small_bundle.manifest
    removed = manifest.removed.model_copy(update={"macs": 1000})
    more = replace(small_bundle, manifest=manifest.model_copy(update={"removed": removed}))
    write_project(tmp_path, more, load_board("mps2-an386"), native_engine(small_bundle))
    config = (tmp_path / "src" / "config.h").read_text()
    assert f"#define CONFIG_MACS {manifest.macs + 1000}u" in config
    assert f"#define CONFIG_ELEMENTS {sum(math.prod(layer.output_shape) for layer in manifest.layers)}u" in config


def test_a_board_file_of_ones_own(small_bundle: Bundle, tmp_path: Path) -> None:
    board = load_board("mps2-an386").model_copy(update={"id": "own", "stack_bytes": 2048})
    made = build(small_bundle, board, tmp_path / "own")
    with open_device(small_bundle, open_build(tmp_path / "own")) as device:
        assert device.hello.board == "own"
        assert device.memory().stack_reserved == 2048 == made.record.sizes.stack_reserved


def test_a_build_asks_nobody_and_needs_no_home(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    # What a user has set for PlatformIO elsewhere is not this firmware's.
    monkeypatch.setenv("PLATFORMIO_BUILD_FLAGS", "-Dint=float")
    monkeypatch.setenv("PLATFORMIO_CORE_DIR", str(tmp_path / "core"))
    made = build(small_bundle, small_build.record.board, tmp_path / "build")
    assert made.record.elf_sha256 == small_build.record.elf_sha256
    assert names(tmp_path) == ["build"]


def _shrunk(board: Board, memory: str, size: int) -> Board:
    region = getattr(board.memory, memory).model_copy(update={"bytes": size})
    return board.model_copy(update={"memory": board.memory.model_copy(update={memory: region})})


def test_a_model_too_large_is_refused_by_how_much(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    board, sizes = small_build.record.board, small_build.record.sizes
    heaviest = max(sizes.flash_layers, key=lambda layer: layer.bytes).layer
    least = f"100 B too large for the {sizes.flash_total - 100:,} B of flash; most weigh layer {heaviest} \\("
    with pytest.raises(OverBudgetError, match=least) as error:
        build(small_bundle, _shrunk(board, "flash", sizes.flash_total - 100), tmp_path / "build")
    assert error.value.exit_code == 6
    ram = sizes.ram_static + sizes.stack_reserved
    with pytest.raises(OverBudgetError, match=rf"is 8 B too large for the {ram - 8:,} B of RAM; most weigh layer \d"):
        build(small_bundle, _shrunk(board, "ram", ram - 8), tmp_path / "build")
    assert names(tmp_path) == ["build.log"]
    build(small_bundle, _shrunk(_shrunk(board, "ram", ram), "flash", sizes.flash_total), tmp_path / "build")


@pytest.mark.parametrize(("max_ram", "allowed"), [(None, 4 << 20), (9000, 9000), (1 << 30, 4 << 20)])
def test_the_ring_takes_what_ram_is_left_over(
    max_ram: int | None, allowed: int, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    board, engine = small_build.record.board, native_engine(small_bundle)
    write_project(tmp_path, small_bundle, board, engine, max_ram)
    settings = json.loads((tmp_path / "boards" / f"{board.id}.json").read_text())["build"]
    assert (settings["ram_allowed"], settings["ring_bytes"], settings["ring_bytes_min"]) == (allowed, 1024, 1024)
    ids = {build_id(small_bundle, board, engine, limit) for limit in (None, 9000, 10_000)}
    assert len(ids) == 3


# Runs in a copy of the repository that the files of docs/adding-a-driver.md were added to.
_SHOWN_DRIVER = """
import sys
from pathlib import Path
import numpy as np
from tritguard.boards import load_board
from tritguard.build import build
from tritguard.device import open_device
from tritguard.emit import write_bundle
from tritguard.twin import Twin

model, out = map(Path, sys.argv[1:])
board = load_board("emcraft-sf2")
bundle = write_bundle(model.read_bytes(), out / "bundle", name="shown", core=board.core_class)
x = np.random.default_rng(0).integers(-128, 128, (20, *bundle.manifest.input.shape), dtype=np.int8)
with open_device(bundle, build(bundle, board, out / "build")) as device:
    found = device.predict(x)
    assert device.echo(bytes(range(256))) == bytes(range(256)) and device.resent_frames == 0
wanted = Twin(bundle).predict(x)
assert np.array_equal(found.scores, wanted.scores) and np.array_equal(found.logits, wanted.logits)
print("equal", device.hello.board, len(np.unique(found.logits)))
"""


def test_the_driver_that_is_shown_runs_as_it_is(tmp_path: Path) -> None:
    """The three files of docs/adding-a-driver.md, and nothing else, bring a board of a new chip family."""
    document = (ROOT / "docs" / "adding-a-driver.md").read_text()
    record, code, board = re.findall(r"```(?:toml|c)\n(.*?)```", document, re.DOTALL)
    files = re.findall(r"^`((?:firmware|boards)/\S+)`", document, re.MULTILINE)
    assert files == ["firmware/port/ns16550/driver.toml", "firmware/port/ns16550/driver.c", "boards/emcraft-sf2.toml"]
    copy = tmp_path / "copy"
    for folder in ("firmware", "boards", "host/tritguard"):
        shutil.copytree(ROOT / folder, copy / folder)  # with what Python compiled, which takes longer than all the rest
    for file, content in zip(files, (record, code, board), strict=True):
        assert not (copy / file).exists()
        (copy / file).parent.mkdir(exist_ok=True)
        (copy / file).write_text(content)
    model = tmp_path / "model.tflite"
    model.write_bytes(lively_model())
    command = [sys.executable, "-c", _SHOWN_DRIVER, str(model), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(copy / "host")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("equal emcraft-sf2 ")
    assert int(done.stdout.split()[2]) > 10


def test_what_a_driver_puts_in_front_of_the_vectors(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = small_build.record.board
    folder = tmp_path / board.driver.name
    shutil.copytree(board.driver.folder, folder)
    (folder / "boot.c").write_text(
        "#include <stdint.h>\nextern const uint32_t boot[64];\n"
        'const uint32_t boot[64] __attribute__((section(".boot"), used)) = {0xB007u};\n'
    )
    monkeypatch.setitem(drivers(), folder.name, read_driver(folder / "driver.toml"))
    made = build(small_bundle, board, tmp_path / "build")
    assert made.binary.read_bytes()[:8] == bytes.fromhex("07b0000000000000")
    assert made.record.build_id != small_build.record.build_id
    sizes, before = made.record.sizes, small_build.record.sizes
    assert (sizes.flash_sections[".boot"], sizes.flash_total) == (256, before.flash_total + 256)
    grown = {group: sizes.flash_groups[group] - before.flash_groups[group] for group in sizes.flash_groups}
    assert {group: size for group, size in grown.items() if size} == {"protocol and port": 256}


@pytest.mark.parametrize("name", ["own-board", "a-board-of-ones-own"])
def test_the_size_is_exact_wherever_the_image_ends(name: str, small_bundle: Bundle, tmp_path: Path) -> None:
    """The names put the end at an odd and at an even number of words."""
    board = load_board("mps2-an386").model_copy(update={"id": name})
    size = build(small_bundle, board, tmp_path / "whole").record.sizes.flash_total
    with pytest.raises(OverBudgetError, match=f"the firmware is 1 B too large for the {size - 1:,} B of flash"):
        build(small_bundle, _shrunk(board, "flash", size - 1), tmp_path / "build")


def test_the_size_does_not_follow_from_the_build_id(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    """GCC has two ways to store bytes: those without a zero among them could be a string."""
    board, engine = small_build.record.board, native_engine(small_bundle)
    zero = bytes.fromhex(small_build.record.build_id).count(0) > 0
    stacks = (board.model_copy(update={"stack_bytes": 8 * n}) for n in itertools.count(256))
    other = next(b for b in stacks if (0 in build_id(small_bundle, b, engine)) != zero)
    made = build(small_bundle, other, tmp_path / "other")
    assert made.record.sizes.flash_total == small_build.record.sizes.flash_total


def test_a_bundle_for_other_cores_is_refused(small_bundle: Bundle, tmp_path: Path) -> None:
    board = load_board("mps2-an386").model_copy(update={"core": "cortex-m0plus"})
    with pytest.raises(BadInputError, match="converted for the core class m4") as error:
        build(small_bundle, board, tmp_path / "build")
    assert error.value.fix == "convert again with --core cortex-m0plus"
    assert not (tmp_path / "build").exists()


def test_a_large_input_takes_no_ram_beside_the_arena(tmp_path: Path) -> None:
    """It is received where the arena has room before the first layer: 27,648 bytes that were there twice."""
    bundle = write_bundle(MODELS["vww"](), tmp_path / "bundle", name="vww")
    manifest, board = bundle.manifest, load_board("mps2-an386")
    assert manifest.arena_with_input == manifest.arena_bytes < 2 * manifest.input.bytes
    answers = 2 * manifest.output.bytes  # one that is kept and one that is sent
    most = manifest.arena_bytes + board.stack_bytes + answers + 2_048  # the UART's buffer is half of that
    sizes = build(bundle, board, tmp_path / "build", budget=Budget(max_ram=most)).record.sizes
    assert sizes.ram_arena == manifest.arena_bytes
    with pytest.raises(OverBudgetError) as error:  # the buffer does not grow where there is no room at all
        build(bundle, board, tmp_path / "over", budget=Budget(max_ram=manifest.arena_bytes))
    told = re.search(r"are ([\d,]+) B more", str(error.value))
    assert told is not None and int(told[1].replace(",", "")) <= most - manifest.arena_bytes
    with open_device(bundle, open_build(tmp_path / "build")) as device:
        x = inputs(bundle, 2)
        assert (device.predict(x).scores == Twin(bundle).predict(x).scores).all()


def test_a_firmware_over_budget_is_no_build(
    small_bundle: Bundle, small_build: Build, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes, board = small_build.record.sizes, small_build.record.board
    ram = sizes.ram_static + sizes.stack_reserved
    exact = Budget(max_flash=sizes.flash_total, max_ram=ram)
    assert build(small_bundle, board, tmp_path / "fits", budget=exact).record.max_ram == ram
    over = Budget(max_flash=sizes.flash_total - 100, max_ram=ram - 8)
    with pytest.raises(OverBudgetError) as error:
        build(small_bundle, board, tmp_path / "fits", budget=over)
    assert error.value.exit_code == 6
    heaviest = max(sizes.flash_layers, key=lambda layer: layer.bytes)
    message = str(error.value)
    assert f"{sizes.flash_total:,} B of flash are 100 B more than the {sizes.flash_total - 100:,} B allowed" in message
    assert f"most weigh layer {heaviest.layer} (" in message
    assert f"{ram:,} B of RAM are 8 B more than the {ram - 8:,} B allowed" in message
    assert names(tmp_path) == ["fits"]
    describe(small_build, over)
    shown = capsys.readouterr().out
    assert f"of {board.memory.flash.bytes:,} B, {over.max_flash:,} B allowed (" in shown
    assert shown.endswith(f"of {board.memory.ram.bytes:,} B, {over.max_ram:,} B allowed\n")
    describe(small_build, Budget())
    assert "allowed" not in capsys.readouterr().out
    assert open_build(tmp_path / "fits").record.sizes == sizes  # the build that was there stays
    arguments = ["build", str(small_bundle.path), "-o", str(tmp_path / "none"), "--max-flash", "1K"]
    done = subprocess.run([sys.executable, "-m", "tritguard", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "more than the 1,024 B allowed" in done.stderr
    assert names(tmp_path) == ["fits"]


@pytest.mark.parametrize(("text", "value"), [("65536", 65536), ("64K", 65536), ("64 KiB", 65536), ("1m", 1 << 20)])
def test_sizes_have_units(text: str, value: int) -> None:
    assert parse_bytes(text) == value
    assert Budget.model_validate({"max_flash": text}).max_flash == value


@pytest.mark.parametrize("text", ["", "64Q", "-1", "1.5K", "K"])
def test_what_is_no_size_is_said(text: str) -> None:
    with pytest.raises(BadInputError, match="is no size; write 65536, 64K or 1M"):
        parse_bytes(text)
    with pytest.raises(BadInputError, match=r"max_ram: .*is no size"):
        from_table(Budget, {"max_ram": text}, where="run.toml")


def test_sources_that_do_not_compile_are_one_error(small_bundle: Bundle, tmp_path: Path) -> None:
    bundle = changed_bundle(small_bundle, tmp_path / "broken")
    source = bundle.c_dir / "tg_model.c"
    source.write_text(source.read_text() + "int unused(float x) { return x; }\n")
    with pytest.raises(BuildError) as error:
        build(bundle, load_board("mps2-an386"), tmp_path / "build")
    assert "src/model/tg_model.c:" in str(error.value)
    assert "does not compile" in str(error.value)
    assert not (tmp_path / "build").exists()
    assert "error:" in (tmp_path / "build.log").read_text()


def test_a_compiler_without_its_library_is_said_so(
    small_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shim = tmp_path / "bin" / "arm-none-eabi-gcc"
    shim.parent.mkdir()
    shim.write_text(f'#!/bin/sh\nexec {shutil.which(shim.name)} -nostdinc "$@"\n')
    shim.chmod(0o755)
    monkeypatch.setenv("PATH", str(shim.parent), prepend=":")
    with pytest.raises(ToolMissingError, match="has no C library; on Debian or Ubuntu: apt install libnewlib"):
        build(small_bundle, load_board("mps2-an386"), tmp_path / "build")


def test_a_changed_firmware_is_refused(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    made = build(small_bundle, small_build.record.board, tmp_path / "build")
    content = bytearray(made.elf.read_bytes())
    content[-1] ^= 1
    made.elf.write_bytes(content)
    with pytest.raises(BadInputError, match=r"firmware\.elf was changed since it was built"):
        open_build(made.path)
    made.elf.unlink()
    with pytest.raises(BadInputError, match="is missing"):
        open_build(made.path)
    (made.path / "build.json").write_text("{}")
    with pytest.raises(BadInputError, match="Field required; build again"):
        open_build(made.path)
    with pytest.raises(BadInputError, match=r"no build\.json"):
        open_build(tmp_path)
    build(small_bundle, small_build.record.board, made.path)  # replaces what was there
    open_build(made.path)


def test_a_folder_that_is_no_build_is_left_alone(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInputError, match="is no build"):
        build(small_bundle, small_build.record.board, tmp_path)
    assert names(tmp_path) == ["thesis.tex"]


def test_any_folder_name_will_do(small_bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "my [bold] döl$lar" / "firm ware"
    assert build(small_bundle, load_board("mps2-an386"), out).elf.is_file()
    assert build(small_bundle, load_board("mps2-an386"), out).path == out
