"""Exports as a single header: in anybody's translation units, for every core class, whatever names a kernel keeps."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.device_support import inputs, lively_model
from tests.support.export_support import example_class, expected, needs, program, run, scores
from tests.support.known_models import other_ops_model
from tests.support.shared import shared_file
from tests.support.strict_flags import STRICT, STRICT_CXX
from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.export import export
from tritguard.export.amalgamate import amalgamate
from tritguard.predictor import Int8

pytest_plugins = ("tests.support.device_fixtures", "tests.support.export_fixtures")


@pytest.mark.parametrize("language", ["c", "c++"])
def test_single_header_in_two_translation_units(
    language: str, lively_bundle: Bundle, answers_of_lively: tuple[Int8, Int8], tmp_path: Path
) -> None:
    export(lively_bundle, "single-header", tmp_path / "net")
    (tmp_path / "implementation.c").write_text(
        "#define BLOCK 1\nstatic int convolve;\nint user(void);\nint user(void) { return convolve + BLOCK; }\n"
        '#define LIVELY_IMPLEMENTATION\n#include "lively_model.h"\n#include "lively_model.h"\n'
    )
    net = f"-I{tmp_path / 'net'}"
    run("gcc", *STRICT, "-Wno-unused-macros", net, "-c", tmp_path / "implementation.c", "-o", tmp_path / "model.o")
    compiler = ["gcc", *STRICT] if language == "c" else ["g++", *STRICT_CXX, "-x", "c++"]
    (tmp_path / "main.c").write_text(program("host.c", "lively"))
    run(*compiler, net, "-c", tmp_path / "main.c", "-o", tmp_path / "main.o")
    run("g++", tmp_path / "main.o", tmp_path / "model.o", "-o", tmp_path / "program")
    x, answers = answers_of_lively
    assert np.array_equal(scores(lively_bundle, run(tmp_path / "program", stdin=x.tobytes())), answers)


def test_the_headers_example_and_its_refusal_of_cxx(lively_bundle: Bundle, tmp_path: Path) -> None:
    export(lively_bundle, "single-header", tmp_path / "net")
    run("gcc", *STRICT, "example.c", "-o", "example", cwd=tmp_path / "net")
    assert run(tmp_path / "net" / "example").strip() == example_class(lively_bundle)
    done = subprocess.run(
        ["g++", "-x", "c++", "-fsyntax-only", "example.c"], cwd=tmp_path / "net", capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert "LIVELY_IMPLEMENTATION is C11: define it in a .c file" in done.stderr


UNIT = """
#include "x_shared.h"
#define STEP 2
#define TWICE(a) ((a) * STEP)
enum kind { FIRST, SECOND = 5, };
struct pair { int left; int right; };
typedef int (*visit_t)(const x_state_t *state, int by);
static const char *const label = "convolve";
static const int table[2] = {1, 2};
static x_state_t state = {.convolve = 3};
__attribute__((noinline)) static int
convolve(const x_state_t *p, int by) /* convolve: STEP */
{
    const struct pair both = {.left = TWICE(by), .right = table[1]};
    return p->convolve + both.left + both.right + (int)label[0] + SECOND - FIRST;
}
int NAME(void)
{
    const visit_t visit = convolve;
    return visit(&state, 1) + SHARED;
}
"""


SHARED_HEADER = """#ifndef X_SHARED_H
#define X_SHARED_H
#if 0
#include "x_never.h"
#else
#include "x_more.h"
#endif
typedef struct { int convolve; } x_state_t;
int x_one(void);
int x_two(void);
#endif
"""


def test_private_names_of_every_kind_may_repeat(tmp_path: Path) -> None:
    sources = {f"x_{name}.c": UNIT.replace("NAME", f"x_{name}") for name in ("one", "two")}
    sources["x_shared.h"] = SHARED_HEADER
    sources["x_more.h"] = "#ifndef X_MORE_H\n#define X_MORE_H\n#define SHARED 7\n#endif\n"
    sources["x_never.h"] = "#error\n"
    sources["x_model.h"] = "int x_model(void);\n"
    sources["x_model.c"] = (
        '#include "x_model.h"\n#include "x_more.h"\nint x_model(void) { return x_one() - x_two(); }\n'
    )
    interface, implementation = amalgamate(sources, "x")
    assert implementation.count("X_SHARED_H") == 2  # once
    assert '"convolve"' in implementation
    users = "static int table = 1, convolve = 2, STEP = 3, state = 4;\n"
    main = "int main(void) { return x_model() + x_one() - 118 + table + convolve + STEP + state - 10; }\n"
    (tmp_path / "all.c").write_text(users + interface + implementation + main)
    run("gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", tmp_path / "all.c", "-o", tmp_path / "all")
    run(tmp_path / "all")


@pytest.mark.parametrize(
    ("core", "machine"),
    [
        ("m0", "-mcpu=cortex-m0"),
        ("m3", "-mcpu=cortex-m3"),
        ("m4", "-mcpu=cortex-m4"),
        ("m55", "-mcpu=cortex-m55+nofp -mfloat-abi=softfp"),
    ],
)
def test_one_header_for_every_core_class(core: CoreClass, machine: str, tmp_path: Path) -> None:
    needs("arm-none-eabi-gcc")
    bundle = write_bundle(lively_model(), tmp_path / "b", name="lively", core=core)
    export(bundle, "single-header", tmp_path / "net")
    example = tmp_path / "net" / "example.c"
    run("arm-none-eabi-gcc", *machine.split(), "-mthumb", *STRICT, "-c", example, "-o", tmp_path / "o.o")
    implementation = '#define LIVELY_IMPLEMENTATION\n#include "lively_model.h"\n'
    (tmp_path / "main.c").write_text(implementation + program("host.c", "lively"))
    run("gcc", *STRICT, f"-I{tmp_path / 'net'}", tmp_path / "main.c", "-o", tmp_path / "program")
    x = inputs(bundle, 20, seed=6)
    assert np.array_equal(scores(bundle, run(tmp_path / "program", stdin=x.tobytes())), expected(bundle, x))


def test_every_other_op_in_one_header(tmp_path: Path) -> None:
    export(write_bundle(other_ops_model(), tmp_path / "b", name="ops"), "single-header", tmp_path / "net")
    run("gcc", *STRICT, "-c", tmp_path / "net" / "example.c", "-o", tmp_path / "o.o")


@pytest.mark.parametrize("model", ["dscnn_int8", "resnet8_int8"])
@pytest.mark.parametrize("compiler", ["gcc", "arm-none-eabi-gcc -mcpu=cortex-m0 -mthumb"])
def test_reference_models_in_one_header(model: str, compiler: str, tmp_path: Path) -> None:
    needs(compiler.split(maxsplit=1)[0])
    bundle = write_bundle(shared_file(f"models/{model}.tflite").read_bytes(), tmp_path / "b", name=model)
    export(bundle, "single-header", tmp_path / "net")
    run(*compiler.split(), *STRICT, "-c", tmp_path / "net" / "example.c", "-o", tmp_path / "o.o")
