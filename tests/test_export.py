"""Exports: each is built by its own build system, as a user would, and gives the oracle's bytes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tests.support.device_support import changed_bundle
from tests.support.export_support import SUPPORT, cmake, example_class, expected, needs, program, run, scores
from tests.support.known_models import several
from tests.support.schemas import assert_conforms
from tests.support.strict_flags import STRICT, STRICT_CXX
from tritguard.boards import load_board
from tritguard.build.engine import native_engine
from tritguard.build.pio import run_platformio
from tritguard.build.project import write_project
from tritguard.cli import app
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.bundle import hash_file
from tritguard.errors import BadInputError
from tritguard.export import TARGETS, export
from tritguard.export.names import default_prefix
from tritguard.predictor import Int8

pytest_plugins = ("tests.support.device_fixtures", "tests.support.export_fixtures")


@pytest.mark.parametrize("target", TARGETS)
def test_everything_carries_the_models_name_and_is_in_the_manifest(
    target: str, lively_bundle: Bundle, tmp_path: Path
) -> None:
    manifest = export(lively_bundle, target, tmp_path / "out", prefix="wake_word")
    assert_conforms(tmp_path / "out" / "manifest.json", "export")
    files = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert files == {"manifest.json", *manifest.files}
    assert {"LICENSE", "README.md"} <= files
    assert "Apache License" in (tmp_path / "out" / "LICENSE").read_text()
    for name, digest in manifest.files.items():
        assert hash_file(tmp_path / "out" / name) == digest
        assert not re.search(r"\btg_", name + (tmp_path / "out" / name).read_text(), re.IGNORECASE), name
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["bundle_sha256"] == lively_bundle.sha256


def test_cmake_in_a_users_project(lively_bundle: Bundle, answers_of_lively: tuple[Int8, Int8], tmp_path: Path) -> None:
    export(lively_bundle, "cmake", tmp_path / "project" / "net")
    (tmp_path / "project" / "main.c").write_text(program("host.c", "lively"))
    (tmp_path / "project" / "CMakeLists.txt").write_text(
        """cmake_minimum_required(VERSION 3.21)
project(user LANGUAGES C)
add_subdirectory(net)
add_executable(user main.c)
target_link_libraries(user PRIVATE tritguard::lively)
"""
    )
    cmake(tmp_path / "project", tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    x, answers = answers_of_lively
    assert np.array_equal(scores(lively_bundle, run(tmp_path / "build" / "user", stdin=x.tobytes())), answers)
    assert not (tmp_path / "build" / "net" / "lively_example").exists()


def test_an_input_may_be_received_in_the_arena(
    lively_bundle: Bundle, answers_of_lively: tuple[Int8, Int8], tmp_path: Path
) -> None:
    """As the README of an export says; the call is the same."""
    export(lively_bundle, "cmake", tmp_path / "project" / "net")
    assert "`lively_arena + LIVELY_INPUT_OFFSET`" in (tmp_path / "project" / "net" / "README.md").read_text()
    place = "memcpy(lively_arena + LIVELY_INPUT_OFFSET, input, LIVELY_INPUT_BYTES)"
    received = program("host.c", "lively").replace(
        "#define RUN lively_model_run\n",
        f"#include <string.h>\n#define RUN(input, output, logits) lively_model_run({place}, output, logits)\n",
    )
    (tmp_path / "project" / "main.c").write_text(received)
    (tmp_path / "project" / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(user LANGUAGES C)\n"
        "add_compile_definitions(LIVELY_INPUT_IN_ARENA)\n"
        "add_subdirectory(net)\nadd_executable(user main.c)\ntarget_link_libraries(user PRIVATE tritguard::lively)\n"
    )
    cmake(tmp_path / "project", tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    x, answers = answers_of_lively
    assert np.array_equal(scores(lively_bundle, run(tmp_path / "build" / "user", stdin=x.tobytes())), answers)


def test_cmake_alone_builds_its_example(lively_bundle: Bundle, tmp_path: Path) -> None:
    """By a name that no target of CMake's may have."""
    export(lively_bundle, "cmake", tmp_path / "net", prefix="install")
    cmake(tmp_path / "net", tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    assert run(tmp_path / "build" / "install_example").strip() == example_class(lively_bundle)


@pytest.mark.parametrize("cpu", ["cortex-m0", "cortex-m4", "cortex-m55"])
def test_cmake_with_a_cross_compiler(cpu: str, lively_bundle: Bundle, tmp_path: Path) -> None:
    needs("arm-none-eabi-gcc")
    export(lively_bundle, "cmake", tmp_path / "net")
    cmake(
        tmp_path / "net", tmp_path / "build", "-DCMAKE_SYSTEM_NAME=Generic", "-DCMAKE_C_COMPILER=arm-none-eabi-gcc",
        "-DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY", "-DLIVELY_EXAMPLE=OFF",
        f"-DCMAKE_C_FLAGS=-mcpu={cpu} -mthumb -mfloat-abi={'softfp' if cpu == 'cortex-m55' else 'soft'} "
        f"{' '.join(STRICT)}",
    )  # fmt: skip
    symbols = run(
        "arm-none-eabi-nm", "--defined-only", "--extern-only", tmp_path / "build" / "liblively_model.a"
    ).decode()
    names = [line.split()[2] for line in symbols.splitlines() if len(line.split()) == 3]
    assert "lively_model_run" in names
    assert all(name.startswith("lively_") for name in names)


def samples_header(x: Int8) -> str:
    rows = ",\n".join("{" + ", ".join(map(str, sample.ravel().tolist())) + "}" for sample in x)
    return f"#include <stdint.h>\nstatic const int8_t samples[{len(x)}][{x[0].size}] = {{\n{rows}\n}};\n"


def test_platformio_library_on_an_emulated_board(
    lively_bundle: Bundle, answers_of_lively: tuple[Int8, Int8], tmp_path: Path
) -> None:
    """The user's project names the library by `lib_deps`; what it computes is read from the emulated Cortex-M4."""
    needs("arm-none-eabi-gcc", "qemu-system-arm")
    x, answers = answers_of_lively
    export(lively_bundle, "platformio-lib", tmp_path / "libraries" / "lively")
    project = platformio_project(tmp_path / "project", lively_bundle)
    (project / "src").mkdir()
    (project / "src" / "main.c").write_text(program("cortexm.c", "lively"))
    (project / "src" / "samples.h").write_text(samples_header(x))
    append_options(project, f"lib_deps = symlink://{tmp_path / 'libraries' / 'lively'}")
    run_platformio(project, load_board("mps2-an386"), tmp_path / "log")
    stdout = run(
        "qemu-system-arm", "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "null",
        "-semihosting-config", "enable=on,target=native", "-kernel", project / ".pio/build/firmware/firmware.elf",
    )  # fmt: skip
    assert np.array_equal(scores(lively_bundle, stdout), answers)


def test_two_models_share_a_firmware(lively_bundle: Bundle, tmp_path: Path) -> None:
    """Both in the project's own lib folder, one of them with kernels of another version."""
    needs("arm-none-eabi-gcc")
    project = platformio_project(tmp_path / "project", lively_bundle)
    for prefix in ("first", "second"):
        export(lively_bundle, "platformio-lib", project / "lib" / prefix, prefix=prefix)
    kernel = project / "lib" / "second" / "src" / "second_softmax.c"
    kernel.write_text(kernel.read_text() + "int second_changed;\nint second_changed = 1;\n")
    (project / "src").mkdir()
    (project / "src" / "main.c").write_text(
        '#include "first_model.h"\n#include "second_model.h"\n'
        "static int8_t in[FIRST_INPUT_BYTES > SECOND_INPUT_BYTES ? FIRST_INPUT_BYTES : SECOND_INPUT_BYTES], out[16];\n"
        "void reset_entry(void);\n"
        "void reset_entry(void) { first_model_run(in, out, 0); second_model_run(in, out, 0); }\n"
    )
    append_options(project)
    run_platformio(project, load_board("mps2-an386"), tmp_path / "log")
    elf = project / ".pio/build/firmware/firmware.elf"
    names = {line.split()[-1] for line in run("arm-none-eabi-nm", elf).decode().splitlines()}
    assert {"first_arena", "second_arena"} <= names
    kernels = {name.removeprefix("first_") for name in names if name.startswith("first_conv2d")}
    assert kernels and {f"second_{name}" for name in kernels} <= names


def platformio_project(folder: Path, bundle: Bundle) -> Path:
    """A project on tritguard's platform, which needs no registry, without sources."""
    folder.mkdir()
    write_project(folder, bundle, load_board("mps2-an386"), native_engine(bundle))
    shutil.rmtree(folder / "src")
    return folder


def append_options(project: Path, *options: str) -> None:
    lines = (project / "platformio.ini").read_text().splitlines()
    kept = lines[: next(i for i, line in enumerate(lines) if line.startswith("custom_engine"))]
    (project / "platformio.ini").write_text("\n".join([*kept, *options]) + "\n")


@pytest.mark.parametrize("target", ["single-header", "arduino"])
@pytest.mark.parametrize(("count", "outputs"), [(2, 1), (1, 2), (3, 3)])
def test_examples_of_models_with_several_inputs_and_outputs(
    count: int, outputs: int, target: str, tmp_path: Path
) -> None:
    bundle = write_bundle(several(count, outputs), tmp_path / "b", name="lively")
    net = tmp_path / "net"
    export(bundle, target, net)
    if target == "arduino":
        run("gcc", *STRICT, "-c", *net.glob("src/*.c"), cwd=tmp_path)
        sketch = ["-include", SUPPORT / "Arduino.h", "-x", "c++", net / "examples" / "Classify" / "Classify.ino"]
        program = [*STRICT_CXX, f"-I{net / 'src'}", *sketch, "-x", "none", *tmp_path.glob("*.o")]
        run("g++", *program, "-o", tmp_path / "example")
    else:
        run("gcc", *STRICT, net / "example.c", "-o", tmp_path / "example")
    edges = (bundle.manifest.input, *bundle.manifest.further_inputs)
    x = np.concatenate([np.full(edge.bytes, edge.zero_point, np.int8) for edge in edges])[None]
    first = expected(bundle, x.reshape(1, *bundle.manifest.input_shape))[0, : bundle.manifest.output.bytes]
    assert run(tmp_path / "example").strip() == f"class {int(first.argmax())}".encode()


ZEPHYR = """cmake_minimum_required(VERSION 3.21)
project(zephyr LANGUAGES C)
# The functions of Zephyr's build that a module calls, as far as a host needs them.
function(zephyr_include_directories)
    include_directories(${ARGV})
endfunction()
macro(zephyr_library_named name)
    set(library ${name})
    add_library(${name} STATIC)
endmacro()
function(zephyr_library_sources)
    target_sources(${library} PRIVATE ${ARGV})
endfunction()
function(zephyr_library_compile_options)
    target_compile_options(${library} PRIVATE ${ARGV})
endfunction()
set(CONFIG_LIVELY_MODEL y)
add_subdirectory(net/zephyr)
add_executable(app net/samples/classify/src/main.c)
target_include_directories(app PRIVATE net/include)
target_link_libraries(app PRIVATE lively_model)
"""


def test_zephyrs_sources_build_with_its_functions_played_by_cmake(lively_bundle: Bundle, tmp_path: Path) -> None:
    """No Zephyr is installable here: real CMake runs the module's file, its functions are stand-ins."""
    export(lively_bundle, "zephyr", tmp_path / "net")
    (tmp_path / "CMakeLists.txt").write_text(ZEPHYR)
    cmake(tmp_path, tmp_path / "build", f"-DCMAKE_C_FLAGS={' '.join(STRICT)}")
    assert run(tmp_path / "build" / "app").strip() == example_class(lively_bundle)


# Keys of zephyr/module.yml and their types, docs.zephyrproject.org, "Modules (External projects)".
MODULE_YML = {
    "name": str,
    "build": {
        "cmake": str, "kconfig": str, "cmake-ext": bool, "kconfig-ext": bool, "depends": list, "settings": dict,
        "sysbuild-cmake": str, "sysbuild-kconfig": str, "sysbuild-cmake-ext": bool, "sysbuild-kconfig-ext": bool,
    },
    "tests": list, "samples": list, "boards": list, "blobs": list, "package-managers": dict, "runners": list,
    "security": dict,
}  # fmt: skip


def check_keys(table: object, schema: dict[str, object]) -> None:
    assert isinstance(table, dict)
    for key, value in table.items():
        assert key in schema, f"{key} is no key Zephyr documents"
        kind = schema[key]
        if isinstance(kind, dict):
            check_keys(value, kind)
        else:
            assert isinstance(kind, type)
            assert isinstance(value, kind)


def test_zephyrs_metadata(lively_bundle: Bundle, tmp_path: Path) -> None:
    net = tmp_path / "net"
    export(lively_bundle, "zephyr", net)
    module = yaml.safe_load((net / "zephyr" / "module.yml").read_text())
    check_keys(module, MODULE_YML)
    assert (net / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (net / module["build"]["kconfig"]).is_file()
    for folder in module["samples"]:
        assert list((net / folder).rglob("sample.yaml"))
    sample = yaml.safe_load((net / "samples" / "classify" / "sample.yaml").read_text())
    assert set(sample) == {"sample", "tests"}
    assert sample["tests"]["lively.classify"]["harness"] == "console"


def test_zephyrs_kconfig(lively_bundle: Bundle, tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    bundle = changed_bundle(lively_bundle, tmp_path / "odd", name='odd "$(name)\n')
    export(bundle, "zephyr", tmp_path / "net", prefix="odd")
    config = kconfiglib.Kconfig(str(tmp_path / "net" / "zephyr" / "Kconfig"), warn_to_stderr=False)
    config.load_config(str(tmp_path / "net" / "samples" / "classify" / "prj.conf"))
    assert config.warnings == []
    assert config.syms["ODD_MODEL"].str_value == "y"


ARDUINO_CATEGORIES = (
    "Display", "Communication", "Signal Input/Output", "Sensors", "Device Control", "Timing", "Data Storage",
    "Data Processing", "Other",
)  # fmt: skip


def test_arduinos_metadata(lively_bundle: Bundle, tmp_path: Path) -> None:
    """Against the library specification, revision 2.2."""
    net = tmp_path / "lively"
    export(lively_bundle, "arduino", net)
    lines = (net / "library.properties").read_text().splitlines()
    properties = dict(line.split("=", 1) for line in lines)
    assert len(properties) == len(lines)
    for field in ("name", "version", "author", "maintainer", "sentence", "paragraph", "category", "url"):
        assert properties[field].strip(), field
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,62}", properties["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", properties["version"])
    assert properties["category"] in ARDUINO_CATEGORIES
    assert "avr" not in properties["architectures"].split(",")
    for header in properties["includes"].split(","):
        assert (net / "src" / header).is_file()
    # Beside src/ an Arduino library must not have the folders of the old layout.
    assert {path.name for path in net.iterdir() if path.is_dir()} == {"src", "examples"}
    for sketch in net.glob("examples/*"):
        assert (sketch / f"{sketch.name}.ino").is_file()


def test_arduinos_sources_and_sketch_on_a_host(
    lively_bundle: Bundle, answers_of_lively: tuple[Int8, Int8], tmp_path: Path
) -> None:
    """As Arduino's build does: C files as C, the sketch as C++ with Arduino.h before it."""
    net = tmp_path / "net"
    export(lively_bundle, "arduino", net)
    run("gcc", *STRICT, "-c", *net.glob("src/*.c"), cwd=tmp_path)
    objects = sorted(tmp_path.glob("*.o"))
    cxx = ["g++", *STRICT_CXX, f"-I{net / 'src'}", "-x", "c++"]
    (tmp_path / "main.cpp").write_text(program("host.c", "lively"))
    run(*cxx, tmp_path / "main.cpp", "-x", "none", *objects, "-o", tmp_path / "bytes")
    x, answers = answers_of_lively
    assert np.array_equal(scores(lively_bundle, run(tmp_path / "bytes", stdin=x.tobytes())), answers)
    sketch = net / "examples" / "Classify" / "Classify.ino"
    run(*cxx, "-include", SUPPORT / "Arduino.h", sketch, "-x", "none", *objects, "-o", tmp_path / "sketch")
    assert run(tmp_path / "sketch").strip() == example_class(lively_bundle)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("ResNet-8 (int8)", "resnet_8_int8"),
        ("8bit", "model_8bit"),
        ("  ", "model"),
        ("a" * 60, "a" * 40),
        ("é", "model"),
    ],
)
def test_prefixes_are_made_of_names(name: str, prefix: str) -> None:
    assert default_prefix(name) == prefix


@pytest.mark.parametrize("prefix", ["", "8bit", "Wake", "wake-word", "a__b", "_a", "a_", "a" * 41, "a;b"])
def test_a_prefix_that_is_no_name_is_refused(prefix: str, lively_bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="cannot be the prefix of C names"):
        export(lively_bundle, "cmake", tmp_path / "net", prefix=prefix)
    assert list(tmp_path.iterdir()) == []


def test_only_an_untouched_export_is_replaced(lively_bundle: Bundle, tmp_path: Path) -> None:
    export(lively_bundle, "cmake", tmp_path / "net")
    export(lively_bundle, "zephyr", tmp_path / "net")
    assert not (tmp_path / "net" / "CMakeLists.txt").exists()
    example = tmp_path / "net" / "samples" / "classify" / "src" / "main.c"
    example.write_text(example.read_text() + "/* mine */")
    with pytest.raises(BadInputError, match=r"is no untouched export \(samples/classify/src/main.c was changed"):
        export(lively_bundle, "zephyr", tmp_path / "net")
    with pytest.raises(BadInputError, match="is no untouched export"):
        export(lively_bundle, "zephyr", lively_bundle.path)
    (example.parent / "manifest.json").mkdir()
    with pytest.raises(BadInputError, match=r"is no untouched export \(manifest\.json: cannot be read"):
        export(lively_bundle, "zephyr", example.parent)
    assert "mine" in example.read_text()
    assert list(tmp_path.iterdir()) == [tmp_path / "net"]


def test_the_verb(lively_bundle: Bundle, tmp_path: Path) -> None:
    arguments = ["export", str(lively_bundle.path), "--to", "single-header", "-o", str(tmp_path / "net")]
    done = CliRunner().invoke(app, [*arguments, "--prefix", "wake"])
    assert done.exit_code == 0
    assert "call wake_model_run of wake_model.h" in done.stdout
    with pytest.raises(BadInputError, match="one of platformio-lib, cmake, zephyr, arduino, single-header"):
        CliRunner().invoke(app, ["export", str(lively_bundle.path), "--to", "x", "-o", "y"], catch_exceptions=False)
