"""The weight formats there are: each registers itself where it is defined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator

from tritguard.boards import CoreClass
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.ternary import TernaryWeights
from tritguard.graph.model import Graph, Weighted


@dataclass(frozen=True, eq=False)
class Site:
    """A layer that is to get a kernel, and where it runs.

    Attributes:
        graph: the layer's model.
        op: the layer.
        core: the class of cores it runs on.
        trits: its trits, where it is ternary.
        room: bytes of scratch that a kernel may fill to be faster; one that needs more to run at all takes more.
        slim: whether a convolution over columns gives way to one that takes less scratch and more time.
    """

    graph: Graph
    op: Weighted
    core: CoreClass
    trits: TernaryWeights | None
    room: int
    slim: bool = False


Offer = Callable[[Site], list[Kernel]]


@dataclass(frozen=True)
class Format:
    """A weight format.

    Attributes:
        name: what manifests and `convert --format` call it.
        array: what C calls the packed weights, behind the layer's symbol.
        offer: gives the kernels that can run a layer with its weights in this format; none where it does not suit.
    """

    name: str
    array: str
    offer: Offer


_FORMATS: dict[str, Format] = {}
_CODE_BYTES: dict[str, int] = {}


def offers(name: str, *, array: str, code_bytes: Mapping[str, int]) -> Callable[[Offer], Offer]:
    """Decorator of the function that offers a format's kernels.

    Args:
        name: see Format.
        array: see Format.
        code_bytes: the size in flash of each kernel file of the format, compiled by GCC 12 with -O2 for the cores that
            it is offered on.
    """

    def register(offer: Offer) -> Offer:
        _FORMATS[name] = Format(name, array, offer)
        _CODE_BYTES.update(code_bytes)
        return offer

    return register


def format_names() -> tuple[str, ...]:
    """The names of all formats: int8, which every layer can have, then the packed ones, sorted."""
    return tuple(sorted(_FORMATS, key=lambda name: (name != "int8", name)))


def format_of(name: str) -> Format:
    """The format of a name that `format_names` gives."""
    return _FORMATS[name]


def code_bytes(source: str) -> int:
    """The size in flash of a kernel file of firmware/kernels, see `offers`."""
    return _CODE_BYTES[source]


def kernels_of(site: Site) -> list[Kernel]:
    """Every kernel that can run a layer, ordered by format."""
    return [kernel for name in format_names() for kernel in _FORMATS[name].offer(site)]


def _known(name: str) -> str:
    if name not in _FORMATS:
        raise ValueError(f"no weight format {name!r}, there are {', '.join(format_names())}")
    return name


WeightFormat = Annotated[str, AfterValidator(_known)]
