"""Losses on the view's logits and their gradients with respect to the input, compiled once per view and loss."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Labels, Places, Target
from tritguard.attack.rivals import allowed, told_apart
from tritguard.attack.temperature import logit_scales
from tritguard.attack.view import DifferentiableView
from tritguard.errors import BadInputError, ToolMissingError

Loss = Literal["ce", "dlr", "margin", "dlr targeted"]
Float32 = NDArray[np.float32]
_BATCH = 256  # samples per gradient call, which bounds memory


class Gradients:
    """A loss that rises as the attacker comes nearer to its goal, and its gradient; counts the gradients taken.

    Args:
        target: the attacked model, which needs a view.
        loss: `ce`, the cross-entropy of the true class, with the logits of each sample scaled against vanishing
            gradients (see `logit_scales`); `margin`, the largest other logit minus the true one; `dlr`, the difference
            of logits ratio, or `dlr targeted`, its targeted form (Croce and Hein 2020, 2003.01690, equations 6 and
            7). In a targeted attack, `ce` and `margin` are those of the label aimed at, negated. All compare a
            class with its rivals (`Target.rivals`).

    Raises:
        ToolMissingError: the target has no view, or TensorFlow is not installed.
        BadInputError: the model has too few classes for the loss.
    """

    def __init__(self, target: Target, loss: Loss) -> None:
        if target.view is None:
            raise ToolMissingError("a white-box attack needs the model's gradient view")
        needed = {"ce": 2, "margin": 2, "dlr": 3, "dlr targeted": 4}[loss]
        if target.view.classes < needed:
            raise BadInputError(f"the loss {loss!r} needs {needed} classes, the model has {target.view.classes}")
        self._target = target
        self._call = _compiled(target.view, loss, loss == "dlr targeted" or target.aim is not None)
        self._scales = np.ones(len(target.x), np.float32)
        if loss == "ce":
            logits = target.view.logits(target.x.astype(np.float32))
            self._scales = logit_scales(told_apart(logits, target.y, target.rivals))
        self.taken = 0

    def __call__(self, x: Float32, samples: Places, aim: Labels | None = None) -> tuple[Float32, Float32]:
        """Losses, float32[n], and their gradients, float32[n, *input_shape], at inputs crafted for these samples.

        Args:
            x: float32[n, *input_shape], in int8 steps.
            samples: int64[n], the places of the samples in the target.
            aim: int64[n], the labels to aim at; by default the target's own, if it has any.
        """
        if aim is None:
            aim = self._target.y[samples] if self._target.aim is None else self._target.aim[samples]
        y = self._target.y[samples]
        self.taken += len(x)
        assert self._target.view is not None
        compared = allowed(self._target.rivals, y if self._target.aim is None else aim, self._target.view.classes)
        arrays = (x, y, aim, self._scales[samples], compared | np.eye(compared.shape[1], dtype=bool)[aim])
        parts = [self._call(*(array[start : start + _BATCH] for array in arrays)) for start in range(0, len(x), _BATCH)]
        losses, gradients = zip(*parts, strict=True)
        return np.concatenate([part.numpy() for part in losses]), np.concatenate([part.numpy() for part in gradients])


class Region:
    """Balls around clean inputs as gradient steps see them: continuous, and cut to the data's own range.

    Args:
        ball: the norm and the radius.
        clean: float32[n, *input_shape], the clean inputs in int8 steps.
    """

    def __init__(self, ball: Ball, clean: Float32) -> None:
        self.ball = ball
        self.clean = clean

    def keep(self, rows: NDArray[np.bool_]) -> Region:
        """The region of those samples where `rows`, bool[n], is true."""
        return Region(self.ball, self.clean[rows])

    def start(self, rng: np.random.Generator) -> Float32:
        """A random point for each sample, float32[n, *input_shape]."""
        return self.project(self.clean + self.ball.geometry.start(rng, self.clean.shape, self.ball.eps))

    def start_at(self, rng: np.random.Generator, gradient: NDArray[np.floating]) -> Float32:
        """A random point where gradients at the clean inputs, [n, *input_shape], promise most; see `Norm.start_at`."""
        ends = np.where(gradient > 0, self.ball.high, self.ball.low)
        gains = gradient * (ends - self.clean)
        return self.project(self.clean + self.ball.geometry.start_at(rng, gains, self.ball.eps))

    def direction(self, gradient: NDArray[np.floating]) -> Float32:
        """The step of length one along which the loss rises most, for gradients [n, *input_shape]."""
        return np.asarray(self.ball.geometry.steepest(gradient), np.float32)

    def project(self, x: NDArray[np.floating]) -> Float32:
        """x, [n, *input_shape], projected into the ball and then clipped to the data's own range."""
        moves = self.ball.geometry.shrink(x - self.clean, self.ball.eps)
        return np.asarray(self.ball.clip(self.clean + moves), np.float32)


@lru_cache(maxsize=32)  # an evaluation follows several losses on several views for each ball, in turn
def _compiled(view: DifferentiableView, loss: Loss, targeted: bool) -> Callable[..., Any]:
    from tritguard.train.backend import compiled, tf  # noqa: PLC0415 - takes seconds to import

    measure = _LOSSES[loss]

    def run(x: Any, y: Any, aim: Any, scales: Any, compared: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            logits = view(x)
            lowest = tf.stop_gradient(tf.reduce_min(logits, axis=1, keepdims=True))
            logits = tf.where(compared, logits, lowest) * scales[:, None]
            losses = measure(tf, logits, y, aim, targeted)
        return losses, tape.gradient(losses, x)

    shape = tf.TensorSpec((None, *view.input_shape), tf.float32)
    labels = tf.TensorSpec((None,), tf.int64)
    scales = tf.TensorSpec((None,), tf.float32)
    compared = tf.TensorSpec((None, view.classes), tf.bool)
    return compiled(run, [shape, labels, labels, scales, compared])


def _cross_entropy(tf: Any, logits: Any, y: Any, aim: Any, targeted: bool) -> Any:
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(aim if targeted else y, logits)
    return -losses if targeted else losses


def _best_other(tf: Any, logits: Any, labels: Any) -> Any:
    return tf.reduce_max(logits - 1e9 * tf.one_hot(labels, logits.shape[1]), axis=1)


def _margin(tf: Any, logits: Any, y: Any, aim: Any, targeted: bool) -> Any:
    labels = aim if targeted else y
    margin = _best_other(tf, logits, labels) - tf.gather(logits, labels, batch_dims=1)
    return -margin if targeted else margin


def _dlr(tf: Any, logits: Any, y: Any, aim: Any, targeted: bool) -> Any:
    ordered = tf.sort(logits, axis=1, direction="DESCENDING")
    spread = ordered[:, 0] - ordered[:, 2] + 1e-12
    return _margin(tf, logits, y, aim, targeted) / spread


def _dlr_targeted(tf: Any, logits: Any, y: Any, aim: Any, _targeted: bool) -> Any:
    ordered = tf.sort(logits, axis=1, direction="DESCENDING")
    spread = ordered[:, 0] - (ordered[:, 2] + ordered[:, 3]) / 2 + 1e-12
    return (tf.gather(logits, aim, batch_dims=1) - tf.gather(logits, y, batch_dims=1)) / spread


_LOSSES: dict[Loss, Callable[[Any, Any, Any, Any, bool], Any]] = {
    "ce": _cross_entropy,
    "dlr": _dlr,
    "margin": _margin,
    "dlr targeted": _dlr_targeted,
}
