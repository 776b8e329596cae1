"""Bounds of the deployed integers: no input leaves them, and what they decide is what trying everything decides."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.bounds import balls, leaves, read
from tests.support.known_models import other_ops_model, several, ternary_model
from tests.support.random_graphs import (
    bundle_of_any_formats,
    inputs,
    models,
    rowwise_models,
    sample_inputs,
    transpose_conv,
    zero_points,
)
from tests.support.random_pairs import PAIRS, pair
from tests.support.tflite_builder import ModelBuilder
from tests.support.tiny_nets import answers_of, close_calls, every_tensor, outside, random_of, tiny_net, whole_ball
from tests.support.wide import WideBuilder
from tritguard.attack import Ball
from tritguard.certify import linear, lines, refinement, relaxation, rules, softmax, steps, tabled, terms
from tritguard.certify.box import Box, Region, least_in
from tritguard.certify.bracket import Depth, certify
from tritguard.certify.decision import Decision
from tritguard.certify.intervals import propagate
from tritguard.certify.network import Network
from tritguard.certify.refinement import Effort
from tritguard.certify.rules import stages_of
from tritguard.certify.splitting import Limit
from tritguard.certify.stages import Sums
from tritguard.errors import BadInputError
from tritguard.graph import read_graph
from tritguard.graph.arithmetic.reference import computed
from tritguard.graph.model import (
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    Int8,
    Int64,
    LogSoftmax,
    Pool2D,
    Requant,
    Softmax,
    Tensor,
    Window,
)
from tritguard.progress import silent
from tritguard.twin import Twin

nothing = silent("")
anything = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@anything
@given(content=st.one_of(models(), rowwise_models()), ball=balls, seed=inputs)
def test_no_input_of_the_ball_leaves_the_bounds(content: bytes, ball: Ball, seed: int) -> None:
    graph = read(content)
    assert graph is None or leaves(graph, ball, seed) is None


@pytest.mark.parametrize("name", [*PAIRS, "TRANSPOSE_CONV"])
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), ball=balls, seed=inputs, zero_point=zero_points)
def test_nor_those_of_functions_of_two_elements(
    name: str, data: st.DataObject, ball: Ball, seed: int, zero_point: int
) -> None:
    builder = ModelBuilder(
        data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6))), 0.1, zero_point
    )
    tensor = builder.input
    for _ in range(2):
        if name in PAIRS:
            tensor = data.draw(st.composite(pair)(builder, tensor, name))
        else:
            tensor = data.draw(st.composite(transpose_conv)(builder, tensor))
    graph = read(builder.build(tensor))
    assert graph is None or leaves(graph, ball, seed) is None


@pytest.mark.parametrize("content", [ternary_model(), other_ops_model()], ids=["ternary", "other ops"])
def test_every_kernels_op_is_bounded(content: bytes) -> None:
    graph = read_graph(content)
    for seed, eps in enumerate((0, 1, 20)):
        assert leaves(graph, Ball("Linf", eps), seed) is None


@anything
@given(content=st.one_of(models(), rowwise_models()), seed=inputs)
def test_the_bounds_of_a_single_input_are_its_values(content: bytes, seed: int) -> None:
    """Except those of a softmax, which is bounded through real numbers, and where a 32-bit number might wrap."""
    graph = read(content)
    if graph is None or any(isinstance(op, Softmax | LogSoftmax) for op in graph.ops):
        return
    ops = stages_of(graph)
    x = sample_inputs(graph.tensors[graph.input].shape, seed, count=1)
    bounds = propagate(ops, graph.input, Box.point(x))
    for row, one in enumerate(x):
        for tensor, value in every_tensor(graph, one).items():
            box = bounds.boxes[tensor]
            assert np.array_equal(box.low[row], value) and np.array_equal(box.high[row], value)


def test_models_with_activations_of_16_bits_get_no_bounds() -> None:
    """An op without a rule may give any int8 value, which is no bound of an int16."""
    builder = WideBuilder((8,), 0.01, 0)
    graph = read_graph(builder.build(builder.unary("TANH", builder.input, (1 / 32768, 0))))
    with pytest.raises(BadInputError, match="activations of 16 bits"):
        Network.of(graph)


def off(function: object, low: int, high: int) -> object:
    """A function of boxes whose bounds are moved."""
    return lambda *arguments: Box((box := function(*arguments)).low + low, box.high + high)  # type: ignore[operator]


def bent(function: object, low: int, high: int) -> object:
    """A maker of lines, of which those below or above are moved."""

    def made(*arguments: object) -> lines.Lines:
        right = function(*arguments)  # type: ignore[operator]
        return lines.Lines(right.low_slope, right.low_offset + low, right.high_slope, right.high_offset + high)

    return made


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, -1)])
@pytest.mark.parametrize(
    ("place", "name", "wrong", "by"),
    [
        (steps.Requantisation, "bounds", off, 1),
        (steps.Averaging, "bounds", off, 1),
        (terms.Scaled, "ends", off, 1 << 20),
        (tabled.Tables, "bounds", off, 1),
        (softmax, "bounds", off, 1),
        (relaxation, "staircase_lines", bent, 1),
        (tabled.Tables, "lines", bent, 1),
        (refinement, "_crop", lambda function, *_: lambda *given: np.roll(function(*given), 1, 1), 1),
    ],
)
def test_an_injected_off_by_one_is_found(
    place: object, name: str, wrong: Callable[..., object], by: int, low: int, high: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """In each of the parts of which rules are made, by the same search that finds nothing in the right ones."""
    monkeypatch.setattr(place, name, wrong(getattr(place, name), low * by, high * by))
    builder = ModelBuilder((6,), 0.05, 0)
    table = builder.build(builder.unary("TANH", builder.input, (1 / 128, 0)))
    contents = [table, *map(tiny_net, range(12)), ternary_model(), other_ops_model()]
    found = (leaves(read_graph(content), Ball("Linf", eps), 0) for content in contents for eps in (0, 2, 6))
    assert any(found)


def test_a_forgotten_rounding_error_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = steps.Requantisation.__init__

    def exact(self: steps.Requantisation, *arguments: object) -> None:
        right(self, *arguments)  # type: ignore[arg-type]
        self.error = np.zeros_like(self.error)

    monkeypatch.setattr(steps.Requantisation, "__init__", exact)
    assert any(leaves(read_graph(tiny_net(seed)), Ball("Linf", eps), seed) for seed in range(40) for eps in (1, 5))


@pytest.mark.slow
def test_statuses_of_tiny_nets_are_those_of_trying_everything() -> None:
    """All three levels, both norms, ties, softmax, thresholds; every sample is decided."""
    settled: Counter[tuple[str, str]] = Counter()
    depth = Depth(Effort(), Limit(seconds=60))
    for seed in range(18):
        graph = read_graph(tiny_net(seed, classes=1 if seed % 6 == 5 else 4))
        answer = answers_of(graph)
        x = close_calls(graph, seed, 3)
        y = answer(x)
        for ball in (Ball("Linf", 3, -100), Ball("L2", 5)):
            verdicts = certify(Network.of(graph), answer, x, y, ball, depth, nothing)
            for sample, label in enumerate(y):
                holds = bool((answer(whole_ball(ball, x[sample])) == label).all())
                assert verdicts.status[sample] == ("proved" if holds else "broken"), (seed, ball, sample)
                settled[verdicts.status[sample], verdicts.level[sample]] += 1
            for sample, found in verdicts.counterexamples.items():
                assert ball.distances(found[None], x[sample : sample + 1]) <= ball.eps
                assert ball.low <= found.min() and answer(found[None]) != y[sample]
    assert {
        ("proved", "intervals"),
        ("proved", "relaxation"),
        ("proved", "splitting"),
        ("broken", "relaxation"),
    } <= set(settled)


def test_many_inputs_are_split_at_staircases() -> None:
    """A net with too many inputs to split those: nothing that is proved breaks at random, and more is proved."""
    rng = np.random.default_rng(1)
    builder = ModelBuilder((24,), 0.02, 0)
    hidden = builder.dense(
        builder.input, rng.integers(-127, 128, (12, 24), dtype=np.int8), [0.01] * 12, None, (0.1, -128), "RELU"
    )
    out = builder.dense(hidden, rng.integers(-127, 128, (3, 12), dtype=np.int8), [0.01] * 3, None, (0.2, 0))
    graph = read_graph(builder.build(out))
    answer, x = answers_of(graph), rng.integers(-128, 128, (30, 24)).astype(np.int8)
    y, ball = answer(x), Ball("Linf", 8)
    told: list[tuple[int, int]] = []
    wrong = (y + 1) % 3
    certify(Network.of(graph), answer, x, wrong, ball, Depth(), lambda done, total: told.append((done, total)))
    assert told == [(0, 30), (30, 30)]  # what is wrong without an attack was not done before this began
    shallow = certify(Network.of(graph), answer, x, y, ball, Depth(), nothing)
    deep = certify(Network.of(graph), answer, x, y, ball, Depth(Effort(), Limit(seconds=60, parts=400)), nothing)
    assert set(deep.open) < set(shallow.open)
    assert ("proved", "splitting") in zip(deep.status, deep.level, strict=True)
    for sample in np.flatnonzero(np.array(deep.status) == "proved"):
        around = np.clip(x[sample].astype(int) + rng.choice([-8, 8], (300, 24)), -128, 127).astype(np.int8)
        assert (answer(around) == y[sample]).all()


def test_relaxation_is_exact_for_a_linear_network() -> None:
    """Scores of one scale are compared through their sums: what is proved is what the worst corner leaves."""
    graph = read_graph(tiny_net(0))
    x = close_calls(graph, 3, 20)
    answer = answers_of(graph)
    y = answer(x)
    verdicts = certify(Network.of(graph), answer, x, y, Ball("Linf", 2), Depth(), nothing)
    assert Counter(verdicts.status)["open"] <= 1  # where rounding makes two scores equal


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(content=models(), ball=balls, seed=inputs)
def test_the_twins_answers_lie_inside_in_every_format(content: bytes, ball: Ball, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = bundle_of_any_formats(content, Path(folder), seed)
        graph, rng = bundle.golden, np.random.default_rng(seed)
        clean = np.maximum(rng.integers(-128, 128, (2, *bundle.manifest.input_shape)), ball.low).astype(np.int8)
        bounds = propagate(stages_of(graph), graph.input, Region.of(ball, clean).box)
        position, box = graph.logits_position(), bounds.boxes[graph.output].shaped((-1,))
        for x in random_of(ball, clean, rng):
            scores, sums = Twin(bundle, threads=1).run(x)
            assert not any(outside(*sides) for sides in zip(box.low, box.high, scores, strict=True))
            if sums is not None and position is not None:
                wide = bounds.sums[graph.ops[position].output].shaped((-1,))
                fits = (np.abs(wide.low) < 1 << 31) & (np.abs(wide.high) < 1 << 31)
                assert (((wide.low <= sums) & (sums <= wide.high)) | ~fits).all()


@anything
@given(
    scale=st.floats(2**-9, 1), beta=st.floats(0.3, 2), seed=inputs, size=st.integers(1, 12), width=st.integers(0, 40)
)
def test_a_softmax_stays_in_its_bounds(scale: float, beta: float, seed: int, size: int, width: int) -> None:
    builder = ModelBuilder((size,), float(np.float32(scale)), 0)
    graph = read_graph(builder.build(builder.softmax(builder.input, beta)))
    rng = np.random.default_rng(seed)
    low = rng.integers(-128, 128, (6, size))
    source = Box(low, np.minimum(low + rng.integers(0, width + 1, low.shape), 127))
    op = graph.ops[0]
    assert isinstance(op, Softmax)
    table = softmax.exponentials(op)
    bounds = softmax.bounds(op, table, source)
    strict = softmax.strict_distance(table, size)
    for _ in range(4):
        x = rng.integers(source.low, source.high + 1).astype(np.int8)
        for row, one in enumerate(x):
            scores = every_tensor(graph, one)[graph.output]
            assert not outside(bounds.low[row], bounds.high[row], scores)
            first, *others = np.argsort(-one.astype(int), kind="stable")
            ahead = [other for other in others if int(one[first]) - int(one[other]) >= strict]
            assert all(scores[first] > scores[other] for other in ahead)


@anything
@given(scale=st.floats(2**-9, 40), seed=inputs, size=st.integers(1, 12), width=st.integers(0, 40))
def test_the_logarithm_of_a_softmax_stays_in_its_bounds(scale: float, seed: int, size: int, width: int) -> None:
    builder = ModelBuilder((size,), float(np.float32(scale)), 0)
    graph = read_graph(builder.build(builder.log_softmax(builder.input)))
    rng = np.random.default_rng(seed)
    low = rng.integers(-128, 128, (6, size))
    source = Box(low, np.minimum(low + rng.integers(0, width + 1, low.shape), 127))
    op = graph.ops[0]
    assert isinstance(op, LogSoftmax)
    step = graph.tensors[graph.input].scale
    bounds, strict = softmax.log_bounds(op, step, source), softmax.log_strict_distance(op, step)
    for _ in range(4):
        for row, one in enumerate(rng.integers(source.low, source.high + 1).astype(np.int8)):
            scores = every_tensor(graph, one)[graph.output]
            assert not outside(bounds.low[row], bounds.high[row], scores)
            first, *others = np.argsort(-one.astype(int), kind="stable")
            ahead = [other for other in others if int(one[first]) - int(one[other]) >= strict]
            assert all(scores[first] > scores[other] for other in ahead)
    if scale < 1 and width == 0:  # one input has one output, or two where a rounding is close
        assert (bounds.high - bounds.low).max() <= 1


def test_lines_bound_every_step_of_a_staircase() -> None:
    rng = np.random.default_rng(5)
    for _ in range(300):
        requant = steps.Requantisation(
            maps_requant(rng.integers(1 << 30, 1 << 31), int(rng.integers(-12, 1)), int(rng.integers(-128, 128)))
        )
        first = rng.integers(-60_000, 60_000, (1, 8))
        sums = Box(first, first + rng.integers(0, 3000, first.shape))
        made = lines.staircase_lines(requant, sums, requant.bounds(sums))
        for share in np.linspace(0, 1, 40):
            at = np.rint(sums.low + share * (sums.high - sums.low)).astype(np.int64)
            value = requant.bounds(Box(at, at)).low
            assert (made.low_slope * at + made.low_offset <= value).all()
            assert (made.high_slope * at + made.high_offset >= value).all()


def maps_requant(multiplier: int, shift: int, zero_point: int) -> steps.Requant:
    one = [np.array([value], np.int32) for value in (multiplier, shift)]
    return steps.Requant(one[0], one[1], zero_point, -128 if zero_point % 2 else zero_point, 127)


@anything
@given(content=st.one_of(models(), rowwise_models()), seed=inputs)
def test_transposed_maps_are_transposed(content: bytes, seed: int) -> None:
    """<A x, s> = <x, A's> for every map of a graph, and its reach is what ones give."""
    graph, rng = read(content), np.random.default_rng(seed)
    if graph is None:
        return
    for stage in stages_of(graph):
        for term in stage.terms if isinstance(stage, Sums) else ():
            x = rng.integers(-100, 100, (2, *term.map.in_shape)).astype(np.float64)
            slopes = rng.integers(-100, 100, (2, *term.map.out_shape)).astype(np.float64)
            ours = (term.map.forward(x) * slopes).reshape(2, -1).sum(axis=1)
            theirs = (x * term.map.transposed(slopes)).reshape(2, -1).sum(axis=1)
            assert ours == pytest.approx(theirs, rel=1e-9, abs=1e-9)
            assert (np.abs(term.map.forward(np.sign(x))) <= term.reach * (1 + 1e-12)).all()


def test_large_batches_go_through_maps_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = read_graph(ternary_model())
    x = Box.point(sample_inputs(graph.tensors[graph.input].shape, 1))
    whole = propagate(stages_of(graph), graph.input, x)
    monkeypatch.setattr(linear, "_ROOM", 1)
    parts = propagate(stages_of(graph), graph.input, x)
    assert all(np.array_equal(box.low, parts.boxes[tensor].low) for tensor, box in whole.boxes.items())


def test_an_op_without_a_rule_may_give_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds go on behind it: what is there holds for any value of its output."""
    monkeypatch.delitem(rules.RULES, DepthwiseConv2D)
    graph = read_graph(ternary_model())
    (op,) = (op for op in graph.ops if isinstance(op, DepthwiseConv2D))
    box = propagate(stages_of(graph), graph.input, Box.point(sample_inputs((8, 8, 3), 0))).boxes[op.output]
    assert (box.low == -128).all() and (box.high == 127).all()
    assert leaves(graph, Ball("Linf", 1), 0) is None


def test_a_ball_is_bounded_by_its_norm_and_its_box() -> None:
    """The L2 ball of radius 4 around 0 in two dimensions: the diagonal reaches 4 * sqrt(2), not 8."""
    region = Region.of(Ball("L2", 4), np.zeros((1, 2), np.int8))
    slopes = np.array([[[1.0, 1.0], [1.0, 0.0]]])
    assert region.least(slopes)[0] == pytest.approx([-4 * 2**0.5, -4])
    assert least_in(region.box, slopes)[0] == pytest.approx([-8, -4])


def test_models_without_a_class_or_with_several_edges_are_refused() -> None:
    builder = ModelBuilder((2, 3), 0.1, 0)
    image = read_graph(builder.build(builder.unary("TANH", builder.input, (1 / 128, 0))))
    with pytest.raises(BadInputError, match="has no class"):
        Decision.of(image)
    with pytest.raises(BadInputError, match="2 inputs and 1 outputs"):
        stages_of(read_graph(several(2, 1)))


def test_a_place_outside_the_image_is_not_followed_back_through_a_maximum() -> None:
    """Where each element of a window may be -128, the padding in front of it must not stand for one elsewhere."""
    window = Window(kernel=(3, 3), stride=(2, 2), dilation=(1, 1), padding=(1, 1))
    pool = Pool2D(
        index=0, inputs=(0,), output=1, mode="max", window=window, out_shape=(3, 3, 1), act_min=-128, act_max=127
    )
    weights = np.zeros((2, 9), np.int8)
    weights[0, 0] = 1
    shift = np.array([1, 1], np.int32)
    requant = Requant(np.array([1 << 30] * 2, np.int32), shift, -100, -128, 127)
    bias = np.array([0, 4], np.int32)
    dense = FullyConnected(
        index=1, inputs=(1,), output=2, weights=weights, weight_scale=np.ones(2), bias=bias, input_zero_point=-128,
        requant=requant, rows=1,
    )  # fmt: skip
    tensors = {
        0: Tensor(0, "x", (5, 5, 1), 1.0, -128),
        1: Tensor(1, "pooled", (3, 3, 1), 1.0, -128),
        2: Tensor(2, "scores", (2,), 1.0, 0),
    }

    def answer(x: Int8) -> Int64:
        rows = [computed(dense, [computed(pool, [row], tensors)], tensors) for row in x]
        return np.array([scores.argmax() for scores in rows])

    clean = np.full((1, 5, 5, 1), -120, np.int8)
    clean[0, 4, 4, 0] = 60
    broken = clean.copy()
    broken[0, :2, :2] = -128
    assert answer(clean) != answer(broken)
    network = Network.of(Graph(tensors, (pool, dense), 0, 2))
    found = certify(network, answer, clean, np.zeros(1, np.int64), Ball("Linf", 8), Depth(), nothing)
    assert found.status != ["proved"]
