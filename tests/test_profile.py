"""Counting on the emulated board: exact, complete, and at no cost to the firmware that ships."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.bench.models import random_net
from tests.support.device_support import TIMER_INSTRUCTIONS, inputs
from tests.support.schemas import assert_conforms
from tests.support.shared import ROOT
from tritguard.boards import load_board
from tritguard.build import Build, build
from tritguard.build.engine import native_engine
from tritguard.cli import app
from tritguard.device import EmulatedBoard, connect, open_device
from tritguard.device.emulators.qemu import Qemu
from tritguard.device.emulators.qemu_plugin import plugin_library
from tritguard.device.protocol import Request
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError, DeviceError, ToolMissingError
from tritguard.graph import read_graph
from tritguard.graph.emission import emission_of
from tritguard.profile import Profile, count, count_model, estimate_cycles, profile
from tritguard.profile.cycles import Cost, instruction_costs
from tritguard.profile.far import far_layers
from tritguard.profile.record import FunctionWork, LayerWork, Work
from tritguard.profile.symbols import read_code_map
from tritguard.report.profile import page, table
from tritguard.report.wording import short_op

pytest_plugins = ("tests.support.device_fixtures",)


def test_the_layers_add_up_to_what_the_timer_saw(small_bundle: Bundle, small_build: Build) -> None:
    x = inputs(small_bundle, 1)
    counted = count(small_bundle, small_build, x)
    with open_device(small_bundle, small_build) as device:
        outputs = device.predict(x)
        assert outputs.ticks is not None
        whole = device.instructions(int(outputs.ticks[0]))
    assert whole is not None
    assert 0 <= whole - counted.instructions <= TIMER_INSTRUCTIONS
    assert (outputs.scores == counted.outputs.scores).all()
    assert sum(function.instructions for function in counted.functions) == counted.instructions
    assert counted.cycles is not None
    assert 1.0 < counted.cycles / counted.instructions < 3.0


def test_a_count_repeats_and_inputs_add_up(small_bundle: Bundle, small_build: Build) -> None:
    x = inputs(small_bundle, 3)
    alone = [count(small_bundle, small_build, x[i : i + 1]).instructions for i in range(3)]
    together = count(small_bundle, small_build, x)
    assert together.inferences == 3
    assert together.instructions == sum(alone)
    assert count(small_bundle, small_build, x).layers == together.layers


def test_every_layer_is_found_and_knows_its_kernel(small_bundle: Bundle, small_build: Build) -> None:
    counted = count(small_bundle, small_build, inputs(small_bundle, 1))
    names = {layer.layer: {function.name for function in layer.functions} for layer in counted.layers}
    computing = [layer.index for layer in small_bundle.manifest.layers if layer.macs]
    assert set(computing) <= set(names)
    for layer in small_bundle.manifest.layers:
        if layer.op == "SOFTMAX":
            assert "tg_softmax" in names[layer.index]
    assert len(names) == len(counted.layers)


@pytest.mark.parametrize(("core", "has_cycles"), [("cortex-m0plus", True), ("cortex-m3", False)])
def test_another_core_on_the_same_machine(
    core: str, has_cycles: bool, small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    board = small_build.record.board.model_copy(update={"core": core})
    bundle = write_bundle(small_bundle.model_path.read_bytes(), tmp_path / "b", name="small", core=board.core_class)
    x = inputs(bundle, 1)
    other, own = count_model(bundle, board, x), count(small_bundle, small_build, x)
    assert (other.outputs.scores == own.outputs.scores).all()
    assert other.instructions > own.instructions
    assert (other.cycles is not None) == has_cycles


def test_marks_cost_nothing(small_bundle: Bundle, tmp_path: Path) -> None:
    command = ["arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-O2", "-c", str(small_bundle.c_dir / "tg_model.c")]
    sizes, instructions = [], []
    for marks in ([], ["-include", str(ROOT / "firmware" / "layer_mark.h")]):
        target = str(tmp_path / f"{len(marks)}.o")
        subprocess.run([*command, *marks, "-o", target], check=True)
        sizes.append(_printed("arm-none-eabi-size", target).splitlines()[1].split()[:3])
        instructions.append(len(re.findall(r"^ +[0-9a-f]+:", _printed("arm-none-eabi-objdump", "-d", target), re.M)))
    assert sizes[0] == sizes[1]
    assert instructions[0] == instructions[1] > 10


def _printed(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_boards_own_timer_says_the_same(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = profile(small_bundle, small_build)
    monkeypatch.setenv("CC", "no-such-compiler")  # no plugin: a firmware with a profiler is built for the occasion
    timed = profile(small_bundle, small_build)
    assert (counted.method, timed.method) == ("counted", "timed")
    assert [layer.layer for layer in timed.layers] == [layer.layer for layer in counted.layers]
    entered = Counter(layer for _, layer in read_code_map(small_build.elf).layers)
    for by_timer, by_plugin in zip(timed.layers, counted.layers, strict=True):
        assert by_timer.work.instructions is not None and by_plugin.work.instructions is not None
        overhead = by_timer.work.instructions - by_plugin.work.instructions
        assert 0 <= overhead <= TIMER_INSTRUCTIONS * entered[by_plugin.layer]
        assert (by_timer.flash_bytes, by_timer.arena_bytes) == (by_plugin.flash_bytes, by_plugin.arena_bytes)
    for found in (counted, timed):
        parts = [found.outside, *(layer.work for layer in found.layers)]
        total = found.total.instructions or 0
        assert abs(total - sum(part.instructions or 0 for part in parts)) <= len(parts)  # ticks are rounded
        assert from_json_text(found) == found


def from_json_text(found: Profile) -> Profile:
    return Profile.model_validate_json(found.model_dump_json())


def test_a_profile_at_a_port_needs_a_profiler_there(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    with EmulatedBoard(small_build.record.board, small_build.elf) as emulated:
        with pytest.raises(BadInputError, match="built without a profiler"):
            profile(small_bundle, small_build, emulated.url)
        with connect(emulated.url, small_bundle, small_build) as device, pytest.raises(DeviceError, match="request 5"):
            device._link.ask(Request.PROFILE, inputs(small_bundle, 1).tobytes())
    with_profiler = build(
        small_bundle, small_build.record.board, tmp_path / "build", native_engine(small_bundle, profile=True)
    )
    assert with_profiler.record.build_id != small_build.record.build_id
    with EmulatedBoard(with_profiler.record.board, with_profiler.elf) as emulated:
        found = profile(small_bundle, with_profiler, emulated.url)
    assert found.method == "timed" and found.tick_hz == 25_000_000
    assert found.total.ticks == (found.outside.ticks or 0) + sum(layer.work.ticks or 0 for layer in found.layers)


def test_the_verb_writes_numbers_and_a_page(small_bundle: Bundle, small_build: Build, tmp_path: Path) -> None:
    folder = tmp_path / "my [bold] profile"
    arguments = ["profile", str(small_bundle.path), str(small_build.path)]
    shown = CliRunner().invoke(app, [*arguments, "-o", str(folder)], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert_conforms(folder / "profile.json", "profile")
    assert_conforms(small_bundle.path / "manifest.json", "bundle")
    assert_conforms(small_build.path / "build.json", "build")
    found = Profile.model_validate_json((folder / "profile.json").read_text())
    page = (folder / "profile.html").read_text()
    for layer in found.layers:
        assert short_op(layer.op) in shown.stdout and f"{layer.work.instructions:,}" in shown.stdout
        assert f"{layer.work.instructions:,}" in page
    assert page.count("<rect") == len(found.layers)
    assert not re.search(r"(src|href)=|<script", page)
    printed = CliRunner().invoke(app, [*arguments, "--json"])
    assert Profile.model_validate_json(printed.stdout) == found


LISTING = """
    .syntax unified
    .thumb
    .global _start
    .thumb_func
_start:
    adds r0, r1, r2
    ldr r0, [r1]
    ldr r2, [r1]
    str r0, [r1]
    ldrd r0, r1, [r2]
    ldmia r0!, {r1-r3}
    push {r4-r7, lr}
    sdiv r0, r1, r2
    smlad r0, r1, r2, r3
    cbz r0, 1f
    bl _start
1:  bx lr
    pop {r4-r7, pc}
"""
M4 = [Cost(1), Cost(2), Cost(1), Cost(1), Cost(3), Cost(4), Cost(6), Cost(7), Cost(1)]
M4 += [Cost(1, 2), Cost(1, 2), Cost(1, 2), Cost(8)]


def test_the_cycle_model_is_the_manuals(tmp_path: Path) -> None:
    source = tmp_path / "code.s"
    source.write_text(LISTING)
    command = ["arm-none-eabi-gcc", "-mthumb", "-mcpu=cortex-m4", "-nostdlib", str(source), "-o", str(tmp_path / "elf")]
    subprocess.run(command, check=True)
    costs = instruction_costs(tmp_path / "elf", "cortex-m4")
    assert [costs[address] for address in sorted(costs)] == M4
    small = instruction_costs(tmp_path / "elf", "cortex-m0plus")
    by_address = [small[address] for address in sorted(small)]
    assert by_address[:4] == [Cost(1), Cost(2), Cost(2), Cost(2)]
    assert by_address[-4:] == [Cost(1, 1), Cost(1, 2), Cost(1, 1), Cost(8)]


def test_what_is_missing_is_said(small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = Build(small_build.path, small_build.record.model_copy(update={"board": _without_emulator(small_build)}))
    with pytest.raises(BadInputError, match="no emulator"):
        count(small_bundle, bare, inputs(small_bundle, 1))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(ToolMissingError, match="no C compiler for the emulator's plugin"):
        plugin_library(Qemu().version())


def _without_emulator(built: Build) -> object:
    return built.record.board.model_copy(update={"emulator": None})


def test_a_firmware_without_marks_is_counted_as_a_whole(
    small_bundle: Bundle, small_build: Build, tmp_path: Path
) -> None:
    shutil.copytree(small_build.path, tmp_path / "build")
    stripped = Build(tmp_path / "build", small_build.record)
    subprocess.run(["arm-none-eabi-objcopy", "-R", ".debug_tritguard_layers", str(stripped.elf)], check=True)
    x = inputs(small_bundle, 1)
    whole, layered = count(small_bundle, stripped, x), count(small_bundle, small_build, x)
    assert [layer.layer for layer in whole.layers] == [None]
    assert whole.functions == layered.functions
    subprocess.run(["arm-none-eabi-objcopy", "--strip-all", str(stripped.elf)], check=True)
    with pytest.raises(BadInputError, match="not a tritguard firmware"):
        count(small_bundle, stripped, x)


def test_functions_of_a_whole_are_named_as_they_are_written() -> None:
    """Those of C++, as TensorFlow Lite Micro's are, without what the compiler adds."""
    work = Work(instructions=30, cycles=40)
    names = (
        "arm_convolve_s8",
        "_ZN6tflite13reference_ops12StridedSliceIaEEvRKNS_18StridedSliceParamsE",
        "_Z5plainv",
        "_Z",
    )
    counted = Profile(
        tritguard="1", model="m", model_sha256="00", board="b", board_name="B", core="cortex-m4", emulated=True,
        build_id="00", elf_sha256="00", method="counted", tick_hz=None, macs=10, flash_total=1, arena_bytes=1,
        layers=(), outside=Work(instructions=120, cycles=160), total=Work(instructions=120, cycles=160), engine="tflm",
        outside_functions=tuple(FunctionWork(name=name, work=work) for name in names),
    )  # fmt: skip
    console = Console(file=io.StringIO(), width=80)
    console.print(table(counted))
    assert isinstance(console.file, io.StringIO)
    shown = " ".join(console.file.getvalue().split())
    assert "by function: arm_convolve_s8 25 %, tflite::reference_ops::StridedSlice 25 %, plain 25 %, _Z 25 %" in shown
    assert "outside of the layers" not in shown
    assert "tflite::reference_ops::StridedSlice 25 %" in page(counted)


def test_an_estimate_is_of_this_very_firmware(
    small_bundle: Bundle, small_build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = count(small_bundle, small_build, inputs(small_bundle, 1))
    estimate = estimate_cycles(small_bundle, small_build)
    assert estimate is not None and counted.cycles is not None
    assert estimate.per_instruction == pytest.approx(counted.cycles / counted.instructions, rel=1e-3)
    assert "a static cortex-m4 model over this firmware's exact counts" in estimate.method
    monkeypatch.setenv("CC", "no-such-compiler")
    assert estimate_cycles(small_bundle, small_build) is None


def test_the_table_of_a_large_net_fits_a_terminal() -> None:
    work = Work(instructions=8_457_854, cycles=10_712_819)
    layer = LayerWork(
        layer=10, op="DEPTHWISE_CONV_2D", name="", weight_format="ternary2", macs=7_000_000, flash_bytes=99_999,
        arena_bytes=99_999, work=work, functions=(FunctionWork(name="tg_depthwise_ternary", work=work),),
    )  # fmt: skip
    found = Profile(
        tritguard="1", model="net", model_sha256="0", board="b", board_name="b", core="c", emulated=True, build_id="0",
        elf_sha256="0", method="counted", tick_hz=None, macs=99_000_000, flash_total=1, arena_bytes=99_999,
        layers=(layer,), outside=work, total=Work(instructions=84_457_854, cycles=99_712_819),
    )  # fmt: skip
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(table(found))
    rows = console.export_text().splitlines()
    (row,) = (row for row in rows if "depthwise" in row and "ternary2" in row)
    assert row.split()[3:] == ["10,712,819", "8,457,854", "11", "7,000,000", "1.21", "99,999", "99,999"]
    assert any("all" in row and "99,712,819 84,457,854" in row for row in rows)
    assert any("tg_depthwise_ternary 100 %" in row for row in rows)


def test_layers_far_from_the_best_of_their_kind_are_named(tmp_path: Path) -> None:
    layers = [("conv", (3, 3), (1, 1), 8), ("conv", (3, 3), (1, 1), 32), ("depthwise", (3, 3), (1, 1), 1),
              ("depthwise", (1, 5), (3, 3), 1)]  # fmt: skip
    bundle = write_bundle(random_net((16, 16, 3), layers, classes=4), tmp_path / "b", name="net")
    built = build(bundle, load_board("mps2-an386"), tmp_path / "d")
    found = {layer.layer: layer.far for layer in profile(bundle, built).layers}
    assert "of the best convolution" in found[0] and "no multiple of 4" in found[0]
    assert found[1] == found[2] == "", "nets that suit their kernels"
    assert "of the best depthwise layer" in found[3] and "a stride of 3" in found[3]
    assert "times what outputs of 5 products take at best" in found[3]
    shown = CliRunner().invoke(app, ["profile", str(bundle.path), str(built.path)])
    assert f"0 is far from the best: {found[0]}" in " ".join(shown.stdout.split())  # lines end where the terminal does


def test_a_faster_kernel_that_was_not_worth_its_code_is_named() -> None:
    """The last convolution, of one pixel, could be a dense layer."""
    layers = [("conv", (1, 1), (1, 1), 64), ("max", (8, 8), (8, 8)), ("conv", (1, 1), (1, 1), 2)]
    emission = emission_of(read_graph(random_net((8, 8, 64), layers)), "m4")
    first, last = emission.kernels.values()
    (line,) = far_layers(emission, {2: last.cost.instructions}).values()
    assert first.function == last.function == "tg_conv2d_pixels" and "1 pixel, in tiles of 4" in line
    assert "tg_dense_int8 would take" in line and "bytes of code" in line
