"""Compares the answers of a float model with those of its int8 form, to show what the conversion changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tflite
from numpy.typing import NDArray

from tritguard.convert.check import input_quantization
from tritguard.data import to_input_bytes
from tritguard.errors import BadInputError, BadModelError
from tritguard.oracle import Oracle, builtin_code, oracle_available, registered_name, registered_ops
from tritguard.predictor import LabelRule

COMPARED_INPUTS = 256  # an inference in TFLM takes about 10 ms


@dataclass(frozen=True)
class Comparison:
    """How many samples get the same class from both models and, if labels are known, the right one from each."""

    samples: int
    same: int
    float_right: int | None
    int8_right: int | None

    def __str__(self) -> str:
        """The comparison as one line of text."""
        text = f"int8 answers as the float model on {self.same} of {self.samples} inputs"
        if self.float_right is None or self.int8_right is None:
            return text
        before, after = self.float_right / self.samples, self.int8_right / self.samples
        return f"accuracy {before:.1%} as float, {after:.1%} as int8; {text}"


def compare(
    answers: NDArray[np.float32], content: bytes, x: NDArray[np.float32], y: NDArray[np.int64] | None = None
) -> Comparison | None:
    """Compare a float model's answers with those of the `.tflite` it became.

    Args:
        answers: float32[n, *output_shape], the outputs of the float model.
        content: the `.tflite` file.
        x: float32[n, *input_shape] in the model's input unit.
        y: int64[n], the labels, or None.

    Returns:
        The comparison; None if TensorFlow Lite Micro's interpreter is not installed, lacks an op of the model or
        refuses it, or if the output has no class (see `LabelRule`). Reading the model's ops says why it is refused.

    Raises:
        BadInputError: a label is not one of the model's classes.
    """
    if not oracle_available() or not _all_registered(content):
        return None
    try:
        oracle = Oracle(content)
    except BadModelError:
        return None
    rule = oracle.label_rule
    if rule.kind == "none":
        return None
    if y is not None and y.max(initial=0) >= rule.classes:
        raise BadInputError(
            f"the data has label {y.max()}, but the model has {rule.classes} classes", fix="give data of its classes"
        )
    wanted = _float_labels(answers.reshape(len(answers), -1), rule)
    got = oracle.predict(to_input_bytes(x, *input_quantization(content))).labels
    return Comparison(
        samples=len(x),
        same=int((wanted == got).sum()),
        float_right=None if y is None else int((wanted == y).sum()),
        int8_right=None if y is None else int((got == y).sum()),
    )


def _all_registered(content: bytes) -> bool:
    """Whether the interpreter has every op of a model. It would write to the terminal about each one that it lacks."""
    model = tflite.Model.GetRootAs(content)
    names = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}
    used = (names.get(builtin_code(model.OperatorCodes(place)), "") for place in range(model.OperatorCodesLength()))
    return {registered_name(name) for name in used} <= registered_ops()


def _float_labels(answers: NDArray[np.float32], rule: LabelRule) -> NDArray[np.int64]:
    """int64[n], the classes of a float model's flattened answers, float32[n, k]."""
    if rule.threshold is not None:
        return (answers[:, 0] > rule.threshold).astype(np.int64)
    return np.asarray(answers.argmax(axis=1), np.int64)
