"""Attacks by what a plan calls them. A new attack is one line here; its constructor's arguments are its settings."""

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
        make: its class; every argument has a default and is a setting of the plan.
        norms: names of the norms it works in; None where it leaves everything that depends on the norm to the norm.
        classes: the fewest classes a model needs for its loss.
        doubled: whether an evaluation runs it again with twice its `steps`, on the samples that held, to see whether
            they were enough. Of several in a plan, the last of the catalog is taken.
    """

    make: Callable[..., Attack]
    norms: tuple[str, ...] | None = None
    classes: int = 2
    doubled: bool = False

    def knows(self, norm: str) -> bool:
        """Whether it works in balls of this norm."""
        return self.norms is None or norm in self.norms

    def fits(self, norm: str, classes: int) -> bool:
        """Whether it can attack a model with this many classes in such a ball."""
        return self.knows(norm) and classes >= self.classes


ATTACKS: dict[str, Entry] = {
    "noise": Entry(Noise),
    "fgsm": Entry(Fgsm),
    "pgd": Entry(Pgd, doubled=True),
    "apgd-ce": Entry(partial(Apgd, "ce"), doubled=True),
    "apgd-dlr": Entry(partial(Apgd, "dlr"), classes=3),
    "apgd-margin": Entry(partial(Apgd, "margin")),
    "apgd-t": Entry(ApgdTargeted, classes=4),
    "cw": Entry(CarliniWagner, norms=tuple(SEARCHES)),
    "two-step": Entry(TwoStep),
    "square": Entry(Square, norms=tuple(MOVES)),
    "zoo": Entry(Zoo),
    "boundary": Entry(Boundary),
    "hopskipjump": Entry(HopSkipJump),
}


def make(name: str, settings: Settings) -> Attack:
    """The attack of that name; what `settings` does not say is as its class has it.

    Raises:
        ValueError: no such attack or setting, or a value out of range: counts start at 1, other numbers at 0.
    """
    if name not in ATTACKS:
        raise ValueError(f"no attack {name!r}: {', '.join(ATTACKS)}")
    factory = ATTACKS[name].make
    known = inspect.signature(factory).parameters
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"{name} has no setting {key!r}: {', '.join(known) or 'it has none'}")
        _check(f"{name}.{key}", value, known[key].default)
    return factory(**settings)


def _check(where: str, value: Setting, default: Setting) -> None:
    """A setting is of its default's type and in range."""
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{where}: text is wanted")
    elif isinstance(value, str | bool) or (isinstance(default, int) and not isinstance(value, int)):
        raise ValueError(f"{where}: a {'whole ' if isinstance(default, int) else ''}number is wanted")
    elif value < (1 if isinstance(default, int) else 0):
        raise ValueError(f"{where}: {value} is out of range")
