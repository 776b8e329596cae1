"""Converts a trained Keras model or a SavedModel to the golden int8 `.tflite`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.archive import load_model
from tritguard.convert.bounds import bounds_to_relu6
from tritguard.convert.check import check_biases, check_pixel_input, check_ternary
from tritguard.convert.compare import compare
from tritguard.convert.fold_norms import fold_norms
from tritguard.convert.inputs import calibration_inputs, comparison_inputs
from tritguard.convert.quantize import quantize
from tritguard.convert.saved_graph import convert_graph, is_graph_alone
from tritguard.data import Dataset, SampleArray, read_samples
from tritguard.errors import about
from tritguard.train.backend import keras
from tritguard.train.layers import TernaryWeights
from tritguard.train.quantize import channel_findings


def keras_to_tflite(
    model_path: Path,
    calibration: Path | SampleArray,
    note: Callable[[str], None] | None = None,
    judge: Dataset | None = None,
) -> bytes:
    """Convert a Keras or QKeras model, ternary or plain, to a full-int8 `.tflite` with a batch of 1.

    The weights of ternary layers become constants, batch norms are folded into the layers before them, and the ternary
    weights in the result are exactly {-127, 0, 127}.

    Args:
        model_path: a `.keras` or `.h5` file, or the folder of a SavedModel; see `load_model`, and `convert_graph` for
            SavedModels that hold only a graph.
        calibration: real inputs, [n, *input_shape], or an `.npz` file that holds them as `x`, `x_train` or `x_test`.
            256 of them, evenly spaced, determine the int8 ranges. uint8 inputs are pixels, for a model that takes
            pixels divided by 255; its input gets scale 1/255 and zero point -128, so that an int8 step is a pixel.
            float32 inputs are in the model's input unit.
        note: called with each thing the user should know about the result: what could not be followed exactly, which
            layers are ternary, and how the answers changed.
        judge: the data set on whose test samples the float model and the result are compared. Without one they are
            compared on the calibration inputs, which have no accuracy. It has no effect without `note`.

    Returns:
        The content of the `.tflite` file.

    Raises:
        BadInputError: a file cannot be read, or the calibration inputs do not fit the model.
        BadModelError: the model has unknown layers or ops, the converter refuses it, or a check of the result fails.
        ToolMissingError: the model needs QKeras, which is not installed.
    """
    where = str(calibration) if isinstance(calibration, Path) else "calibration"
    inputs = read_samples(calibration) if isinstance(calibration, Path) else calibration
    tell = note or _nothing
    if is_graph_alone(model_path):
        samples = calibration_inputs(inputs, inputs.shape[1:], where)
        x, y = comparison_inputs(samples, judge, tell)
        content, answers = convert_graph(model_path, samples, x)
    else:
        model = load_model(model_path, note)
        samples = calibration_inputs(inputs, tuple(model.input.shape[1:]), where)
        x, y = comparison_inputs(samples, judge, tell)
        with about(model_path):
            content = _convert(model, samples, tell)
        answers = np.asarray(model(x, training=False))
    with about(model_path):
        _check(content, inputs)
    if note and (comparison := compare(answers, content, x, y)):
        note(str(comparison))
    return content


def network_to_tflite(model: Any, calibration: SampleArray) -> bytes:
    """Convert a network in memory, in the form that `stored` of `tritguard.train.quantize` gives.

    Args:
        model: keras.Model of plain and ternary layers.
        calibration: real inputs, as in `keras_to_tflite`.

    Returns:
        The content of the `.tflite` file.

    Raises:
        BadInputError, BadModelError: see `keras_to_tflite`.
    """
    samples = calibration_inputs(calibration, tuple(model.input.shape[1:]), "calibration")
    content = _convert(model, samples, _nothing)
    _check(content, calibration)
    return content


def _check(content: bytes, inputs: SampleArray) -> None:
    check_biases(content)
    if inputs.dtype == np.uint8:
        check_pixel_input(content)


def _convert(model: Any, samples: NDArray[np.float32], note: Callable[[str], None]) -> bytes:
    folded = fold_norms(bounds_to_relu6(model))
    content = quantize(folded.model, samples)
    check_ternary(content, folded.trits)
    if folded.trits:
        note(f"weights exactly -127, 0 and 127 in {', '.join(folded.trits)}")
    for name in folded.trits:
        for line in _findings(model.get_layer(name)):
            note(line)
    return content


def _findings(layer: Any) -> list[str]:
    """Findings about a ternary layer, whoever trained it: dead channels, and a depthwise kernel with a single scale."""
    ternary = isinstance(layer, TernaryWeights)
    kernel = np.abs(np.asarray(layer.quantized_kernel(training=False) if ternary else layer.kernel))
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        scales = kernel.max(axis=tuple(range(kernel.ndim - 1)))
        return channel_findings(layer.name, scales.size, int((scales == 0).sum()), one_scale=False)
    scales = kernel.max(axis=(0, 1))
    by_multiplier = [column[column > 0] for column in scales.T]
    one_scale = all(len(alive) > 1 and (alive == alive[0]).all() for alive in by_multiplier)
    return channel_findings(layer.name, scales.size, int((scales == 0).sum()), one_scale)


def _nothing(_: str) -> None:
    pass
