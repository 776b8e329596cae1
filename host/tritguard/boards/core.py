"""Core classes: groups of cores on which the same kernels run best."""

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
    """The class of a core, given the compiler's name for it (`-mcpu=`); None if the core is not known.

    `m0` lacks most 32-bit instructions, long multiplications among them; `m3` has them, `m4` adds the DSP extension
    (SMLAD) and `m55` vectors (MVE).
    """
    return _CLASSES.get(core)


def known_cores() -> tuple[str, ...]:
    """The compiler's names for all cores that have a class."""
    return tuple(_CLASSES)


def machine_flags(core: str) -> tuple[str, ...]:
    """The compiler flags for integer code on a core.

    Vectors live in the registers of the floating-point unit and need its calling convention; arithmetic on
    floats stays off.
    """
    if core_class(core) == "m55":
        return (f"-mcpu={core}+nofp", "-mthumb", "-mfloat-abi=softfp")
    return (f"-mcpu={core}", "-mthumb", "-mfloat-abi=soft")
