"""Post-training quantization by TensorFlow Lite's converter to full int8, with an int8 input and output."""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadModelError
from tritguard.train.backend import compiled, tf

Float32 = NDArray[np.float32]


def quantize(model: Any, samples: Float32) -> bytes:
    """Convert a float model to an int8 `.tflite` with a batch of 1; see `to_int8`.

    The converter gets the traced function alone. With the model as well, as TensorFlow advises, it would save both and
    load them again, which takes four times as long and gives the same network.

    Args:
        model: keras.Model with one input and without ternary layers.
        samples: float32[n, *input_shape], real inputs.

    Raises:
        BadModelError: TensorFlow cannot trace the model, or the converter refuses it.
    """
    signature = tf.TensorSpec((1, *model.input.shape[1:]), tf.float32, name="input")
    with _one_error():
        function: Any = compiled(partial(model, training=False), [signature])
        return to_int8(tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]), samples)


def to_int8(converter: Any, samples: Float32) -> bytes:
    """Run TensorFlow Lite's converter for full int8.

    Weights are symmetric, with a scale for each output channel that makes its largest magnitude 127. Activations have
    the ranges that they take on `samples`.

    Args:
        converter: tf.lite.TFLiteConverter of a model with one input and a batch of 1.
        samples: float32[n, *input_shape], real inputs.

    Raises:
        BadModelError: the converter refuses the model. The message quotes the last line of its output.
    """
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([sample[None]] for sample in samples)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    with _one_error():
        return bytes(converter.convert())


@contextmanager
def _one_error() -> Iterator[None]:
    """Turn any error of TensorFlow in the block into a BadModelError, and suppress what TensorFlow writes to stderr."""
    with _captured_stderr() as chatter:
        try:
            yield
        except BadModelError:
            raise
        except Exception as error:  # the converter raises many kinds of errors
            last = (str(error).strip() or chatter()).splitlines()[-1:]
            raise BadModelError(f"TensorFlow Lite cannot convert it ({' '.join(last)})") from error


@contextmanager
def _captured_stderr() -> Iterator[Callable[[], str]]:
    """Capture what this process, including C++ code, writes to file descriptor 2, and yield a function that returns it.

    TensorFlow's converter logs there at every log level. In a notebook, Python's own log goes elsewhere, so its
    warnings are suppressed: they are advice, and `quantize` says why it does not follow it.
    """
    log = logging.getLogger("absl")
    level = log.level
    with tempfile.TemporaryFile() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log.setLevel(logging.ERROR)
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)

        def read() -> str:
            file.seek(0)
            return file.read().decode(errors="replace")

        try:
            yield read
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            log.setLevel(level)
