"""Imports TensorFlow and Keras quietly. Everything that needs them imports them from this module.

Modules that the command line loads must not import this one at their top, because TensorFlow takes seconds to import.

Raises:
    ToolMissingError: on import, if TensorFlow is not installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from tritguard.errors import ToolMissingError
from tritguard.heavy_imports import heavy_imports


@contextmanager
def _without_notes() -> Iterator[None]:
    """Drop the notes of TensorFlow's C++ code while it is imported: its log level does not apply to these yet."""
    try:
        kept = os.dup(2)
    except OSError:  # a process without a standard error has nothing to keep clean
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not line.startswith(_NOTES)))


_NOTES = (b"I0000 ", b"WARNING: All log messages before absl::InitializeLog()")

# TensorFlow and Keras read these on import. A user who wants TensorFlow's messages sets the level beforehand.
_wanted = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") in ("0", "1", "2")
os.environ["KERAS_BACKEND"] = "tensorflow"

try:
    with heavy_imports(), nullcontext() if _wanted else _without_notes():
        import keras
        import tensorflow as tf
except ImportError as error:
    raise ToolMissingError(
        f"TensorFlow cannot be imported ({error})",
        fix="pip install 'tritguard[attack]' ('tritguard[train]' to train only)",
    ) from error

tf.get_logger().setLevel("ERROR")
keras.config.set_image_data_format("channels_last")  # the only order TFLite has; a user's keras.json may say otherwise


def compiled(function: Callable[..., Any], signature: Sequence[Any] | None = None) -> Callable[..., Any]:
    """The function as a TensorFlow graph, traced at its first call; tritguard makes all its graphs in this way.

    Python's `if` and `for` are followed while it is traced, never turned into ops of the graph: the rewriting of all
    source code that is called, Keras's included, would take about as long as the tracing itself. What depends on a
    tensor's value is written with `tf.cond` or `tf.while_loop`.

    Args:
        function: takes and returns tensors.
        signature: a tf.TensorSpec for each argument, for one trace; by default each shape is traced anew.
    """
    graph: Callable[..., Any] = tf.function(
        function, input_signature=signature, autograph=False, jit_compile=False
    )  # XLA is several times slower here
    return graph


__all__ = ["compiled", "keras", "tf"]
