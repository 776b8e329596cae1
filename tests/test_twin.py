"""The twin as a library: how it is built, cached and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.test_emit import ternary_model
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BuildError, ToolMissingError
from tritguard.twin import Twin


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_bundle(ternary_model(), tmp_path / "b", name="ops")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tritguard" / "twin"


def test_the_compiler_may_have_options(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((3, *bundle.manifest.input.shape), dtype=np.int8)
    plain = Twin(bundle).predict(x).scores
    monkeypatch.setenv("CC", f"{shutil.which('cc')} -O1 -DSPACED='a b'")
    assert np.array_equal(Twin(bundle).predict(x).scores, plain)
    assert len(list(cache.glob("*.so"))) == 2, "other options are another library"


def test_a_library_is_compiled_once(bundle: Bundle, cache: Path) -> None:
    Twin(bundle)
    (library,) = cache.glob("*.so")
    built = library.stat().st_mtime_ns
    Twin(bundle)
    assert [file.stat().st_mtime_ns for file in cache.iterdir()] == [built]


def test_a_library_cut_short_is_compiled_again(bundle: Bundle, cache: Path) -> None:
    Twin(bundle)
    for keep in (0, 100, 9000):
        (library,) = cache.glob("*.so")
        whole = library.read_bytes()
        library.unlink()  # the one in use stays whole
        library.write_bytes(whole[:keep])
        Twin(bundle).predict(np.zeros((1, *bundle.manifest.input.shape), dtype=np.int8))
        (library,) = cache.glob("*.so")
        assert library.stat().st_size == len(whole)


def test_without_a_compiler(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -O2")
    with pytest.raises(ToolMissingError, match="no C compiler for the twin"):
        Twin(bundle)


def test_a_compiler_that_fails_is_quoted(bundle: Bundle, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "cc -include no-such-header.h")
    with pytest.raises(BuildError, match=r"the twin does not compile .*error"):
        Twin(bundle)
    assert not list(cache.glob("*")), "nothing half built stays"
