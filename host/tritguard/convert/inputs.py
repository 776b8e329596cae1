"""Chooses the real inputs of a conversion: those that set the int8 ranges, and those on which it is judged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.convert.compare import COMPARED_INPUTS
from tritguard.data import Dataset, SampleArray
from tritguard.errors import BadInputError
from tritguard.train.inputs import input_units

CALIBRATION_INPUTS = 256


def calibration_inputs(inputs: SampleArray, shape: tuple[Any, ...], where: str) -> NDArray[np.float32]:
    """Choose the inputs that set the int8 ranges: CALIBRATION_INPUTS of those given, evenly spaced.

    Args:
        inputs: float32[n, *shape] in the model's input unit, or uint8 pixels for a model that takes pixels over 255.
        shape: the model's input shape, without the batch.
        where: what messages call the inputs.

    Returns:
        float32[m, *shape] in the model's input unit. If they are pixels, both 0 and 1 occur in them.

    Raises:
        BadInputError: the inputs have another dtype or shape.
    """
    if inputs.dtype not in (np.uint8, np.float32):
        raise BadInputError(f"calibration inputs are {inputs.dtype}", where=where, fix="give uint8 pixels or float32")
    if inputs.shape[1:] != shape:
        what = f"calibration inputs have shape {inputs.shape[1:]}, but the model takes {shape}"
        raise BadInputError(what, where=where)
    chosen = inputs[_evenly_spaced(len(inputs), CALIBRATION_INPUTS)]
    return input_units(_covering_all_pixels(chosen) if chosen.dtype == np.uint8 else chosen)


def _evenly_spaced(total: int, count: int) -> NDArray[np.int64]:
    """int64: `count` indices below `total`, or all of them if there are fewer."""
    return np.linspace(0, total - 1, min(count, total)).astype(int)


def _covering_all_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pixels, with 0 and 255 put into the last sample if they do not occur. Two pixels hardly move inner ranges."""
    covering = pixels.copy()
    corners = covering[-1].reshape(-1)
    if covering.min() > 0:
        corners[0] = 0
    if covering.max() < 255:
        corners[-1] = 255
    return covering


def comparison_inputs(
    calibration: NDArray[np.float32], judge: Dataset | None, note: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """Choose at most COMPARED_INPUTS inputs, evenly spaced, on which the float model and its result are compared.

    Args:
        calibration: float32[n, *input_shape], used if the judge cannot be.
        judge: the data set whose test samples are used if the float model accepts them.
        note: called with a sentence if the judge cannot be used.

    Returns:
        float32[m, *input_shape] in the model's input unit, and int64[m], their labels, or None if they have none.
    """
    x: SampleArray = calibration
    y = None
    if judge is not None and (judge.x_test.dtype == np.int8 or judge.x_test.shape[1:] != calibration.shape[1:]):
        note(f"{judge.name}: not compared on it, because the float model does not take its samples")
    elif judge is not None:
        x, y = judge.x_test, judge.y_test
    places = _evenly_spaced(len(x), COMPARED_INPUTS)
    return input_units(x[places]), None if y is None else y[places]
