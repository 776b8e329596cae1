"""tritguard attack: attacks a deployed model and confirms every input on its device."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from tritguard.api import attack, corruptions, report, sound
from tritguard.attack.base import Access, Goal
from tritguard.attack.catalog import ATTACKS, Setting
from tritguard.attack.norms import NORMS
from tritguard.build import open_build
from tritguard.cli.data import read_dataset
from tritguard.cli.gates import AnnotationsOption, FailOnOption, FailUnderOption, JunitOption, leave_by_gates
from tritguard.cli.options import BenchFile, Replace, Trust
from tritguard.cli.progress import stages
from tritguard.cli.study import numbers, show
from tritguard.cli.terminal import console, tell
from tritguard.device import read_bench
from tritguard.emit import open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.robustness.live import Budget
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.presets import Preset
from tritguard.evaluate.robustness.study import ROBUSTNESS
from tritguard.evaluate.study import Study
from tritguard.records import from_table

_CARRIED_OUT: dict[str, Callable[..., Study]] = {"corruptions": corruptions, "sound": sound}
WIDER = {kind.name: (kind, _CARRIED_OUT[kind.name]) for kind in STUDIES if kind.name in _CARRIED_OUT}
"""Threats that keep to no ball, each a study of its own that is carried out beside the attacks."""


def command(  # noqa: PLR0913, PLR0917 - one parameter an option
    bundle: Annotated[Path, typer.Argument(help="Folder written by 'tritguard convert'.")],
    build: Annotated[Path, typer.Argument(help="Folder written by 'tritguard build'.")],
    data: Annotated[str, typer.Option("--data", "-d", help="A data set: what 'tritguard data' takes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the result; inputs kept there are used again.")],
    samples: Annotated[int, typer.Option("--samples", "-n", help="Test samples to attack.")] = 100,
    preset: Annotated[Preset, typer.Option(help="The attacks and their budgets.")] = "standard",
    attacks: Annotated[
        str, typer.Option(help=f"Instead of the preset's, separated by commas: {', '.join(ATTACKS)}.")
    ] = "",
    budgets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="ATTACK.SETTING=VALUE", help="Overrides a setting: square.queries=500; repeatable."
        ),
    ] = None,
    eps: Annotated[
        str, typer.Option(help="Bounds in int8 steps (of patches: in pixels), rising, separated by commas.")
    ] = "1,2,4,8",
    norm: Annotated[str, typer.Option(help=f"What the bounds are measured in: {', '.join(NORMS)}.")] = "Linf",
    sanity_eps: Annotated[
        int | None,
        typer.Option(
            help="A bound beyond them that has to break the model; by default what the norm names, for Linf 64 or more."
        ),
    ] = None,
    data_range: Annotated[
        str,
        typer.Option(
            help="LOW,HIGH: the values that inputs can have, in the samples' own unit; 'data': what the data set says "
            "(0 to 255 for pixels); 'none': all that the model's input can hold."
        ),
    ] = "data",
    port: Annotated[
        str | None, typer.Option(help="Serial port of the board, or 'auto'; without it the emulated board is started.")
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option(
            help="An undefended model for the same task, a bundle or a .tflite, that the attacks have to break."
        ),
    ] = None,
    goal: Annotated[Goal, typer.Option(help="Any wrong class, or one drawn for each sample.")] = "untargeted",
    access: Annotated[Access, typer.Option(help="What black-box attacks see of the outputs.")] = "logits",
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="Attack the device itself: every query of the plan's black-box attacks is sent to it."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed for the samples drawn and for all attacks.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that craft; by default one for each core.")
    ] = None,
    also: Annotated[
        str,
        typer.Option(
            help=f"Threats from the world, on the same samples, by commas: {', '.join(WIDER)}. They count in no bound."
        ),
    ] = "",
    boards: Annotated[
        int, typer.Option(min=0, help="Emulated boards that confirm at the same time; 0: as many as pay.")
    ] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="A Dask scheduler: its workers ('tritguard worker') craft, and its boards confirm beside this one.",
        ),
    ] = None,
    fail_under: FailUnderOption = None,
    fail_on: FailOnOption = None,
    junit: JunitOption = None,
    annotate: AnnotationsOption = False,
    trust: Trust = False,
    bench: BenchFile = None,
    replace: Replace = False,
) -> None:
    """Attack a model on its board: robust accuracy, latency, flash and RAM in one result."""
    if live and control is not None:
        raise BadInputError("--control is for attacks on the twin", where="--live", fix="leave one of them out")
    plan = make_plan(
        samples=samples, preset=preset, attacks=attacks, eps=eps, seed=seed, goal=goal, access=access,
        budgets=budgets or [], norm=norm, sanity_eps=sanity_eps, data_range=data_range,
    )  # fmt: skip
    wider = wider_threats(also)
    opened = open_bundle(bundle, trust=trust)
    opened.manifest.check_single()
    opened.manifest.check_narrow()
    firmware, dataset = open_build(build), read_dataset(data)
    plan.check_installed()
    for kind, _ in wider:
        kind.takes(dataset)
    if not live:
        for line in plan.says_left_out():
            console.print(line, soft_wrap=True)
    with stages() as named:
        result = attack(
            opened, firmware, dataset, out,
            plan=plan, port=port, bench=read_bench(bench), control=control, workers=workers,
            live=announce if live else None, stages=named, boards=boards, scheduler=scheduler, replace=replace,
        )  # fmt: skip
    show(result, out / ROBUSTNESS.file, alone=not wider)
    results: list[Study] = [result]
    for kind, carried_out in wider:
        with stages() as named:
            results.append(
                carried_out(
                    opened,
                    firmware,
                    dataset,
                    out,
                    plan=shared_plan(kind, plan),
                    port=port,
                    bench=read_bench(bench),
                    stages=named,
                    replace=replace,
                )
            )
        show(results[-1], out / kind.file, alone=False)
    if wider:
        report(out)  # takes in what the others found
        tell({study.kind: study for study in results})
    leave_by_gates(results, fail_under, fail_on, junit, annotate)


def wider_threats(names: str) -> list[tuple[StudyKind[Any, Any], Callable[..., Study]]]:
    """The studies with these names, separated by commas, each with the function that carries it out.

    Raises:
        BadInputError: there is no such study.
    """
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    if strangers := [name for name in chosen if name not in WIDER]:
        raise BadInputError(f"--also {strangers[0]}: no such threat", fix=f"give some of {', '.join(WIDER)}")
    return [WIDER[name] for name in chosen]


def shared_plan(kind: StudyKind[Any, Any], plan: Plan) -> Any:
    """A study's own plan, on the samples of the attacks' one and in its range of the data."""
    shared = {"samples": plan.samples, "seed": plan.seed, "data_range": plan.data_range}
    return kind.plan.model_validate({name: shared[name] for name in shared if name in kind.plan.model_fields})


def make_plan(  # noqa: PLR0913 - one parameter an option
    *, samples: int, preset: str, attacks: str, eps: str, seed: int, goal: Goal, access: Access, budgets: Sequence[str],
    norm: str = "Linf", sanity_eps: int | None = None, data_range: str = "data",
) -> Plan:  # fmt: skip
    """Make a plan from command-line values.

    Raises:
        BadInputError: one of them is out of range.
    """
    names = [name.strip() for name in attacks.split(",") if name.strip()]
    bounds = numbers("--eps", eps)
    options = {"samples": samples, "preset": preset, "attacks": names, "eps": bounds, "seed": seed}
    changed = {"goal": goal, "access": access, "settings": _settings(budgets)}
    distance = {"norm": norm, "sanity_eps": sanity_eps, "data_range": _range(data_range)}
    return from_table(Plan, {**options, **changed, **distance}, where="options")


def _range(text: str) -> str | tuple[float, ...]:
    """Read LOW,HIGH, or one of the words that a plan knows."""
    if text in ("data", "none"):
        return text
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as error:
        raise BadInputError(f"--data-range {text}: LOW,HIGH is wanted, or data, or none", fix="as 0,255") from error
    return low, high


def _settings(budgets: Sequence[str]) -> dict[str, dict[str, Setting]]:
    """Sort ATTACK.SETTING=VALUE texts into settings by attack."""
    settings: dict[str, dict[str, Setting]] = {}
    for text in budgets:
        found = re.fullmatch(r"([\w-]+)\.(\w+)=(.+)", text)
        if found is None:
            raise BadInputError(f"--set {text}: ATTACK.SETTING=VALUE is wanted", fix="as --set square.queries=500")
        settings.setdefault(found[1], {})[found[2]] = _number(found[3])
    return settings


def _number(text: str) -> Setting:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def announce(budget: Budget) -> None:
    """Say what a live attack may take, before it starts."""
    names = ", ".join(attack.name for attack in budget.attacks)
    console.print(
        f"live: {names}; at most {budget.queries:,} queries of {1e3 * budget.seconds_each:.1f} ms, "
        f"{timedelta(seconds=round(budget.seconds))} in all",
        soft_wrap=True,
    )
