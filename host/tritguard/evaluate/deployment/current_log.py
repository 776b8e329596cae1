"""Reads logs of a board's current, as the instruments' own programs export them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.errors import BadInputError

Float = NDArray[np.float64]

_SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_AMPERES = {"a": 1.0, "ma": 1e-3, "ua": 1e-6, "µa": 1e-6, "na": 1e-9}
_VOLTS = {"v": 1.0, "mv": 1e-3}
_COLUMN = re.compile(r"^(?P<name>[^(\[]+?)\s*(?:[(\[]\s*(?P<unit>[^)\]]+?)\s*[)\]])?$")
_BITS = "d0-d7"  # the Power Profiler's eight inputs as one string, D0 first
_BITS_COUNT = 8
_TOKEN = re.compile(r"(\d{4})([+-]\d{2})")  # PowerShield: mantissa and exponent of ten, in amperes


@dataclass(frozen=True)
class CurrentLog:
    """A log of n samples.

    Attributes:
        format: the instrument whose export it is.
        seconds: float64[n], when each was taken, rising.
        amperes: float64[n].
        volts: float64[n]; None if the log does not hold the voltage.
        inputs: the digital inputs by name, bool[n] each.
    """

    format: str
    seconds: Float
    amperes: Float
    volts: Float | None
    inputs: dict[str, NDArray[np.bool_]]


def read_current_log(path: Path, rate_hz: float | None = None) -> CurrentLog:
    """Read a CSV file with a header, or the PowerShield's stream of decimal tokens.

    The header names `Timestamp(ms),Current(uA)` and any of `D0-D7` and `D0` to `D7` (Nordic's Power Profiler Kit II),
    or `time`, `current`, perhaps `voltage`, and inputs such as `gpi0`, in s, A and V unless a unit stands in brackets
    (Joulescope, and STM32CubeMonitor-Power for the X-NUCLEO-LPM01A).

    Args:
        path: the file.
        rate_hz: samples per second, for a log without times.

    Raises:
        BadInputError: the file cannot be read, or is none of these.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        raise BadInputError(f"cannot be read ({error.strerror})", where=str(path)) from error
    header = next((at for at, line in enumerate(lines[:50]) if "current" in line.lower()), None)
    if header is not None:
        return _from_table(path, lines[header].lstrip("# "), lines[header + 1 :], rate_hz)
    tokens = [match for line in lines for match in _TOKEN.findall(line)]
    if not tokens:
        raise BadInputError(
            "holds no current",
            where=str(path),
            fix="export CSV with a header that names the current, or log the PowerShield's decimal stream",
        )
    amperes = np.array([int(mantissa) * 10.0 ** int(exponent) for mantissa, exponent in tokens])
    return CurrentLog("LPM01A", _spaced(path, len(amperes), rate_hz), amperes, None, {})


def _spaced(path: Path, count: int, rate_hz: float | None) -> Float:
    if rate_hz is None:
        raise BadInputError("holds no times", where=str(path), fix="say how many samples it has a second, with --rate")
    if not 0 < rate_hz < np.inf:
        raise BadInputError(
            f"cannot have {rate_hz:g} samples a second", where=str(path), fix="say how many, with --rate"
        )
    times: Float = np.arange(count) / rate_hz
    return times


@dataclass(frozen=True)
class _Column:
    name: str
    unit: str | None
    cells: Sequence[str]

    def numbers(self, units: dict[str, float], path: Path) -> Float:
        """The column, float64[n], in the unit whose factor is 1; a column that names no unit is in that one."""
        factor = units.get(self.unit or next(iter(units)))
        if factor is None:
            known = ", ".join(units)
            raise BadInputError(f"column {self.name} is in {self.unit}, which is none of {known}", where=str(path))
        try:
            return np.array(self.cells, dtype=np.float64) * factor
        except ValueError as error:
            raise BadInputError(f"column {self.name} holds no numbers ({error})", where=str(path)) from error


def _from_table(path: Path, header: str, rows: list[str], rate_hz: float | None) -> CurrentLog:
    separator = next((mark for mark in (";", "\t") if mark in header), ",")
    names = [name.strip().strip('"') for name in header.split(separator)]
    cells = [row.split(separator) for row in rows if row.strip() and not row.startswith("#")]
    uneven = next((at for at, row in enumerate(cells, start=1) if len(row) != len(names)), None)
    if uneven is not None or not cells:
        what = "has no samples" if uneven is None else f"sample {uneven} does not have {len(names)} columns"
        raise BadInputError(what, where=str(path), fix="export it again")
    columns = [_column(name, values) for name, values in zip(names, zip(*cells, strict=True), strict=True)]

    def first(test: Callable[[str], bool]) -> _Column | None:
        return next((column for column in columns if test(column.name)), None)

    time, current = first(lambda name: name.startswith("time")), first(lambda name: "current" in name)
    voltage = first(lambda name: "voltage" in name)
    if current is None:
        raise BadInputError(
            "no column is the current", where=str(path), fix="export CSV with the header of the samples"
        )
    amperes = current.numbers(_AMPERES, path)
    seconds = _spaced(path, len(amperes), rate_hz) if time is None else time.numbers(_SECONDS, path)
    if len(seconds) < 2 or not (np.isfinite(seconds).all() and np.isfinite(amperes).all()):
        raise BadInputError("holds gaps instead of numbers", where=str(path), fix="export a stretch without gaps")
    if (np.diff(seconds) <= 0).any():
        raise BadInputError("its times do not rise", where=str(path), fix="export one stretch of time")
    return CurrentLog(
        format="Power Profiler Kit II" if names[0].startswith("Timestamp") else "CSV",
        seconds=seconds,
        amperes=amperes,
        volts=None if voltage is None else voltage.numbers(_VOLTS, path),
        inputs=_inputs([column for column in columns if column not in (time, current, voltage)], path),
    )


def _column(title: str, cells: Sequence[str]) -> _Column:
    match = _COLUMN.match(title)
    name, unit = (title, None) if match is None else (match["name"], match["unit"])
    return _Column(name.strip().lower(), unit.lower() if unit else None, [cell.strip() for cell in cells])


def _inputs(columns: list[_Column], path: Path) -> dict[str, NDArray[np.bool_]]:
    """The columns that hold nothing but ones and zeros, by name; the Power Profiler's string gives eight."""
    found: dict[str, NDArray[np.bool_]] = {}
    for column in columns:
        if column.name == _BITS:
            if (long := max(map(len, column.cells))) > _BITS_COUNT:
                what = f"column {column.name} holds {long} characters for its {_BITS_COUNT} inputs"
                raise BadInputError(what, where=str(path), fix="export it again")
            bits = np.array([[cell == "1" for cell in row.zfill(_BITS_COUNT)] for row in column.cells])
            found |= {f"d{i}": bits[:, i] for i in range(bits.shape[1])}
        elif set(column.cells) <= {"0", "1", "0.0", "1.0"}:
            found[column.name] = np.array([cell.startswith("1") for cell in column.cells])
    return found
