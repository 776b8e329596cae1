"""What is decided about a model is decided once: whoever opens its bundle finds what its C was written from."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bench.models import ternarised
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack.faults import Flip
from tritguard.boards import CoreClass
from tritguard.emit import Bundle, bundle, open_bundle, write_bundle
from tritguard.emit.lower import lower
from tritguard.errors import BadInputError
from tritguard.evaluate.faults.result import FaultPlan
from tritguard.evaluate.faults.study import _Case
from tritguard.evaluate.samples import Samples
from tritguard.graph.arena.memory import plan_memory
from tritguard.graph.emission import Emission, choose_kernels
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.lists import SparseLists
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.model import Weighted
from tritguard.twin import OpenTwin

CORES: list[CoreClass] = ["m0", "m3", "m4", "m55"]
DENSE = 6  # the layer of `network` whose groups of channels are as large as the arena leaves room for
ASKED: dict[int, WeightFormat] = {DENSE: "base3"}


def network() -> bytes:
    """Int8 convolutions that run in stripes on every core, then ternary layers that use the room left."""
    rng = np.random.default_rng(5)

    def trits(*shape: int) -> np.ndarray:
        return np.where(rng.random(shape) < 0.5, 0, rng.choice([-127, 127], shape)).astype(np.int8)

    builder = ModelBuilder((32, 24, 8), 0.05, 3)
    tensor = builder.quantize(builder.input, (0.05, 0))
    for _ in range(2):
        tensor = builder.conv(tensor, rng.integers(-128, 128, (8, 3, 3, 8), dtype=np.int8), [0.01], None, (0.2, 0))
    tensor = builder.pool(tensor, "MAX", (4, 4), (4, 4), same=False, activation="NONE")
    tensor = builder.conv(tensor, trits(16, 3, 3, 8), [0.01], None, (2.0, 0))
    size = int(np.prod(builder.shape(tensor)))
    tensor = builder.dense(builder.reshape(tensor, (size,)), trits(32, size), [0.01], None, (20.0, 0))
    return builder.build(builder.dense(tensor, trits(10, 32), [0.01], None, (20.0, 0)))


def chosen_for_whole_layers(emission: Emission) -> dict[int, Kernel]:
    """The same formats for an arena without stripes: kernels that the firmware does not have."""
    formats = {emission.graph.ops[at].index: kernel.weight_format for at, kernel in emission.kernels.items()}
    choices = choose_kernels(emission.graph, emission.core, plan_memory, formats)
    return {at: choice.kernel for at, choice in choices.items()}


def assert_is_what_the_c_holds(opened: Bundle) -> None:
    """Every array, every layer's scratch and the arena of the C, compared with the emission made from the bundle."""
    source = (opened.c_dir / "tg_model.c").read_text()
    emission = opened.emission
    declared = {name: int(size) for name, size in re.findall(r"(tg_l\d+_\w+)\[(\d+)\] = ", source)}
    layers = lower(emission)
    arrays = {f"{layer.symbol}_{each.name}": len(each.values) for layer in layers for each in layer.arrays}
    tables = {name for name in declared if name.endswith("_rows")}
    assert arrays == {name: size for name, size in declared.items() if name not in tables}
    calls = {layer.symbol: layer.call for layer in layers if layer.call}
    for symbol, call in calls.items():
        assert call in source, symbol
    for at, kernel in emission.kernels.items():
        scratch = re.search(r"TG_SCRATCH\(\d+, (\d+)\)", calls[emission.graph.ops[at].symbol] or "")
        assert (scratch is not None) == bool(kernel.scratch_bytes)
        if scratch is not None and emission.plan.chain(at) is None:
            assert int(scratch[1]) == kernel.scratch_bytes
    manifest = opened.manifest
    formats = {layer.index: (layer.weight_format, layer.weight_bytes) for layer in manifest.layers}
    for at, kernel in emission.kernels.items():
        assert formats[emission.graph.ops[at].index] == (kernel.weight_format, kernel.weights.nbytes)
    assert emission.plan.arena_bytes == manifest.arena_bytes
    assert len(emission.plan.chains) == len(manifest.stripes)


@pytest.mark.parametrize("core", CORES)
def test_an_opened_bundle_gives_what_its_c_was_written_from(core: CoreClass, tmp_path: Path) -> None:
    write_bundle(network(), tmp_path / "b", name="chains", core=core, formats=ASKED)
    opened = open_bundle(tmp_path / "b")
    assert opened.manifest.stripes
    assert_is_what_the_c_holds(opened)
    # In an arena without stripes that layer has more room: kernels chosen for one are not those of the firmware.
    ours, others = opened.emission.kernels, chosen_for_whole_layers(opened.emission)
    differing = [at for at, kernel in ours.items() if kernel.scratch_bytes != others[at].scratch_bytes]
    assert [opened.emission.graph.ops[at].index for at in differing] == [DENSE]
    assert ours[differing[0]].weights.nbytes != others[differing[0]].weights.nbytes


@pytest.mark.parametrize("stripes", [True, False])
def test_an_emission_can_be_made_again_without_stripes_and_with_formats_chosen(stripes: bool, tmp_path: Path) -> None:
    written = write_bundle(network(), tmp_path / "b", name="chains", core="m0", stripes=stripes)
    opened = open_bundle(tmp_path / "b")
    assert opened.manifest.formats_asked == {}
    assert bool(opened.manifest.stripes) == stripes
    assert opened.emission.plan.slots == written.emission.plan.slots
    assert_is_what_the_c_holds(opened)


@pytest.mark.slow
def test_faults_on_resnet8_are_judged_by_the_lists_that_the_firmware_has(tmp_path: Path) -> None:
    """With int8 first layers, which run in stripes on an M0, the lists' bands are lower than in an arena without."""
    content = ternarised(shared_file("models/resnet8_int8.tflite").read_bytes())
    first: dict[int, WeightFormat] = dict.fromkeys((0, 1, 2), "int8")
    write_bundle(content, tmp_path / "b", name="resnet8", core="m0", formats=first)
    opened = open_bundle(tmp_path / "b")
    assert opened.manifest.stripes
    assert_is_what_the_c_holds(opened)
    ours, others = opened.emission.kernels, chosen_for_whole_layers(opened.emission)
    at = {op.index: at for at, op in enumerate(opened.emission.graph.ops)}
    assert (listed(ours[at[5]]), ours[at[5]].scratch_bytes) == (4630, 5696)
    assert (listed(others[at[5]]), others[at[5]].scratch_bytes) == (4634, 8416)

    # Most flips that the one kernel can follow lead beyond the planes of the other.
    layer, twin = at[5], OpenTwin(opened, threads=1)
    op, symbol = opened.emission.graph.ops[layer], twin.symbol(5)
    assert isinstance(op, Weighted)
    clean = twin.weights[symbol].copy()
    none = Samples(np.empty((0, 32, 32, 3), np.int8), np.empty(0, np.int64), np.empty(0, np.int64))
    case = _Case(opened, twin, None, none, none, FaultPlan())
    told_apart = []
    for each in (Flip(symbol, byte, bit) for byte in range(0, len(clean), 7) for bit in (6, 7)):
        faulty = clean.copy()
        faulty[each.byte] ^= 1 << each.bit
        defined = ours[layer].weights.is_defined(op, faulty, clean)
        assert case.is_defined([each]) == defined
        told_apart.append(others[layer].weights.is_defined(op, faulty, clean) != defined)
    assert any(told_apart)


def listed(kernel: Kernel) -> int:
    """The bytes of a kernel's sparse lists."""
    assert isinstance(kernel.weights, SparseLists)
    return len(kernel.weights.lists)


def test_the_graph_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write_bundle(network(), tmp_path / "b", name="chains")
    opened, read, reads = open_bundle(tmp_path / "b"), bundle.read_graph, []
    monkeypatch.setattr(bundle, "read_graph", lambda content: reads.append(content) or read(content))
    assert written.emission.golden is written.golden
    assert reads == []
    assert opened.emission is opened.emission
    assert opened.emission.golden is opened.golden
    assert len(reads) == 1


def test_a_bundle_whose_c_would_be_another_today_is_refused(tmp_path: Path) -> None:
    write_bundle(network(), tmp_path / "b", name="chains", core="m0", formats=ASKED)
    opened = open_bundle(tmp_path / "b")
    older = replace(opened, manifest=opened.manifest.model_copy(update={"formats_asked": {}, "stripes_allowed": False}))
    with pytest.raises(BadInputError, match="would not emit") as raised:
        _ = older.emission
    assert "convert the model again" in str(raised.value.fix)
