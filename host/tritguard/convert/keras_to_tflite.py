"""From a trained Keras model to the golden int8 `.tflite`."""

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
from tritguard.convert.fold import Folded, fold
from tritguard.convert.foreign import is_foreign, take
from tritguard.convert.quantize import quantize
from tritguard.data import Dataset, Samples, read_samples
from tritguard.errors import BadInputError, BadModelError

CALIBRATION_SAMPLES = 256


def keras_to_tflite(
    model_path: Path,
    calibration: Path | Samples,
    note: Callable[[str], None] | None = None,
    judge: Dataset | None = None,
) -> bytes:
    """Convert a Keras or QKeras model, ternary or plain, to a full-int8 `.tflite` with a batch of 1.

    Ternary layers become constants, batch-norm is folded into the layers before it, and the ternary weights in the
    result are exactly {-127, 0, 127}.

    Args:
        model_path: a `.keras` file of standard and tritguard's ternary layers; or what `foreign.take` reads.
        calibration: real inputs, [n, *input_shape], or an `.npz` file that holds them as `x`, `x_train` or `x_test`;
            256 of them, evenly spaced, decide the int8 ranges. uint8 are pixels of a model that takes them over 255:
            its input gets scale 1/255 and zero point -128, so that pixels and int8 steps are the same. float32 are
            in the model's input unit.
        note: called with each thing a reader of the result should know: what could not be followed exactly, which
            layers are ternary, and what became of the answers.
        judge: the data set whose test samples float model and result are compared on; the calibration inputs, and no
            accuracy, without one. Only where there is a `note`.

    Returns:
        The content of the `.tflite` file.

    Raises:
        BadInputError: a file cannot be read, or the calibration inputs do not fit the model.
        BadModelError: not a model of known layers, or the converter or the check of its result refuses it.
        ToolMissingError: the model needs QKeras, which is not installed.
    """
    where = str(calibration) if isinstance(calibration, Path) else "calibration"
    inputs = read_samples(calibration) if isinstance(calibration, Path) else calibration
    model = take(model_path, note) if is_foreign(model_path) else load_model(model_path)
    samples = _calibration_samples(inputs, tuple(model.input.shape[1:]), where)
    try:
        folded = fold(bounds_to_relu6(model))
        content = quantize(folded.model, samples)
        check_ternary(content, folded.trits)
        check_biases(content)
        if inputs.dtype == np.uint8:
            check_pixel_input(content)
    except BadModelError as error:
        error.where = f"{model_path}: {error.where}" if error.where else str(model_path)
        raise
    if note:
        _describe(note, model, folded, content, samples if judge is None else judge)
    return content


def _describe(
    note: Callable[[str], None], model: Any, folded: Folded, content: bytes, on: NDArray[np.float32] | Dataset
) -> None:
    if folded.trits:
        note(f"weights exactly -127, 0 and 127 in {', '.join(folded.trits)}")
    if isinstance(on, Dataset):
        if on.x_test.dtype == np.int8 or on.x_test.shape[1:] != tuple(model.input.shape[1:]):
            note(f"{on.name}: not compared on it, its samples are not what the float model takes")
            return
        x = on.x_test / np.float32(255) if on.x_test.dtype == np.uint8 else on.x_test
        comparison = compare(model, content, np.asarray(x, np.float32), on.y_test)
    else:
        comparison = compare(model, content, on)
    if comparison:
        note(str(comparison))


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
