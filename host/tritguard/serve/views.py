"""What the pages show of a run, in words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from tritguard.api.journal import RunProgress, StageProgress
from tritguard.evaluate.registry import kind_of
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Rate
from tritguard.report import summary
from tritguard.report import wording as say
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.serve.runs import Run

_WITHHELD = "withheld"


@dataclass(frozen=True)
class Stage:
    """A stage: its name, how much of it is done, from 0 to 1, and its numbers in words."""

    name: str
    share: float
    text: str


@dataclass(frozen=True)
class Row:
    """A run in the table of all.

    Attributes:
        board: that of its attacks' result; where there is none, the one it was asked to use.
        state: `running`, `done`, `stopped`, `failed` or `killed`.
        status: that of its leading result; empty where there is none.
        message: why it failed.
        comparable: whether it has attacks whose samples can be paired with another run's.
        stages: those of all verbs that worked in its folder, in the order they began.
        reports: the name of each study that has a report.
    """

    id: str
    name: str
    board: str
    data: str
    when: str
    state: str
    message: str
    status: str
    codes: str
    clean: str
    robust: str
    flash: str
    comparable: bool
    stage: Stage | None
    stages: tuple[Stage, ...]
    reports: tuple[str, ...]
    problems: tuple[str, ...]


def row(run: Run) -> Row:
    """Put a run in words; accuracies of an invalid result are withheld."""
    first, result, progress = (run.studies or (None,))[0], run.robustness, run.progress
    stages = _stages(progress)
    return Row(
        id=run.id,
        name=_name(run),
        board=_board(result, progress),
        data="" if first is None else first.provenance.data_name,
        when=_when(run),
        state=run.state,
        message=progress.message if progress is not None and progress.state == "failed" else "",
        status="" if first is None else first.status,
        codes="" if first is None else ", ".join(issue.code for issue in first.issues),
        clean=_clean(run),
        robust=_robust(run),
        flash="" if result is None else say.kib(result.footprint.flash_total),
        comparable=result is not None and result.samples is not None,
        stage=stages[-1] if stages and run.alive else None,
        stages=stages,
        reports=tuple(kind_of(study).name for study in run.studies),
        problems=run.problems,
    )


def _board(result: RobustnessResult | None, progress: RunProgress | None) -> str:
    if result is None:
        return "" if progress is None else progress.board
    return result.firmware.board_name + (" (emulated)" if result.firmware.emulated else "")


def _clean(run: Run) -> str:
    if run.robustness is None:
        return ""
    return _WITHHELD if run.robustness.status == "invalid" else say.percent(run.robustness.clean.value)


def _robust(run: Run) -> str:
    if run.robustness is None:
        return ""
    point, threat = summary.headline_point(run.robustness), run.robustness.threat_model
    if point is None:
        return _WITHHELD
    in_units = say.in_steps(threat.norm) and say.in_pixels(threat.input_unit)
    eps = say.eps(point.eps_input, threat.input_unit) if in_units else say.bound(point.eps_steps, threat.norm)
    return f"{say.percent(point.robust.value)} at eps {eps}"


def _name(run: Run) -> str:
    if run.robustness is not None:
        return run.robustness.provenance.model_name
    if run.progress is not None and run.progress.name:
        return run.progress.name
    return run.folder.name


def _when(run: Run) -> str:
    """The minute of the newest thing that the run says."""
    if run.progress is not None:
        return _in_minutes(run.progress.updated)
    return minute(max((study.provenance.created for study in run.studies), default=""))


def minute(stamp: str) -> str:
    """Write the time that a result states as all pages do; nothing if it is no time, as a result may state any text."""
    try:
        when = datetime.fromisoformat(stamp)
    except ValueError:
        return ""
    return _in_minutes(when if when.tzinfo else when.replace(tzinfo=UTC))


def _in_minutes(when: datetime) -> str:
    try:
        return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except OverflowError:  # the first or the last day that a datetime can hold, in another time zone
        return ""


def _stages(progress: RunProgress | None) -> tuple[Stage, ...]:
    if progress is None:
        return ()
    every = [(one.verb, one.stages) for one in progress.earlier] + [(progress.verb, progress.stages)]
    return tuple(_stage(stage, verb) for verb, stages in every for stage in stages)


def _stage(stage: StageProgress, verb: str) -> Stage:
    share = min(1.0, stage.done / stage.total) if stage.total else 1.0
    counted = f"{say.count(stage.done)} of {say.count(stage.total)}, " if stage.total > 1 else ""
    left = ""
    if 0 < share < 1 and stage.seconds > 1:
        left = f", about {_clock(stage.seconds * (1 - share) / share)} left"
    return Stage(f"{stage.step or verb}: {stage.name}", share, f"{counted}{_clock(stage.seconds)}{left}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def curve(run: Run) -> Chart | None:
    """Draw what attacks under way have left so far; None where none run."""
    seen = run.so_far
    if seen is None or not run.alive or not seen.points:
        return None
    points = []
    for point in seen.points:
        rate = Rate.of(point.held, seen.samples)
        points.append(Point(float(point.eps_steps), rate.value, rate.low, rate.high))
    ticks = tuple(point.x for point in points)
    return chart(
        "What attacks have left so far",
        [("so far, on the twin", points)],
        Axis("eps, int8 steps", ticks[0], max(ticks[-1], ticks[0] + 1), ticks, logarithmic=True),
        Axis("samples that hold, %", 0, 1, (0, 0.25, 0.5, 0.75, 1), percent=True),
    )
