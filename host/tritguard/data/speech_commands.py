"""Google Speech Commands v0.02 (Warden 2018, arXiv 1804.03209), CC BY 4.0, as MLPerf Tiny's keyword spotting takes it.

There are 12 classes: ten words, silence, and "unknown", which is the other 25 words. The test set is the authors' own
archive of it. The training set is all that is on neither of the main archive's two lists, and, as silence, the
background noises, of which every half second gives a clip of one second. The noise `running_tap` belongs to the
validation set, which is left out. The features are those of `tritguard.data.mfcc`.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.data.dataset import Dataset, read_dataset, write_dataset
from tritguard.data.download import DAMAGED_FIX, RemoteFile, cache_folder, check_file, fetch
from tritguard.data.mfcc import CLIP_SAMPLES, INPUT_UNIT, mfcc
from tritguard.data.sound import clip_of, read_wav
from tritguard.errors import BadInputError
from tritguard.progress import Progress

NAME = "speech-commands"
CLASSES = ("Down", "Go", "Left", "No", "Off", "On", "Right", "Stop", "Up", "Yes", "Silence", "Unknown")
_ADVICE = "download both archives by other means and give the path of the larger one as the data set"
_SERVER = "https://storage.googleapis.com/download.tensorflow.org/data/"
ARCHIVE = RemoteFile(
    url=f"{_SERVER}speech_commands_v0.02.tar.gz",
    bytes=2428923189,
    sha256="af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
    advice=_ADVICE,
)
TEST_ARCHIVE = RemoteFile(
    url=f"{_SERVER}speech_commands_test_set_v0.02.tar.gz",
    bytes=112563277,
    sha256="cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",
    advice=_ADVICE,
)
FEATURES = "features.npz"  # written once, from both archives

_NOISE = "_background_noise_"
_SILENCE = {_NOISE, "_silence_"}
_VALIDATION_NOISE = f"{_NOISE}/running_tap.wav"
_LISTS = ("validation_list.txt", "testing_list.txt")
_BATCH = 256  # clips that are held as sound at a time


@dataclass(frozen=True, eq=False)
class _Features:
    """The features of an archive.

    Attributes:
        names: for each sample the name of the file it comes from.
        x: float32[n, 49, 10, 1].
        y: int64[n].
        listed: the names on the archive's lists.
    """

    names: list[str]
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    listed: frozenset[str]


def load_speech_commands(
    progress: Progress | None = None,
    *,
    archive: Path | None = None,
    cache_dir: Path | None = None,
    sources: tuple[RemoteFile, RemoteFile] = (ARCHIVE, TEST_ARCHIVE),
) -> Dataset:
    """Speech Commands: float32[n, 49, 10, 1] in MFCC, 12 classes, in the order of MLPerf Tiny's model.

    Reading the archives takes minutes. The features are kept in the cache and read from there the next time.

    Args:
        progress: called with (bytes done, total bytes) of the download, then of the reading.
        archive: a copy of the larger archive to use instead of a download; the test archive has to lie beside it.
        cache_dir: where downloads and features are kept; the user's cache folder by default.
        sources: the published files.

    Raises:
        BadInputError: an archive cannot be downloaded or read, or is not the published one.
    """
    cache = cache_dir or cache_folder(NAME)
    folder = cache if archive is None else archive.parent
    if archive is not None:
        for source in sources:
            check_file(folder / source.name, source, fix=f"give the published {source.name}, unchanged")
    if (cache / FEATURES).is_file():
        return read_dataset(cache / FEATURES)
    if archive is None:
        fetch(list(sources), cache, progress)
    total = sum(source.bytes for source in sources)
    full = _read(folder / sources[0].name, progress, 0, total)
    test = _read(folder / sources[1].name, progress, sources[0].bytes, total)
    trained = np.array([name not in full.listed and name != _VALIDATION_NOISE for name in full.names], bool)
    dataset = Dataset(
        name=NAME,
        x_test=test.x,
        y_test=test.y,
        classes=CLASSES,
        input_unit=INPUT_UNIT,
        holds_features=True,
        licence="CC BY 4.0 (Warden 2018)",
        x_train=full.x[trained],
        y_train=full.y[trained],
    )
    write_dataset(cache / FEATURES, dataset)
    return dataset


def _read(archive: Path, progress: Progress | None, before: int, total: int) -> _Features:
    """Read a whole archive in one pass, without unpacking it to disk."""
    names: list[str] = []
    features: list[NDArray[np.float32]] = []
    listed: set[str] = set()
    clips: list[NDArray[np.float32]] = []

    def flush() -> None:
        if clips:
            features.append(mfcc(np.stack(clips)))
            clips.clear()

    try:
        with archive.open("rb") as stream, tarfile.open(fileobj=stream, mode="r|gz") as tar:
            for name, content in _members(tar):
                if name in _LISTS:
                    listed.update(content.decode().split())
                    continue
                for clip in _clips(name, content):
                    clips.append(clip)
                    names.append(name)
                if len(clips) >= _BATCH:
                    flush()
                    if progress:
                        progress(before + stream.tell(), total)
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise BadInputError(f"not a complete archive ({error})", where=str(archive), fix=DAMAGED_FIX) from error
    flush()
    if not features:
        raise BadInputError("holds no words", where=str(archive), fix=DAMAGED_FIX)
    labels = np.array([_label(name.partition("/")[0]) for name in names], np.int64)
    return _Features(names, np.concatenate(features), labels, frozenset(listed))


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """The names, relative to the archive's root, and the contents of all lists and sounds."""
    for member in tar:
        name = member.name.removeprefix("./")
        is_sound = name.count("/") == 1 and name.endswith(".wav")
        stream = tar.extractfile(member) if is_sound or name in _LISTS else None
        if stream is not None:
            yield name, stream.read()


def _clips(name: str, content: bytes) -> Iterator[NDArray[np.float32]]:
    if not name.startswith(f"{_NOISE}/"):
        yield clip_of(content, name)
        return
    noise, _ = read_wav(content, name)
    for start in range(0, len(noise) - CLIP_SAMPLES, CLIP_SAMPLES // 2):
        yield noise[start : start + CLIP_SAMPLES]


def _label(word: str) -> int:
    if word in _SILENCE:
        return CLASSES.index("Silence")
    title = word.capitalize()
    return CLASSES.index(title) if title in CLASSES[:10] else CLASSES.index("Unknown")
