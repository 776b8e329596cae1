"""What both reports of a run derive from its result: the headline, and how attacks and flash are grouped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tritguard.evaluate.robustness.figures import AttackRow, CurvePoint
from tritguard.evaluate.robustness.result import Footprint, RobustnessResult

Parameters = dict[str, float | int | str]


def robust_points(result: RobustnessResult) -> list[CurvePoint]:
    """Sort the worst-case curve by eps, without the clean point at eps 0; empty for an invalid result."""
    if result.status == "invalid":
        return []
    return sorted((point for point in result.curve if point.eps_steps > 0), key=lambda point: point.eps_steps)


def headline_point(result: RobustnessResult) -> CurvePoint | None:
    """Find the worst case at the largest eps of the threat model; None if nothing may be quoted.

    The curve may reach further than the threat model, since at a large eps it must end at chance. Such points check the
    attacks and are not the claim.
    """
    named = set(result.threat_model.eps_steps)
    points = [point for point in robust_points(result) if point.eps_steps in named]
    return points[-1] if points else None


def eps_in_input_units(result: RobustnessResult) -> dict[int, float]:
    """Convert every eps that the result names from steps to input units."""
    by_steps = dict(zip(result.threat_model.eps_steps, result.threat_model.eps_input, strict=False))
    return by_steps | {point.eps_steps: point.eps_input for point in result.curve}


@dataclass(frozen=True)
class AttackGroup:
    """One attack at all its eps: the parameters they share, and each row with the parameters of its own."""

    attack: str
    kind: str
    shared: Parameters
    rows: tuple[tuple[AttackRow, Parameters], ...]

    def at(self, eps_steps: int) -> AttackRow | None:
        """Find the row at an eps."""
        return next((row for row, _ in self.rows if row.eps_steps == eps_steps), None)


def attack_groups(result: RobustnessResult) -> list[AttackGroup]:
    """Group rows by attack, in the order the result first names them, each by rising eps."""
    members: dict[tuple[str, str], list[AttackRow]] = {}
    for row in result.attacks:
        members.setdefault((row.attack, row.kind), []).append(row)
    return [_group(attack, kind, rows) for (attack, kind), rows in members.items()]


def _group(attack: str, kind: str, rows: list[AttackRow]) -> AttackGroup:
    first = rows[0].parameters
    shared = {name: value for name, value in first.items() if all(row.parameters.get(name) == value for row in rows)}
    ordered = sorted(rows, key=lambda row: row.eps_steps)
    own = [{name: value for name, value in row.parameters.items() if name not in shared} for row in ordered]
    return AttackGroup(attack, kind, shared, tuple(zip(ordered, own, strict=True)))


def flash_parts(footprint: Footprint) -> dict[str, int]:
    """Split flash by group, with what no group claims as one more part, so that the parts add up to the total."""
    rest = footprint.flash_total - sum(footprint.flash_groups.values())
    return footprint.flash_groups | ({"not attributed": rest} if rest > 0 else {})


def ram_parts(footprint: Footprint) -> dict[str, int]:
    """Split static memory and the reserved stack by use."""
    return {
        "arena (activations)": footprint.ram_arena,
        "other static data": max(0, footprint.ram_static - footprint.ram_arena),
        "stack, peak use": footprint.stack_peak,
        "stack, reserved and never used": max(0, footprint.stack_reserved - footprint.stack_peak),
    }


@dataclass(frozen=True)
class MapRow:
    """A section of the image in memory; `share` is its size over that of the largest one of its kind, from 0 to 1."""

    addresses: str
    name: str
    where: str
    kind: Literal["flash", "ram"]
    bytes: int
    share: float


def memory_map(footprint: Footprint) -> list[MapRow]:
    """List the sections of the image by address."""
    most = {
        in_ram: max((1, *(one.bytes for one in footprint.regions if one.in_ram == in_ram))) for in_ram in (False, True)
    }
    return [
        MapRow(
            addresses=f"{one.start:08x} to {one.end - 1:08x}",
            name=one.name,
            where="flash" if not one.in_ram else "RAM" if one.load is None else f"RAM, copied from {one.load:08x}",
            kind="ram" if one.in_ram else "flash",
            bytes=one.bytes,
            share=one.bytes / most[one.in_ram],
        )
        for one in footprint.regions
    ]
