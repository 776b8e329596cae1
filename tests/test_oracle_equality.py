"""Generated C against TFLM's interpreter: no byte may differ."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.differences import differences, requantised
from tests.support.random_graphs import inputs, models, sample_inputs
from tests.support.shared import shared_file
from tritguard.emit import write_bundle
from tritguard.errors import BadModelError
from tritguard.graph import read_graph
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin

pytestmark = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform")


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=models(several=True), seed=inputs)
def test_random_graphs_give_the_oracles_bytes(content: bytes, seed: int) -> None:
    assert differences(content, seed) is None


@pytest.mark.parametrize("name", ["dscnn_int8", pytest.param("resnet8_int8", marks=pytest.mark.slow)])
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


@pytest.mark.slow
def test_dscnn_on_all_keywords() -> None:
    """But for the first 300, which test_reference_models.py compares on the emulated board as well."""
    data = np.load(shared_file("data/gsc_kws01.npz"))
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    assert differences(content, data["mfcc_int8"][300:]) is None


@pytest.mark.slow
def test_resnet8_on_lossless_test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    x = (data["test_images"].astype(np.int16) - 128).astype(np.int8)
    content = shared_file("models/resnet8_int8.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "b", name="resnet8")
    ours = Twin(bundle).predict(x)
    theirs = Oracle(content).predict(x[60:200])  # test_reference_models.py compares those before
    assert np.array_equal(ours.scores[60:200], theirs.scores)
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
