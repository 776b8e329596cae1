"""Generated C against TFLM's interpreter: no byte may differ."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.random_graphs import bundle_of_any_formats, inputs, models, sample_inputs
from tests.support.shared import shared_file
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadModelError
from tritguard.graph import read_graph
from tritguard.oracle import Oracle, oracle_available
from tritguard.predictor import Int8
from tritguard.twin import Twin

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")


def requantised(bundle: Bundle, accumulators: np.ndarray) -> np.ndarray:
    """The logits layer's int8 output from its accumulators, in NumPy: an implementation of its own of TFLM's rounding.

    accumulators: int32[n, k] -> int8[n, k].
    """
    logits = bundle.manifest.logits
    assert logits is not None
    shift = np.array(logits.shift, dtype=np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = (accumulators.astype(np.int64) << left).astype(np.int32).astype(np.int64)
    product = shifted * np.array(logits.multiplier, dtype=np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # gemmlowp divides towards zero
    mask = (1 << right) - 1
    remainder, threshold = high & mask, (mask >> 1) + (high < 0)
    rounded = (high >> right) + (remainder > threshold)
    return np.clip(rounded + logits.zero_point, logits.act_min, logits.act_max).astype(np.int8)


def differences(content: bytes, x_of_shape: int | Int8) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(x_of_shape, int):
            bundle = bundle_of_any_formats(content, Path(folder), x_of_shape)
            x = sample_inputs(bundle.manifest.input_shape, x_of_shape)
        else:
            bundle, x = write_bundle(content, Path(folder) / "bundle", name="known"), x_of_shape
        scores, accumulators = Twin(bundle, threads=1).run(x)
        expected = Oracle(content).predict(x).scores
        if not np.array_equal(scores, expected):
            return (
                f"{(scores != expected).sum()} of {scores.size} bytes; {[layer.op for layer in bundle.manifest.layers]}"
            )
        last = read_graph(content).ops[-1]
        if accumulators is not None and last.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            assert np.array_equal(requantised(bundle, accumulators), expected)
        return None


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(several=True), seed=inputs)
def test_random_graphs_give_the_oracles_bytes(content: bytes, seed: int) -> None:
    assert differences(content, seed) is None


@pytest.mark.parametrize("name", ["dscnn_int8", "resnet8_int8"])
def test_logits_requantised_give_the_oracles_bytes(name: str, tmp_path: Path) -> None:
    """Against the oracle running the model cut before its softmax, so that its output is the dense layer's int8."""
    content = shared_file(f"models/{name}.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "b", name=name)
    x = sample_inputs(bundle.manifest.input_shape, 3, count=60)
    _, accumulators = Twin(bundle).run(x)
    assert accumulators is not None
    expected = Oracle(without_softmax(content)).predict(x).scores
    assert np.array_equal(requantised(bundle, accumulators), expected)


def without_softmax(content: bytes) -> bytes:
    """The model with its last op cut off: two lengths and indices changed in place."""
    subgraph = tflite.Model.GetRootAs(content, 0).Subgraphs(0)
    count, fields = subgraph.OperatorsLength(), subgraph._tab
    logits = subgraph.Operators(count - 1).Inputs(0)
    changed = bytearray(content)
    struct.pack_into("<I", changed, fields.Vector(fields.Offset(10)) - 4, count - 1)
    struct.pack_into("<i", changed, fields.Vector(fields.Offset(8)), logits)
    return bytes(changed)


def test_dscnn_on_all_keywords() -> None:
    data = np.load(shared_file("data/gsc_kws01.npz"))
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    assert differences(content, data["mfcc_int8"]) is None


def test_resnet8_on_all_lossless_test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    x = (data["test_images"].astype(np.int16) - 128).astype(np.int8)
    content = shared_file("models/resnet8_int8.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "b", name="resnet8")
    ours = Twin(bundle).predict(x)
    theirs = Oracle(content).predict(x)
    assert np.array_equal(ours.scores, theirs.scores)
    accuracy = float((ours.labels == data["test_labels"]).mean())
    with capsys.disabled():
        print(f"\nresnet8_int8 on the twin: {accuracy:.1%} of {len(x)} lossless CIFAR-10 test images")
    assert accuracy == pytest.approx(0.879, abs=0.001)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(position=st.integers(0, 10**9), bit=st.integers(0, 7), model=st.sampled_from(["dscnn_int8", "resnet8_int8"]))
def test_a_flipped_bit_is_refused_or_still_a_model(position: int, bit: int, model: str) -> None:
    """Damage gives a BadModelError; a flip that leaves a sound model (a weight, a scale) is read as that model."""
    content = bytearray(shared_file(f"models/{model}.tflite").read_bytes())
    content[position % len(content)] ^= 1 << bit
    try:
        graph = read_graph(bytes(content))
    except BadModelError as error:
        assert "\n" not in str(error)
    else:
        assert graph.macs > 0
