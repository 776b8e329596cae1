"""The twin: the bundle's C, which is what ships, compiled for the host and called in batches."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs

from tritguard.emit.bundle import Bundle
from tritguard.errors import BadInputError, BuildError, ToolMissingError
from tritguard.predictor import Int8, Outputs

_FLAGS = (
    "-std=c11", "-O3", "-march=native", "-fPIC", "-shared", "-fvisibility=default",
    "-Wall", "-Wextra", "-Werror", "-DTG_ARENA_STORAGE=_Thread_local",
)  # fmt: skip
_BATCH = """
#include "tg_model.h"
#include <stddef.h>
void twin_run(size_t count, const int8_t *input, int8_t *output, int32_t *logits);
void twin_run(size_t count, const int8_t *input, int8_t *output, int32_t *logits)
{
    for (size_t i = 0; i < count; i++) {
        tg_model_run(input + (i * TG_INPUT_BYTES), output + (i * TG_OUTPUT_BYTES),
                     logits == NULL ? NULL : logits + (i * TG_LOGIT_COUNT));
    }
}
"""
_CHUNK = 16


class Twin:
    """A bundle's model on the host; a Predictor with scores and logits.

    Args:
        bundle: what to compile. The library is cached by the hash of sources, compiler and flags.
        threads: inferences at the same time; all cores by default.

    Raises:
        ToolMissingError: no C compiler.
        BuildError: the sources do not compile.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.bundle = bundle
        self._threads = threads or os.cpu_count() or 1
        self._library = ctypes.CDLL(str(_library(bundle)))
        self._library.twin_run.restype = None
        logits = bundle.manifest.logits
        self._scale = None if logits is None else np.array(logits.scale)

    def predict(self, x: Int8) -> Outputs:
        """Run int8[n, *input_shape]."""
        scores, accumulators = self.run(x)
        logits = None if accumulators is None or self._scale is None else accumulators * self._scale
        return Outputs(scores, logits)

    def run(self, x: Int8) -> tuple[Int8, np.ndarray[tuple[int, ...], np.dtype[np.int32]] | None]:
        """Run int8[n, *input_shape]; int8[n, k] scores and the raw int32[n, k] accumulators, if the model has them.

        Raises:
            BadInputError: x has another dtype or shape.
        """
        manifest = self.bundle.manifest
        if x.dtype != np.int8 or x.shape[1:] != manifest.input.shape:
            raise BadInputError(f"{x.dtype}{list(x.shape)} for a model that takes int8[n, {manifest.input.shape}]")
        x = np.ascontiguousarray(x)
        outputs = int(np.prod(manifest.output.shape))
        scores = np.empty((len(x), outputs), dtype=np.int8)
        accumulators = None if manifest.logits is None else np.empty((len(x), outputs), dtype=np.int32)

        def chunk(start: int) -> None:
            end = min(start + _CHUNK, len(x))
            self._library.twin_run(
                ctypes.c_size_t(end - start),
                x[start:end].ctypes.data_as(ctypes.c_void_p),
                scores[start:end].ctypes.data_as(ctypes.c_void_p),
                None if accumulators is None else accumulators[start:end].ctypes.data_as(ctypes.c_void_p),
            )

        starts = range(0, len(x), _CHUNK)
        if self._threads == 1 or len(starts) < 2:
            for start in starts:
                chunk(start)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                list(pool.map(chunk, starts))
        return scores, accumulators


def _library(bundle: Bundle) -> Path:
    compiler = os.environ.get("CC") or next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None or shutil.which(compiler) is None:
        raise ToolMissingError("no C compiler for the twin", fix="install gcc or clang, or set CC")
    sources = sorted(bundle.c_dir.glob("*.c"))
    identity = hashlib.sha256(repr((_FLAGS, _BATCH, _version(compiler))).encode())
    for file in sorted(bundle.c_dir.iterdir()):
        identity.update(file.name.encode() + file.read_bytes())
    cache = Path(platformdirs.user_cache_dir("tritguard")) / "twin"
    library = cache / f"{identity.hexdigest()[:32]}.so"
    if library.is_file():
        return library
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        batch = Path(scratch) / "batch.c"
        batch.write_text(_BATCH)
        built = Path(scratch) / "twin.so"
        command = [compiler, *_FLAGS, f"-I{bundle.c_dir}", *map(str, sources), str(batch), "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[:200])
            raise BuildError(f"the twin does not compile ({first})", where=str(bundle.c_dir))
        built.replace(library)
    return library


def _version(compiler: str) -> str:
    """The compiler and the processor it tunes for: a cache shared between machines must tell them apart."""
    command = [compiler, "-march=native", "-E", "-v", "-x", "c", os.devnull]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "\n".join(line for line in done.stderr.splitlines() if "version" in line or "march" in line)
