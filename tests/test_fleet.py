"""How a fleet tells a board that answers wrongly from the others, whatever an engine gives with its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.support.device_support import inputs
from tritguard.device import Fleet
from tritguard.emit import Bundle
from tritguard.errors import DeviceError
from tritguard.predictor import Int8, Outputs
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)


@dataclass(frozen=True, eq=False)
class Board:
    """A board that answers as the twin does, but for what `change` makes of it."""

    name: str
    twin: Twin
    change: Callable[[Outputs], Outputs]
    resent_frames: int = 0

    def predict(self, x: Int8) -> Outputs:
        return self.change(self.twin.predict(x))


def without_logits(said: Outputs) -> Outputs:
    """As an engine of TFLM answers."""
    return replace(said, logits=None)


def wrong(said: Outputs) -> Outputs:
    return replace(said, scores=said.scores ^ 1, logits=None)


def other_logits(said: Outputs) -> Outputs:
    assert said.logits is not None
    return replace(said, logits=said.logits + 1)


def as_streams(said: Outputs) -> Outputs:
    return replace(said, logits=None, frames=np.stack([said.scores, said.scores], axis=1))


def with_a_wrong_frame(said: Outputs) -> Outputs:
    return replace(said, logits=None, frames=np.stack([said.scores ^ 1, said.scores], axis=1))


@pytest.mark.parametrize(
    ("good", "bad"),
    [(without_logits, wrong), (lambda said: said, other_logits), (as_streams, with_a_wrong_frame)],
    ids=["no logits", "logits", "frames"],
)
def test_of_two_boards_the_judge_finds_the_wrong_one(
    good: Callable[[Outputs], Outputs], bad: Callable[[Outputs], Outputs], small_bundle: Bundle
) -> None:
    twin, x = Twin(small_bundle), inputs(small_bundle, 20)

    def judge(probes: Int8) -> Outputs:
        said = twin.predict(probes)
        return said if good is not as_streams else replace(as_streams(said), logits=said.logits)

    fleet = Fleet([Board("wrong", twin, bad), Board("right", twin, good)], judge)
    assert np.array_equal(fleet.predict(x).answered, good(twin.predict(x)).answered)
    assert [sick.board for sick in fleet.sick] == ["wrong"]


def test_a_tie_that_nobody_decides_is_no_answer(small_bundle: Bundle) -> None:
    twin, x = Twin(small_bundle), inputs(small_bundle, 20)
    for judge in (None, lambda probes: replace(twin.predict(probes), scores=twin.predict(probes).scores ^ 2)):
        fleet = Fleet([Board("one", twin, without_logits), Board("other", twin, wrong)], judge)
        with pytest.raises(DeviceError, match="one, other: the boards answer the same inputs differently"):
            fleet.predict(x)
        assert not fleet.sick
