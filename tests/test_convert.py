"""From Keras to the golden `.tflite`: loading that refuses, exact folding, exact ternary weights, accuracy."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tflite

from tests.support.fake_store import FakeStore
from tritguard.api.source import title
from tritguard.convert import keras_to_tflite, network_to_tflite
from tritguard.convert.archive import load_model
from tritguard.convert.check import check_ternary
from tritguard.convert.fold_norms import fold_norms
from tritguard.data import load_dataset, to_input_bytes
from tritguard.errors import BadInputError, BadModelError, UnsupportedOpError
from tritguard.foreign.configuration import describe
from tritguard.graph import read_graph
from tritguard.graph.model import Weighted
from tritguard.oracle import Oracle, oracle_available
from tritguard.train import TrainRecord
from tritguard.train.backend import keras
from tritguard.train.config import Block, QuantizeConfig
from tritguard.train.layers import TernaryConv2D, TernaryDense, TernaryDepthwiseConv2D
from tritguard.train.nets.separable import separable
from tritguard.train.quantize import quantize

pytest_plugins = ("tests.support.demo_fixture",)

layers = keras.layers
SHAPE = (12, 12, 1)


def randomise(model: Any, seed: int) -> Any:
    """Random weights; batch-norm with gains of both signs and some of zero, statistics far from 0 and 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, layers.BatchNormalization):
            weights = [rng.normal(size=w.shape) for w in weights]
            weights[-1] = np.abs(weights[-1]) + 0.01  # the variance comes last, gamma first where there is one
            if layer.scale:
                weights[0][rng.random(weights[0].shape) < 0.1] = 0
        elif weights:
            weights = [rng.normal(size=w.shape) for w in weights]
            weights[0][..., -1] *= rng.random() < 0.5  # sometimes a dead channel
        layer.set_weights([w.astype(np.float32) for w in weights])
    return model


def dscnn() -> Any:
    net = separable(SHAPE, 4, stem=6, blocks=(Block(channels=8, stride=2), Block(channels=10)))
    return quantize(net, QuantizeConfig())


def mixed() -> Any:
    """Plain and ternary layers, biases before batch-norm, a branch, a norm that cannot be folded, a multiplier."""
    x = inputs = keras.Input(SHAPE)
    x = layers.BatchNormalization()(TernaryConv2D(6, 3, padding="same")(x))
    x = layers.Activation("relu")(x)
    y = layers.BatchNormalization(scale=False)(layers.DepthwiseConv2D(3, padding="same")(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.BatchNormalization(center=False)(TernaryDepthwiseConv2D(3, strides=2, depth_multiplier=2)(x))
    x = layers.BatchNormalization()(layers.Conv2D(7, 1, activation="relu")(x))  # after ReLU: stays
    x = layers.MaxPooling2D()(x)
    x = layers.Flatten()(layers.Dropout(0.5)(x))
    x = layers.BatchNormalization()(TernaryDense(9)(x))
    return keras.Model(inputs, layers.Dense(4)(x))


def two_readers() -> Any:
    """A convolution read by batch-norm and by something else: folding would change the other."""
    inputs = keras.Input(SHAPE)
    x = TernaryConv2D(5, 3, padding="same")(inputs)
    x = layers.Add()([layers.BatchNormalization()(x), x])
    return keras.Model(inputs, TernaryDense(4)(layers.GlobalAveragePooling2D()(x)))


def sequential() -> Any:
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(5, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(4),
        ]
    )


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.keras"
    model.save(path)
    return path


def pixels(n: int = 20, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(n).integers(3, 250, (n, *shape), dtype=np.uint8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [dscnn, mixed, two_readers, sequential])
def test_folding_changes_nothing(make: Callable[[], Any], seed: int, tmp_path: Path) -> None:
    model = load_model(saved(randomise(make(), seed), tmp_path))
    folded = fold_norms(model)
    x = np.random.default_rng(seed).random((8, *SHAPE), np.float32)
    wanted, got = np.asarray(model(x, training=False)), np.asarray(folded.model(x, training=False))
    np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max())
    assert set(folded.trits) == {layer.name for layer in model.layers if type(layer).__name__.startswith("Ternary")}
    for name, trits in folded.trits.items():
        kernel = np.asarray(folded.model.get_layer(name).kernel)
        depthwise = "depthwise" in name
        scales = np.abs(kernel).max(axis=(0, 1) if depthwise else tuple(range(kernel.ndim - 1)))
        order = trits if depthwise else np.moveaxis(trits, 0, -1)
        np.testing.assert_array_equal(kernel, order * scales)


def test_all_norms_of_the_demos_net_are_folded() -> None:
    names = [type(layer).__name__ for layer in fold_norms(dscnn()).model.layers]
    assert "BatchNormalization" not in names
    assert not any(name.startswith("Ternary") for name in names)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("make", [dscnn, mixed])
def test_ternary_weights_are_exact(make: Callable[[], Any], seed: int, tmp_path: Path) -> None:
    path = saved(randomise(make(), seed), tmp_path)
    content = keras_to_tflite(path, pixels())
    assert input_quantization(content) == (np.float32(1 / 255), -128)
    expected = fold_norms(load_model(path)).trits
    check_ternary(content, expected)
    for name, trits in expected.items():
        flipped = trits.copy()
        flipped.flat[0] = 1 if trits.flat[0] == 0 else 0
        with pytest.raises(BadModelError, match=name):
            check_ternary(content, expected | {name: flipped})


def test_a_network_at_hand_becomes_what_its_file_does(tmp_path: Path) -> None:
    model = randomise(dscnn(), 0)
    of_file = read_graph(keras_to_tflite(saved(model, tmp_path), pixels()))
    at_hand = read_graph(network_to_tflite(model, pixels()))
    for one, other in zip(at_hand.ops, of_file.ops, strict=True):
        assert one.kind == other.kind
        grids = [
            (graph.tensors[op.output].scale, graph.tensors[op.output].zero_point)
            for graph, op in ((at_hand, one), (of_file, other))
        ]
        assert grids[0] == grids[1]
        if isinstance(one, Weighted) and isinstance(other, Weighted):
            np.testing.assert_array_equal(one.weights, other.weights)
            np.testing.assert_array_equal(one.bias, other.bias)
    with pytest.raises(BadInputError, match="shape"):
        network_to_tflite(model, pixels(shape=(5, 5, 1)))


def test_what_a_ternary_depthwise_kernel_suffers_from_is_said_whoever_made_it(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE)
    x = layers.DepthwiseConv2D(3, name="depthwise")(layers.Conv2D(4, 1)(inputs))
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    trits = np.ones((3, 3, 4, 1)) * np.resize([1.0, -1.0, 0.0], (3, 3, 1, 1))
    trits[:, :, 2] = 0
    model.get_layer("depthwise").set_weights([trits * np.array([0.1, 0.2, 0.3, 0.4])[:, None], np.zeros(4)])
    notes: list[str] = []
    keras_to_tflite(saved(model, tmp_path), pixels(), notes.append)
    assert "depthwise: 1 of 4 channels are dead: all their weights are zero" in notes
    assert not any("one scale" in note for note in notes)
    model.get_layer("depthwise").set_weights([trits * 0.3, np.zeros(4)])
    keras_to_tflite(saved(model, tmp_path), pixels(), notes.append)
    assert "depthwise: one scale for 4 channels, as in QKeras; small ones die; set one_scale = false" in notes


def input_quantization(content: bytes) -> tuple[float, int]:
    graph = tflite.Model.GetRootAs(content).Subgraphs(0)
    quantization = graph.Tensors(graph.Inputs(0)).Quantization()
    return quantization.Scale(0), quantization.ZeroPoint(0)


def test_float_calibration_keeps_the_models_own_input_unit(tmp_path: Path) -> None:
    path = saved(randomise(sequential(), 0), tmp_path)
    x = np.random.default_rng(0).uniform(-3, 5, (30, *SHAPE)).astype(np.float32)
    scale, zero_point = input_quantization(keras_to_tflite(path, x))
    assert scale == pytest.approx((x.max() - x.min()) / 255, rel=1e-3)
    assert zero_point == round(-128 - x.min() / scale)


@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
@pytest.mark.parametrize("make", [dscnn, sequential])
def test_int8_follows_the_float_model(make: Callable[[], Any], tmp_path: Path) -> None:
    path = saved(randomise(make(), 5), tmp_path)
    x = pixels(200)
    wanted = np.asarray(load_model(path)(x / np.float32(255), training=False))
    got = Oracle(keras_to_tflite(path, x)).predict(to_input_bytes(x, 1 / 255, -128)).scores
    for c in range(wanted.shape[1]):
        if np.ptp(wanted[:, c]) > 0.2 * np.ptp(wanted):
            assert np.corrcoef(wanted[:, c], got[:, c])[0, 1] > 0.95


def test_calibration_files(tmp_path: Path) -> None:
    path = saved(randomise(sequential(), 0), tmp_path)
    x = pixels()
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "set.npz", x_test=x, y_test=np.zeros(len(x), int))
    wanted = input_quantization(keras_to_tflite(path, x))
    for name in ("x.npz", "set.npz"):
        assert input_quantization(keras_to_tflite(path, tmp_path / name)) == wanted
    np.savez(tmp_path / "wrong.npz", x=pixels(shape=(8, 8, 1)))
    with pytest.raises(BadInputError, match=r"wrong\.npz: .*\(8, 8, 1\).*\(12, 12, 1\)"):
        keras_to_tflite(path, tmp_path / "wrong.npz")
    with pytest.raises(BadInputError, match="int8"):
        keras_to_tflite(path, x.view(np.int8))
    np.savez(tmp_path / "none.npz", y=np.zeros(3))
    with pytest.raises(BadInputError, match=r"none\.npz: no x"):
        keras_to_tflite(path, tmp_path / "none.npz")


def test_shared_layers_are_converted_once_for_each_use(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE)
    conv = layers.Conv2D(1, 3, padding="same", name="twice")
    model = keras.Model(inputs, layers.Flatten()(conv(conv(inputs))))
    with pytest.raises(BadModelError, match="twice: is used more than once"):
        fold_norms(model)  # what is not laid flat
    graph = read_graph(keras_to_tflite(saved(model, tmp_path), pixels()))
    assert [op.kind for op in graph.ops] == ["CONV_2D", "CONV_2D", "RESHAPE"]


def test_what_the_converter_refuses_is_one_error(tmp_path: Path) -> None:
    inputs = keras.Input((None, 12, 1))
    path = saved(keras.Model(inputs, layers.Conv2D(2, 3)(inputs)), tmp_path)
    with pytest.raises(BadInputError, match=r"shape"):
        keras_to_tflite(path, pixels())


# Files of unknown origin.


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "zip.keras", "w") as archive:
        archive.writestr("readme.txt", "no model")
    with zipfile.ZipFile(tmp_path / "list.keras", "w") as archive:
        archive.writestr("config.json", "[1]")
    for name, message in (("zip.keras", "no configuration of a model"), ("list.keras", "not that of a model")):
        with pytest.raises(BadModelError, match=rf"{name}: .*{message}"):
            load_model(tmp_path / name)
    with pytest.raises(BadInputError, match="No such file"):
        load_model(tmp_path / "absent.keras")


def config_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        config: dict[str, Any] = json.loads(archive.read("config.json"))
    return config


def test_code_in_a_model_is_never_looked_up(tmp_path: Path) -> None:
    config = config_of(saved(sequential(), tmp_path))
    shell = {"module": "os", "class_name": "function", "config": "system", "registered_name": "system"}
    own = {"module": "trap", "class_name": "Trap", "config": {}, "registered_name": "trap>Trap"}
    lambda_layer = {"module": "keras.layers", "class_name": "Lambda", "config": {}, "registered_name": None}
    hidden = {"module": "builtins", "class_name": "__lambda__", "config": {"value": "AAAA"}, "registered_name": None}
    posing = {"module": "os", "class_name": "system", "config": {}, "registered_name": "tritguard>TernaryDense"}
    for value in (shell, own, lambda_layer, hidden, posing):
        activated, replaced = json.loads(json.dumps(config)), json.loads(json.dumps(config))
        activated["config"]["layers"][-1]["config"]["activation"] = value
        replaced["config"]["layers"][2] |= value | {"config": {"name": "b"}}
        for model in (activated, replaced):
            with pytest.raises(BadModelError, match="is not taken"):
                describe(model, FakeStore())


@keras.saving.register_keras_serializable("mine")
class Dense(layers.Dense):  # type: ignore[misc]
    """Another layer of a known name."""

    def call(self, inputs: Any, training: bool = False) -> Any:
        return super().call(inputs) ** 2


def test_layers_of_ones_own_are_refused_whatever_their_name(tmp_path: Path) -> None:
    inputs = keras.Input(SHAPE)
    x = layers.Flatten()(inputs)
    own = keras.Model(inputs, Dense(4, name="head")(x))
    with pytest.raises(BadModelError, match=r"layer head: mine>Dense of tests.test_convert is not taken; export"):
        describe(config_of(saved(own, tmp_path)), FakeStore())
    operation = keras.Model(inputs, layers.Dense(4)(x) + 1.0)
    with pytest.raises(BadModelError, match=r"Add of keras.src.ops.numpy is not taken"):
        describe(config_of(saved(operation, tmp_path)), FakeStore())


def test_models_of_another_kind_within_models_are_refused(tmp_path: Path) -> None:
    """Tests of `test_foreign.py` show that functional and sequential ones are taken."""
    config = config_of(saved(keras.Sequential([keras.Input(SHAPE), sequential()]), tmp_path))
    inner = config["config"]["layers"][1]
    for change, message in (
        ({"class_name": "Net"}, "a Net, which is not taken"),
        ({"module": "trap"}, "of trap is not"),
    ):
        config["config"]["layers"][1] = inner | change
        with pytest.raises(BadModelError, match=message):
            describe(config, FakeStore())


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    config = config_of(saved(sequential(), tmp_path)) | {"module": "trap", "class_name": "Net"}
    with pytest.raises(BadModelError, match="a Net model"):
        describe(config, FakeStore())


def test_what_is_loaded_answers_as_what_was_saved(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, *SHAPE)).astype(np.float32)
    for make in (every_layer, mixed):
        model = randomise(make(), 1)
        wanted = np.asarray(model(x, training=False))
        got = np.asarray(load_model(saved(model, tmp_path))(x, training=False))
        np.testing.assert_allclose(got, wanted, atol=1e-5 * np.abs(wanted).max(), err_msg=make.__name__)


def every_layer() -> Any:
    """Each standard layer that `mixed` has not, and options beside the defaults."""
    x = inputs = keras.Input(SHAPE)
    x = layers.ZeroPadding2D(((1, 0), (2, 1)))(x)
    x = layers.Conv2D(6, (3, 2), dilation_rate=2, activation="hard_silu")(x)
    x = layers.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.2)(x)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.AveragePooling2D(2, strides=1, padding="same")(x)
    x = layers.Activation("leaky_relu")(layers.BatchNormalization(epsilon=0.1)(x))
    x = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Reshape((3, 2))(x)
    return keras.Model(inputs, layers.Softmax(axis=1)(layers.Dense(5, activation=keras.activations.tanh)(x)))


def test_damaged_weights_are_one_error(tmp_path: Path) -> None:
    path = saved(sequential(), tmp_path)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], content[:2000] + bytes(500) + content[2500:]):
        (tmp_path / "damaged.keras").write_bytes(damaged)
        with pytest.raises(BadModelError, match=r"damaged\.keras"):
            load_model(tmp_path / "damaged.keras")


def test_conversion_is_silent_and_does_without_scikit_learn(tmp_path: Path) -> None:
    path = saved(randomise(dscnn(), 0), tmp_path)
    np.savez(tmp_path / "calibration.npz", x=pixels())
    code = (
        "import logging, sys; logging.basicConfig(stream=sys.stdout); "  # Python's log is seen, as in a notebook
        "from pathlib import Path; from tritguard.convert import keras_to_tflite; "
        "assert len(keras_to_tflite(Path(sys.argv[1]), Path(sys.argv[2]))) > 1000; "
        "assert 'sklearn' not in sys.modules; import sklearn"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path, tmp_path / "calibration.npz"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


# The demo's network on real data.


@pytest.mark.slow
@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_the_demos_network(trained_demo: tuple[Path, TrainRecord]) -> None:
    folder, record = trained_demo
    assert record.accuracy >= 0.78
    content = keras_to_tflite(folder / "model.keras", folder / "calibration.npz")
    assert len(fold_norms(load_model(folder / "model.keras")).trits) == 10
    dataset = load_dataset("fashion-mnist")
    scale, zero_point = input_quantization(content)
    x = to_input_bytes(dataset.x_test[:1000], scale, zero_point)
    accuracy = (Oracle(content).predict(x).labels == dataset.y_test[:1000]).mean()
    print(f"float {record.accuracy:.4f}, int8 {accuracy:.4f}, {len(content)} B, {record.seconds:.0f} s")
    assert accuracy >= record.accuracy - 0.02


@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_what_tflm_lacks_is_said_by_reading_alone(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing of the interpreter's own complaints reaches the terminal; reading the result names op and index."""
    layers = [keras.Input((6, 6, 1)), keras.layers.Conv2D(4, 3, activation="gelu"), keras.layers.Flatten()]
    keras.Sequential([*layers, keras.layers.Dense(3)]).save(tmp_path / "net.keras")
    x = np.random.default_rng(0).random((16, 6, 6, 1), dtype=np.float32)
    notes: list[str] = []
    content = keras_to_tflite(tmp_path / "net.keras", x, notes.append)
    said = capfd.readouterr()
    assert notes == [] and "GELU" not in said.out + said.err
    with pytest.raises(UnsupportedOpError, match=r"^op 1 \(GELU\): TensorFlow Lite Micro has no such op"):
        read_graph(content)


def test_a_model_is_named_after_what_says_something(tmp_path: Path) -> None:
    training = tmp_path / "birds" / "train"
    training.mkdir(parents=True)
    assert title(training, None) == "train"  # a SavedModel, for all that is known
    (training / "model.keras").write_bytes(b"")
    assert title(training, None) == "birds" and title(training, "mine") == "mine"
    assert title(training / "model.keras", None) == "model"
    other = tmp_path / "birds" / "second"
    training.rename(other)
    assert title(other, None) == "second"
