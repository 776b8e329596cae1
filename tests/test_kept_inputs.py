"""What is kept between runs: inputs and answers planted there are not used, and nothing is counted from them."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from tests.support.robustness_result import make_result
from tests.support.targets import ignore
from tritguard.attack import Attack, Ball, Crafted, Noise, Target
from tritguard.attack.base import Kind
from tritguard.errors import TritguardError
from tritguard.evaluate.crafting import seal
from tritguard.evaluate.crafting.answer_log import AnswerLog
from tritguard.evaluate.crafting.job import Done, Job, OutOfBallError
from tritguard.evaluate.crafting.runs import Throughput, craft_all
from tritguard.evaluate.crafting.store import Store
from tritguard.predictor import Outputs
from tritguard.report import terminal, wording
from tritguard.report.registry import to_html

pytest_plugins = ["tests.support.targets"]


@dataclass
class Moving(Attack):
    """Moves every value by so many steps, whatever the ball."""

    steps: int = 1
    name: str = "Moving"
    kind: Kind = "baseline"
    asked: int = 0

    @property
    def parameters(self) -> dict[str, float | int | str]:
        return {}

    def craft(self, target: Target, ball: Ball) -> Crafted:
        self.asked += 1
        return Crafted(np.where(target.x > 0, target.x - self.steps, target.x + self.steps).astype(np.int8), 1, 0)


BALL = Ball("Linf", 2)


def crafted(target: Target, folder: Path) -> tuple[np.ndarray, Throughput, int]:
    attack = Moving()
    (run,), throughput = craft_all(target, [BALL], [attack], Store(folder, "model"), ignore)
    return run.x, throughput, attack.asked


def rewritten(path: Path, **changes: Any) -> None:
    with np.load(path) as stored:
        arrays = dict(stored) | changes
    np.savez_compressed(path, **{name: array for name, array in arrays.items() if array is not None})


def clean_planted(path: Path, target: Target) -> None:
    rewritten(path, x=target.x)


def out_of_ball_planted(path: Path, target: Target) -> None:
    rewritten(path, x=-target.x - 1)


def shape_changed(path: Path, target: Target) -> None:
    rewritten(path, x=target.x.reshape(20, -1))


def seal_removed(path: Path, _target: Target) -> None:
    rewritten(path, seal=None)


def seal_replaced(path: Path, _target: Target) -> None:
    rewritten(path, seal=np.zeros(seal.SIZE, np.uint8))


def counts_changed(path: Path, _target: Target) -> None:
    rewritten(path, counts=np.array([1, 1]))


def key_replaced(_path: Path, _target: Target) -> None:
    key_file().write_bytes(bytes(seal.SIZE))


def cut(path: Path, _target: Target) -> None:
    path.write_bytes(path.read_bytes()[:100])


def key_file() -> Path:
    return Path(platformdirs.user_cache_dir("tritguard")) / "kept.key"


PLANTED = (
    clean_planted,
    out_of_ball_planted,
    shape_changed,
    seal_removed,
    seal_replaced,
    counts_changed,
    key_replaced,
    cut,
)


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_inputs_are_crafted_again_and_counted(
    plant: Callable[[Path, Target], None], target: Target, tmp_path: Path, own_key: None
) -> None:
    folder = tmp_path / "crafted"
    honest, first, asked = crafted(target, folder)
    assert (asked, first.reused, first.refused) == (1, 0, 0)
    _, second, asked = crafted(target, folder)
    assert (asked, second.reused, second.refused) == (0, 1, 0)
    (path,) = folder.iterdir()
    plant(path, target)
    again, third, asked = crafted(target, folder)
    assert (asked, third.reused, third.refused) == (1, 0, 1)
    assert np.array_equal(again, honest)
    _, last, asked = crafted(target, folder)
    assert (asked, last.reused, last.refused) == (0, 1, 0)


def test_a_file_of_another_job_is_not_used(target: Target, tmp_path: Path) -> None:
    folder = tmp_path / "crafted"
    crafted(target, folder)
    (path,) = folder.iterdir()
    other, attack = replace(target, seed=2), Moving()
    craft_all(other, [BALL], [attack], Store(folder, "model"), ignore)
    (new,) = set(folder.iterdir()) - {path}
    new.write_bytes(path.read_bytes())
    _, throughput = craft_all(other, [BALL], [attack], Store(folder, "model"), ignore)
    assert (attack.asked, throughput.refused) == (2, 1)


def test_inputs_outside_the_ball_are_not_read_even_if_sealed(target: Target, tmp_path: Path) -> None:
    store, job = Store(tmp_path, "model"), Job(Moving(), BALL, target, 0)
    store.save(job, Done(Moving(steps=3).craft(target, BALL), 0.0, 0.0))
    assert store.load(job) is None and store.refused == 1


def test_an_attack_that_leaves_its_ball_is_an_error_and_nothing_is_kept(target: Target, tmp_path: Path) -> None:
    with pytest.raises(OutOfBallError, match=r"Moving, Linf, eps 2: left its ball: 3 steps from sample 0; .*bug"):
        craft_all(target, [BALL], [Noise(2), Moving(steps=3)], Store(tmp_path / "crafted", "model"), ignore)
    assert [path.name.split("-")[0] for path in (tmp_path / "crafted").iterdir()] == ["noise"]


def test_what_was_refused_is_said() -> None:
    effort = Throughput(workers=1, jobs=9, reused=3, refused=2, seconds=1, queries=9, gradients=9)
    result = make_result(throughput=effort.model_dump())
    text = "2 files kept of earlier runs were not used but crafted again"
    assert text in to_html(result) and text in wording.refused(effort)
    assert any("not used but crafted again" in str(line) for line in terminal.render(result).renderables[2:])
    quiet = effort.model_copy(update={"refused": 0})
    assert "not used" not in to_html(make_result(throughput=quiet.model_dump())) and not wording.refused(quiet)


def test_the_key_is_the_users_own(own_key: None) -> None:
    sealed = seal.seal([b"a", b"b"])
    assert stat.S_IMODE(key_file().stat().st_mode) == 0o600 and len(key_file().read_bytes()) == seal.SIZE
    assert [path.name for path in key_file().parent.iterdir()] == ["kept.key"]
    assert seal.holds(sealed, [b"a", b"b"]) and not seal.holds(sealed, [b"ab", b""])
    key_file().write_bytes(b"short")
    with pytest.raises(TritguardError, match=r"kept\.key: has 5 bytes instead of 32; remove it"):
        seal.seal([])


def test_planted_answers_of_a_device_are_asked_for_again(tmp_path: Path, own_key: None) -> None:
    path, x = tmp_path / "live" / "device.answers", np.arange(6, dtype=np.int8).reshape(3, 2)
    answers = [Outputs(np.array([[k, 1]], np.int8), None if k else np.array([[0.5, 1.5]])) for k in range(3)]
    log = AnswerLog(path, "model on device")
    for question, answer in zip(x, answers, strict=True):
        assert log.recall(question) is None
        log.keep(question, answer)

    def recalled(identity: str = "model on device") -> tuple[int, bool]:
        log = AnswerLog(path, identity)
        known = 0
        for question, answer in zip(x, answers, strict=True):
            if (again := log.recall(question)) is None:
                break
            assert np.array_equal(again.scores, answer.scores)
            known += 1
        return known, log.refused

    assert recalled() == (3, False)
    assert recalled("another model") == (0, True)
    whole = path.read_bytes()
    second = whole.index(np.array([1, 1], np.int8).tobytes(), len(whole) // 3)
    path.write_bytes(whole[:second] + b"\x7f" + whole[second + 1 :])
    assert recalled() == (1, True)
    path.write_bytes(whole[:-1])  # as a kill in the middle of writing leaves it
    assert recalled() == (2, False)
