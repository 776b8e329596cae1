"""What the deployed integers are held against: the bounds of a graph's tensors, and of a function of its output."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from tests.support.tiny_nets import every_tensor, outside, random_of
from tritguard.attack import Ball
from tritguard.certify.box import Region
from tritguard.certify.intervals import propagate
from tritguard.certify.refinement import Effort, refine
from tritguard.certify.relaxation import Form
from tritguard.certify.rules import stages_of
from tritguard.errors import BadModelError
from tritguard.graph import read_graph
from tritguard.graph.model import Graph

balls = st.builds(
    Ball, st.sampled_from(["Linf", "Linf", "L2"]), st.sampled_from([0, 1, 3, 20, 255]), st.sampled_from([-128, -90])
)


def leaves(graph: Graph, ball: Ball, seed: int, relaxed: bool = True) -> str | None:
    """Which op's output, or which bound of a linear function of the model's, an input of the ball leaves."""
    rng = np.random.default_rng(seed)
    clean = np.maximum(rng.integers(-128, 128, (1, *graph.tensors[graph.input].shape)), ball.low).astype(np.int8)
    ops, region = stages_of(graph), Region.of(ball, clean)
    known = {"intervals": propagate(ops, graph.input, region.box)}
    factors = rng.normal(size=(1, 2, *graph.tensors[graph.output].shape))
    least = np.full(2, -np.inf)
    if relaxed:
        relaxation = refine(ops, graph.input, region, Effort())
        known["relaxation"] = relaxation.bounds
        least = relaxation.least(Form.of(graph.output, factors), len(ops))[0]
    for x in random_of(ball, clean, rng):
        values = every_tensor(graph, x[0])
        for op in graph.ops:
            for name, bounds in known.items():
                box = bounds.boxes[op.output]
                if outside(box.low[0], box.high[0], values[op.output]):
                    return f"{op.kind} ({name})"
        reached = (factors[0] * values[graph.output]).reshape(2, -1).sum(axis=1)
        if (reached < least - 1e-9).any():
            return f"linear function: {reached} below {least}"
    return None


def read(content: bytes) -> Graph | None:
    """The graph; None where the random scales make TFLM refuse the model."""
    try:
        return read_graph(content)
    except BadModelError:
        return None
