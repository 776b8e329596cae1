"""The training loop over epochs and steps, which writes checkpoints."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError
from tritguard.train import checkpoint
from tritguard.train.backend import compiled, tf
from tritguard.train.config import TrainConfig
from tritguard.train.inputs import TrainingSet, input_units
from tritguard.train.objective import Objective
from tritguard.train.optimizer import make_optimizer
from tritguard.train.quick import quick
from tritguard.train.watch import Watch

CHECKPOINT_SECONDS = 60.0


class Loop:
    """Minimises the joint loss.

    Args:
        model: the quantized network.
        config: the settings.
        samples: the samples to train on.
        identity: JSON values that identify the training in its checkpoints; see `checkpoint.save`.
        path: the file of the checkpoint.
        teacher: a network that gives logits, from which the model learns, or None.
        watch: measured after each epoch, for the history; or None.

    Attributes:
        steps: the number of steps in the whole training.
    """

    def __init__(
        self,
        model: Any,
        config: TrainConfig,
        samples: TrainingSet,
        identity: dict[str, Any],
        path: Path,
        *,
        teacher: Any | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._model = model
        self._config = config
        self._samples = samples
        self._identity = identity
        self._path = path
        self._epoch_steps = math.ceil(len(samples.x) / config.batch_size)
        self.steps = config.epochs * self._epoch_steps
        self._teacher = teacher
        self._watch = watch
        self._objective = Objective(model, config, samples.grid, self.steps, teacher)
        self._signature = [
            tf.TensorSpec((None, *model.input.shape[1:]), tf.float32),
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((), tf.int32),
        ]
        self._attacked = self._objective.samples
        if config.adversarial.attack != "none":  # traced once, for the steps and for `trained_on`
            self._attacked = compiled(self._attacked, self._signature)
        self._optimizer = make_optimizer(config, self.steps, model.trainable_variables)
        self._incremental = [layer for layer in model.layers if getattr(layer, "share", None) is not None]

    def run(
        self,
        stepped: Callable[[int], None],
        epoch_done: Callable[[list[dict[str, float]]], None],
        checkpoint_seconds: float,
        show_loss: Callable[[float], None],
    ) -> checkpoint.State:
        """Train to the end, from the last checkpoint or, without one, from the start.

        Args:
            stepped: called with the number of steps done, at the start and after each step.
            epoch_done: called after each epoch with the means of the loss's parts in each epoch so far.
            checkpoint_seconds: the time between checkpoints; one is also written after each epoch.
            show_loss: called after each step with the mean of the loss over the epoch so far.

        Returns:
            The final state.

        Raises:
            BadInputError: the checkpoint belongs to another training, or the loss or a weight became infinite or NaN,
                in which case the checkpoint is removed.
        """
        with ExitStack() as quickly:
            for net in (self._model, self._teacher):
                if net is not None:
                    quickly.enter_context(quick(net, self._config.precision))
            state = self._run(stepped, epoch_done, checkpoint_seconds, show_loss)
        if self._config.average:
            self._optimizer.finalize_variable_values(self._model.trainable_variables)
        return state

    def _run(
        self,
        stepped: Callable[[int], None],
        epoch_done: Callable[[list[dict[str, float]]], None],
        checkpoint_seconds: float,
        show_loss: Callable[[float], None],
    ) -> checkpoint.State:
        variables = [*self._model.variables, *self._optimizer.variables]
        state = checkpoint.restore(self._path, self._identity, variables)
        names, step_function = self._compiled_step()
        stepped(state.step)  # TensorFlow compiles in the first step, which takes seconds: show the bar before it
        saved = started = time.monotonic() - state.seconds
        while state.step < self.steps:
            epoch, first = divmod(state.step, self._epoch_steps)
            for x, y in self._samples.batches(self._config, epoch, first):
                self._set_share(state.step)
                terms = step_function(x, y, state.step).numpy()
                for name, value in zip(names, terms, strict=True):
                    state.sums[name] = state.sums.get(name, 0.0) + float(value) * len(x)
                state.step += 1
                if not math.isfinite(state.sums["loss"]):
                    raise self._diverged("the loss")
                show_loss(self._mean_loss(state))
                is_epochs_end = state.step % self._epoch_steps == 0
                if is_epochs_end:
                    self._close_epoch(state)
                    epoch_done(state.history)
                now = time.monotonic()
                if now - saved >= checkpoint_seconds or is_epochs_end:
                    state.seconds, saved = now - started, now
                    if not all(np.isfinite(variable.numpy()).all() for variable in self._model.variables):
                        raise self._diverged(
                            "a weight"
                        )  # the last loss was computed before the last update of the weights
                    checkpoint.save(self._path, self._identity, state, variables)
                stepped(state.step)
        return state

    def trained_on(self, count: int) -> NDArray[np.float32]:
        """The first samples as the network is trained on them, for the statistics of its batch norms.

        Adversarial samples shift what batch norms see. With statistics of clean samples, a network that is trained
        against an attack loses much of its robustness.

        Returns:
            float32[count, ...] in input units: adversarial samples, every other one clean if it is trained on both, or
            clean samples without an attack.
        """
        x, y, attack = input_units(self._samples.x[:count]), self._samples.y[:count], self._config.adversarial
        if attack.attack == "none":
            return x
        with quick(self._model, self._config.precision):
            last = tf.constant(self.steps - 1)
            parts = [slice(at, at + self._config.batch_size) for at in range(0, len(x), self._config.batch_size)]
            found = np.concatenate([np.asarray(self._attacked(x[part], y[part], last)) for part in parts])
        if attack.weight < 1 or attack.loss != "cross-entropy":
            found[::2] = x[::2]
        return found

    def _set_share(self, step: int) -> None:
        for layer in self._incremental:
            layer.share.assign(self._config.quantize.share_at(step / self.steps))

    def _mean_loss(self, state: checkpoint.State) -> float:
        """The mean of the loss over the samples of this epoch so far."""
        seen = ((state.step - 1) % self._epoch_steps + 1) * self._config.batch_size
        return state.sums["loss"] / min(seen, len(self._samples.x))

    def _close_epoch(self, state: checkpoint.State) -> None:
        means = {name: total / len(self._samples.x) for name, total in state.sums.items()}
        state.history.append(means | (self._watch() if self._watch else {}))
        state.sums = {}

    def _diverged(self, what: str) -> BadInputError:
        """Remove the checkpoint and make the error.

        With the same settings a training would diverge here again, and with others it would refuse the checkpoint.
        """
        self._path.unlink(missing_ok=True)
        return BadInputError(f"{what} became NaN or infinite", where="train", fix="lower learning_rate")

    def _compiled_step(self) -> tuple[list[str], Callable[..., Any]]:
        """The names of the loss and its parts, known after the first step, and the step, which returns their values."""
        variables = self._model.trainable_variables
        names: list[str] = []

        def step(x: Any, y: Any, number: Any) -> Any:
            adversarial = self._attacked(x, y, number)
            with tf.GradientTape() as tape:
                terms = self._objective.terms(x, adversarial, y, number)
            gradients = tape.gradient(terms["loss"], [variable.value for variable in variables])
            self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
            names[:] = terms
            return tf.stack(list(terms.values()))  # one value to wait for, not one for each term

        return names, compiled(step, self._signature)
