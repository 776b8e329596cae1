"""Real inputs of a conversion: those that decide the int8 ranges, and those that the result is judged on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.compare import SAMPLES
from tritguard.data import Dataset, Samples
from tritguard.errors import BadInputError

CALIBRATION_SAMPLES = 256


def calibration_samples(inputs: Samples, shape: tuple[Any, ...], where: str) -> NDArray[np.float32]:
    """The samples that decide the int8 ranges: CALIBRATION_SAMPLES of the inputs, evenly spaced.

    Args:
        inputs: float32 in the model's input unit, or uint8 pixels of a model that takes them over 255.
        shape: what the model takes, without the batch.
        where: what messages call the inputs.

    Returns:
        float32[n, *shape] in the model's input unit; of pixels, all together cover 0 and 1.

    Raises:
        BadInputError: another dtype or shape.
    """
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


def judged_samples(
    calibration: NDArray[np.float32], judge: Dataset | None, note: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """What float model and result are compared on, at most SAMPLES of them, evenly spaced.

    Args:
        calibration: float32[n, *input_shape].
        judge: its test samples are taken where the float model takes them; else the calibration inputs.
        note: told where the judge cannot be one.

    Returns:
        float32[m, *input_shape] in the model's input unit, and their labels where they are known.
    """
    x: Samples = calibration
    y = None
    if judge is not None and (judge.x_test.dtype == np.int8 or judge.x_test.shape[1:] != calibration.shape[1:]):
        note(f"{judge.name}: not compared on it, its samples are not what the float model takes")
    elif judge is not None:
        x, y = judge.x_test, judge.y_test
    places = np.linspace(0, len(x) - 1, min(SAMPLES, len(x))).astype(int)
    chosen = x[places] / np.float32(255) if x.dtype == np.uint8 else x[places]
    return np.asarray(chosen, np.float32), None if y is None else y[places]
