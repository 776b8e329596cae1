"""Keyword data: the front end against tf.signal and EEMBC's samples, sound files, Speech Commands' archives."""

from __future__ import annotations

import io
import tarfile
import wave
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.support.shared import shared_file
from tritguard.data import load_dataset
from tritguard.data.mfcc import CLIP_SAMPLES, fit_clip, mfcc, resample
from tritguard.data.sound import read_clip
from tritguard.data.speech_commands import ARCHIVE, CLASSES, TEST_ARCHIVE, load_speech_commands
from tritguard.errors import BadInputError
from tritguard.train.backend import tf

if TYPE_CHECKING:
    from tests.support.broken_server import BrokenServer

pytest_plugins = ("tests.support.broken_server",)

# MLPerf Tiny's int8 DS-CNN takes MFCC at this scale and zero point.
SCALE, ZERO_POINT = 0.5847029, 83


def sound(seed: int, samples: int = CLIP_SAMPLES, rate: int = 16_000) -> np.ndarray:
    """Three tones below 3 kHz with a little noise, full scale 0.5."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / rate
    tones = sum(np.sin(2 * np.pi * f * t + f) for f in rng.uniform(100, 3000, 3))
    return np.asarray(tones / 6 + rng.normal(size=samples) * 0.003, np.float32)


def reference(clip: np.ndarray) -> np.ndarray:
    """MLPerf Tiny's recipe with the functions it names."""
    clip = clip / tf.reduce_max(clip)
    spectra = tf.abs(tf.signal.stft(clip, 480, 320, fft_length=None, window_fn=tf.signal.hann_window))
    mel = tf.tensordot(spectra, tf.signal.linear_to_mel_weight_matrix(40, 257, 16000, 20.0, 4000.0), 1)
    return np.asarray(tf.signal.mfccs_from_log_mel_spectrograms(tf.math.log(mel + 1e-6))[..., :10])


@pytest.mark.parametrize("samples", [16_000, 9_000])
def test_the_front_end_is_mlperf_tinys(samples: int) -> None:
    clips = np.stack([fit_clip(sound(seed, samples)) for seed in range(6)])
    wanted = np.stack([reference(clip) for clip in clips])
    got = mfcc(clips)
    assert got.shape == (6, 49, 10, 1) and got.dtype == np.float32
    np.testing.assert_allclose(got[..., 0], wanted, atol=SCALE / 20)  # a twentieth of an int8 step


def test_silence_is_that_of_eembcs_samples() -> None:
    """The frame they hold most often is digital silence, on the int8 grid."""
    samples = np.load(shared_file("data/gsc_kws01.npz"))["mfcc_int8"].astype(int)
    frames, counts = np.unique(samples.reshape(-1, 10), axis=0, return_counts=True)
    silence = mfcc(np.zeros((1, CLIP_SAMPLES), np.float32))[0, 0, :, 0] / SCALE + ZERO_POINT
    assert np.abs(np.clip(silence, -128, 127) - frames[counts.argmax()]).max() <= 1  # they cut where we round


def test_spoken_digits_lie_where_eembcs_samples_lie() -> None:
    """Other words, speakers and microphones, the same front end: coefficient for coefficient the same ranges."""
    samples = dict(np.load(shared_file("data/gsc_kws01.npz")))
    speech = samples["mfcc_int8"][samples["labels"] != 10].astype(float).reshape(-1, 10)
    digits = dict(np.load(shared_file("data/fsdd.npz")))  # a dict: each look into the file unpacks it anew
    clips = [
        fit_clip(resample(digits["audio"][a:b], 8000))
        for a, b in zip(digits["offsets"][:200], digits["offsets"][1:201], strict=True)
    ]
    frames = mfcc(np.stack(clips)).reshape(-1, 10)
    frames = frames[frames[:, 0] > -120]  # what is not padding
    ours = frames / SCALE + ZERO_POINT
    for c in range(1, 10):
        assert abs(ours[:, c].mean() - speech[:, c].mean()) < 3 * speech[:, c].std(), c
        assert 0.3 < ours[:, c].std() / speech[:, c].std() < 3.5, c


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_the_sound(rate: int) -> None:
    t = np.arange(rate) / rate
    tone = np.sin(2 * np.pi * 440 * t)
    got = resample(tone, rate)
    assert len(got) == 16_000
    wanted = np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(got[200:-200], wanted[200:-200], atol=0.01)


def wav(samples: np.ndarray, rate: int = 16_000, width: int = 2, channels: int = 1) -> bytes:
    integers = {1: (samples * 127 + 128).astype("<u1"), 2: (samples * 32767).astype("<i2")}
    integers[4] = (samples * (2**31 - 1)).astype("<i4")
    packed = io.BytesIO()
    with wave.open(packed, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.repeat(integers[width], channels).tobytes())
    return packed.getvalue()


@pytest.mark.parametrize(("width", "channels", "rate"), [(2, 1, 16_000), (1, 1, 16_000), (4, 2, 16_000), (2, 2, 8_000)])
def test_sound_files_of_every_kind(tmp_path: Path, width: int, channels: int, rate: int) -> None:
    samples = sound(1, rate // 2, rate)
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples, rate, width, channels))
    clip = read_clip(path)
    assert clip.shape == (CLIP_SAMPLES,) and not clip[8100:].any()
    np.testing.assert_allclose(clip[200:7800], resample(samples, rate)[200:7800], atol=0.02 if width == 1 else 2e-3)


def test_headerless_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.pcm"
    path.write_bytes((sound(2) * 32767).astype("<i2").tobytes() + b"x")
    np.testing.assert_allclose(read_clip(path), sound(2), atol=1e-4)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3" + bytes(100), wav(sound(0))[:30]])
def test_what_is_no_sound_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(BadInputError, match=r"a\.wav"):
        read_clip(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(wav(np.zeros(0)))
    with pytest.raises(BadInputError, match="holds no sound"):
        read_clip(tmp_path / "b.wav")


def test_a_folder_of_recordings_named_as_fsdd_names_them(tmp_path: Path) -> None:
    digits = dict(np.load(shared_file("data/fsdd.npz")))  # a dict: each look into the file unpacks it anew
    for n in range(0, 3000, 10):
        start, end = digits["offsets"][n : n + 2]
        speaker = digits["speakers"][digits["speaker"][n]]
        name = f"{digits['labels'][n]}_{speaker}_{digits['index'][n]}.wav"
        (tmp_path / name).write_bytes(wav(digits["audio"][start:end] / 32768, 8000))
    seen: list[tuple[int, int]] = []
    dataset = load_dataset(str(tmp_path), lambda *args: seen.append(args))
    assert dataset.x_train is not None
    assert set(dataset.classes) <= set("0123456789")
    assert len(dataset.x_test) == (digits["index"][::10] < 5).sum()
    assert len(dataset.x_train) + len(dataset.x_test) == 300
    assert dataset.x_test.shape[1:] == (49, 10, 1) and dataset.input_unit == "MFCC"
    assert seen[-1] == (300, 300)


def test_a_folder_for_each_word(tmp_path: Path) -> None:
    for word in ("yes", "no"):
        (tmp_path / word).mkdir()
        for n in range(30):
            (tmp_path / word / f"{n:08x}_nohash_{n % 2}.wav").write_bytes(wav(sound(n, 4000)))
    dataset = load_dataset(str(tmp_path))
    assert dataset.classes == ("no", "yes") and dataset.y_train is not None
    assert len(dataset.y_test) + len(dataset.y_train) == 60
    assert 2 <= len(dataset.y_test) <= 24
    assert dataset.sha256 == load_dataset(str(tmp_path)).sha256


def test_folders_that_say_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"no sound files; give CLASS/NAME\.wav"):
        load_dataset(str(tmp_path))
    (tmp_path / "hello.wav").write_bytes(wav(sound(0)))
    with pytest.raises(BadInputError, match=r"hello\.wav: its name does not tell its class"):
        load_dataset(str(tmp_path))


def archive(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_speech_commands(tmp_path: Path, server: BrokenServer) -> None:
    """Archives laid out as the published ones: splits, silence, unknown words, features kept for the next time."""
    words = {f"{word}/{n}_nohash_0.wav": wav(sound(n, 8000)) for word in ("yes", "down", "tree") for n in range(4)}
    noises = {f"_background_noise_/{name}.wav": wav(sound(9, 40_000)) for name in ("white", "running_tap")}
    lists = {"testing_list.txt": b"yes/0_nohash_0.wav\n", "validation_list.txt": b"tree/1_nohash_0.wav\n"}
    server.contents[ARCHIVE.name] = archive(
        words | {"README.md": b"-", "_background_noise_/README.md": b"-"} | noises | lists
    )
    server.contents[TEST_ARCHIVE.name] = archive(
        {"yes/t.wav": wav(sound(50)), "_silence_/t.wav": wav(np.zeros(100)), "_unknown_/t.wav": wav(sound(51))}
    )
    sources = (server.source(ARCHIVE.name), server.source(TEST_ARCHIVE.name))
    dataset = load_speech_commands(cache_dir=tmp_path, sources=sources)
    assert dataset.y_train is not None
    counts = dict(zip(CLASSES, np.bincount(dataset.y_train, minlength=12), strict=True))
    assert {name: n for name, n in counts.items() if n} == {"Yes": 3, "Down": 4, "Unknown": 3, "Silence": 3}
    assert sorted(CLASSES[y] for y in dataset.y_test) == ["Silence", "Unknown", "Yes"]
    server.contents.clear()
    assert load_speech_commands(cache_dir=tmp_path, sources=sources).sha256 == dataset.sha256
    own = tmp_path / "own" / ARCHIVE.name  # is checked, although the features are kept
    own.parent.mkdir()
    own.write_bytes(b"another one")
    with pytest.raises(BadInputError, match=f"give the published {ARCHIVE.name}"):
        load_speech_commands(cache_dir=tmp_path, archive=own, sources=sources)
    for source in sources:
        assert (tmp_path / source.name).is_file()
