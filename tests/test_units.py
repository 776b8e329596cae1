"""A control gets the ball of the attacked model in input units, whatever the scales of their inputs are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.linear_victim import CLASSES, VALUES, edge, victim
from tritguard.attack import Ball
from tritguard.data import Dataset
from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.grids import Regrid, regrid
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.search import Victim, search

SAMPLES = 8


def dataset(dtype: str, unit: str = "pixel/255") -> Dataset:
    x = np.random.default_rng(0).integers(0, 100, (SAMPLES, VALUES)).astype(dtype)
    return Dataset("probe", x, np.arange(SAMPLES) % CLASSES, ("a", "b", "c"), unit, "none")


@pytest.mark.parametrize(("ours", "theirs"), [(1.0, 1 / 255), (1 / 255, 1.0)])
def test_a_control_of_pixels_in_another_unit_gets_the_same_ball(ours: float, theirs: float, tmp_path: Path) -> None:
    """Fed with x and with x/255: eps 3 was 765 steps of the one, and at most one step of the other."""
    data = dataset("uint8")
    model, grid = victim(tmp_path, "model", ours, data)
    control, own = victim(tmp_path, "control", theirs, data)
    control = Victim(control.name, control.sha256, control.target, control.store, regrid=regrid(data, grid, own))
    plan = Plan(samples=SAMPLES, eps=(3,), attacks=("noise",))
    found = search(model, plan, control, lambda _stage: lambda _done, _total: None)
    assert found.control is not None and found.control.eps_steps == 3
    (lent,) = (run for run in found.runs if run.attack.name == "Transfer")
    # Corners of the control's ball are corners of the model's: nothing was scaled or moved away.
    assert np.array_equal(np.abs(lent.x.astype(int) - model.target.x).max(axis=1), np.full(SAMPLES, 3))


@pytest.mark.parametrize(("ours", "theirs"), [(1.0, 1 / 255), (1 / 255, 1.0)])
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_samples_that_cannot_be_in_both_units_are_refused(dtype: str, ours: float, theirs: float) -> None:
    with pytest.raises(BadInputError) as refused:
        regrid(dataset(dtype, "volt"), edge(ours), edge(theirs))
    message = str(refused.value)
    assert f"control's input has scale {theirs:g} " in message and f"model's scale {ours:g} " in message
    assert message.count("unit: volt") == 2


def test_float_samples_are_regridded_by_the_ratio_of_the_scales() -> None:
    grids = regrid(dataset("float32", "volt"), edge(0.5, 10), edge(0.125, -3))
    assert grids == Regrid(0.25, -3, 10)
    assert grids.to_control(Ball("Linf", 3)) == Ball("Linf", 12)
    assert np.array_equal(grids.to_model(np.array([-3, 1, 5], np.int8)), [10, 11, 12])
    assert regrid(dataset("float32", "volt"), edge(0.125, -3), edge(0.5, 10)).to_control(Ball("Linf", 8)).eps == 2


def test_bytes_need_the_same_grid() -> None:
    assert regrid(dataset("int8", "MFCC"), edge(0.584, 83), edge(0.584, 83)).step == 1
    with pytest.raises(BadInputError, match="bytes of one input grid"):
        regrid(dataset("int8", "MFCC"), edge(0.584, 83), edge(0.584, 82))


@pytest.mark.parametrize(("step", "eps"), [(4.0, 1), (0.1, 30)])
def test_a_ball_that_the_controls_grid_does_not_have_is_refused(step: float, eps: int) -> None:
    """It was one step, which is larger, or clipped to the range of int8."""
    with pytest.raises(BadInputError, match=f"eps {eps} on the model's input grid is {eps / step:.3g} steps"):
        Regrid(step).to_control(Ball("Linf", eps))
