"""The data's own range: the values that a sample can have at all, to which adversarial inputs keep as well."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator

from tritguard.attack.base import Limits
from tritguard.data import Dataset, to_input_bytes
from tritguard.emit.bundle import EdgeTensor
from tritguard.errors import BadInputError
from tritguard.graph.arithmetic.fixed_point import INT8_MAX, INT8_MIN
from tritguard.records import Record

WHOLE: Limits = (INT8_MIN, INT8_MAX)


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"the lowest value, {pair[0]:g}, is not below the highest, {pair[1]:g}")
    return pair


Pair = Annotated[tuple[float, float], AfterValidator(_rising)]
RangeSetting = Literal["data", "none"] | Pair  # what a plan says


class DataRange(Record):
    """The range of the data.

    Attributes:
        low: the lowest value, in the samples' own unit: input units for float32, pixels for uint8, steps for int8.
        high: the highest one.
        low_step: the lowest int8 step, on the grid of the attacked model.
        high_step: the highest one.
    """

    low: float
    high: float
    low_step: int
    high_step: int

    @property
    def limits(self) -> Limits:
        """Both steps."""
        return self.low_step, self.high_step


def find_range(setting: RangeSetting, dataset: Dataset, grid: EdgeTensor) -> DataRange | None:
    """Find the range that a plan wants, and put it on a model's input grid.

    Args:
        setting: the range, or `data` for that of the data set's definition, or `none`.
        dataset: the data, whose test samples have to lie in the range.
        grid: the model's input.

    Returns:
        The range; None if the plan wants none, or if the data set states none.

    Raises:
        BadInputError: samples lie outside the range, or the range is no interval of the model's steps.
    """
    pair = own_range(setting, dataset)
    if pair is None:
        return None
    where, x = f"data range {pair[0]:g} to {pair[1]:g}", dataset.x_test
    if x.dtype != np.float32 and not all(_holds(x.dtype, value) for value in pair):
        raise BadInputError(f"samples are {x.dtype}, which has no such values", where=where, fix=_FIX)
    low, high, lowest, highest = (
        int(step) for step in to_input_bytes(np.array([*pair, x.min(), x.max()], x.dtype), grid.scale, grid.zero_point)
    )
    if low >= high:
        raise BadInputError(f"is the one step {low} on the model's input grid", where=where, fix=_FIX)
    if lowest < low or highest > high:
        raise BadInputError(f"{dataset.name} goes from {x.min():g} to {x.max():g}", where=where, fix=_FIX)
    return DataRange(low=pair[0], high=pair[1], low_step=low, high_step=high)


def own_range(setting: RangeSetting, dataset: Dataset) -> tuple[float, float] | None:
    """The lowest and the highest value that a plan wants, in the samples' own unit; None if it wants no range."""
    return dataset.own_range if setting == "data" else None if setting == "none" else setting


def _holds(dtype: np.dtype[Any], value: float) -> bool:
    return value.is_integer() and np.iinfo(dtype).min <= value <= np.iinfo(dtype).max


def limits_of(found: DataRange | None) -> Limits:
    """The steps of a range; without one, all that int8 has."""
    return WHOLE if found is None else found.limits


_FIX = "give the range that the samples have with --data-range LOW,HIGH, or none with --data-range none"
