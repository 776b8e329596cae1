"""The networks: MLPerf Tiny's have the reference models' layers, the compact ones fit their parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite

from tests.support.shared import shared_file
from tritguard.boards import load_board
from tritguard.build import Budget, build
from tritguard.convert import keras_to_tflite
from tritguard.emit import write_bundle
from tritguard.train import TrainConfig
from tritguard.train.backend import keras
from tritguard.train.config import QuantizeConfig
from tritguard.train.nets import NETS, build_net
from tritguard.train.quantize import quantize
from tritguard.twin import verify_against_oracle

INPUTS = {"resnet8": (32, 32, 3), "stq-image": (32, 32, 3), "ds-cnn": (49, 10, 1), "stq-keywords": (49, 10, 1)}
PLAIN = (
    keras.layers.InputLayer,
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
    keras.layers.BatchNormalization,
    keras.layers.ReLU,
    keras.layers.Add,
    keras.layers.GlobalAveragePooling2D,
    keras.layers.Flatten,
)


@pytest.mark.parametrize("name", NETS)
def test_networks_are_plain_and_end_in_logits(name: str) -> None:
    shape = INPUTS.get(name, (28, 28, 1))
    model = build_net(TrainConfig.model_validate({"net": name}), shape, 7)
    assert all(type(layer) in PLAIN for layer in model.layers)
    assert model.output.shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.linear
    assert len(quantize(model, QuantizeConfig()).layers) == len(model.layers)


@pytest.mark.parametrize(("name", "reference"), [("resnet8", "resnet8_int8"), ("ds-cnn", "dscnn_int8")])
def test_mlperf_tinys_networks_have_the_reference_models_weights(name: str, reference: str) -> None:
    graph = tflite.Model.GetRootAs(shared_file(f"models/{reference}.tflite").read_bytes()).Subgraphs(0)
    kernels = {
        tuple(graph.Tensors(graph.Operators(i).Inputs(1)).ShapeAsNumpy())
        for i in range(graph.OperatorsLength())
        if graph.Operators(i).InputsLength() == 3
    }
    classes = 12 if name == "ds-cnn" else 10
    model = build_net(TrainConfig.model_validate({"net": name}), INPUTS[name], classes)
    ours = set()
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            ours.add((1, *layer.kernel.shape[:3]))
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.Dense):
            ours.add((layer.kernel.shape[-1], *layer.kernel.shape[:-1]))
    assert ours == kernels


@pytest.mark.parametrize(("name", "weights"), [("stq-image", "none"), ("stq-keywords", "ternary")])
def test_the_whole_firmware_fits_512_kb_of_flash_and_128_kb_of_ram(tmp_path: Path, name: str, weights: str) -> None:
    """Size does not depend on what the weights learned; build() fails where the image is over budget."""
    config = QuantizeConfig.model_validate({"weights": weights})
    model = quantize(build_net(TrainConfig.model_validate({"net": name}), INPUTS[name], 12), config)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(8, *INPUTS[name])).astype(np.float32)
    board = load_board("netduinoplus2")
    content = keras_to_tflite(tmp_path / "model.keras", x)
    bundle = write_bundle(content, tmp_path / "bundle", name=name, core=board.core_class, check=verify_against_oracle)
    budget = Budget.model_validate({"max_flash": "512K", "max_ram": "128K"})
    sizes = build(bundle, board, tmp_path / "build", budget=budget).record.sizes
    print(f"{name} {weights}: {sizes.flash_total:,} B flash, {sizes.ram_static:,} B RAM")
    assert sizes.flash_total <= (100_000 if weights == "ternary" else 512 * 1024)
