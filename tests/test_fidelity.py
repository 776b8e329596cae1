"""Gradients are held against the deployed network, on honest networks and on masked ones, and repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import masks
from tests.support.judged import victim
from tritguard.attack import Apgd, Ball, Square, Target
from tritguard.attack.base import Best, Queries
from tritguard.attack.front import climb, find_front
from tritguard.attack.smoothed import smoothed, table_slopes
from tritguard.attack.view import GradientView
from tritguard.campaign.runs import Run
from tritguard.evaluate.robustness.fidelity import measure
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.repairs import look
from tritguard.evaluate.robustness.seeds import seeded
from tritguard.graph.model import Lookup

pytest.importorskip("tensorflow", reason="gradients need TensorFlow")
pytestmark = pytest.mark.slow

EPS = 12
_STRONG = "dead branch as strong as the network"
BALL = Ball("Linf", EPS)


def target(name: str, folder: Path, samples: int = 20) -> Target:
    case = masks.ZOO[name]()
    return victim(case.content, folder, Plan(samples=samples), case.x[:samples], case.y[:samples]).target


def plain(folder: Path, samples: int = 20) -> Target:
    _, _, x, y = masks.drawn()
    return victim(masks.plain(), folder, Plan(samples=samples), x[:samples], y[:samples]).target


def test_an_honest_network_changes_as_its_gradients_promise(tmp_path: Path) -> None:
    model = plain(tmp_path)
    found = measure(model, BALL, Apgd("margin", 8).craft(model, BALL).x)
    assert not found.astray.any() and not found.rough.any()
    none = measure(model.part(np.zeros(0, np.int64)), BALL, model.x[:0])
    assert none.astray.shape == none.rough.shape == (0,)


def test_a_branch_that_never_changes_leads_astray_until_layers_are_smoothed(tmp_path: Path) -> None:
    model = target("dead branch at the logits", tmp_path)
    assert isinstance(model.view, GradientView)
    lost = measure(model, BALL, Apgd("margin", 8).craft(model, BALL).x)
    assert lost.astray.mean() > 0.9
    for reach in (1.0, 4.0):
        repaired = replace(model, view=smoothed(model.view, model.x[:16].tobytes(), BALL, reach))
        x = Apgd("margin", 20).craft(repaired, BALL).x
        assert not measure(repaired, BALL, x).astray.any()
        assert (model.predictor.predict(x).labels == model.y).mean() < 0.5
    values = repaired.view.logits(model.x.astype(np.float32))  # type: ignore[union-attr]
    assert np.array_equal(values, model.view.logits(model.x.astype(np.float32)))


def test_a_clamp_that_holds_around_any_sample_lets_gradients_pass_for_all(tmp_path: Path) -> None:
    """Whichever sample comes first: an element is without a gradient only where no clamp holds it."""
    model = plain(tmp_path)
    assert isinstance(model.view, GradientView)
    live = []
    for x in (model.x[:16], model.x[15::-1]):
        view = smoothed(model.view, np.ascontiguousarray(x).tobytes(), BALL, 4.0)
        live.append({tensor: fixed.sum() for tensor, fixed in view._fixed.items()})
    assert live[0] == live[1]


def test_a_branch_as_strong_as_the_network_is_outdone_by_a_repaired_view(tmp_path: Path) -> None:
    """It leads gradients to the side, not astray, and still costs them half of what they could break."""
    found = []
    for name, model in (("plain", plain(tmp_path / "plain")), ("branch", target(_STRONG, tmp_path / "branch"))):
        run = Run(Apgd("margin", 5), EPS, Apgd("margin", 5).craft(model, Ball("Linf", 2)).x, 0, 0, 0.0, 0.0)
        first, _beyond = look(model, [BALL, Ball("Linf", 64)], [run])
        found.append((name, first.outdone, bool(first.found.astray.mean() > 0.1)))
    assert found == [("plain", False, False), ("branch", True, False)]


def test_the_slope_of_a_table_is_that_of_what_it_does_around() -> None:
    steps = np.arange(-128, 128)
    line = Lookup(index=0, inputs=(0,), output=1, function="TANH", table=(steps // 2).astype(np.int8))
    assert table_slopes(line, 4.0) == pytest.approx(np.full(256, 0.5), abs=0.05)
    fold = replace(line, table=np.abs(steps).clip(0, 127).astype(np.int8))
    slopes = table_slopes(fold, 10.0)
    assert slopes[128] == pytest.approx(0, abs=0.05) and slopes[20] < -0.9 and slopes[-20] > 0.9


@pytest.mark.parametrize("name", ["ripple added", "thermometer code"])
def test_a_front_of_single_values_is_found_and_searched_as_a_table(name: str, tmp_path: Path) -> None:
    model = target(name, tmp_path)
    assert isinstance(model.view, GradientView)
    front = find_front(model.view)
    assert front is not None
    rng = np.random.default_rng(0)
    x = rng.integers(-128, 128, model.x.shape, dtype=np.int8)
    behind = front.rest.logits(front.values(x))
    assert np.array_equal(behind, model.view.logits(x.astype(np.float32)))
    queries, best = Queries(model), Best(model)
    best.take(model.x, queries.margins(model.x))
    taken = climb(model, BALL, front, queries, best, steps=30, rng=rng)
    assert 0 < taken <= 30 * len(model.x)
    assert np.abs(best.x.astype(int) - model.x).max() <= EPS
    assert (best.margins > 0).mean() < 0.4


def test_a_network_whose_first_layer_mixes_its_inputs_has_no_front(tmp_path: Path) -> None:
    model = plain(tmp_path)
    assert isinstance(model.view, GradientView)
    assert find_front(model.view) is None


def test_what_broke_a_sample_elsewhere_is_where_searches_begin(tmp_path: Path) -> None:
    model = plain(tmp_path)
    far, near = Ball("Linf", 24), Ball("Linf", 3)
    attack = Apgd("margin", 10)
    crafted = attack.craft(model, far).x
    broken = model.broken(model.predictor.predict(crafted).labels)
    assert broken.mean() > 0.8
    found = [(Run(attack, 24, crafted, 0, 0, 0.0, 0.0), ~broken)]
    starts = seeded(model, near, found).starts
    assert starts is not None and np.abs(starts.astype(int) - model.x).max() == 3
    assert np.array_equal(starts[~broken], model.x[~broken])
    begun = seeded(model, far, found)
    again = Square(queries=2).craft(begun, far).x  # it needs no search: where it begins, the model is broken
    assert begun.broken(model.predictor.predict(again).labels)[broken].all()
    part = begun.part(np.array([3, 1]))
    assert part.starts is not None and begun.starts is not None and np.array_equal(part.starts, begun.starts[[3, 1]])
