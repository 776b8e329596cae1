"""A picture of clean and robust accuracy and flash: scripts/bench robustness front CLAIM.json ... --out FRONT.svg

CLAIM.json is what `scripts/bench robustness claim` left; of several, all of one table at one eps, each net is taken
from the first that has it. Each net is a circle at its clean accuracy and what PGD-20
leaves at the eps of the rows; its area is the firmware's flash. A bar is the 95 % interval, a dash below it the worst
case over the preset `standard`, and a cross the claim itself (82.44 and 33.59 %) where the data is CIFAR-10.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from tests.bench.robustness_claim import Claimed, Claims
from tritguard.errors import BadInputError
from tritguard.files import write_whole
from tritguard.records import from_json

_CLAIM = {"cifar10": (0.8244, 0.3359)}
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 760, 470, 64, 24, 34, 56
_AREA = 7.0  # square units a kB of flash
_STYLE = (
    ".g{stroke:#dfe5ee;stroke-width:1}.x{stroke:#3b5b92;stroke-width:1.5;fill:none}"
    ".c{fill:#3b5b92;fill-opacity:.3;stroke:#3b5b92;stroke-width:1.5}.d{stroke:#a86a1d;stroke-width:2.5}"
    ".t{font-size:15px;font-weight:bold;fill:#1d2d4d}.s{font-size:12.5px;fill:#33415c}.n{font-size:12px;fill:#55617a}"
)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="robustness front", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("claims", type=Path, nargs="+", help="claim-TABLE.json")
    parser.add_argument("--out", type=Path, required=True, help="the SVG to write")
    options = parser.parse_args(arguments)
    write_whole(options.out, drawing(joined([from_json(Claims, path) for path in options.claims])))


def joined(claims: Sequence[Claims]) -> Claims:
    """The nets of several calls for one table at one eps; the first of each name counts."""
    if len({(each.table, row.eps) for each in claims for row in each.rows}) > 1:
        raise BadInputError("rows of other tables or eps", where="robustness front", fix="give files of one")
    rows = {row.name: row for each in reversed(claims) for row in each.rows}
    return claims[0].model_copy(update={"rows": tuple(rows.values())})


def drawing(claims: Claims) -> str:
    """The picture as SVG."""
    title = f"Clean against robust accuracy against flash: {claims.table}"
    left = {row.name for row in sorted(claims.rows, key=lambda row: row.clean.value)[::2]}  # neighbours' words part
    nets = (part for row in _largest_first(claims) for part in _net(row, to_the_left=row.name in left))
    body = "\n".join([*_axes(claims), *nets])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="Helvetica, Arial, sans-serif">\n<style>{_STYLE}</style>\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _largest_first(claims: Claims) -> list[Claimed]:
    return sorted(claims.rows, key=lambda row: -row.flash_bytes)


def _x(share: float) -> float:
    """The place of a clean accuracy; the axis is from 40 to 100 %, and what lies below is drawn at its end."""
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (max(share, 0.4) - 0.4) / 0.6


def _y(share: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share)


def _axes(claims: Claims) -> Iterator[str]:
    right, floor = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        yield f'<path class="g" d="M{_LEFT} {y:.1f}H{right}"/>'
        yield f'<text class="n" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{percent}</text>'
    for percent in range(40, 101, 10):
        x = _x(percent / 100)
        yield f'<path class="g" d="M{x:.1f} {_TOP}V{floor}"/>'
        yield f'<text class="n" x="{x:.1f}" y="{floor + 18}" text-anchor="middle">{percent}</text>'
    yield f'<path class="x" d="M{_LEFT} {_TOP}V{floor}H{right}"/>'
    eps = claims.rows[0].eps
    yield f'<text class="s" x="{right}" y="{floor + 40}" text-anchor="end">clean accuracy, %</text>'
    yield f'<text class="s" x="{_LEFT - 40}" y="{_TOP - 14}">left by PGD-20 at {eps:.2f} steps, %; bar: 95 %</text>'
    yield f'<path class="d" d="M{_WIDTH - 300} {_TOP - 18}h14"/>'
    yield f'<text class="s" x="{_WIDTH - 280}" y="{_TOP - 14}">worst case; area of a circle: flash</text>'
    if claims.table in _CLAIM:
        clean, robust = _CLAIM[claims.table]
        x, y = _x(clean), _y(robust)
        yield f'<path class="x" d="M{x - 7:.1f} {y - 7:.1f}l14 14M{x - 7:.1f} {y + 7:.1f}l14 -14"/>'
        yield f'<text class="s" x="{x + 12:.1f}" y="{y + 4:.1f}">the claim</text>'


def _net(row: Claimed, *, to_the_left: bool) -> Iterator[str]:
    x, y = _x(row.clean.value), _y(row.pgd.share(row.eps))
    radius = math.sqrt(_AREA * row.flash_bytes / 1000 / math.pi)
    low, high = row.pgd.interval(row.eps)
    yield f'<circle class="c" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'
    yield f'<path class="x" d="M{x:.1f} {_y(high):.1f}V{_y(low):.1f}"/>'
    if row.worst is not None:
        yield f'<path class="d" d="M{x - 7:.1f} {_y(row.worst.share(row.eps)):.1f}h14"/>'
    beside, anchor = (x - radius - 6, "end") if to_the_left else (x + radius + 6, "start")
    yield f'<text class="t" x="{beside:.1f}" y="{y - 2:.1f}" text-anchor="{anchor}">{escape(row.name)}</text>'
    kilobytes = f"{row.flash_bytes / 1000:.0f} kB"
    yield f'<text class="s" x="{beside:.1f}" y="{y + 13:.1f}" text-anchor="{anchor}">{kilobytes}</text>'
