"""Results that must not be lost: before a study starts, what its folder holds is compared with what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tritguard.data import Dataset
from tritguard.device.emulators import is_emulated
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.kind import StudyKind
from tritguard.evaluate.limits import own_range
from tritguard.evaluate.measurement import Firmware
from tritguard.evaluate.registry import read_study
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.result import planned
from tritguard.evaluate.study import Study

FIX = "give another folder, or --replace"


def keep_other_result(
    kind: StudyKind[Any, Any],
    out: Path,
    data: Dataset,
    asked: Mapping[str, object],
    bundles: Sequence[Bundle],
    *,
    replace: bool,
) -> None:
    """Refuse to put a study's result in the place of one with other data, or another model, board or plan.

    Args:
        kind: the study.
        out: its folder.
        data: the data.
        asked: the plan, as `Study.asked` will have it, and what it `runs_on`.
        bundles: the models; empty where they are made later.
        replace: whether the user wants the other result replaced.

    Raises:
        BadInputError: there is one, and the message names what differs; or there is one that cannot be read.
    """
    path = out / kind.file
    if replace or (other := earlier_result(path)) is None:
        return
    different = differing(other, {"data": f"{data.name} ({data.sha256[:12]})", **asked})
    models = {digest for bundle in bundles for digest in (bundle.sha256, bundle.manifest.model_sha256)}
    if bundles and other.models_sha256.isdisjoint(models):
        different["model"] = (min(other.models_sha256)[:12], min(models)[:12])
    refuse(different, path)


def earlier_result(path: Path) -> Study | None:
    """Read the result that a study is about to replace; None if there is none.

    Raises:
        BadInputError: there is one that cannot be read, such as that of a later version: nobody knows what it is about.
    """
    if not path.exists():
        return None
    try:
        return read_study(path)
    except BadInputError as error:
        raise BadInputError(f"cannot be read as a result ({error.what})", where=str(path), fix=FIX) from error


def differing(other: Study, wanted: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Find what a result states that differs from what is wanted now: by name, what it states and what is wanted.

    A name that only one of the two knows is passed over: it came with another version, or this study does not ask for
    it.
    """
    return {name: (said, wanted[name]) for name, said in stated(other).items() if wanted.get(name, said) != said}


def stated(study: Study) -> dict[str, object]:
    """What a result states about what it was asked for, and about the device that it names, if it names one."""
    firmware = getattr(study, "firmware", None)
    device = {"board": firmware.board, "emulated": firmware.emulated} if isinstance(firmware, Firmware) else {}
    return {**study.asked, **device}


def refuse(different: Mapping[str, tuple[object, object]], path: Path) -> None:
    """Refuse to replace the result at a path if anything is different.

    Raises:
        BadInputError: something is; the message names it.
    """
    if different:
        said = "; ".join(f"{name}: {there} there, {here} here" for name, (there, here) in different.items())
        raise BadInputError(f"is the result of another run ({said})", where=str(path), fix=FIX)


def runs_on(board: str, port: str | None) -> dict[str, object]:
    """What a result will state about its device: the board with this id, and whether it is emulated.

    It is where no port is given, and where another process of this user keeps an emulated board at the port.
    """
    return {"board": board, "emulated": port is None or is_emulated(port)}


def attacks_by(plan: Plan, classes: int, data: Dataset | None, *, live: bool) -> dict[str, object]:
    """What a result will state about the plan of its attacks.

    Args:
        plan: the plan.
        classes: how many classes the model tells apart.
        data: the data; None if it is not read yet, so that its own range is not known.
        live: whether the device itself is attacked.
    """
    asked = planned(
        samples=plan.samples,
        seed=plan.seed,
        norm=plan.norm,
        goal=plan.goal,
        access=plan.access,
        eps=plan.eps,
        sanity=plan.sanity,
        data_range=None if data is None else own_range(plan.data_range, data),
        budgets=plan.budgets_for(classes),
        live=live,
    )
    return asked if data is not None else {name: value for name, value in asked.items() if name != "data-range"}


def board_shown(name: str, port: str | None) -> str:
    """How pages show a board that a study is about to use: by its name, and whether it is emulated."""
    return f"{name} (emulated)" if port is None or is_emulated(port) else name
