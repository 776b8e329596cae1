"""Black-box attacks on the device itself, where every query is an inference."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import override

from tritguard.attack import Asking, Attack, Ball, Target
from tritguard.campaign.answer_log import AnswerLog
from tritguard.campaign.job import Done, Job
from tritguard.campaign.runs import craft_all
from tritguard.campaign.store import FILE, Store
from tritguard.device import Device
from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.search import Found
from tritguard.predictor import Int8, Outputs
from tritguard.progress import Progress

_TRIAL = 5  # inferences that the time of one is estimated from, after one more to warm up


@dataclass(frozen=True)
class Budget:
    """What a live attack may take at most, known before it starts.

    Attributes:
        attacks: the attacks that need nothing but the device's answers.
        queries: the most queries, over all attacks, bounds and samples; a sample that falls is queried no more.
        seconds_each: the measured time of one inference on the device, with the transfer of input and answer.
    """

    attacks: tuple[Asking, ...]
    queries: int
    seconds_each: float

    @property
    def seconds(self) -> float:
        """The longest that it can take."""
        return self.queries * self.seconds_each


def plan_live(device: Device, x: Int8, balls: Sequence[Ball], attacks: Sequence[Attack]) -> Budget:
    """Choose the attacks that can run on the device, and say what they may take on x, int8[n, *input_shape].

    Raises:
        BadInputError: none of the attacks can.
        DeviceError: see `Device.predict`.
    """
    asking = tuple(attack for attack in attacks if isinstance(attack, Asking))
    if not asking:
        names = ", ".join(attack.name for attack in attacks)
        raise BadInputError(
            f"no attack of the plan runs on a device: {names}", fix="name one that does, such as --attacks square"
        )
    device.predict(x[:1])
    trial = x[:_TRIAL]
    start = time.perf_counter()
    device.predict(trial)
    seconds = (time.perf_counter() - start) / len(trial)
    return Budget(asking, sum(attack.queries for attack in asking) * len(balls) * len(x), seconds)


def search_live(
    device: Device, target: Target, balls: Sequence[Ball], budget: Budget, folder: Path, progress: Progress
) -> Found:
    """Run the budget's attacks, which query the device instead of the target's predictor.

    Args:
        device: the device.
        target: samples and labels.
        balls: the bounds.
        budget: the attacks to run, and the number of queries that progress is measured by.
        folder: keeps what is found, separate from what was found on the twin, and the device's answers to the current
            chunk; an interrupted run goes on from there and asks nothing twice.
        progress: called with (queries made, most queries) after each inference.
    """
    identity = f"{device.bundle.manifest.model_sha256} on {device.hello.build_id}, {device.kind}"
    log = AnswerLog(folder / f"{device.hello.build_id[:12]}.answers", identity)
    asked = _Asked(device, budget.queries, progress, log)
    store = _Kept(log, folder, identity)
    target = replace(target, predictor=asked, view=None)
    with closing(store):
        runs, throughput = craft_all(target, balls, budget.attacks, store, lambda _done, _jobs: None)
    progress(budget.queries, budget.queries)
    throughput = throughput.model_copy(update={"refused": throughput.refused + log.refused})
    return Found(runs, (), (), None, throughput, live=True)


class _Kept(Store):
    """Keeps chunks that are done, and then forgets the answers that they were made from."""

    def __init__(self, log: AnswerLog, folder: Path, identity: str) -> None:
        super().__init__(folder / FILE, identity)
        self._log = log

    @override
    def save(self, job: Job, done: Done) -> None:
        super().save(job, done)
        self._log.clear()


class _Asked:
    """The device as a Predictor that reports how much of the budget is spent and remembers its answers."""

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
