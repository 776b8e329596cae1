"""The networks: MLPerf Tiny's have the reference models' layers, the compact ones fit their parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tflite
from pydantic import ValidationError

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

INPUTS = {
    "residual": (32, 32, 3),
    "resnet8": (32, 32, 3),
    "stq-image": (32, 32, 3),
    "ds-cnn": (49, 10, 1),
    "stq-keywords": (49, 10, 1),
}
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


def test_a_residual_nets_settings_are_its_widths_strides_and_depth() -> None:
    stages = [{"channels": 8}, {"channels": 12, "stride": 2, "blocks": 2}]
    model = build_net(TrainConfig.model_validate({"net": "residual", "stages": stages}), (16, 16, 3), 5)
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert [(layer.filters, layer.strides[0]) for layer in convolutions] == [(8, 1), (12, 2), *[(12, 1)] * 4]
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 2
    assert model.get_layer("stage2_block2_relu").output.shape == (None, 8, 8, 12)


def test_a_residual_net_without_stages_is_refused() -> None:
    with pytest.raises(ValidationError, match="stages"):
        TrainConfig.model_validate({"net": "residual", "stages": []})


@pytest.mark.parametrize(
    ("name", "weights", "edges", "flash", "ram"),
    [
        ("stq-image", "none", "int8", "512K", "128K"),
        ("stq-keywords", "ternary", "ternary", "100000", "128K"),
        ("residual", "ternary", "int8", "322000", "64000"),
    ],
)
def test_the_whole_firmware_fits_its_budget(
    tmp_path: Path, name: str, weights: str, edges: str, flash: str, ram: str
) -> None:
    """Size does not depend on what the weights learned; build() fails where the image is over budget."""
    config = QuantizeConfig.model_validate({"weights": weights, "first": edges, "last": edges})
    model = quantize(build_net(TrainConfig.model_validate({"net": name}), INPUTS[name], 12), config)
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).normal(size=(8, *INPUTS[name])).astype(np.float32)
    board = load_board("netduinoplus2")
    content = keras_to_tflite(tmp_path / "model.keras", x)
    bundle = write_bundle(content, tmp_path / "bundle", name=name, core=board.core_class, check=verify_against_oracle)
    budget = Budget.model_validate({"max_flash": flash, "max_ram": ram})
    sizes = build(bundle, board, tmp_path / "build", budget=budget).record.sizes
    print(f"{name} {weights}: {sizes.flash_total:,} B flash, {sizes.ram_static:,} B RAM")
