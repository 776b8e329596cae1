"""Where generated C computes other bytes than TFLM's interpreter, on the host and on an emulated core."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from tests import emulated
from tests.support.random_graphs import bundle_of_any_formats, sample_inputs
from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.graph import read_graph
from tritguard.oracle import Oracle
from tritguard.predictor import Int8
from tritguard.twin import Twin


def requantised(bundle: Bundle, accumulators: np.ndarray) -> np.ndarray:
    """The logits layer's int8 output from its accumulators, in NumPy: an implementation of its own of TFLM's rounding.

    accumulators: int32[n, k] -> int8[n, k].
    """
    logits = bundle.manifest.logits
    assert logits is not None
    shift = np.array(logits.shift, dtype=np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    shifted = (accumulators.astype(np.int64) << left).astype(np.int32).astype(np.int64)
    product = shifted * np.array(logits.multiplier, dtype=np.int64)
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # gemmlowp divides towards zero
    mask = (1 << right) - 1
    remainder, threshold = high & mask, (mask >> 1) + (high < 0)
    rounded = (high >> right) + (remainder > threshold)
    return np.clip(rounded + logits.zero_point, logits.act_min, logits.act_max).astype(np.int8)


def differences(content: bytes, x_of_shape: int | Int8, core: CoreClass = "m4") -> str | None:
    """What the host twin of a model computes, scores and logits, where it is not what the oracle does; None if nowhere.

    x_of_shape: the inputs, int8[n, ...], of a bundle as it is written by default; or a seed, from which both the
    inputs and the layers' weight formats are drawn.
    core: the class of cores whose kernels the twin runs.
    """
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(x_of_shape, int):
            bundle = bundle_of_any_formats(content, Path(folder), x_of_shape, core)
            x = sample_inputs(bundle.manifest.input_shape, x_of_shape)
        else:
            bundle, x = write_bundle(content, Path(folder) / "bundle", name="known", core=core), x_of_shape
        expected = Oracle(content).predict(x).scores
        for in_order in (True, False):
            scores, accumulators = Twin(bundle, threads=1, in_order=in_order).run(x)
            if not np.array_equal(scores, expected):
                ops = [layer.op for layer in bundle.manifest.layers]
                return f"{(scores != expected).sum()} of {scores.size} bytes, in order: {in_order}; {ops}"
        last = read_graph(content).ops[-1]
        if accumulators is not None and last.kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            assert np.array_equal(requantised(bundle, accumulators), expected)
        return None


def differences_on_core(core: emulated.Core, contents: list[bytes], seed: int) -> list[str]:
    """What an emulated core computes, scores and logits, where it is not what the oracle and the twin do."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = []
        for i, content in enumerate(contents):
            bundle = bundle_of_any_formats(content, folder / f"bundle_{i}", seed + i, core.core_class)
            cases.append(emulated.Case(bundle, sample_inputs(bundle.manifest.input_shape, seed + i)))
        found = []
        for i, (case, (scores, logits)) in enumerate(zip(cases, emulated.run(core, cases, folder), strict=True)):
            expected = Oracle(contents[i]).predict(case.x).scores.reshape(scores.shape)
            ops = [layer.op for layer in case.bundle.manifest.layers]
            if not np.array_equal(scores, expected):
                found.append(f"{(scores != expected).sum()} of {scores.size} bytes; {ops}")
            if case.bundle.manifest.logits is not None:
                accumulators = Twin(case.bundle, threads=1).run(case.x)[1]
                assert accumulators is not None
                if not np.array_equal(logits, accumulators.reshape(logits.shape)):
                    found.append(f"logits; {ops}")
        return found
