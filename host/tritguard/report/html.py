"""The report of a run as one HTML file that loads nothing: styles, drawings and pictures are inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.report import chart, lines, pictures, summary, wording
from tritguard.report.explained import explained
from tritguard.report.study import Part
from tritguard.report.templating import environment


def render(result: RobustnessResult, studies: Sequence[Part] = ()) -> str:
    """Lay out the report of a run.

    Args:
        result: the robustness evaluation.
        studies: other studies of the same model, each with what is shown of it.

    Raises:
        BadInputError: the bytes of a picture do not fill its shape.
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
        "memory_map": summary.memory_map(result.footprint),
        "drawings": [
            (picture, pictures.draw(picture, f"pictures[{index}]")) for index, picture in enumerate(result.pictures)
        ],
        "geometry": chart,
        "studies": studies,
        "lines": lines,
        "say": wording,
        "explained": explained,
    }
    return environment().get_template("report.html.jinja").render(context)
