"""Functions of one element as tables: their ranges over intervals, and lines above and below them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tritguard.certify.box import Box
from tritguard.certify.lines import Lines
from tritguard.graph.arithmetic.fixed_point import INT8_MIN
from tritguard.graph.model import Float64, Int8, Int64

_SIZE = 256
_LEVELS = 9  # spans of 1, 2, 4 ... 256 entries
_SLACK = 1e-9  # more than float64's roundings in numbers below 2^17


@dataclass(frozen=True, eq=False)
class Tables:
    """Several tables of 256 entries.

    Attributes:
        values: int8[tables, 256]; entry i belongs to the input i - 128.
        spans: for each of the levels k, the least and the largest of the 2^k entries from each one on: two
            int8[levels, tables, 256].
    """

    values: Int8
    spans: tuple[Int8, Int8]

    @classmethod
    def of(cls, values: Int8) -> Tables:
        """Prepare tables, int8[tables, 256]."""
        least, most = [values], [values]
        for level in range(1, _LEVELS):
            half = 1 << (level - 1)
            later = np.minimum(np.arange(_SIZE) + half, _SIZE - 1)
            least.append(np.minimum(least[-1], least[-1][:, later]))
            most.append(np.maximum(most[-1], most[-1][:, later]))
        return cls(values, (np.stack(least), np.stack(most)))

    def bounds(self, which: Int64, source: Box) -> Box:
        """The least and the largest entry between the bounds of each element.

        Args:
            which: the table of each element, whole numbers that broadcast to the box.
            source: boxes of int8 values.
        """
        first, last = source.low - INT8_MIN, source.high - INT8_MIN
        level = np.floor(np.log2(np.maximum(last - first + 1, 1))).astype(np.int64)
        second = np.maximum(last - (1 << level) + 1, first)
        least, most = self.spans
        return Box(
            np.minimum(least[level, which, first], least[level, which, second]).astype(np.int64),
            np.maximum(most[level, which, first], most[level, which, second]).astype(np.int64),
        )

    def lines(self, which: Int64, source: Box) -> Lines:
        """Lines below and above all entries between the bounds of each element.

        Of a few slopes (flat, the chord, and the first and the last step) each side takes the one whose line is
        nearest in the middle; the line is moved until it touches the entries.
        """
        which = np.broadcast_to(which, source.low.shape)
        keys = np.stack([which.ravel(), source.low.ravel(), source.high.ravel()])
        unique, back = np.unique(keys, axis=1, return_inverse=True)
        found = self._unique_lines(*unique)
        return Lines(*(each[back.ravel()].reshape(source.low.shape) for each in found))

    def _unique_lines(self, which: Int64, low: Int64, high: Int64) -> tuple[Float64, Float64, Float64, Float64]:
        parts = [
            self._lines_of(which[start : start + _PART], low[start : start + _PART], high[start : start + _PART])
            for start in range(0, len(which), _PART)
        ]
        below, above, slopes_below, slopes_above = (np.concatenate(each) for each in zip(*parts, strict=True))
        return slopes_below, below, slopes_above, above

    def _lines_of(self, which: Int64, low: Int64, high: Int64) -> tuple[Float64, Float64, Float64, Float64]:
        every = np.arange(INT8_MIN, INT8_MIN + _SIZE)
        inside = (every >= low[:, None]) & (every <= high[:, None])
        values = self.values[which].astype(np.float64)
        rows, first, last = np.arange(len(which)), low - INT8_MIN, high - INT8_MIN
        next_, before = np.minimum(first + 1, last), np.maximum(last - 1, first)
        slopes = [
            np.zeros(len(which)),
            (values[rows, last] - values[rows, first]) / np.maximum(last - first, 1),
            values[rows, next_] - values[rows, first],
            values[rows, last] - values[rows, before],
        ]
        middle = (low + high) / 2
        best: list[Float64] = []
        for slope in slopes:
            rest = values - slope[:, None] * every
            below = np.where(inside, rest, np.inf).min(axis=1) - _SLACK
            above = np.where(inside, rest, -np.inf).max(axis=1) + _SLACK
            if not best:
                best = [below, above, slope.copy(), slope.copy()]
                continue
            nearer = slope * middle + below > best[2] * middle + best[0]
            best[0], best[2] = np.where(nearer, below, best[0]), np.where(nearer, slope, best[2])
            nearer = slope * middle + above < best[3] * middle + best[1]
            best[1], best[3] = np.where(nearer, above, best[1]), np.where(nearer, slope, best[3])
        return best[0], best[1], best[2], best[3]


_PART = 4096
