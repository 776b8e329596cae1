"""DIVA: fools the deployed model while its float model stays right."""

from __future__ import annotations

from typing import Any

import numpy as np
from typing_extensions import override

from tritguard.attack.base import Attack, Ball, Best, Crafted, Kind, Queries, Target, margins
from tritguard.attack.float_model import FloatModel
from tritguard.attack.gradient import Region

_BATCH = 256


class Diva(Attack):
    """The idea of DIVA (Hao et al. 2022, 2204.10933) on the deployed integer graph.

    A float model on a server that is asked to confirm what a device saw notices nothing. DIVA ascends the difference
    between the two models' confidence in the true class. Here the deployed model is seen through the straight-through
    view, and the loss is the difference of margins, each cut off a little beyond its goal so that neither model takes
    up the whole step. Success is judged by asking both models on the int8 grid.

    Threat model: white box on both models; untargeted; any norm.

    Args:
        keeper: the float model that has to stay right.
        steps: gradients of each model per sample and start.
        restarts: the number of starts: the first at the clean input, the others at random.
        step_size: the length of the first step as a share of eps; the last one is a tenth as long.
    """

    name = "DIVA"
    kind: Kind = "white box"
    follows = "gradients"

    def __init__(self, keeper: FloatModel, steps: int = 40, restarts: int = 2, step_size: float = 0.5) -> None:
        self.keeper = keeper
        self.steps = steps
        self.restarts = restarts
        self.step_size = step_size

    @property
    @override
    def parameters(self) -> dict[str, float | int | str]:
        return {"steps": self.steps, "restarts": self.restarts, "step size, eps": self.step_size}

    @override
    def craft(self, target: Target, ball: Ball) -> Crafted:
        """Craft one candidate for each sample; it succeeds if the deployed model is wrong and the float model right."""
        rng = np.random.default_rng((target.seed, ball.eps))
        queries, best, taken = Queries(target), Best(target), 0
        gradient = _gradient(target, self.keeper)
        best.take(target.x, self._both(queries, target, target.x))
        for restart in range(self.restarts):
            active = np.flatnonzero(best.margins > 0)
            region = Region(ball, target.x[active].astype(np.float32))
            x = region.clean if restart == 0 else region.start(rng)
            for step in range(self.steps):
                reach = ball.eps * self.step_size * 10 ** (-step / self.steps)
                slopes = [gradient(x[at : at + _BATCH], target.y[active[at : at + _BATCH]]).numpy()
                          for at in range(0, len(x), _BATCH)]  # fmt: skip
                if not slopes:
                    break
                taken += 2 * len(x)
                x = region.project(x + reach * region.direction(np.concatenate(slopes)))
                on_grid = ball.to_grid(x, target.x[active])
                best.take(on_grid, self._both(queries, target, on_grid, active), active)
                holds = best.margins[active] > 0
                active, x, region = active[holds], x[holds], region.keep(holds)
        return Crafted(best.x, queries.made, taken)

    def _both(
        self, queries: Queries, target: Target, x: np.ndarray[Any, np.dtype[np.int8]], samples: Any = None
    ) -> np.ndarray[Any, np.dtype[np.float64]]:
        """float64[n]: positive where the deployed model is right or the float model wrong."""
        y = target.y if samples is None else target.y[samples]
        return np.maximum(queries.margins(x, samples), -margins(self.keeper.predict(x), y))


def _gradient(target: Target, keeper: FloatModel) -> Any:
    from tritguard.train.backend import compiled, tf  # noqa: PLC0415

    assert target.view is not None
    view = target.view

    def margin(logits: Any, y: Any) -> Any:
        others = tf.reduce_max(logits - 1e9 * tf.one_hot(y, logits.shape[1]), axis=1)
        return tf.gather(logits, y, batch_dims=1) - others

    def run(x: Any, y: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            stays, falls = margin(keeper(x), y), margin(view(x), y)
            loss = tf.minimum(stays, 1.0) - tf.maximum(falls, -1.0)
        return tape.gradient(loss, x)

    shape = tf.TensorSpec((None, *view.input_shape), tf.float32)
    return compiled(run, [shape, tf.TensorSpec((None,), tf.int64)])
