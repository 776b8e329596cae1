"""The view as an estimator of the Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

import logging
import warnings
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.base import Ball, Target
from tritguard.attack.view import DifferentiableView
from tritguard.errors import ToolMissingError

# The most samples per gradient call, which bounds memory. No more than these share a single call, because TensorFlow
# compiles anew for each batch size.
MAX_BATCH = 256
Loss = Literal["ce", "margin"]


def batch_size(target: Target) -> int:
    """How many samples one gradient call takes."""
    return min(len(target.x), MAX_BATCH)


def estimator(target: Target, ball: Ball, loss: Loss = "ce") -> Any:
    """ART's classifier around the target's view, in int8 steps, which clips inputs to the data range of the ball.

    It is cached by view, loss, range and rivals, because each classifier compiles functions of its own.

    Raises:
        ToolMissingError: ART is not installed, or the target has no view.
    """
    if target.view is None:
        raise ToolMissingError("a white-box attack needs the model's gradient view")
    rivals = b"" if target.rivals is None else target.rivals.tobytes()
    return _estimator(target.view, loss, (float(ball.low), float(ball.high)), rivals)


def evasion() -> Any:
    """ART's module of evasion attacks, imported without its warnings about packages that are not used here.

    Raises:
        ToolMissingError: ART or TensorFlow is not installed.
    """
    import_module("tritguard.train.backend")  # quiets TensorFlow before ART imports it
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from art.attacks import evasion as module  # noqa: PLC0415
    except ImportError as error:
        raise ToolMissingError(f"white-box attacks need {error.name}", fix="pip install 'tritguard[attack]'") from error
    logging.getLogger("art").setLevel(logging.ERROR)
    return module


@lru_cache(maxsize=4)
def _estimator(view: DifferentiableView, loss: Loss, limits: tuple[float, float], rivals: bytes) -> Any:
    evasion()
    from art.estimators.classification import TensorFlowV2Classifier  # noqa: PLC0415

    from tritguard.train.backend import keras, tf  # noqa: PLC0415

    compared = tf.constant(np.frombuffer(rivals, bool).reshape(-1, view.classes)) if rivals else None
    crossed = keras.losses.CategoricalCrossentropy(from_logits=True)

    def told_apart(one_hot: Any, logits: Any) -> Any:
        if compared is None:
            return logits
        mine = tf.gather(compared, tf.argmax(one_hot, axis=1)) | (one_hot > 0)
        return tf.where(mine, logits, tf.stop_gradient(tf.reduce_min(logits, axis=1, keepdims=True)))

    def entropy(one_hot: Any, logits: Any) -> Any:
        return crossed(one_hot, told_apart(one_hot, logits))

    def margin(one_hot: Any, logits: Any) -> Any:
        logits = told_apart(one_hot, logits)
        return tf.reduce_max(logits - 1e9 * one_hot, axis=1) - tf.reduce_sum(logits * one_hot, axis=1)

    return TensorFlowV2Classifier(
        model=view,
        nb_classes=view.classes,
        input_shape=view.input_shape,
        loss_object=margin if loss == "margin" else entropy,
        clip_values=limits,
    )


def one_hot(target: Target) -> NDArray[np.float32]:
    """float32[n, classes]: the labels that the loss is computed for, one-hot: the wanted ones, or the true ones."""
    assert target.view is not None
    return np.eye(target.view.classes, dtype=np.float32)[target.y if target.aim is None else target.aim]
