"""The cost model of weight formats against exact counts of instructions in emulation."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bench.models import random_net
from tests.support.every_format import in_formats, turns
from tests.support.known_models import large_windows_model
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import CoreClass, load_board
from tritguard.emit import Bundle, write_bundle
from tritguard.predictor import Int8
from tritguard.profile import count_model

MARGIN = 0.25  # of what was counted
SHAPE = (16, 16, 8)


LAYERS = 6  # of the model, its reshape among them


def model(zeros: float, copies: int = 1) -> bytes:
    """Layers large enough that what is paid once does not matter; copies of them side by side, their outputs added."""
    rng = np.random.default_rng(3)

    def trits(*shape: int) -> Int8:
        return (np.where(rng.random(shape) < zeros, 0, rng.choice([-1, 1], shape)) * 127).astype(np.int8)

    shapes = ((16, 3, 3, 8), (3, 3, 16), (32, 1, 1, 16), (64, 8 * 8 * 32), (12, 64))
    conv, depthwise, pointwise, dense, last = (trits(*shape) for shape in shapes)
    builder, outputs = ModelBuilder(SHAPE, 0.5, 3), []
    for _ in range(copies):
        tensor = builder.conv(builder.input, conv, [0.01], None, (20.0, -128), activation="RELU")
        tensor = builder.depthwise(tensor, depthwise, [0.01], None, (60.0, -128))
        tensor = builder.conv(tensor, pointwise, [0.01], None, (200.0, -128), stride=(2, 2))
        flat = builder.reshape(tensor, (8 * 8 * 32,))
        tensor = builder.dense(flat, dense, [0.01], None, (9000.0, 1))
        outputs.append(builder.dense(tensor, last, [0.01], None, (90000.0, 1)))
    return builder.build(functools.reduce(lambda one, other: builder.add(one, other, (90000.0, 1)), outputs))


def in_every_format_at_once(zeros: float, core: CoreClass, folder: Path) -> list[Bundle]:
    """A bundle with a copy of the model for each turn of its formats, so that one firmware has them all.

    And one of the model alone, in its first formats: beside copies that need more scratch, base 3 has more room for its
    own and costs less.
    """
    each = turns(write_bundle(model(zeros), folder / "offers", name="offers", core=core))
    together = {LAYERS * turn + index: name for turn, formats in enumerate(each) for index, name in formats.items()}
    return [
        in_formats(model(zeros), core, folder / "alone", each[0]),
        in_formats(model(zeros, len(each)), core, folder / "together", together),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("board_id", ["mps2-an386", "mps2-an385-m0plus", "mps3-an547"])
@pytest.mark.parametrize("zeros", [0.5])
def test_costs_are_predicted_within_the_margin(
    board_id: str, zeros: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = load_board(board_id)
    assert board.core_class is not None
    x = np.random.default_rng(0).integers(-128, 128, (1, *SHAPE), dtype=np.int8)
    ratios: dict[tuple[str, str], float] = {}
    for bundle in in_every_format_at_once(zeros, board.core_class, tmp_path):
        counted = {layer.layer: layer.instructions for layer in count_model(bundle, board, x).layers}
        for layer in bundle.manifest.layers:
            if layer.ternary is None or layer.weight_format == "int8" or layer.macs < 10_000:
                continue
            (offer,) = (each for each in layer.ternary.offers if each.weight_format == layer.weight_format)
            ratios[f"{bundle.path.name} {layer.index} {layer.op}", layer.weight_format] = (
                offer.instructions / counted[layer.index]
            )
    with capsys.disabled():
        print(f"\npredicted / counted instructions on {board_id}:")
        for (layer_name, weight_format), ratio in sorted(ratios.items()):
            print(f"  {layer_name} {weight_format}: {ratio:.2f}")
    assert {weight_format for _, weight_format in ratios} >= {"ternary2", "sparse", "taps2", "base3"}
    assert all(abs(ratio - 1) <= MARGIN for ratio in ratios.values()), ratios


INT8_LAYERS = (
    ("depthwise", (3, 3), (1, 1), 1),
    ("conv", (1, 1), (1, 1), 24),
    ("depthwise", (3, 3), (2, 2), 1),
    ("conv", (3, 3), (1, 1), 32),
    ("depthwise", (5, 5), (1, 1), 1),
)


FEW_OUTPUTS = (
    ("depthwise", (5, 5), (2, 2), 1, "valid"),
    ("depthwise", (3, 3), (1, 1), 1),
    ("depthwise", (3, 3), (1, 1), 1, "valid"),
)


@pytest.mark.parametrize("board_id", ["mps2-an386", "mps2-an385", "mps2-an385-m0plus", "mps3-an547"])
@pytest.mark.parametrize(("shape", "layers"), [((24, 24, 16), INT8_LAYERS), ((9, 9, 64), FEW_OUTPUTS)])
def test_costs_of_int8_kernels_are_predicted_within_the_margin(
    board_id: str, shape: tuple[int, int, int], layers: tuple[tuple[Any, ...], ...], tmp_path: Path
) -> None:
    board = load_board(board_id)
    assert board.core_class is not None
    bundle = write_bundle(random_net(shape, layers), tmp_path / "b", name="int8", core=board.core_class)
    x = np.random.default_rng(0).integers(-128, 128, (1, *bundle.manifest.input.shape), dtype=np.int8)
    counted = {layer.layer: layer.instructions for layer in count_model(bundle, board, x).layers}
    emission = bundle.emission
    ratios = {
        (emission.graph.ops[position].index, kernel.function): kernel.cost.instructions
        / counted[emission.graph.ops[position].index]
        for position, kernel in emission.kernels.items()
    }
    assert len(ratios) == len(layers)
    assert all(abs(ratio - 1) <= MARGIN for ratio in ratios.values()), ratios


@pytest.mark.parametrize("board_id", ["mps2-an386", "mps2-an385-m0plus", "mps2-an385"])
def test_the_cost_of_one_pixel_at_a_time_is_predicted_within_the_margin(board_id: str, tmp_path: Path) -> None:
    board = load_board(board_id)
    assert board.core_class is not None
    bundle = write_bundle(large_windows_model(), tmp_path / "b", name="large", core=board.core_class)
    x = np.random.default_rng(0).integers(-128, 128, (1, *bundle.manifest.input.shape), dtype=np.int8)
    counted = {layer.layer: layer.instructions for layer in count_model(bundle, board, x).layers}
    graph, kernels = bundle.emission.graph, bundle.emission.kernels
    ratios = [
        kernel.cost.instructions / counted[graph.ops[position].index]
        for position, kernel in kernels.items()
        if kernel.function == "tg_conv2d_slim"
    ]
    assert ratios and all(abs(ratio - 1) <= MARGIN for ratio in ratios), ratios
