"""The compiler flags under which every generated file has to compile without a warning."""

from __future__ import annotations

STRICT = [
    "-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Wcast-qual",
    "-Wmissing-prototypes", "-Wstrict-prototypes", "-Wdouble-promotion", "-Werror",
]  # fmt: skip
_C_ONLY = ("-std=c11", "-Wmissing-prototypes", "-Wstrict-prototypes")
STRICT_CXX = ["-std=c++17", *(flag for flag in STRICT if flag not in _C_ONLY)]
