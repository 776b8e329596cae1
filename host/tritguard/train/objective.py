"""The joint loss: the weighted sum of the cross-entropies on clean and adversarial samples and the Jacobian penalty.

    (1 - a) CE(x) + a CE(x') + lambda_output / 2 ||dz/dx||_F^2 + lambda_layers / 2 mean_l ||dz/dh_l||_F^2

TRADES and MART replace the cross-entropies (`losses`), and with a teacher the divergence of z(x') from its outputs on x
replaces a share of them. With certified training the sum is multiplied by 1 - c, and c times the cross-entropy of the
worst logits that interval bounds allow in a box around x' is added (`certified`).

Here x' are the adversarial samples, z the logits and h_l the inputs of the layers with weights. The Jacobians are taken
at x' if there is an attack and at x otherwise, so they are taken where the network is trained, in the same forward
pass. With `every` = k they are computed in each k-th step, multiplied by k, and are 0 in the other steps.
"""

from __future__ import annotations

import functools
from typing import Any

from tritguard.train.adversarial import perturbed
from tritguard.train.backend import tf
from tritguard.train.certified import interval_loss
from tritguard.train.config import TrainConfig
from tritguard.train.inputs import InputGrid
from tritguard.train.jacobian import probe, squared_norms
from tritguard.train.losses import cross_entropy, distillation, mart, trades

Tensor = Any

_START, _PROJECTION = range(2)  # the uses of random numbers, none of which share a seed


class Objective:
    """What a training step minimises.

    Args:
        model: keras.Model that gives logits. It always runs in training mode, also for attacks, because its batch-norm
            statistics for inference do not fit weights that are drawn.
        config: the weights and schedules of the terms.
        grid: the values of the model's input.
        steps: the total number of training steps; ramps are shares of it.
        teacher: keras.Model that gives logits, which runs in inference mode; or None.
    """

    def __init__(
        self, model: Any, config: TrainConfig, grid: InputGrid, steps: int, teacher: Any | None = None
    ) -> None:
        self._model = model
        self._config = config
        self._grid = grid
        self._steps = steps
        self._teacher = teacher
        self._probe = probe(model) if config.jacobian.layers else None

    def samples(self, x: Tensor, y: Tensor, step: Tensor) -> Tensor:
        """The samples to train on in place of x: adversarial samples, or x itself if there is no attack.

        Args:
            x: float32[n, ...] in input units.
            y: int64[n].
            step: int32 scalar, the number of the training step, from 0.

        Returns:
            float32 of x's shape.
        """
        attack = self._config.adversarial
        if attack.attack == "none":
            return x
        share = self._ramp(attack.ramp, step) * self._grid.step
        return perturbed(
            functools.partial(self._model, training=True),
            x,
            tf.nn.softmax(self._model(x, training=True)) if attack.loss == "trades" else y,
            self._grid,
            eps=attack.eps * share,
            step_size=attack.step_size_in_effect * share,
            steps=attack.steps_in_effect,
            seed=self._seed(_START, step),
        )

    def terms(self, x: Tensor, adversarial: Tensor, y: Tensor, step: Tensor) -> dict[str, Tensor]:
        """The loss, named `loss`, and its parts, as float32 scalars. The formula is in the module's docstring.

        The parts are not multiplied by their weights. `accuracy` is measured on the samples that are trained on.
        """
        with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
            tape.watch(adversarial)
            logits, *hidden = self._forward(adversarial)
        right = tf.equal(tf.argmax(logits, axis=-1), y)
        parts = {"accuracy": tf.reduce_mean(tf.cast(right, tf.float32))}
        loss = self._of_samples(parts, x, logits, y)
        if self._teacher is not None:
            teacher = self._config.teacher
            outputs = tf.stop_gradient(self._teacher(x, training=False))
            parts["distillation"] = distillation(outputs, logits, teacher.temperature)
            loss = (1 - teacher.weight) * loss + teacher.weight * parts["distillation"]
        jacobian = self._config.jacobian
        if jacobian.output or jacobian.layers:
            norms = self._norms(tape, logits, [adversarial, *hidden], step)
            strength = self._ramp(jacobian.ramp, step) / 2
            loss += strength * tf.add_n([getattr(jacobian, name) * norm for name, norm in norms.items()])
            parts |= {f"jacobian_{name}": norm for name, norm in norms.items()}
        certified = self._config.certified
        if certified.eps:
            parts["interval_cross_entropy"] = interval_loss(self._model, x, *self._box(x, adversarial, step), y)
            loss = (1 - certified.weight) * loss + certified.weight * parts["interval_cross_entropy"]
        return {"loss": loss, **parts}

    def _of_samples(self, parts: dict[str, Tensor], x: Tensor, logits: Tensor, y: Tensor) -> Tensor:
        """The loss on the adversarial samples, and if needed on the clean ones; its parts are added to `parts`."""
        attack, smoothing = self._config.adversarial, self._config.label_smoothing
        parts["cross_entropy"] = on_adversarial = cross_entropy(y, logits, smoothing=smoothing)
        if attack.attack == "none" or (attack.loss == "cross-entropy" and attack.weight == 1):
            return on_adversarial
        clean = self._model(x, training=True)
        if attack.loss == "mart":
            boosted, parts["divergence"] = mart(y, clean, logits)
            return boosted + attack.beta * parts["divergence"]
        parts["clean_cross_entropy"] = on_clean = cross_entropy(y, clean, smoothing=smoothing)
        if attack.loss == "trades":
            parts["divergence"] = trades(clean, logits)
            return on_clean + attack.beta * parts["divergence"]
        return attack.weight * on_adversarial + (1 - attack.weight) * on_clean

    def _box(self, x: Tensor, adversarial: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """The box of the interval bounds: within the ball and the input's range, around the adversarial sample."""
        certified, grid = self._config.certified, self._grid
        eps = self._ramp(certified.ramp, step) * grid.step * certified.eps
        room = (1 - certified.box) * eps
        middle = tf.clip_by_value(adversarial, x - room, x + room)
        radius = certified.box * eps
        return tf.maximum(middle - radius, grid.low), tf.minimum(middle + radius, grid.high)

    def _norms(self, tape: Any, logits: Tensor, points: list[Tensor], step: Tensor) -> dict[str, Tensor]:
        """The squared norms by the name of their weight: times `every` in steps that compute them, 0 in the others."""
        jacobian = self._config.jacobian

        def taken() -> list[Tensor]:
            seed = self._seed(_PROJECTION, step)
            norms = squared_norms(tape, logits, points, projections=jacobian.projections, seed=seed)
            output, *layers = [jacobian.every * norm for norm in norms]
            return [output, tf.add_n(layers) / len(layers)] if layers else [output]

        names = ["output", "layers"][: 1 + bool(points[1:])]
        if jacobian.every == 1:
            return dict(zip(names, taken(), strict=True))
        norms = tf.cond(step % jacobian.every == 0, taken, lambda: [tf.constant(0.0) for _ in names])
        return dict(zip(names, norms, strict=True))

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The logits, and the activations for the per-layer terms if there are any."""
        if self._probe is None:
            return [self._model(x, training=True)]
        outputs: list[Tensor] = self._probe(x, training=True)
        return outputs

    def _ramp(self, ramp: tuple[float, float], step: Tensor) -> Tensor:
        """0 before the start of the ramp, 1 from its end on, and linear in between."""
        start, end = ramp
        progress = tf.cast(step, tf.float32) / self._steps
        if start == end:
            return tf.cast(progress >= start, tf.float32)
        return tf.clip_by_value((progress - start) / (end - start), 0.0, 1.0)

    def _seed(self, use: int, step: Tensor) -> Tensor:
        return tf.stack([tf.constant(self._config.seed % 2**31, tf.int32), 2 * tf.cast(step, tf.int32) + use])
