"""Data sets: the npz format, the step onto the int8 grid, Fashion-MNIST with its checksums."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from typer.testing import CliRunner

from tritguard.cli import app
from tritguard.data import Dataset, cifar10, load_dataset, read_dataset, to_input_bytes, write_dataset
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.data.download import RemoteFile
from tritguard.data.fashion_mnist import DEBIAN_DIR, SOURCES, load_fashion_mnist
from tritguard.errors import BadInputError

if TYPE_CHECKING:
    from tests.support.broken_server import BrokenServer

pytest_plugins = ("tests.support.broken_server",)


def small(**changes: Any) -> dict[str, Any]:
    arrays = {
        "x_test": np.arange(24, dtype=np.uint8).reshape(2, 3, 4, 1),
        "y_test": np.array([0, 2], np.uint8),
        "classes": np.array(["a", "b", "c"]),
    }
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def save(tmp_path: Path, **arrays: Any) -> Path:
    path = tmp_path / "set.npz"
    np.savez(path, **arrays)
    return path


def test_round_trip(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 4, 4, 1)).astype(np.float32), np.array([0, 1, 1, 0, 1])
    written = Dataset("probe", x, y, ("no", "yes"), "volt", "CC0", x[:3], y[:3])
    write_dataset(tmp_path / "d.npz", written)
    read = read_dataset(tmp_path / "d.npz")
    assert (read.name, read.classes, read.input_unit, read.licence) == ("probe", ("no", "yes"), "volt", "CC0")
    for key in ("x_test", "y_test", "x_train", "y_train"):
        np.testing.assert_array_equal(getattr(read, key), getattr(written, key))
    assert read.sha256 == written.sha256
    assert Dataset("probe", x, 1 - y, ("no", "yes"), "volt", "CC0").sha256 != written.sha256


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ({}, False),
        ({"input_unit": np.array("MFCC coefficient")}, True),
        ({"input_unit": np.array("band energy"), "holds_features": np.array(True)}, True),
        ({"input_unit": np.array("MFCC"), "holds_features": np.array(False)}, False),
    ],
)
def test_a_file_says_whether_it_holds_features(said: dict[str, Any], holds: bool, tmp_path: Path) -> None:
    dataset = read_dataset(save(tmp_path, x=np.zeros((3, 2), np.int8), y=np.array([0, 4, 1]), **said))
    assert dataset.holds_features is holds
    write_dataset(tmp_path / "again.npz", dataset)
    assert read_dataset(tmp_path / "again.npz").holds_features is holds


def test_plain_keys_are_a_test_set(tmp_path: Path) -> None:
    dataset = read_dataset(save(tmp_path, x=np.zeros((3, 2), np.int8), y=np.array([0, 4, 1])))
    assert dataset.classes == ("0", "1", "2", "3", "4")
    assert dataset.x_train is None
    assert dataset.name == "set"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": None, "y_test": None}, "no x_test and y_test"),
        ({"y_test": None}, "x_test without y_test"),
        ({"y_test": np.array([0, 1, 2])}, "shape"),
        ({"y_test": np.array([0, 3])}, "label 3, but only 3 classes"),
        ({"y_test": np.array([0, -1])}, "not class indices"),
        ({"y_test": np.array([0.0, 1.0])}, "not class indices"),
        ({"y_test": np.array([0, 2**32 - 1], np.uint32), "classes": None}, "label 4294967295 at place 1"),
        ({"y_test": np.array([2**64 - 1, 0], np.uint64), "classes": None}, "label 18446744073709551615 at place 0"),
        ({"y_test": np.array([0, 10**9]), "classes": None}, "label 1000000000 at place 1, .* leave out samples"),
        ({"x_test": np.zeros((2, 3), np.int32)}, "int32"),
        ({"x_test": np.full((2, 3), np.nan, np.float32)}, "NaN"),
        ({"x_test": np.zeros((0, 3), np.int8), "y_test": np.zeros(0, int)}, "shape"),
        ({"x_train": np.zeros((2, 5), np.uint8), "y_train": np.array([0, 1])}, "differ"),
    ],
)
def test_sets_that_do_not_fit_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInputError, match=message) as caught:
        read_dataset(save(tmp_path, **small(**changes)))
    assert caught.value.where and "set.npz" in caught.value.where


class Bomb:
    """Unpickling it raises the alarm."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('unpickled')",)


def test_pickles_are_refused_unopened(tmp_path: Path) -> None:
    in_array = save(tmp_path, **small(x_test=np.array([Bomb(), Bomb()], dtype=object)))
    bare = tmp_path / "bare.npz"
    bare.write_bytes(pickle.dumps(Bomb()))
    for path in (in_array, bare):
        with pytest.raises(BadInputError, match="pickled objects are refused"):
            read_dataset(path)


def test_broken_files(tmp_path: Path) -> None:
    whole = save(tmp_path, **small()).read_bytes()
    broken = tmp_path / "broken.npz"
    for content in (b"", whole[: len(whole) // 2], b"PK\x03\x04" + bytes(40), bytes(100)):
        broken.write_bytes(content)
        with pytest.raises(BadInputError):
            read_dataset(broken)
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(BadInputError, match="single array"):
        read_dataset(tmp_path / "one.npy")
    with pytest.raises(BadInputError, match="no such file"):
        load_dataset(str(tmp_path / "absent.npz"))
    with pytest.raises(BadInputError, match="no such data set"):
        load_dataset("absent")


def test_int8_is_taken_as_it_is() -> None:
    x = np.array([[-128, 0, 127]], np.int8)
    assert to_input_bytes(x, 0.37, 4) is x


@pytest.mark.parametrize("scale", [1 / 255, 1.0, float(np.float32(1 / 255)), 0.0039])
def test_pixels_map_onto_all_of_int8(scale: float) -> None:
    pixels = np.arange(256, dtype=np.uint8)[None]
    np.testing.assert_array_equal(to_input_bytes(pixels, scale, -128)[0], np.arange(-128, 128))


@pytest.mark.parametrize(("scale", "zero_point"), [(1 / 255, 0), (1 / 128, -128), (0.5, -128)])
def test_pixels_are_refused_where_the_input_is_no_pixel_grid(scale: float, zero_point: int) -> None:
    with pytest.raises(BadInputError, match="uint8 pixels"):
        to_input_bytes(np.zeros((1, 2), np.uint8), scale, zero_point)


def test_the_unit_follows_the_models_scale() -> None:
    pixels = Dataset("p", np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.int64), ("a",), PIXEL_UNIT, "none")
    assert pixels.unit_at(1 / 255) == "pixel/255"
    assert pixels.unit_at(1.0) == "pixel, 0 to 255"
    assert replace(pixels, input_unit="count").unit_at(1.0) == "count"


def test_pixels_and_their_input_units_give_the_same_bytes() -> None:
    pixels = np.arange(256, dtype=np.uint8)[None]
    scale = float(np.float32(1 / 255))
    units = pixels / np.float32(255)
    np.testing.assert_array_equal(to_input_bytes(units, scale, -128), to_input_bytes(pixels, scale, -128))


@given(
    hnp.arrays(np.float32, (1, 9), elements=st.floats(-50, 50, width=32)),
    st.floats(0.01, 2),
    st.integers(-128, 127),
)
def test_float_lands_on_the_nearest_step(x: np.ndarray, scale: float, zero_point: int) -> None:
    q = to_input_bytes(x, scale, zero_point).astype(np.float64)
    wanted = np.clip(x.astype(np.float64) / scale + zero_point, -128, 127)
    assert np.abs(q - wanted).max() <= 0.5 + 1e-3


def test_halves_round_away_from_zero() -> None:
    x = np.array([[0.5, -0.5, 1.5, -2.5, 1e9, -1e9]], np.float32)
    np.testing.assert_array_equal(to_input_bytes(x, 1.0, 0), [[1, -1, 2, -3, 127, -128]])


@pytest.mark.parametrize("x", [np.array([[np.nan]], np.float32), np.zeros((1, 1), np.int16)])
def test_what_cannot_be_put_on_the_grid_is_refused(x: np.ndarray) -> None:
    with pytest.raises(BadInputError):
        to_input_bytes(x, 1.0, 0)


@pytest.fixture
def debian_files() -> Path:
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    return DEBIAN_DIR


def sources(server: BrokenServer) -> tuple[RemoteFile, ...]:
    return tuple(server.source(source.name) for source in SOURCES)


def test_fashion_mnist_from_debian(debian_files: Path) -> None:
    dataset = load_dataset("fashion-mnist")
    assert dataset.x_train is not None
    assert dataset.x_train.shape == (60000, 28, 28, 1)
    assert dataset.x_test.shape == (10000, 28, 28, 1)
    assert dataset.x_test.dtype == np.uint8
    assert np.bincount(dataset.y_test).tolist() == [1000] * 10
    assert len(dataset.classes) == 10


def test_fashion_mnist_is_downloaded_once(tmp_path: Path, debian_files: Path, server: BrokenServer) -> None:
    for file in debian_files.glob("*.gz"):
        server.contents[file.name] = file.read_bytes()
    seen: list[tuple[int, int]] = []
    where = {"debian_dir": tmp_path / "none", "cache_dir": tmp_path / "cache", "sources": sources(server)}
    first = load_fashion_mnist(lambda done, total: seen.append((done, total)), **where)
    assert seen == sorted(seen)
    assert all(0 < done <= total for done, total in seen)
    server.contents.clear()
    again = load_fashion_mnist(**where)
    assert again.sha256 == first.sha256


def test_wrong_content_is_a_checksum_failure(tmp_path: Path, debian_files: Path, server: BrokenServer) -> None:
    """The checksum is of the content, whatever the framing: here somebody changed a cached file."""
    name = "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress((debian_files / name).read_bytes()))
    content[-1] ^= 1
    for file in debian_files.glob("*.gz"):
        server.contents[file.name] = file.read_bytes()
    server.contents[name] = gzip.compress(content)
    cache = tmp_path / "cache"
    with pytest.raises(BadInputError, match="checksum failure"):
        load_fashion_mnist(debian_dir=tmp_path / "none", cache_dir=cache, sources=sources(server))
    (cache / name).write_bytes((debian_files / name).read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a whole gzip file"):
        load_fashion_mnist(debian_dir=tmp_path / "none", cache_dir=cache, sources=sources(server))


def test_no_network_says_what_to_install(tmp_path: Path, server: BrokenServer) -> None:
    with pytest.raises(BadInputError, match=r"cannot be downloaded.*dataset-fashion-mnist"):
        load_fashion_mnist(
            debian_dir=tmp_path,
            cache_dir=tmp_path,
            sources=tuple(replace(s, url=f"{server.url}{s.name}") for s in SOURCES),
        )


def cifar_archive(n: int = 20) -> tuple[bytes, np.ndarray, np.ndarray]:
    """An archive laid out as the published one, with n pictures a batch; its test pictures and labels."""
    rng = np.random.default_rng(0)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "readme.html", "test_batch.bin"):
            pictures = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
            labels = rng.integers(0, 10, n, dtype=np.uint8)
            content = np.hstack([labels[:, None], pictures.transpose(0, 3, 1, 2).reshape(n, -1)]).tobytes()
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue(), pictures, labels


def test_cifar10(tmp_path: Path, server: BrokenServer) -> None:
    content, pictures, labels = cifar_archive()
    server.contents[cifar10.ARCHIVE.name] = content
    source = server.source(cifar10.ARCHIVE.name)
    dataset = cifar10.load_cifar10(cache_dir=tmp_path / "cache", source=source)
    assert dataset.x_train is not None and dataset.x_train.shape == (100, 32, 32, 3)
    np.testing.assert_array_equal(dataset.x_test, pictures)
    np.testing.assert_array_equal(dataset.y_test, labels)

    own = tmp_path / cifar10.ARCHIVE.name
    own.write_bytes(content)
    assert cifar10.load_cifar10(archive=own, source=source).sha256 == dataset.sha256
    with pytest.raises(BadInputError, match="checksum failure"):
        load_dataset(str(own))  # not the published one


def test_a_cached_archive_that_broke_is_one_error(tmp_path: Path) -> None:
    content, _, _ = cifar_archive()
    for broken in (content[:-200], b"no archive", gzip.compress(b"")):
        (tmp_path / cifar10.ARCHIVE.name).write_bytes(broken)
        with pytest.raises(BadInputError, match="delete the file and start again"):
            cifar10.load_cifar10(cache_dir=tmp_path)


def test_an_archive_writes_nothing(tmp_path: Path) -> None:
    """Members are read where they lie: names and links that lead elsewhere lead nowhere."""
    content, pictures, _ = cifar_archive()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as hostile, tarfile.open(fileobj=io.BytesIO(content)) as sound:
        for name in ("../../evil.bin", f"{tmp_path}/evil.bin", "cifar-10-batches-bin/../../../evil.bin"):
            member = tarfile.TarInfo(name)
            member.size = 4
            hostile.addfile(member, io.BytesIO(b"evil"))
        for member in sound:
            hostile.addfile(member, sound.extractfile(member))
    cache = tmp_path / "a" / "b"
    cache.mkdir(parents=True)
    (cache / cifar10.ARCHIVE.name).write_bytes(packed.getvalue())
    np.testing.assert_array_equal(cifar10.load_cifar10(cache_dir=cache).x_test, pictures)
    with tarfile.open(cache / cifar10.ARCHIVE.name, "w:gz") as linked:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/hostname"
        linked.addfile(member)
    with pytest.raises(BadInputError, match="delete the file and start again"):
        cifar10.load_cifar10(cache_dir=cache)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [cifar10.ARCHIVE.name]


def test_the_verb_makes_and_describes_a_set(tmp_path: Path) -> None:
    written = Dataset("probe", np.zeros((5, 4, 4, 1), np.uint8), np.array([0, 1, 1, 0, 1]), ("no", "yes"), "-", "CC0")
    write_dataset(tmp_path / "d.npz", written)
    result = CliRunner().invoke(app, ["data", str(tmp_path / "d.npz"), "-o", str(tmp_path / "e.npz")])
    assert result.exit_code == 0, result.output
    assert "5 to test with, 4x4x1 uint8" in result.output and "no 2, yes 3" in result.output
    assert read_dataset(tmp_path / "e.npz").sha256 == written.sha256
