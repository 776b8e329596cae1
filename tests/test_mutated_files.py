"""Damaged files of each kind end in a message; `scripts/bench mutated` tries many more."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from tests.support.mutated_files import KINDS, case, try_all
from tests.support.sound_files import sound_files
from tritguard.data.dataset import read_dataset
from tritguard.errors import BadInputError

COUNT = {"tflite": 40, "keras": 40}
# A reader of Keras models that misses h5py, as in a quick run, says so and has nothing to judge.
EACH = [pytest.param(kind, marks=pytest.mark.slow) if kind in ("keras", "tflite") else kind for kind in KINDS]
FOUND = {  # cases that once ended in a trace
    "tflite": (152, 191, 293, 528, 978),
    "keras": (59,),
    "npz": (70, 85, 129, 149, 157),
    "manifest": (3146,),
}


@pytest.mark.parametrize("kind", EACH)
def test_a_damaged_file_ends_in_a_message(kind: str, tmp_path: Path) -> None:
    sound = sound_files(kind, tmp_path)
    seeds = range(10**6, 10**6 + COUNT.get(kind, 100))
    verdicts = list(try_all(kind, sound, seeds, tmp_path))
    for seed in FOUND.get(kind, ()):
        verdicts += try_all(kind, sound, range(seed, seed + 1), tmp_path)
    assert {verdict.outcome for verdict in verdicts} <= {"taken", "refused"}, verdicts
    assert "refused" in {verdict.outcome for verdict in verdicts}


@pytest.mark.parametrize("kind", EACH)
def test_a_sound_file_is_taken(kind: str, tmp_path: Path) -> None:
    """Otherwise the damaged ones would be refused for what is wrong with all of them."""
    sound = sound_files(kind, tmp_path)
    verdicts = try_all(kind, sound, range(-len(sound), 0), tmp_path)
    assert {verdict.outcome for verdict in verdicts} == {"taken"}


def test_a_case_follows_from_its_number(tmp_path: Path) -> None:
    sound = sound_files("npz", tmp_path)
    assert case("npz", sound, 3) == case("npz", sound, 3) != case("npz", sound, 4)


@pytest.mark.parametrize("codes", [[0xD800], [0x110000], [0xFFFFFFFF]])
@pytest.mark.parametrize("order", ["<", ">"])
def test_text_that_is_no_unicode(codes: list[int], order: str, tmp_path: Path) -> None:
    names = np.frombuffer(np.array(codes, dtype=f"{order}u4").tobytes(), dtype=f"{order}U1")
    target = io.BytesIO()
    np.savez(target, x=np.zeros((1, 4), np.float32), y=np.zeros(1, np.int64), classes=names)
    (tmp_path / "data.npz").write_bytes(target.getvalue())
    with pytest.raises(BadInputError, match="classes holds text that is not Unicode"):
        read_dataset(tmp_path / "data.npz")
