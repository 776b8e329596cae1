"""The same flips in TensorFlow Lite Micro's own interpreter, for which flash holds the `.tflite`.

Our firmware folds the input's zero point into sums of weights when it is built, and a flip leaves these sums as they
were: it changes only the product of the weight and the stored input. TFLM adds the zero point to each input and sees
all of the flip. What a flip costs therefore depends on the firmware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.faults import Flip
from tritguard.emit import Bundle
from tritguard.errors import BadModelError
from tritguard.graph.formats.bits import PADDING, BitMap
from tritguard.graph.formats.kernel import bits_of
from tritguard.graph.model import Weighted
from tritguard.graph.passes.clamps import fuse_clamps
from tritguard.graph.passes.dead_channels import surviving_weights
from tritguard.oracle import Oracle, predict_apart
from tritguard.predictor import Int8, Outputs
from tritguard.twin import OpenTwin

_BITS = 8


@dataclass(frozen=True)
class _Layer:
    """Where a layer's weights are.

    Attributes:
        places: int64[weights], the byte in the `.tflite` of each weight that our firmware has, dead channels left out.
        bits: what each bit of its array in our flash stands for; None where no bit belongs to a single weight.
    """

    places: NDArray[np.int64]
    bits: BitMap | None


class FaultyInterpreter:
    """Flips bits in the weights of a `.tflite`, and asks TFLM's interpreter.

    Args:
        bundle: the deployed model.
        twin: names its arrays.
        x: int8[n, *input_shape], inputs on which TFLM has to give the twin's bytes without flips; or streams.

    Raises:
        BadModelError: TFLM refuses the model, or gives other bytes.
    """

    def __init__(self, bundle: Bundle, twin: OpenTwin, x: Int8) -> None:
        self._content = bundle.model_path.read_bytes()
        # TFLM aborts on some models, so this runs in a process of its own. Flips change only the weights of this model.
        if not np.array_equal(predict_apart(self._content, x), twin.predict(x).answered):
            raise BadModelError("TensorFlow Lite Micro and the twin differ", where=str(bundle.model_path))
        emission, graph = bundle.emission, fuse_clamps(bundle.golden)
        kept = surviving_weights(graph)
        emitted = {
            op.index: bits_of(op, emission.kernels[at].weights)
            for at, op in enumerate(emission.graph.ops)
            if isinstance(op, Weighted)
        }
        self._layers: dict[str, _Layer] = {}
        for op in graph.ops:
            if isinstance(op, Weighted) and self._content.count(stored := op.weights.tobytes()) == 1:
                places = self._content.index(stored) + kept[op.index]
                self._layers[twin.symbol(op.index)] = _Layer(places, emitted[op.index])

    def flipped(self, flips: Sequence[Flip], seed: int) -> bytes | None:
        """The `.tflite` with the same flips; None if a flip is in a layer whose weights are not found in it.

        An int8 weight has the same bits there. For a flip in any other format, one of the eight bits of the same weight
        is flipped, drawn with the seed; for a flip in padding, a bit of any weight of the layer.
        """
        rng, chosen = np.random.default_rng((seed, len(flips))), set[tuple[int, int]]()
        for each in flips:
            layer = self._layers.get(each.symbol)
            if layer is None:
                return None
            free = [place for place in self._places(layer, each) if place not in chosen]
            if free:  # otherwise all bits that could stand for it are flipped already
                chosen.add(free[int(rng.integers(len(free)))])
        changed = bytearray(self._content)
        for byte, bit in chosen:
            changed[byte] ^= 1 << bit
        return bytes(changed)

    @staticmethod
    def _places(layer: _Layer, flip: Flip) -> list[tuple[int, int]]:
        """The bits, as (byte, bit), of which any one may stand for this flip."""
        weight = PADDING if layer.bits is None else int(layer.bits.weight[flip.byte, flip.bit])
        if weight == PADDING:
            return [(int(byte), bit) for byte in layer.places for bit in range(_BITS)]
        same = layer.bits is not None and layer.bits.trits is None
        return [(int(layer.places[weight]), bit) for bit in ([flip.bit] if same else range(_BITS))]

    @staticmethod
    def answers(content: bytes, x: Int8) -> Outputs:
        """What TFLM answers to x, int8[n, *input_shape], with these weights."""
        return Oracle(content).predict(x)
