"""Each op beyond the convolutional ones against TFLM's interpreter, and what is refused of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.support.differences import differences
from tests.support.known_models import (
    edged,
    large_windows_model,
    long_dense_model,
    other_ops_model,
    several,
    ternary_model,
)
from tests.support.random_graphs import (
    FUNCTIONS,
    function,
    inputs,
    sample_inputs,
    scales,
    transpose_conv,
    zero_points,
)
from tests.support.random_moves import MOVES
from tests.support.random_pairs import PAIRS, REDUCTIONS, pair, product, reduction
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.attack.view import GradientView
from tritguard.boards import CoreClass
from tritguard.cli import app
from tritguard.emit import write_bundle
from tritguard.errors import BadInputError, BadModelError, TritguardError, UnsupportedOpError
from tritguard.graph import optimised, read_graph
from tritguard.graph.formats.int8 import dense_scratch
from tritguard.graph.model import Lookup
from tritguard.oracle import Oracle, measure_apart, oracle_available, probes
from tritguard.twin import Twin, verify_against_oracle

needs_oracle = pytest.mark.skipif(
    not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform"
)
EVERY_INT8 = np.arange(-128, 128, dtype=np.int8)


@needs_oracle
@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), scale=scales, zero_point=zero_points)
def test_tables_hold_the_oracles_bytes(name: str, data: st.DataObject, scale: float, zero_point: int) -> None:
    builder = ModelBuilder((256,), scale, -128 if name == "RSQRT" else zero_point)
    content = builder.build(data.draw(st.composite(function)(builder, builder.input, name)))
    try:
        op = read_graph(content).ops[-1]
    except BadModelError:
        with pytest.raises(BadModelError):
            Oracle(content)
        return
    assert isinstance(op, Lookup)
    assert np.array_equal(op.table, Oracle(content).predict(EVERY_INT8[None]).scores[0])


@needs_oracle
@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.integers(1, 4), depth=st.integers(1, 700), scale=st.floats(2**-24, 200), seed=inputs)
def test_logarithms_of_softmax_give_the_oracles_bytes(rows: int, depth: int, scale: float, seed: int) -> None:
    """Also where a step of the input is wider than the fixed point reaches, and where all inputs are one."""
    builder = ModelBuilder((rows, depth), float(np.float32(scale)), 3)
    assert differences(builder.build(builder.log_softmax(builder.input)), seed) is None


@needs_oracle
@pytest.mark.parametrize("make", [other_ops_model, ternary_model])
def test_models_of_many_ops_answer_each_input_otherwise(make: Callable[[], bytes]) -> None:
    """What is saturated on the way would hide what the ops before it compute."""
    content = make()
    graph = read_graph(content)
    scores = Oracle(content).predict(sample_inputs(graph.tensors[graph.input].shape, 1, count=8)[:8]).scores
    assert len(np.unique(scores.reshape(8, -1), axis=0)) == 8


@needs_oracle
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=st.integers(1, 4), depth=st.integers(1, 700), zero_point=zero_points, seed=inputs)
def test_normalized_rows_are_the_oracles(rows: int, depth: int, zero_point: int, seed: int) -> None:
    """Also rows of one step around the zero point, whose length is small."""
    builder = ModelBuilder((rows, depth), 0.1, zero_point)
    content = builder.build(builder.l2_normalization(builder.input))
    assert differences(content, seed) is None
    rng = np.random.default_rng(seed)
    near = np.clip(zero_point + rng.integers(-1, 2, (9, rows, depth)), -128, 127).astype(np.int8)
    sparse = np.where(rng.random(near.shape) < 1 / depth, near, np.int8(zero_point)).astype(np.int8)
    assert differences(content, np.concatenate([near, sparse])) is None


@needs_oracle
def test_the_longest_row_is_normalized() -> None:
    builder = ModelBuilder((33025,), 0.1, -128)
    content = builder.build(builder.l2_normalization(builder.input))
    rng = np.random.default_rng(3)
    x = np.stack([np.full(33025, 127), rng.integers(64, 128, 33025), rng.integers(-128, 128, 33025)]).astype(np.int8)
    assert differences(content, x) is None
    longer = ModelBuilder((33026,), 0.1, -128)
    with pytest.raises(UnsupportedOpError, match="a length of 33026"):
        read_graph(longer.build(longer.l2_normalization(longer.input)))


@needs_oracle
@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), axes=st.integers(2, 5), seed=inputs)
def test_pads_of_any_axes_give_the_oracles_bytes(data: st.DataObject, axes: int, seed: int) -> None:
    """The batch's axis as well."""
    sides = data.draw(st.lists(st.integers(1, 4), min_size=axes - 1, max_size=axes - 1))
    pads = data.draw(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=axes, max_size=axes))
    builder = ModelBuilder(tuple(sides), 0.5, 3)
    moved = builder.unary("TANH", builder.input, (1 / 128, 0))
    padded = [side + sum(pad) for side, pad in zip((1, *sides), pads, strict=True)]
    output = builder.tensor(padded, "INT8", [1 / 128], [0])
    amounts = builder.constant(np.array(pads, dtype=np.int32))
    assert differences(builder.build(builder.op("PAD", [moved, amounts], output, Table("PadOptions"))), seed) is None


@needs_oracle
@pytest.mark.parametrize("core", ["m4", *(pytest.param(core, marks=pytest.mark.slow) for core in ("m0", "m3", "m55"))])
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kernel=st.tuples(st.integers(1, 12), st.integers(1, 7)),
    channels=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=inputs,
)
def test_windows_larger_than_the_images_give_the_oracles_bytes(
    core: CoreClass, kernel: tuple[int, int], channels: tuple[int, int], seed: int
) -> None:
    content = large_windows_model(kernel, channels)
    x = np.random.default_rng(seed).integers(-128, 128, (9, 14, 8, 3), dtype=np.int8)
    assert differences(content, x, core) is None


@needs_oracle
@pytest.mark.parametrize("name", MOVES)
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=inputs)
def test_moves_give_the_oracles_bytes(name: str, data: st.DataObject, seed: int) -> None:
    builder = ModelBuilder(data.draw(st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 12))), 0.5, 3)
    tensor = builder.input
    for _ in range(6):
        tensor = data.draw(st.composite(MOVES[name])(builder, tensor))
    assert differences(builder.build(tensor), seed) is None


@needs_oracle
@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=inputs, scale=st.floats(1e-3, 10), zero_point=zero_points)
def test_pairs_give_the_oracles_bytes(name: str, data: st.DataObject, seed: int, scale: float, zero_point: int) -> None:
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)))
    builder = ModelBuilder(shape, float(np.float32(scale)), zero_point)
    tensor = builder.input
    for _ in range(3):
        tensor = data.draw(st.composite(pair)(builder, tensor, name))
    content = builder.build(tensor)
    try:
        read_graph(content)
    except BadModelError:
        with pytest.raises(BadModelError):
            Oracle(content)
        return
    assert differences(content, seed) is None


@needs_oracle
@pytest.mark.parametrize("name", [*REDUCTIONS, "BATCH_MATMUL"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=inputs, scale=st.floats(1e-3, 10), zero_point=zero_points)
def test_reductions_and_products_give_the_oracles_bytes(
    name: str, data: st.DataObject, seed: int, scale: float, zero_point: int
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)))
    builder = ModelBuilder(shape, float(np.float32(scale)), zero_point)
    if name == "BATCH_MATMUL":
        tensor = data.draw(st.composite(product)(builder, builder.input))
    else:
        tensor = data.draw(st.composite(reduction)(builder, builder.input, name))
    assert differences(builder.build(tensor), seed) is None


@needs_oracle
@pytest.mark.parametrize(("depth", "units", "activation"), [(516, 8, "NONE"), (513, 1, "RELU"), (1500, 6, "RELU6")])
def test_long_vectors_are_widened_in_pieces(depth: int, units: int, activation: str) -> None:
    content = long_dense_model(depth, units, activation)
    assert dense_scratch(depth, units) == (256, 512 + 4 * (units + -units % 4))
    assert differences(content, 3) is None


@needs_oracle
def test_a_dense_layer_takes_no_more_than_tflms_arena(tmp_path: Path) -> None:
    content = shared_file("faults/tflite/dense_scratch.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "b", name="dense")
    _, use = measure_apart(content, probes(bundle.manifest.input_shape, 2))
    assert bundle.manifest.arena_bytes <= use.activations < use.least


@needs_oracle
def test_a_depthwise_layer_of_one_channel_takes_one_plane(tmp_path: Path) -> None:
    """As in micro_speech, the example of TFLM, whose whole RAM was less than ours."""
    rng = np.random.default_rng(9)
    builder = ModelBuilder((49, 40, 1), 0.1, -128)
    taps = rng.integers(-127, 128, (10, 8, 8), dtype=np.int8)
    deep = builder.depthwise(builder.input, taps, [0.001] * 8, None, (0.08, -128), stride=(2, 2), activation="RELU")
    dense = rng.integers(-127, 128, (4, 4000), dtype=np.int8)
    content = builder.build(builder.dense(builder.reshape(deep, (4000,)), dense, [0.0005], None, (0.1, 14)))
    bundle = write_bundle(content, tmp_path / "b", name="speech")
    x = probes(bundle.manifest.input_shape, 4)
    scores, use = measure_apart(content, x)
    assert np.array_equal(Twin(bundle).predict(x).scores, scores)
    assert bundle.manifest.arena_with_input is not None and bundle.manifest.arena_with_input <= use.least


@needs_oracle
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=inputs, scale=st.floats(1e-3, 10), zero_point=zero_points)
def test_transposed_convolutions_give_the_oracles_bytes(
    data: st.DataObject, seed: int, scale: float, zero_point: int
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 9)))
    builder = ModelBuilder(shape, float(np.float32(scale)), zero_point)
    assert differences(builder.build(data.draw(st.composite(transpose_conv)(builder, builder.input))), seed) is None


@needs_oracle
def test_codes_without_the_first_schemas_byte_are_read() -> None:
    """Some converters leave it out, and the schema package then calls every op an ADD."""
    builder = ModelBuilder((4, 4, 3), 0.5, 3)
    builder.narrow_codes = False
    content = builder.build(builder.unary("TANH", builder.reshape(builder.input, (48,)), (1 / 128, 0)))
    assert [op.kind for op in read_graph(content).ops] == ["RESHAPE", "TANH"]
    assert differences(content, 1) is None


@needs_oracle
def test_copies_of_tensors_without_a_scale_are_taken() -> None:
    builder = ModelBuilder((3, 5, 2), 1.0, 0)
    sliced = builder.tensor([1, 2, 4, 2], "INT8")
    constants = [builder.ints([0, 1, 0, 0]), builder.ints([1, 2, 4, 2])]
    builder.op("SLICE", [builder.input, *constants], sliced, Table("SliceOptions"))
    joined = builder.tensor([1, 2, 4, 4], "INT8")
    builder.op("CONCATENATION", [sliced, sliced], joined, Table("ConcatenationOptions", Axis=3))
    builder.tensors[builder.input].scales = builder.tensors[builder.input].zero_points = None
    assert differences(builder.build(joined), 1) is None
    computed = builder.activation((2, 4, 4), 1 / 128, 0)
    builder.op("TANH", [joined], computed)
    with pytest.raises(BadModelError, match=rf"op 2 \(TANH\): tensor {joined} lacks a scale and zero point"):
        read_graph(builder.build(computed))


@needs_oracle
@pytest.mark.parametrize("kind", ["FLOAT32", "UINT8"])
def test_edges_of_other_types_are_converted_on_the_host(kind: str, tmp_path: Path) -> None:
    content = edged(kind)
    assert [op.kind for op in read_graph(content).ops] == ["TANH"]
    bundle = write_bundle(content, tmp_path / "b", name="edges", check=verify_against_oracle)
    assert bundle.manifest.verified_against_oracle > 0
    assert bundle.manifest.input.golden_type == bundle.manifest.output.golden_type == kind.lower()
    assert "float" not in (bundle.c_dir / "tg_model.c").read_text()
    x = np.resize(EVERY_INT8, (22, 4, 3))
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)


@needs_oracle
@pytest.mark.parametrize("name", ["uint8_edge_same", "uint8_edge_ulp", "float_output", "pack_batch", "mean_one_axis"])
def test_edges_and_shapes_of_public_models(name: str, tmp_path: Path) -> None:
    """A uint8 edge whose scale is off by two float32 units, a PACK of a batch, means over one axis each."""
    content = shared_file(f"faults/tflite/{name}.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "b", name=name)
    x = sample_inputs(bundle.manifest.input_shape, 3, count=60)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)


def test_a_uint8_edge_that_rescales_is_refused() -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    inner = builder.input
    builder.inputs = [builder.edge((4,), "UINT8", (0.25, 128))]
    builder.op("QUANTIZE", builder.inputs, inner, Table("QuantizeOptions"))
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(QUANTIZE\): a uint8 edge"):
        read_graph(builder.build(builder.unary("TANH", inner, (1 / 128, 0))))


@needs_oracle
@pytest.mark.parametrize(("inputs_", "outputs"), [(2, 1), (1, 2), (3, 3)])
def test_several_inputs_and_outputs(inputs_: int, outputs: int, tmp_path: Path) -> None:
    content = several(inputs_, outputs)
    bundle = write_bundle(content, tmp_path / "b", name="several", check=verify_against_oracle)
    assert bundle.manifest.verified_against_oracle > 0
    assert len(read_graph(content).inputs) == inputs_
    x = np.random.default_rng(0).integers(-128, 128, (9, *bundle.manifest.input_shape), dtype=np.int8)
    scores = Twin(bundle).predict(x).scores
    assert scores.shape == (9, 12 * outputs)
    assert np.array_equal(scores, Oracle(content).predict(x).scores)
    with pytest.raises(
        BadInputError, match=f"the model has {inputs_} inputs and {outputs} outputs; gradients need one"
    ):
        GradientView(read_graph(content))


def test_verbs_that_take_one_input_and_output_say_so(tmp_path: Path) -> None:
    model = tmp_path / "several.tflite"
    model.write_bytes(several(2, 1))

    def refusal(*command: str | Path) -> str:
        done = CliRunner().invoke(app, [str(word) for word in command])
        assert isinstance(done.exception, TritguardError)
        assert not (tmp_path / "out").exists()
        return str(done.exception)

    bundle = write_bundle(model.read_bytes(), tmp_path / "b", name="several").path
    one = "2 inputs and 1 outputs, one of each is supported on a device"
    assert one in refusal("build", bundle, "-o", tmp_path / "out")
    assert one in refusal("profile", bundle, tmp_path / "build", "-o", tmp_path / "out")
    assert one in refusal("attack", bundle, tmp_path / "build", "--data", "none", "-o", tmp_path / "out")
    for_tflm = [str(word) for word in ("convert", model, "--to", "tflm", "-o", tmp_path / "out")]
    assert CliRunner().invoke(app, for_tflm).exit_code == 0  # whose own interface takes several


def test_relu_becomes_the_clamp_of_the_layer_before() -> None:
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    out = (0.25, -100)
    conv = builder.conv(builder.input, np.ones((3, 1, 1, 2), np.int8), [0.5], None, out)
    graph = optimised(read_graph(builder.build(builder.unary("RELU6", conv, out))))
    assert [op.kind for op in graph.ops] == ["CONV_2D"]
    assert (graph.ops[0].requant.act_min, graph.ops[0].requant.act_max) == (-100, -100 + 24)
    assert set(graph.tensors) == {graph.input, graph.output}


def test_relu_stays_where_others_read_its_input_or_it_rescales() -> None:
    builder = ModelBuilder((4, 4, 2), 0.5, 0)
    conv = builder.conv(builder.input, np.ones((2, 1, 1, 2), np.int8), [0.5], None, (0.25, 3))
    clamped = builder.unary("RELU", conv, (0.25, 3))
    rescaled = builder.unary("RELU", builder.add(conv, clamped, (0.5, 0)), (0.125, 0))
    graph = optimised(read_graph(builder.build(rescaled)))
    assert [op.kind for op in graph.ops] == ["CONV_2D", "RELU", "ADD", "RELU"]


def test_functions_with_one_output_scale_refuse_another() -> None:
    for name, out in (("LOGISTIC", (1 / 128, -128)), ("TANH", (1 / 128, 1))):
        builder = ModelBuilder((4,), 0.5, 0)
        with pytest.raises(BadModelError, match="output scale is not"):
            read_graph(builder.build(builder.unary(name, builder.input, out)))


def test_relu6_that_rescales_is_refused() -> None:
    """TFLM would give the input's bytes under the output's scale."""
    builder = ModelBuilder((4,), 0.5, 0)
    with pytest.raises(UnsupportedOpError, match="differ in scale"):
        read_graph(builder.build(builder.unary("RELU6", builder.input, (0.25, 0))))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "CUSTOM edgetpu-custom-op",
            "compiled for an Edge TPU.*; give the .tflite from before",
        ),
        ("GELU", "TensorFlow Lite Micro has no such op"),
        ("EXP", "TensorFlow Lite Micro has it for float32 alone"),
        ("CUMSUM", "not supported"),
        ("WHILE", "loops are not supported"),
    ],
)
def test_a_refused_op_is_named_before_what_follows_from_it(name: str, why: str) -> None:
    """Here the output is no int8 tensor either, and the input no int8 one."""
    builder = ModelBuilder((4,), 0.5, 0)
    builder.inputs = [builder.edge((4,), "UINT8", (0.5, 128))]
    output = builder.op(name, builder.inputs, builder.edge((4,), "FLOAT32", (0, 0)))
    if name == "GELU" and not oracle_available():
        why = "not supported"
    with pytest.raises(UnsupportedOpError, match=rf"^op 0 \({name}\): {why}"):
        read_graph(builder.build(output))


@needs_oracle
def test_a_single_number_may_leave_out_its_shape(tmp_path: Path) -> None:
    builder = ModelBuilder((), 0.5, 0)
    output = builder.unary("TANH", builder.input, (1 / 128, 0))
    for tensor in (builder.input, output):
        builder.tensors[tensor].shape, builder.tensors[tensor].no_shape = [], True
    bundle = write_bundle(builder.build(output), tmp_path / "b", name="single", check=verify_against_oracle)
    assert bundle.manifest.input.shape == (1,)


@pytest.mark.parametrize(("crops", "shape"), [
    ([[0, 5], [0, 0]], (3, 4, 1)), ([[0, 4], [0, 0]], (1, 4, 1)), ([[5, 0], [0, 0]], (1, 4, 1)),
    ([[2, 3], [0, 0]], (1, 4, 1)), ([[0, 0], [1, 6]], (4, 1, 1)),
])  # fmt: skip
def test_crops_that_leave_nothing_are_refused(crops: list[list[int]], shape: tuple[int, int, int]) -> None:
    builder = ModelBuilder((2, 2, 1), 0.5, 0)
    builder.tensors[builder.input].shape = [4, 2, 2, 1]
    inputs = [builder.input, builder.ints([2, 2]), builder.constant(np.array(crops, np.int32))]
    output = builder.op("BATCH_TO_SPACE_ND", inputs, builder.activation(shape, 0.5, 0), Table("BatchToSpaceNDOptions"))
    with pytest.raises(BadModelError, match=r"op 0 \(BATCH_TO_SPACE_ND\): crops"):
        read_graph(builder.build(output))


@needs_oracle
@pytest.mark.parametrize("mask", [0, 2])
@pytest.mark.parametrize(("begin", "step"), [(2, 1), (-1, 1), (-4, 2), (-5, 1), (4, 1), (2, -1), (0, -2)])
def test_an_axis_that_vanishes_gives_the_oracles_bytes(begin: int, step: int, mask: int) -> None:
    """Or it is refused: beyond the side and backwards TFLM reads what lies beside the element."""
    builder = ModelBuilder((4, 3), 0.5, 0)
    bounds = [builder.ints([0, begin, 0]), builder.ints([1, begin + 1, 3]), builder.ints([1, step, 1])]
    options = Table("StridedSliceOptions", ShrinkAxisMask=2, BeginMask=mask)
    output = builder.op("STRIDED_SLICE", [builder.input, *bounds], builder.activation((3,), 0.5, 0), options)
    content = builder.build(output)
    if step < 0 or (not mask and not -4 <= begin < 4):
        with pytest.raises(BadModelError, match=r"op 0 \(STRIDED_SLICE\)"):
            read_graph(content)
    else:
        assert differences(content, 1) is None


@needs_oracle
def test_a_batch_of_several_is_taken_where_no_op_needs_one_and_refused_with_its_shape_elsewhere(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    builder = ModelBuilder((6,), 0.05, 3)
    builder.tensors[builder.input].shape = [2, 6]
    hidden = builder.dense(builder.input, rng.integers(-127, 128, (4, 6), dtype=np.int8), [0.01], None, (0.1, 2))
    builder.tensors[hidden].shape = [2, 4]
    output = builder.softmax(hidden)
    builder.tensors[output].shape = [2, 4]
    content = builder.build(output)
    bundle = write_bundle(content, tmp_path / "b", name="batch")
    x = sample_inputs(bundle.manifest.input_shape, 1, count=20)
    assert (x.shape[1:], bundle.manifest.label_rule.kind) == ((2, 6), "none")
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)

    builder = ModelBuilder((6, 6, 3), 0.05, 3)
    output = builder.conv(builder.input, np.ones((4, 3, 3, 3), np.int8), [0.01] * 4, None, (0.2, 0))
    for tensor in (builder.input, output):
        builder.tensors[tensor].shape[0] = 2
    with pytest.raises(UnsupportedOpError, match=r"shape \[2, 6, 6, 3\], 1 x height x width x channels is"):
        read_graph(builder.build(output))
