"""The optimizer of a training: Adam in one operation for each variable, and the course of its learning rate."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from tritguard.train.backend import keras, tf
from tritguard.train.config import TrainConfig

_RISE = 0.25  # the share of a one-cycle training in which its learning rate rises
_FIRST = 1 / 25  # the share of the highest learning rate at which it starts, as in the paper's later experiments


class _Adam(keras.optimizers.Adam):  # type: ignore[misc]
    """Keras's Adam in one operation per variable, instead of twenty, which are most of a small network's step."""

    @override
    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Move one variable and its two moments."""
        index, step = self._get_variable_index(variable), tf.cast(self.iterations + 1, tf.float32)
        tf.raw_ops.ResourceApplyAdam(
            var=_handle(variable), m=_handle(self._momentums[index]), v=_handle(self._velocities[index]),
            beta1_power=tf.pow(self.beta_1, step), beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(learning_rate, tf.float32), beta1=self.beta_1, beta2=self.beta_2, epsilon=self.epsilon,
            grad=gradient,
        )  # fmt: skip


def _handle(variable: Any) -> Any:
    return (variable if isinstance(variable, tf.Variable) else variable.value).handle


def make_optimizer(config: TrainConfig, steps: int, variables: list[Any]) -> Any:
    """Make Adam, or AdamW if there is a weight decay.

    Args:
        config: the settings.
        steps: the number of steps of the training.
        variables: the variables to train. Those with a single axis, biases and the batch norms', do not decay.

    Returns:
        keras.optimizers.Adam, built.
    """
    optimizer = _Adam(
        learning_rates(config, steps),
        weight_decay=config.weight_decay or None,
        use_ema=config.average > 0,
        ema_momentum=config.average,
        name="adam",
    )
    optimizer.exclude_from_weight_decay([variable for variable in variables if len(variable.shape) < 2])
    optimizer.build(variables)
    return optimizer


def learning_rates(config: TrainConfig, steps: int) -> Any:
    """The learning rate in each of the steps: a function of the step's number, from 0.

    `cosine` falls from the highest rate to zero along a half cosine (Loshchilov and Hutter 2017, arXiv 1608.03983);
    `one-cycle` first rises to it in a quarter of the training (Smith and Topin 2017, arXiv 1708.07120; momentum stays).
    """
    rates = keras.optimizers.schedules.CosineDecay
    if config.schedule == "cosine":
        return rates(config.learning_rate, steps)
    rise = round(_RISE * steps)
    first = config.learning_rate * _FIRST
    return rates(first, max(1, steps - rise), warmup_target=config.learning_rate, warmup_steps=rise)
