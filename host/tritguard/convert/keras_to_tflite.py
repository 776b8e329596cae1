"""From a trained Keras model to the golden int8 `.tflite`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.archive import load_model
from tritguard.convert.check import check_pixel_input, check_ternary
from tritguard.convert.fold import fold
from tritguard.convert.quantize import quantize
from tritguard.data import Samples, read_samples
from tritguard.errors import BadInputError, BadModelError

CALIBRATION_SAMPLES = 256


def keras_to_tflite(model_path: Path, calibration: Path | Samples) -> bytes:
    """Convert a `.keras` model, ternary or plain, to a full-int8 `.tflite` with a batch of 1.

    Ternary layers become constants, batch-norm is folded into the layers before it, and the ternary weights in the
    result are exactly {-127, 0, 127}.

    Args:
        model_path: a `.keras` file of standard and tritguard's ternary layers.
        calibration: real inputs, [n, *input_shape], or an `.npz` file that holds them as `x`, `x_train` or `x_test`;
            256 of them, evenly spaced, decide the int8 ranges. uint8 are pixels of a model that takes them over 255:
            its input gets scale 1/255 and zero point -128, so that pixels and int8 steps are the same. float32 are
            in the model's input unit.

    Returns:
        The content of the `.tflite` file.

    Raises:
        BadInputError: a file cannot be read, or the calibration inputs do not fit the model.
        BadModelError: not a `.keras` file of known layers, or the converter or the check of its result refuses it.
    """
    where = str(calibration) if isinstance(calibration, Path) else "calibration"
    inputs = read_samples(calibration) if isinstance(calibration, Path) else calibration
    model = load_model(model_path)
    samples = _calibration_samples(inputs, tuple(model.input.shape[1:]), where)
    try:
        folded = fold(model)
        content = quantize(folded.model, samples)
        check_ternary(content, folded.trits)
        if inputs.dtype == np.uint8:
            check_pixel_input(content)
    except BadModelError as error:
        error.where = f"{model_path}: {error.where}" if error.where else str(model_path)
        raise
    return content


def _calibration_samples(inputs: Samples, shape: tuple[Any, ...], where: str) -> NDArray[np.float32]:
    """float32[n, *shape] in the model's input unit; of pixels, all together cover 0 and 1."""
    if inputs.dtype not in (np.uint8, np.float32):
        raise BadInputError(f"calibration inputs are {inputs.dtype}", where=where, fix="give uint8 pixels or float32")
    if inputs.shape[1:] != shape:
        what = f"calibration inputs have shape {inputs.shape[1:]}, the model takes {shape}"
        raise BadInputError(what, where=where)
    chosen = inputs[np.linspace(0, len(inputs) - 1, min(CALIBRATION_SAMPLES, len(inputs))).astype(int)]
    if chosen.dtype == np.float32:
        return np.asarray(chosen, np.float32)
    return np.asarray(_covering_all_pixels(chosen) / np.float32(255), np.float32)


def _covering_all_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same with 0 and 255 in the last sample, where they are nowhere: two pixels hardly move the inner ranges."""
    covering = pixels.copy()
    corners = covering[-1].reshape(-1)
    if covering.min() > 0:
        corners[0] = 0
    if covering.max() < 255:
        corners[-1] = 255
    return covering
