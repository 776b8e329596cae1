"""Arrays for TFLM: what the compilers make of them runs in TFLM's interpreter and gives the golden bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tflite
from elftools.elf.elffile import ELFFile
from typer.testing import CliRunner

from tests.support.known_models import any_edges, big_ternary_model, edged, several, ternary_model, wide_edges
from tests.support.schemas import assert_conforms
from tests.support.shared import ROOT, shared_file
from tests.support.stateful import lstm, svdf
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard import api
from tritguard.cli import app
from tritguard.convert import keras_to_tflite
from tritguard.data import load_dataset
from tritguard.emit.render import identifier
from tritguard.emit.tflm import DECODE_CODE_BYTES, Arrays, compress, edges, open_arrays, write_arrays
from tritguard.emit.tflm import prepare as preparing
from tritguard.emit.tflm.arena import cmsis_scratch
from tritguard.emit.tflm.container import pack, unpack
from tritguard.emit.tflm.edges import all_edges, samples
from tritguard.emit.tflm.ops import method, registrations
from tritguard.emit.tflm.strip import strip
from tritguard.errors import BadInputError, BadModelError, MismatchError, ToolMissingError, UnsupportedOpError
from tritguard.graph.flatbuffer import parse
from tritguard.oracle import oracle_available, predict_apart, probes, registered_name, registered_ops
from tritguard.predictor import Int8

pytest_plugins = ("tests.support.demo_fixture",)
pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")

HEADERS = Path(__file__).parent / "tflm_headers"
STRICT = [
    "-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wold-style-cast",
    "-Wcast-qual", "-fno-exceptions", "-fno-rtti", "-Werror",
]  # fmt: skip
COMPILERS = ["g++", "arm-none-eabi-g++ -mcpu=cortex-m4 -mthumb", "arm-none-eabi-g++ -mcpu=cortex-m55 -mthumb"]
SAMPLES = 100


def ternarised(content: bytes) -> bytes:
    """The model with every weight tensor's channels made {-127, 0, 127}."""
    model = unpack(content)
    for op in parse(content).ops:
        if op.name not in compress._CHANNEL_AXIS:
            continue
        weights = parse(content).tensors[op.inputs[1]]
        assert weights.data is not None
        others = tuple(axis for axis in range(weights.data.ndim) if axis != compress._CHANNEL_AXIS[op.name])
        size = np.abs(weights.data.astype(np.int16))
        trits = np.sign(weights.data) * (size > 0.7 * size.mean(axis=others, keepdims=True))
        buffer = model.subgraphs[0].tensors[weights.index].buffer
        model.buffers[buffer].data = (trits * 127).astype(np.int8).view(np.uint8).ravel()
    return pack(model)


def keywords() -> Int8:
    return np.asarray(np.load(shared_file("data/gsc_kws01.npz"))["mfcc_int8"])


def pictures() -> Int8:
    pixels = np.load(shared_file("data/cifar10_lossless_subset.npz"))["test_images"]
    return (pixels.astype(np.int16) - 128).astype(np.int8)


def clothes() -> Int8:
    return (load_dataset("fashion-mnist").x_test[:SAMPLES].astype(np.int16) - 128).astype(np.int8)


NETS = {"dscnn": keywords, "resnet8": pictures}


@dataclass(frozen=True)
class Case:
    """A golden model, its arrays, 200 inputs (real ones and probes) and the golden outputs of them."""

    golden: bytes
    arrays: Arrays
    x: Int8
    expected: Int8
    ternary: bool


@pytest.fixture(scope="module", params=["dscnn", "dscnn-ternary", "resnet8", "resnet8-ternary", "demo"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp(request.param)
    net = request.param.removesuffix("-ternary")
    if net == "demo":
        train: Path = request.getfixturevalue("trained_demo")[0]
        golden, real = keras_to_tflite(train / "model.keras", train / "calibration.npz"), clothes()
    else:
        golden, real = shared_file(f"models/{net}_int8.tflite").read_bytes(), NETS[net]()
    if request.param.endswith("-ternary"):
        golden = ternarised(golden)
    ternary = net == "demo" or net != request.param
    arrays = write_arrays(golden, folder / "arrays", name=request.param, real=real[:8], has_decode=True)
    x = np.concatenate([real[: SAMPLES - 60], probes(real.shape[1:], 60)])
    assert len(x) == SAMPLES
    return Case(golden, arrays, x, predict_apart(golden, x), ternary)


def compiled(compiler: str, source: Path, target: Path, *flags: str) -> Path:
    command = compiler.split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    subprocess.run([*command, *STRICT, *flags, "-c", str(source), "-o", str(target)], check=True)
    return target


def bytes_of(elf: Path, symbol: str) -> bytes:
    """A symbol's bytes in an object file, which must lie aligned to 16."""
    with elf.open("rb") as file:
        read = ELFFile(file)
        (found,) = [entry for entry in read.get_section_by_name(".symtab").iter_symbols() if entry.name == symbol]
        section = read.get_section(found["st_shndx"])
        assert section["sh_addralign"] >= 16
        assert found["st_value"] % 16 == 0
        return bytes(section.data()[found["st_value"] : found["st_value"] + found["st_size"]])


def constant(compiler: str, header: Path, name: str, folder: Path, *flags: str) -> int:
    """What a compiler takes a header's constant for."""
    source = folder / "constant.cc"
    source.write_text(f'#include "{header}"\nalignas(16) extern const unsigned long value;\n'
                      f"const unsigned long value = {name};\n")  # fmt: skip
    return int.from_bytes(bytes_of(compiled(compiler, source, folder / "constant.o", *flags), "value"), "little")


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_bytes_in_the_object_file_give_the_golden_outputs(case: Case, compiler: str, tmp_path: Path) -> None:
    name = case.arrays.manifest.identifier
    elf = compiled(compiler, case.arrays.path / f"{name}_model_data.cc", tmp_path / "data.o")
    content = bytes_of(elf, f"g_{name}_model_data")
    assert len(content) == case.arrays.manifest.array_bytes
    assert len({*map(bytes, case.expected)}) > 1
    arena = constant(compiler, case.arrays.path / f"{name}_arena.h", f"{name}_model::kArenaBytes", tmp_path)
    if compiler == COMPILERS[0]:  # the others' bytes are the same, and its interpreter is not theirs
        assert np.array_equal(predict_apart(content, case.x, arena_bytes=arena), case.expected)
    assert content == written(case.arrays)


def written(arrays: Arrays) -> bytes:
    """The array as its source spells it."""
    source = (arrays.path / f"{arrays.manifest.identifier}_model_data.cc").read_text()
    return bytes(int(digits, 16) for digits in re.findall(r"0x(..),", source))


@pytest.mark.slow
def test_the_arena_is_enough_and_tight(case: Case, tmp_path: Path) -> None:
    manifest = case.arrays.manifest
    assert_conforms(case.arrays.path / "manifest.json", "tflm-arrays")
    header = case.arrays.path / f"{manifest.identifier}_arena.h"
    content, x = written(case.arrays), case.x[:4]
    whole, measured, margin = (
        constant("g++", header, f"{manifest.identifier}_model::{name}", tmp_path)
        for name in ("kArenaBytes", "kArenaMeasured", "kArenaMargin")
    )
    assert whole == measured + margin
    assert np.array_equal(predict_apart(content, x, arena_bytes=whole), case.expected[:4])
    assert np.array_equal(predict_apart(content, x, arena_bytes=measured), case.expected[:4])
    with pytest.raises(BadModelError):
        predict_apart(content, x, arena_bytes=measured - 1024)
    if manifest.alternate is not None:
        alternate = constant("g++", header, f"{manifest.identifier}_model::kDecodedBytes", tmp_path)
        smaller = constant("g++", header, f"{manifest.identifier}_model::kArenaBytesWithoutDecoded", tmp_path) - margin
        assert smaller < measured
        scores = predict_apart(content, x, arena_bytes=smaller, alternate_bytes=alternate)
        assert np.array_equal(scores, case.expected[:4])
        with pytest.raises(BadModelError):
            predict_apart(content, x, arena_bytes=smaller - 1024, alternate_bytes=alternate)


def test_the_margin_is_what_cmsis_nn_asks_for() -> None:
    """By the formulas of its arm_*_get_buffer_size functions."""

    def ones(*shape: int) -> Int8:
        return np.ones(shape, np.int8)

    def scratch(tensor: int, builder: ModelBuilder) -> tuple[int, int]:
        margin = cmsis_scratch(parse(builder.build(tensor)))
        return margin.plain, margin.helium

    net = ModelBuilder((8, 8, 5), 0.5, 0)
    conv = net.conv(net.input, ones(6, 3, 3, 5), [0.1] * 6, None, (1.0, 0))
    assert scratch(conv, net) == (192, 192)  # a column of 45: 2 x 48 x 2, 4 x 48
    depthwise = net.depthwise(conv, ones(5, 5, 6), [0.1] * 6, None, (1.0, 0))
    assert scratch(depthwise, net) == (304, 12400)  # 25 x 6 x 2, 4 x 124 x 25

    net = ModelBuilder((8, 8, 6), 0.5, 0)
    net.tensors[net.input].type = "INT16"
    assert scratch(net.depthwise(net.input, ones(5, 5, 6), [0.1] * 6, None, (1.0, 0)), net) == (304, 1216)  # and 8

    rng = np.random.default_rng(0)
    net = ModelBuilder((5, 7), 0.05, 0)
    assert scratch(lstm(net, net.input, 9, rng), net) == (8 * 48, 8 * 48)  # two sums of 9 x 4 for each gate, kept
    net = ModelBuilder((7,), 0.05, 0)
    assert scratch(svdf(net, net.input, 3, 2, 4, (0.1, 0), rng), net) == (0, 32)  # sums of 6 filters x 4, kept

    net = ModelBuilder((40,), 0.5, 0)
    first = net.dense(net.input, ones(10, 40), [0.1], None, (1.0, 0))
    assert scratch(net.dense(first, ones(6, 10), [0.1], None, (1.0, 0)), net) == (0, 80)  # 4 x 10 and 4 x 6, kept

    net = ModelBuilder((4, 4, 20), 0.5, 0)
    stride, sides = (2, 2), (8, 8)
    wide = net.transpose_conv(net.input, ones(3, 3, 3, 20), [0.1] * 3, None, (1.0, 0), sides, stride=stride, same=True)
    assert scratch(wide, net) == (544 + 720, 544 + 4 * 192)  # the weights, and columns of 180
    net = ModelBuilder((4, 4, 2), 0.5, 0)
    shallow = net.transpose_conv(
        net.input, ones(3, 3, 3, 2), [0.1] * 3, None, (1.0, 0), sides, stride=stride, same=True
    )
    assert scratch(shallow, net) == (336, 336)  # 3 rows of (3 x 2 + 3) x 3 sums


PRINT_OPS = """
#include <cstdio>
#include "HEADER"
namespace tflite { namespace micro {
#define TG_INT8(op) TFLMRegistration Register_##op() { static const char name[] = #op; return {name}; }
#define TG_ANY(op) TG_INT8(op)
#include "tensorflow/lite/micro/tflm_ops.inc"
} }
int main() {
  NAME_model::OpResolver ops;
  if (NAME_model::RegisterOps(ops) != kTfLiteOk || ops.count != NAME_model::kOpCount) return 1;
  for (unsigned i = 0; i < ops.count; ++i) std::puts(ops.names[i]);
}
"""


def registered(header: Path, name: str, folder: Path) -> list[str] | None:
    """Op names the header adds to a resolver; None where it does not add as many as it makes room for."""
    (folder / "ops.cc").write_text(PRINT_OPS.replace("HEADER", str(header)).replace("NAME", name))
    flags = ["-std=c++17", "-DTF_LITE_STRIP_ERROR_STRINGS", f"-I{HEADERS}"]
    subprocess.run(["g++", *flags, str(folder / "ops.cc"), "-o", str(folder / "ops")], check=True)
    done = subprocess.run([str(folder / "ops")], capture_output=True, text=True, check=False)
    return sorted(done.stdout.split()) if done.returncode == 0 else None


def ops_in(content: bytes) -> list[str]:
    """The ops a model's operators use, read with another schema package than the writer's."""
    model = tflite.Model.GetRootAs(content, 0)
    names = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    found = set()
    for index in range(model.Subgraphs(0).OperatorsLength()):
        code = model.OperatorCodes(model.Subgraphs(0).Operators(index).OpcodeIndex())
        name = names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        found.add(code.CustomCode().decode().removeprefix("TFLM_") if name == "CUSTOM" else name)
    return sorted(found)


@pytest.mark.slow
def test_the_resolver_has_exactly_the_ops_of_the_array(case: Case, tmp_path: Path) -> None:
    name = case.arrays.manifest.identifier
    header = case.arrays.path / f"{name}_op_resolver.h"
    wanted = ops_in(written(case.arrays))
    assert registered(header, name, tmp_path) == wanted
    assert ("DECODE" in wanted) == case.ternary
    # One too few and one too many do not pass for the right ones.
    text = header.read_text()
    lines = [line for line in text.splitlines() if "TF_LITE_ENSURE_STATUS" in line]
    count = f"kOpCount = {len(lines)}"
    changed = tmp_path / "changed.h"
    fewer = text.replace(lines[0] + "\n", "")
    more = text.replace(lines[0], lines[0] + "\n  TF_LITE_ENSURE_STATUS(resolver.AddSoftmax());")
    if "AddSoftmax" in text:
        more = more.replace("resolver.AddSoftmax());", "resolver.AddMean());")
    for wrong, length in ((fewer, -1), (more, 1)):
        changed.write_text(wrong)
        assert registered(changed, name, tmp_path) is None
        changed.write_text(wrong.replace(count, f"kOpCount = {len(lines) + length}"))
        assert registered(changed, name, tmp_path) not in (None, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("compiler", COMPILERS[:2])
def test_the_example_compiles(case: Case, compiler: str, tmp_path: Path) -> None:
    """Against declarations of what it uses of TFLM, not TFLM itself: see tests/tflm_headers."""
    compiled(compiler, case.arrays.path / "example.cc", tmp_path / "o.o", f"-isystem{HEADERS}", f"-I{case.arrays.path}")


@pytest.mark.skipif("TRITGUARD_TFLM" not in os.environ, reason="set TRITGUARD_TFLM to a clone of tflite-micro, built")
def test_the_example_compiles_with_tflm(tmp_path: Path) -> None:
    tree = Path(os.environ["TRITGUARD_TFLM"])
    downloads = tree / "tensorflow/lite/micro/tools/make/downloads"
    folders = [tree, downloads / "flatbuffers/include", downloads / "gemmlowp"]
    arrays = write_arrays(ternary_model(), tmp_path / "a", name="ops")
    flags = ["-DTF_LITE_STATIC_MEMORY", *(f"-isystem{folder}" for folder in folders), f"-I{arrays.path}"]
    compiled("g++", arrays.path / "example.cc", tmp_path / "o.o", *flags)


def test_progress_begins_with_nothing_done(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    write_arrays(ternary_model(), tmp_path / "a", name="x", progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == list(range(told[-1][1] + 1))


@pytest.fixture(scope="module")
def tflm_symbols() -> set[str]:
    """Functions TFLM exports, as the oracle's package has it."""
    from tflite_micro.python.tflite_micro import _runtime  # noqa: PLC0415

    with Path(_runtime.__file__).open("rb") as file:
        symbols = ELFFile(file).get_section_by_name(".dynsym").iter_symbols()
        return {symbol.name for symbol in symbols if symbol["st_shndx"] != "SHN_UNDEF"}


def test_the_ops_are_those_the_interpreter_registers(tflm_symbols: set[str]) -> None:
    for op in registered_ops():
        names = {f"_ZN6tflite{scope}{len(op) + 9}Register_{op}Ev" for scope in ("5micro", "5micro11tflm_signal", "")}
        assert names & tflm_symbols, op
    assert {"DEQUANTIZE", "SVDF", "GATHER", "UNIDIRECTIONAL_SEQUENCE_LSTM", "DECODE"} <= registered_ops()
    assert not {"TILE", "GELU"} & registered_ops()


@pytest.mark.parametrize(
    ("op", "name"),
    [
        ("CONV_2D", "AddConv2D"),
        ("BATCH_TO_SPACE_ND", "AddBatchToSpaceNd"),
        ("PADV2", "AddPadV2"),
        ("REVERSE_V2", "AddReverseV2"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("CUMSUM", "AddCumSum"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("CUSTOM TFLM_DECODE", "AddDecode"),
        ("CUSTOM TFLite_Detection_PostProcess", "AddDetectionPostprocess"),
        ("CUSTOM SignalFilterBankLog", "AddFilterBankLog"),
        ("CUSTOM SignalPCAN", "AddPCAN"),
    ],
)
def test_methods_are_spelled_as_tflm_spells_them(op: str, name: str) -> None:
    assert method(op) == name
    assert registered_name(op) in registered_ops()


@pytest.mark.skipif("TRITGUARD_TFLM" not in os.environ, reason="set TRITGUARD_TFLM to a clone of tflite-micro")
def test_methods_are_those_of_tflms_header() -> None:
    header = Path(os.environ["TRITGUARD_TFLM"]) / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    functions = header.read_text().split("TfLiteStatus Add")[1:]
    named = ((re.search(r"BuiltinOperator_(\w+)", text), text.split("(")[0]) for text in functions)
    found = {op[1]: f"Add{rest}" for op, rest in named if op is not None and op[1] != "CUSTOM"}
    assert len(found) > 90
    assert found == {op: method(op) for op in found}


@pytest.mark.parametrize(
    "function",
    [
        "C1EPKNS_5ModelERKNS0_15MicroOpResolverEPhmPNS0_22MicroResourceVariablesEPNS0_22MicroProfilerInterfaceEb",
        "15AllocateTensorsEv",
        "5inputEm",
        "6InvokeEv",
        "6outputEm",
        "22SetDecompressionMemoryEPKNS0_12MicroContext21AlternateMemoryRegionEm",
    ],
)
def test_what_the_example_and_its_page_call_is_in_tflm(function: str, tflm_symbols: set[str]) -> None:
    assert f"_ZN6tflite5micro16MicroInterpreter{function}" in tflm_symbols


def test_flash_saved_and_arena_added(case: Case) -> None:
    manifest = case.arrays.manifest
    assert manifest.array_bytes < manifest.model_bytes
    assert (manifest.uncompressed is None) == (not case.ternary)
    if manifest.uncompressed is not None and manifest.arena is not None and manifest.alternate is not None:
        assert manifest.array_bytes < 0.7 * manifest.uncompressed.array_bytes
        assert manifest.uncompressed.arena.measured < manifest.alternate.arena.measured < manifest.arena.measured
    assert open_arrays(case.arrays.path) == case.arrays


def test_an_array_that_differs_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damaged(content: bytes, *, keep_quantization: bool = False) -> bytes:
        model = unpack(strip(content, keep_quantization=keep_quantization))
        weights = next(buffer for buffer in model.buffers if buffer.data is not None and len(buffer.data) > 100)
        weights.data = weights.data[::-1].copy()
        return pack(model)

    monkeypatch.setattr(preparing, "strip", damaged)
    with pytest.raises(MismatchError, match="nothing is written"):
        write_arrays(big_ternary_model(), tmp_path / "a", name="x")
    assert list(tmp_path.iterdir()) == []


def test_weights_are_compressed_where_that_pays_for_decodes_own_code(tmp_path: Path) -> None:
    """DECODE's code, 18,524 B, is in the firmware because of this array, unless the user says that it is there."""
    for channels, has_decode, compressed in ((168, False, False), (168, True, True), (192, False, True)):
        content = big_ternary_model(channels)
        manifest = write_arrays(content, tmp_path / "a", name="x", has_decode=has_decode).manifest
        assert manifest.compressed_tensors == compressed
        assert ("CUSTOM TFLM_DECODE" in manifest.ops) == compressed
        assert (manifest.uncompressed is None) == (not compressed) == (manifest.left is not None)
        if manifest.uncompressed is not None:
            saved = manifest.uncompressed.array_bytes - manifest.array_bytes
            assert (saved > DECODE_CODE_BYTES) == (channels == 192)
        if manifest.left is not None:
            assert manifest.left.tensors == 1
            assert 0 < manifest.array_bytes - manifest.left.array_bytes <= DECODE_CODE_BYTES
        # What is said without the interpreter is what it would find.
        assert compress.compressible(content, has_decode=has_decode) == compressed


def test_without_the_interpreter_only_the_golden_model_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "oracle_available", lambda: False)
    monkeypatch.setattr("tritguard.emit.tflm.arrays.oracle_available", lambda: False)
    with pytest.raises(ToolMissingError, match="compressed weights cannot be verified"):
        write_arrays(big_ternary_model(), tmp_path / "a", name="x", has_decode=True)
    with pytest.raises(ToolMissingError, match="a rewritten model cannot be verified"):
        write_arrays(big_ternary_model(), tmp_path / "a", name="x", compat=True)
    with pytest.raises(ToolMissingError, match="compressed weights cannot be verified"):
        write_arrays(big_ternary_model(192), tmp_path / "a", name="x")
    assert list(tmp_path.iterdir()) == []
    for uncompressed in (True, False):  # what does not pay is left as it is
        arrays = write_arrays(big_ternary_model(), tmp_path / "a", name="x", uncompressed=uncompressed)
        assert written(arrays) == big_ternary_model()
        assert (arrays.manifest.verified_against_oracle, arrays.manifest.arena) == (0, None)
    header = arrays.path / "x_arena.h"
    assert constant("g++", header, "x_model::kArenaMeasured", tmp_path, "-DX_ARENA_BYTES=4096") == 4096
    with pytest.raises(subprocess.CalledProcessError):
        constant("g++", header, "x_model::kArenaMeasured", tmp_path)


@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_edges_of_other_types_stay_as_they_are(kind: str, tmp_path: Path) -> None:
    """The example reads and writes them as the golden model has them."""
    content = edged(kind)
    arrays = write_arrays(content, tmp_path / "a", name="edges")
    manifest = arrays.manifest
    assert manifest.verified_against_oracle == 32
    assert manifest.input.golden_type == manifest.output.golden_type == kind.lower()
    assert ("DEQUANTIZE" in manifest.ops) == (kind == "FLOAT32")
    x = probes((4, 3), 20)
    assert np.array_equal(predict_apart(written(arrays), x), predict_apart(content, x))
    example = (arrays.path / "example.cc").read_text()
    type_, member = {"FLOAT32": ("float", "f"), "UINT8": ("uint8_t", "uint8")}[kind]
    assert f"const {type_}* scores = interpreter.output(0)->data.{member};" in example
    assert f"interpreter.input(0)->data.{member}, edges_model::kGoldenInput" in example
    compiled("g++", arrays.path / "edges_golden.h", tmp_path / "o.o", "-xc++", "-Wno-pragma-once-outside-header")


def test_edges_of_any_type_are_compared_and_shown(tmp_path: Path) -> None:
    """As the file has them, with or without scales, and batches of more than one."""
    content = any_edges()
    arrays = write_arrays(content, tmp_path / "a", name="any")
    manifest = arrays.manifest
    assert manifest.verified_against_oracle == 32
    sources, sinks = (manifest.input, *manifest.further_inputs), (manifest.output, *manifest.further_outputs)
    raw = parse(content)
    for found, tensors in ((sources, raw.inputs), (sinks, raw.outputs)):
        assert [edge.golden_type.upper() for edge in found] == [raw.tensors[tensor].type for tensor in tensors]
    x = samples(content, 50, None)
    assert x.shape == (50, sum(edge.bytes for edge in sources))
    given = predict_apart(content, x, native=True)
    assert len(np.unique(given, axis=0)) > 40 and given.shape[1] == sum(edge.bytes for edge in sinks)
    assert np.array_equal(predict_apart(written(arrays), x, native=True), given)
    compiled("g++", arrays.path / "example.cc", tmp_path / "o.o", f"-isystem{HEADERS}", f"-I{arrays.path}")


def test_kernels_of_int8_alone_are_registered_where_all_is_int8() -> None:
    """The softmax gives 16 bits here, which the registration of int8 kernels refuses when it runs."""
    raw = parse(wide_edges())
    dense = "AddFullyConnected(tflite::Register_FULLY_CONNECTED_INT8())"
    assert registrations(raw, int8=True) == (dense, "AddQuantize()", "AddSoftmax()")
    assert registrations(raw, int8=False) == ("AddFullyConnected()", "AddQuantize()", "AddSoftmax()")


def test_a_uint8_edge_of_another_scale_rests_at_its_own_zero_point() -> None:
    pixels = all_edges(any_edges())[0][1]
    assert (pixels.golden_type, pixels.scale, pixels.zero_point, pixels.resting) == (
        "uint8",
        float(np.float32(0.02)),
        -121,
        7,
    )


def test_a_bias_that_tflm_reads_past_its_end_is_refused(tmp_path: Path) -> None:
    """What lies behind it is another thing in the array than in the file."""
    builder = ModelBuilder((2, 2, 4), 0.5, 0)
    weights, bias = np.ones((3, 1, 3, 4), np.int8), np.ones(3, np.int32)
    output = builder.transpose_conv(builder.input, weights, [0.1] * 3, bias, (1.0, 0), (2, 4), stride=(1, 2), same=True)
    for tensor in (builder.input, output):
        builder.tensors[tensor].type = "INT16"
    with pytest.raises(BadModelError, match="a bias of INT32, which TensorFlow Lite Micro reads as one of INT64"):
        write_arrays(builder.build(output), tmp_path / "a", name="x")


def test_real_inputs_are_for_int8(tmp_path: Path) -> None:
    (tmp_path / "wide.tflite").write_bytes(wide_edges())
    np.savez(tmp_path / "real.npz", x=np.zeros((4, 6), np.float32))
    with pytest.raises(BadInputError, match="where the model takes int8, this one takes int16"):
        api.convert_to_arrays(tmp_path / "wide.tflite", tmp_path / "a", calibration=tmp_path / "real.npz")


def test_an_op_that_tflm_lacks_is_refused(tmp_path: Path) -> None:
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    builder.op("GELU", [builder.input], builder.activation((4, 4, 2), 0.1, 0), Table("GeluOptions"))
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(GELU\): TensorFlow Lite Micro has no such op"):
        write_arrays(builder.build(1), tmp_path / "a", name="x")


def test_the_name_of_a_custom_op_never_reaches_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tritguard.emit.tflm.ops.registered_ops", frozenset)
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    builder.op("CUSTOM SignalX(); evil", [builder.input], builder.activation((4, 4, 2), 0.1, 0))
    with pytest.raises(UnsupportedOpError, match="TensorFlow Lite Micro has no such op"):
        write_arrays(builder.build(1), tmp_path / "a", name="x")


def test_a_model_without_ops_is_refused(tmp_path: Path) -> None:
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    with pytest.raises(BadModelError, match="the model has no ops"):
        write_arrays(builder.build(builder.input), tmp_path / "a", name="x")


@pytest.mark.parametrize("interpreter", [True, False])
def test_an_op_without_its_weights_is_refused(
    interpreter: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "oracle_available", lambda: interpreter)
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    options = Table("Conv2DOptions")
    output = builder.op("CONV_2D", [builder.input], builder.activation((4, 4, 2), 0.1, 0), options)
    with pytest.raises(BadModelError):
        write_arrays(builder.build(output), tmp_path / "a", name="x")
    assert list(tmp_path.iterdir()) == []


def test_conversions_of_nothing_at_the_edges_are_refused(tmp_path: Path) -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    inner, builder.inputs = builder.input, [builder.edge((4,), "FLOAT32", (0, 0))]
    builder.op("QUANTIZE", builder.inputs, [], Table("QuantizeOptions"))
    with pytest.raises(BadModelError, match=r"op 0 \(QUANTIZE\): output 0 is missing"):
        write_arrays(builder.build(builder.unary("TANH", inner, (1 / 128, 0))), tmp_path / "a", name="x")
    builder = ModelBuilder((4,), 0.5, 0)
    output = builder.op("DEQUANTIZE", [], builder.edge((4,), "FLOAT32", (0, 0)))
    builder.unary("TANH", builder.input, (1 / 128, 0))
    with pytest.raises(BadModelError, match=r"op 0 \(DEQUANTIZE\): input 0 is missing"):
        write_arrays(builder.build(output), tmp_path / "a", name="x")


def test_a_float_model_is_refused(tmp_path: Path) -> None:
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    output = builder.unary("RELU", builder.input, (0.25, 0))
    builder.tensors[builder.input].type = builder.tensors[output].type = "FLOAT32"
    with pytest.raises(BadModelError, match="the model computes in float32; convert the model with full int8"):
        write_arrays(builder.build(output), tmp_path / "a", name="x")


@pytest.mark.parametrize(
    ("name", "made"),
    [("DS-CNN v2", "ds_cnn_v2"), ("2.0/β", "model_2_0"), ("???", "model"), ("switch", "switch")],
)
def test_any_name_makes_an_identifier(name: str, made: str) -> None:
    assert identifier(name) == made


def test_names_that_c_has_compile(tmp_path: Path) -> None:
    """Keywords, functions, macros, types, and what the example and the firmware's adapter call theirs."""
    headers = [*("-include", "string.h"), *("-include", "stdint.h"), "-std=gnu++17", f"-isystem{HEADERS}"]
    for name in ("switch", "index", "linux", "uint8_t", "arena", "tflm"):
        arrays = write_arrays(big_ternary_model(), tmp_path / "a", name=name, uncompressed=True)
        example = arrays.path / "example.cc"
        example.write_text(f"{example.read_text()}\nnamespace tflm_model = {name}_model;  // the firmware does\n")
        compiled("g++", example, tmp_path / "example.o", *headers)
        shutil.rmtree(arrays.path)


def test_the_example_is_the_one_that_is_shown(tmp_path: Path) -> None:
    """The page's code is the generated one, numbers aside; no generated file has holes where a template decides."""

    def without_numbers(text: str) -> str:
        return re.sub(r"-?\d+(\.\d+)?(e-\d+)?( x \d+)*", "N", text)

    shown = re.findall(r"```cpp\n(.*?)```", (ROOT / "docs" / "tflm.md").read_text(), re.DOTALL)[0]
    arrays = write_arrays(big_ternary_model(), tmp_path / "a", name="mine", has_decode=True)
    includes, _, body = (arrays.path / "example.cc").read_text().partition("\n\nalignas")
    assert without_numbers(f"alignas{body}") == without_numbers(shown)
    assert includes.count("\n\n") == 1
    for file in (*arrays.path.glob("*.h"), *arrays.path.glob("*.cc")):
        assert "\n\n\n" not in file.read_text(), file.name


def test_only_arrays_are_replaced(tmp_path: Path) -> None:
    write_arrays(big_ternary_model(), tmp_path / "a", name="Net 1", uncompressed=True)
    arrays = write_arrays(big_ternary_model(), tmp_path / "a", name="2.0/β", uncompressed=True)
    assert arrays.manifest.identifier == "model_2_0"
    (arrays.path / "notes.txt").write_text("mine")
    with pytest.raises(BadInputError, match=r"notes\.txt does not belong"):
        write_arrays(big_ternary_model(), arrays.path, name="x")


def test_the_verb(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(big_ternary_model())
    real = np.random.default_rng(0).normal(0, 9, (40, 4, 4, 16)).astype(np.float32)
    np.savez(tmp_path / "real.npz", x=real)
    command = [sys.executable, "-m", "tritguard", "convert", str(tmp_path / "m.tflite"), "-o", str(tmp_path / "a")]
    options = ["--to", "tflm", "--calibration", str(tmp_path / "real.npz")]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    manifest = open_arrays(tmp_path / "a").manifest
    assert (manifest.verified_against_oracle, manifest.real_inputs, manifest.compressed_tensors) == (64, 32, 0)
    assert manifest.left is not None
    less = manifest.array_bytes - manifest.left.array_bytes
    assert (
        f"weights of 1 layer left as int8: compressed they take {less:,} B less flash, and DECODE's own code "
        "some 18,524 B; where your firmware has DECODE already, give --has-decode"
    ) in done.stdout
    assert "same bytes as the golden model in TensorFlow Lite Micro on 32 random and 32 real inputs" in done.stdout
    for options, message in (
        (["--uncompressed"], "--uncompressed, --has-decode and --tflm-compat belong to --to tflm"),
        (
            ["--to", "tflm", "--has-decode", "--tflm-compat"],
            "--has-decode: goes with neither --uncompressed nor --tflm-compat",
        ),
        (["--to", "tflm", "--core", "cortex-m0"], "--classes, --core and --format belong to --to native"),
    ):
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (2, f"error: {message}\n")


def test_both_sums_of_compression_are_said(tmp_path: Path) -> None:
    """With DECODE's own code, and where the firmware has it already."""
    for channels, options, sign in ((16, ["--has-decode"], "more"), (192, [], "less")):
        (tmp_path / "m.tflite").write_bytes(big_ternary_model(channels))
        command = ["convert", str(tmp_path / "m.tflite"), "-o", str(tmp_path / "a"), "--to", "tflm", *options]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        manifest = open_arrays(tmp_path / "a").manifest
        assert manifest.uncompressed is not None
        saved = manifest.uncompressed.array_bytes - manifest.array_bytes
        assert (
            f"weights of 1 layer compressed: {saved:,} B less flash where your firmware has DECODE already, and some "
            f"{abs(saved - 18_524):,} B {sign} with DECODE's own code, for "
        ) in done.stdout


@pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")
def test_several_inputs_and_outputs_are_taken(tmp_path: Path) -> None:
    content = several(2, 3)
    arrays = write_arrays(content, tmp_path / "arrays", name="several")
    sources, sinks = all_edges(content)
    manifest = open_arrays(arrays.path).manifest
    assert (manifest.input, *manifest.further_inputs) == sources
    assert (manifest.output, *manifest.further_outputs) == sinks
    assert min(len(sources), len(sinks)) > 1 and manifest.verified_against_oracle == 32
    golden = (arrays.path / "several_golden.h").read_text()
    example = (arrays.path / "example.cc").read_text()
    for name, found in (("Input", sources), ("Output", sinks)):
        for number, edge in enumerate(found):
            assert f"kGolden{name}{number or ''}[{edge.bytes}]" in golden
            assert f"interpreter.{name.lower()}({number})" in example
    compiled("g++", arrays.path / "example.cc", tmp_path / "o.o", f"-isystem{HEADERS}", f"-I{arrays.path}")
    with pytest.raises(UnsupportedOpError, match="inputs, one is supported"):
        edges(content)
