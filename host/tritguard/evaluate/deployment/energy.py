"""The energy of an inference, measured: a current log, cut where a pin of the board marks inferences."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError
from tritguard.evaluate.deployment.current_log import CurrentLog, Float, read_current_log
from tritguard.evaluate.deployment.result import DeploymentResult, Energy, Spread

_DURATION = 0.05  # share by which marks may be longer or shorter than the time of an inference that the board measures
_LEAST_SAMPLES = 10  # samples of an inference; with fewer, its two ends decide how much energy it takes


def measure_energy(
    path: Path,
    *,
    marks: str | None = None,
    above: float | None = None,
    volts: float | None = None,
    rate_hz: float | None = None,
) -> Energy:
    """Cut a current log into inferences and integrate each; a sample stands for the time half way to its neighbours.

    Args:
        path: the log; see `read_current_log`.
        marks: the digital input that the board's pin is at, such as `D0`.
        above: for a log without inputs: the current in amperes above which an inference runs.
        volts: the supply's voltage; not needed for a log that holds it.
        rate_hz: samples per second, for a log without times.

    Raises:
        BadInputError: the log cannot be read, has no such input, holds no whole inference or too few samples of one,
            the voltage is not known, or both `marks` and `above` are given.
    """
    log = read_current_log(path, rate_hz)
    high, named = _running(log, path, marks, above)
    starts, ends = _stretches(high)
    where = str(path)
    if len(starts) == 0:
        raise BadInputError(f"{named} marks no whole inference", where=where, fix="log it while the board is asked")
    if int(np.median(ends - starts)) < _LEAST_SAMPLES:
        few = f"an inference has {int(np.median(ends - starts))} samples, of at least {_LEAST_SAMPLES} that it takes"
        raise BadInputError(few, where=where, fix="log more samples a second")
    watts = log.amperes * _volts(log, where, volts)
    edges = _edges(log.seconds)
    energy = np.concatenate([[0.0], np.cumsum(watts * np.diff(edges))])
    begin, end = edges[starts], edges[ends]
    joules = energy[ends] - energy[starts]
    idle = _idle(log.seconds, watts, high)
    return Energy(
        log=path.name,
        log_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        format=log.format,
        marks=named,
        volts=float(np.mean(_volts(log, where, volts))),
        volts_measured=log.volts is not None and volts is None,
        samples_hz=float(1 / np.median(np.diff(log.seconds))),
        inferences=len(starts),
        joules=Spread.of(joules),
        joules_above_idle=None if idle is None else Spread.of(joules - idle * (end - begin)),
        idle_watts=idle,
        seconds=Spread.of(end - begin),
    )


def check_against(energy: Energy, result: DeploymentResult, where: str) -> None:
    """Make sure that a log and a result are of the same run.

    Raises:
        BadInputError: there are not as many marks as inferences, they last longer or shorter than the board measured,
            or the board was emulated, where nothing draws a current.
    """
    if result.firmware.emulated:
        what = "the result is of an emulated board, which draws no current"
        raise BadInputError(what, where=where, fix="run evaluate on the board whose current was logged")
    ran = result.latency.runs * result.latency.frames
    if energy.inferences != ran:
        what = f"the log marks {energy.inferences:,} inferences, the result has {ran:,}"
        raise BadInputError(what, where=where, fix="log from before evaluate until after it")
    told, marked = result.latency.milliseconds / 1000, energy.seconds.median
    if abs(marked - told) > _DURATION * told + 2 / energy.samples_hz:
        what = f"a mark lasts {1000 * marked:.3f} ms, the board measured {1000 * told:.3f} ms"
        raise BadInputError(what, where=where, fix="name the input that the board's mark is at")


def _running(log: CurrentLog, path: Path, marks: str | None, above: float | None) -> tuple[NDArray[np.bool_], str]:
    """When inferences run, bool[n], and the name of what shows it: an input or a threshold of the current."""
    if above is not None and marks is not None:
        what = f"is to be cut both by its input {marks} and by the current"
        raise BadInputError(what, where=str(path), fix="give --marks or --above, not both")
    if above is not None:
        return log.amperes > above, f"current above {1000 * above:g} mA"
    name = (marks or (next(iter(log.inputs)) if len(log.inputs) == 1 else "")).lower()
    if name in log.inputs:
        return log.inputs[name], name.upper()
    have = ", ".join(log.inputs).upper() or "none"
    what = f"has no input {marks}" if marks else "does not say which input marks inferences"
    raise BadInputError(what, where=str(path), fix=f"name one of its inputs ({have}) by --marks, or --above mA")


def _stretches(high: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first sample of each high stretch, and the first one after it, without stretches that the log's ends cut."""
    change = np.flatnonzero(np.diff(high.astype(np.int8))) + 1
    starts = change[high[change]]
    ends = change[~high[change]]
    ends = ends[ends > starts[0]] if len(starts) else ends[:0]
    return starts[: len(ends)], ends


def _edges(seconds: Float) -> Float:
    """The times from which each of n samples stands for the current, and when the last one ends: float64[n + 1]."""
    middles = (seconds[1:] + seconds[:-1]) / 2
    edges: Float = np.concatenate([[seconds[0]], middles, [seconds[-1]]])
    return edges


def _volts(log: CurrentLog, where: str, volts: float | None) -> Float:
    found = log.volts if volts is None else np.full(len(log.seconds), volts)
    if found is None:
        raise BadInputError("holds no voltage", where=where, fix="say the supply's, with --volts")
    if not np.isfinite(found).all() or found.mean() <= 0:
        what = "holds gaps or zero for the voltage" if volts is None else f"a supply of {volts:g} V drives no board"
        raise BadInputError(what, where=where, fix="say the supply's, with --volts")
    return found


def _idle(seconds: Float, watts: Float, high: NDArray[np.bool_]) -> float | None:
    """The mean power between inferences; None if there is no time between them."""
    first, last = np.flatnonzero(high)[[0, -1]]
    between = ~high[first:last]
    return float(watts[first:last][between].mean()) if between.any() else None
