"""The report as one HTML file that loads nothing: styles, drawings and pictures are inside it."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tritguard.evaluate.result import Result
from tritguard.report import chart, pictures, summary, wording


def render(result: Result) -> str:
    """The whole report as HTML.

    Raises:
        BadInputError: a picture's bytes do not fill its shape.
    """
    points = summary.robust_points(result)
    context: dict[str, Any] = {
        "result": result,
        "quotable": result.status != "invalid",
        "headline": summary.headline_point(result),
        "points": points,
        "curve": chart.curve(result.clean, points, len(result.classes)) if points else None,
        "groups": summary.attack_groups(result),
        "eps_input": summary.eps_in_input_units(result),
        "flash": chart.stacked_bar(summary.flash_parts(result.footprint)),
        "ram": chart.stacked_bar(summary.ram_parts(result.footprint)),
        "drawings": [
            (picture, pictures.draw(picture, f"pictures[{index}]")) for index, picture in enumerate(result.pictures)
        ],
        "geometry": chart,
        "say": wording,
    }
    return environment().get_template("report.html.jinja").render(context)


def environment() -> Environment:
    """Templates of this package; whatever a result says is escaped and made printable."""
    return Environment(
        loader=PackageLoader("tritguard.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _harmless(value: object) -> object:
    return wording.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
