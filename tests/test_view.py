"""Gradients of every op: they foretell how the deployed model's output moves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.random_moves import mirror_pad, resize_nearest
from tests.tflite_builder import ModelBuilder
from tests.tflite_tables import Table
from tritguard.attack.view import WITH_GRADIENTS, GradientView
from tritguard.emit import write_bundle
from tritguard.graph import read_graph
from tritguard.twin import Twin

tf = pytest.importorskip("tensorflow", reason="the view needs TensorFlow")

SCALE = 0.05  # inputs are in [-6.4, 6.35]
Make = Callable[[ModelBuilder, int], int]
RNG = np.random.default_rng(3)


def unary(name: str, out: tuple[float, int], options: Table | None = None) -> Make:
    return lambda builder, x: builder.unary(name, x, out, options)


def paired(name: str, out: tuple[float, int]) -> Make:
    """With the tensor itself turned around, and with a constant a channel."""

    def make(builder: ModelBuilder, x: int) -> int:
        values = RNG.integers(20, 100, 8, dtype=np.int8) * RNG.choice([-1, 1], 8).astype(np.int8)
        channels = builder.constant(values, [SCALE if name in ("MAXIMUM", "MINIMUM") else 0.01])
        if name == "PRELU":
            return builder.binary(name, x, channels, out)
        both = builder.binary(name, x, builder.transpose(x, (0, 2, 1, 3)), out)
        if name in ("MAXIMUM", "MINIMUM"):
            return builder.binary(name, channels, both, out)
        return builder.binary(name, both, channels, (2 * out[0], 0))

    return make


def weights(*shape: int) -> np.ndarray:
    return RNG.integers(-127, 128, shape, dtype=np.int8)


MAKERS: dict[str, Make] = {
    "ABS": unary("ABS", (SCALE, -100)),
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
    "MAXIMUM": paired("MAXIMUM", (SCALE, 0)),
    "MINIMUM": paired("MINIMUM", (SCALE, 0)),
    "SOFTMAX": lambda builder, x: builder.softmax(x, 0.3),
    "MEAN": lambda builder, x: builder.mean(x, (0.02, 0), keep_dims=True),
    "AVERAGE_POOL_2D": lambda builder, x: builder.pool(x, "AVERAGE", (3, 2), (2, 1), same=True, activation="NONE"),
    "MAX_POOL_2D": lambda builder, x: builder.pool(x, "MAX", (2, 2), (2, 2), same=False, activation="NONE"),
    "CONV_2D": lambda builder, x: builder.conv(
        x, weights(5, 3, 2, 8), [0.002], None, (0.1, 0), stride=(2, 1), dilation=(1, 2)
    ),
    "DEPTHWISE_CONV_2D": lambda builder, x: builder.depthwise(
        x, weights(3, 3, 16), [0.003], None, (0.1, 0), stride=(1, 2), activation="RELU6"
    ),
    "FULLY_CONNECTED": lambda builder, x: builder.dense(
        builder.reshape(x, (128,)), weights(6, 128), [0.001], None, (0.1, 0)
    ),
    "TRANSPOSE_CONV": lambda builder, x: builder.transpose_conv(
        x, weights(4, 3, 3, 8), [0.003], None, (0.1, 0), (8, 7), stride=(2, 2), same=True
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
    return builder.reshape(resize_nearest(builder, x, (7, 3), False, False), (3, 7, 4))


MAKERS["moves"] = moved_about


def model(name: str) -> bytes:
    builder = ModelBuilder((4, 4, 8), SCALE, 0)
    return builder.build(MAKERS[name](builder, builder.input))


def test_every_gradient_has_a_case() -> None:
    assert {type(op) for name in MAKERS for op in read_graph(model(name)).ops} == WITH_GRADIENTS


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_foretell_the_deployed_models_output(name: str, tmp_path: Path) -> None:
    """Central differences of a random sum of the outputs, over steps large enough to outweigh rounding."""
    rng = np.random.default_rng(1)
    content = model(name)
    bundle = write_bundle(content, tmp_path / "b", name="op")
    twin, view = Twin(bundle, threads=1), GradientView(read_graph(content))
    x = rng.integers(-70, 70, (120, 4, 4, 8))
    moved = rng.integers(-4, 5, x.shape)
    weighing = rng.normal(size=view.classes)

    def deployed(at: np.ndarray) -> np.ndarray:
        outputs = twin.predict(at.astype(np.int8))
        real = outputs.scores * bundle.manifest.output.scale if outputs.logits is None else outputs.logits
        return real @ weighing

    at = tf.constant(x.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(at)
        total = tf.linalg.matvec(view(at), weighing.astype(np.float32))
    foretold = (tape.gradient(total, at).numpy() * 2 * moved).sum(axis=(1, 2, 3))
    happened = deployed(x + moved) - deployed(x - moved)
    assert np.corrcoef(foretold, happened)[0, 1] > 0.95
    assert np.polyfit(foretold, happened, 1)[0] == pytest.approx(1, abs=0.06)
