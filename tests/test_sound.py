"""Attacks on sound: the gradient of the front end, the bound in dB, and what the study and its report keep."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.support.device_support import Builder
from tests.support.schemas import assert_conforms
from tests.support.tflite_builder import ModelBuilder
from tritguard import api
from tritguard.attack.corruptions import OF_SOUND, SEVERITIES
from tritguard.attack.sound import FrontEnd, SoundBall, decibels
from tritguard.attack.sound.ball import as_sound
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.data.mfcc import CLIP_SAMPLES, INPUT_UNIT, mfcc, pull_back
from tritguard.data.sound import clip_of, to_pcm, write_wav
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.corruptions.result import CorruptionsPlan, CorruptionsResult
from tritguard.evaluate.sound.checks import check
from tritguard.evaluate.sound.result import SoundPlan, SoundPoint, SoundResult, count
from tritguard.evaluate.study import Confirmation, Rate
from tritguard.report.registry import facts_of
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

SAMPLES, SCALE, ZERO_POINT = 12, 0.5847029, 83


def spoken(seed: int, length: int = 9_000) -> np.ndarray:
    """A word of three tones that rise and fall, then silence: float[16000], full scale 1."""
    rng, clip = np.random.default_rng(seed), np.zeros(CLIP_SAMPLES)
    t = np.arange(length) / 16_000
    tones = sum(np.sin(2 * np.pi * f * t + f) for f in rng.uniform(150, 3000, 3))
    clip[:length] = tones * np.hanning(length) / 8 + rng.normal(size=length) * 1e-3
    return clip


def test_the_gradient_of_the_front_end_is_what_differences_say() -> None:
    rng = np.random.default_rng(0)
    clips = np.stack([spoken(0, 16_000), spoken(1, 16_000), spoken(2, 16_000) * 1e-3])  # no bin is zero
    weights = rng.normal(size=(3, 49, 10, 1))
    found = pull_back(clips, weights)
    from tritguard.data.mfcc import _mfcc  # noqa: PLC0415 - in float64, which `mfcc` rounds

    moves = [rng.normal(size=clips.shape) for _ in range(3)]
    peak = np.zeros_like(clips)
    peak[np.arange(3), clips.argmax(axis=1)] = 1  # the sample that all others are divided by
    for move in (*moves, peak):
        size = 1e-7 * np.abs(clips).max(axis=1, keepdims=True)
        high, low = (_mfcc(clips + sign * size * move)[..., None] for sign in (1, -1))
        wanted = ((high - low) * weights).reshape(3, -1).sum(axis=1) / (2 * size[:, 0])
        np.testing.assert_allclose((found * move).sum(axis=1), wanted, rtol=2e-4)


def test_it_is_tensorflows_gradient() -> None:
    tf = pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    rng = np.random.default_rng(1)
    clips, weights = np.stack([spoken(3, 16_000), spoken(4, 16_000)]), rng.normal(size=(2, 49, 10, 1))
    x = tf.constant(clips)
    with tf.GradientTape() as tape:
        tape.watch(x)
        spectra = tf.abs(tf.signal.stft(x / tf.reduce_max(x, axis=1, keepdims=True), 480, 320, fft_length=512))
        bands = tf.signal.linear_to_mel_weight_matrix(40, 257, 16_000, 20.0, 4000.0, tf.float64)
        features = tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(spectra @ bands + 1e-6))[..., :10]
        total = tf.reduce_sum(features * weights[..., 0])
    wanted = tape.gradient(total, x).numpy()
    found = pull_back(clips, weights)
    assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()


def test_silence_has_no_gradient_and_no_ball() -> None:
    silence = np.zeros((1, CLIP_SAMPLES), np.int16)
    assert not pull_back(silence.astype(float), np.ones((1, 49, 10, 1))).any()
    ball = SoundBall(10.0)
    assert ball.reach(silence) == [0]
    assert not ball.to_grid(np.random.default_rng(0).normal(size=silence.shape) * 99, silence).any()
    assert decibels(silence + np.int16(1), silence).tolist() == [-np.inf]
    assert decibels(silence, silence).tolist() == [np.inf]


@settings(max_examples=30)
@given(st.floats(0, 60), st.floats(1e-4, 3), st.integers(0, 50))
def test_rounded_sounds_stay_in_the_ball_and_use_it(snr: float, loud: float, seed: int) -> None:
    rng, ball = np.random.default_rng(seed), SoundBall(snr)
    clean = to_pcm(loud * spoken(seed)[None])
    candidate = clean + rng.standard_normal(clean.shape) * 10 ** rng.uniform(-1, 5)
    found = ball.to_grid(candidate, clean)
    assert found.dtype == np.int16
    got = decibels(found, clean)[0]
    assert got >= snr - 1e-9
    wanted = max(snr, decibels(np.clip(candidate, -32768, 32767), clean)[0])
    if ball.reach(clean)[0] > 30 and wanted < 60:
        assert got < wanted + 0.5  # rounding does not spend the ball on nothing


def test_without_padding_silence_stays_silence() -> None:
    clean, rng, ball = to_pcm(spoken(9)[None]), np.random.default_rng(0), SoundBall(20.0, padding=False)
    sounds = np.flatnonzero(clean[0])
    found = ball.to_grid(clean + rng.normal(size=clean.shape) * 1e4, clean)
    changed = np.flatnonzero(found[0] != clean[0])
    assert sounds[0] <= changed.min() and changed.max() <= sounds[-1] < CLIP_SAMPLES - 1
    assert 20 <= decibels(found, clean)[0] < 20.1


def test_what_a_wav_file_holds_gives_the_same_features() -> None:
    clips = to_pcm(np.stack([spoken(5), 3 * spoken(6)]))
    front = FrontEnd(SCALE, ZERO_POINT)
    again = np.stack([clip_of(write_wav(clip), "clip") for clip in clips])
    assert np.array_equal(again, as_sound(clips)) and np.array_equal(to_pcm(again), clips)
    steps = np.clip(np.rint(mfcc(again) / SCALE) + ZERO_POINT, -128, 127)
    assert (front(clips) == steps).mean() > 0.999 and np.abs(front(clips) - steps).max() <= 1


@pytest.mark.parametrize("name", OF_SOUND)
def test_corruptions_of_sound(name: str) -> None:
    clean, corruption = np.stack([spoken(7), spoken(8)]), OF_SOUND[name]
    front, changes = FrontEnd(SCALE, ZERO_POINT), []
    for severity in SEVERITIES:
        found = corruption.at(clean, severity, seed=1)
        assert np.array_equal(found, corruption.at(clean, severity, seed=1)) and found.shape == clean.shape
        level = corruption.levels[severity - 1]
        if name == "white-noise":
            np.testing.assert_allclose(10 * np.log10((clean**2).sum() / ((found - clean) ** 2).sum()), level, atol=0.2)
        if name == "loud":
            np.testing.assert_allclose(20 * np.log10(np.abs(found).max(axis=1)), level, atol=1e-9)
        changes.append(np.abs(front(to_pcm(found)).astype(int) - front(to_pcm(clean))).mean())
    assert changes == sorted(changes) and changes[-1] > changes[0]


def hearing_model() -> bytes:
    """Two bands of features told apart by a dense layer, which fine changes of the sound move."""
    rng = np.random.default_rng(11)
    builder = ModelBuilder((49, 10, 1), SCALE, ZERO_POINT)
    weights = rng.integers(-127, 128, (8, 5, 4, 1), dtype=np.int8)
    tensor = builder.conv(builder.input, weights, [0.002] * 8, None, (0.25, -10), stride=(3, 2), activation="RELU")
    flat = int(np.prod(builder.shape(tensor)))
    tensor = builder.reshape(tensor, (flat,))
    return builder.build(
        builder.dense(tensor, rng.integers(-127, 128, (4, flat), dtype=np.int8), [0.002] * 4, None, (0.5, 0))
    )


@pytest.fixture(scope="module")
def listener(common_temp: Path) -> Bundle:
    return write_bundle(hearing_model(), common_temp / "bundles" / "listener", name="listener")


@pytest.fixture(scope="module")
def recordings(listener: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder's worth of recordings as an .npz, with the twin's labels, one of which is made wrong."""
    clips = to_pcm(np.stack([spoken(seed, 6_000 + 400 * seed) for seed in range(20)]))
    features = mfcc(as_sound(clips))
    grid = listener.manifest.input
    labels = Twin(listener).predict(FrontEnd(grid.scale, grid.zero_point)(clips)).labels
    labels[0] = (labels[0] + 1) % 4
    path = tmp_path_factory.mktemp("recordings") / "data.npz"
    classes = tuple("abcd")
    data = Dataset("tones", features, labels, classes, INPUT_UNIT, "none", holds_features=True, sound_test=clips)
    write_dataset(path, data)
    return path


@pytest.fixture(scope="module")
def folder(listener: Bundle, firmware: Builder, recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `tritguard sound` leaves, as a user calls it."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    out = tmp_path_factory.mktemp("sound")
    (out / "sound.toml").write_text("[sound]\nsteps = 6\nnoise = 2\n")
    arguments = ["sound", listener.path, firmware(listener, "mps2-an386").path, "-d", recordings, "-o", out]
    arguments += ["-n", SAMPLES, "--snr", "40,15", "-c", out / "sound.toml"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code in {0, 1}, done.output
    return out


@pytest.fixture(scope="module")
def result(folder: Path) -> SoundResult:
    assert_conforms(folder / "sound.json", "sound")
    found = api.read_study(folder / "sound.json")
    assert isinstance(found, SoundResult)
    return found


def test_the_device_heard_the_sounds_that_are_kept(result: SoundResult, listener: Bundle, recordings: Path) -> None:
    """The features of the kept 16-bit sounds, computed from the files, get the answers that the result tells."""
    twin, sounds = Twin(listener), api.load_data(str(recordings)).sound_test
    assert sounds is not None
    assert result.confirmation.mismatched_inputs == 0
    assert result.confirmation.inputs == SAMPLES * (1 + 3 * len(result.points))
    front = FrontEnd(result.scale, result.zero_point)
    indices = list(result.provenance.sample_indices)
    assert twin.predict(front(sounds[indices])).labels.tolist() == list(result.answers)
    assert result.examples
    for example in result.examples:
        clean, adversarial = example.clips()
        assert np.array_equal(clean, sounds[example.sample])
        assert decibels(adversarial[None], clean[None])[0] >= example.snr
        features = front(adversarial[None])
        assert base64.b64decode(example.features) == features.tobytes()
        assert twin.predict(features).labels.tolist() == [example.prediction]
        assert example.prediction != result.labels[indices.index(example.sample)]


def test_the_worst_case_is_counted_for_each_sample(result: SoundResult) -> None:
    holds = np.array(result.labels) == result.answers
    for point in result.points:
        for answers in (point.noise, point.attack, point.doubled):
            holds &= np.array(result.labels) == answers
        assert point.robust == Rate.of(int(holds.sum()), SAMPLES)
        assert point.least_snr is not None and point.least_snr >= point.snr
    assert result.points[-1].robust.k < result.points[-1].under_noise.k


def test_the_report_plays_the_sounds_and_asks_for_nothing(folder: Path, result: SoundResult) -> None:
    page = (folder / "sound.html").read_text()
    assert page.count("<audio controls") == 2 * len(result.examples)
    assert page.count('<img src="data:image/png') == 3 * len(result.examples)
    played = re.findall(r'<audio[^>]* src="data:audio/wav;base64,([^"]+)"', page)
    assert played[:2] == [result.examples[0].clean_wav, result.examples[0].adversarial_wav]
    assert "media-src data:" in page and "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "15 dB" in facts_of(result)["sound.robust"]


def test_recordings_are_part_of_the_data_and_belong_to_their_features(recordings: Path, tmp_path: Path) -> None:
    data = api.load_data(str(recordings))
    assert data.sound_test is not None
    features, changed = replace(data, sound_test=None), replace(data, sound_test=data.sound_test + np.int16(1))
    assert len({each.sha256 for each in (data, features, changed)}) == 3
    write_dataset(tmp_path / "swapped.npz", replace(data, sound_test=data.sound_test[::-1]))
    with pytest.raises(BadInputError, match="x_test is not the MFCC of sound_test: sample"):
        api.load_data(str(tmp_path / "swapped.npz"))


def _without_findings(found: dict[str, Any]) -> None:
    found["issues"] = [issue for issue in found["issues"] if issue["code"] != "FEW_SAMPLES"]
    severities = {issue["severity"] for issue in found["issues"]}
    found["status"] = "invalid" if "invalid" in severities else "degraded" if severities else "valid"


def _louder(example: dict[str, str]) -> None:
    clip = clip_of(base64.b64decode(example["adversarial_wav"]), "kept")
    example["adversarial_wav"] = base64.b64encode(write_wav(to_pcm(clip * 0.5))).decode()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: _louder(found["examples"][0]), r"examples\.0\.measured: .* the sounds are"),
        (lambda found: found["examples"][0].update(features=""), r"examples\.0\.features: are not those"),
        (lambda found: found["examples"][0].update(clean_wav="UklGRg=="), r"examples\.0\.wav: "),
        (lambda found: found["plan"].update(padding=False), r"examples\.\d\.adversarial_wav: sounds where"),
        (lambda found: found["points"][0].update(least_snr=39.0), r"points\.0\.least_snr: 39 dB is below"),
        (
            lambda found: found["points"][1].update(noise=[(label + 1) % 4 for label in found["labels"]]),
            r"points\.1\.robust: says|points\.1\.under_noise: says",
        ),
        (
            lambda found: found["points"][1].update(least_snr=None),
            r"points\.1\.least_snr: says that nothing was",
        ),
        (lambda found: found["confirmation"].update(inputs=9), r"confirmation\.inputs: 9, there are 84 inputs"),
        (lambda found: found["confirmation"].update(mismatched_inputs=1), "the figures show DEVICE_TWIN_MISMATCH"),
        (_without_findings, r"the figures show FEW_SAMPLES \(warn\), but issues does not hold it"),
        (lambda found: found["examples"][0].update(sample=99), r"examples\.0\.sample: 99 is not among"),
        (lambda found: found["examples"][0].update(snr=10.0), r"examples\.0\.snr: 10 dB is none of"),
        (lambda found: found["examples"][0].update(prediction=9), r"examples\.0\.prediction: 9, the answer is"),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(
    folder: Path, tmp_path: Path, change: object, message: str
) -> None:
    content = json.loads((folder / "sound.json").read_text())
    assert callable(change)
    change(content)
    (tmp_path / "sound.json").write_text(json.dumps(content))
    with pytest.raises(BadInputError, match=message):
        api.read_study(tmp_path / "sound.json")


def test_corrupted_recordings_on_the_device(
    listener: Bundle, firmware: Builder, recordings: Path, tmp_path: Path
) -> None:
    data, build = api.load_data(str(recordings)), firmware(listener, "mps2-an386")
    plan = CorruptionsPlan(samples=6, corruptions=("white-noise", "quiet"), severities=(1, 5))
    result = api.corruptions(listener, build, data, tmp_path, plan=plan)
    assert isinstance(result, CorruptionsResult)
    assert data.sound_test is not None
    front = FrontEnd(listener.manifest.input.scale, listener.manifest.input.zero_point)
    clean = as_sound(data.sound_test[list(result.provenance.sample_indices)]).astype(float)
    for point in result.points:
        features = front(to_pcm(OF_SOUND[point.corruption].at(clean, point.severity, 0)))
        assert Twin(listener).predict(features).labels.tolist() == list(point.answers)
    assert result.confirmation.inputs == 30 and result.confirmation.mismatched_inputs == 0
    pictures = CorruptionsPlan(samples=6, corruptions=("contrast",))
    with pytest.raises(BadInputError, match="contrast is no corruption of sound"):
        api.corruptions(listener, build, data, tmp_path / "b", plan=pictures)


def test_data_without_recordings_is_refused(listener: Bundle, firmware: Builder, tmp_path: Path) -> None:
    x = np.zeros((3, 49, 10, 1), np.float32)
    data = Dataset("features", x, np.zeros(3, np.int64), tuple("abcd"), INPUT_UNIT, "none", holds_features=True)
    with pytest.raises(BadInputError, match="features: holds no recordings"):
        api.sound(listener, firmware(listener, "mps2-an386"), data, tmp_path, plan=SoundPlan(samples=3))
    np.savez(tmp_path / "bad.npz", x_test=x, y_test=np.zeros(3, np.int64), sound_test=np.zeros((3, 8000), np.int16))
    with pytest.raises(BadInputError, match=r"sound_test is int16\[3, 8000\], int16\[3, 16000\] is wanted"):
        api.load_data(str(tmp_path / "bad.npz"))
    for snr in ((), (10.0, 20.0), (20.0, 20.0)):
        with pytest.raises(ValidationError, match="must be falling numbers of dB"):
            SoundPlan(snr=snr)


def test_what_makes_the_figures_doubtful() -> None:
    labels, right, wrong = (0,) * 100, (0,) * 100, (1,) * 5 + (0,) * 95
    seen = Confirmation(inputs=10, bytes_compared=50, mismatched_inputs=0, resent_frames=0, seconds=1.0)

    def point(noise: tuple[int, ...], attack: tuple[int, ...], doubled: tuple[int, ...]) -> SoundPoint:
        _, robust, under = count(labels, right, [(noise, attack, doubled)])
        return SoundPoint(
            snr=20, least_snr=20, noise=noise, attack=attack, doubled=doubled, robust=robust[0],
            under_noise=under[0], queries=1, gradients=1,
        )  # fmt: skip

    clean = Rate.of(95, 100)
    assert not list(check(clean, 0.3, (point(right, wrong, wrong),), labels, seen))
    found = check(clean, 0.3, (point(wrong, right, right),), labels, seen)
    assert [(issue.code, issue.severity) for issue in found] == [("NOISE_BEATS_GRADIENTS", "invalid")]
    found = check(clean, 0.3, (point(right, right, wrong),), labels, seen)
    assert [issue.code for issue in found] == ["TOO_FEW_STEPS"]
    found = check(Rate.of(20, 60), 0.3, (), labels, seen.model_copy(update={"mismatched_inputs": 2}))
    assert [issue.code for issue in found] == ["DEVICE_TWIN_MISMATCH", "FEW_SAMPLES", "ACCURACY_AT_CHANCE"]
