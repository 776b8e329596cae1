"""Runs the attacks of a plan on the twin and keeps what they found, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tritguard import __version__
from tritguard.attack import Attack, Ball, Crafted, Target
from tritguard.evaluate.plan import Plan
from tritguard.files import write_whole
from tritguard.predictor import Int8

Report = Callable[[int, int], None]
_PACKAGES = ("numpy", "tensorflow-cpu", "tensorflow", "adversarial-robustness-toolbox", "tflite-micro", "platformio")


@dataclass(frozen=True)
class Run:
    """One attack at one eps.

    Attributes:
        x: int8[n, *input_shape], the candidates.
    """

    attack: Attack
    eps: int
    x: Int8
    queries: int
    gradients: int
    seconds: float


def craft_all(
    target: Target, plan: Plan, attacks: tuple[Attack, ...], folder: Path, identity: str, report: Report
) -> tuple[Run, ...]:
    """Every attack at every bound of the plan, in order of eps.

    Args:
        folder: where candidates are kept, one `.npz` a run.
        identity: hash of model, data and samples; with the attack's parameters and the seed it names the file, so
            that only what would come out the same is taken from it.
    """
    jobs = [(attack, Ball(plan.norm, eps)) for eps in plan.bounds for attack in attacks]
    runs = []
    for done, (attack, ball) in enumerate(jobs):
        report(done, len(jobs))
        runs.append(_run(target, attack, ball, folder, identity))
    report(len(jobs), len(jobs))
    return tuple(runs)


def _run(target: Target, attack: Attack, ball: Ball, folder: Path, identity: str) -> Run:
    temperature = target.view.temperature if target.view is not None else 0.0
    # Versions too: what an older attack missed must not be taken for what this one found.
    key = json.dumps(
        [identity, attack.name, attack.parameters, asdict(ball), target.access, target.seed, temperature, versions()],
        sort_keys=True,
    )
    path = (
        folder
        / f"{attack.name.lower()}-{ball.norm.lower()}-{ball.eps}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.npz"
    )
    crafted, seconds = _load(path, target.x.shape) or (None, 0.0)
    if crafted is None:
        start = time.perf_counter()
        crafted = attack.craft(target, ball)
        seconds = time.perf_counter() - start
        _save(path, crafted, seconds)
    _check_ball(crafted.x, target.x, ball)
    return Run(attack, ball.eps, crafted.x, crafted.queries, crafted.gradients, seconds)


def versions() -> dict[str, str]:
    """Installed versions of what decides the numbers."""
    found = {"tritguard": __version__}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_ball(x: Int8, clean: Int8, ball: Ball) -> None:
    distance = ball.distances(x, clean).max()
    if distance > ball.eps:
        raise AssertionError(f"an attack left its {ball.norm} ball: {distance:g} steps instead of {ball.eps}")


def _save(path: Path, crafted: Crafted, seconds: float) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x=crafted.x, counts=[crafted.queries, crafted.gradients], seconds=seconds)
    write_whole(path, buffer.getvalue())


def _load(path: Path, shape: tuple[int, ...]) -> tuple[Crafted, float] | None:
    """What an earlier run left; a file that is damaged or does not fit is crafted anew."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            x, counts, seconds = stored["x"], stored["counts"], float(stored["seconds"])
    except Exception:  # NumPy, zipfile and zlib raise many kinds on a damaged file
        return None
    if x.dtype != np.int8 or x.shape != shape:
        return None
    return Crafted(x, int(counts[0]), int(counts[1])), seconds
