"""The engine that runs TensorFlow Lite Micro: the model's arrays and the user's own build of TFLM."""

from __future__ import annotations

from pathlib import Path

from tritguard import __version__
from tritguard.boards import Board
from tritguard.build.archive import defined_symbols
from tritguard.build.engine import C_ONLY, FLAGS, PROFILER_FLAG, Engine, Library
from tritguard.emit.bundle import Bundle
from tritguard.emit.tflm import Arrays
from tritguard.emit.tflm.layers import golden_ops
from tritguard.emit.tflm.trust import array_in, trusted_arrays
from tritguard.errors import BadInputError, ToolMissingError
from tritguard.templating import environment

_HEADER = Path("tensorflow/lite/micro/micro_interpreter.h")
_ARCHIVE = "libtensorflow-microlite.a"
# Where a checkout, and a tree made by TFLM's create_tflm_tree.py, keep the headers that TFLM's own headers include.
_THIRD_PARTY = ("tensorflow/lite/micro/tools/make/downloads", "third_party")
_HEADERS_OF = ("flatbuffers/include", "gemmlowp", "ruy")
# Without it, TFLM's structs would have other members here than in the library.
_DEFINES = ("TF_LITE_STATIC_MEMORY",)
# What the library's symbols tell about it. Its folder's name tells the same, but the user may change that.
_MESSAGES = "_Z11MicroPrintfPKcz"  # not in a release, whose headers want these macros
_RELEASE = ("TF_LITE_STRIP_ERROR_STRINGS", "NDEBUG")
_INT8_ONLY = "Register_CONV_2D_INT8"  # registrations that the headers declare with the macro below
_OPTIMIZED = ("CMSIS_NN",)
# For these cores TFLM's makefile builds integer code only under another name.
_TARGET_ARCH = {"cortex-m33": "cortex-m33+nodsp", "cortex-m55": "cortex-m55+nofp"}


def tflm_engine(bundle: Bundle, arrays: Arrays, library: Library, *, profile: bool = False) -> Engine:
    """The engine that runs a bundle's model from TFLM arrays.

    Args:
        bundle: the bundle of the model.
        arrays: the same model as arrays for TFLM.
        library: the build of TFLM to link with.
        profile: let the firmware answer PROFILE with each layer's ticks.

    Raises:
        BadInputError: the arrays are of another model, or the size of their arena was not measured; or the library
            does not tell a profiler where ops begin.
    """
    manifest = arrays.manifest
    if profile and set(_RELEASE) <= set(library.defines):
        raise BadInputError(
            "this library was built with BUILD_TYPE=release, which leaves out what tells a profiler where ops begin",
            where=", ".join(map(str, library.archives)),
            fix="build TensorFlow Lite Micro without it; or leave --profile out, the whole is counted in any case",
        )
    if manifest.model_sha256 != bundle.manifest.model_sha256:
        raise BadInputError(
            "these arrays are of another model", where=str(arrays.path), fix="convert the bundle's model.tflite again"
        )
    if manifest.arena is None:
        raise BadInputError(
            "the arena of these arrays was not measured",
            where=str(arrays.path),
            fix="write them where tflite-micro's interpreter is installed: Linux on x86-64",
        )
    files = trusted_arrays(arrays)
    context = {
        "version": __version__,
        "id": manifest.identifier,
        "sha256": bytes.fromhex(manifest.model_sha256),
        "variables": manifest.variables,
        "edges": {"input": bundle.manifest.input, "output": bundle.manifest.output},
        "layers": _layers(bundle, array_in(arrays, files)) if profile else (),
    }
    flags = (*(flag for flag in FLAGS if flag not in C_ONLY), "-std=c++17")
    chosen = environment("tritguard.build").get_template("tflm_model.h.jinja").render(context).encode()
    return Engine(
        name="tflm",
        adapter="engine_tflm.cc",
        model_files={"tflm_model.h": chosen} | files,
        logit_count=0,
        flags=(*flags, PROFILER_FLAG) if profile else flags,
        library=library,
    )


def _layers(bundle: Bundle, array: bytes) -> list[int]:
    """What the profiler notes for each op of an array: 1 + the index of its layer in the bundle; 0 if it has none."""
    known = {layer.index for layer in bundle.manifest.layers}
    ops = golden_ops(bundle.model_path.read_bytes(), array)
    return [1 + op if op in known else 0 for op in ops]


def find_library(where: str, board: Board) -> Library:
    """Find the user's build of TFLM.

    Args:
        where: a checkout or tree with TFLM's headers and the static library that its makefile built, or the path of
            that library inside one; or an entry for PlatformIO's `lib_deps`, recognised by an `@` or `://`.
        board: the board whose core the library has to be built for.

    Raises:
        ToolMissingError: the headers or the library are missing; the message says how to make them.
        BadInputError: there are several libraries, and not exactly one of them is for the board's core; or the file is
            no library.
    """
    place = Path(where).resolve()
    if not place.exists() and ("@" in where or "://" in where):
        return Library(lib_deps=_from_anywhere(where), defines=_DEFINES)
    roots = place.parents if place.is_file() else (place, place / "include")
    root = next((folder for folder in roots if (folder / _HEADER).is_file()), None)
    if root is None:
        raise ToolMissingError(f"no {_HEADER} here", where=where, fix=how_to_get(board))
    third_party = [root / folder / headers for folder in _THIRD_PARTY for headers in _HEADERS_OF]
    includes = [root, *(folder for folder in third_party if folder.is_dir())]
    archive = place if place.is_file() else _archive(place, board)
    return Library(includes=tuple(includes), archives=(archive,), defines=(*_DEFINES, *_built_with(archive)))


def _built_with(archive: Path) -> tuple[str, ...]:
    """The macros that a library was built with and that TFLM's headers have to see here too."""
    symbols = defined_symbols(archive)
    optimized = _OPTIMIZED if any(_INT8_ONLY in symbol for symbol in symbols) else ()
    return optimized if _MESSAGES in symbols else (*optimized, *_RELEASE)


def _from_anywhere(spec: str) -> str:
    """Make a folder's path absolute, because PlatformIO runs in another folder."""
    scheme, _, rest = spec.partition("://")
    return f"{scheme}://{Path(rest).resolve()}" if scheme in ("symlink", "file") else spec


def how_to_get(board: Board) -> str:
    """Instructions for making a build of TFLM for this board, as part of a message."""
    arch = _TARGET_ARCH.get(board.core, board.core)
    return (
        "give --tflm a tflite-micro checkout after 'make -f tensorflow/lite/micro/tools/make/Makefile "
        f"TARGET=cortex_m_generic TARGET_ARCH={arch} microlite', or what lib_deps of PlatformIO takes"
    )


def _archive(place: Path, board: Board) -> Path:
    patterns = ("gen/*/lib/", "tensorflow/lite/micro/tools/make/gen/*/lib/", "lib/", "")
    found = sorted(file for pattern in patterns for file in place.glob(pattern + _ARCHIVE))
    if not found:
        raise ToolMissingError(f"no {_ARCHIVE} here", where=str(place), fix=how_to_get(board))
    arch = _TARGET_ARCH.get(board.core, board.core)
    fitting = [file for file in found if f"_{arch}_" in file.parent.parent.name]
    candidates = fitting or found
    if len(candidates) > 1:
        names = ", ".join(str(file.relative_to(place)) for file in candidates)
        raise BadInputError(f"several libraries ({names})", where=str(place), fix="give --tflm the one to link")
    return candidates[0]
