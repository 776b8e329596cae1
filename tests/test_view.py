"""The view of every op: its values are the deployed model's, its gradients foretell how those move."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.random_graphs import inputs, models, sample_inputs
from tests.support.random_moves import gather, mirror_pad, resize_bilinear, resize_nearest
from tests.support.random_pairs import reduced
from tests.support.stateful import lstm, svdf
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.attack import integer_ops
from tritguard.attack.view import WITH_GRADIENTS, GradientView
from tritguard.emit import write_bundle
from tritguard.graph import read_graph
from tritguard.graph.arithmetic.fixed_point import requant, requantise
from tritguard.graph.model import L2Normalization, LogSoftmax, Requant, Softmax
from tritguard.graph.passes.unrolled import unrolled
from tritguard.twin import Twin

tf = pytest.importorskip("tensorflow", reason="the view needs TensorFlow")

SCALE = 0.05  # inputs are in [-6.4, 6.35]
Make = Callable[[ModelBuilder, int], int]


def unary(name: str, out: tuple[float, int], options: Table | None = None) -> Make:
    return lambda builder, x: builder.unary(name, x, out, options)


def paired(name: str, out: tuple[float, int]) -> Make:
    """With the tensor itself turned around, and with a constant a channel."""

    def make(builder: ModelBuilder, x: int) -> int:
        rng = np.random.default_rng(3)
        values = rng.integers(20, 100, 8, dtype=np.int8) * rng.choice([-1, 1], 8).astype(np.int8)
        channels = builder.constant(values, [SCALE if name in ("MAXIMUM", "MINIMUM") else 0.01])
        if name == "PRELU":
            return builder.binary(name, x, channels, out)
        both = builder.binary(name, x, builder.transpose(x, (0, 2, 1, 3)), out)
        if name == "SQUARED_DIFFERENCE":
            return builder.add(both, builder.binary(name, x, channels, out), (2 * out[0], -128))
        if name in ("MAXIMUM", "MINIMUM"):
            return builder.binary(name, channels, both, out)
        return builder.binary(name, both, channels, (2 * out[0], 0))

    return make


def weights(*shape: int) -> np.ndarray:
    """The same whenever they are asked for, so that a case is the same alone as among the others."""
    return np.random.default_rng(3).integers(-127, 128, shape, dtype=np.int8)


MAKERS: dict[str, Make] = {
    "ABS": unary("ABS", (SCALE, -100)),
    "ELU": unary("ELU", (SCALE, -100)),
    "RSQRT": lambda builder, x: builder.unary(
        "RSQRT", builder.add(x, builder.constant(np.array([90], np.int8), [SCALE]), (SCALE, -128)), (0.007, -128)
    ),
    "HARD_SWISH": unary("HARD_SWISH", (SCALE, -100), Table("HardSwishOptions")),
    "LEAKY_RELU": unary("LEAKY_RELU", (SCALE, 0), Table("LeakyReluOptions", Alpha=0.3)),
    "LOGISTIC": unary("LOGISTIC", (1 / 256, -128)),
    "RELU": unary("RELU", (SCALE, -128)),
    "RELU6": unary("RELU6", (SCALE, 0)),
    "TANH": unary("TANH", (1 / 128, 0)),
    "QUANTIZE": unary("QUANTIZE", (2 * SCALE, 5), Table("QuantizeOptions")),
    "ADD": paired("ADD", (0.1, 0)),
    "SUB": paired("SUB", (0.1, 0)),
    "MUL": paired("MUL", (0.1, 0)),
    "PRELU": paired("PRELU", (0.06, 0)),
    "SQUARED_DIFFERENCE": paired("SQUARED_DIFFERENCE", (0.2, -128)),
    "MAXIMUM": paired("MAXIMUM", (SCALE, 0)),
    "MINIMUM": paired("MINIMUM", (SCALE, 0)),
    "SOFTMAX": lambda builder, x: builder.softmax(x, 0.3),
    "L2_NORMALIZATION": lambda builder, x: builder.l2_normalization(x),
    "LOG_SOFTMAX": lambda builder, x: builder.log_softmax(x),
    "SUM": lambda builder, x: reduced(builder, x, "SUM", [1, 3], (0.2, 0)),
    "MEAN of channels": lambda builder, x: reduced(builder, x, "MEAN", [3], (0.02, 0)),
    "REDUCE_MAX": lambda builder, x: reduced(builder, x, "REDUCE_MAX", [1], (SCALE, 0)),
    "REDUCE_MIN": lambda builder, x: reduced(builder, x, "REDUCE_MIN", [2], (SCALE, 0)),
    "BATCH_MATMUL": lambda builder, x: builder.op(
        "BATCH_MATMUL", [x, x], builder.activation((4, 4, 4), 0.4, 0), Table("BatchMatMulOptions", AdjY=True)
    ),
    "BATCH_MATMUL of a constant": lambda builder, x: builder.op(
        "BATCH_MATMUL",
        [x, builder.constant(weights(8, 3), [0.01])],
        builder.activation((4, 4, 3), 0.05, 0),
        Table("BatchMatMulOptions"),
    ),
    "RESIZE_BILINEAR": lambda builder, x: resize_bilinear(builder, x, (7, 6), align_corners=False, half_pixels=True),
    "MEAN": lambda builder, x: builder.mean(x, (0.02, 0), keep_dims=True),
    "AVERAGE_POOL_2D": lambda builder, x: builder.pool(x, "AVERAGE", (3, 2), (2, 1), same=True, activation="NONE"),
    "MAX_POOL_2D": lambda builder, x: builder.pool(x, "MAX", (2, 2), (2, 2), same=False, activation="NONE"),
    "clamped MAX_POOL_2D": lambda builder, x: builder.pool(x, "MAX", (2, 2), (2, 2), same=False, activation="RELU6"),
    "CONV_2D": lambda builder, x: builder.conv(
        x, weights(5, 3, 2, 8), [0.002], None, (0.1, 0), stride=(2, 1), dilation=(1, 2)
    ),
    "DEPTHWISE_CONV_2D": lambda builder, x: builder.depthwise(
        x, weights(3, 3, 16), [0.006], None, (0.1, 0), stride=(1, 2), activation="RELU6"
    ),
    "FULLY_CONNECTED": lambda builder, x: builder.dense(
        builder.reshape(x, (128,)), weights(6, 128), [0.001], None, (0.1, 0)
    ),
    "TRANSPOSE_CONV": lambda builder, x: builder.transpose_conv(
        x, weights(4, 3, 3, 8), [0.003], None, (0.1, 0), (8, 7), stride=(2, 2), same=True
    ),
}

# With a state that each input finds at its beginning; of streams there is more in tests/test_state.py.
MAKERS |= {
    "LSTM": lambda builder, x: lstm(builder, builder.reshape(x, (2, 64)), 6, np.random.default_rng(3)),
    "SVDF": lambda builder, x: svdf(builder, builder.reshape(x, (128,)), 6, 2, 3, (0.004, 0), np.random.default_rng(3)),
    "SVDF of 8 bits": lambda builder, x: svdf(
        builder, builder.reshape(x, (128,)), 6, 2, 3, (0.004, 0), np.random.default_rng(3), narrow=True
    ),
}


def moved_about(builder: ModelBuilder, x: int) -> int:
    """Every op that gives bytes of its input elsewhere, one after the other."""
    x = builder.transpose(builder.pad(x, [(1, 0), (0, 2), (0, 0)]), (0, 2, 1, 3))
    x = builder.slice(x, [0, 1, 0, 2], [1, 4, -1, 4], (4, 5, 4))
    x = builder.strided_slice(x, [0, 3, 0, 0], [1, 0, 4, 4], [1, -1, 1, 1], (3, 4, 4))
    x = mirror_pad(builder, x, [(1, 2), (0, 1), (0, 0)], "REFLECT")
    for explicit in (False, True):
        x = builder.concatenation(builder.split(x, 3, [2, 2], explicit)[::-1], 3)
    x = builder.pack(builder.unpack(x, 2)[::-1], 1)
    x = builder.blocks(builder.blocks(x, "DEPTH_TO_SPACE", 2), "SPACE_TO_DEPTH", 2)
    x = gather(builder, resize_nearest(builder, x, (7, 3), False, False), 1, [6, 0, 3, 3])
    return builder.reshape(x, (3, 4, 4))


MAKERS["moves"] = moved_about


def model(name: str) -> bytes:
    builder = ModelBuilder((4, 4, 8), SCALE, 0)
    return builder.build(MAKERS[name](builder, builder.input))


def test_every_gradient_has_a_case() -> None:
    assert {type(op) for name in MAKERS for op in unrolled(read_graph(model(name)), 1).ops} == WITH_GRADIENTS


class Deployed:
    """A model on the twin and its view."""

    def __init__(self, content: bytes, folder: Path) -> None:
        self.bundle = write_bundle(content, folder, name="op")
        self.twin, self.view = Twin(self.bundle, threads=1), GradientView(unrolled(read_graph(content), 1))
        if self.bundle.manifest.state_bytes:  # graphs with the steps of a sequence take seconds to compile
            vars(self.view)["_call"] = self.view._forward

    def logits(self, x: np.ndarray) -> np.ndarray:
        """float64: the model's logits, or its outputs as real numbers where it has none."""
        outputs = self.twin.predict(x.astype(np.int8).reshape(-1, *self.view.input_shape))
        if outputs.logits is not None:
            return outputs.logits
        output = self.bundle.manifest.output
        return (outputs.scores.astype(np.int64) - output.zero_point) * output.scale

    def assert_exact(self, x: np.ndarray) -> None:
        steps = x.astype(np.float32).reshape(-1, *self.view.input_shape)
        assert np.array_equal(self.view.logits(steps), self.logits(x).astype(np.float32))


@pytest.fixture(scope="module", params=MAKERS)
def deployed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Deployed:
    return Deployed(model(request.param), tmp_path_factory.mktemp("op") / "b")


def test_values_are_the_deployed_models(deployed: Deployed) -> None:
    x = sample_inputs((4, 4, 8), 2, count=60)
    if isinstance(deployed.view.graph.ops[-1], Softmax | LogSoftmax | L2Normalization):  # rounded from real numbers
        away = np.abs(deployed.view.logits(x.astype(np.float32)) - deployed.logits(x))
        assert away.max() < 1.01 * deployed.bundle.manifest.output.scale
    else:
        deployed.assert_exact(x)


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(), seed=inputs)
def test_values_of_random_graphs_are_the_deployed_models(content: bytes, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        deployed = Deployed(content, Path(folder) / "b")
        deployed.assert_exact(sample_inputs(deployed.view.input_shape, seed))


def test_sums_that_leave_float32_are_exact(tmp_path: Path) -> None:
    """Sums of up to 3e7 and 6e7, where float32 holds even numbers or multiples of four alone."""
    large = np.random.default_rng(5).integers(110, 128, (4, 5, 5, 32), dtype=np.int8)
    builder = ModelBuilder((8, 8, 32), SCALE, -128)
    tensor = builder.conv(builder.input, large, [1e-5], None, (0.1, -100))
    tensor = builder.reshape(builder.pad(tensor, [(0, 0), (0, 0), (0, 28)]), (2048,))
    head = np.random.default_rng(6).integers(110, 128, (3, 2048), dtype=np.int8)
    deployed = Deployed(builder.build(builder.dense(tensor, head, [1e-5], None, (0.1, 0))), tmp_path / "b")
    deployed.assert_exact(sample_inputs((8, 8, 32), 7))


@st.composite
def requants(draw: st.DrawFn) -> Requant:
    """Requantizations of three channels; some multiply by zero, and some would wrap."""
    multipliers = st.one_of(st.integers(1 << 30, (1 << 31) - 1), st.sampled_from([0, 1 << 30, (1 << 31) - 1]))
    low, high = sorted(draw(st.lists(st.integers(-128, 127), min_size=2, max_size=2)))
    return Requant(
        multiplier=np.array(draw(st.lists(multipliers, min_size=3, max_size=3)), dtype=np.int32),
        shift=np.array(draw(st.lists(st.integers(-31, 12), min_size=3, max_size=3)), dtype=np.int32),
        zero_point=draw(st.integers(-128, 127)),
        act_min=low,
        act_max=high,
    )


@settings(max_examples=60, deadline=None)
@given(requants(), st.lists(st.integers(-(1 << 22), 1 << 22), min_size=3, max_size=3), st.sampled_from([1, 127]))
def test_requantisation_rounds_as_the_kernels(how: Requant, bias: list[int], unit: int) -> None:
    """At random sums and at those where the output changes, in the quick way and in the one that is always right."""
    offset, largest = np.array(bias, dtype=np.int64), (1 << 24) - 1
    real = np.maximum(np.ldexp(how.multiplier.astype(np.float64), how.shift - 31), 1e-9)
    levels = np.arange(-128, 128)[:, None] - 0.5 - how.zero_point
    changes = np.rint(np.clip((levels / real - offset) / unit, -largest // unit, largest // unit))
    sums = np.concatenate([changes + step for step in range(-2, 3)]).clip(-largest // unit + 1, largest // unit)
    wanted = requantise(sums.astype(np.int64) * unit + offset, how)
    given_ = tf.constant(sums.astype(np.float32))
    quick = integer_ops.requantised(tf, given_, how, largest, offset, unit)
    always = integer_ops.in_int64(tf, given_, how, offset, unit).numpy().clip(how.act_min, how.act_max)
    assert np.array_equal(quick, wanted)
    assert np.array_equal(always, wanted)


def test_usual_requantisations_take_the_quick_way() -> None:
    multipliers = np.geomspace(1e-4, 0.5, 64)
    for act_min, zero_point in [(-128, 3), (-128, -128), (-20, -20)]:
        usual = requant(multipliers, zero_point, (act_min, 127))
        assert integer_ops.affine_of(usual, 1 << 24, np.arange(64) * 1000, 1) is not None


def test_gradients_foretell_the_deployed_models_output(deployed: Deployed) -> None:
    """Central differences of a random sum of the outputs, over steps large enough to outweigh rounding."""
    rng = np.random.default_rng(1)
    view = deployed.view
    x = rng.integers(-70, 70, (120, *view.input_shape))
    moved = rng.integers(-4, 5, x.shape)
    weighing = rng.normal(size=view.classes)
    at = tf.constant(x.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(at)
        total = tf.linalg.matvec(view(at), weighing.astype(np.float32))
    foretold = (tape.gradient(total, at).numpy() * 2 * moved).reshape(len(x), -1).sum(axis=1)
    happened = (deployed.logits(x + moved) - deployed.logits(x - moved)) @ weighing
    assert np.corrcoef(foretold, happened)[0, 1] > 0.95
    assert np.polyfit(foretold, happened, 1)[0] == pytest.approx(1, abs=0.06)
