"""Core classes: cores on which the same kernels run best."""

from __future__ import annotations

from typing import Literal

CoreClass = Literal["m0", "m3", "m4", "m55"]

_CLASSES: dict[str, CoreClass] = {
    "cortex-m0": "m0",
    "cortex-m0plus": "m0",
    "cortex-m1": "m0",
    "cortex-m23": "m0",
    "cortex-m3": "m3",
    "cortex-m4": "m4",
    "cortex-m7": "m4",
    "cortex-m33": "m4",
    "cortex-m55": "m55",
    "cortex-m85": "m55",
}


def core_class(core: str) -> CoreClass | None:
    """The class of a core by the compiler's name of it (`-mcpu=`); None for one that is not known.

    `m0` has no long instructions, `m3` has them, `m4` adds the DSP extension (SMLAD), `m55` vectors (MVE).
    """
    return _CLASSES.get(core)


def known_cores() -> tuple[str, ...]:
    """Every core with a class."""
    return tuple(_CLASSES)


def machine_flags(core: str) -> tuple[str, ...]:
    """What the compiler has to know of a core, for integer code.

    Vectors live in the floating point unit's registers and need its calling convention; arithmetic on floats stays off.
    """
    if core_class(core) == "m55":
        return (f"-mcpu={core}+nofp", "-mthumb", "-mfloat-abi=softfp")
    return (f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft")
