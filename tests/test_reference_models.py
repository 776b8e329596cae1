"""MLPerf Tiny's int8 models, unmodified, on the emulated board: every byte is the oracle's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.device_support import Builder
from tests.support.shared import shared_file
from tritguard.device import open_device
from tritguard.emit import write_bundle
from tritguard.oracle import Oracle, oracle_available
from tritguard.predictor import Int8
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)


def keywords() -> tuple[Int8, Int8]:
    data = np.load(shared_file("data/gsc_kws01.npz"))
    return data["mfcc_int8"][:300], data["labels"][:300]


def pictures() -> tuple[Int8, Int8]:
    data = np.load(shared_file("data/cifar10_lossless_subset.npz"))
    return (data["test_images"][:60].astype(np.int16) - 128).astype(np.int8), data["test_labels"][:60]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "samples", "right"),
    [("dscnn_int8", keywords, 276), ("resnet8_int8", pictures, 53)],
)
def test_every_byte_is_the_oracles(
    model: str,
    samples: Callable[[], tuple[Int8, Int8]],
    right: int,
    firmware: Builder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    content = shared_file(f"models/{model}.tflite").read_bytes()
    x, labels = samples()
    bundle = write_bundle(content, tmp_path / model, name=model)
    with open_device(bundle, firmware(bundle, "mps2-an386")) as device:
        outputs = device.predict(x)
        assert device.resent_frames == 0
    twin = Twin(bundle).predict(x)
    assert (outputs.scores == twin.scores).all()
    assert (outputs.logits == twin.logits).all()
    if oracle_available():
        assert (outputs.scores == Oracle(content).predict(x).scores).all()
    hits = int((outputs.labels == labels).sum())
    with capsys.disabled():
        print(f"\n{model} on mps2-an386: {hits} of {len(x)} right, every byte as expected")
    assert hits == right
