"""Passes over the graph: what they leave out changes no byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from typer.testing import CliRunner

from tests.support.differences import differences
from tests.support.random_graphs import inputs, models, sample_inputs
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.cli import app
from tritguard.emit import open_bundle, write_bundle
from tritguard.graph import optimised, read_graph
from tritguard.graph.model import Conv2D, FullyConnected
from tritguard.graph.passes.ranges import channel_ranges
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin

needs_oracle = pytest.mark.skipif(not oracle_available(), reason="the oracle has no wheel for this platform")
DEAD = -(1 << 24)  # a bias no sum of these models reaches across


def dead_bias(channels: int, dead: list[int]) -> np.ndarray:
    bias = np.arange(channels, dtype=np.int32) * 10
    bias[dead] = DEAD
    return bias


class Net:
    """MobileNet-like, with a residual: stem channels 1, 2 and 7 are dead in different ways.

    1: constant at the zero point, 2: constant only after the depthwise layer, 7: weighed by nothing.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(4)
        self.builder = builder = ModelBuilder((9, 8, 3), 1 / 255, -128)
        scales = [0.01] * 8
        stem = builder.conv(
            builder.input, weights(rng, (8, 3, 3, 3)), scales, dead_bias(8, [1]), (0.05, -128), activation="RELU",
            stride=(2, 2),
        )  # fmt: skip
        depthwise = builder.depthwise(
            stem, weights(rng, (3, 3, 8)), scales, dead_bias(8, [1, 2]), (0.05, -128), activation="RELU6"
        )
        pointwise = weights(rng, (12, 1, 1, 8))
        pointwise[..., 7] = 0
        # Dead outputs rest at the zero point, -20: the next layer may pad.
        self.trunk = builder.conv(
            depthwise, pointwise, [0.01] * 12, dead_bias(12, [0, 5, 6]), (0.05, -20), activation="RELU"
        )
        branch = builder.conv(
            self.trunk, weights(rng, (12, 3, 3, 12)), [0.01] * 12, dead_bias(12, [0, 4, 5]), (0.3, -120),
            activation="RELU",
        )  # fmt: skip
        # Both operands constant in 0 and 5; the sum is a constant that is not the zero point.
        total = builder.add(self.trunk, branch, (0.3, -100))
        pooled = builder.pool(total, "AVERAGE", (2, 2), (2, 2), same=False, activation="NONE")
        self.flat = builder.reshape(pooled, (int(np.prod(builder.shape(pooled))),))
        self.dense = weights(rng, (5, builder.shape(self.flat)[0]))
        self.dense_bias = np.array([5, -70, 0, 900, 2**31 - 40], dtype=np.int32)  # the last sum may wrap
        self.logits = builder.dense(self.flat, self.dense, [0.02], self.dense_bias, (0.3, 0))


def weights(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-60, 61, shape, dtype=np.int8)


def test_dead_channels_leave_every_layer() -> None:
    net = Net()
    golden = read_graph(net.builder.build(net.builder.softmax(net.logits)))
    slim = optimised(golden)
    shapes = {op.index: slim.tensors[op.output].shape for op in slim.ops}
    assert shapes[0] == (5, 4, 5) == shapes[1], "1, 2 and 7 left the stem and the depthwise layer"
    assert shapes[2] == (5, 4, 10) == shapes[3] == shapes[4], "0 and 5 left both branches; 4 and 6 live in one"
    assert shapes[5] == (2, 2, 10)
    assert shapes[6] == (40,)
    assert golden.macs > slim.macs
    convs = [op for op in slim.ops if isinstance(op, Conv2D)]
    # Trunk channel 6 is constant and at the next layer's zero point, but the sum still needs it.
    assert [op.weights.shape for op in convs] == [(5, 3, 3, 3), (10, 1, 1, 5), (10, 3, 3, 10)]
    assert slim.ops[-1].output == golden.output
    assert optimised(slim) is slim


@needs_oracle
def test_bytes_and_accumulators_stay(tmp_path: Path) -> None:
    net = Net()
    content = net.builder.build(net.logits)
    bundle = write_bundle(content, tmp_path / "b", name="dead")
    x = sample_inputs(bundle.manifest.input.shape, 1, count=50)
    scores, accumulators = Twin(bundle).run(x)
    assert np.array_equal(scores, Oracle(content).predict(x).scores)
    vectors = Oracle(net.builder.build(net.flat)).predict(x).scores
    zero_point = net.builder.quant(net.flat)[1]
    sums = (vectors.astype(np.int64) - zero_point) @ net.dense.T.astype(np.int64) + net.dense_bias
    assert np.array_equal(accumulators, sums.astype(np.int32))


def constant_into_conv(zero_point: int, *, same: bool) -> bytes:
    """Channel 1 of 2 is constantly -128 ahead of a 3x3 convolution whose input zero point is given."""
    rng = np.random.default_rng(0)
    builder = ModelBuilder((6, 6, 2), 1 / 255, -128)
    first = builder.conv(builder.input, weights(rng, (2, 1, 1, 2)), [0.01], dead_bias(2, [1]), (0.05, zero_point))
    return builder.build(builder.conv(first, weights(rng, (4, 3, 3, 2)), [0.01], None, (0.5, 0), same=same))


@needs_oracle
@pytest.mark.parametrize(
    ("zero_point", "same", "left"),
    [(-128, True, 1), (-128, False, 1), (7, False, 1), (7, True, 2)],
    ids=["zero point, padded", "zero point", "another value", "another value, padded"],
)
def test_a_constant_folds_where_no_edge_tells_it_from_padding(zero_point: int, same: bool, left: int) -> None:
    content = constant_into_conv(zero_point, same=same)
    last = optimised(read_graph(content)).ops[-1]
    assert isinstance(last, Conv2D)
    assert last.weights.shape[3] == left
    assert differences(content, 3) is None


@needs_oracle
def test_a_tap_that_stays_inside_folds_a_constant_under_padding() -> None:
    """A 3x3 SAME window whose weights on the constant channel are zero but in the centre, and one on a 1x1 image."""
    rng = np.random.default_rng(0)
    for side, centre_only in ((6, True), (1, False)):
        builder = ModelBuilder((side, side, 2), 1 / 255, -128)
        first = builder.conv(builder.input, weights(rng, (2, 1, 1, 2)), [0.01], dead_bias(2, [1]), (0.05, 7))
        kernel = weights(rng, (4, 3, 3, 2))
        if centre_only:
            kernel[:, :, :, 1] = 0
            kernel[:, 1, 1, 1] = [3, -5, 7, 11]
        content = builder.build(builder.conv(first, kernel, [0.01], None, (0.5, 0)))
        last = optimised(read_graph(content)).ops[-1]
        assert isinstance(last, Conv2D)
        assert last.weights.shape[3] == 1
        assert differences(content, 3) is None


@needs_oracle
def test_a_net_that_ignores_its_input_keeps_one_channel() -> None:
    rng = np.random.default_rng(0)
    builder = ModelBuilder((4, 4, 3), 1 / 255, -128)
    dead = builder.conv(
        builder.input, weights(rng, (6, 3, 3, 3)), [0.01], dead_bias(6, list(range(6))), (0.05, -128), activation="RELU"
    )
    flat = builder.reshape(dead, (96,))
    content = builder.build(builder.dense(flat, weights(rng, (3, 96)), [0.01], np.int32([900, 50, -900]), (0.1, 0)))
    slim = optimised(read_graph(content))
    last = slim.ops[-1]
    assert isinstance(last, FullyConnected)
    assert last.weights.shape == (3, 16)
    assert differences(content, 1) is None


@pytest.mark.parametrize("name", ["dscnn_int8", "resnet8_int8"])
def test_models_without_dead_channels_stay_as_they_are(name: str) -> None:
    graph = read_graph(shared_file(f"models/{name}.tflite").read_bytes())
    assert optimised(graph) is graph


@pytest.mark.slow
@needs_oracle
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(), seed=inputs)
def test_passed_graphs_give_the_oracles_bytes(content: bytes, seed: int) -> None:
    """The graphs that a pass changes; test_oracle_equality.py runs all others."""
    graph = read_graph(content)
    assume(optimised(graph) is not graph)
    assert differences(content, seed) is None


@needs_oracle
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(), seed=inputs)
def test_no_output_leaves_its_range(content: bytes, seed: int) -> None:
    graph = read_graph(content)
    sink = graph.tensors[graph.output]
    scores = Oracle(content).predict(sample_inputs(graph.tensors[graph.input].shape, seed)).scores
    by_channel = scores.reshape(-1, sink.shape[-1])
    bounds = channel_ranges(graph)[graph.output]
    assert (bounds.low <= by_channel).all()
    assert (by_channel <= bounds.high).all()


def test_convert_says_what_it_left_out(tmp_path: Path) -> None:
    net = Net()
    model = tmp_path / "net.tflite"
    model.write_bytes(net.builder.build(net.logits))
    done = CliRunner().invoke(app, ["convert", str(model), "--out", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    manifest = open_bundle(tmp_path / "b").manifest
    gone = manifest.removed
    golden = read_graph(model.read_bytes())
    assert gone.macs == golden.macs - manifest.macs
    assert gone.channels == 3 + 3 + 2 + 2
    assert [layer.removed.channels for layer in manifest.layers] == [3, 3, 2, 2, 0, 0, 0, 0]
    assert f"{gone.channels} channels, {gone.macs:,} MAC" in done.output
