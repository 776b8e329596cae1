"""The float model behind a deployed one, run and differentiated on the deployed model's input grid."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from tritguard.attack.view import DifferentiableView
from tritguard.emit.bundle import EdgeTensor
from tritguard.errors import BadInputError, BadModelError
from tritguard.predictor import Int8, Outputs

_BATCH = 1000
_SAMPLE_FIX = "give the float model that the deployed one was made from, with a batch of one or of any size"


class FloatModel(DifferentiableView):
    """A Keras model as a Predictor of int8 inputs, and as a view that attacks take gradients from.

    Its scores show the label only: 1 for the class of the largest logit, 0 for the others.

    Args:
        path: a `.keras` or `.h5` file or a Keras SavedModel. A softmax at its end is removed.
        grid: the deployed model's input tensor; the float model is given the real values it stands for.
        temperature: logits are divided by it when gradients are taken.
        stream: the shape of the samples, [frames, *input_shape], where the deployed model keeps state. The float model
            takes a whole stream at once, in this shape or with its frames laid end to end.

    Raises:
        BadInputError, BadModelError: see `tritguard.convert.archive.load_model`; BadInputError also if the model does
            not take such streams.
    """

    def __init__(
        self, path: Path, grid: EdgeTensor, temperature: float = 1.0, stream: tuple[int, ...] | None = None
    ) -> None:
        from tritguard.convert.archive import load_model  # noqa: PLC0415 - imports TensorFlow

        self._model = _without_softmax(load_model(path))
        self.input_shape = tuple(self._model.input.shape[1:])
        self._laid: tuple[int, ...] | None = None
        if stream is not None:
            self._laid, self.input_shape = _laid(stream, self.input_shape, path), stream
        elif self.input_shape != tuple(grid.shape):
            what = f"its input is {self.input_shape}, and samples are {tuple(grid.shape)}"
            raise BadModelError(what, where=str(path), fix=_SAMPLE_FIX)
        self.classes = int(self._model.output.shape[-1])
        self.temperature = temperature
        self._grid = grid

    @override
    def __call__(self, x: Any, training: bool = False) -> Any:
        """Logits divided by the temperature, as a TensorFlow tensor, of float32[n, *input_shape] in int8 steps."""
        return self._call(x) / self.temperature

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]."""
        parts = [self._call(x[at : at + _BATCH].astype(np.float32)).numpy() for at in range(0, len(x), _BATCH)]
        return _outputs(np.concatenate(parts))

    @override
    def _forward(self, x: Any) -> Any:
        real = (x - self._grid.zero_point) * np.float32(self._grid.scale)
        return self._model(real if self._laid is None else self._tf.reshape(real, (-1, *self._laid)), training=False)


class FloatTflite:
    """A float `.tflite` model, run by TensorFlow Lite, as a Predictor of int8 inputs; it has no gradients.

    Args:
        path: a model with one float32 input and one float32 output.
        grid: the deployed model's input tensor; the float model is given the real values it stands for.
        stream: see `FloatModel`.

    Raises:
        BadInputError: the model does not take such streams.
        BadModelError: TensorFlow Lite cannot run the model, or it does not have such an input and output.
    """

    def __init__(self, path: Path, grid: EdgeTensor, stream: tuple[int, ...] | None = None) -> None:
        from tritguard.train.backend import tf  # noqa: PLC0415

        fix = "give a float32 model with one input and one output"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the interpreter warns that it will move to another package
                self._interpreter = tf.lite.Interpreter(str(path))
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BadModelError(f"TensorFlow Lite cannot run it ({error})", where=str(path), fix=fix) from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1 or {inputs[0]["dtype"], outputs[0]["dtype"]} != {np.float32}:
            raise BadModelError("not a float32 model with one input and one output", where=str(path), fix=fix)
        shape = tuple(int(side) for side in inputs[0]["shape"])
        self._laid = grid.shape if stream is None else _laid(stream, shape[1:], path)
        wanted = (1, *self._laid)
        if shape != wanted:
            raise BadModelError(f"its input is {shape}, and samples are {wanted}", where=str(path), fix=_SAMPLE_FIX)
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self._grid = grid

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]."""
        real = (x.astype(np.float32) - self._grid.zero_point) * np.float32(self._grid.scale)
        answers = []
        for sample in real:
            self._interpreter.set_tensor(self._input, sample.reshape(1, *self._laid))
            self._interpreter.invoke()
            answers.append(self._interpreter.get_tensor(self._output).reshape(-1).copy())
        return _outputs(np.array(answers))


def open_float(path: Path, grid: EdgeTensor, stream: tuple[int, ...] | None = None) -> FloatModel | FloatTflite:
    """The float model in a file, a Keras model or a `.tflite`; see the two classes for arguments and errors raised."""
    if path.suffix == ".tflite":
        return FloatTflite(path, grid, stream)
    return FloatModel(path, grid, stream=stream)


def _laid(stream: tuple[int, ...], wanted: tuple[int, ...], path: Path) -> tuple[int, ...]:
    """The shape in which a model takes a stream: frame by frame, or laid end to end along the frames' first axis."""
    frames, *frame = stream
    end_to_end = (frames * frame[0], *frame[1:])
    if wanted in (stream, end_to_end):
        return wanted
    raise BadInputError(
        f"takes {list(wanted)}, the streams are {list(stream)}, or {list(end_to_end)} end to end",
        where=str(path),
        fix="give a float model that takes a whole stream at once",
    )


def _outputs(logits: NDArray[np.float32]) -> Outputs:
    """Outputs whose scores show the label only: logits rounded to int8 would lose most of what they tell."""
    scores = (np.arange(logits.shape[1]) == logits.argmax(axis=1)[:, None]).astype(np.int8)
    return Outputs(scores, logits.astype(np.float64))


def _without_softmax(model: Any) -> Any:
    from tritguard.train.backend import keras  # noqa: PLC0415

    last = model.layers[-1]
    if isinstance(last, keras.layers.Softmax) or getattr(last, "activation", None) is keras.activations.softmax:
        if isinstance(last, keras.layers.Softmax | keras.layers.Activation):
            return keras.Model(model.input, last.input)
        last.activation = keras.activations.linear
    return model
