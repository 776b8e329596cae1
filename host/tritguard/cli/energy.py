"""tritguard energy: measures what an inference takes, from a log of the board's current."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tritguard import api
from tritguard.cli.terminal import say, tell
from tritguard.report.wording import count, real


def command(
    log: Annotated[Path, typer.Argument(help="CSV of Joulescope or Power Profiler Kit II, or the LPM01A's stream.")],
    result: Annotated[
        Path | None, typer.Option("--result", "-r", help="The deployment.json of the logged run, which takes it in.")
    ] = None,
    marks: Annotated[str | None, typer.Option(help="The log's input that the board's mark is at, such as D0.")] = None,
    above: Annotated[
        float | None, typer.Option(min=0, help="For logs without inputs: mA above which an inference runs.")
    ] = None,
    volts: Annotated[float | None, typer.Option(min=0, help="The supply's, for logs without it.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Samples a second, for logs without times.")] = None,
) -> None:
    """Measure the energy of an inference: a current log, cut where the board's mark is high."""
    found = api.energy(
        log, result, marks=marks, above=None if above is None else above / 1000, volts=volts, rate_hz=rate
    )
    tell(found)
    spread, above_idle = found.joules, found.joules_above_idle
    say(f"{found.inferences} inferences, marked by {found.marks}")
    say(f"supply {real(found.volts)} V, {count(round(found.samples_hz))} samples a second")
    say(
        f"energy {real(1e6 * spread.mean)} uJ an inference, deviation {real(1e6 * spread.deviation)}, "
        f"{real(1e6 * spread.least)} to {real(1e6 * spread.most)}"
    )
    if above_idle is not None and found.idle_watts is not None:
        say(
            f"above idle ({real(1e3 * found.idle_watts)} mW) {real(1e6 * above_idle.mean)} uJ, "
            f"deviation {real(1e6 * above_idle.deviation)}"
        )
    say(f"an inference lasts {real(1e3 * found.seconds.mean)} ms by its marks")
    if result is not None:
        say(f"taken into {result} and its report")
