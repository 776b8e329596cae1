"""Bundles that between them show a model in every weight format it can take."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.graph.formats.registry import WeightFormat


def in_every_format(content: bytes, core: CoreClass, folder: Path) -> list[Bundle]:
    """Bundles of a model that between them show every format of each of its layers."""
    first = write_bundle(content, folder / "first", name="formats", core=core)
    return [in_formats(content, core, folder / f"turn{turn}", formats) for turn, formats in enumerate(turns(first))]


def turns(bundle: Bundle) -> list[dict[int, WeightFormat]]:
    """Formats of each ternary layer, by its index, of as many bundles as it takes to show all that it is offered."""
    offers = {layer.index: layer.ternary.offers for layer in bundle.manifest.layers if layer.ternary}
    most = max((len(each) for each in offers.values()), default=0)
    return [
        {index: each[min(turn, len(each) - 1)].weight_format for index, each in offers.items()} for turn in range(most)
    ]


def in_formats(content: bytes, core: CoreClass, folder: Path, formats: dict[int, WeightFormat]) -> Bundle:
    """A bundle whose ternary layers have these formats, by their index."""
    bundle = write_bundle(content, folder, name="formats", core=core, formats=formats)
    assert {layer.index: layer.weight_format for layer in bundle.manifest.layers if layer.ternary} == formats
    return bundle
