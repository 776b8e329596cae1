"""Bundles that between them show a model in every weight format it can take."""

from __future__ import annotations

from pathlib import Path

from tritguard.boards import CoreClass
from tritguard.emit import Bundle, write_bundle
from tritguard.graph.formats.registry import WeightFormat


def in_every_format(content: bytes, core: CoreClass, folder: Path) -> list[Bundle]:
    """Bundles of a model that between them show every format of each of its layers."""
    first = write_bundle(content, folder / "first", name="formats", core=core)
    offers = {layer.index: layer.ternary.offers for layer in first.manifest.layers if layer.ternary}
    bundles = []
    for turn in range(max((len(each) for each in offers.values()), default=0)):
        formats: dict[int, WeightFormat] = {
            index: each[min(turn, len(each) - 1)].weight_format for index, each in offers.items()
        }
        bundles.append(write_bundle(content, folder / f"turn{turn}", name="formats", core=core, formats=formats))
        assert {layer.index: layer.weight_format for layer in bundles[-1].manifest.layers if layer.ternary} == formats
    return bundles
