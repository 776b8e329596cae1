"""SavedModels that are a graph alone: what is taken computes the same, what is hostile is refused before it runs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.shared import shared_file
from tritguard.convert import keras_to_tflite
from tritguard.convert.check import input_quantization
from tritguard.convert.saved_graph import is_graph_alone
from tritguard.data import to_input_bytes
from tritguard.errors import BadModelError
from tritguard.foreign.graph import inference_graph
from tritguard.graph.reading import read_graph
from tritguard.oracle import Oracle, oracle_available
from tritguard.train.backend import keras, tf

SHAPE = (6, 6, 2)


class Net(tf.Module):  # type: ignore[misc]
    """A network whose weights are computed ternary, with a training step beside it."""

    def __init__(self) -> None:
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 2, 5)), dtype=tf.float32)
        self.dense = tf.Variable(rng.normal(size=(5, 4)), dtype=tf.float32)
        self.bias = tf.Variable(rng.normal(size=4), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE))])
    def __call__(self, x: Any) -> Any:
        mean = tf.reduce_mean(tf.abs(self.kernel))
        kernel = tf.sign(self.kernel) * tf.cast(tf.abs(self.kernel) > mean / 2, tf.float32) * mean
        x = tf.nn.relu(tf.nn.conv2d(x, kernel, 1, "SAME"))
        return self._classify(tf.reduce_mean(x, axis=(1, 2)))

    @tf.function
    def _classify(self, x: Any) -> Any:
        return tf.nn.bias_add(x @ self.dense, self.bias)

    @tf.function(input_signature=[])
    def train(self) -> Any:
        return self.bias.assign_add(tf.random.uniform((4,)))


class Hostile(tf.Module):  # type: ignore[misc]
    """A network that also does something else."""

    def __init__(self, act: Callable[[Any], Any]) -> None:
        super().__init__()
        self.call = tf.function(act, input_signature=[tf.TensorSpec((None, 4))])


def saved(module: Any, path: Path, signature: Any) -> Path:
    tf.saved_model.save(module, str(path), signatures=signature)
    return path


def network_of(path: Path) -> Any:
    return inference_graph((path / "saved_model.pb").read_bytes())


def ops_of(path: Path) -> set[str]:
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    (meta,) = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes()).meta_graphs
    return {node.op for function in meta.graph_def.library.function for node in function.node_def}


@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_a_graph_alone_is_converted(tmp_path: Path) -> None:
    net = Net()
    path = saved(net, tmp_path / "net", net.__call__)
    assert is_graph_alone(path)
    part = network_of(path)
    assert part.shape == SHAPE and len(part.variables) == 3
    x = np.random.default_rng(1).normal(size=(200, *SHAPE)).astype(np.float32)
    notes: list[str] = []
    content = keras_to_tflite(path, x, notes.append)
    got = Oracle(content).predict(to_input_bytes(x, *input_quantization(content))).labels
    assert (got == net(x).numpy().argmax(axis=1)).mean() >= 0.97
    assert notes[-1].startswith("int8 answers as the float model on")


@pytest.mark.slow
def test_what_becomes_an_op_that_is_taken_is_taken_in_a_graph_as_well(tmp_path: Path) -> None:
    net, rng = tf.Module(), np.random.default_rng(0)
    net.kernel = tf.Variable(rng.normal(size=(2, 3)), dtype=tf.float32)

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE))])
    def call(x: Any) -> Any:
        x = tf.clip_by_value(tf.einsum("nhwc,cd->nhwd", x, net.kernel), -0.5, 0.5)
        return tf.reduce_mean(tf.image.resize(tf.reverse(x, [1]), (12, 12), "bilinear"), axis=(1, 2))

    path = saved(net, tmp_path / "net", call)
    assert {"Einsum", "ResizeBilinear", "ReverseV2"} <= ops_of(path)
    graph = read_graph(keras_to_tflite(path, rng.normal(size=(20, *SHAPE)).astype(np.float32)))
    assert graph.tensors[graph.output].shape == (3,)


def test_what_keras_exports_is_followed(tmp_path: Path) -> None:
    layers = keras.layers
    inputs = keras.Input(SHAPE)
    x = layers.Dropout(0.5)(layers.BatchNormalization()(layers.DepthwiseConv2D(3, activation="relu6")(inputs)))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    model.set_weights([np.random.default_rng(0).uniform(0.1, 2, w.shape) for w in model.get_weights()])
    model.export(tmp_path / "exported", verbose=False)
    part = network_of(tmp_path / "exported")
    assert part.shape == SHAPE and len(part.variables) == len(model.weights)
    assert {node.op for node in part.graph.node} <= {"Placeholder", "StatefulPartitionedCall", "VarHandleOp", "NoOp"}
    # What tf.saved_model.save writes restores copies of the variables that are read.
    keys = network_of(saved(model, tmp_path / "saved", None)).variables
    stored = tf.train.load_checkpoint(str(tmp_path / "saved" / "variables" / "variables"))
    assert len(keys) == len(model.weights)
    for weight in model.weights:
        np.testing.assert_array_equal(stored.get_tensor(keys[f"{weight.path}:0"]), weight.numpy())


@pytest.mark.slow
@pytest.mark.skipif(not oracle_available(), reason="needs tflite-micro")
def test_mlperf_tinys_graph_is_as_good_as_their_int8(tmp_path: Path) -> None:
    path = without_keras(shared_file("models/dscnn_saved_model"), tmp_path / "alone")
    samples = dict(np.load(shared_file("data/gsc_kws01.npz")))
    x = (samples["mfcc_int8"].astype(np.float32) - 83) * np.float32(0.5847029)
    content = keras_to_tflite(path, x[::4])
    right = {}
    for name, model in (("ours", content), ("theirs", shared_file("models/dscnn_int8.tflite").read_bytes())):
        labels = Oracle(model).predict(to_input_bytes(x[:300], *input_quantization(model))).labels
        right[name] = (labels == samples["labels"][:300]).mean()
    print(right)
    assert right["ours"] >= right["theirs"] - 0.01


def without_keras(source: Path, path: Path) -> Path:
    """A copy of a SavedModel that does not say it came from Keras."""
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    saved_model = saved_model_pb2.SavedModel.FromString((source / "saved_model.pb").read_bytes())
    for node in saved_model.meta_graphs[0].object_graph_def.nodes:
        if node.HasField("user_object"):
            node.user_object.identifier, node.user_object.metadata = "_generic_user_object", ""
    shutil.copytree(source / "variables", path / "variables", copy_function=shutil.copyfile)
    (path / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    assert is_graph_alone(path) and not is_graph_alone(source)
    return path


# Files of unknown origin.


def python_code(x: Any) -> Any:
    return tf.reshape(tf.numpy_function(lambda a: a, [x], tf.float32), (-1, 4))


def eager_code(x: Any) -> Any:
    return tf.reshape(tf.py_function(lambda a: a, [x], tf.float32), (-1, 4))


def file_read(x: Any) -> Any:
    return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


def file_written_within(x: Any) -> Any:
    @tf.function
    def inner(x: Any) -> Any:
        with tf.control_dependencies([tf.io.write_file("/tmp/owned", "here")]):
            return tf.identity(x)

    return inner(x) * 2


def code_in_a_loop(x: Any) -> Any:
    return tf.while_loop(lambda x: tf.reduce_sum(x) < 9, lambda x: (python_code(x) + 1,), (x,))[0]


def drawn(x: Any) -> Any:
    return x + tf.random.uniform((4,))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (python_code, r"holds PyFunc \(node PyFunc of __inference_python_code_\d+\)"),
        (eager_code, "holds EagerPyFunc"),
        (file_read, "holds ReadFile .*StringLength"),
        (file_written_within, r"holds WriteFile \(node WriteFile of __inference_inner_\d+\)"),
        (code_in_a_loop, "PyFunc .*of .*while_body"),
        (drawn, "its signature runs RandomUniform"),
    ],
)
def test_other_ops_are_refused(act: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    module = Hostile(act)
    with pytest.raises(BadModelError, match=message):
        network_of(saved(module, tmp_path / "hostile", module.call))
    assert not Path("/tmp/owned").exists()


def test_what_no_signature_runs_is_looked_at_too(tmp_path: Path) -> None:
    net = Net()
    net.extra = tf.function(file_written_within, input_signature=[tf.TensorSpec((None, 4))])
    path = saved(net, tmp_path / "net", net.__call__)
    with pytest.raises(BadModelError, match=r"holds WriteFile \(node WriteFile of __inference_inner"):
        network_of(path)
    assert not Path("/tmp/owned").exists()


def edited(path: Path, change: Callable[[Any], None]) -> bytes:
    from tensorflow.core.protobuf import saved_model_pb2  # noqa: PLC0415

    content = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    change(content.meta_graphs[0])
    return bytes(content.SerializeToString())


def calls_itself(meta: Any) -> None:
    for function in meta.graph_def.library.function:
        for node in function.node_def:
            if node.op in ("PartitionedCall", "StatefulPartitionedCall"):
                node.attr["f"].func.name = function.signature.name


def calls_what_is_missing(meta: Any) -> None:
    meta.graph_def.library.function.pop()
    del meta.graph_def.library.function[:]


def holds_a_giant(meta: Any) -> None:
    node = meta.graph_def.node.add(name="giant", op="Const")
    node.attr["value"].tensor.tensor_shape.dim.add(size=1 << 40)


def restores_otherwise(meta: Any) -> None:
    meta.saver_def.restore_op_name = "nowhere"


def has_two_signatures(meta: Any) -> None:
    meta.signature_def["other"].CopyFrom(meta.signature_def["serving_default"])
    del meta.signature_def["serving_default"]
    meta.signature_def["another"].CopyFrom(meta.signature_def["other"])


def takes_any_size(meta: Any) -> None:
    for info in meta.signature_def["serving_default"].inputs.values():
        info.tensor_shape.dim[1].size = -1


def takes_whole_numbers(meta: Any) -> None:
    for info in meta.signature_def["serving_default"].inputs.values():
        info.dtype = tf.int32.as_datatype_enum


def gives_what_is_not_there(meta: Any) -> None:
    for info in meta.signature_def["serving_default"].outputs.values():
        info.name = "nowhere:0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (calls_itself, "calls itself"),
        (calls_what_is_missing, "is missing"),
        (holds_a_giant, "node giant: a constant has more values"),
        (restores_otherwise, "not restored by a function"),
        (has_two_signatures, "which signature to run.* another, other"),
        (takes_any_size, r"its input has shape \[-1, -1, 6, 2\]; give the model a fixed input shape"),
        (takes_whole_numbers, "not float32"),
        (gives_what_is_not_there, "no node 'nowhere'"),
    ],
)
def test_graphs_that_cannot_be_followed_are_refused(
    change: Callable[[Any], None], message: str, tmp_path: Path, plain: Path
) -> None:
    with pytest.raises(BadModelError) as caught:
        inference_graph(edited(plain, change))
    assert caught.match(message)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = Net()
    return saved(net, tmp_path_factory.mktemp("plain") / "net", net.__call__)
