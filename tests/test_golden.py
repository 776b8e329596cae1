"""Files of which a part is taken: ends that are the host's, and constants that TFLM cannot compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.known_models import float_end, resized_by_its_shape, wide_edges
from tests.support.random_graphs import sample_inputs
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard import api
from tritguard.emit import golden, write_bundle
from tritguard.emit.golden import golden_of
from tritguard.errors import BadModelError, ToolMissingError, UnsupportedOpError
from tritguard.graph import read_graph
from tritguard.oracle import Oracle, oracle_available, predict_apart
from tritguard.twin import Twin

needs_oracle = pytest.mark.skipif(
    not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform"
)


def detector() -> bytes:
    """Boxes and scores in float32, which a custom op sorts; the boxes also leave as they are."""
    builder = ModelBuilder((4, 4, 3), 0.05, 0)
    rng = np.random.default_rng(5)
    heads = []
    for channels in (4, 3):
        weights = rng.integers(-127, 128, (channels, 1, 1, 3), dtype=np.int8)
        head = builder.reshape(builder.conv(builder.input, weights, [0.01], None, (0.1, 2)), (16, channels))
        heads.append(builder.op("DEQUANTIZE", [head], builder.edge((16, channels), "FLOAT32", (0, 0))))
    anchors = builder.constant(rng.random((16, 4), dtype=np.float32))
    sorted_ = [builder.edge(shape, "FLOAT32", (0, 0)) for shape in ((10, 4), (10,), (10,), ())]
    builder.op("CUSTOM TFLite_Detection_PostProcess", [*heads, anchors], sorted_)
    return builder.build(*sorted_)


@needs_oracle
def test_a_detector_is_taken_up_to_its_last_op(tmp_path: Path) -> None:
    model = tmp_path / "detector.tflite"
    model.write_bytes(detector())
    notes: list[str] = []
    bundle = api.convert(model, tmp_path / "b", note=notes.append)
    what = "op 6 (CUSTOM TFLite_Detection_PostProcess) is left to the host: what they read are the model's outputs"
    assert notes == [what]
    manifest = bundle.manifest
    assert [edge.shape for edge in (manifest.output, *manifest.further_outputs)] == [(16, 4), (16, 3)]
    assert manifest.verified_against_oracle > 0
    x = sample_inputs(manifest.input_shape, 1)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(bundle.model_path.read_bytes()).predict(x).scores)


@needs_oracle
def test_a_segmentation_is_taken_up_to_its_argmax() -> None:
    builder = ModelBuilder((4, 4, 3), 0.05, 0)
    scores = builder.unary("TANH", builder.input, (1 / 128, 0))
    labels = builder.tensor([1, 4, 4], "INT32")
    builder.op("ARG_MAX", [scores, builder.ints([3])], labels, Table("ArgMaxOptions"))
    made = golden_of(builder.build(labels))
    assert made.notes == ("op 1 (ARG_MAX) is left to the host: what they read are the model's outputs",)
    assert [op.kind for op in read_graph(made.content).ops] == ["TANH"]
    x = sample_inputs((4, 4, 3), 2)
    assert Oracle(made.content).predict(x).scores.shape == (len(x), 48)


@needs_oracle
@pytest.mark.parametrize("side", [4, 1024], ids=["at-once", "in-a-larger-arena"])
def test_a_refusal_gives_tflms_reason_and_not_that_a_first_arena_was_too_small(side: int) -> None:
    builder = ModelBuilder((side, side, 2), 0.05, 0)
    labels = builder.tensor([1, side, side], "INT64")
    builder.op("ARG_MAX", [builder.input, builder.ints([3])], labels, Table("ArgMaxOptions"))
    with pytest.raises(BadModelError, match=r"refuses the model \(Only int32_t are supported currently, got INT64"):
        predict_apart(builder.build(labels), np.zeros((1, 2 * side * side), np.int8), native=True)


@needs_oracle
def test_constants_that_tflm_cannot_compute_are_computed_ahead() -> None:
    """TFLM has no TILE, and wants the size of a resize as a constant."""
    builder = ModelBuilder((3, 5, 2), 0.5, 3)
    resized = resized_by_its_shape(builder)
    row = builder.constant(np.arange(20, dtype=np.int8).reshape(1, 1, 10, 2), [0.5], zero_point=3)
    tiled = builder.op("TILE", [row, builder.ints([1, 6, 1, 1])], builder.activation((6, 10, 2), 0.5, 3))
    content = builder.build(builder.add(resized, tiled, (1.0, 0)))
    with pytest.raises(BadModelError):
        Oracle(content)
    made = golden_of(content)
    assert made.notes[0].startswith("op 0 (SHAPE), op 1 (STRIDED_SLICE), op 2 (MUL) and 1 more are computed ahead")
    assert [op.kind for op in read_graph(content).ops] == [op.kind for op in read_graph(made.content).ops]
    x = sample_inputs((3, 5, 2), 2)
    assert Oracle(made.content).predict(x).scores.std() > 1


def test_a_model_that_is_taken_whole_stays_as_it_is() -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    content = builder.build(builder.unary("TANH", builder.input, (1 / 128, 0)))
    assert golden_of(content).content is content


def test_what_cannot_be_cut_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = ModelBuilder((4,), 0.5, 0)
    labels = builder.tensor([1], "INT32")
    builder.op("ARG_MAX", [builder.input, builder.ints([1])], labels, Table("ArgMaxOptions"))
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(ARG_MAX\): the model is left to the host entirely"):
        golden_of(builder.build(labels))
    monkeypatch.setattr(golden, "oracle_available", lambda: False)
    with pytest.raises(ToolMissingError, match=r"op 6 \(CUSTOM TFLite_Detection_PostProcess\) has to be left out"):
        golden_of(detector())


@needs_oracle
def test_float_functions_at_the_end_are_left_to_the_host(tmp_path: Path) -> None:
    made = golden_of(float_end())
    assert made.notes == ("op 4 (EXP) is left to the host: what they read are the model's outputs",)
    graph = read_graph(made.content)
    assert [graph.tensors[edge].shape for edge in graph.left] == [(3,), (4,)]
    bundle = write_bundle(made.content, tmp_path / "b", name="float-end")
    x = sample_inputs((6,), 1)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(made.content).predict(x).scores)


def test_ops_that_lack_what_is_asked_of_them_are_refused() -> None:
    builder = ModelBuilder((4, 4, 1), 0.05, 0)
    value = builder.edge((4,), "FLOAT32", (0, 0))
    for inputs in ([], [-1]):
        builder.operators = []
        builder.op("DEQUANTIZE", inputs, value)
        with pytest.raises(BadModelError, match=r"op 0 \(DEQUANTIZE\): input 0 is missing"):
            golden_of(builder.build(value))
    builder = ModelBuilder((4, 4, 1), 0.05, 0)
    builder.inputs = [builder.tensor([4], "INT32"), builder.input]
    builder.op("TRANSPOSE_CONV", [builder.inputs[0], builder.ints([1]), builder.input], [])
    with pytest.raises(BadModelError, match=r"op 0 \(TRANSPOSE_CONV\): output 0 is missing"):
        golden_of(builder.build(builder.input))


def test_float_functions_inside_a_network_are_not_left_to_the_host() -> None:
    builder = ModelBuilder((6,), 0.05, 0)
    value = builder.op("DEQUANTIZE", [builder.input], builder.edge((6,), "FLOAT32", (0, 0)))
    exponent = builder.op("EXP", [value], builder.edge((6,), "FLOAT32", (0, 0)), Table("ExpOptions"))
    back = builder.op("QUANTIZE", [exponent], builder.activation((6,), 0.05, 0), Table("QuantizeOptions"))
    content = builder.build(builder.unary("TANH", back, (1 / 128, 0)))
    assert golden_of(content).content == content
    with pytest.raises(UnsupportedOpError, match=r"op 0 \(DEQUANTIZE\)"):
        read_graph(content)


@needs_oracle
def test_an_output_that_is_given_twice_is_given_once(tmp_path: Path) -> None:
    """As an unrolled LSTM gives its last state."""
    builder = ModelBuilder((6,), 0.05, 3)
    first, second = builder.unary("TANH", builder.input, (1 / 128, 0)), builder.unary("RELU", builder.input, (0.05, 3))
    made = golden_of(builder.build(first, second, first))
    assert made.notes == ("an output that the file gives more than once is given once",)
    bundle = write_bundle(made.content, tmp_path / "b", name="twice")
    x = sample_inputs((6,), 1)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(made.content).predict(x).scores)


@needs_oracle
def test_data_behind_a_constant_is_not_read(tmp_path: Path) -> None:
    """Files for other libraries pad their rows; TFLM reads the first bytes of them, and so do we."""
    builder = ModelBuilder((6,), 0.05, 3)
    weights = np.random.default_rng(8).integers(-127, 128, (4, 7), dtype=np.int8)
    wanted = builder.dense(builder.input, weights[:, :6], [0.01], None, (0.1, 2))
    builder.buffers[-1].fields["Data"] = weights.reshape(-1).view(np.uint8)
    content = builder.build(wanted)
    made = golden_of(content)
    assert (made.content, made.notes) == (
        content,
        ("tensor 1 has 4 bytes more than its shape takes: they are not read",),
    )
    bundle = write_bundle(content, tmp_path / "b", name="longer")
    x = sample_inputs((6,), 1)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(content).predict(x).scores)


@needs_oracle
def test_edges_of_16_and_32_bits_are_left_to_the_host(tmp_path: Path) -> None:
    made = golden_of(wide_edges())
    assert made.notes == (
        "op 0 (QUANTIZE) is left to the host: the model begins with what they give",
        "op 2 (SOFTMAX), op 3 (QUANTIZE) are left to the host: what they read are the model's outputs",
    )
    assert [op.kind for op in read_graph(made.content).ops] == ["FULLY_CONNECTED"]
    bundle = write_bundle(made.content, tmp_path / "b", name="wide")
    x = sample_inputs((6,), 1)
    assert np.array_equal(Twin(bundle).predict(x).scores, Oracle(made.content).predict(x).scores)


def test_16_bits_inside_a_network_and_at_its_end_are_not_left_to_the_host() -> None:
    builder = ModelBuilder((6,), 0.05, 0)
    wide = builder.op(
        "QUANTIZE", [builder.input], builder.tensor([1, 6], "INT16", [0.001], [0]), Table("QuantizeOptions")
    )
    back = builder.op("QUANTIZE", [wide], builder.activation((6,), 0.05, 0), Table("QuantizeOptions"))
    ends = {"inside": builder.unary("TANH", back, (1 / 128, 0)), "end": wide}
    for where, output in ends.items():
        content = builder.build(output)
        assert golden_of(content).content == content
        kinds = [op.kind for op in read_graph(content).ops]
        assert kinds == (["QUANTIZE", "QUANTIZE", "TANH"] if where == "inside" else ["QUANTIZE"])
