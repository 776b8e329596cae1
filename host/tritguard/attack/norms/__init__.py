"""Norms by the names that plans use. A new norm is one file here and one line in `NORMS`."""

from typing import Annotated

from pydantic import AfterValidator

from tritguard.attack.norms.base import Norm
from tritguard.attack.norms.l2 import L2
from tritguard.attack.norms.linf import Linf
from tritguard.attack.norms.patch import PATCHES

NORMS: dict[str, Norm] = {
    "Linf": Linf(),
    "L2": L2(),
    **PATCHES,
}
LP_NORMS = tuple(name for name, norm in NORMS.items() if norm.order is not None)  # robustness is proved in their balls


def _known(name: str) -> str:
    if name not in NORMS:
        raise ValueError(f"no norm {name!r}: {', '.join(NORMS)}")
    return name


NormName = Annotated[str, AfterValidator(_known)]  # a norm's name in a plan or a result

__all__ = ["LP_NORMS", "NORMS", "Norm", "NormName"]
