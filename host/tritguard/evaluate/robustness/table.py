"""What happened to each sample of a robustness evaluation, and the one way to count every accuracy from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt, model_validator

from tritguard.evaluate.study import Rate
from tritguard.records import Record

Flags = NDArray[np.bool_]
Bits = Annotated[str, Field(pattern="^[01]*$")]  # one digit for each sample, 1 where the statement holds

HELD = np.iinfo(np.int64).max  # in place of an eps: no attack broke the sample


def to_bits(flags: Flags) -> str:
    """Write bool[n] as n digits."""
    return (flags.astype(np.uint8) + ord("0")).tobytes().decode()


def to_flags(bits: str) -> Flags:
    """Read n digits as bool[n]."""
    return np.asarray(np.frombuffer(bits.encode(), np.uint8) == ord("1"))


class Outcomes(Record):
    """What one attack at one eps did to each sample.

    Attributes:
        broken: where the device's answer to the crafted input is what the attacker wants, whether or not the clean
            input was classified correctly.
    """

    attack: str
    eps_steps: int = Field(ge=1, le=10**6)
    broken: Bits


class ControlSamples(Record):
    """The control on the same samples, on its twin.

    Attributes:
        right: where it classifies the clean input correctly.
        held: where it does so after every attack too.
        proved: where it is proved that nothing in the attacked ball breaks it; None if that was not tried.
    """

    right: Bits
    held: Bits
    proved: Bits | None = None


class SampleTable(Record):
    """What the device said about each sample, in the order of the provenance's `sample_indices`.

    Attributes:
        labels: the true labels.
        clean: the device's labels for the clean inputs.
        attacks: the outcomes of each row of the result's `attacks`, in their order.
        doubled: those of the attack with twice the steps, at each eps at which samples held.
        proved: where it is proved that nothing breaks the sample at the sanity bound; None if that was not tried.
    """

    labels: tuple[NonNegativeInt, ...] = Field(min_length=1)
    clean: tuple[NonNegativeInt, ...]
    attacks: tuple[Outcomes, ...]
    doubled: tuple[Outcomes, ...] = ()
    proved: Bits | None = None

    @model_validator(mode="after")
    def _same_samples_everywhere(self) -> Self:
        sizes = {"clean": len(self.clean)}
        sizes |= {f"attacks.{place}.broken": len(row.broken) for place, row in enumerate(self.attacks)}
        sizes |= {f"doubled.{place}.broken": len(row.broken) for place, row in enumerate(self.doubled)}
        sizes |= {} if self.proved is None else {"proved": len(self.proved)}
        for name, size in sizes.items():
            if size != len(self.labels):
                raise ValueError(f"{name} has {size} samples, labels has {len(self.labels)}")
        return self


@dataclass(frozen=True)
class Figures:
    """All that is counted from a table.

    Attributes:
        clean: the accuracy on clean inputs.
        rows: the accuracy that each row of `SampleTable.attacks` alone leaves, in their order.
        first: int64[n], for each sample the smallest eps at which it is broken: 0 if the clean input is classified
            wrongly, `HELD` if nothing broke it.
        by: int64[n], the row that broke it there first, as a position in `SampleTable.attacks` followed by `doubled`;
            -1 where `first` is 0 or `HELD`.
        curve: for each eps of the rows, rising, the share of samples that hold up to it.
        doubled: by eps, the number of samples that held up to it before the doubled attack, and how many of them the
            doubled attack broke there.
    """

    clean: Rate
    rows: tuple[Rate, ...]
    first: NDArray[np.int64]
    by: NDArray[np.int64]
    curve: Mapping[int, Rate]
    doubled: Mapping[int, tuple[int, int]]


def count(table: SampleTable) -> Figures:
    """Count every figure from the samples; results are made with this function and checked with it when read."""
    right = np.array(table.labels) == np.array(table.clean)
    broken = [to_flags(row.broken) for row in table.attacks]
    first, by = _first_broken(table.attacks, right)
    doubled = {}
    for row in table.doubled:
        holds = first > row.eps_steps
        doubled[row.eps_steps] = (int(holds.sum()), int((holds & to_flags(row.broken)).sum()))
    first, by = _first_broken((*table.attacks, *table.doubled), right)
    return Figures(
        clean=_share(right),
        rows=tuple(_share(right & ~flags) for flags in broken),
        first=first,
        by=by,
        curve={eps: _share(first > eps) for eps in sorted({row.eps_steps for row in table.attacks})},
        doubled=doubled,
    )


def _first_broken(rows: tuple[Outcomes, ...], right: Flags) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the worst case of each sample; what broke it in a smaller ball lies in every larger one too."""
    first = np.where(right, HELD, 0).astype(np.int64)
    by = np.full(len(right), -1, np.int64)
    for place, row in sorted(enumerate(rows), key=lambda pair: pair[1].eps_steps):
        fallen = (first == HELD) & to_flags(row.broken)
        first[fallen], by[fallen] = row.eps_steps, place
    return first, by


def _share(flags: Flags) -> Rate:
    return Rate.of(int(flags.sum()), len(flags))
