"""Gradients are held against the deployed network, on honest networks and on masked ones, and repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bench.robustness_mlperf import pictures
from tests.support import masks
from tests.support.judged import victim
from tests.support.masks import task, traps
from tests.support.shared import ROOT
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table as Options
from tritguard.attack import Apgd, Ball, Square, Target
from tritguard.attack.averages import averaged
from tritguard.attack.base import Best, Queries
from tritguard.attack.front import climb, find_front
from tritguard.attack.gradient import Gradients
from tritguard.attack.sleepers import find_sleepers, wake
from tritguard.attack.smoothed import relaxed, smoothed, table_slopes
from tritguard.attack.view import GradientView
from tritguard.campaign.runs import Run
from tritguard.emit import write_bundle
from tritguard.evaluate.robustness.checks import ASTRAY
from tritguard.evaluate.robustness.fidelity import measure
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.repairs import look
from tritguard.evaluate.robustness.seeds import seeded
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import draw_samples
from tritguard.graph.model import Lookup
from tritguard.graph.reading import read_graph

tf = pytest.importorskip("tensorflow", reason="gradients need TensorFlow")
pytestmark = pytest.mark.slow

EPS = 12
_STRONG = "dead branch as strong as the network"
BALL = Ball("Linf", EPS)


def target(name: str, folder: Path, samples: int = 20) -> Target:
    case = masks.ZOO[name]()
    return victim(case.content, folder, Plan(samples=samples), case.x[:samples], case.y[:samples]).target


def plain(folder: Path, samples: int = 20) -> Target:
    _, _, x, y = task.drawn()
    return victim(task.plain(), folder, Plan(samples=samples), x[:samples], y[:samples]).target


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


def test_few_pixels_do_not_condemn_an_honest_network_and_no_mask_hides_behind_them(tmp_path: Path) -> None:
    """A square of four pixels moves a ternary network by little more than its rounding, in a corner often by less."""
    content = (ROOT / "examples" / "cifar10-stq-image" / "model.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path / "bundle", name="honest")
    honest = prepare(bundle, draw_samples(bundle, pictures(), 40, 0), Plan(samples=40))
    masked = [target(name, tmp_path / name, 60) for name in ("dead branch added", "folds, 8 pieces", "softmax inside")]
    for ball, hidden in ((Ball("patch", 2), masked[:2]), (Ball("corner-patch", 2), masked[2:])):
        astray, held = _astray(honest, ball)
        assert held > 20 and astray <= 0.05 * held
        for model in hidden:
            astray, held = _astray(model, ball)
            assert held > 50 and astray > ASTRAY * held


def _astray(model: Target, ball: Ball) -> tuple[int, int]:
    """How many of the samples that hold under APGD gradients are said to lead astray, and how many hold."""
    attacked = Apgd("margin", 10).craft(model, ball).x
    held = model.predictor.predict(model.x).labels == model.y
    held &= model.predictor.predict(attacked).labels == model.y
    found = measure(model.part(np.flatnonzero(held)), ball, attacked[held])
    return int(found.astray.sum()), int(held.sum())


def test_the_slope_of_a_table_is_that_of_what_it_does_around() -> None:
    steps = np.arange(-128, 128)
    line = Lookup(index=0, inputs=(0,), output=1, function="TANH", table=(steps // 2).astype(np.int8))
    assert table_slopes(line, 4.0) == pytest.approx(np.full(256, 0.5), abs=0.05)
    fold = replace(line, table=np.abs(steps).clip(0, 127).astype(np.int8))
    slopes = table_slopes(fold, 10.0)
    assert slopes[128] == pytest.approx(0, abs=0.05) and slopes[20] < -0.9 and slopes[-20] > 0.9


@pytest.mark.parametrize("operator", ["MAXIMUM", "MINIMUM", "PRELU", "MAX_POOL_2D", "REDUCE_MAX"])
def test_averages_are_those_of_what_an_op_does_around(operator: str, tmp_path: Path) -> None:
    """Held against draws; the averages of maxima over windows lie between their mean and their highest value."""
    builder = ModelBuilder((4, 1, 2), 0.5, 0)
    if operator == "MAX_POOL_2D":
        out = builder.pool(builder.input, "MAX", (2, 1), (2, 1), False, "NONE")
    elif operator == "REDUCE_MAX":
        reduced = builder.activation((1, 1, 2), *builder.quant(builder.input))
        options = Options("ReducerOptions", KeepDims=True)
        out = builder.op("REDUCE_MAX", [builder.input, builder.ints([1])], reduced, options)
    else:
        other = builder.constant(np.array([1, -1], np.int8), [0.5])
        out = builder.binary(operator, builder.input, other, (0.5, 0))
    graph = read_graph(builder.build(out))
    (op,), width, rng = graph.ops, 6.0, np.random.default_rng(0)
    x = rng.integers(-20, 20, (50, 4, 1, 2)).astype(np.float32)
    found = averaged(tf, graph, op, [tf.constant(x)], lambda _tensor: width).numpy()
    view = GradientView(graph)
    if operator in ("MAX_POOL_2D", "REDUCE_MAX"):
        groups = x.reshape(50, 2, 2, 2) if operator == "MAX_POOL_2D" else x.reshape(50, 1, 4, 2)
        assert (found.reshape(50, -1, 2) <= groups.max(axis=2) + 1e-3).all()
        assert (found.reshape(50, -1, 2) >= groups.mean(axis=2) - 1e-3).all()
        sharp = averaged(tf, graph, op, [tf.constant(x)], lambda _tensor: 0.5).numpy()
        assert np.abs(sharp.reshape(50, -1, 2) - groups.max(axis=2)).max() < 1
    else:
        drawn = x[:, None] + rng.normal(0, width, (50, 4000, 4, 1, 2)).astype(np.float32)
        exact = view._computed(0, [tf.constant(drawn.reshape(-1, 4, 1, 2))])[0].numpy()
        assert found == pytest.approx(exact.reshape(drawn.shape).mean(axis=1), abs=0.35)
    with tf.GradientTape() as tape:
        watched = tf.Variable(x)
        total = tf.reduce_sum(averaged(tf, graph, op, [watched], lambda _tensor: width))
    assert (np.abs(tape.gradient(total, watched).numpy()) > 0).mean() > 0.9


def test_a_softmax_that_is_0_and_1_has_an_average_with_slopes(tmp_path: Path) -> None:
    model = target("softmax inside", tmp_path)
    assert isinstance(model.view, GradientView)
    assert model.view.zero_gradient_share(model.x.astype(np.float32), model.y) == 1
    view = relaxed(model.view, model.x[:16].tobytes(), BALL, 8.0)
    x = Apgd("margin", 20).craft(replace(model, view=view), BALL).x
    assert (model.predictor.predict(x).labels == model.y).mean() < 0.6


def test_what_lies_behind_units_that_sleep_is_seen_in_the_relaxed_view_alone(tmp_path: Path) -> None:
    """Where both factors of a product are zero, the slope of each is zero too, since it is the other's value."""
    model = target("a product that sleeps", tmp_path)
    assert isinstance(model.view, GradientView)
    around, ball = model.x[:16].tobytes(), Ball("Linf", 8)
    signs = traps.halves(50).weak
    towards = np.zeros(len(model.x), np.int64)  # the unit speaks for class 0
    led = []
    for view in (smoothed(model.view, around, ball, 4.0), relaxed(model.view, around, ball, 8.0)):
        gradients = Gradients(replace(model, view=view), "dlr targeted")
        found = gradients(model.x.astype(np.float32), np.arange(len(model.x)), towards)[1]
        led.append(float((np.sign(found[model.y != 0]) == signs).mean()))
    assert led[0] < 0.6 and led[1] > 0.7


def test_a_unit_that_sleeps_is_found_and_driven_by_itself(tmp_path: Path) -> None:
    model, ball = target("a unit that sleeps and says little", tmp_path), Ball("Linf", 8)
    assert isinstance(model.view, GradientView)
    view = relaxed(model.view, model.x[:16].tobytes(), ball, 8.0)
    found = find_sleepers(model, view, model.x)
    assert any(model.view.graph.tensors[tensor].size == 1 for tensor, _, _ in found), "it is a layer of its own"
    queries, best = Queries(model), Best(model)
    best.take(model.x, queries.margins(model.x))
    assert wake(model, ball, view, queries, best, steps=5) > 0
    assert np.abs(best.x.astype(int) - model.x).max() <= 8
    assert (best.margins > 0).mean() < 0.3


@pytest.mark.parametrize("name", ["ripple added", "thermometer code", "folds past a dead branch"])
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
    taken = climb(model, BALL, front, front.smoothed(model.x[:8], BALL), queries, best, steps=30, rng=rng)
    assert 0 < taken <= 30 * len(model.x)
    assert np.abs(best.x.astype(int) - model.x).max() <= EPS
    assert (best.margins > 0).mean() < 0.4


def test_a_front_is_searched_in_balls_that_bound_all_elements_together(tmp_path: Path) -> None:
    model, ball = target("thermometer code", tmp_path), Ball("L2", 70)
    assert isinstance(model.view, GradientView)
    front = find_front(model.view)
    assert front is not None
    queries, best = Queries(model), Best(model)
    best.take(model.x, queries.margins(model.x))
    climb(model, ball, front, front.rest, queries, best, steps=30, rng=np.random.default_rng(0))
    assert ball.distances(best.x, model.x).max() <= 70
    by_gradients = Apgd("margin", 30).craft(model, ball).x
    by_table, plain = ((model.predictor.predict(x).labels == model.y).mean() for x in (best.x, by_gradients))
    assert by_table < plain - 0.2


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
