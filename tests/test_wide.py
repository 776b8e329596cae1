"""Networks with 16-bit activations against TFLM's interpreter, and what is refused of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import emulated
from tests.support.tflite_tables import Table
from tests.support.wide import (
    WideBuilder,
    size_as_input,
    wide_differences,
    wide_differences_on_core,
    wide_layer,
    wide_net,
)
from tritguard.data import Dataset, to_input_bytes
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.golden import golden_of
from tritguard.emit.tflm import write_arrays
from tritguard.errors import BadInputError, BadModelError, UnsupportedOpError
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.samples import draw_samples
from tritguard.graph import read_graph
from tritguard.graph.arena.access import lead
from tritguard.oracle import Oracle, oracle_available, probes
from tritguard.predictor import LabelRule

needs_oracle = pytest.mark.skipif(
    not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform"
)
LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


@needs_oracle
@pytest.mark.parametrize("seed", range(2))
def test_a_net_of_every_wide_op_gives_the_oracles_bytes(seed: int) -> None:
    assert wide_differences(wide_net(seed, several=True)) is None


@needs_oracle
@pytest.mark.parametrize(("seed", "edges"), [(5, "INT16"), (6, "INT8"), (7, "FLOAT32")])
def test_the_nets_answer_each_input_otherwise(seed: int, edges: str) -> None:
    """What is saturated on the way would hide what the ops before it compute."""
    content = wide_net(seed, edges=edges)
    x = probes((5, 4, 3), 8, np.int8 if edges == "INT8" else np.int16)
    assert len(np.unique(Oracle(content).predict(x).scores, axis=0)) > 4


@needs_oracle
@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_any_form_give_the_oracles_bytes(name: str) -> None:
    rng = np.random.default_rng(3)
    for _ in range(15):
        assert wide_differences(wide_layer(rng, name)) is None


@needs_oracle
@pytest.mark.parametrize(
    "core",
    [
        pytest.param(core, marks=() if core in (emulated.M0PLUS, emulated.M4) else pytest.mark.slow, id=core.core)
        for core in emulated.EVERY
    ],
)
def test_every_core_gives_the_oracles_bytes(core: emulated.Core) -> None:
    assert wide_differences_on_core(core, [wide_net(5, several=True), wide_net(6, edges="INT8")]) == []


@needs_oracle
@pytest.mark.parametrize("edges", ["FLOAT32", "INT8"])
def test_edges_of_other_types_give_the_oracles_bytes(edges: str, tmp_path: Path) -> None:
    content = wide_net(7, edges=edges)
    assert wide_differences(content) is None
    manifest = write_bundle(content, tmp_path / "bundle", name="wide").manifest
    kinds = {"FLOAT32": ("int16", "float32"), "INT8": ("int8", "int8")}[edges]
    assert [(edge.type, edge.golden_type) for edge in (manifest.input, manifest.output)] == [kinds, kinds]
    assert manifest.activation_bits == 16


def _small(name: str, bias: np.ndarray) -> bytes:
    builder = WideBuilder((2, 2, 2), 0.001, 0)
    weights = np.ones((1, 1, 2) if name == "depthwise" else (2, 1, 1, 2), dtype=np.int8)
    more = {"transpose_conv": [(2, 2)]}.get(name, [])
    options = {"transpose_conv": {"stride": (1, 1), "same": True}}.get(name, {})
    return builder.build(getattr(builder, name)(builder.input, weights, [0.1], bias, (0.01, 0), *more, **options))


@needs_oracle
def test_softmax_over_many_rows_gives_the_oracles_bytes() -> None:
    """Also where all elements are equal, and where one is far above the others."""
    builder = WideBuilder((64, 9), 3e-4, 0)
    content = builder.build(builder.unary("SOFTMAX", builder.input, (2**-15, 0), Table("SoftmaxOptions", Beta=1.0)))
    assert wide_differences(content) is None


def test_an_output_that_is_wider_starts_far_before_its_input() -> None:
    builder = WideBuilder((8,), 0.01, 0)
    graph = read_graph(builder.build(builder.narrow(builder.from_narrow(), (2.0, 0))))
    leads = [lead(graph, op, op.inputs[0], "any") for op in graph.ops]
    assert leads == [7, 0]  # the last but one of the wide elements is written before the last narrow one is read


@needs_oracle
def test_an_input_that_says_a_size_becomes_a_constant() -> None:
    made = golden_of(size_as_input())
    assert made.notes == ("an input that says a transposed convolution's size is a constant, as the file has the size",)
    assert wide_differences(made.content) is None


@pytest.mark.parametrize("name", ["depthwise", "transpose_conv"])
def test_a_bias_that_tflm_reads_as_another_type_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedOpError, match="a bias of int32, which TensorFlow Lite Micro reads as int64"):
        read_graph(_small(name, np.array([1, 2], dtype=np.int32)))


@pytest.mark.parametrize("name", ["LEAKY_RELU", "TANH", "RELU", "MEAN", "MAX_POOL_2D", "RESHAPE", "SOFTMAX", "MUL"])
def test_an_op_between_two_types_is_refused(name: str) -> None:
    builder = WideBuilder((4, 4, 2), 2**-15, 0)
    quant = (2**-15, 0)
    made = {
        "LEAKY_RELU": lambda: builder.unary(name, builder.input, quant, Table("LeakyReluOptions", Alpha=0.5)),
        "MEAN": lambda: builder.mean(builder.input, quant, keep_dims=True),
        "MAX_POOL_2D": lambda: builder.pool(builder.input, "MAX", (2, 2), (2, 2), True, "NONE"),
        "RESHAPE": lambda: builder.reshape(builder.input, (8, 4)),
        "SOFTMAX": lambda: builder.unary(name, builder.input, quant, Table("SoftmaxOptions", Beta=1.0)),
        "MUL": lambda: builder.binary(name, builder.input, builder.input, quant),
    }.get(name, lambda: builder.unary(name, builder.input, quant))()
    builder.tensors[made].type = "INT8"
    with pytest.raises((BadModelError, UnsupportedOpError), match=r"differ in type|to int16|beside int16"):
        read_graph(builder.build(made))


def test_sums_and_factors_beyond_tflms_arithmetic_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="sums of more than 47 bits"):
        read_graph(_small("conv", np.array([1, 1 << 47], dtype=np.int64)))
    builder = WideBuilder((4,), 1.0, 0)
    content = builder.build(
        builder.dense(builder.input, np.ones((2, 4), dtype=np.int8), [1.0], np.array([1, 2]), (2**-8, 0))
    )
    with pytest.raises(BadModelError, match="a rescaling factor of 2"):
        read_graph(content)


def test_what_leaves_32_bits_is_refused() -> None:
    builder = WideBuilder((4,), 6.0, 0)
    with pytest.raises(UnsupportedOpError, match="input scale 6, at which products leave 32 bits"):
        read_graph(builder.build(builder.unary("TANH", builder.input, (2**-15, 0))))
    builder = WideBuilder((300, 300, 1), 0.1, 0)
    with pytest.raises(UnsupportedOpError, match="whose sums leave 32 bits"):
        read_graph(builder.build(builder.pool(builder.input, "AVERAGE", (300, 300), (1, 1), False, "NONE")))


def test_other_ops_and_mixed_edges_are_refused_by_name() -> None:
    builder = WideBuilder((4,), 0.01, 0)
    with pytest.raises(UnsupportedOpError, match="16-bit activations, which are supported of ABS"):
        read_graph(builder.build(builder.unary("HARD_SWISH", builder.input, (0.01, 0))))
    builder = WideBuilder((4,), 0.01, 0)
    builder.tensors[builder.input].zero_points = [1]
    with pytest.raises(BadModelError, match="is INT16 with zero point 1, 0 is supported"):
        read_graph(builder.build(builder.quantize(builder.input, (0.02, 0))))
    builder = WideBuilder((4,), 0.01, 0)
    with pytest.raises(UnsupportedOpError, match="an output of 8 bits beside one of 16"):
        read_graph(builder.build(builder.quantize(builder.input, (0.02, 0)), builder.narrow(builder.input, (2.0, 0))))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(wide_net(8, classes=4), tmp_path_factory.mktemp("wide") / "bundle", name="wide")


def _data(bundle: Bundle, dtype: type) -> Dataset:
    rng, shape = np.random.default_rng(0), (12, *bundle.manifest.input.shape)
    values = rng.integers(-30000, 30000, shape)
    x = (values * bundle.manifest.input.scale).astype(np.float32) if dtype is np.float32 else values.astype(dtype)
    return Dataset(name="d", x_test=x, y_test=np.arange(12) % 4, classes=tuple("abcd"), input_unit="V", licence="none")


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_samples_are_put_on_the_grid_of_int16(classifier: Bundle, dtype: type) -> None:
    data = _data(classifier, dtype)
    drawn = draw_samples(classifier, data, 12, 0, wide=True)
    assert drawn.x.dtype == np.int16
    assert np.array_equal(drawn.x, _data(classifier, np.int16).x_test)
    assert check_data(classifier.manifest, dataset=data).issues == ()


def test_values_of_one_sign_use_the_range_of_int16(classifier: Bundle) -> None:
    data = _data(classifier, np.int16)
    above = replace(data, x_test=np.abs(data.x_test))
    quiet = replace(data, x_test=data.x_test // 16)
    found = [{issue.code for issue in check_data(classifier.manifest, dataset=each).issues} for each in (above, quiet)]
    assert found == [set(), {"INPUT_RANGE_UNUSED"}]


def test_samples_of_other_types_are_refused() -> None:
    for x in (np.zeros((1, 2), dtype=np.int8), np.zeros((1, 2), dtype=np.uint8)):
        with pytest.raises(BadInputError):
            to_input_bytes(x, 1 / 255, 0, np.int16)


def test_studies_of_int8_networks_refuse_at_once(classifier: Bundle) -> None:
    with pytest.raises(BadInputError, match="has activations of 16 bits, and this study is of int8 networks"):
        draw_samples(classifier, _data(classifier, np.int16), 4, 0)


def test_a_sigmoid_of_int16_is_a_probability() -> None:
    assert LabelRule.of((1,), 2**-15, 0, bits=16).threshold_steps == 2**14
    assert LabelRule.of((1,), 2**-15, 0).threshold == 0.0


@needs_oracle
def test_arrays_for_tflm_take_edges_without_scale_or_batch(tmp_path: Path) -> None:
    builder = WideBuilder((3, 4), 0.1, 0)
    builder.tensors[builder.input].shape = [3, 4]
    output = builder.tensor([4, 3], "INT16")
    builder.op("TRANSPOSE", [builder.input, builder.ints([1, 0])], output, Table("TransposeOptions"))
    builder.tensors[builder.input].scales = builder.tensors[builder.input].zero_points = None
    arrays = write_arrays(builder.build(output), tmp_path / "arrays", name="wide")
    edges = (arrays.manifest.input, arrays.manifest.output)
    assert [(edge.shape, edge.scale) for edge in edges] == [((3, 4), None), ((4, 3), None)]
    assert {edge.golden_type for edge in edges} == {"int16"}


@needs_oracle
def test_arrays_for_tflm_hold_int16_edges(tmp_path: Path) -> None:
    arrays = write_arrays(wide_net(0), tmp_path / "arrays", name="wide")
    golden = (arrays.path / "wide_golden.h").read_text()
    assert "constexpr int16_t kGoldenInput[" in golden
    assert "_INT8()" not in (arrays.path / "wide_op_resolver.h").read_text()
