"""Bundles: their C under strict warnings, their manifest, their refusal of what was changed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import emulated
from tests.support.known_models import other_ops_model, ternary_model
from tests.support.shared import shared_file
from tests.support.strict_flags import STRICT
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import Board
from tritguard.boards.core import machine_flags
from tritguard.emit import open_bundle, write_bundle
from tritguard.errors import BadInputError, BadModelError, MismatchError, UnsupportedOpError
from tritguard.resources import firmware_dir


@pytest.mark.parametrize(
    "compiler", ["gcc", "arm-none-eabi-gcc -mcpu=cortex-m4 -mthumb", "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb"]
)
@pytest.mark.parametrize("model", [ternary_model, other_ops_model])
def test_the_c_compiles_under_strict_warnings(compiler: str, model: Callable[[], bytes], tmp_path: Path) -> None:
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    bundle = write_bundle(model(), tmp_path / "b", name="all */ ops")
    for source in bundle.c_dir.glob("*.c"):
        subprocess.run([*command, *STRICT, "-c", str(source), "-o", str(tmp_path / "o.o")], check=True)


def test_every_kernel_compiles_strictly_without_float_or_heap(tmp_path: Path) -> None:
    """Also those that no model here uses."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    kernels = [str(path) for path in sorted((firmware_dir() / "kernels").glob("*.c"))]
    subprocess.run(
        [*["arm-none-eabi-gcc", "-mcpu=cortex-m0", "-mthumb", "-c"], *STRICT, *kernels], cwd=tmp_path, check=True
    )
    assert_needs_nothing_forbidden([str(path) for path in tmp_path.glob("*.o")])


@pytest.mark.parametrize("board", emulated.EVERY, ids=lambda board: board.core)
def test_every_kernel_compiles_without_optimization(board: Board, tmp_path: Path) -> None:
    """As somebody who steps through an export compiles it; fewer registers are free then."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    kernels = [str(path) for path in sorted((firmware_dir() / "kernels").glob("*.c"))]
    flags = (*machine_flags(board.core), "-std=c11", "-O0", "-Wall", "-Wextra", "-Werror", "-c")
    subprocess.run(["arm-none-eabi-gcc", *flags, *kernels], cwd=tmp_path, check=True)


def assert_needs_nothing_forbidden(objects: list[str]) -> None:
    together = subprocess.run(["arm-none-eabi-nm", *objects], check=True, capture_output=True, text=True).stdout
    symbols = [line.split() for line in together.splitlines() if line.strip() and not line.endswith(":")]
    undefined = {words[-1] for words in symbols if words[-2] == "U"}
    defined = {words[-1] for words in symbols if words[-2] != "U"}
    allowed = {"memcpy", "memset", "__aeabi_idiv", "__aeabi_lmul", "__aeabi_idivmod", "__aeabi_uidiv", "__aeabi_lasr"}
    assert undefined - defined <= allowed, f"the code needs {undefined - defined - allowed}"


@pytest.mark.parametrize("model", [ternary_model, other_ops_model])
def test_no_float_and_no_heap_reach_the_device(model: Callable[[], bytes], tmp_path: Path) -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    bundle = write_bundle(model(), tmp_path / "b", name="ops")
    target = tmp_path / "all.o"
    sources = [str(path) for path in bundle.c_dir.glob("*.c")]
    flags = ["-mcpu=cortex-m0", "-mthumb", "-O2", "-nostdlib", "-r", "-o", str(target)]
    subprocess.run(["arm-none-eabi-gcc", *flags, *sources], check=True)
    assert_needs_nothing_forbidden([str(target)])


@pytest.mark.parametrize("name", ["*/ int x; /*", "*\\/ int x;", "a\nint x;", "*\\\n/", "*?\\?/\n/"])
def test_names_cannot_leave_their_comment(name: str, tmp_path: Path) -> None:
    builder = ModelBuilder((4, 4, 3), 0.5, 0)
    output = builder.quantize(builder.input, (0.25, 0))
    builder.tensors[output].name = name
    source = (write_bundle(builder.build(output), tmp_path / "b", name=name).c_dir / "tg_model.c").read_text()
    code = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    assert "int x" not in code
    assert "\\" not in source


def test_ternary_layers_are_packed(tmp_path: Path) -> None:
    bundle = write_bundle(ternary_model(), tmp_path / "b", name="ops", formats={0: "dual2", 1: "taps2"})
    formats = {layer.index: (layer.weight_format, layer.weight_bytes) for layer in bundle.manifest.layers if layer.macs}
    # 8 pairs of channels by 27 positions in 4 words, magnitude and number a channel
    assert formats[0] == ("dual2", 8 * 4 * 4 + 16 * 3)
    # 16 channels of 9 trits in 3 bytes, 9 offsets, magnitudes
    assert formats[1] == ("taps2", 16 * 3 + 9 * 2 + 16)
    assert formats[6][0] == "int8"
    assert "int8_t tg_l0_weights" not in (bundle.c_dir / "tg_model.c").read_text()


def test_a_changed_bundle_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(ternary_model(), tmp_path / "b", name="ops")
    open_bundle(bundle.path)
    source = bundle.c_dir / "tg_model.c"
    source.write_text(source.read_text().replace("127", "126", 1))
    with pytest.raises(BadInputError, match=r"c/tg_model.c was changed"):
        open_bundle(bundle.path)
    source.unlink()
    with pytest.raises(BadInputError, match=r"c/tg_model.c is missing"):
        open_bundle(bundle.path)


def test_a_failed_check_leaves_the_old_bundle(tmp_path: Path) -> None:
    old = write_bundle(ternary_model(), tmp_path / "b", name="old")

    def refuse(_bundle: object) -> int:
        raise MismatchError("no")

    with pytest.raises(MismatchError):
        write_bundle(ternary_model(), tmp_path / "b", name="new", check=refuse)
    assert open_bundle(old.path).manifest.name == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_foreign_manifest_does_not_make_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3}')
    (tmp_path / "code.js").write_text("alert()")
    with pytest.raises(BadInputError, match="is no bundle"):
        write_bundle(ternary_model(), tmp_path, name="ops")
    assert (tmp_path / "code.js").exists()


def test_a_users_file_in_a_bundle_is_not_lost(tmp_path: Path) -> None:
    bundle = write_bundle(ternary_model(), tmp_path / "b", name="ops")
    (bundle.path / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt does not belong"):
        write_bundle(ternary_model(), bundle.path, name="ops")
    assert (bundle.path / "notes.txt").exists()


def test_a_folder_that_is_no_bundle_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInputError, match="is no bundle"):
        write_bundle(ternary_model(), tmp_path, name="ops")
    assert (tmp_path / "thesis.tex").exists()


def test_a_bad_model_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(BadModelError):
        write_bundle(shared_file("models/dscnn_int8.tflite").read_bytes()[:5000], tmp_path / "b", name="x")
    assert list(tmp_path.iterdir()) == []


def test_sums_that_could_overflow_are_refused(tmp_path: Path) -> None:
    builder = ModelBuilder((1, 1, 70_000 // 100 * 100), 1.0, -128)
    flat = builder.reshape(builder.input, (70_000,))
    output = builder.dense(flat, np.full((2, 70_000), 127, np.int8), [0.1], None, (1.0, 0))
    with pytest.raises(UnsupportedOpError, match="overflow"):
        write_bundle(builder.build(output), tmp_path / "b", name="x")


def test_class_names_have_to_fit(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="2 class names for a model with 5"):
        write_bundle(ternary_model(), tmp_path / "b", name="x", classes=("a", "b"))
