"""Relates the input grid of a control to the attacked model's, so that both get the same ball in input units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack import Ball
from tritguard.attack.norms import NORMS
from tritguard.data import Dataset
from tritguard.emit.bundle import EdgeTensor
from tritguard.errors import BadInputError
from tritguard.predictor import Int8

_SAME = 0.01  # relative difference up to which two scales count as equal
_FARTHEST = 16.0  # two models of one task whose steps differ by more than this factor take different units
_FIX = "give a control that takes its input in the same unit, or uint8 pixels, which fit models fed with x or x/255"


@dataclass(frozen=True)
class Regrid:
    """Converts balls and inputs between a control's input grid and the attacked model's; by default they are the same.

    Attributes:
        step: the size of one of the control's steps, in steps of the model.
        control_zero: the zero point of the control's input.
        model_zero: the zero point of the model's input.
    """

    step: float = 1.0
    control_zero: int = 0
    model_zero: int = 0

    def to_control(self, ball: Ball) -> Ball:
        """Convert a ball in the model's steps to the nearest one in the control's.

        Raises:
            BadInputError: it is less than half a step of the control, or larger than the control's input range.
        """
        exact, farthest = self._scaled(ball), NORMS[ball.norm].farthest
        eps = round(exact)
        if eps < 1 or (farthest is not None and eps > farthest):
            raise BadInputError(
                f"eps {ball.eps} on the model's input grid is {exact:.3g} steps of the control's, for one of them is "
                f"{self.step:.3g} steps of the model's: the control's int8 grid has no such {ball.norm} ball",
                where="control",
                fix="give another control or another eps",
            )
        return Ball(ball.norm, eps)

    def nearest(self, ball: Ball) -> Ball:
        """Convert a ball whose inputs will be put on the model's grid: to at least a step, at most the whole range."""
        farthest = NORMS[ball.norm].farthest
        eps = max(1, round(self._scaled(ball)))
        return Ball(ball.norm, eps if farthest is None else min(eps, farthest))

    def _scaled(self, ball: Ball) -> float:
        return ball.geometry.scaled(ball.eps, 1 / self.step)

    def to_model(self, x: Int8) -> NDArray[np.float64]:
        """Convert inputs of the control, int8[n, *input_shape], to steps of the model, not rounded."""
        return (x.astype(np.float64) - self.control_zero) * self.step + self.model_zero


def regrid(dataset: Dataset, model: EdgeTensor, control: EdgeTensor) -> Regrid:
    """Compare the inputs of a model and its control, which get the same samples of this data set.

    What a step is worth depends on the data as well as on the scales. On uint8 pixels a step is one pixel value for
    every model, whether it is fed with x or with x/255. float32 samples are in one unit, so the ratio of the scales
    holds. int8 samples are given to both models unchanged, so both must have the same grid.

    Raises:
        BadInputError: the same samples cannot be in the units of both models.
    """
    ratio, zeros = control.scale / model.scale, (control.zero_point, model.zero_point)
    if dataset.x_test.dtype == np.uint8:
        return Regrid(1.0, *zeros)
    if dataset.x_test.dtype == np.int8:
        if abs(ratio - 1) > _SAME or control.zero_point != model.zero_point:
            raise _refusal(dataset, model, control, "int8 samples are the bytes of one input grid")
        return Regrid(1.0, *zeros)
    if not 1 / _FARTHEST <= ratio <= _FARTHEST:
        raise _refusal(dataset, model, control, "float32 samples are in one unit and cannot fit both")
    return Regrid(ratio, *zeros)


def _refusal(dataset: Dataset, model: EdgeTensor, control: EdgeTensor, why: str) -> BadInputError:
    def grid(edge: EdgeTensor) -> str:
        return f"scale {edge.scale:g} and zero point {edge.zero_point} (unit: {dataset.unit_at(edge.scale)})"

    return BadInputError(
        f"the control's input has {grid(control)}, the model's {grid(model)}: {why}", where="control", fix=_FIX
    )
