"""Models rewritten for TFLM, compressed or for old builds of it: the golden bytes, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.known_models import ternary_model
from tests.support.random_graphs import inputs, models, sample_inputs
from tests.support.shared import shared_file
from tests.support.stateful import lstm
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import ints
from tritguard.emit.tflm import compress, edges, write_arrays
from tritguard.emit.tflm.compat import for_old_tflm
from tritguard.emit.tflm.layers import golden_ops
from tritguard.emit.tflm.strip import strip
from tritguard.errors import BadModelError
from tritguard.graph.flatbuffer import parse
from tritguard.oracle import Oracle, oracle_available

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")


def assert_ops_are_known(golden: bytes, array: bytes) -> None:
    """Each op of the array is one of the golden model's, in its order, or works for the one it is counted to."""
    ops, kinds = parse(array).ops, [op.name for op in parse(golden).ops]
    found = golden_ops(golden, array)
    assert len(found) == len(ops)
    assert list(found) == sorted(found) and set(found) == set(range(len(kinds)))
    for op, index in zip(ops, found, strict=True):
        if op.name == "CUSTOM TFLM_DECODE":  # what it writes, the op reads
            (user,) = (at for at, other in enumerate(ops) if op.outputs[0] in other.inputs)
            assert found[user] == index
        elif found.count(index) == 1 or kinds[index] != "FULLY_CONNECTED":
            assert op.name == kinds[index]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(), seed=inputs)
def test_rewritten_random_graphs_give_the_golden_bytes(content: bytes, seed: int) -> None:
    raw = parse(content)
    x = sample_inputs(raw.tensors[raw.inputs[0]].shape[1:], seed)
    expected = Oracle(content).predict(x).scores
    stripped = strip(content)
    assert np.array_equal(Oracle(stripped).predict(x).scores, expected)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compress, "_DECODE_BYTES", -(1 << 20))  # every tensor that has few enough values
        compressed = compress.compress(stripped)
    if compressed is not None:
        assert np.array_equal(Oracle(strip(compressed.content)).predict(x).scores, expected)
    old = strip(for_old_tflm(content), keep_quantization=True)
    assert np.array_equal(Oracle(old).predict(x).scores, expected)
    for array in (stripped, old, *([] if compressed is None else [strip(compressed.content)])):
        assert_ops_are_known(content, array)
    rewritten = parse(old)
    for op in rewritten.ops:
        assert op.name != "FULLY_CONNECTED" or len(rewritten.tensors[op.inputs[1]].scales) == 1


def test_an_lstms_own_tensors_are_renumbered_with_the_others() -> None:
    """Empty tensors behind an op's list of intermediates, whose scales other interpreters read."""
    builder = ModelBuilder((5, 7), 0.05, -4)
    builder.tensor([1, 560], "INT8", [1.0], [0])  # which nothing uses
    inner = [builder.tensor([0], "INT16", [scale], [0]) for scale in (0.1, 0.2)]
    output = lstm(builder, builder.input, 9, np.random.default_rng(1))
    builder.operators[-1].fields["Intermediates"] = ints(inner)
    content = builder.build(output)
    stripped = strip(content)
    graph = tflite.Model.GetRootAs(stripped).Subgraphs(0)
    found = [graph.Tensors(int(index)) for index in graph.Operators(0).IntermediatesAsNumpy()]
    assert [(tensor.ShapeAsNumpy().tolist(), tensor.Quantization().Scale(0)) for tensor in found] == [
        ([0], np.float32(0.1)), ([0], np.float32(0.2))
    ]  # fmt: skip
    x = sample_inputs((5, 7), 1)
    assert np.array_equal(Oracle(stripped).predict(x).scores, Oracle(content).predict(x).scores)


def test_tables_follow_the_quantization() -> None:
    """No plan asks for one table over weights that are scaled per channel."""
    builder = ModelBuilder((8, 8, 16), 0.5, 0)
    rng = np.random.default_rng(0)
    trits = rng.integers(-1, 2, (16, 3, 3, 16)).astype(np.int8)
    tensor = builder.conv(builder.input, trits * np.int8(127), [0.01 * (1 + i) for i in range(16)], None, (1.0, 0))
    tensor = builder.depthwise(tensor, trits[0].repeat(8, 0), [0.01] * 16, None, (1.0, 0), same=True)
    tensor = builder.dense(
        builder.reshape(tensor, (1024,)), rng.integers(-1, 2, (9, 1024), dtype=np.int8), [0.1], None, (1.0, 0)
    )
    plans = compress._plans(builder.build(tensor))
    assert [(plan.axis, plan.bits) for plan in plans] == [(0, 2), (3, 2), (None, 2)]


def test_constants_are_aligned() -> None:
    content = strip(ternary_model())
    model = tflite.Model.GetRootAs(content, 0)
    for index in range(model.BuffersLength()):
        data = model.Buffers(index).DataAsNumpy()
        if not isinstance(data, int):
            offset = (
                data.__array_interface__["data"][0] - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            )
            assert offset % 16 == 0


@pytest.mark.parametrize("equal", [True, False])
def test_compat_keeps_a_dense_layer_or_makes_it_a_convolution(equal: bool, tmp_path: Path) -> None:
    builder = ModelBuilder((1, 1, 64), 0.5, 3)
    rng = np.random.default_rng(5)
    flat = builder.reshape(builder.input, (64,))
    scales = [0.25] * 10 if equal else rng.uniform(0.01, 0.1, 10).astype(np.float32).tolist()
    weights = rng.integers(-127, 128, (10, 64), dtype=np.int8)
    bias = rng.integers(-900, 900, 10, dtype=np.int32)
    content = builder.build(builder.dense(flat, weights, scales, bias, (60.0, 0), "RELU"))
    arrays = write_arrays(content, tmp_path / "a", name="dense", compat=True)
    assert arrays.manifest.verified_against_oracle == 32
    assert ("CONV_2D" in arrays.manifest.ops, "FULLY_CONNECTED" in arrays.manifest.ops) == (not equal, equal)
    assert "_INT8" not in (arrays.path / "dense_op_resolver.h").read_text()


@settings(max_examples=100, deadline=None)
@given(position=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_is_refused_or_rewritten(position: int, bit: int) -> None:
    content = bytearray(shared_file("models/dscnn_int8.tflite").read_bytes())
    content[position % len(content)] ^= 1 << bit
    try:
        edges(bytes(content))
        compress.compress(strip(bytes(content)))
        for_old_tflm(bytes(content))
    except BadModelError as error:
        assert "\n" not in str(error)
