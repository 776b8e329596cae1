"""The twin as a library: how it is built, cached and refused."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.bench.models import random_net
from tests.support.every_format import in_every_format
from tests.support.known_models import ternary_model
from tests.support.random_graphs import sample_inputs
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BuildError, ToolMissingError
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.model import Weighted
from tritguard.oracle import Oracle, oracle_available
from tritguard.resources import firmware_dir
from tritguard.twin import OpenTwin, Twin


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(ternary_model(), tmp_path / "b", name="ops")


@pytest.fixture
def small(tmp_path: Path) -> Bundle:
    """A bundle with two kernels, which compile in a moment; what is tested with it holds for any model."""
    return rescaling(0.5, tmp_path / "small")


def rescaling(scale: float, folder: Path) -> Bundle:
    builder = ModelBuilder((4, 4, 2), 1 / 255, -128)
    tensor = builder.pool(builder.input, "AVERAGE", (2, 2), (2, 2), same=False, activation="NONE")
    return write_bundle(builder.build(builder.quantize(tensor, (scale / 100, 3))), folder, name="rescaling")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tritguard" / "twin"


@pytest.mark.slow
def test_the_compiler_may_have_options(small: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((3, *small.manifest.input.shape), dtype=np.int8)
    plain = Twin(small).predict(x).scores
    monkeypatch.setenv("CC", f"{shutil.which('cc')} -O1 -DSPACED='a b'")
    assert np.array_equal(Twin(small).predict(x).scores, plain)
    assert len(list(cache.glob("*.so"))) == 2, "other options are another library"


def test_a_library_is_compiled_once(small: Bundle, cache: Path) -> None:
    Twin(small)
    (library,) = cache.glob("*.so")
    built = library.stat().st_mtime_ns
    Twin(small)
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [built]


@pytest.mark.slow
def test_a_library_cut_short_is_compiled_again(small: Bundle, cache: Path) -> None:
    Twin(small)
    for keep in (0, 100, 9000):
        (library,) = cache.glob("*.so")
        whole = library.read_bytes()
        library.unlink()  # the one in use stays whole
        library.write_bytes(whole[:keep])
        Twin(small).predict(np.zeros((1, *small.manifest.input.shape), dtype=np.int8))
        (library,) = cache.glob("*.so")
        assert library.stat().st_size == len(whole)


@pytest.mark.slow
def test_kernels_are_compiled_once_for_all_models(small: Bundle, cache: Path, tmp_path: Path) -> None:
    objects = cache.parent / "objects"
    x = np.zeros((3, *small.manifest.input.shape), dtype=np.int8)
    Twin(small)
    made = {file: file.stat().st_mtime_ns for file in objects.iterdir()}
    kernels = {file.name for file in small.c_dir.glob("*.c")} - {"tg_model.c"}
    assert len(made) == len(kernels | {"twin_one.c", "twin_scratch.c"})
    other = rescaling(0.7, tmp_path / "other")
    expected = Twin(other).predict(x).scores
    assert {file: file.stat().st_mtime_ns for file in objects.iterdir()} == made
    cut = min(made)
    cut.write_bytes(cut.read_bytes()[:100])
    shutil.rmtree(cache)
    assert np.array_equal(Twin(other).predict(x).scores, expected)
    assert made.keys() == set(objects.iterdir()) and cut.stat().st_size > 100


@pytest.mark.slow
def test_a_changed_header_is_another_kernel(small: Bundle, cache: Path) -> None:
    objects = cache.parent / "objects"
    Twin(small)
    before = set(objects.iterdir())
    header = small.c_dir / "tg_fixed.h"  # reached through others
    header.write_text(header.read_text() + "/* changed */\n")
    Twin(small)
    assert before < set(objects.iterdir())
    kept = set(objects.iterdir())
    model = small.c_dir / "tg_model.h"  # no kernel knows of the model
    model.write_text(model.read_text() + "/* changed */\n")
    Twin(small)
    assert set(objects.iterdir()) == kept


def test_threads_are_as_many_as_cores_may_be_used(small: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in ("1", "3"):
        monkeypatch.setenv("PYTHON_CPU_COUNT", count)
        assert Twin(small).threads == int(count)


def test_without_a_compiler(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(ToolMissingError, match="no C compiler for the twin"):
        Twin(bundle)


def test_a_compiler_that_fails_is_quoted(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -include no-such-header.h")
    with pytest.raises(BuildError, match=r"the twin does not compile .*error"):
        Twin(bundle)
    assert not list(cache.glob("*")), "nothing half built stays"


@pytest.mark.slow
def test_processors_without_vectors_give_the_same_bytes(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sample_inputs(bundle.manifest.input.shape, 5, count=20)
    native = Twin(bundle)
    if platform.machine() == "x86_64":
        monkeypatch.setenv("CC", "cc -mno-avx2")
    plain = Twin(bundle)
    assert native._library._name != plain._library._name or platform.machine() != "x86_64"
    for ours, theirs in zip(native.run(x), plain.run(x), strict=True):
        assert ours is not None and theirs is not None and np.array_equal(ours, theirs)


@pytest.mark.skipif(not oracle_available(), reason="the oracle has no wheel for this platform")
@pytest.mark.parametrize("weight_format", ["quad2", "base3"])
@pytest.mark.parametrize(("depth", "units"), [(64, 12), (640, 128), (2001, 39)])
def test_a_dense_layer_of_dual_channel_words(
    depth: int, units: int, weight_format: WeightFormat, tmp_path: Path
) -> None:
    """Large enough for its kernel, which takes channels, not pixels, side by side: no tile of the twin's."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((1, 1, depth), 1 / 255, -128)
    weights = (rng.integers(-1, 2, (units, depth)) * 127).astype(np.int8)
    flat = builder.reshape(builder.input, (depth,))
    content = builder.build(builder.dense(flat, weights, [0.01], None, (1.0, 0)))
    bundle = write_bundle(content, tmp_path / "b", name="dense", formats={1: weight_format})
    assert bundle.manifest.layers[-1].weight_format == weight_format
    x = sample_inputs(bundle.manifest.input.shape, 1, count=20)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)


@pytest.mark.skipif(not oracle_available(), reason="the oracle has no wheel for this platform")
@pytest.mark.parametrize(
    ("channels", "kernel", "stride", "dilation", "same"),
    [
        (5, (3, 3), (1, 1), (1, 1), True),
        (16, (2, 5), (2, 1), (1, 1), True),
        (37, (3, 2), (1, 1), (2, 3), False),
        (64, (1, 1), (3, 2), (1, 1), False),
        (33, (9, 8), (1, 1), (1, 1), False),
    ],
)
def test_depthwise_in_blocks_of_channels(
    channels: int, kernel: tuple[int, int], stride: tuple[int, int], dilation: tuple[int, int], same: bool,
    tmp_path: Path,
) -> None:  # fmt: skip
    """Whole blocks and parts of one, an odd number of taps and an even one; in place where the plan has it so."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((9, 8, channels), 1 / 255, -7)
    tensor = builder.quantize(builder.input, (1 / 200, 11))
    weights = rng.integers(-127, 128, (*kernel, channels), dtype=np.int8)
    bias = rng.integers(-5000, 5001, channels, dtype=np.int32)
    tensor = builder.depthwise(
        tensor, weights, [0.01] * channels, bias, (0.2, 4), stride=stride, dilation=dilation, same=same
    )
    content = builder.build(builder.quantize(tensor, (0.25, 0)))
    bundle = write_bundle(content, tmp_path / "b", name="depthwise")
    x = sample_inputs(bundle.manifest.input.shape, 1, count=20)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)


# Vectors of AVX-512 VNNI, the half of them, and none of bytes; each where the processor has it.
_VECTORS = ("cc", "cc -DTG_WIDE=8", "cc -mno-avx512vnni", "cc -mno-avx2")


@pytest.mark.slow
@pytest.mark.skipif(not oracle_available(), reason="the oracle has no wheel for this platform")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have no such vectors")
@pytest.mark.parametrize("compiler", _VECTORS)
@pytest.mark.parametrize("core", ["m4", "m55"])
def test_every_width_of_vectors_gives_the_oracles_bytes(
    core: CoreClass, compiler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of channels and parts of one, rows of eight outputs and of fewer, runs that are whole words or not."""
    monkeypatch.setenv("CC", compiler)
    for shape, layers in (
        ((11, 9, 3), [("conv", (3, 3), (2, 2), 20), ("depthwise", (3, 3), (1, 1), 1), ("conv", (1, 1), (1, 1), 33)]),
        ((6, 20, 5), [("conv", (2, 3), (1, 1), 7), ("depthwise", (5, 2), (2, 3), 1), ("conv", (1, 1), (2, 1), 48)]),
        ((13, 1, 36), [("depthwise", (6, 1), (1, 1), 1, "valid"), ("conv", (8, 1), (1, 1), 65, "valid")]),
        ((3, 3, 16), [("conv", (3, 3), (1, 1), 17), ("depthwise", (9, 1), (1, 1), 1)]),
    ):
        content = random_net(shape, layers, classes=11)
        bundle = write_bundle(content, tmp_path / f"{len(list(tmp_path.iterdir()))}", name="net", core=core)
        twin, expected = Twin(bundle, threads=1), Oracle(content)
        for count in (1, 20):  # dense layers take another way from a few inputs on
            x = sample_inputs(bundle.manifest.input.shape, count, count=count)
            assert np.array_equal(twin.predict(x).scores, expected.predict(x).scores)


@pytest.mark.parametrize("core", ["m4", "m55"])
def test_changed_weights_are_those_of_the_next_run(core: CoreClass, tmp_path: Path) -> None:
    """What a run has packed of them ends with it."""
    content = random_net((8, 8, 4), [("conv", (3, 3), (1, 1), 16), ("depthwise", (3, 3), (1, 1), 1)], classes=3)
    bundle = write_bundle(content, tmp_path / "b", name="net", core=core)
    twin, x = OpenTwin(bundle, threads=1), sample_inputs(bundle.manifest.input.shape, 0, count=8)
    clean = twin.run(x)[0]
    for memory in twin.weights.values():
        kept = memory.copy()
        memory[:] = 0
        assert not np.array_equal(twin.run(x)[0], clean)
        memory[:] = kept
        assert np.array_equal(twin.run(x)[0], clean)


@pytest.mark.slow
@pytest.mark.parametrize("core", ["m0", "m4", "m55"])
def test_faulty_trits_are_those_of_the_devices_kernels(core: CoreClass, tmp_path: Path) -> None:
    """Unpacked to int8, or left to the device's own kernel where they are no weights any more, in each format."""
    ran = 0
    for bundle in in_every_format(ternary_model(seed=3), core, tmp_path):
        twin, x = OpenTwin(bundle, threads=1), sample_inputs(bundle.manifest.input.shape, 0, count=4)
        rng, emission = np.random.default_rng(0), bundle.emission
        for position, kernel in emission.kernels.items():
            op = emission.graph.ops[position]
            assert isinstance(op, Weighted)
            memory = twin.weights[twin.symbol(op.index)]
            clean = memory.copy()
            for flips in (0, 1, 2, 8, 40):
                memory[:] = clean
                places = rng.integers(8 * len(clean), size=flips)
                np.bitwise_xor.at(memory, places // 8, (1 << places % 8).astype(np.uint8))
                if kernel.weights.is_defined(op, memory, clean):
                    ours, sums = twin.run(x)
                    twin._sizes.in_order = 1
                    theirs, others = twin.run(x)
                    twin._sizes.in_order = 0
                    assert np.array_equal(ours, theirs)
                    assert sums is not None and others is not None and np.array_equal(sums, others)
                    ran += flips > 0
            memory[:] = clean
    assert ran > 20


@pytest.mark.parametrize("core", ["m0", "m4"])
@pytest.mark.parametrize("in_order", [False, True])
def test_sparse_lists_run_over_bands_of_rows(core: CoreClass, in_order: bool, tmp_path: Path) -> None:
    """Bands that read rows of the one before, or none of them, and more of them than rows of an image."""
    rng = np.random.default_rng(0)
    for i, (shape, kernel, stride, dilation, same) in enumerate(
        (
            ((21, 16, 4), (3, 3), (1, 1), (1, 1), True),
            ((40, 30, 3), (5, 3), (2, 1), (1, 1), True),
            ((23, 33, 2), (3, 2), (3, 2), (1, 1), False),
            ((30, 17, 3), (3, 3), (1, 1), (4, 2), True),
            ((19, 31, 5), (1, 1), (1, 1), (1, 1), True),
            ((17, 40, 2), (2, 2), (3, 3), (1, 1), False),
        )
    ):
        builder = ModelBuilder(shape, 0.5, 3)
        trits = (rng.integers(-1, 2, (9, *kernel, shape[2])) * 127).astype(np.int8)
        out = (9.0, -5)
        tensor = builder.conv(builder.input, trits, [0.01], None, out, stride=stride, dilation=dilation, same=same)
        content = builder.build(tensor)
        bundle = write_bundle(content, tmp_path / str(i), name="net", core=core, formats={0: "sparse"})
        x = sample_inputs(shape, i, count=3)
        scores = Twin(bundle, threads=1, in_order=in_order).predict(x).scores
        assert np.array_equal(scores, Oracle(content).predict(x).scores)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have no such vectors")
@pytest.mark.parametrize("processor", ["x86-64", "haswell", "skylake-avx512", "icelake-server", "alderlake"])
def test_the_twin_compiles_for_processors_that_are_not_here(processor: str, tmp_path: Path) -> None:
    """Those of AVX-VNNI alone among them, whose instructions are written differently."""
    folders = [firmware_dir() / name for name in ("kernels", "twin")]
    flags = ["-std=c11", "-O1", f"-march={processor}", "-fwrapv", "-include", "twin.h", "-c"]
    names = (
        "conv2d",
        "conv2d_lanes",
        "dense",
        "depthwise_channels",
        "depthwise_lanes",
        "elementwise",
        "planes",
        "pool",
    )
    sources = [str(folders[0] / f"tg_{name}.c") for name in names]
    sources += [str(file) for file in folders[1].glob("*.c") if file.name != "twin_several.c"]
    subprocess.run(["cc", *flags, *(f"-I{folder}" for folder in folders), *sources], cwd=tmp_path, check=True)
