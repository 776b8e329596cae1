"""Draws a memory plan as text: one line for each layer, with the arena from left to right."""

from __future__ import annotations

import string

from tritguard.graph.arena.memory import MemoryPlan, Slot
from tritguard.graph.model import Graph

_COLUMNS = 64


def arena_picture(graph: Graph, plan: MemoryPlan) -> list[str]:
    """The picture of a plan, with tensors as letters in the order in which they are written, and a key below it.

    `~` is a kernel's scratch, `+` an output over an input that dies there, `.` is free.
    """
    tensors = [slot for slot in plan.slots if slot.tensors]
    marks = {tensor: string.ascii_letters[i % 52] for i, slot in enumerate(tensors) for tensor in slot.tensors}
    step = max(1, -(-plan.arena_bytes // _COLUMNS))
    lines = []
    for position, op in enumerate(graph.ops):
        alive = [slot for slot in plan.slots if slot.first <= position <= slot.last]
        cells = (
            [slot for slot in alive if slot.offset < at + step and at < slot.offset + slot.size]
            for at in range(0, plan.arena_bytes, step)
        )
        lines.append(
            f"{op.index:3} |{''.join(_cell(cell, marks) for cell in cells)}| {op.kind}{_stripes(plan, position)}"
        )
    return [*lines, *(_legend(graph, slot, marks) for slot in tensors)]


def _stripes(plan: MemoryPlan, position: int) -> str:
    chain = plan.chain(position)
    if chain is None:
        return ""
    return f", {chain.count} stripes" + (f" of {chain.height} rows" if position == chain.last else "")


def _cell(slots: list[Slot], marks: dict[int, str]) -> str:
    here = {tensor for slot in slots for tensor in slot.tensors}
    if any(overlap.input in here for slot in slots for overlap in slot.overlaps):
        return "+"
    return next((marks[slot.tensors[0]] if slot.tensors else "~" for slot in slots), ".")


def _legend(graph: Graph, slot: Slot, marks: dict[int, str]) -> str:
    where = f"bytes {slot.offset} to {slot.offset + slot.size}"
    layers = f"layers {graph.ops[slot.first].index} to {graph.ops[slot.last].index}"
    overlaps = (
        f", starts {overlap.distance} before {marks[overlap.input]} (kernel needs {overlap.lead})"
        for overlap in slot.overlaps
    )
    return f"{marks[slot.tensors[0]]}: {where}, {layers}{''.join(overlaps)}"
