"""The rule of each op: that there is one, that no input leaves its bounds, and that one that is a step off is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.bounds import balls, leaves, read
from tests.support.known_models import other_ops_model, ternary_model
from tests.support.random_graphs import inputs, zero_points
from tests.support.random_moves import MOVES, mirror_pad, resize_nearest
from tests.support.random_pairs import REDUCTIONS, product, reduced, reduction
from tests.support.tflite_builder import ModelBuilder
from tests.support.tflite_tables import Table
from tritguard.attack import Ball
from tritguard.certify import refinement
from tritguard.certify.box import Box, Region
from tritguard.certify.refinement import Effort, refine
from tritguard.certify.rules import RULES, stages_of
from tritguard.certify.stages import Stage, Sums, Unbounded
from tritguard.graph import model, read_graph
from tritguard.graph.model import Graph, Op, Weighted

FEW = settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))


def more_ops_model() -> bytes:
    """What `ternary_model` and `other_ops_model` lack: functions of two activations, other axes, a constant matrix."""
    rng = np.random.default_rng(3)
    builder = ModelBuilder((4, 4, 6), 0.05, 3)
    tensor = mirror_pad(builder, builder.input, [(1, 0), (0, 1), (0, 0)], "SYMMETRIC")
    parts = builder.split(builder.transpose(tensor, (0, 2, 1, 3)), 3, [3, 3], explicit=False)
    tensor = resize_nearest(builder, builder.concatenation(parts[::-1], 3), (6, 6), False, False)
    tensor = builder.strided_slice(tensor, [0, 5, 0, 0], [1, 0, 5, 6], [1, -1, 1, 1], (5, 5, 6))
    for name, out in (("MUL", (0.2, 0)), ("SQUARED_DIFFERENCE", (0.3, -100)), ("SUB", (0.4, 5))):
        row = builder.slice(tensor, [0, 0, 0, 0], [1, 1, 5, 6], (1, 5, 6))
        tensor = builder.binary(name, tensor, builder.quantize(row, (0.07, -3)), out)
    peak = reduced(builder, tensor, "REDUCE_MAX", [3], builder.quant(tensor))
    for name in ("MAXIMUM", "MINIMUM"):
        tensor = builder.binary(name, tensor, peak, builder.quant(tensor))
    tensor = reduced(builder, tensor, "MEAN", [3], (0.6, -100))
    tensor = builder.quantize(builder.log_softmax(builder.reshape(tensor, (1, 5, 5))), (0.1, 100))
    tensor = builder.quantize(builder.l2_normalization(tensor), (0.01, 3))
    matrix = builder.constant(rng.integers(-128, 128, (5, 3), dtype=np.int8), [0.1], zero_point=7)
    output = builder.activation((1, 5, 3), 1.0, 4)
    return builder.build(builder.op("BATCH_MATMUL", [tensor, matrix], output, Table("BatchMatMulOptions")))


@cache
def graphs() -> tuple[Graph, ...]:
    return tuple(map(read_graph, (ternary_model(), other_ops_model(), more_ops_model())))


KINDS = sorted({op.kind for graph in graphs() for op in graph.ops})


def test_every_op_of_the_graph_has_a_rule_and_is_among_those_below() -> None:
    ops = {each for each in vars(model).values() if isinstance(each, type) and issubclass(each, Op)} - {Op, Weighted}
    assert ops == set(RULES) == {type(op) for graph in graphs() for op in graph.ops}
    assert not any(isinstance(stage, Unbounded) for graph in graphs() for stage in stages_of(graph))
    assert {*REDUCTIONS, "SQUARED_DIFFERENCE", "MAX_POOL_2D", "AVERAGE_POOL_2D", "GATHER"} <= set(KINDS)


@pytest.mark.parametrize("name", [*REDUCTIONS, "BATCH_MATMUL", *MOVES])
@FEW
@given(data=st.data(), ball=balls, seed=inputs, zero_point=zero_points)
def test_no_input_leaves_the_bounds_of_a_rule(
    name: str, data: st.DataObject, ball: Ball, seed: int, zero_point: int
) -> None:
    draws: dict[str, Callable[..., int]] = {
        **MOVES,
        **{each: lambda *drawn, each=each: reduction(*drawn, each) for each in REDUCTIONS},
        "BATCH_MATMUL": product,
    }
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 6)))
    builder = ModelBuilder(shape, 0.1, zero_point)
    tensor = builder.input
    for _ in range(1 if name in REDUCTIONS else 2):
        tensor = data.draw(st.composite(draws[name])(builder, tensor))
    graph = read(builder.build(tensor))
    assert graph is None or leaves(graph, ball, seed) is None


def off_by_one(right: Callable[[Graph, Any], Stage], kind: str, low: int, high: int) -> Callable[[Graph, Op], Stage]:
    """A rule whose bounds are moved, within int8, for ops of this name."""

    def wrong(graph: Graph, op: Op) -> Stage:
        stage = right(graph, op)
        if op.kind == kind:
            name = "stepped" if isinstance(stage, Sums) else "bounds"
            bounds = getattr(stage, name)

            def moved(given: Any) -> Box:
                box = bounds(given)
                return Box(np.minimum(box.low + low, 127), np.maximum(box.high + high, -128))

            object.__setattr__(stage, name, moved)
        return stage

    return wrong


@pytest.mark.parametrize(("low", "high"), [(1, 0), (0, -1)])
@pytest.mark.parametrize("kind", KINDS)
def test_an_off_by_one_in_any_rule_is_found(kind: str, low: int, high: int, monkeypatch: pytest.MonkeyPatch) -> None:
    here = [graph for graph in graphs() if any(op.kind == kind for op in graph.ops)]

    def found() -> bool:
        tried = ((graph, Ball("Linf", eps), seed) for graph in here for seed in range(8) for eps in (0, 2))
        return any(leaves(*each, relaxed=False) for each in tried)

    for op in {type(op) for graph in here for op in graph.ops if op.kind == kind}:
        with monkeypatch.context() as patch:
            patch.setitem(RULES, op, off_by_one(RULES[op], kind, low, high))
            assert found()


def residual_model() -> bytes:
    """Strides, dilation, padding, a sum of two ways, a table and pools, so that pixels see crops of many forms."""
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
        return rng.integers(-127, 128, shape, dtype=np.int8)

    builder = ModelBuilder((13, 11, 2), 0.02, 3)
    tensor = builder.conv(builder.input, weights(5, 3, 3, 2), [0.01] * 5, None, (0.06, -128), activation="RELU")
    one = builder.conv(tensor, weights(4, 3, 3, 5), [0.01] * 4, None, (0.2, -7), stride=(2, 1))
    other = builder.conv(tensor, weights(4, 1, 1, 5), [0.01] * 4, None, (0.1, 4), stride=(2, 1))
    tensor = builder.unary("TANH", builder.add(one, other, (0.2, 0)), (1 / 128, 0))
    tensor = builder.pool(tensor, "AVERAGE", (3, 2), (1, 2), same=True, activation="NONE")
    tensor = builder.depthwise(tensor, weights(3, 3, 8), [0.01], None, (0.05, 1), dilation=(2, 1), activation="RELU6")
    tensor = builder.pool(tensor, "MAX", (2, 2), (1, 1), same=True, activation="NONE")
    return builder.build(builder.conv(tensor, weights(3, 2, 2, 8), [0.01] * 3, None, (0.2, 0), same=False))


def test_crops_give_the_bounds_of_whole_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to one, where float64 rounds to the other side of a whole number."""
    graph = read_graph(residual_model())
    for ball in (Ball("Linf", 2), Ball("L2", 6)):
        assert leaves(graph, ball, 1) is None
        clean = np.random.default_rng(1).integers(-100, 100, (1, 13, 11, 2)).astype(np.int8)
        region, ops = Region.of(ball, clean), stages_of(graph)
        cropped = refine(ops, graph.input, region, Effort(room=1 << 14)).bounds.sums
        with monkeypatch.context() as patch:
            patch.setattr(refinement, "groups_of", lambda *_: None)
            whole = refine(ops, graph.input, region, Effort()).bounds.sums
        plain = refine(ops, graph.input, region, Effort(work=0)).bounds.sums
        for tensor, box in cropped.items():
            assert np.abs(box.low - whole[tensor].low).max() <= 1 >= np.abs(box.high - whole[tensor].high).max()
            assert (box.low >= plain[tensor].low).all() and (box.high <= plain[tensor].high).all()
        assert sum((box.high - box.low).sum() for box in cropped.values()) < sum(
            (box.high - box.low).sum() for box in plain.values()
        )


def test_relaxation_stops_when_its_time_is_over() -> None:
    """What is left then has the bounds of intervals, or better ones."""
    graph = read_graph(residual_model())
    clean = np.zeros((1, 13, 11, 2), np.int8)
    region, ops = Region.of(Ball("Linf", 2), clean), stages_of(graph)
    stopped, plain, whole = (
        refine(ops, graph.input, region, effort).bounds.sums
        for effort in (replace(Effort(), seconds=0.0, room=1), Effort(work=0), Effort())
    )
    better = [int((stopped[tensor].low > box.low).sum()) for tensor, box in plain.items()]
    assert sum(better) < sum(int((whole[tensor].low > box.low).sum()) for tensor, box in plain.items())
    assert all((stopped[tensor].low >= box.low).all() for tensor, box in plain.items())
