"""Functions that the tests of exports share."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.shared import ROOT
from tritguard.emit import Bundle
from tritguard.oracle import oracle_available, predict_apart
from tritguard.predictor import Int8
from tritguard.twin import Twin

SUPPORT = ROOT / "tests" / "export"


def needs(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*command: str | Path, cwd: Path | None = None, stdin: bytes = b"") -> bytes:
    done = subprocess.run([*map(str, command)], cwd=cwd, input=stdin, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode(errors="replace")
    return done.stdout


def expected(bundle: Bundle, x: Int8) -> Int8:
    """The oracle's bytes; where it is not installed, those of the twin, which other tests compare with it."""
    if oracle_available():
        return predict_apart(bundle.model_path.read_bytes(), x)
    return Twin(bundle).predict(x).scores


def scores(bundle: Bundle, stdout: bytes) -> Int8:
    return np.frombuffer(stdout, np.int8).reshape(-1, int(np.prod(bundle.manifest.output.shape)))


def program(name: str, prefix: str) -> str:
    """A program of tests/export that runs the model with this prefix."""
    return (
        f'#define PROGRAM_HEADER "{prefix}_model.h"\n'
        f"#define RUN {prefix}_model_run\n"
        f"#define INPUT_BYTES {prefix.upper()}_INPUT_BYTES\n"
        f"#define OUTPUT_BYTES {prefix.upper()}_OUTPUT_BYTES\n"
        f"{(SUPPORT / name).read_text()}"
    )


def example_class(bundle: Bundle) -> bytes:
    """What every example prints: the class of an input whose real values are all zero."""
    x = np.full((1, *bundle.manifest.input.shape), bundle.manifest.input.zero_point, np.int8)
    return f"class {int(expected(bundle, x)[0].argmax())}".encode()


def cmake(source: Path, build: Path, *options: str) -> None:
    needs("cmake", "ninja")
    run("cmake", "-G", "Ninja", "-S", source, "-B", build, *options)
    run("cmake", "--build", build)
