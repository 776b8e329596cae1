"""The twin: the bundle's C, the same code that ships, compiled for the host and called in batches."""

from __future__ import annotations

import ctypes
import re
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import prod
from pathlib import Path
from typing import ClassVar

import numpy as np
from typing_extensions import override

from tritguard.emit.bundle import Bundle
from tritguard.emit.trust import trusted_sources
from tritguard.host_compiler import build_library
from tritguard.predictor import Int8, Outputs, Predictor
from tritguard.processes import cores
from tritguard.resources import firmware_dir

_OPTIONS = ("-std=c11", "-O3", "-march=native", "-fwrapv", "-include", "twin.h")
_CHUNKS = (16, 64)  # inferences a thread takes at once, at least and at most; packing weights is shared among them
# A library has the one of these that its model needs.
_ONE, _SEVERAL = "twin_one.c", "twin_several.c"
_LAYER = re.compile(rb"^bool (tg_core_\w+)\(", re.MULTILINE)
_CALL = re.compile(rb"\btg_core_\w+")


class _Sizes(ctypes.Structure):
    """twin_sizes_t of `twin.h`."""

    _fields_ = (("input", ctypes.c_size_t), ("output", ctypes.c_size_t), ("logits", ctypes.c_size_t),
                ("in_order", ctypes.c_size_t), ("fixed", ctypes.c_size_t))  # fmt: skip


class Twin(Predictor):
    """A bundle's model compiled for the host; it predicts scores and logits.

    Args:
        bundle: the model to compile. The library is cached, see `build_library`.
        threads: how many inferences may run at the same time; by default one per core that this process may use.
        in_order: read and write as the device does, where faster layers would copy their input first. Outputs are the
            same unless the memory plan is wrong, which only this way shows.

    Raises:
        ToolMissingError: there is no C compiler.
        BuildError: the sources do not compile.
        BadInputError: see `trusted_sources`.
    """

    _fixed: ClassVar[bool] = (
        True  # whether nobody changes the library's weights, so that threads may keep what they unpack
    )

    def __init__(self, bundle: Bundle, threads: int | None = None, *, in_order: bool = False) -> None:
        self.bundle = bundle
        self.threads = threads or cores()
        self._library = self._load(_library(bundle))
        self._library.twin_run.restype = None
        logits = bundle.manifest.logits
        self._scale = None if logits is None else np.array(logits.scale)
        self._streams = bundle.manifest.state_bytes > 0
        inputs = prod(bundle.manifest.input_shape) * bundle.manifest.input_dtype.itemsize
        outputs = bundle.manifest.output_bytes
        self._sizes = _Sizes(inputs, outputs, 0 if logits is None else len(logits.scale), in_order, self._fixed)

    def _load(self, library: Path) -> ctypes.CDLL:
        return ctypes.CDLL(str(library))

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Threads that stay: attacks ask for small batches, a thousand times and more."""
        return ThreadPoolExecutor(self.threads)

    @override
    def predict(self, x: Int8) -> Outputs:
        scores, accumulators = self.run(x)
        logits = None if accumulators is None or self._scale is None else accumulators * self._scale
        threshold = self.bundle.manifest.label_rule.threshold_steps
        return (
            Outputs.of_streams(scores, logits, threshold)
            if self._streams
            else Outputs(scores, logits, threshold=threshold)
        )

    def run(self, x: Int8) -> tuple[Int8, np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None]:
        """Run the model on int8[n, *input_shape], or on streams int8[n, frames, *input_shape] of a model with state.

        A model with several inputs takes them joined in one row, as `Manifest.input_shape` describes. Inputs and scores
        of 16 bits are int16.

        Returns:
            int8[n, k] scores and the raw int32[n, k] accumulators; None in their place if the model has no logits. For
            streams, [n, frames, k].

        Raises:
            BadInputError: x has the wrong dtype or shape.
        """
        manifest = self.bundle.manifest
        manifest.check_inputs(x)
        x = np.ascontiguousarray(x)
        frames = x.shape[1] if self._streams else 1
        shape = (*x.shape[: 1 + self._streams], manifest.output_size)
        scores = np.empty(shape, dtype=manifest.output_dtype)
        accumulators = None if manifest.logits is None else np.empty(shape, dtype=np.int32)

        least, most = _CHUNKS
        size = max(least, min(most, -(-len(x) // self.threads)))

        def chunk(start: int) -> None:
            end = min(start + size, len(x))
            self._library.twin_run(
                ctypes.c_size_t(end - start),
                ctypes.c_size_t(frames),
                ctypes.byref(self._sizes),
                x[start:end].ctypes.data_as(ctypes.c_void_p),
                scores[start:end].ctypes.data_as(ctypes.c_void_p),
                None if accumulators is None else accumulators[start:end].ctypes.data_as(ctypes.c_void_p),
            )

        starts = range(0, len(x), size)
        if self.threads == 1 or len(starts) < 2:
            for start in starts:
                chunk(start)
        else:
            list(self._pool.map(chunk, starts))
        return scores, accumulators


def _library(bundle: Bundle) -> Path:
    sources = trusted_sources(bundle)
    own = {file.name: file.read_bytes() for file in (firmware_dir() / "twin").iterdir()}
    sources |= own
    several = bool(bundle.manifest.further_inputs or bundle.manifest.further_outputs)
    del sources[_ONE if several else _SEVERAL]
    common = {file.name for file in (firmware_dir() / "kernels").glob("*.c")} | (own.keys() - {_SEVERAL})
    sources = _called(sources)
    return build_library("the twin", _OPTIONS, sources, cache="twin", common=common)


def _called(sources: dict[str, bytes]) -> dict[str, bytes]:
    """The sources without those of the host's own layers (tg_host_layers.h) that no other source calls."""
    layers = {name: set(_LAYER.findall(content)) for name, content in sources.items() if name.endswith(".c")}
    while True:
        calls = {
            call
            for name, made in layers.items()
            if name in sources
            for call in _CALL.findall(sources[name])
            if call not in made
        }
        idle = {name for name, made in layers.items() if name in sources and made and not made & calls}
        if not idle:
            return sources
        sources = {name: content for name, content in sources.items() if name not in idle}
