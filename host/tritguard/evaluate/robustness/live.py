"""Black-box attacks run on the device itself, every query an inference there."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from tritguard.attack import Asking, Attack, Ball, Target
from tritguard.device import Device
from tritguard.errors import BadInputError
from tritguard.evaluate.crafting.answer_log import AnswerLog
from tritguard.evaluate.crafting.job import Done, Job
from tritguard.evaluate.crafting.runs import craft_all
from tritguard.evaluate.crafting.store import Store
from tritguard.evaluate.robustness.search import Found
from tritguard.predictor import Int8, Outputs
from tritguard.progress import Progress

_TRIAL = 5  # inferences an estimate is made from, and one before them


@dataclass(frozen=True)
class Budget:
    """What a live attack may take, known before it starts.

    Attributes:
        attacks: that need nothing but the device's answers.
        queries: at most, over all attacks, bounds and samples; a sample that falls is asked no more.
        seconds_each: one inference on the device, both ways over the line included, measured.
    """

    attacks: tuple[Asking, ...]
    queries: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """At most how long it takes."""
        return self.queries * self.seconds_each


def plan_live(device: Device, x: Int8, balls: Sequence[Ball], attacks: Sequence[Attack]) -> Budget:
    """Which of the attacks can run on the device, and what they may take on x, int8[n, *input_shape].

    Raises:
        BadInputError: none of them can.
        DeviceError: see `Device.predict`.
    """
    asking = tuple(attack for attack in attacks if isinstance(attack, Asking))
    if not asking:
        names = ", ".join(attack.name for attack in attacks)
        raise BadInputError(f"no attack of the plan runs on a device: {names}", fix="name one, as --attacks square")
    device.predict(x[:1])
    trial = x[:_TRIAL]
    start = time.perf_counter()
    device.predict(trial)
    seconds = (time.perf_counter() - start) / len(trial)
    return Budget(asking, sum(attack.queries for attack in asking) * len(balls) * len(x), seconds)


def search_live(
    device: Device, target: Target, balls: Sequence[Ball], budget: Budget, folder: Path, progress: Progress
) -> Found:
    """The budget's attacks, asking the device instead of the target's predictor.

    Args:
        folder: for what is found, apart from what was found on the twin, and for the device's answers to the chunk at
            hand; an interrupted run goes on from there, and asks nothing twice.
        progress: called with (queries made, queries at most) after each inference.
    """
    log = AnswerLog(folder / f"{device.hello.build_id[:12]}.answers")
    asked = _Asked(device, budget.queries, progress, log)
    store = _Kept(log, folder, f"{device.bundle.manifest.model_sha256} on {device.hello.build_id}")
    target = replace(target, predictor=asked, view=None)
    runs, throughput = craft_all(target, balls, budget.attacks, store, lambda _done, _jobs: None)
    progress(budget.queries, budget.queries)
    return Found(runs, None, None, None, throughput, live=True)


class _Kept(Store):
    """Chunks that are done; the answers each was made of are forgotten."""

    def __init__(self, log: AnswerLog, folder: Path, identity: str) -> None:
        super().__init__(folder, identity)
        self._log = log

    @override
    def save(self, job: Job, done: Done) -> None:
        super().save(job, done)
        self._log.clear()


class _Asked:
    """The device as a Predictor that tells how much of the budget is spent, and remembers what it answered."""

    def __init__(self, device: Device, limit: int, progress: Progress, log: AnswerLog) -> None:
        self._device, self._limit, self._progress, self._log = device, limit, progress, log
        self._made = 0

    def predict(self, x: Int8) -> Outputs:
        outputs = self._log.recall(x)
        if outputs is None:
            outputs = self._device.predict(x, lambda done, _: self._progress(self._made + done, self._limit))
            self._log.keep(x, outputs)
        self._made += len(x)
        return outputs
