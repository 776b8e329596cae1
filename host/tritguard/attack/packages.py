"""The packages of the extra `attack`, which a core installation does without, and whether they are installed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

INSTALL = "pip install 'tritguard[attack]'"


@dataclass(frozen=True)
class Package:
    """A package that an attack needs.

    Attributes:
        name: what messages call it.
        modules: the modules that are imported from it.
    """

    name: str
    modules: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether it can be found; it is not imported, which would take seconds."""
        return all(_found(module) for module in self.modules)


@cache
def _found(module: str) -> bool:
    return find_spec(module) is not None


TENSORFLOW = Package("TensorFlow", ("tensorflow", "keras"))
ART = Package("the Adversarial Robustness Toolbox", ("art",))
GRADIENTS = (TENSORFLOW,)
LIBRARY = (TENSORFLOW, ART)


def first_missing(needed: tuple[Package, ...]) -> Package | None:
    """The first of these packages that is not installed; None if all are."""
    return next((package for package in needed if not package.installed), None)
