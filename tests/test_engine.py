"""Engines behind engine.h: TensorFlow Lite Micro in the native one's place.

TFLM for a Cortex-M cannot be installed here. Its adapter is shown in three ways: on a host against the interpreter
inside the tflite-micro package, which is TFLM itself; on an emulated board with a library that has TFLM's names; and
with a real build of it where TRITGUARD_TFLM names one.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.known_models import big_ternary_model, edged
from tests.support.shared import ROOT
from tests.support.stateful import STATEFUL
from tests.support.wide import WideBuilder
from tritguard.boards import load_board
from tritguard.build import Build, build, open_build
from tritguard.build.archive import defined_symbols
from tritguard.build.engine import Library
from tritguard.build.pio import _explain
from tritguard.build.project import write_project
from tritguard.build.tflm import find_library, tflm_engine
from tritguard.cli import app
from tritguard.device import Device, open_device
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.tflm import Arrays, write_arrays
from tritguard.emit.tflm.layers import golden_ops
from tritguard.emit.tflm.trust import array_in, trusted_arrays
from tritguard.errors import BadInputError, BuildError, DeviceError, ToolMissingError
from tritguard.evaluate.robustness.symptoms import differing
from tritguard.export import export
from tritguard.files import scratch_folder
from tritguard.oracle import oracle_available, predict_apart, probes
from tritguard.predictor import Int8
from tritguard.profile import profile
from tritguard.report.profile import page
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)
pytestmark = pytest.mark.skipif(not oracle_available(), reason="TFLM arrays need the tflite-micro package to be made")

HEADERS = ROOT / "tests" / "tflm_headers"
ENGINE = ROOT / "tests" / "tflm_engine"
BOARD = load_board("mps2-an386")
CXX = ["-std=c++17", "-O2", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-Wall", "-Wextra", "-Werror"]
LIBRARY_PLACE = "gen/cortex_m_generic_cortex-m4_default_gcc/lib/libtensorflow-microlite.a"


@pytest.fixture(scope="session")
def arrays(lively_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    folder = tmp_path_factory.mktemp("arrays") / "lively"
    return write_arrays(lively_bundle.model_path.read_bytes(), folder, name="lively")


def test_nothing_but_the_adapters_knows_an_engine() -> None:
    firmware = ROOT / "firmware"
    own = [*firmware.glob("*.[ch]"), *(firmware / "port").rglob("*.[ch]")]
    assert len(own) > 10
    for file in own:
        code = re.sub(r"/\*.*?\*/", "", file.read_text(), flags=re.DOTALL)
        if not file.match("engine_*.c"):
            assert not re.search(r"tg_model|tg_kernels|tflm|tensorflow|native", code, re.IGNORECASE), file.name


# On a host, with TFLM itself.

_CHILD = """
import ctypes, sys
from pathlib import Path
import numpy as np
import tflite_micro
(package,) = Path(tflite_micro.__file__).parent.rglob("_runtime*.so")
real = ctypes.CDLL(str(package), ctypes.RTLD_GLOBAL)
if not hasattr(real, "_ZN6tflite17PythonOpsResolverC1Ev"):
    sys.exit(77)
engine = ctypes.CDLL(sys.argv[1])
engine.engine_name.restype = ctypes.c_char_p
engine.engine_start()
x, scores, ran = np.load(sys.argv[2]), [], []
for number, sample in enumerate(x):
    if int(sys.argv[5]) and number % int(sys.argv[5]) == 0:
        engine.engine_reset()
    out = (ctypes.c_int8 * int(sys.argv[4])).from_buffer(np.zeros(1 + int(sys.argv[4]) // 2, np.int16))
    ran.append(engine.engine_run(sample.ctypes.data_as(ctypes.c_void_p), out, None))
    scores.append(np.array(out))
told = []
if hasattr(engine, "told"):
    count = ctypes.c_uint32.in_dll(engine, "told_count").value
    told = np.array((ctypes.c_uint32 * 4096).in_dll(engine, "told"))[:count]
np.savez(
    sys.argv[3], scores=scores, ran=ran, name=engine.engine_name(), arena=engine.engine_arena_bytes(), told=told
)
"""


def run_adapter(
    bundle: Bundle,
    arrays: Arrays,
    x: Int8,
    folder: Path,
    *,
    outputs: int = 5,
    scores: int = 5,
    frames: int = 0,
    profile: bool = False,
) -> dict[str, np.ndarray]:
    """engine_tflm.cc, compiled as in a firmware, with the interpreter of the tflite-micro package.

    outputs: what the firmware takes the outputs for; scores: how many there are; frames: those of a stream; profile:
    note, in `told`, what the profiler is told: 1 and the layer that begins, or 0 for an op's end.
    """
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    folder.mkdir()
    write_project(folder, bundle, BOARD, tflm_engine(bundle, arrays, Library(), profile=profile))
    config = folder / "src" / "config.h"
    config.write_text(config.read_text().replace(f"OUTPUT_BYTES {scores}u", f"OUTPUT_BYTES {outputs}u"))
    library, samples, out = folder / "engine.so", folder / "x.npy", folder / "out.npz"
    sources = [folder / "src" / "engine_tflm.cc", *(folder / "src" / "model").glob("*.cc"), ENGINE / "real.cc"]
    flags = []
    if profile:
        sources, flags = [*sources, ENGINE / "told.cc"], ["-DTG_PROFILE"]
    command = ["g++", *CXX, *flags, "-shared", "-fPIC", "-DTF_LITE_STATIC_MEMORY", "-isystem", HEADERS]
    command += [f"-I{folder / 'src'}", f"-I{folder / 'src' / 'model'}", *sources, "-o", library]
    subprocess.run([*map(str, command)], check=True)
    np.save(samples, x)
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, str(library), str(samples), str(out), str(scores), str(frames)],
        capture_output=True,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this tflite-micro package does not show its interpreter to others")
    assert done.returncode == 0, done.stderr.decode()
    return dict(np.load(out))


def test_the_adapter_gives_tflms_bytes_in_tflm(lively_bundle: Bundle, arrays: Arrays, tmp_path: Path) -> None:
    x = inputs(lively_bundle, 50)
    ran = run_adapter(lively_bundle, arrays, x, tmp_path / "p")
    expected = predict_apart(lively_bundle.model_path.read_bytes(), x)
    assert len(np.unique(expected, axis=0)) > 40
    assert not ran["ran"].any()
    assert np.array_equal(ran["scores"], expected)
    assert ran["name"] == b"tflm"
    assert arrays.manifest.arena is not None
    assert ran["arena"] == arrays.manifest.arena.measured + arrays.manifest.scratch.plain


def test_the_adapter_begins_streams_as_tflm_does(tmp_path: Path) -> None:
    """With variables, which a subgraph sets to another value than TFLM's own reset would."""
    content = STATEFUL["set to another value"]()
    bundle = write_bundle(content, tmp_path / "bundle", name="stream")
    arrays = write_arrays(content, tmp_path / "arrays", name="stream")
    x = np.random.default_rng(3).integers(-128, 128, (4, 12, *bundle.manifest.input.shape), dtype=np.int8)
    scores = bundle.manifest.output_bytes
    flat = x.reshape(48, *bundle.manifest.input.shape)
    ran = run_adapter(bundle, arrays, flat, tmp_path / "p", outputs=scores, scores=scores, frames=12)
    assert not ran["ran"].any()
    assert np.array_equal(ran["scores"].reshape(4, 12, -1), predict_apart(content, x))


def wide_edged(kind: str) -> bytes:
    """A dense layer of int16 activations, whose golden edges are INT16 or FLOAT32."""
    rng = np.random.default_rng(7)
    builder = WideBuilder((6,), 0.0005, 0)
    tensor = builder.from_float() if kind == "FLOAT32" else builder.input
    tensor = builder.dense(tensor, rng.integers(-127, 128, (5, 6), dtype=np.int8), [0.01], None, (0.0004, 0))
    return builder.build(builder.as_float(tensor) if kind == "FLOAT32" else tensor)


@pytest.mark.parametrize("kind", ["UINT8", "FLOAT32", "wide INT16", "wide FLOAT32"])
def test_the_adapter_carries_edges_of_other_types(kind: str, tmp_path: Path) -> None:
    """The protocol has steps; the file's own edges are between them and TFLM's ops."""
    wide = kind.removeprefix("wide ")
    content = edged(kind) if wide == kind else wide_edged(wide)
    bundle = write_bundle(content, tmp_path / "bundle", name="edges")
    manifest = bundle.manifest
    arrays = write_arrays(content, tmp_path / "arrays", name="edges")
    x = probes(manifest.input_shape, 60, manifest.input_dtype)
    steps = manifest.output_bytes
    ran = run_adapter(bundle, arrays, x, tmp_path / "p", outputs=steps, scores=steps)
    assert not ran["ran"].any()
    expected = predict_apart(content, x)
    assert len(np.unique(expected, axis=0)) > 20
    assert ran["scores"].tobytes() == expected.tobytes()


def test_tflm_tells_a_profiler_of_every_op(tmp_path: Path) -> None:
    """TFLM itself does: of DECODE ops as of the layer that they work for, and nothing of what CALL_ONCE calls."""
    for name, content in (("ternary", big_ternary_model()), ("variables", STATEFUL["set to another value"]())):
        bundle = write_bundle(content, tmp_path / name / "bundle", name=name)
        arrays = write_arrays(content, tmp_path / name / "arrays", name=name, has_decode=True)
        manifest = bundle.manifest
        x = np.random.default_rng(3).integers(-128, 128, (2, *manifest.input.shape), dtype=np.int8)
        outputs = manifest.output_bytes
        ran = run_adapter(
            bundle, arrays, x, tmp_path / name / "p", outputs=outputs, scores=outputs, frames=2, profile=True
        )
        assert not ran["ran"].any()
        known = {layer.index for layer in manifest.layers}
        ops = golden_ops(content, array_in(arrays, trusted_arrays(arrays)))
        once = [told for op in ops for told in ([1 + op, 0] if op in known else [0])]
        assert ran["told"].tolist() == 2 * once
        assert (len(ops) > len(set(ops))) == (name == "ternary")


_CALL_MAIN = """
import ctypes, sys
from pathlib import Path
import tflite_micro
(package,) = Path(tflite_micro.__file__).parent.rglob("_runtime*.so")
real = ctypes.CDLL(str(package), ctypes.RTLD_GLOBAL)
if not hasattr(real, "_ZN6tflite17PythonOpsResolverC1Ev"):
    sys.exit(77)
sys.exit(ctypes.CDLL(sys.argv[1]).main())
"""


def run_example(folder: Path) -> int:
    """The exit status of example.cc in a folder of arrays, linked with the interpreter of the tflite-micro package."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")
    program = folder.parent / f"{folder.name}.so"
    sources = [*folder.glob("*.cc"), ENGINE / "real.cc"]
    flags = ["-shared", "-fPIC", "-DTF_LITE_STATIC_MEMORY", "-isystem", HEADERS, f"-I{folder}"]
    subprocess.run([*map(str, ["g++", *CXX, *flags, *sources, "-o", program])], check=True)
    status = subprocess.run([sys.executable, "-c", _CALL_MAIN, str(program)], check=False).returncode
    if status == 77:
        pytest.skip("this tflite-micro package does not show its interpreter to others")
    return status


def test_the_example_runs_in_tflm_and_tells_a_wrong_score(arrays: Arrays, tmp_path: Path) -> None:
    right, wrong = (Path(shutil.copytree(arrays.path, tmp_path / name)) for name in ("right", "wrong"))
    assert run_example(right) == 0
    header = wrong / "lively_golden.h"
    given = re.search(r"kGoldenInput\[\d+\] = \{([^}]*)", header.read_text())
    assert given is not None and len({*given[1].replace(",", " ").split()}) > 2  # what a flat input hides is seen
    text, count = re.subn(r"(kGoldenOutput\[5\] = \{\s*)-?\d+", r"\g<1>99", header.read_text())
    assert count == 1
    header.write_text(text)
    assert run_example(wrong) == 2


def test_the_adapter_says_why_tflm_does_not_run(lively_bundle: Bundle, arrays: Arrays, tmp_path: Path) -> None:
    x = inputs(lively_bundle, 2)
    small = Arrays(tmp_path / "small", arrays.manifest, trusted=True)
    shutil.copytree(arrays.path, small.path)
    header = small.path / "lively_arena.h"
    assert arrays.manifest.arena is not None
    header.write_text(header.read_text().replace(f"= {arrays.manifest.arena.measured};", "= 1024;"))
    assert run_adapter(lively_bundle, small, x, tmp_path / "p")["ran"].tolist() == [2, 2]
    assert run_adapter(lively_bundle, arrays, x, tmp_path / "q", outputs=4)["ran"].tolist() == [3, 3]


# On an emulated board, with TFLM played by the model's own C.


# As TFLM's makefile builds a library, with and without BUILD_TYPE=release.
KINDS = {"default": (), "release": ("-DTF_LITE_STRIP_ERROR_STRINGS", "-DNDEBUG")}


def play(bundle: Bundle, folder: Path, kind: str = "default") -> Path:
    """A tree as TFLM's makefile leaves it, in a new folder."""
    if shutil.which("arm-none-eabi-g++") is None:
        pytest.skip("arm-none-eabi-g++ is not installed")
    shutil.copytree(HEADERS, folder / "tree")
    export(bundle, "cmake", folder / "model", prefix="played")
    objects = folder / "objects"
    objects.mkdir()
    machine = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=soft", "-ffunction-sections", "-fdata-sections"]
    where = [f"-I{folder / 'model' / 'include'}", f"-I{HEADERS}"]
    sources = map(str, (folder / "model" / "src").glob("*.c"))
    marks = ["-DPLAYED_LAYER(layer)=played_layer(layer)", "-include", str(ENGINE / "played.h")]
    subprocess.run(["arm-none-eabi-gcc", *machine, "-O2", *marks, *where, "-c", *sources], check=True, cwd=objects)
    library = [ENGINE / "played.cc", *([] if KINDS[kind] else [ENGINE / "messages.cc"])]
    command = ["arm-none-eabi-g++", *CXX, *KINDS[kind], *machine, *where, "-c", *map(str, library)]
    subprocess.run(command, check=True, cwd=objects)
    archive = folder / "tree" / LIBRARY_PLACE
    archive.parent.mkdir(parents=True)
    subprocess.run(["arm-none-eabi-ar", "rcs", str(archive), *map(str, objects.glob("*.o"))], check=True)
    return folder / "tree"


@pytest.fixture(scope="session")
def played(lively_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with the library that docs/tflm.md tells to build."""
    return play(lively_bundle, tmp_path_factory.mktemp("tflm") / "with a blank")


def verb(bundle: Bundle, out: Path, *options: object) -> str:
    done = CliRunner().invoke(
        app, ["build", str(bundle.path), "-o", str(out), *map(str, options)], catch_exceptions=False
    )
    assert done.exit_code == 0
    return done.stdout


@pytest.fixture(scope="session")
def played_build(lively_bundle: Bundle, played: Path, tmp_path_factory: pytest.TempPathFactory) -> Build:
    out = tmp_path_factory.mktemp("builds") / "tflm"
    assert "firmware for" in verb(lively_bundle, out, "--engine", "tflm", "--tflm", played)
    return open_build(out)


@pytest.fixture
def played_device(lively_bundle: Bundle, played_build: Build) -> Iterator[Device]:
    with open_device(lively_bundle, played_build) as device:
        yield device


def test_a_board_with_another_engine_measures_alike(
    lively_bundle: Bundle, played_build: Build, played_device: Device
) -> None:
    x = inputs(lively_bundle, 20)
    x[:, 0, 0, 0] = 0  # the played interpreter fails where 42 stands there
    outputs = played_device.predict(x)
    assert played_device.hello.engine == "tflm"
    assert np.array_equal(outputs.scores, predict_apart(lively_bundle.model_path.read_bytes(), x))
    assert outputs.ticks is not None
    assert outputs.ticks.min() > 0
    sizes = played_build.record.sizes
    assert played_device.memory().arena == sizes.ram_arena > 0
    assert sizes.flash_total == sum(sizes.flash_groups.values())
    assert sizes.flash_groups["kernels"] > 1000
    assert sizes.flash_groups["weights and parameters"] > 3000
    assert played_build.record.engine == "tflm"


def test_an_engine_without_logits_is_compared_by_its_scores(lively_bundle: Bundle, played_device: Device) -> None:
    x = inputs(lively_bundle, 5)
    x[:, 0, 0, 0] = 0
    theirs, ours = played_device.predict(x), Twin(lively_bundle).predict(x)
    assert played_device.hello.logits == 0
    assert theirs.logits is None
    assert ours.logits is not None
    assert differing(ours, theirs) == 0


def test_a_failing_engine_is_one_error(lively_bundle: Bundle, played_device: Device) -> None:
    x = inputs(lively_bundle, 1)
    x[:, 0, 0, 0] = 42
    with pytest.raises(DeviceError, match=r"its engine could not run the model .*: 4\)"):
        played_device.predict(x)
    x[:, 0, 0, 0] = 0
    assert played_device.predict(x).scores.shape == (1, 5)


def test_a_profile_counts_tflm_as_a_whole(lively_bundle: Bundle, played_build: Build, tmp_path: Path) -> None:
    found = profile(lively_bundle, played_build)
    assert (found.engine, found.method, found.layers) == ("tflm", "counted", ())
    assert found.total == found.outside
    assert found.total.instructions == sum(part.work.instructions or 0 for part in found.outside_functions) > 10_000
    assert "played_model_run" in {part.name for part in found.outside_functions}
    done = CliRunner().invoke(app, ["profile", str(lively_bundle.path), str(played_build.path), "-o", str(tmp_path)])
    assert "in TensorFlow Lite Micro: one inference, counted exactly" in " ".join(done.stdout.split())
    assert "layer by layer: build with --profile, and profile that" in done.stdout
    assert "played" in (tmp_path / "profile.html").read_text()


def test_a_profile_times_tflms_ops(lively_bundle: Bundle, played: Path, played_build: Build, tmp_path: Path) -> None:
    """By its profiler, which learns of each op in turn: the played library's work is that of the native engine."""
    verb(lively_bundle, tmp_path / "b", "--engine", "tflm", "--tflm", played, "--profile")
    timed, whole = profile(lively_bundle, open_build(tmp_path / "b")), profile(lively_bundle, played_build)
    assert (timed.engine, timed.method) == ("tflm", "timed")
    with scratch_folder() as folder:
        native = profile(lively_bundle, build(lively_bundle, BOARD, folder / "native"))
    assert [layer.layer for layer in timed.layers] == [layer.layer for layer in native.layers]
    for ours, theirs in zip(native.layers, timed.layers, strict=True):
        assert ours.work.instructions is not None
        assert theirs.work.instructions == pytest.approx(ours.work.instructions, rel=0.1, abs=60)
        assert (theirs.op, theirs.flash_bytes, theirs.arena_bytes) == (ours.op, 0, 0)
    assert timed.total.instructions == pytest.approx(whole.total.instructions, rel=0.05)
    assert sum(layer.work.ticks or 0 for layer in timed.layers) + (timed.outside.ticks or 0) == timed.total.ticks
    assert "layer by layer" not in page(timed)


def test_a_release_has_no_profiler(lively_bundle: Bundle, tmp_path: Path) -> None:
    tree = play(lively_bundle, tmp_path / "release", "release")
    with pytest.raises(BadInputError, match="BUILD_TYPE=release, which leaves out what tells a profiler"):
        verb(lively_bundle, tmp_path / "b", "--engine", "tflm", "--tflm", tree, "--profile")


def test_a_release_links_wherever_it_lies(lively_bundle: Bundle, arrays: Arrays, tmp_path: Path) -> None:
    """A library without messages leaves out what the headers print with; it says so itself, whatever its folder says.

    The one with messages, in `played`, would bring the C library's printf and its heap, which asks for `_sbrk`.
    """
    tree = play(lively_bundle, tmp_path / "release", "release")
    library = find_library(str(tree), BOARD)
    assert library.defines == ("TF_LITE_STATIC_MEMORY", "TF_LITE_STRIP_ERROR_STRINGS", "NDEBUG")
    made = build(lively_bundle, BOARD, tmp_path / "build", tflm_engine(lively_bundle, arrays, library))
    x = inputs(lively_bundle, 3)
    x[:, 0, 0, 0] = 0
    with open_device(lively_bundle, made) as device:
        assert np.array_equal(device.predict(x).scores, predict_apart(lively_bundle.model_path.read_bytes(), x))


def test_a_library_with_messages_brings_no_printf(played_build: Build) -> None:
    with played_build.elf.open("rb") as file:
        symbols = {symbol.name for symbol in ELFFile(file).get_section_by_name(".symtab").iter_symbols()}
    assert {"_Z11MicroPrintfPKcz", "_Z12VMicroPrintfPKcSt9__va_list"} <= symbols  # what prints is asked for
    assert not symbols & {"printed", "vsnprintf", "_vsnprintf_r", "_malloc_r", "_sbrk_r"}


def test_a_library_platformio_builds(
    lively_bundle: Bundle, arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user's `lib_deps`, here a library in a folder: PlatformIO compiles it and finds its headers."""
    if shutil.which("arm-none-eabi-g++") is None:
        pytest.skip("arm-none-eabi-g++ is not installed")
    library = tmp_path / "tflm"
    export(lively_bundle, "platformio-lib", library, prefix="played")
    shutil.copytree(HEADERS, library / "src", dirs_exist_ok=True)
    for source in ("played.cc", "messages.cc"):
        shutil.copyfile(ENGINE / source, library / "src" / source)
    monkeypatch.chdir(tmp_path)
    verb(lively_bundle, tmp_path / "build", "--engine", "tflm", "--tflm", "symlink://tflm", "--arrays", arrays.path)
    made = open_build(tmp_path / "build")
    x = inputs(lively_bundle, 3)
    x[:, 0, 0, 0] = 0
    with open_device(lively_bundle, made) as device:
        assert np.array_equal(device.predict(x).scores, predict_apart(lively_bundle.model_path.read_bytes(), x))
    assert made.record.sizes.flash_groups["kernels"] > 1000


def test_the_build_id_follows_the_library(lively_bundle: Bundle, played: Path, arrays: Arrays, tmp_path: Path) -> None:
    shutil.copytree(played, tmp_path / "tree")
    before = tflm_engine(lively_bundle, arrays, find_library(str(tmp_path / "tree"), BOARD)).sha256
    archive = tmp_path / "tree" / LIBRARY_PLACE
    archive.write_bytes(archive.read_bytes() + b"\n")
    assert tflm_engine(lively_bundle, arrays, find_library(str(tmp_path / "tree"), BOARD)).sha256 != before


# What is missing, and what to do.


def test_without_a_tflm_the_verb_says_what_to_give(lively_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(
        ToolMissingError, match="TARGET=cortex_m_generic TARGET_ARCH=cortex-m4 microlite', or what lib_deps"
    ):
        verb(lively_bundle, tmp_path / "b", "--engine", "tflm")
    with pytest.raises(ToolMissingError, match=r"no tensorflow/lite/micro/micro_interpreter\.h here; give --tflm"):
        verb(lively_bundle, tmp_path / "b", "--engine", "tflm", "--tflm", tmp_path)
    with pytest.raises(ToolMissingError, match=r"no libtensorflow-microlite\.a here; give --tflm"):
        verb(lively_bundle, tmp_path / "b", "--engine", "tflm", "--tflm", HEADERS)
    with pytest.raises(BadInputError, match="--tflm: belongs to --engine tflm"):
        verb(lively_bundle, tmp_path / "b", "--tflm", tmp_path)


def test_a_registry_out_of_reach_is_named(tmp_path: Path) -> None:
    """What PlatformIO printed when it was, after a minute of trying."""
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("arm-none-eabi-gcc is not installed")
    error = _explain("Library Manager: Installing user/tflm @ 1\nHTTPClientError: \n", BOARD, tmp_path / "log")
    assert isinstance(error, ToolMissingError)
    assert "cannot reach its registry" in str(error)


def library_at(place: Path, *symbols: str) -> Path:
    """A static library with these names in its index, and nothing else in it."""
    index = struct.pack(">I", len(symbols)) + bytes(4 * len(symbols)) + b"".join(f"{s}\0".encode() for s in symbols)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(b"!<arch>\n" + f"{'/':<48}{len(index):<10}`\n".encode() + index)
    return place


MESSAGES, OPTIMIZED = "_Z11MicroPrintfPKcz", "_ZN6tflite5micro21Register_CONV_2D_INT8Ev"


def test_of_several_libraries_the_boards_is_taken(tmp_path: Path) -> None:
    shutil.copytree(HEADERS, tmp_path / "tree")
    places = {}
    for arch in ("cortex-m4", "cortex-m4+fp", "cortex-m0"):
        places[arch] = library_at(tmp_path / "tree" / LIBRARY_PLACE.replace("cortex-m4", arch), MESSAGES)
    assert find_library(str(tmp_path / "tree"), BOARD).archives == (places["cortex-m4"],)
    assert find_library(str(places["cortex-m4+fp"]), BOARD).archives == (places["cortex-m4+fp"],)
    assert find_library(str(places["cortex-m4+fp"]), BOARD).includes == (tmp_path / "tree",)
    release = library_at(tmp_path / "tree" / LIBRARY_PLACE.replace("default", "release_cmsis_nn"))
    with pytest.raises(BadInputError) as refused:
        find_library(str(tmp_path / "tree"), BOARD)
    both = ", ".join(str(place.relative_to(tmp_path / "tree")) for place in (places["cortex-m4"], release))
    assert f"several libraries ({both}); give --tflm the one to link" in str(refused.value)
    for place in (places["cortex-m4"], release):
        assert find_library(str(place), BOARD).archives == (place,)
        place.unlink()
    with pytest.raises(BadInputError, match=r"several libraries .*; give --tflm the one to link"):
        find_library(str(tmp_path / "tree"), BOARD)


def test_a_library_says_itself_how_it_was_built(tmp_path: Path) -> None:
    """Whatever its folder is called."""
    shutil.copytree(HEADERS, tmp_path / "tree")
    place = tmp_path / "tree" / LIBRARY_PLACE.replace("default", "release_cmsis_nn")
    base, release = ("TF_LITE_STATIC_MEMORY",), ("TF_LITE_STRIP_ERROR_STRINGS", "NDEBUG")
    for symbols, defines in (
        ((MESSAGES,), base),
        ((MESSAGES, OPTIMIZED), (*base, "CMSIS_NN")),
        ((OPTIMIZED,), (*base, "CMSIS_NN", *release)),
        (("_Z12VMicroPrintfPKcSt9__va_list",), (*base, *release)),
    ):
        assert find_library(str(library_at(place, *symbols)), BOARD).defines == defines
    for content, what in ((b"\x7fELF", "is not a static library"), (b"!<arch>\n", "no index of its symbols")):
        place.write_bytes(content)
        with pytest.raises(BadInputError, match=what):
            find_library(str(place), BOARD)


@pytest.mark.parametrize("archiver", ["ar", "arm-none-eabi-ar"])
@pytest.mark.parametrize("options", ["rcs", "rcsT"])
def test_the_index_is_that_of_the_archiver(archiver: str, options: str, tmp_path: Path) -> None:
    compiler = {"ar": "gcc", "arm-none-eabi-ar": "arm-none-eabi-gcc"}[archiver]
    if shutil.which(archiver) is None or shutil.which(compiler) is None:
        pytest.skip(f"{archiver} or {compiler} is not installed")
    (tmp_path / "a.c").write_text(
        "extern int other; static int inner; int one; int two(void) { return other + inner; }\n"
    )
    subprocess.run([compiler, "-c", "a.c"], check=True, cwd=tmp_path)
    subprocess.run([archiver, options, "some.a", "a.o"], check=True, cwd=tmp_path)
    assert defined_symbols(tmp_path / "some.a") == {"one", "two"}


def test_arrays_of_another_model_are_refused(lively_bundle: Bundle, small_bundle: Bundle, arrays: Arrays) -> None:
    with pytest.raises(BadInputError, match="these arrays are of another model"):
        tflm_engine(small_bundle, arrays, Library())


def test_a_library_for_hardware_floats_is_named(
    lively_bundle: Bundle, played: Path, arrays: Arrays, tmp_path: Path
) -> None:
    shutil.copytree(HEADERS, tmp_path / "tree")
    archive = tmp_path / "tree" / "lib" / "libtensorflow-microlite.a"
    archive.parent.mkdir()
    (tmp_path / "hard.cc").write_text(
        '#include "tensorflow/lite/micro/micro_interpreter.h"\n'
        "namespace tflite { const Model *GetModel(const void *) { return nullptr; } }\n"
    )
    hard = ["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", f"-I{HEADERS}"]
    subprocess.run(["arm-none-eabi-g++", *hard, "-c", "hard.cc", "-o", "hard.o"], check=True, cwd=tmp_path)
    subprocess.run(["arm-none-eabi-ar", "rcs", str(archive), str(tmp_path / "hard.o")], check=True)
    with pytest.raises(BuildError, match="built for floats in hardware"):
        build(
            lively_bundle, BOARD, tmp_path / "b", tflm_engine(lively_bundle, arrays, find_library(str(archive), BOARD))
        )


def test_a_compiler_without_cxx_headers_is_named(
    lively_bundle: Bundle, played: Path, arrays: Arrays, tmp_path: Path
) -> None:
    found = subprocess.run(
        ["arm-none-eabi-g++", "-print-file-name=libstdc++.a"], capture_output=True, text=True, check=True
    )
    if Path(found.stdout.strip()).is_absolute():
        pytest.skip("this cross compiler has C++'s library")
    shutil.copytree(played, tmp_path / "tree")
    header = tmp_path / "tree" / "tensorflow" / "lite" / "schema" / "schema_generated.h"
    header.write_text("#include <cstdint>\n")
    with pytest.raises(ToolMissingError, match=r"has no C\+\+ library; on Debian or Ubuntu: apt install libstdc"):
        build(
            lively_bundle, BOARD, tmp_path / "b",
            tflm_engine(lively_bundle, arrays, find_library(str(tmp_path / "tree"), BOARD)),
        )  # fmt: skip


def test_a_real_tflm(lively_bundle: Bundle, tmp_path: Path) -> None:
    """With messages and as a release, whichever the checkout holds."""
    place = os.environ.get("TRITGUARD_TFLM")
    if not place:
        pytest.skip("TRITGUARD_TFLM names no tflite-micro checkout with a library for cortex-m4")
    found = [str(file) for file in Path(place).rglob("gen/*_cortex-m4_*/lib/libtensorflow-microlite.a")]
    for number, library in enumerate(found or [place]):
        out = tmp_path / str(number)
        verb(lively_bundle, out / "build", "--engine", "tflm", "--tflm", library)
        made = open_build(out / "build")
        x = inputs(lively_bundle, 20)
        with open_device(lively_bundle, made) as device:
            assert np.array_equal(device.predict(x).scores, predict_apart(lively_bundle.model_path.read_bytes(), x))
        whole = profile(lively_bundle, made).total.instructions
        if "TF_LITE_STRIP_ERROR_STRINGS" in find_library(library, BOARD).defines:
            continue
        verb(lively_bundle, out / "timed", "--engine", "tflm", "--tflm", library, "--profile")
        timed = profile(lively_bundle, open_build(out / "timed"))
        assert timed.total.instructions == pytest.approx(whole, rel=0.05)
        assert [layer.layer for layer in timed.layers] == sorted(
            {layer.index for layer in lively_bundle.manifest.layers}
        )
