"""Lowers the layers of a chain, which run once per stripe with the rows that their tables give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from tritguard.emit.code import Array, Fields, LayerCode, StripeCode
from tritguard.emit.lower.context import Context
from tritguard.graph.arena.stripes import Chain, Stripe, row_bytes
from tritguard.graph.model import Op

_STRIPE = np.dtype(
    [(name, "u1") for name in ("from_a", "from_b", "in_rows", "pad_top", "out_rows", "to", "kept", "dropped")]
)
_WINDOW = {"in_h": "rows->in_rows", "out_h": "rows->out_rows", "pad_top": "rows->pad_top"}


def striped(context: Context, layer: LayerCode, op: Op, chain: Chain) -> LayerCode:
    """The code of a layer, extended by what its stripes need."""
    stripes = chain.stripes[layer.position]
    assert layer.struct is not None
    bytes_ = row_bytes(context.graph, op.output)
    move = None
    if any(stripe.kept for stripe in stripes):
        to, source = context.place(op.output), context.row(op.output, "dropped")
        move = f"(void)memmove({to}, {source}, (size_t){bytes_} * rows->kept)"
    return replace(
        layer,
        stripes=StripeCode(
            count=chain.count,
            table=Array("rows", np.array([_entry(stripe) for stripe in stripes], dtype=_STRIPE), "tg_stripe_t"),
            move=move,
            settings=_settings(layer.struct.fields, f"{bytes_} * rows->out_rows"),
        ),
    )


def _settings(fields: Fields, size: str) -> dict[str, str]:
    """The fields of the struct that change with each stripe: the window's rows or, without a window, the size."""
    holders = {"": fields} | {f"{name}.": inner for name, inner in fields.items() if isinstance(inner, Mapping)}
    path = next((f"{name}window." for name, inner in holders.items() if "window" in inner), None)
    return {"size": size} if path is None else {path + name: rows for name, rows in _WINDOW.items()}


def _entry(stripe: Stripe) -> tuple[int, ...]:
    first, *second = stripe.read_from
    rows = (first, *(second or [0]), stripe.in_rows, stripe.pad_top, stripe.out_rows, stripe.to)
    return (*rows, stripe.kept, stripe.dropped)
