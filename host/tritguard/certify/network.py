"""A deployed network as the levels of certification need it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tritguard.certify.box import Bool, Box, Region
from tritguard.certify.decision import Decision
from tritguard.certify.intervals import Bounds, propagate
from tritguard.certify.refinement import Effort, refine
from tritguard.certify.relaxation import Form, Relaxation
from tritguard.certify.rules import stages_of
from tritguard.certify.stages import Stage, Sums
from tritguard.graph.model import Float64, Graph, Int64


@dataclass(frozen=True, eq=False)
class Network:
    """The stages up to the tensor that decides the label.

    Attributes:
        stages: the stages in the graph's order.
        source: the input tensor.
        input_shape: the shape of one input.
        decision: how the label follows.
    """

    stages: tuple[Stage, ...]
    source: int
    input_shape: tuple[int, ...]
    decision: Decision

    @classmethod
    def of(cls, graph: Graph) -> Network:
        """Prepare the graph of a golden model, whose outputs the device gives byte for byte in any weight format.

        Raises:
            BadInputError: the model has several inputs or outputs, or its output has no class.
        """
        stages, decision = stages_of(graph), Decision.of(graph)
        last = graph.producers.get(decision.tensor, -1)
        return cls(stages[: last + 1], graph.input, graph.tensors[graph.input].shape, decision)

    @cached_property
    def cost(self) -> int:
        """Multiply-accumulates that take one linear function back to the input; at least one."""
        return 1 + sum(stage.cost for stage in self.stages if isinstance(stage, Sums))

    def intervals(self, inputs: Box, known: Mapping[int, Box] | None = None) -> Bounds:
        """Level 1; see `propagate`."""
        return propagate(self.stages, self.source, inputs, known)

    def relaxed(self, region: Region, bounds: Bounds) -> Relaxation:
        """Linear relaxation with known bounds, for any number of regions."""
        return Relaxation(self.stages, self.source, region, bounds)

    def refined(self, region: Region, effort: Effort) -> Relaxation:
        """Linear relaxation of one region with bounds that it improves itself."""
        return refine(self.stages, self.source, region, effort)

    def margins(
        self, relaxation: Relaxation, y: Int64, trace: dict[int, Float64] | None = None
    ) -> tuple[Float64, Bool]:
        """Lower bounds of what decides the label, by linear relaxation.

        Args:
            relaxation: the relaxation of n regions.
            y: int64[n], the labels.
            trace: see `Relaxation.least`.

        Returns:
            float64[n, m], how far each objective is at least above what it has to be; and bool[n, m], whether that
            proves it. Objectives are whole numbers, so more than -1 is enough.
        """
        factors, needed = self.decision.objectives(y)
        shape = relaxation.bounds.boxes[self.decision.tensor].low.shape[1:]
        form = Form.of(self.decision.tensor, factors.reshape(*factors.shape[:2], *shape))
        above = relaxation.least(form, len(self.stages), trace) - needed
        return above, np.asarray(above > -1) | self.decision.proved(self.stages, relaxation.bounds, y)
