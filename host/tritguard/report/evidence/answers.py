"""The attacked samples with the bytes that the model answers: what a repetition compares with."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tritguard.errors import BadInputError
from tritguard.predictor import Int8, Outputs

FILE = "inputs.npz"

_MOST_BYTES = 1 << 30
# What reading a foreign archive may raise: for encrypted members a RuntimeError, for compression methods that Python
# does not know a NotImplementedError, for an array that claims to be larger than the memory a MemoryError.
_NOT_READ = (
    OSError,
    ValueError,
    KeyError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    zipfile.BadZipFile,
)


@dataclass(frozen=True)
class CleanAnswers:
    """The clean samples of a result, and what the deployed model answers to each.

    Attributes:
        x: int8[n, *input_shape], in the order of the provenance's `sample_indices`.
        outputs: int8[n, k] scores, and the float64[n, k] logits where the model has them.
    """

    x: Int8
    outputs: Outputs

    def packed(self) -> bytes:
        """Write them as an uncompressed `.npz` with `x`, `scores` and, where there are any, `logits`."""
        written = io.BytesIO()
        if self.outputs.logits is None:
            np.savez(written, x=self.x, scores=self.outputs.scores)
        else:
            np.savez(written, x=self.x, scores=self.outputs.scores, logits=self.outputs.logits)
        return written.getvalue()


def read_answers(
    path: Path, count: int, shape: tuple[int, ...], threshold: float | None, *, streams: bool = False
) -> CleanAnswers:
    """Read what `CleanAnswers.packed` wrote; the file may come from anybody.

    Args:
        path: the file.
        count: how many samples it has to hold.
        shape: the shape of an input, without the batch.
        threshold: see `Outputs`.
        streams: whether a sample is any number of inputs, for a model with state.

    Raises:
        BadInputError: it is not such a file.
    """
    where, fix = str(path), "ask whoever filed the folder for it again"
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        # An uncompressed member is no larger than the file; a compressed one could fill the memory.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members) or path.stat().st_size > _MOST_BYTES:
            raise BadInputError("is compressed or larger than a gigabyte", where=where, fix=fix)
        with np.load(path, allow_pickle=False) as arrays:
            x, scores, logits = arrays["x"], arrays["scores"], arrays.get("logits")
    except _NOT_READ as error:
        raise BadInputError(f"is no file of inputs and answers ({error})", where=where, fix=fix) from error
    fits = (
        x.dtype == np.int8
        and len(x) == count
        and x.shape[1 + streams :] == shape
        and scores.dtype == np.int8
        and scores.ndim == 2
    )
    if logits is not None:
        fits &= logits.dtype == np.float64 and logits.shape == scores.shape
    if not fits or len(scores) != count:
        raise BadInputError(f"does not hold {count} inputs of {list(shape)} with their answers", where=where, fix=fix)
    return CleanAnswers(x, Outputs(scores, logits, threshold=threshold))
