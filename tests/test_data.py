"""Data sets: the npz format, the step onto the int8 grid, Fashion-MNIST with its checksums."""

from __future__ import annotations

import functools
import gzip
import http.server
import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tritguard.data import Dataset, load_dataset, read_dataset, to_input_bytes, write_dataset
from tritguard.data.dataset import PIXEL_UNIT
from tritguard.data.fashion_mnist import DEBIAN_DIR, load_fashion_mnist
from tritguard.errors import BadInputError


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
    with pytest.raises(BadInputError, match="no such data set"):
        load_dataset(str(tmp_path / "absent.npz"))


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


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def debian_files() -> Path:
    if not DEBIAN_DIR.is_dir():
        pytest.skip("needs Debian's package dataset-fashion-mnist")
    return DEBIAN_DIR


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the address of a web server that serves it."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_fashion_mnist_from_debian(debian_files: Path) -> None:
    dataset = load_dataset("fashion-mnist")
    assert dataset.x_train is not None
    assert dataset.x_train.shape == (60000, 28, 28, 1)
    assert dataset.x_test.shape == (10000, 28, 28, 1)
    assert dataset.x_test.dtype == np.uint8
    assert np.bincount(dataset.y_test).tolist() == [1000] * 10
    assert len(dataset.classes) == 10


def test_fashion_mnist_is_downloaded_once(tmp_path: Path, debian_files: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    for file in debian_files.glob("*.gz"):
        (folder / file.name).symlink_to(file)
    seen: list[tuple[int, int]] = []
    where = {"debian_dir": tmp_path / "none", "cache_dir": tmp_path / "cache"}
    first = load_fashion_mnist(lambda done, total: seen.append((done, total)), url=url, **where)
    assert seen == sorted(seen)
    assert all(0 < done <= total for done, total in seen)
    again = load_fashion_mnist(url="http://127.0.0.1:9/", **where)
    assert again.sha256 == first.sha256


def test_wrong_content_is_a_checksum_failure(tmp_path: Path, debian_files: Path, served: tuple[Path, str]) -> None:
    folder, url = served
    name = "t10k-labels-idx1-ubyte.gz"
    content = bytearray(gzip.decompress((debian_files / name).read_bytes()))
    content[-1] ^= 1
    for file in debian_files.glob("*.gz"):
        if file.name != name:
            (folder / file.name).symlink_to(file)
    (folder / name).write_bytes(gzip.compress(content))
    cache = tmp_path / "cache"
    with pytest.raises(BadInputError, match="checksum failure"):
        load_fashion_mnist(debian_dir=tmp_path / "none", cache_dir=cache, url=url)
    assert not (cache / name).exists()

    (folder / name).write_bytes((debian_files / name).read_bytes()[:-100])
    with pytest.raises(BadInputError, match="not a whole gzip file"):
        load_fashion_mnist(debian_dir=tmp_path / "none", cache_dir=cache, url=url)


def test_no_network_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot be downloaded.*dataset-fashion-mnist"):
        load_fashion_mnist(debian_dir=tmp_path, cache_dir=tmp_path, url="http://127.0.0.1:9/")
