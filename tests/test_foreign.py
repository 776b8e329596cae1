"""Models of QKeras and Keras 2: what is taken computes the same, what is hostile or strange is refused unopened."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tflite

from tests.support import nested_models as nested
from tests.support.fake_store import FakeStore
from tests.support.shared import ROOT, shared_file
from tritguard.convert import apart, keras_to_tflite
from tritguard.convert.archive import load_model
from tritguard.convert.bounds import bounds_to_relu6
from tritguard.convert.check import input_quantization
from tritguard.convert.fold_norms import fold_norms
from tritguard.convert.quantize import quantize as to_tflite
from tritguard.data import load_dataset, to_input_bytes
from tritguard.data.fashion_mnist import DEBIAN_DIR
from tritguard.errors import BadModelError, ToolMissingError
from tritguard.foreign.configuration import describe
from tritguard.foreign.expressions import Call, parse
from tritguard.foreign.guard import FORBIDDEN
from tritguard.graph import read_graph
from tritguard.oracle import Oracle, oracle_available
from tritguard.train import layers as ternary
from tritguard.train.backend import keras
from tritguard.train.config import Block, QuantizeConfig
from tritguard.train.nets.separable import separable
from tritguard.train.quantize import quantize

pytestmark = pytest.mark.slow
needs_qkeras = pytest.mark.skipif(
    not (find_spec("qkeras") and find_spec("tf_keras")), reason="needs qkeras and tf-keras: docs/configuration.md"
)


@pytest.fixture(scope="module")
def of_keras_2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Keras 2 and QKeras make, in a process of their own: see tests/support/keras_2.py."""
    folder = tmp_path_factory.mktemp("keras_2")
    if DEBIAN_DIR.is_dir():
        data = load_dataset("fashion-mnist")
        assert data.x_train is not None and data.y_train is not None
        arrays = {"x_train": data.x_train[:2000] / np.float32(255), "y_train": data.y_train[:2000]}
        arrays |= {"x_test": data.x_test[:1000] / np.float32(255), "y_test": data.y_test[:1000]}
        (folder / "qkeras_model").mkdir()
        np.savez(folder / "qkeras_model" / "data.npz", **arrays)
    environment = os.environ | {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "tests.support.keras_2", folder]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def trained(of_keras_2: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder with a model QKeras trained, test inputs in [0, 1], and QKeras' own answers on them."""
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    folder = of_keras_2 / "qkeras_model"
    answers = np.load(folder / "answers.npy")
    with np.load(folder / "data.npz") as data:
        assert (answers.argmax(axis=1) == data["y_test"]).mean() > 0.6  # it learned something
        return folder, data["x_test"], answers


@needs_qkeras
@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_a_model_trained_by_qkeras_answers_the_same_as_int8(trained: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, x, answers = trained
    notes: list[str] = []
    content = keras_to_tflite(folder / "model.h5", x[:256], notes.append)
    got = Oracle(content).predict(to_input_bytes(x, *input_quantization(content))).labels
    agreement = (got == answers.argmax(axis=1)).mean()
    print(f"QKeras and int8 agree on {agreement:.1%}", notes)
    assert agreement >= 0.99
    assert any(note.startswith("weights exactly -127, 0 and 127 in q_conv2d, q_conv2d_1, logits") for note in notes)
    assert tflite.BuiltinOperator.MINIMUM not in opcodes(content)  # bounds are part of the convolutions


def opcodes(content: bytes) -> list[int]:
    model = tflite.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    return [model.OperatorCodes(graph.Operators(i).OpcodeIndex()).BuiltinCode() for i in range(graph.OperatorsLength())]


def test_bounds_become_relu6_and_nothing_else_changes() -> None:
    layers = keras.layers
    x = inputs = keras.Input((8, 8, 2))
    x = layers.ReLU(3.5)(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    x = layers.ReLU(0.75)(layers.DepthwiseConv2D(3)(layers.MaxPooling2D()(x)))
    y = layers.ReLU(2.0, name="kept")(layers.Conv2D(4, 1)(x))  # read by a sum: cannot be scaled
    x = layers.Add()([y, x])
    model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    model.set_weights([np.random.default_rng(0).uniform(0.1, 2, w.shape) for w in model.get_weights()])
    changed = bounds_to_relu6(model)
    assert {layer.name for layer in changed.layers if getattr(layer, "max_value", None) not in (None, 6.0)} == {
        "kept",
        model.layers[6].name,
    }
    inputs = np.random.default_rng(1).normal(size=(20, 8, 8, 2)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(changed(inputs)), np.asarray(model(inputs)), rtol=1e-4, atol=1e-4)


def random_dense(*between: Any) -> Any:
    """Two dense layers of random weights with others between."""
    x = inputs = keras.Input((6,))
    for layer in (keras.layers.Dense(8), *between, keras.layers.Dense(4)):
        x = layer(x)
    model = keras.Model(inputs, x)
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "between",
    [
        lambda: [keras.layers.ReLU(3.5, threshold=1.0)],
        lambda: [keras.layers.ReLU(0.0)],
        lambda: [ternary.TernaryDense(8, alpha="auto_po2"), keras.layers.ReLU(2.5)],
        lambda: [keras.layers.ReLU(1.5), ternary.TernaryDense(8, alpha=0.7)],
        lambda: [keras.layers.ReLU(1.5), ternary.TernaryDense(8, alpha=None)],
        lambda: [keras.layers.ReLU(1.5), ternary.TernaryDense(8), keras.layers.ReLU(2.5)],
    ],
)
def test_what_does_not_scale_is_left_as_it_is(between: Callable[[], list[Any]]) -> None:
    model = random_dense(*between())
    x = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(bounds_to_relu6(model)(x)), np.asarray(model(x)), rtol=1e-4, atol=1e-4)


@needs_qkeras
def test_activations_saturate_where_qkeras_does(of_keras_2: Path) -> None:
    folder = of_keras_2 / "qkeras_activations"
    distances = json.loads((folder / "ranges.json").read_text())
    assert len(distances) == 10 and max(distances.values()) <= 0.51, distances  # rounding alone
    assert len(json.loads((folder / "refused.json").read_text())) == 3

    x, answers = np.load(folder / "x.npy"), np.load(folder / "answers.npy")
    notes: list[str] = []
    model = load_model(folder / "model.h5", notes.append)
    assert np.abs(np.asarray(model(x)) - answers).max() < 0.03 * np.abs(answers).max()
    assert notes == ["layer q_activation: clipped to -0.992188 to 0.992188 on the int8 grid of what it reads"]
    if oracle_available():
        content = to_tflite(fold_norms(bounds_to_relu6(model)).model, x)
        scale, zero_point = input_quantization(content)
        steps = np.clip(np.round(x / scale) + zero_point, -128, 127).astype(np.int8)
        agreement = (Oracle(content).predict(steps).labels == answers.argmax(axis=1)).mean()
        print(f"QKeras and int8 agree on {agreement:.1%}")
        assert agreement >= 0.95
        assert [type(op).__name__ for op in read_graph(content).ops].count("Binary") == 2  # the clip


@pytest.fixture(scope="module")
def of_many_quantizers(of_keras_2: Path) -> Path:
    return of_keras_2 / "qkeras_weights"


@needs_qkeras
@pytest.mark.parametrize("form", ["net.h5", "net.keras", "net"])
def test_weights_are_those_with_which_qkeras_computes(form: str, of_many_quantizers: Path) -> None:
    """In each form to the bit: of every quantizer of weights, of layers that fold a batch norm before they quantize.

    In one of its forms the network is also converted, and answers the same as int8.
    """
    x, answers = (np.load(of_many_quantizers / name) for name in ("x.npy", "answers.npy"))
    model = load_model(of_many_quantizers / form)
    with np.load(of_many_quantizers / "kernels.npz") as kernels:
        assert len(kernels.files) == 36
        for name in kernels.files:
            np.testing.assert_array_equal(np.asarray(model.get_layer(name).kernel), kernels[name], err_msg=name)
    np.testing.assert_allclose(np.asarray(model(x)), answers, rtol=1e-4, atol=1e-4)
    folded = fold_norms(model)
    assert "norm" not in {layer.name for layer in folded.model.layers}  # QKeras' own batch norm
    trits = folded.trits
    assert {"binary", "binary_depthwise", "one_bit", "random_binary", "ternary", "head_binary"} <= set(trits)
    if form == "net.h5" and oracle_available():
        assert_same_as_int8(model, x, answers)


def assert_same_as_int8(model: Any, x: np.ndarray, answers: np.ndarray) -> None:
    content = to_tflite(fold_norms(bounds_to_relu6(model)).model, x)
    graph = read_graph(content)
    sink = graph.tensors[graph.output]
    scores = Oracle(content).predict(to_input_bytes(x, *input_quantization(content))).scores
    assert np.abs((scores.astype(int) - sink.zero_point) * sink.scale - answers).max() < np.ptp(answers) / 20
    assert (scores.argmax(axis=1) == answers.argmax(axis=1)).mean() >= 0.95


@needs_qkeras
@pytest.mark.parametrize(
    ("activation", "message"),
    [
        ("binary()", "layer b: binary of activations, which gives a sign or a threshold, which no op"),
        ("ternary(alpha=1)", "layer b: ternary of activations, which gives a sign or a threshold"),
        ("quantized_po2(4)", "layer b: quantized_po2 of activations, which gives powers of two, which int8's even"),
        ("quantized_relu_po2(4)", "layer b: quantized_relu_po2 of activations, which gives powers of two"),
        ("quantized_bits(4,0,1,alpha='auto_po2')", "layer b: quantized_bits of activations with alpha='auto_po2'"),
    ],
)
def test_activations_that_int8_does_not_hold_are_refused(activation: str, message: str) -> None:
    with pytest.raises(BadModelError, match=re.escape(message)):
        describe(network(layer("QActivation", activation=activation)), FakeStore())


def test_a_folded_batch_norm_that_qkeras_cannot_compute_is_refused() -> None:
    conv = layer("QConv2DBatchnorm", filters=2, kernel_size=[1, 1], axis=[3], epsilon=0.001)
    for options, message in (
        ({"center": False}, "layer b: center=False, with which QKeras cannot compute it"),
        ({"renorm": True}, "layer b: renorm is True"),
        ({"epsilon": "much"}, "layer b: its epsilon is much"),
        ({"axis": [2]}, "layer b: normalises axis"),
    ):
        conv["config"] |= options
        with pytest.raises(BadModelError, match=re.escape(message)):
            describe(network(conv), FakeStore())
        conv["config"] |= {"center": True, "renorm": False, "epsilon": 0.001}


def test_mlperf_tinys_legacy_h5_gives_the_answers_of_its_int8_form() -> None:
    pictures = np.load(shared_file("data/cifar10_lossless_subset.npz"))["test_images"][:60]
    model = load_model(shared_file("models/resnet8_float.h5"))
    int8 = Oracle(shared_file("models/resnet8_int8.tflite").read_bytes()).predict(to_input_bytes(pictures, 1.0, -128))
    assert (np.asarray(model(pictures.astype(np.float32))).argmax(axis=1) == int8.labels).mean() >= 0.95


def test_mlperf_tinys_saved_model_is_read_without_its_graph() -> None:
    model = load_model(shared_file("models/dscnn_saved_model"))
    samples = dict(np.load(shared_file("data/gsc_kws01.npz")))
    x = (samples["mfcc_int8"][:200].astype(np.float32) - 83) * np.float32(0.5847029)
    assert (np.asarray(model(x)).argmax(axis=1) == samples["labels"][:200]).mean() > 0.88


@keras.saving.register_keras_serializable("bitnet")
class TernaryDense(keras.layers.Dense):  # type: ignore[misc]
    """What Keras calls so, as a user has it before Keras does: BitNet b1.58, or a threshold of one's own."""

    def __init__(self, *args: Any, threshold: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threshold = threshold

    def call(self, inputs: Any, training: bool = False) -> Any:
        ops, kernel = keras.ops, self.kernel
        scale = ops.mean(ops.abs(kernel)) if self.threshold is None else 1.0
        bound = 0.5 * scale if self.threshold is None else self.threshold
        trits = ops.sign(kernel) * ops.cast(ops.abs(kernel) > bound, "float32")
        return self.activation(inputs @ (trits * scale) + self.bias)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "threshold": self.threshold}


def test_a_ternary_dense_of_the_users_own(tmp_path: Path) -> None:
    inputs = keras.Input((6,))
    x = TernaryDense(5, activation="relu", name="bitnet")(inputs)
    model = keras.Model(inputs, TernaryDense(4, threshold=0.2, name="head")(x))
    model.set_weights([np.random.default_rng(0).normal(size=w.shape) * 0.4 for w in model.get_weights()])
    model.save(tmp_path / "model.keras")
    notes: list[str] = []
    loaded = load_model(tmp_path / "model.keras", notes.append)
    x = np.random.default_rng(1).normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_allclose(np.asarray(loaded(x)), np.asarray(model(x)), rtol=1e-5, atol=1e-6)
    assert set(fold_norms(loaded).trits) == {"bitnet", "head"}
    assert notes[0] == "layer bitnet: a bitnet>TernaryDense, read as what Keras calls TernaryDense"


def test_a_ternary_dense_of_a_legacy_file_needs_its_threshold() -> None:
    with pytest.raises(BadModelError, match="layer b: TernaryDense is not taken; export"):
        describe(network(layer("TernaryDense", units=2)), FakeStore())
    description, _ = describe(network(layer("TernaryDense", units=2, threshold=None)), FakeStore())
    assert description.notes == ("layer b: a TernaryDense, read as what Keras calls TernaryDense",)


@pytest.mark.parametrize("weights", ["stochastic", "none"])
def test_an_h5_of_keras_3(weights: str, tmp_path: Path) -> None:
    net = separable((12, 12, 1), 4, stem=6, blocks=(Block(channels=8, stride=2),))
    model = quantize(net, QuantizeConfig(weights=weights))
    model.save(tmp_path / "model.h5")
    x = np.random.default_rng(0).random((8, 12, 12, 1), dtype=np.float32)
    np.testing.assert_array_equal(load_model(tmp_path / "model.h5")(x), model(x))


@pytest.mark.parametrize("form", ["keras", "h5"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("int8", "layer head: its weights are int8, as Keras' model.quantize leaves them; give the model from before"),
        ("bfloat16", "layer first: its weights are bfloat16; save it with float32 weights"),
    ],
)
def test_weights_of_another_type_are_refused_with_their_layer(
    kind: str, message: str, form: str, tmp_path: Path
) -> None:
    policy = "bfloat16" if kind == "bfloat16" else "float32"
    first = keras.layers.Conv2D(4, 3, activation="relu", name="first", dtype=policy)
    layers = [keras.Input((6, 6, 1)), first, keras.layers.Flatten(), keras.layers.Dense(3, name="head", dtype=policy)]
    model = keras.Sequential(layers)
    if kind == "int8":
        model.quantize("int8")
    model.save(tmp_path / f"net.{form}")
    with pytest.raises(BadModelError, match=re.escape(message)):
        load_model(tmp_path / f"net.{form}")


# Models in models.


def assert_flat(path: Path, answers: np.ndarray) -> None:
    model = load_model(path)
    np.testing.assert_allclose(np.asarray(model(nested.X)), answers, rtol=1e-4, atol=1e-4)
    fold_norms(model)  # each layer is used once


@pytest.mark.parametrize("name", nested.MODELS)
def test_models_in_models_are_laid_flat(name: str, tmp_path: Path) -> None:
    model = nested.made(keras, name)
    for form in ("keras", "h5") if name != "all_in_one" else ("keras",):  # Keras cannot save that one as .h5
        model.save(tmp_path / f"{name}.{form}")
        assert_flat(tmp_path / f"{name}.{form}", np.asarray(model(nested.X)))


@pytest.mark.skipif(not find_spec("tf_keras"), reason="needs tf-keras: docs/configuration.md")
@pytest.mark.parametrize(("name", "form"), [(name, form) for name, forms in nested.FORMS.items() for form in forms])
def test_models_in_models_of_keras_2_are_laid_flat(name: str, form: str, of_keras_2: Path) -> None:
    folder = of_keras_2 / "nested_models"
    assert_flat(folder / form, np.load(folder / f"{name}.npy"))


@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_a_model_in_a_model_becomes_int8(tmp_path: Path) -> None:
    model = nested.made(keras, "deep")
    model.save(tmp_path / "deep.keras")
    content = keras_to_tflite(tmp_path / "deep.keras", nested.X)
    graph = read_graph(content)
    sink, answers = graph.tensors[graph.output], np.asarray(model(nested.X))
    scores = Oracle(content).predict(to_input_bytes(nested.X, *input_quantization(content))).scores
    assert np.abs((scores.astype(int) - sink.zero_point) * sink.scale - answers).max() < np.ptp(answers) / 20


def nest(depth: int, calls: int, empty: bool = False) -> dict[str, Any]:
    """A model of `calls` calls of a model of `calls` calls of a model..., the innermost a ReLU or empty."""
    first = {"class_name": "InputLayer", "config": {"batch_shape": [None, 4], "name": "a"}, "name": "a"}
    inner = (
        {"class_name": "ReLU", "config": {"name": "b"}, "name": "b"} if depth == 0 else nest(depth - 1, calls, empty)
    )
    nodes = [[["a", 0, 0, {}]], *([["b", call + (depth > 0), 0, {}]] for call in range(calls - 1))]
    config = {
        "name": "b",
        "layers": [first, inner | {"name": "b", "inbound_nodes": nodes}],
        "input_layers": [["a", 0, 0]],
        "output_layers": [["b", calls - 1 + (depth > 0), 0]],
    }
    if depth == 0 and empty:
        config |= {"layers": [first], "output_layers": [["a", 0, 0]]}
    return {"class_name": "Functional", "config": config}


def test_small_files_of_many_layers_are_refused() -> None:
    """Ten calls of ten calls of ... would be a million layers."""
    description, _ = describe(nest(2, 4), FakeStore())
    assert len(description.layers) == 1 + 4**3
    with pytest.raises(BadModelError, match="more than 1000 layers, with those of the models in it"):
        describe(nest(5, 10), FakeStore())
    with pytest.raises(BadModelError, match="more than 1000 layers, with those of the models in it"):
        describe(nest(12, 10, empty=True), FakeStore())
    with pytest.raises(BadModelError, match="more than 20 deep"):
        describe(nest(30, 1), FakeStore())


def test_calls_that_read_each_other_are_refused() -> None:
    model = nest(0, 2)
    model["config"]["layers"][1]["inbound_nodes"] = [[["b", 1, 0, {}]], [["b", 0, 0, {}]]]
    with pytest.raises(BadModelError, match="layer b: reads 'b', which does not come before it"):
        describe(model, FakeStore())


# Files of unknown origin.


def network(*layers: dict[str, Any]) -> dict[str, Any]:
    first = {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4, 4, 1], "name": "a"}}
    return {"class_name": "Sequential", "config": {"layers": [first, *layers]}}


def layer(class_name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": "b", **config}}


CODE = "__import__('os').system('touch /tmp/owned')"
HOSTILE = {
    "Lambda": layer("Lambda", function=["4wEAAAA=", None, None], function_type="lambda"),
    "a TFOpLambda": layer("TFOpLambda", function="io.read_file"),
    "system of os is not taken": {
        "module": "os",
        "class_name": "system",
        "config": {"name": "b"},
        "registered_name": "system",
    },
    "is not a quantizer": layer("QActivation", activation=CODE),
    "is not a quantizer with literal": layer("QActivation", activation="quantized_relu(bits=open('/etc/passwd'))"),
    "the quantizer 'system' is not": layer(
        "QActivation", activation={"class_name": "system", "config": {"command": "id"}}
    ),
    "the quantizer 'eval' is not": layer("Activation", activation="eval"),
    "where a quantizer or activation": layer("Activation", activation=["relu"]),
    "where a number belongs": layer("MaxPooling2D", pool_size={"class_name": "function", "config": "exec"}),
    "Keras 2, Keras 3 and QKeras": layer("Activation", activation="hard_sigmoid"),
    "groups is 2": layer("Conv2D", filters=2, kernel_size=[1, 1], groups=2),
    "data_format": layer("Conv2D", filters=2, kernel_size=[1, 1], data_format="channels_first"),
    "normalises axis": layer("BatchNormalization", axis=[2]),
    "a layer without": {"class_name": "Dense", "config": None},
}


@pytest.mark.parametrize("message", HOSTILE)
def test_hostile_configurations_are_refused(message: str) -> None:
    with pytest.raises(BadModelError, match=message):
        describe(network(HOSTILE[message]), FakeStore())
    assert not Path("/tmp/owned").exists()


@pytest.mark.parametrize(
    "model",
    [
        {},
        {"class_name": "Functional"},
        {"class_name": "Functional", "config": {"layers": "all"}},
        {"class_name": "Functional", "config": {"layers": []}},
        {"class_name": "Functional", "config": {"layers": [{"class_name": "Dense"}]}},
        {"class_name": "Subclassed", "config": {"layers": []}},
        network(layer("Flatten"), layer("Flatten")),
    ],
)
def test_what_does_not_hang_together_is_refused(model: dict[str, Any]) -> None:
    with pytest.raises(BadModelError):
        describe(model, FakeStore())


@pytest.mark.parametrize(
    ("value", "call"),
    [
        (None, None),
        ("relu", Call("relu")),
        ("quantized_relu(8, 3)", Call("quantized_relu", (8, 3))),
        ("ternary(alpha='auto', threshold=None)", Call("ternary", (), {"alpha": "auto", "threshold": None})),
        ("quantized_bits(8, 0, alpha=-1.5)", Call("quantized_bits", (8, 0), {"alpha": -1.5})),
        ({"class_name": "ternary", "config": {"alpha": 1}}, Call("ternary", (), {"alpha": 1})),
        ({"module": "builtins", "class_name": "function", "config": "relu"}, Call("relu")),
    ],
)
def test_quantizers_are_parsed(value: object, call: Call | None) -> None:
    assert parse(value, "here") == call


def legacy(tmp_path: Path, name: str = "model.h5") -> Path:
    """A legacy file of one dense layer, as Keras 2 writes it."""
    dense = {"class_name": "Dense", "config": {"name": "d", "units": 2, "use_bias": False, "activation": "linear"}}
    config = {
        "class_name": "Sequential",
        "config": {
            "name": "s",
            "layers": [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 3], "name": "i"}}, dense],
        },
    }
    path = tmp_path / name
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights/d")
        group.attrs["weight_names"] = [b"d/kernel:0"]
        group["d/kernel:0"] = np.arange(6, dtype=np.float32).reshape(3, 2)
    return path


def test_a_sound_legacy_file(tmp_path: Path) -> None:
    model = load_model(legacy(tmp_path))
    np.testing.assert_array_equal(np.asarray(model.get_layer("d").kernel), np.arange(6).reshape(3, 2))


def relink(path: Path, target: Any) -> None:
    with h5py.File(path, "a") as file:
        del file["model_weights/d/d/kernel:0"]
        file["model_weights/d/d/kernel:0"] = target


@needs_qkeras
@pytest.mark.parametrize("activation", ["quantized_relu(4)", "quantized_relu", "quantized_bits(4, 0, 1)"])
def test_a_plain_layer_may_have_an_activation_of_qkeras(activation: str, tmp_path: Path) -> None:
    """QKeras has to be imported before the reading process forbids what its import does."""
    path = legacy(tmp_path)
    with h5py.File(path, "r+") as file:
        file.attrs["model_config"] = str(file.attrs["model_config"]).replace("linear", activation)
    assert [kept.name for kept in load_model(path).layers][-1] == "d_activation"


@pytest.mark.parametrize("entry", [
    layer("QActivation", activation="quantized_relu(4)"), layer("Activation", activation="quantized_relu(4)"),
])  # fmt: skip
def test_qkeras_is_asked_for_where_it_is_missing(entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qkeras", None)  # as Python marks what cannot be imported
    with pytest.raises(ToolMissingError, match="QKeras cannot be imported"):
        describe(network(entry), FakeStore())


def test_weights_elsewhere_are_refused(tmp_path: Path) -> None:
    """Links and external storage would bring in any file of this machine."""
    other = legacy(tmp_path, "other.h5")
    for target in (h5py.ExternalLink(str(other), "model_weights/d/d/kernel:0"), h5py.SoftLink("/model_weights")):
        path = legacy(tmp_path)
        relink(path, target)
        with pytest.raises(BadModelError, match="is a link"):
            load_model(path)
    path = legacy(tmp_path)
    with h5py.File(path, "a") as file:
        del file["model_weights/d/d/kernel:0"]
        file["model_weights/d/d"].create_dataset("kernel:0", (3, 2), "f4", external=[("/etc/hostname", 0, 24)])
    with pytest.raises(BadModelError, match="lies in another file"):
        load_model(path)


def test_strange_weights_are_refused(tmp_path: Path) -> None:
    for values, message in (
        (np.full((3, 2), np.nan, np.float32), "NaN"),
        (np.array([b"text"]), "layer d: .*: weights of type .S4, not float"),
        (np.zeros((2, 5), np.float32), r"its kernel is \(2, 5\) in the file, but \(3, 2\) according to its options"),
    ):
        path = legacy(tmp_path)
        relink(path, values)
        with pytest.raises(BadModelError, match=message):
            load_model(path)


def reconfigure(path: Path, class_name: str, **options: Any) -> None:
    """Change the second layer of a file's configuration."""
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        last = config["config"]["layers"][1]
        last["class_name"] = class_name
        last["config"] |= options
        file.attrs["model_config"] = json.dumps(config)


def test_options_alone_take_no_memory(tmp_path: Path) -> None:
    path = legacy(tmp_path)
    reconfigure(path, "Dense", units=1_000_000_000)
    with pytest.raises(BadModelError, match=r"model.h5: layer d: its kernel is \(3, 2\) in the file"):
        load_model(path)
    reconfigure(path, "Reshape", target_shape=[3, 1, 1])
    with h5py.File(path, "a") as file:
        config = json.loads(file.attrs["model_config"])
        padding = {"class_name": "ZeroPadding2D", "config": {"name": "p", "padding": 1_000_000}}
        config["config"]["layers"].append(padding)
        file.attrs["model_config"] = json.dumps(config)
    with pytest.raises(BadModelError, match="layer p: gives"):
        load_model(path)


def keras_file(path: Path, arrays: dict[str, Any], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    """A `.keras` file of dense layers d0, d1, ... with these data sets as kernels: options of `create_dataset`."""
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for index, options in enumerate(arrays.values()):
            file.create_dataset(f"layers/dense{f'_{index}' if index else ''}/vars/0", **options)
    layers: list[dict[str, Any]] = [
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 8192], "name": "i"}}
    ]
    options = {"units": 8192, "use_bias": False, "activation": "linear"}
    layers += [{"class_name": "Dense", "config": {"name": name} | options} for name in arrays]
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": layers}}
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights.getvalue())
    return path


def test_sizes_that_are_lies_take_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few kilobytes that say they hold gigabytes; a limit of 1 GiB ends the reading process if it believes them."""
    limits = replace(apart._LIMITS, memory_bytes=1 << 30)
    monkeypatch.setattr(apart, "_LIMITS", limits)
    half = {"shape": (8192, 8192), "dtype": "f8", "chunks": (256, 8192), "fillvalue": 0.0}
    lying = keras_file(tmp_path / "lying.keras", {f"d{index}": half for index in range(9)})
    assert lying.stat().st_size < 100_000
    with pytest.raises(BadModelError, match="layer d1: more than 67,108,864 weights in the model"):
        load_model(lying)
    one_chunk = {"shape": (3, 2), "dtype": "f4", "maxshape": (None, None), "chunks": (1 << 14, 1 << 14)}
    with pytest.raises(BadModelError, match="268,435,456 values in one array"):
        load_model(keras_file(tmp_path / "chunk.keras", {"d": one_chunk}))
    packed = keras_file(tmp_path / "lzma.keras", {"d": {"data": np.zeros((3, 2), np.float32)}}, zipfile.ZIP_LZMA)
    with pytest.raises(BadModelError, match="compressed in another way"):
        load_model(packed)


def test_files_that_are_no_models_are_refused(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, ("touch /tmp/owned",)

    whole = legacy(tmp_path).read_bytes()
    (tmp_path / "pickle.h5").write_bytes(pickle.dumps(Bomb()))
    (tmp_path / "half.h5").write_bytes(whole[: len(whole) // 2])
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["kernel"] = np.zeros(3)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "saved_model.pb").write_bytes(b"\xff" * 40)
    for name, message in (
        ("pickle.h5", "pickles are refused"),
        ("half.h5", r"half\.h5"),
        ("weights.h5", "save the whole model"),
        ("empty", "no saved_model.pb"),
        ("broken", "cannot be read"),
    ):
        with pytest.raises(BadModelError, match=message):
            load_model(tmp_path / name)
    assert not Path("/tmp/owned").exists()


def test_the_reading_process_may_not_do_what_no_model_needs(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, pickle, shutil, socket, subprocess, sys\n"
        "from tritguard.foreign.guard import forbid\n"
        "forbid(pathlib.Path.cwd())\n"
        "pathlib.Path('own').mkdir()\n"
        "shutil.rmtree('own')\n"
        "eval(sys.argv[1])\n"
    )
    attempts = ["os.system('true')", "subprocess.run(['true'])", "pickle.loads(b'cos\\nsystem\\n.')", "os.fork()"]
    for attempt in (*attempts, "shutil.rmtree('../other')"):
        run = subprocess.run([sys.executable, "-c", code, attempt], capture_output=True, check=False, cwd=tmp_path)
        assert (run.returncode, run.stderr[:8]) == (70, b"refused:"), attempt
    assert {"os.system", "subprocess.Popen", "socket.connect", "pickle.find_class"} <= FORBIDDEN


def test_modules_beside_the_model_are_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("h5py", "qkeras", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    path = legacy(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_model(path).output.shape == (None, 2)
