"""Which figure speaks to which term of laws and standards: the table of `mapping.toml`, filled from results."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import as_file, files

from pydantic import Field

from tritguard.records import Record, from_table, read_toml

NOT_TESTED = "not tested"


class MappingRow(Record):
    """One term of a text.

    Attributes:
        term: the text's own name for it.
        asks: what it is about, in our words.
        figures: names of facts that speak to it, `STUDY.NAME`.
        silent: what those do not show.
    """

    term: str
    asks: str
    figures: tuple[str, ...]
    silent: str = ""

    def offered(self, facts: Mapping[str, str]) -> str:
        """Quote the figures that there are, or say that nothing was tested."""
        found = [f"{name}: {facts[name]}" for name in self.figures if name in facts]
        return "; ".join(found) or NOT_TESTED


class MappedText(Record):
    """A law or a standard, and its terms."""

    name: str
    row: tuple[MappingRow, ...] = Field(min_length=1)


class _Mapping(Record):
    text: tuple[MappedText, ...] = Field(min_length=1)


def mapped_texts() -> tuple[MappedText, ...]:
    """The laws and standards of `mapping.toml`."""
    with as_file(files(__package__) / "mapping.toml") as path:
        return from_table(_Mapping, read_toml(path), where=path.name).text
