"""Reading `.tflite` files: what is taken, what is refused and how, and the passes over the graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.random_graphs import models
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph import read_graph
from tritguard.graph.arena.memory import Slot, plan_memory
from tritguard.graph.emission import choose_kernels
from tritguard.graph.formats.kernel import scratch_sizes
from tritguard.graph.formats.ternary import TRITS_PER_WORD, pack, ternary_weights


def small_model() -> ModelBuilder:
    return ModelBuilder((4, 4, 3), 0.5, -3)


@pytest.mark.parametrize(
    ("name", "macs", "ops", "logits"),
    [("dscnn_int8", 2_656_768, 13, 11), ("resnet8_int8", 12_501_632, 16, 14)],
)
def test_mlperf_models_are_read_unmodified(name: str, macs: int, ops: int, logits: int) -> None:
    graph = read_graph(shared_file(f"models/{name}.tflite").read_bytes())
    assert (graph.macs, len(graph.ops), graph.logits_position()) == (macs, ops, logits)


def test_an_unsupported_op_is_named_with_its_index() -> None:
    builder = small_model()
    tensor = builder.quantize(builder.input, (0.5, 0))
    builder.op("FLOOR", [tensor], output := builder.activation((4, 4, 3), 0.5, 0))
    with pytest.raises(UnsupportedOpError, match=r"op 1 \(FLOOR\): .* float32 alone; supported are ABS, .*UNPACK"):
        read_graph(builder.build(output))


def test_a_custom_op_is_refused() -> None:
    builder = small_model()
    builder.op("CUSTOM", [builder.input], output := builder.activation((4, 4, 3), 0.5, 0))
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(CUSTOM"):
        read_graph(builder.build(output))


def test_grouped_convolution_is_refused() -> None:
    builder = ModelBuilder((4, 4, 4), 0.5, 0)
    output = builder.conv(builder.input, np.ones((2, 1, 1, 2), np.int8), [0.1], None, (1.0, 0))
    with pytest.raises(UnsupportedOpError, match="grouped"):
        read_graph(builder.build(output))


def test_shapes_that_do_not_broadcast_are_refused() -> None:
    builder = small_model()
    other = builder.constant(np.ones((1, 2, 1, 1), np.int8), [0.5])
    builder.op("ADD", [builder.input, other], output := builder.activation((4, 4, 3), 1.0, 0), Table("AddOptions"))
    with pytest.raises(BadModelError, match=r"op 0 \(ADD\): shapes"):
        read_graph(builder.build(output))


def test_weights_with_a_zero_point_are_refused() -> None:
    builder = small_model()
    weights = builder.constant(np.ones((2, 48), np.int8), [0.1], zero_point=3)
    flat = builder.reshape(builder.input, (48,))
    options = Table("FullyConnectedOptions")
    output = builder.op("FULLY_CONNECTED", [flat, weights], builder.activation((2,), 1.0, 0), options)
    with pytest.raises(UnsupportedOpError, match="zero point"):
        read_graph(builder.build(output))


def test_a_float_model_is_refused() -> None:
    with pytest.raises(BadModelError, match="FLOAT32, not INT8; convert the model with full int8"):
        read_graph(shared_file("models/dscnn_float.tflite").read_bytes())


def test_only_what_the_output_needs_is_read() -> None:
    """Ops that compute a reshape's target at run time, as Keras emits for a dynamic batch, are passed over."""
    builder = small_model()
    shape = builder.tensor([4], "INT32")
    builder.op("SHAPE", [builder.input], shape)
    output = builder.op("RESHAPE", [builder.input, shape], builder.activation((48,), 0.5, -3))
    assert [op.kind for op in read_graph(builder.build(output)).ops] == ["RESHAPE"]


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\0" * 100, b"\x1c\0\0\0TFL3" + b"\xff" * 64, b"GIF89a" * 30])
def test_foreign_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(BadModelError):
        read_graph(content)


@settings(max_examples=100, deadline=None)
@given(share=st.floats(0, 0.999))
def test_a_truncated_file_is_refused(share: float) -> None:
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    with pytest.raises(BadModelError):
        read_graph(content[: int(share * len(content))])


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=models(), positions=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=20)
)
def test_damage_never_raises_anything_but_bad_model(content: bytes, positions: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for position, value in positions:
        damaged[position % len(damaged)] = value
    try:
        read_graph(bytes(damaged))
    except BadModelError as error:
        assert str(error)


def test_no_output_is_missing_and_no_input_of_the_graph() -> None:
    for change, where in (
        (lambda builder: builder.inputs.append(-1), "the graph: input 1"),
        (lambda builder: builder.op("TANH", [builder.input], -1), r"op 1 \(TANH\): output 0"),
    ):
        builder = ModelBuilder((4,), 0.5, 0)
        output = builder.unary("TANH", builder.input, (1 / 128, 0))
        change(builder)
        with pytest.raises(BadModelError, match=f"{where} is missing"):
            read_graph(builder.build(output))
    with pytest.raises(BadModelError, match="the graph: output 1 is missing"):
        read_graph(ModelBuilder((4,), 0.5, 0).build(0, -1))


def test_a_reshape_that_rescales_is_refused() -> None:
    builder = small_model()
    output = builder.op("RESHAPE", [builder.input], builder.activation((48,), 0.25, -3))
    with pytest.raises(UnsupportedOpError, match="differ in scale"):
        read_graph(builder.build(output))


def test_an_axis_beyond_the_shape_is_refused() -> None:
    builder = small_model()
    axes = builder.constant(np.array([1, 262146], dtype=np.int32))
    output = builder.activation((3,), 0.5, 0)
    builder.op("MEAN", [builder.input, axes], output, Table("ReducerOptions"))
    with pytest.raises(BadModelError, match=r"op 0 \(MEAN\): axis 262146 of 4"):
        read_graph(builder.build(output))


def test_options_of_another_op_are_refused() -> None:
    builder = small_model()
    output = builder.activation((4, 4, 3), 0.5, 0)
    builder.op("ADD", [builder.input, builder.input], output, Table("SubOptions"))
    with pytest.raises(BadModelError, match="options are missing or of another op"):
        read_graph(builder.build(output))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models())
def test_tensors_alive_at_the_same_time_never_overlap(content: bytes) -> None:
    graph = read_graph(content)
    plan = plan_memory(graph, {at: choice.kernel for at, choice in choose_kernels(graph, "m4", plan_memory).items()})
    assert plan.arena_bytes >= plan.lower_bound
    for position, op in enumerate(graph.ops):
        places = [plan.place(tensor) for tensor in (*op.inputs, op.output)]
        assert "input" not in places[-1:] or op.kind == "RESHAPE", "the caller's input is written"
        for place in places:
            if isinstance(place, Slot):
                assert place.first <= position <= place.last
                assert place.offset + place.size <= plan.arena_bytes
    for a in plan.slots:
        for b in plan.slots:
            if a is not b and a.first <= b.last and b.first <= a.last:
                over = any(overlap.input in b.tensors for overlap in a.overlaps)
                under = any(overlap.input in a.tensors for overlap in b.overlaps)
                assert over or under or a.offset + a.size <= b.offset or b.offset + b.size <= a.offset


def test_a_residual_stays_alive_until_it_is_added() -> None:
    builder = ModelBuilder((8, 8, 4), 0.5, 0)
    weights = np.arange(144, dtype=np.uint8).astype(np.int8).reshape(4, 3, 3, 4)
    first = builder.conv(builder.input, weights, [0.1], None, (1.0, 0))
    second = builder.conv(first, weights, [0.1], None, (1.0, 0))
    third = builder.conv(second, weights, [0.1], None, (1.0, 0))
    output = builder.quantize(builder.add(first, third, (2.0, 0)), (1.0, 0))
    graph = read_graph(builder.build(output))
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, "m4", plan_memory).items()}
    plan = plan_memory(graph, kernels)
    # Two images at any time; the second convolution's output lies over its input, a row of eight and a pixel ahead.
    scratch = scratch_sizes(graph, kernels)
    assert plan.arena_bytes == plan.lower_bound == 2 * 8 * 8 * 4 + max(9 * 4 + scratch[1], scratch[3])


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=6).map(lambda trits: trits * TRITS_PER_WORD))
def test_packed_trits_come_back(trits: list[int]) -> None:
    words = pack(np.array(trits, dtype=np.int8))
    back = [(int(words[i // 16]) >> (2 * (i % 16)) & 3) - 1 for i in range(len(trits))]
    assert back == trits


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models())
def test_ternary_weights_are_recognised_exactly(content: bytes) -> None:
    for op in read_graph(content).ops:
        if not hasattr(op, "weights"):
            continue
        by_channel = np.moveaxis(op.weights, op.channel_axis, 0).reshape(len(op.bias), -1).astype(int)
        is_ternary = all(len({abs(w) for w in row if w}) <= 1 for row in by_channel)
        packed = ternary_weights(op)
        if packed is None:
            rows, channels = op.weights.size // len(op.bias), len(op.bias)
            words = rows * -(-channels // 16) if op.kind == "DEPTHWISE_CONV_2D" else -(-op.weights.size // 16) + 1
            assert not is_ternary or 4 * words + channels >= op.weights.nbytes  # packing would not have paid
            continue
        assert is_ternary
        sides = [1] * op.weights.ndim
        sides[op.channel_axis] = -1
        assert np.array_equal(packed.trits * packed.magnitude.astype(int).reshape(sides), op.weights)
        assert packed.nbytes < op.weights.nbytes
