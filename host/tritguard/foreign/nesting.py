"""Flattens a network whose layers may be networks themselves, or be called several times.

Each call of a layer becomes a layer of its own with the same weights, so that later code meets only layers that are
used once. Runs in the reading process only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tritguard.errors import BadModelError
from tritguard.foreign.description import Layer
from tritguard.foreign.stores import MAX_VALUES, Arrays

MAX_LAYERS = 1000
MAX_DEPTH = 20  # how deeply networks may stand in networks


@dataclass(frozen=True)
class Source:
    """An output of a layer: the layer's name in its network, which call of it, and which of that call's outputs."""

    name: str
    call: int = 0
    output: int = 0


@dataclass(frozen=True)
class Part:
    """A layer as its file has it.

    Attributes:
        name: its name, unique in its network.
        calls: what each of its calls reads; empty for inputs.
        layers: the layers that it becomes, without inputs: the first reads what the call does, each other one the
            layer before it. Empty for inputs, and for networks.
        weights: the weights of the first of these layers.
        net: the network that it is, if it is one.
    """

    name: str
    calls: tuple[tuple[Source, ...], ...]
    layers: tuple[Layer, ...] = ()
    weights: Arrays = field(default_factory=dict)
    net: Net | None = None


@dataclass(frozen=True)
class Net:
    """A network: its parts in the file's order, its inputs and its outputs."""

    parts: tuple[Part, ...]
    inputs: tuple[Source, ...]
    outputs: tuple[Source, ...]


class Flat:
    """The layers of a flattened network.

    Attributes:
        layers: the layers, each after those whose outputs it reads.
        weights: for each layer's name its weights by name, float32.
    """

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.weights: dict[str, Arrays] = {}
        self._names: set[str] = set()
        self._values = self._calls = 0

    def add(self, layer: Layer, weights: Arrays, name: str, inputs: tuple[str, ...]) -> str:
        """Append a layer under this name, with underscores if it is taken; return the name.

        Raises:
            BadModelError: there are too many weights.
        """
        while name in self._names:
            name += "_"
        self._names.add(name)
        self._values += sum(array.size for array in weights.values())
        if self._values > MAX_VALUES:
            raise BadModelError(f"more than {MAX_VALUES:,} weights in the model", where=f"layer {name}")
        self.layers.append(layer.model_copy(update={"name": name, "inputs": inputs, "weights": tuple(weights)}))
        self.weights[name] = weights
        return name

    def call(self, net: Net, given: tuple[str, ...], prefix: str = "") -> tuple[str, ...]:
        """Append the layers of one call of a network.

        Args:
            net: the network.
            given: the layers whose outputs it reads, one for each of its inputs.
            prefix: what the names of its layers begin with.

        Returns:
            The layers whose outputs are the network's.

        Raises:
            BadModelError: a layer reads what no layer gives, or there are too many calls or weights.
        """
        made: dict[tuple[str, int], tuple[str, ...]] = {}
        made |= {(source.name, 0): (name,) for source, name in zip(net.inputs, given, strict=True)}
        several = {part.name for part in net.parts if len(part.calls) > 1}

        def named(source: Source) -> str | None:
            outputs = made.get((source.name, source.call if source.name in several else 0), ())
            return outputs[source.output] if source.output < len(outputs) else None

        pending = [(part, call) for part in net.parts for call in range(len(part.calls))]
        self._calls += len(pending)  # a model without layers costs time too
        if self._calls > MAX_LAYERS:
            raise BadModelError(f"more than {MAX_LAYERS} layers, with those of the models in it")
        while pending:
            later = []
            for part, call in pending:
                inputs = [named(source) for source in part.calls[call]]
                if None in inputs:
                    later.append((part, call))
                    continue
                name = f"{prefix}{part.name}" + (f"_{call + 1}" if call else "")
                made[part.name, call] = self._called(part, name, tuple(filter(None, inputs)))
            if len(later) == len(pending):
                missing = next(source for part, call in later for source in part.calls[call] if named(source) is None)
                what = f"reads {missing.name[:60]!r}, which does not come before it"
                raise BadModelError(what, where=f"layer {prefix}{later[0][0].name}")
            pending = later
        outputs = tuple(named(source) for source in net.outputs)
        if None in outputs:
            raise BadModelError(f"reads {net.outputs[outputs.index(None)].name[:60]!r}", where=f"the output {prefix}")
        return tuple(filter(None, outputs))

    def _called(self, part: Part, name: str, inputs: tuple[str, ...]) -> tuple[str, ...]:
        if part.net is not None:
            if len(inputs) != len(part.net.inputs):
                what = f"is given {len(inputs)} inputs, but takes {len(part.net.inputs)}"
                raise BadModelError(what, where=f"layer {name}")
            return self.call(part.net, inputs, f"{name}_")
        given = inputs
        for place, layer in enumerate(part.layers):
            own = name if place == 0 else f"{name}_activation"
            given = (self.add(layer, part.weights if place == 0 else {}, own, given),)
        return given


def sources(nodes: object, name: str) -> Iterator[Source]:
    """What a call of a layer reads, written as in Keras 2 (lists) or in Keras 3 (tensors).

    Args:
        nodes: one entry of a layer's `inbound_nodes`.
        name: the layer, for messages.

    Raises:
        BadModelError: an input does not say where it comes from.
    """
    if isinstance(nodes, dict):
        if nodes.get("class_name") == "__keras_tensor__":
            config = nodes.get("config")
            yield _source(config.get("keras_history") if isinstance(config, dict) else None, name)
        else:
            yield from sources(list(nodes.values()), name)
    elif isinstance(nodes, list):
        if len(nodes) >= 3 and isinstance(nodes[0], str) and isinstance(nodes[1], int):
            yield _source(nodes, name)
        else:
            for node in nodes:
                yield from sources(node, name)


def ends(value: object) -> Iterator[Source]:
    """A network's inputs or outputs, given as [name, 0, 0] or as a list of these."""
    if isinstance(value, list):
        if value and isinstance(value[0], str):
            yield _source(value, "an end of the network")
        else:
            for part in value:
                yield from ends(part)


def _source(history: Any, name: str) -> Source:
    if not isinstance(history, list) or not history or not isinstance(history[0], str):
        raise BadModelError("an input without a source", where=f"layer {name}")
    numbers = [number if isinstance(number, int) and number >= 0 else 0 for number in history[1:3]]
    return Source(history[0], *numbers)
