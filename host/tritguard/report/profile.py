"""A profile as a table in the terminal, and as one HTML file with a bar for each layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tritguard.printable import printable
from tritguard.profile import FunctionWork, LayerWork, Profile, Work
from tritguard.report.chart import FILLS
from tritguard.report.templating import environment
from tritguard.report.wording import count, megahertz, percent, short_op

_METHODS = {
    "counted": "counted exactly in the emulator, in the firmware that ships",
    "timed": "measured by the board's own timer between layers",
}
_NAMED_FUNCTIONS, _NAMED_IN_ALL, _LEAST_PERCENT = 3, 8, 1
_LABEL_WIDTH, _VALUE_WIDTH, _ROW_HEIGHT = 170, 90, 22
_WIDTH = 560


@dataclass(frozen=True)
class Unit:
    """A unit that layers are compared in."""

    name: str
    of: Callable[[Work], int | None]


_UNITS = (
    Unit("estimated cycles", lambda work: work.cycles),
    Unit("instructions", lambda work: work.instructions),
    Unit("ticks", lambda work: work.ticks),
)
_CYCLES = Unit("cycles", lambda work: work.ticks)


def _known(profile: Profile) -> list[Unit]:
    """The units that the whole profile has, the one nearest to time first; a real board's ticks may be cycles."""
    units = [unit for unit in _UNITS if unit.of(profile.total) is not None]
    return [_CYCLES if unit.name == "ticks" and profile.ticks_are_cycles else unit for unit in units]


def unit_of(profile: Profile) -> Unit:
    """Choose the unit nearest to time that the whole profile has."""
    return _known(profile)[0]


def table(profile: Profile) -> Group:
    """Lay out the layers, their sum, and the functions that take their time, for a terminal of 80 columns."""
    unit = unit_of(profile)
    known = _known(profile)
    grid = Table(box=None, show_footer=True, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("", justify="right", no_wrap=True)
    grid.add_column("op", "all", overflow="fold")
    grid.add_column("weights", no_wrap=True)
    for name, footer in (
        *((column.name, _number(column.of(profile.total))) for column in known),
        ("%", ""),
        ("MAC", count(profile.macs)),
        ("instr./MAC", _ratio(profile.total.instructions, profile.macs)),
        ("flash", _known_bytes(profile, _constants(profile))),
        ("arena", count(profile.arena_bytes)),
    ):
        heading = Text(name.replace("instructions", "instr.").replace(" ", "\n").replace("/", "/\n"), justify="right")
        grid.add_column(heading, footer, justify="right", no_wrap=True)
    for layer in profile.layers:
        grid.add_row(
            str(layer.layer),
            _plain(short_op(layer.op)),
            _plain("" if layer.weight_format == "none" else layer.weight_format),
            *(_number(column.of(layer.work)) for column in known),
            f"{100 * _share(unit, layer.work, profile):.0f}",
            count(layer.macs) if layer.macs else "",
            _ratio(layer.work.instructions, layer.macs),
            _known_bytes(profile, layer.flash_bytes),
            _known_bytes(profile, layer.arena_bytes),
        )
    outside = [f"outside of the layers: {_number(unit.of(profile.outside))} {unit.name}"] if profile.layers else []
    return Group(
        Text(_heading(profile), style="bold"),
        grid,
        *_where(unit, profile),
        *(Text(f"{layer.layer} is far from the best: {layer.far}") for layer in profile.layers if layer.far),
        *(Text(line, style="dim") for line in (*outside, *_whole(unit, profile))),
    )


def _whole(unit: Unit, profile: Profile) -> list[str]:
    """Say which functions take the time of an engine that does not tell its layers apart, and how to make it do so."""
    if not profile.outside_functions:
        return []
    named = ", ".join(_shares(unit, profile.outside_functions, profile.outside, _NAMED_IN_ALL))
    return [f"by function: {printable(named)}", "layer by layer: build with --profile, and profile that"]


def _where(unit: Unit, profile: Profile) -> list[Table]:
    """Lay out a line for each layer with its functions; no table if functions are not known."""
    lines = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, show_header=False)
    lines.add_column(justify="right", no_wrap=True)
    lines.add_column(overflow="fold")
    for layer in profile.layers:
        if named := _functions(unit, layer):
            lines.add_row(str(layer.layer), _plain(", ".join(named)))
    return [lines] if lines.rows else []


def page(profile: Profile) -> str:
    """Lay out the profile as one HTML file that loads nothing."""
    unit = unit_of(profile)
    return (
        environment()
        .get_template("profile.html.jinja")
        .render(
            profile=profile,
            heading=_heading(profile),
            unit=unit,
            units=_known(profile),
            bars=_bars(unit, profile),
            functions=lambda layer: _functions(unit, layer),
            ratio=_ratio,
            number=_number,
            share=lambda work: percent(_share(unit, work, profile)),
            width=_WIDTH,
            row_height=_ROW_HEIGHT,
            constants=_constants(profile),
            known_bytes=lambda amount: _known_bytes(profile, amount),
            whole=_whole(unit, profile),
            count=count,
            megahertz=megahertz,
        )
    )


@dataclass(frozen=True)
class Bar:
    """One layer's bar, in the units of the drawing."""

    label: str
    value: str
    x: float
    y: float
    width: float
    fill: str


def _bars(unit: Unit, profile: Profile) -> list[Bar]:
    amounts = [unit.of(layer.work) or 0 for layer in profile.layers]
    scale = (_WIDTH - _LABEL_WIDTH - _VALUE_WIDTH) / max([1, *amounts])
    return [
        Bar(
            label=f"{layer.layer} {layer.op}",
            value=count(amount),
            x=_LABEL_WIDTH,
            y=index * _ROW_HEIGHT,
            width=amount * scale,
            fill=FILLS[layer.weight_format not in ("int8", "none")][0],
        )
        for index, (layer, amount) in enumerate(zip(profile.layers, amounts, strict=True))
    ]


def _heading(profile: Profile) -> str:
    where = f"{profile.board_name} ({profile.core}, {'emulated' if profile.emulated else 'real'})"
    engine = "" if profile.engine == "native" else ", in TensorFlow Lite Micro"
    return f"{profile.model} on {where}{engine}: one inference, {_METHODS[profile.method]}"


def _functions(unit: Unit, layer: LayerWork) -> list[str]:
    """Name the layer's heaviest functions, with their shares of it."""
    return _shares(unit, layer.functions, layer.work, _NAMED_FUNCTIONS)


def _shares(unit: Unit, functions: Sequence[FunctionWork], work: Work, most: int) -> list[str]:
    whole = unit.of(work) or 1
    shares = [(_readable(part.name), 100 * (unit.of(part.work) or 0) / whole) for part in functions[:most]]
    return [f"{name} {share:.0f} %" for name, share in shares if share >= _LEAST_PERCENT]


def _readable(symbol: str) -> str:
    """A function's name without its parameters where C++ has mangled it: `tflite::Run` for `_ZN6tflite3RunEv`."""
    rest = re.sub("^_Z(NK?)?", "", symbol)
    parts: list[str] = []
    while rest != symbol and (length := re.match("[0-9]+", rest)):
        end = length.end() + int(length[0])
        parts.append(rest[length.end() : end])
        rest = rest[end:]
    return "::".join(parts) or symbol


def _share(unit: Unit, work: Work, profile: Profile) -> float:
    return (unit.of(work) or 0) / (unit.of(profile.total) or 1)


def _constants(profile: Profile) -> int:
    return sum(layer.flash_bytes for layer in profile.layers)


def _known_bytes(profile: Profile, amount: int) -> str:
    """The bytes of layers, which are known for the native engine alone; otherwise empty."""
    return count(amount) if profile.engine == "native" else ""


def _number(amount: int | None) -> str:
    return "" if amount is None else count(amount)


def _ratio(amount: int | None, macs: int) -> str:
    return f"{amount / macs:.2f}" if amount is not None and macs else ""


def _plain(text: str) -> Text:
    return Text(printable(text))
