"""The one type for data sets, its `.npz` file, and the conversion of samples to a model's int8 input."""

from __future__ import annotations

import hashlib
import io
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.data.mfcc import CLIP_SAMPLES, COEFFICIENTS, FRAMES, mfcc
from tritguard.errors import BadInputError
from tritguard.files import write_whole

SampleArray = NDArray[Any]  # int8, int16, uint8 or float32, [n, *input_shape]
Labels = NDArray[np.int64]

PIXEL_UNIT = "pixel/255"
WHOLE_PIXEL_UNIT = "pixel, 0 to 255"
_SURROGATES = (0xD800, 0xDFFF)  # halves of UTF-16 pairs, which are no characters
_RANGES = {PIXEL_UNIT: (0.0, 1.0), WHOLE_PIXEL_UNIT: (0.0, 255.0)}  # the ranges of float32 samples by their unit
_PIXEL_SCALES = (1 / 255, 1.0)  # input scales at which int8 steps are pixels: models fed with x/255, or with x
_SCALE_TOLERANCE = 0.01
_MOST_CLASSES = 1 << 16  # far more than a microcontroller tells apart; a larger label is a mark, such as 2**32 - 1
_COMPARED = 8  # recordings of a file whose features are computed again
_ASTRAY = 1.0  # 16 bits move the features of spoken digits by 0.5 at most; those of another recording are 100 away
_FILE_FIX = (
    "give an .npz with x_test, y_test and optionally classes, x_train, y_train, name, input_unit, value_range, licence"
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled samples.

    Attributes:
        name: what reports call it.
        x_test: the test samples, [n, *input_shape]: int8 or int16 (input steps of a model, used unchanged), uint8
            (pixels 0 to 255) or float32 (in the input unit).
        y_test: int64[n], indices into `classes`.
        classes: the names of the classes.
        input_unit: what the value 1.0 means in a float32 sample: "pixel/255" if it is a pixel of 255, "MFCC" for
            features.
        licence: the licence of the samples, or "unknown".
        x_train: samples to train on, of the same dtype and shape as `x_test`, or None.
        y_train: their labels, int64[n], or None.
        holds_features: whether samples are features that a front end computed, so that a changed one may fit no sound.
        value_range: the lowest and the highest value that a sample can hold, in the samples' own unit; None if the data
            set says nothing. See `own_range`.
        sound_test: int16[n, 16000], the second of sound at 16 kHz that each test sample was computed from by `mfcc`, or
            None.
    """

    name: str
    x_test: SampleArray
    y_test: Labels
    classes: tuple[str, ...]
    input_unit: str
    licence: str
    x_train: SampleArray | None = None
    y_train: Labels | None = None
    holds_features: bool = False
    value_range: tuple[float, float] | None = None
    sound_test: NDArray[np.int16] | None = None

    @property
    def own_range(self) -> tuple[float, float] | None:
        """The lowest and the highest value that a sample can hold, in the samples' own unit.

        It is `value_range` if the data set has one, and otherwise the range of pixels if it holds pixels. Features and
        input steps of an unknown origin have none.
        """
        if self.value_range is not None:
            return self.value_range
        if self.x_test.dtype == np.uint8:
            return 0.0, 255.0
        return _RANGES.get(self.input_unit) if self.x_test.dtype == np.float32 else None

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the arrays (dtype, shape, bytes) and the classes, independent of how a file packs them."""
        digest = hashlib.sha256()
        for array in (self.x_test, self.y_test, self.x_train, self.y_train, self.sound_test):
            if array is not None:
                digest.update(f"{array.dtype.str}{array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
        digest.update("\0".join(self.classes).encode())
        return digest.hexdigest()

    def check_labels(self, classes: int) -> None:
        """Check the labels of the test set against the number of classes of a model.

        Raises:
            BadInputError: a label is not below `classes`.
        """
        if (highest := int(self.y_test.max())) >= classes:
            raise BadInputError(
                f"has label {highest}, but the model has {classes} classes",
                where=self.name,
                fix="give the data that the model was trained for, labelled from 0",
            )

    def unit_at(self, scale: float) -> str:
        """The unit of a model's input with this scale. Pixels fit both models fed with x/255 and models fed with x."""
        whole = self.x_test.dtype == np.uint8 and abs(scale - 1) <= _SCALE_TOLERANCE
        return WHOLE_PIXEL_UNIT if whole and self.input_unit == PIXEL_UNIT else self.input_unit


def to_input_bytes(
    x: SampleArray, scale: float, zero_point: int, dtype: np.dtype[Any] | type = np.int8
) -> NDArray[np.int8]:
    """Put samples on a model's input grid, real value = scale * (step - zero_point).

    Args:
        x: [n, *input_shape]. Steps of the grid's own type are returned unchanged; float32 is rounded as in TFLite's
            QUANTIZE op (half away from zero) and saturated; uint8 pixels 0 to 255 become -128 to 127.
        scale: the input's scale, positive.
        zero_point: the input's zero point.
        dtype: the type of the steps, int8 or int16.

    Returns:
        The steps, dtype[n, *input_shape].

    Raises:
        BadInputError: x has another dtype, a value is not finite, or x holds pixels but the model's steps are not
            pixels.
    """
    grid = np.dtype(dtype)
    if x.dtype == grid:
        return np.asarray(x, grid)
    if x.dtype == np.uint8:
        if grid != np.int8 or not _is_pixel_grid(scale, zero_point):
            raise BadInputError(
                f"samples are uint8 pixels, but the model's {grid} input has scale {scale:g} and zero point "
                f"{zero_point}",
                fix=f"give float32 samples in the model's input unit, or {grid} samples",
            )
        return np.asarray(x.astype(np.int16) - 128, np.int8)
    if x.dtype != np.float32:
        raise BadInputError(f"samples are {x.dtype}, the model takes {grid}", fix=f"give {grid} or float32")
    if not np.isfinite(x).all():
        raise BadInputError("samples hold NaN or infinity")
    steps = (x / np.float32(scale)).astype(np.float64)
    rounded = np.trunc(steps + np.copysign(0.5, steps)) + zero_point
    return np.asarray(np.clip(rounded, np.iinfo(grid).min, np.iinfo(grid).max), grid)


def _is_pixel_grid(scale: float, zero_point: int) -> bool:
    return zero_point == -128 and any(abs(scale / pixel - 1) <= _SCALE_TOLERANCE for pixel in _PIXEL_SCALES)


def read_dataset(path: Path) -> Dataset:
    """Read a data set from an `.npz` file.

    Its arrays have the names of the fields of `Dataset`; `x` and `y` alone are taken as a test set. Without `classes`,
    the classes are named by their numbers. float64 samples become float32. Nothing is ever unpickled.

    Raises:
        BadInputError: the file cannot be read, holds pickled objects, its samples and labels do not fit together, or a
            label is too large to be a class index.
    """
    arrays = _read_arrays(path)
    x_test, y_test = _part(arrays, ("x_test", "y_test"), path) or _part(arrays, ("x", "y"), path) or (None, None)
    if x_test is None or y_test is None:
        found = ", ".join(sorted(arrays)) or "nothing"
        raise BadInputError(f"no x_test and y_test (or x and y); found {found}", where=str(path), fix=_FILE_FIX)
    x_train, y_train = _part(arrays, ("x_train", "y_train"), path) or (None, None)
    if x_train is not None and (x_train.dtype, x_train.shape[1:]) != (x_test.dtype, x_test.shape[1:]):
        raise BadInputError("x_train and x_test differ in dtype or shape", where=str(path))
    highest = max(int(y.max(initial=0)) for y in (y_test, y_train) if y is not None)
    classes = tuple(map(str, arrays["classes"].ravel())) if "classes" in arrays else _digits(highest + 1)
    if highest >= len(classes):
        raise BadInputError(f"label {highest}, but only {len(classes)} classes", where=str(path))
    return Dataset(
        name=_text(arrays, "name", path.stem),
        x_test=x_test,
        y_test=y_test,
        classes=classes,
        input_unit=_text(arrays, "input_unit", PIXEL_UNIT if x_test.dtype == np.uint8 else "unknown"),
        licence=_text(arrays, "licence", "unknown"),
        x_train=x_train,
        y_train=y_train,
        holds_features=_holds_features(arrays, path),
        value_range=_value_range(arrays, path),
        sound_test=_sound(arrays, x_test, path),
    )


def read_samples(path: Path) -> SampleArray:
    """The samples of an `.npz` file without labels: `x`, else `x_train`, else `x_test`.

    Returns:
        int8, int16, uint8 or float32[n, *input_shape]; float64 becomes float32.

    Raises:
        BadInputError: the file cannot be read, holds pickled objects, or has none of these arrays, or the array is not
            int8, int16, uint8 or finite float32.
    """
    arrays = _read_arrays(path)
    for key in ("x", "x_train", "x_test"):
        if key in arrays:
            return _checked_samples(arrays[key], key, path)
    raise BadInputError("no x, x_train or x_test", where=str(path), fix=_FILE_FIX)


def write_dataset(path: Path, dataset: Dataset) -> None:
    """Write a data set as an `.npz` file that `read_dataset` can read."""
    arrays: dict[str, Any] = {
        "x_test": dataset.x_test,
        "y_test": dataset.y_test,
        "classes": np.array(dataset.classes),
        "name": np.array(dataset.name),
        "input_unit": np.array(dataset.input_unit),
        "licence": np.array(dataset.licence),
        "holds_features": np.array(dataset.holds_features),
    }
    if dataset.value_range is not None:
        arrays["value_range"] = np.array(dataset.value_range)
    if dataset.sound_test is not None:
        arrays["sound_test"] = dataset.sound_test
    if dataset.x_train is not None and dataset.y_train is not None:
        arrays |= {"x_train": dataset.x_train, "y_train": dataset.y_train}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_whole(path, buffer.getvalue())


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                return {name: _checked_array(array, name, path) for name, array in loaded.items()}
    except BadInputError:
        raise
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror or error})", where=str(path)) from error
    except Exception as error:  # NumPy and zipfile raise many kinds of errors on a broken or pickled file
        what = "not an .npz of plain arrays (pickled objects are refused)"
        raise BadInputError(what, where=str(path), fix=_FILE_FIX) from error
    raise BadInputError("a single array, not an .npz", where=str(path), fix=_FILE_FIX)


def _checked_array(array: Any, name: str, path: Path) -> NDArray[Any]:
    """Check that a member of an archive is an array, which NumPy otherwise gives as bytes, and that text is text."""
    if not isinstance(array, np.ndarray):
        raise BadInputError(f"{name} is no array", where=str(path), fix=_FILE_FIX)
    if array.dtype.kind == "U" and array.dtype.itemsize:
        codes = np.ascontiguousarray(array).reshape(-1).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if ((codes > sys.maxunicode) | ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1]))).any():
            raise BadInputError(f"{name} holds text that is not Unicode", where=str(path))
    return array


def _part(arrays: dict[str, NDArray[Any]], keys: tuple[str, str], path: Path) -> tuple[SampleArray, Labels] | None:
    """The checked samples and labels with these two keys, or None if the file has neither."""
    present = [key in arrays for key in keys]
    if not any(present):
        return None
    if not all(present):
        raise BadInputError(f"{keys[present.index(True)]} without {keys[present.index(False)]}", where=str(path))
    x, y = _checked_samples(arrays[keys[0]], keys[0], path), arrays[keys[1]]
    if y.shape != x.shape[:1]:
        what = f"{keys[0]} has shape {x.shape}, but {keys[1]} {y.shape}"
        raise BadInputError(what, where=str(path), fix="give (n, ...) and (n,)")
    if y.dtype.kind not in "iu" or y.min() < 0:
        raise BadInputError(f"{keys[1]} is not class indices from 0", where=str(path))
    if (highest := int(y.max())) >= _MOST_CLASSES:
        raise BadInputError(
            f"{keys[1]} has label {highest} at place {int(y.argmax())}, which is no class index "
            f"(at most {_MOST_CLASSES:,} classes)",
            where=str(path),
            fix="leave out samples that are marked as having no label",
        )
    return x, y.astype(np.int64)


def _checked_samples(x: NDArray[Any], key: str, path: Path) -> SampleArray:
    if x.dtype == np.float64:
        with np.errstate(over="ignore"):  # what becomes infinite is refused below
            x = x.astype(np.float32)
    if x.dtype not in (np.int8, np.int16, np.uint8, np.float32):
        raise BadInputError(f"{key} is {x.dtype}", where=str(path), fix="give int8, int16, uint8 or float32 samples")
    if x.ndim < 2 or x.size == 0:
        raise BadInputError(f"{key} has shape {x.shape}", where=str(path), fix="give (n, ...) with n > 0")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise BadInputError(f"{key} holds NaN or infinity", where=str(path))
    return x


def _holds_features(arrays: dict[str, NDArray[Any]], path: Path) -> bool:
    """Whether a file says that it holds features; one that does not say holds them if its unit is one of MFCC."""
    if "holds_features" not in arrays:
        return "MFCC" in _text(arrays, "input_unit", "").upper()
    said = arrays["holds_features"]
    if said.dtype != np.bool_ or said.size != 1:
        raise BadInputError("holds_features is not true or false", where=str(path))
    return bool(said.item())


def _value_range(arrays: dict[str, NDArray[Any]], path: Path) -> tuple[float, float] | None:
    if "value_range" not in arrays:
        return None
    said = arrays["value_range"]
    if said.dtype.kind not in "iuf" or said.shape != (2,) or not np.isfinite(said).all() or said[0] >= said[1]:
        raise BadInputError("value_range is not a lowest and a higher highest value", where=str(path))
    return float(said[0]), float(said[1])


def _sound(arrays: dict[str, NDArray[Any]], x_test: SampleArray, path: Path) -> NDArray[np.int16] | None:
    if "sound_test" not in arrays:
        return None
    said, wanted = arrays["sound_test"], (len(x_test), CLIP_SAMPLES)
    if said.dtype != np.int16 or said.shape != wanted:
        what = f"sound_test is {said.dtype}{list(said.shape)}, int16{list(wanted)} is wanted"
        raise BadInputError(what, where=str(path), fix="give one second at 16 kHz for each test sample")
    if x_test.shape[1:] != (FRAMES, COEFFICIENTS, 1) or x_test.dtype != np.float32:
        what = f"sound_test beside samples of {x_test.dtype}{list(x_test.shape[1:])}, which are not its MFCC"
        raise BadInputError(what, where=str(path), fix="give float32 samples as 'tritguard data FOLDER' computes them")
    rows = np.unique(np.linspace(0, len(said) - 1, _COMPARED).astype(int))
    apart = np.abs(mfcc(said[rows] / np.float32(32768)) - x_test[rows]).reshape(len(rows), -1).max(axis=1)
    if (apart > _ASTRAY).any():
        row = int(rows[apart.argmax()])
        what = f"x_test is not the MFCC of sound_test: sample {row} is {apart.max():.3g} away from its recording's"
        raise BadInputError(what, where=str(path), fix="give each sample its own recording, in the same order")
    return said


def _digits(count: int) -> tuple[str, ...]:
    return tuple(str(i) for i in range(count))


def _text(arrays: dict[str, NDArray[Any]], key: str, default: str) -> str:
    return str(arrays[key]) if key in arrays else default
