"""Reading the model that is converted: an int8 `.tflite`, a Keras model, a SavedModel, or a training's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tritguard.data import Dataset
from tritguard.emit.bundle import MANIFEST
from tritguard.errors import BadInputError
from tritguard.train.config import CALIBRATION
from tritguard.train.config import MODEL as KERAS_MODEL

_KERAS_SUFFIXES = {".keras", ".h5", ".hdf5"}
_SAVED_MODEL = "saved_model.pb"
_TRAINING = "train"  # what runs and the guides call the folder of a training, which says nothing about the model


def title(model: Path, name: str | None) -> str:
    """Name a model: as the user says, else after its file; a training's `net/train` after the folder that holds it."""
    if name or not model.is_dir():
        return name or model.stem
    folder = model.resolve()
    return folder.parent.name if folder.name == _TRAINING and (folder / KERAS_MODEL).is_file() else folder.name


def calibration_of(model: Path, calibration: Path | None) -> Path | None:
    """Name the real inputs that `golden` takes the int8 ranges of a float model from; None for an int8 `.tflite`."""
    if (model / KERAS_MODEL).is_file():
        return calibration or model / CALIBRATION
    return calibration if model.suffix in _KERAS_SUFFIXES or (model / _SAVED_MODEL).is_file() else None


def golden(
    model: Path, calibration: Path | None, note: Callable[[str], None] | None = None, judge: Dataset | None = None
) -> bytes:
    """Read the golden int8 `.tflite`, or make it from a Keras model, a SavedModel or a training's folder.

    See `keras_to_tflite` for `note` and `judge`.

    Raises:
        BadInputError: the file cannot be read, or is a float model without calibration inputs.
        BadModelError: see `keras_to_tflite`.
    """
    calibration = calibration_of(model, calibration)
    if (model / KERAS_MODEL).is_file():
        model = model / KERAS_MODEL
    is_saved_model = (model / _SAVED_MODEL).is_file()
    if model.is_dir() and not is_saved_model:
        what = "a bundle is converted already" if (model / MANIFEST).is_file() else f"a folder without {KERAS_MODEL}"
        raise BadInputError(
            what, where=str(model), fix="give a .tflite, a Keras model, or what 'tritguard train' wrote"
        )
    if model.suffix not in _KERAS_SUFFIXES and not is_saved_model:
        try:
            return model.read_bytes()
        except OSError as error:
            raise BadInputError(f"cannot be read ({error.strerror})", where=str(model)) from error
    if calibration is None:
        raise BadInputError(
            "a float model needs real inputs to choose int8 ranges", where=str(model), fix="give --calibration FILE.npz"
        )
    from tritguard.convert import keras_to_tflite  # noqa: PLC0415 - imports TensorFlow

    return keras_to_tflite(model, calibration, note, judge)
