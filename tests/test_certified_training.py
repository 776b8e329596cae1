"""Certified training: its bounds hold for the float network, and a small network trained with it is proved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tritguard import api
from tritguard.attack import Ball
from tritguard.certify.bracket import Depth, certify
from tritguard.certify.network import Network
from tritguard.data import Dataset, to_input_bytes
from tritguard.errors import BadModelError
from tritguard.progress import silent
from tritguard.train import TrainConfig
from tritguard.train.config import AdversarialConfig, Block, CertifiedConfig, QuantizeConfig
from tritguard.train.fit import train
from tritguard.twin import Twin

tf = pytest.importorskip("tensorflow", reason="training needs the extra 'train'")
pytestmark = pytest.mark.slow

SHAPE, CLASSES, EPS = (8, 8, 1), 3, 4


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one bright third, with noise: uint8[count, 8, 8, 1] and labels."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, CLASSES, count)
    x = rng.integers(0, 140, (count, *SHAPE))
    for picture, label in zip(x, y, strict=True):
        picture[:, 3 * label : 3 * label + 2] += 60
    return np.clip(x, 0, 255).astype(np.uint8), y.astype(np.int64)


def config(**changes: object) -> TrainConfig:
    return TrainConfig(
        net="small-conv", epochs=8, samples=600, batch_size=50, learning_rate=0.01, calibration=100,
        quantize=QuantizeConfig(weights="ternary", first="int8"), **changes,
    )  # fmt: skip


@pytest.mark.parametrize(("net", "weights"), [("separable", "ternary"), ("resnet8", "none")])
def test_no_input_of_the_box_leaves_the_interval_bounds(net: str, weights: str) -> None:
    from tritguard.train.certified import interval_margins  # noqa: PLC0415 - imports TensorFlow
    from tritguard.train.nets import build_net  # noqa: PLC0415
    from tritguard.train.quantize import quantize  # noqa: PLC0415

    settings = config().model_copy(update={"net": net, "blocks": (Block(channels=8),), "stem": 4})
    model = quantize(build_net(settings, SHAPE, CLASSES), QuantizeConfig(weights=weights), (0.0, 1.0))
    rng = np.random.default_rng(0)
    for layer in model.layers:  # batch norms as a training leaves them
        if isinstance(layer, tf.keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights([rng.normal(1, 0.5, shape), *rng.normal(0, 0.2, (2, *shape)), rng.uniform(0.3, 2, shape)])
    x = tf.constant(rng.random((6, *SHAPE)), tf.float32)
    y = tf.constant(rng.integers(0, CLASSES, 6))
    bounds = interval_margins(model, x, x - 0.05, x + 0.05, y, training=False).numpy()
    for _ in range(20):
        moved = x + rng.choice([-0.05, 0.05], x.shape).astype(np.float32)
        logits = model(moved, training=False).numpy()
        margins = logits - logits[np.arange(6), y.numpy()][:, None]
        assert (margins <= bounds + 1e-4).all()
    nothing = interval_margins(model, x, x, x, y, training=False).numpy()
    logits = model(x, training=False).numpy()
    assert nothing == pytest.approx(logits - logits[np.arange(6), y.numpy()][:, None], abs=1e-3)


def right_and_proved(folder: Path, data: Dataset, settings: TrainConfig) -> tuple[int, int]:
    """Train and convert a net; how many of 100 test samples are right, and proved at `EPS` by intervals alone."""
    (folder / "train").mkdir(parents=True)
    train(settings, data, folder / "train", all_forms=False)
    bundle = api.convert(folder / "train", folder / "bundle", data=data)
    twin, grid = Twin(bundle), bundle.manifest.input
    x = to_input_bytes(data.x_test, grid.scale, grid.zero_point)

    def answer(inputs: np.ndarray) -> np.ndarray:
        return twin.predict(inputs).labels

    depth, nothing = Depth(relaxation=None), silent("")
    found = certify(Network.of(bundle.golden), answer, x, data.y_test, Ball("Linf", EPS), depth, nothing)
    return int((answer(x) == data.y_test).sum()), found.status.count("proved")


def test_a_ternary_net_that_is_trained_for_proofs_is_proved(tmp_path: Path) -> None:
    """In small boxes around adversarial samples, which are whole boxes with more to them."""
    x, y = stripes(700, 0)
    data = Dataset("stripes", x[600:], y[600:], tuple("abc"), "pixel/255", "none", x[:600], y[:600])
    small = CertifiedConfig(eps=EPS, box=0.7, ramp=(0, 0.3))
    trained = config(certified=small, adversarial=AdversarialConfig(attack="fgsm", eps=EPS))
    right, proved = right_and_proved(tmp_path / "boxes", data, trained)
    assert right >= 90
    assert proved >= 50, "the same net trained without has 100 right and none proved"


def test_layers_without_bounds_are_refused() -> None:
    from tritguard.train.certified import interval_margins  # noqa: PLC0415 - imports TensorFlow

    inputs = tf.keras.Input((4,))
    twisted = tf.keras.layers.LayerNormalization(name="twisted")(inputs)
    model = tf.keras.Model(inputs, tf.keras.layers.Dense(2)(twisted))
    x, y = tf.zeros((1, 4)), tf.constant([0])
    with pytest.raises(BadModelError, match="twisted: certified training has no bounds"):
        interval_margins(model, x, x, x, y, training=False)
    open_end = tf.keras.Model(inputs, tf.keras.layers.ReLU(name="end")(inputs))
    with pytest.raises(BadModelError, match="ends in a dense layer"):
        interval_margins(open_end, x, x, x, y, training=False)
