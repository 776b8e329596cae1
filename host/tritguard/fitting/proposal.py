"""A network that fits, and the file of settings that trains it."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import PositiveInt

from tritguard.fitting.budget import FitBudget
from tritguard.records import Record
from tritguard.train.config import TABLE, TrainConfig


class Proposal(Record):
    """A network that fits a budget, and what it is expected to take.

    Attributes:
        config: the settings that train it.
        words: its widths and depth in a few words.
        weights: the number of weights, without biases.
        macs: multiply-accumulates of an inference.
        flash: bytes of the whole firmware.
        ram: bytes of static memory and the reserved stack.
        cycles: estimated cycles of an inference.
    """

    config: TrainConfig
    words: str
    weights: PositiveInt
    macs: PositiveInt
    flash: PositiveInt
    ram: PositiveInt
    cycles: PositiveInt


class Proposals(Record):
    """The networks that are proposed for a board, the fastest first.

    Attributes:
        budget: what was allowed, at most what the board has.
        hz: the frequency of the board's clock, by which cycles become seconds.
        tried: how many networks were counted, and how many of them converted and planned.
    """

    budget: FitBudget
    board: str
    hz: PositiveInt
    proposals: tuple[Proposal, ...]
    tried: tuple[int, int]


def as_toml(config: TrainConfig, *comments: str) -> str:
    """A `[train]` table with the settings that differ from the defaults, as TOML, with comments above it."""
    settings = config.model_dump(mode="json", exclude_defaults=True)
    lines = [f"# {comment}" for comment in comments]
    return "\n".join([*lines, *_table(TABLE, settings)]) + "\n"


def _table(name: str, settings: dict[str, object]) -> Iterator[str]:
    yield f"[{name}]"
    inner = {key: value for key, value in settings.items() if isinstance(value, dict)}
    yield from (f"{key} = {_value(value)}" for key, value in settings.items() if key not in inner)
    for key, value in inner.items():
        yield ""
        yield from _table(f"{name}.{key}", value)


def _value(value: object) -> str:
    if isinstance(value, list):
        if any(isinstance(part, dict) for part in value):
            return "[\n" + "".join(f"    {_value(part)},\n" for part in value) + "]"
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(part)}" for key, part in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)  # TOML's strings, numbers, true and false are JSON's
