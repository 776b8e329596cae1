"""Ops that no input reaches: computed by the generator, with the oracle's bytes, and gone from the graph."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from tests.support.differences import differences
from tests.support.random_graphs import IMAGE_OPS, function, inputs, transpose_conv, zero_points
from tests.support.random_moves import computed_size, moved, resize_bilinear, resize_nearest
from tests.support.random_pairs import pair
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.errors import BadModelError, UnsupportedOpError
from tritguard.graph import read_graph
from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.flatbuffer import parse
from tritguard.graph.model import Binary, Conv2D, ResizeBilinear, ResizeNearest
from tritguard.graph.reading.fold import folded
from tritguard.oracle import Oracle, oracle_available

needs_oracle = pytest.mark.skipif(
    not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform"
)
quants = st.tuples(st.floats(1e-3, 10).map(lambda scale: float(np.float32(scale))), zero_points)


def with_constant(shape: tuple[int, ...], quant: tuple[float, int], seed: int = 0) -> tuple[ModelBuilder, int]:
    """A model whose input is still to be set, and a constant that ops take for an activation."""
    builder = ModelBuilder((1,), *quant)
    values = np.random.default_rng(seed).integers(-128, 128, (1, *shape), dtype=np.int8)
    return builder, builder.constant(values, [quant[0]], zero_point=quant[1])


def shown(builder: ModelBuilder, tensor: int) -> bytes:
    """The model whose output is the greater one of its single input and each byte of a tensor."""
    quant = builder.quant(tensor)
    builder.inputs = [builder.activation((1,) * len(builder.shape(tensor)), *quant)]
    return builder.build(builder.binary("MAXIMUM", builder.inputs[0], tensor, quant))


def assert_folded(content: bytes) -> None:
    try:
        (op,) = read_graph(content).ops
    except UnsupportedOpError as error:  # ops may lack a rule; no other reason
        assert "no rule to compute it ahead" in str(error)
        reject()
    except BadModelError:
        with pytest.raises(BadModelError):
            Oracle(content)
        return
    assert isinstance(op, Binary)
    assert op.constants[1] is not None
    least = np.full((1, 1), INT8_MIN, dtype=np.int8)
    assert np.array_equal(op.constants[1].values, Oracle(content).predict(least).scores[0])


@needs_oracle
@pytest.mark.parametrize(
    "draw_op", [*IMAGE_OPS, transpose_conv, moved, pair, function], ids=lambda one: one.__name__.strip("_")
)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=inputs, quant=quants)
def test_ops_on_constants_give_the_oracles_bytes(
    draw_op: Callable[[st.DrawFn, ModelBuilder, int], int], data: st.DataObject, seed: int, quant: tuple[float, int]
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 7), st.integers(1, 7), st.integers(1, 9)))
    builder, tensor = with_constant(shape, quant, seed)
    for _ in range(2):
        tensor = draw_op(data.draw, builder, tensor)
    assert_folded(shown(builder, tensor))


@needs_oracle
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    rows=st.integers(1, 4), depth=st.integers(1, 40), seed=inputs, quant=quants, beta=st.sampled_from([0.5, 1.0, 3.0])
)
def test_heads_on_constants_give_the_oracles_bytes(
    rows: int, depth: int, seed: int, quant: tuple[float, int], beta: float
) -> None:
    builder, tensor = with_constant((rows, depth), quant, seed)
    assert_folded(shown(builder, builder.softmax(tensor, beta)))
    builder, tensor = with_constant((rows, depth), quant, seed)
    assert_folded(shown(builder, builder.log_softmax(tensor)))
    builder, tensor = with_constant((rows, depth), quant, seed)
    assert_folded(shown(builder, builder.l2_normalization(tensor)))
    builder, tensor = with_constant((rows, depth), quant, seed)
    weights = np.random.default_rng(seed).integers(-128, 128, (3, rows * depth), dtype=np.int8)
    flat = builder.reshape(tensor, (rows * depth,))
    out = (quant[0] * math.sqrt(rows * depth) * 50, 3)
    assert_folded(shown(builder, builder.dense(flat, weights, [0.01, 0.5, 1.0], np.int32([0, 900, -7]), out)))


@needs_oracle
def test_a_float_constant_is_quantized() -> None:
    builder = ModelBuilder((1, 1), 0.1, 3)
    real = np.linspace(-20, 20, 4001, dtype=np.float32).reshape(1, 1, -1)
    tensor = builder.activation((1, 4001), 0.1, 3)
    builder.op("QUANTIZE", [builder.constant(real)], tensor, Table("QuantizeOptions"))
    assert_folded(shown(builder, tensor))


@needs_oracle
def test_weights_may_be_computed() -> None:
    """A kernel of 3 x 3 from one quantized to another scale."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((5, 5, 4), 0.5, 3)
    conv = builder.conv(builder.input, rng.integers(-127, 128, (1, 3, 3, 4), dtype=np.int8), [0.02], None, (0.9, 0))
    given_weights = builder.operators[0].fields["Inputs"][1]
    coarse = builder.quantize(given_weights, (0.05, 0))
    builder.operators[0].fields["Inputs"][1] = coarse
    builder.operators.reverse()
    content = builder.build(conv)
    (op,) = read_graph(content).ops
    assert isinstance(op, Conv2D)
    assert np.abs(op.weights).max() == 50
    assert differences(content, 2) is None


def test_an_output_that_no_input_reaches_is_refused() -> None:
    builder, tensor = with_constant((4,), (0.5, 0))
    with pytest.raises(UnsupportedOpError, match=r"output: tensor \d is a constant"):
        read_graph(builder.build(builder.unary("TANH", tensor, (1 / 128, 0))))


@pytest.mark.parametrize("name", ["RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"])
def test_a_size_computed_from_a_shape_is_a_constant(name: str) -> None:
    resize = resize_bilinear if name == "RESIZE_BILINEAR" else resize_nearest
    graphs = []
    for computed in (False, True):
        builder = ModelBuilder((3, 5, 2), 0.5, 3)
        resized = resize(builder, builder.input, (6, 10), False, False)
        if computed:
            resizing = builder.operators.pop()
            size = computed_size(builder, builder.input, 2)
            resizing.fields["Inputs"][1] = size
            builder.operators.append(resizing)
        graphs.append(read_graph(builder.build(resized)))
    (written,), (computed_op,) = (graph.ops for graph in graphs)
    assert isinstance(written, ResizeBilinear | ResizeNearest)
    assert (written.rows, written.columns) == (computed_op.rows, computed_op.columns)


@pytest.mark.parametrize(("name", "options", "operands", "expected"), [
    ("PACK", Table("PackOptions", ValuesCount=2, Axis=0), [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("CONCATENATION", Table("ConcatenationOptions", Axis=0), [[1, 2], [3]], [1, 2, 3]),
    ("GATHER", Table("GatherOptions", Axis=0), [[5, 6, 7], [2, 0]], [7, 5]),
    ("SLICE", Table("SliceOptions"), [[5, 6, 7], [1], [-1]], [6, 7]),
    ("TILE", Table("TileOptions"), [[1, 2], [2]], [1, 2, 1, 2]),
    ("FILL", Table("FillOptions"), [[3], [7]], [7, 7, 7]),
    ("SUB", Table("SubOptions"), [[5, 6], [1]], [4, 5]),
    ("FLOOR_DIV", Table("FloorDivOptions"), [[7, -7], [2]], [3, -4]),
    ("REDUCE_PROD", Table("ReducerOptions"), [[3, 4, 5], [0]], [60]),
    ("CAST", Table("CastOptions"), [[3, 4]], [3, 4]),
])  # fmt: skip
def test_arithmetic_on_shapes(name: str, options: Table, operands: list[list[int]], expected: list[int]) -> None:
    builder = ModelBuilder((4,), 0.5, 3)
    inputs = [builder.ints(operand) for operand in operands]
    output = builder.tensor(list(np.shape(expected)), "INT32")
    builder.op(name, inputs, output, options)
    raw = folded(parse(builder.build(output)))
    assert raw.ops == ()
    data = raw.tensors[output].data
    assert data is not None and data.dtype == np.int32 and data.tolist() == expected


@pytest.mark.parametrize(("name", "options", "operands"), [
    ("SLICE", Table("SliceOptions"), [[5, 6, 7], [-3], [2]]),
    ("SLICE", Table("SliceOptions"), [[5, 6, 7], [1], [3]]),
    ("GATHER", Table("GatherOptions", Axis=0), [[5, 6, 7], [2, -1]]),
    ("TRANSPOSE", Table("TransposeOptions"), [[5, 6], [-1]]),
])  # fmt: skip
def test_places_outside_of_what_is_read_are_refused(name: str, options: Table, operands: list[list[int]]) -> None:
    """NumPy would count them from the end, or leave out what is not there."""
    builder = ModelBuilder((4,), 0.5, 3)
    inputs = [builder.ints(operand) for operand in operands]
    output = builder.op(name, inputs, builder.tensor([2], "INT32"), options)
    with pytest.raises(BadModelError, match=rf"op 0 \({name}\)"):
        folded(parse(builder.build(output)))


@pytest.mark.parametrize(("name", "options", "inputs"), [
    ("SHAPE", Table("ShapeOptions"), [-1]),
    ("SHAPE", Table("ShapeOptions"), []),
    ("PACK", Table("PackOptions", ValuesCount=3, Axis=0), [0, -1, 0]),
])  # fmt: skip
def test_arithmetic_on_what_is_missing_is_refused(name: str, options: Table, inputs: list[int]) -> None:
    """-1 is not the last tensor of the file, whose shape here is that of the output."""
    builder = ModelBuilder((4,), 0.5, 3)
    sides = builder.ints([1])
    output = builder.tensor([2], "INT32")
    builder.op(name, [sides if place == 0 else place for place in inputs], output, options)
    builder.activation((4,), 0.5, 3)
    missing = inputs.index(-1) if inputs else 0
    with pytest.raises(BadModelError, match=rf"op 0 \({name}\): input {missing} is missing"):
        folded(parse(builder.build(output)))


def test_constants_that_grow_without_bounds_are_refused() -> None:
    builder = ModelBuilder((4,), 0.5, 3)
    output = builder.tensor([4], "INT32")
    builder.op("TILE", [builder.ints([1, 2]), builder.ints([2**30])], output, Table("TileOptions"))
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(TILE\): more than \d+ constants"):
        folded(parse(builder.build(output)))
