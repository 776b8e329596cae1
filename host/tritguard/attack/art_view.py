"""The view as an estimator of the Adversarial Robustness Toolbox (ART)."""

from __future__ import annotations

import logging
import os
from typing import Any

from tritguard.attack.base import INT8_MAX, INT8_MIN, Target
from tritguard.errors import ToolMissingError


def estimator(target: Target) -> Any:
    """ART's classifier of the target's view, in int8 steps.

    Raises:
        ToolMissingError: ART or TensorFlow is not installed, or the target has no view.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf  # noqa: PLC0415 - takes seconds to import
        from art.estimators.classification import TensorFlowV2Classifier  # noqa: PLC0415
    except ImportError as error:
        raise ToolMissingError(f"white-box attacks need {error.name}", fix="pip install 'tritguard[attack]'") from error
    logging.getLogger("art").setLevel(logging.ERROR)
    if target.view is None:
        raise ToolMissingError("a white-box attack needs the model's gradient view")
    return TensorFlowV2Classifier(
        model=target.view,
        nb_classes=target.view.classes,
        input_shape=target.view.input_shape,
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(float(INT8_MIN), float(INT8_MAX)),
    )


def one_hot(target: Target) -> Any:
    """float32[n, classes] of the true labels."""
    import numpy as np  # noqa: PLC0415

    assert target.view is not None
    return np.eye(target.view.classes, dtype=np.float32)[target.y]
