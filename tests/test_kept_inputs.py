"""What is kept between runs: inputs and answers planted there are not used, and nothing is counted from them."""

from __future__ import annotations

import sqlite3
import stat
import struct
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import platformdirs
import pytest

from tests.support.kept import change, jobs, retype, rows
from tests.support.robustness_result import make_result
from tests.support.targets import ignore
from tritguard.attack import Attack, Ball, Crafted, Noise, Target
from tritguard.attack.base import Kind
from tritguard.campaign import database, seal
from tritguard.campaign.answer_log import AnswerLog
from tritguard.campaign.answers import Answers
from tritguard.campaign.job import Done, Job, OutOfBallError
from tritguard.campaign.runs import Throughput, craft_all
from tritguard.campaign.store import Store
from tritguard.errors import BadInputError, TritguardError
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


def crafted(target: Target, path: Path) -> tuple[np.ndarray, Throughput, int]:
    attack = Moving()
    store = Store(path, "model")
    (run,), throughput = craft_all(target, [BALL], [attack], store, ignore)
    store.close()
    return run.x, throughput, attack.asked


def x_replaced(path: Path, x: np.ndarray) -> None:
    for sample, one in enumerate(x):
        change(path, "UPDATE results SET x = ? WHERE sample = ?", zlib.compress(one.tobytes()), sample)


def clean_planted(path: Path, target: Target) -> None:
    x_replaced(path, target.x)


def out_of_ball_planted(path: Path, target: Target) -> None:
    x_replaced(path, -target.x - 1)


def size_changed(path: Path, target: Target) -> None:
    x_replaced(path, target.x[:, :2])


def too_large(path: Path, _target: Target) -> None:
    change(path, "UPDATE results SET x = ? WHERE sample = 3", zlib.compress(bytes(1 << 28)))


def not_compressed(path: Path, _target: Target) -> None:
    change(path, "UPDATE results SET x = x'00' WHERE sample = 3")


def results_swapped(path: Path, _target: Target) -> None:
    change(path, "UPDATE results SET sample = CASE sample WHEN 1 THEN 100 ELSE 1 END WHERE sample IN (1, 2)")
    change(path, "UPDATE results SET sample = 2 WHERE sample = 100")


def result_removed(path: Path, _target: Target) -> None:
    change(path, "DELETE FROM results WHERE sample = 3")


def result_seal_replaced(path: Path, _target: Target) -> None:
    change(path, "UPDATE results SET seal = ? WHERE sample = 3", bytes(seal.SIZE))


def seal_replaced(path: Path, _target: Target) -> None:
    change(path, "UPDATE jobs SET seal = ?", bytes(seal.SIZE))


def counts_changed(path: Path, _target: Target) -> None:
    change(path, "UPDATE jobs SET queries = 1, gradients = 1")


def key_replaced(_path: Path, _target: Target) -> None:
    key_file().write_bytes(bytes(seal.SIZE))


def seal_retyped(path: Path, _target: Target) -> None:
    retype(path, "UPDATE jobs SET seal = 'text'")


def result_seal_retyped(path: Path, _target: Target) -> None:
    retype(path, "UPDATE results SET seal = 'text' WHERE sample = 3")


def x_retyped(path: Path, _target: Target) -> None:
    retype(path, "UPDATE results SET x = 'text' WHERE sample = 3")


def worker_retyped(path: Path, _target: Target) -> None:
    retype(path, "UPDATE jobs SET worker = x'ff'")


def worker_not_utf8(path: Path, _target: Target) -> None:
    change(path, "UPDATE jobs SET worker = CAST(x'ff' AS TEXT)")


def cut(path: Path, _target: Target) -> None:
    path.write_bytes(path.read_bytes()[:100])


def key_file() -> Path:
    return Path(platformdirs.user_cache_dir("tritguard")) / "kept.key"


PLANTED = (
    clean_planted,
    out_of_ball_planted,
    size_changed,
    too_large,
    not_compressed,
    results_swapped,
    result_removed,
    result_seal_replaced,
    seal_replaced,
    counts_changed,
    key_replaced,
    seal_retyped,
    result_seal_retyped,
    x_retyped,
    worker_retyped,
    worker_not_utf8,
    cut,
)


@pytest.fixture
def own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.parametrize("plant", PLANTED, ids=lambda plant: plant.__name__)
def test_planted_inputs_are_crafted_again_and_counted(
    plant: Callable[[Path, Target], None], target: Target, tmp_path: Path, own_key: None
) -> None:
    path = tmp_path / "campaign.db"
    honest, first, asked = crafted(target, path)
    assert (asked, first.reused, first.refused) == (1, 0, 0)
    _, second, asked = crafted(target, path)
    assert (asked, second.reused, second.refused) == (0, 1, 0)
    plant(path, target)
    again, third, asked = crafted(target, path)
    assert (asked, third.reused, third.refused) == (1, 0, 1)
    assert np.array_equal(again, honest)
    _, last, asked = crafted(target, path)
    assert (asked, last.reused, last.refused) == (0, 1, 0)


def test_results_of_another_job_are_not_used(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    crafted(target, path)
    ((honest, *_),) = jobs(path).values()
    other, attack = replace(target, seed=2), Moving()
    craft_all(other, [BALL], [attack], Store(path, "model"), ignore)
    (new,) = set(jobs(path)) - {honest}
    change(path, "DELETE FROM results WHERE job = ?", new)
    change(path, "UPDATE results SET job = ? WHERE job = ?", new, honest)
    _, throughput = craft_all(other, [BALL], [attack], Store(path, "model"), ignore)
    assert (attack.asked, throughput.refused) == (2, 1)


def test_results_of_no_job_are_written_over(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    honest, *_ = crafted(target, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM jobs")  # without foreign keys, so that the results stay
    again, throughput, asked = crafted(target, path)
    assert np.array_equal(again, honest) and (asked, throughput.reused) == (1, 0)
    assert crafted(target, path)[1].reused == 1


def test_plans_share_what_they_have_in_common_and_each_result_is_there_once(target: Target, tmp_path: Path) -> None:
    path, attack = tmp_path / "campaign.db", Moving()
    first, second = ([Ball("Linf", 2), Ball("Linf", 3)], [Ball("Linf", 3), Ball("Linf", 5)])
    craft_all(target, first, [attack], Store(path, "model"), ignore)
    _, throughput = craft_all(target, second, [attack], Store(path, "model"), ignore)
    assert (attack.asked, throughput.reused, len(jobs(path))) == (3, 1, 3)
    craft_all(target, first, [attack], Store(path, "another model"), ignore)
    assert attack.asked == 5
    counts = rows(path, "SELECT job, sample, count(*) FROM results GROUP BY job, sample")
    assert len(counts) == 5 * len(target.x) and {count for *_, count in counts} == {1}
    store, job = Store(path, "model"), Job(attack, BALL, target, 0)
    before = jobs(path)
    store.save(job, Done(attack.craft(target, BALL), 9.0, 9.0))  # as a second run would that was as fast
    stated = rows(path, "SELECT model, attack, json_extract(ball, '$.eps'), seed, first, count, worker FROM jobs")
    assert jobs(path) != before and len(jobs(path)) == 6  # the chunk's seed is another than the target's
    assert ("model", "Moving", 2, 1, 0, len(target.x), "") in stated
    store.save(job, Done(attack.craft(target, BALL), 1.0, 1.0))
    assert len(jobs(path)) == 6 and {row[-3] for row in jobs(path).values()} >= {9.0}


def test_a_file_that_is_no_campaign_is_left_alone(target: Target, tmp_path: Path) -> None:
    path = tmp_path / "campaign.db"
    change(path, "CREATE TABLE notes (text)")
    with pytest.raises(BadInputError, match=r"campaign\.db: is no campaign of version 1; name another file"):
        crafted(target, path)
    assert rows(path, "SELECT name FROM sqlite_master") == [("notes",)]
    assert rows(path, "PRAGMA journal_mode") == [("delete",)]


def naming(victim: Path, pages: int) -> bytes:
    """A journal that changes none of so many pages, of a transaction over several files that `victim` is to name."""
    magic, name = bytes.fromhex("d9d505f920a163d7"), str(victim).encode()
    head = (magic + struct.pack(">5I", 0, 0, pages, 512, 4096)).ljust(512, b"\0")
    return head + struct.pack(">I", (1 << 30) // 4096 + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic


def test_a_journal_that_has_sqlite_remove_another_file_is_refused(target: Target, tmp_path: Path) -> None:
    path, journal, victim = (tmp_path / name for name in ("campaign.db", "campaign.db-journal", "victim"))
    crafted(target, path)
    victim.write_text("precious")
    journal.write_bytes(naming(victim, path.stat().st_size // 4096))
    with pytest.raises(BadInputError, match=r"campaign\.db-journal: names another file that SQLite would remove"):
        crafted(target, path)
    assert victim.read_text() == "precious"
    rows(path, "SELECT * FROM jobs")
    assert not victim.exists()  # so the journal does what it is refused for


@pytest.mark.parametrize("side", ["", "-journal", "-wal", "-shm"])
def test_links_are_not_followed(side: str, target: Target, tmp_path: Path) -> None:
    path, victim = tmp_path / "campaign.db", tmp_path / "victim"
    victim.write_bytes(b"")
    (tmp_path / f"campaign.db{side}").symlink_to(victim)
    with pytest.raises(BadInputError, match=rf"campaign\.db{side}: is a link to another file; remove it"):
        Store(path, "model").save(Job(Moving(), BALL, target, 0), Done(Moving().craft(target, BALL), 0.0, 0.0))
    assert victim.read_bytes() == b""


def test_a_full_disk_is_an_error_that_names_the_file(
    target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own limit of pages fails as a full disk does; what was kept before stays."""
    path = tmp_path / "campaign.db"
    crafted(target, path)
    kept = jobs(path)
    connect = database._connect

    def full(place: Path) -> sqlite3.Connection:
        connection = connect(place)
        connection.execute("PRAGMA max_page_count = 1")
        return connection

    monkeypatch.setattr(database, "_connect", full)
    with pytest.raises(OSError, match=r"No space left on device: .*campaign\.db"):
        craft_all(target, [Ball("Linf", 3)], [Moving()], Store(path, "model"), ignore)
    monkeypatch.undo()
    assert jobs(path) == kept
    _, throughput, _ = crafted(target, path)
    assert (throughput.reused, throughput.refused) == (1, 0)


def test_answers_of_a_device_are_kept_and_planted_ones_are_not_used(tmp_path: Path, own_key: None) -> None:
    path, x = tmp_path / "campaign.db", np.arange(6, dtype=np.int8).reshape(3, 2)
    said = Outputs(np.array([[1, 2], [3, 4], [5, 6]], np.int8), np.array([[0.5, 1], [2, 3], [4, 5]]), np.arange(3))
    Answers(path, "build on board", None).keep(x[:2], said.chosen(slice(2)), "COM1")
    known, found = Answers(path, "build on board", None).recall(x)
    assert known.tolist() == [True, True, False] and found is not None
    assert found.scores.tolist() == [[1, 2], [3, 4]] and found.logits is not None and found.ticks is not None
    assert found.logits.tolist() == [[0.5, 1], [2, 3]] and found.ticks.tolist() == [0, 1]
    assert Answers(path, "another build", None).recall(x)[1] is None
    change(path, "UPDATE answers SET scores = x'0909' WHERE ticks = 1")
    assert Answers(path, "build on board", None).recall(x)[0].tolist() == [True, False, False]
    change(path, "UPDATE answers SET device = 'another build'")
    assert Answers(path, "another build", None).recall(x)[1] is None
    retype(path, "UPDATE answers SET device = 'build on board', seal = 'text'")
    assert Answers(path, "build on board", None).recall(x)[1] is None
    Answers(path, "build on board", None).clear()
    assert rows(path, "SELECT * FROM answers") == []


@pytest.mark.parametrize("what", ["keep", "clear"])
def test_answers_are_kept_in_a_new_file_if_theirs_is_damaged(what: str, tmp_path: Path) -> None:
    path, x = tmp_path / "campaign.db", np.zeros((1, 2), np.int8)
    answers, said = Answers(path, "build on board", None), Outputs(np.zeros((1, 2), np.int8), None, None)
    answers.keep(x, said, "COM1")
    answers.close()
    page = rows(path, "PRAGMA page_size")[0][0]
    root = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'answers'")[0][0]
    content = bytearray(path.read_bytes())
    content[(root - 1) * page : root * page] = bytes([0xFF]) * page
    path.write_bytes(content)
    if what == "keep":
        answers.keep(x, said, "COM1")
        assert answers.recall(x)[0].tolist() == [True]
    else:
        answers.clear()
    assert (tmp_path / "campaign.db.damaged").exists()


def test_answers_to_streams_are_kept_with_every_frame(tmp_path: Path, own_key: None) -> None:
    path, x = tmp_path / "campaign.db", np.arange(12, dtype=np.int8).reshape(2, 3, 2)
    frames = np.arange(-12, 0, dtype=np.int8).reshape(2, 3, 2)
    said = Outputs.of_streams(frames, frames.astype(np.float64), None, np.arange(6).reshape(2, 3))
    Answers(path, "build on board", None, 2).keep(x[1:], said.chosen(slice(1, 2)), "COM1")
    known, found = Answers(path, "build on board", None, 2).recall(x)
    assert known.tolist() == [False, True] and found is not None
    whole = Outputs.joined([said.chosen(slice(1)), found])
    assert np.array_equal(whole.answered, frames) and np.array_equal(whole.scores, frames[:, -1])
    assert whole.logits is not None and np.array_equal(whole.logits, frames[:, -1])
    assert whole.ticks is not None and whole.ticks.tolist() == [2, 5]


def test_inputs_outside_the_ball_are_not_read_even_if_sealed(target: Target, tmp_path: Path) -> None:
    store, job = Store(tmp_path / "campaign.db", "model"), Job(Moving(), BALL, target, 0)
    store.save(job, Done(Moving(steps=3).craft(target, BALL), 0.0, 0.0))
    assert store.load(job) is None and store.refused == 1


def test_an_attack_that_leaves_its_ball_is_an_error_and_nothing_is_kept(target: Target, tmp_path: Path) -> None:
    with pytest.raises(OutOfBallError, match=r"Moving, Linf, eps 2: left its ball: 3 steps from sample 0; .*bug"):
        craft_all(target, [BALL], [Noise(2), Moving(steps=3)], Store(tmp_path / "campaign.db", "model"), ignore)
    assert rows(tmp_path / "campaign.db", "SELECT attack FROM jobs") == [("Noise",)]


def test_what_was_refused_is_said() -> None:
    effort = Throughput(workers=1, jobs=9, reused=3, refused=2, seconds=1, queries=9, gradients=9)
    result = make_result(throughput=effort.model_dump())
    text = "2 jobs kept of earlier runs were not used but crafted again"
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
