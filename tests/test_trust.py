"""C and C++ in a folder from anybody is compiled only if it is what this version writes for the model in it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.device_support import inputs
from tests.support.known_models import ternary_model
from tritguard.build.engine import native_engine
from tritguard.cli import app
from tritguard.emit import Bundle, open_bundle
from tritguard.emit.tflm import Arrays, open_arrays, write_arrays
from tritguard.emit.tflm.trust import trusted_arrays
from tritguard.errors import BadInputError
from tritguard.export import export
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

HOSTILE = '\n__asm__(".incbin \\"/etc/hostname\\"");\n'
CPP = ("arena.h", "model_data.cc", "model_data.h", "op_resolver.h")
USERS: dict[str, Callable[[Bundle, Path], object]] = {
    "twin": lambda bundle, _: Twin(bundle),
    "firmware": lambda bundle, _: native_engine(bundle),
    "export": lambda bundle, folder: export(bundle, "cmake", folder / "export"),
}


def stated(folder: Path, name: str, content: str) -> None:
    """Write a file of a bundle or of arrays, and let the manifest agree."""
    (folder / name).write_text(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content.encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def copied(small_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle as it comes from another machine."""
    return shutil.copytree(small_bundle.path, tmp_path / "bundle")


@pytest.mark.parametrize("user", USERS)
def test_a_bundle_of_another_machine_is_taken(user: str, copied: Path, tmp_path: Path) -> None:
    USERS[user](open_bundle(copied), tmp_path)


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("name", ["c/tg_model.c", "c/tg_kernels.h", "c/added.c"])
def test_other_c_is_not_compiled(user: str, name: str, copied: Path, tmp_path: Path) -> None:
    before = (copied / name).read_text() if (copied / name).is_file() else ""
    stated(copied, name, before + HOSTILE)
    with pytest.raises(BadInputError, match=f"{name} is not what tritguard .* generates"):
        USERS[user](open_bundle(copied), tmp_path)


def test_c_that_is_missing_is_named(copied: Path) -> None:
    (copied / "c" / "tg_model.h").unlink()
    manifest = json.loads((copied / "manifest.json").read_text())
    del manifest["files"]["c/tg_model.h"]
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match=r"c/tg_model\.h is not what"):
        Twin(open_bundle(copied))


def test_trust_compiles_what_is_there(copied: Path) -> None:
    source = (copied / "c" / "tg_model.c").read_text()
    stated(copied, "c/tg_model.c", source + "\n/* The maker's own word. */\n")
    with pytest.raises(BadInputError, match="give --trust"):
        Twin(open_bundle(copied))
    trusted = open_bundle(copied, trust=True)
    assert Twin(trusted).predict(inputs(trusted, 2)).scores.shape == (2, trusted.manifest.output_bytes)
    command = ["export", str(copied), "--to", "cmake", "--out", str(copied.parent / "out")]
    assert isinstance(CliRunner().invoke(app, command).exception, BadInputError)
    assert CliRunner().invoke(app, [*command, "--trust"]).exit_code == 0


@pytest.fixture(scope="module")
def made_arrays(tmp_path_factory: pytest.TempPathFactory) -> Arrays:
    return write_arrays(ternary_model(), tmp_path_factory.mktemp("tflm") / "arrays", name="small")


@pytest.fixture
def arrays(made_arrays: Arrays, tmp_path: Path) -> Path:
    return shutil.copytree(made_arrays.path, tmp_path / "arrays")


def test_arrays_of_another_machine_are_taken(made_arrays: Arrays, arrays: Path) -> None:
    compiled = trusted_arrays(open_arrays(arrays))
    assert compiled.keys() == {
        f"small_{name}" for name in ("arena.h", "model_data.cc", "model_data.h", "op_resolver.h")
    }
    assert compiled.items() <= trusted_arrays(made_arrays).items()


@pytest.mark.parametrize("file", CPP)
def test_other_cpp_is_not_compiled(file: str, arrays: Path) -> None:
    name = f"small_{file}"
    stated(arrays, name, (arrays / name).read_text() + HOSTILE)
    with pytest.raises(BadInputError, match=f"{name} is not what tritguard .* writes"):
        trusted_arrays(open_arrays(arrays))
    assert HOSTILE.encode() in trusted_arrays(open_arrays(arrays, trust=True))[name]


@pytest.mark.parametrize("field", ["tritguard", "tflite_micro", "model_sha256", "array_sha256"])
def test_a_word_of_the_manifest_stays_in_its_comment(field: str, arrays: Path) -> None:
    manifest = json.loads((arrays / "manifest.json").read_text())
    manifest[field] += HOSTILE
    (arrays / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInputError, match=field):
        open_arrays(arrays)
