"""Attacks by the names that plans use. A new attack is one line here; its constructor's arguments are its settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tritguard.attack.apgd import Apgd, ApgdTargeted
from tritguard.attack.base import Attack
from tritguard.attack.boundary import Boundary
from tritguard.attack.carlini_wagner import SEARCHES, CarliniWagner
from tritguard.attack.fgsm import Fgsm
from tritguard.attack.hop_skip_jump import HopSkipJump
from tritguard.attack.noise import Noise
from tritguard.attack.norms import NORMS
from tritguard.attack.norms.patch import PATCHES
from tritguard.attack.packages import GRADIENTS, LIBRARY, Package, first_missing
from tritguard.attack.patch import PatchSearch
from tritguard.attack.pgd import Pgd
from tritguard.attack.square import MOVES, Square
from tritguard.attack.two_step import TwoStep
from tritguard.attack.zoo import Zoo

Setting = int | float | str
Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Entry:
    """An attack that plans can name.

    Attributes:
        make: the attack's class; each constructor argument has a default and is a setting that plans can change.
        norms: names of the norms it works in; None if it leaves all that depends on the norm to the norm itself.
        of_order: whether it works in Lp balls alone, as ART's attacks do.
        classes: the smallest number of classes that its loss can be computed for.
        doubled: whether an evaluation may run it again with twice its `steps` on the samples that held, to see whether
            the steps were enough. If a plan has several such attacks, the last one in the catalog is run again.
        needs: packages that a core installation does not have.
    """

    make: Callable[..., Attack]
    norms: tuple[str, ...] | None = None
    of_order: bool = False
    classes: int = 2
    doubled: bool = False
    needs: tuple[Package, ...] = ()

    def knows(self, norm: str) -> bool:
        """Whether it works in balls of this norm."""
        return (self.norms is None or norm in self.norms) and not (self.of_order and NORMS[norm].order is None)

    def fits(self, norm: str, classes: int) -> bool:
        """Whether it can attack a model with this many classes in such a ball."""
        return self.knows(norm) and classes >= self.classes

    @property
    def missing(self) -> Package | None:
        """The first package that it needs and that is not installed; None if it can run."""
        return first_missing(self.needs)


ATTACKS: dict[str, Entry] = {
    "noise": Entry(Noise),
    "fgsm": Entry(Fgsm, of_order=True, needs=LIBRARY),
    "pgd": Entry(Pgd, of_order=True, doubled=True, needs=LIBRARY),
    "apgd-ce": Entry(partial(Apgd, "ce"), doubled=True, needs=GRADIENTS),
    "apgd-dlr": Entry(partial(Apgd, "dlr"), classes=3, needs=GRADIENTS),
    "apgd-margin": Entry(partial(Apgd, "margin"), needs=GRADIENTS),
    "apgd-t": Entry(ApgdTargeted, classes=4, needs=GRADIENTS),
    "cw": Entry(CarliniWagner, norms=tuple(SEARCHES), needs=GRADIENTS),
    "two-step": Entry(TwoStep, needs=GRADIENTS),
    "patch": Entry(PatchSearch, norms=tuple(PATCHES), doubled=True, needs=GRADIENTS),
    "square": Entry(Square, norms=tuple(MOVES)),
    "zoo": Entry(Zoo),
    "boundary": Entry(Boundary),
    "hopskipjump": Entry(HopSkipJump),
}


def make(name: str, settings: Settings) -> Attack:
    """The attack of that name; settings that are not given keep the defaults of its class.

    Raises:
        ValueError: there is no such attack or setting, or a value is out of range: whole numbers start at 1, others
            at 0.
    """
    if name not in ATTACKS:
        raise ValueError(f"no attack {name!r}: {', '.join(ATTACKS)}")
    factory = ATTACKS[name].make
    known = inspect.signature(factory).parameters
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}; it has {', '.join(known) or 'none'}")
        _check(f"{name}.{key}", value, known[key].default)
    return factory(**settings)


def _check(where: str, value: Setting, default: Setting) -> None:
    """Check that a setting has the type of its default and is in range."""
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{where}: {value!r} is not text")
    elif isinstance(value, str | bool) or (isinstance(default, int) and not isinstance(value, int)):
        raise ValueError(f"{where}: a {'whole ' if isinstance(default, int) else ''}number is wanted")
    elif value < (1 if isinstance(default, int) else 0):
        raise ValueError(f"{where}: {value} is out of range")
