"""The table of samples as CSV, for spreadsheets and for those who want to count for themselves."""

from __future__ import annotations

import csv
import io

from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.table import HELD, SampleTable, count
from tritguard.printable import printable

FILE = "samples.csv"

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet takes a cell that begins with one of these for a formula


def table_of(result: RobustnessResult) -> SampleTable:
    """The result's table of samples.

    Raises:
        BadInputError: the result has none, as in schema version 1.
    """
    if result.samples is None:
        what, fix = "holds no table of samples, so that nothing can be counted again", "run the evaluation again"
        raise BadInputError(what, where="result.json", fix=fix)
    return result.samples


def samples_csv(result: RobustnessResult) -> str:
    """Write a line for each sample: its place in the test set, its label, what the device said, what broke it.

    `broken_at` is the smallest eps, in int8 steps, at which an attack broke the sample: 0 where the clean input is
    classified wrongly, empty where the sample held. Each further column is an attack at an eps, 1 where it broke.

    Raises:
        BadInputError: the result has no table of samples.
    """
    table, figures = table_of(result), count(table_of(result))
    rows = [*table.attacks, *table.doubled]
    names = [f"{row.attack} at eps {row.eps_steps}" for row in table.attacks]
    names += [f"{row.attack} with twice its steps at eps {row.eps_steps}" for row in table.doubled]
    written = io.StringIO()
    lines = csv.writer(written, lineterminator="\n")
    lines.writerow(["sample", "label", "predicted", "right", "broken_at", "broken_by", *map(_cell, names)])
    for place, index in enumerate(result.provenance.sample_indices):
        label, clean, first = table.labels[place], table.clean[place], int(figures.first[place])
        by = int(figures.by[place])
        worst = "" if first == HELD else first
        attack = _cell(rows[by].attack) if by >= 0 else ""
        lines.writerow([index, label, clean, int(label == clean), worst, attack, *(row.broken[place] for row in rows)])
    return written.getvalue()


def _cell(text: str) -> str:
    """Make a foreign text a cell that no spreadsheet takes for a formula."""
    text = printable(text)
    return f"'{text}" if text.startswith(_FORMULA) else text


def first_difference(found: str, expected: str) -> str | None:
    """Say where two tables differ first, by line and column; None if they are the same."""
    if found == expected:
        return None
    try:
        ours, theirs = (list(csv.reader(io.StringIO(text))) for text in (expected, found))
    except csv.Error as error:  # a line break inside a cell, or a cell of more than 131,072 characters
        return f"is no table ({error})"
    for number, (right, wrong) in enumerate(zip(ours, theirs, strict=False), start=1):
        for column, (cell, other) in enumerate(zip(right, wrong, strict=False)):
            if cell != other:
                name = ours[0][column] if column < len(ours[0]) else f"column {column + 1}"
                return f"line {number}, {printable(name)}: {printable(other)!r}, the result gives {printable(cell)!r}"
        if len(right) != len(wrong):
            return f"line {number}: has {len(wrong)} cells, the result gives {len(right)}"
    return f"has {len(theirs)} lines, the result gives {len(ours)}"
