"""The memory plan: what may overlap is derived from the order in which kernels read and write, and run at its limit."""

from __future__ import annotations

import re
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests import emulated
from tests.bench.models import MODELS, random_net
from tests.support.differences import differences_on_core
from tests.support.known_models import large_windows_model
from tests.support.random_graphs import inputs, models, rowwise_models, sample_inputs, sandwiches
from tests.support.shared import shared_file
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import CoreClass
from tritguard.emit import write_bundle
from tritguard.errors import MismatchError
from tritguard.graph import optimised, read_graph
from tritguard.graph.arena import memory
from tritguard.graph.arena.access import Trace, lead
from tritguard.graph.arena.chains import plan_striped
from tritguard.graph.arena.memory import MemoryPlan, plan_memory, tighten
from tritguard.graph.arena.placement import Block, aligned, pack, repack
from tritguard.graph.emission import choose_kernels, emission_of
from tritguard.graph.formats.kernel import Order
from tritguard.graph.model import Graph, Op, Pool2D
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin, verify_against_oracle

needs_oracle = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel here")

blocks = st.builds(
    lambda size, first, length: Block(size, first, first + length),
    st.integers(1, 40), st.integers(0, 5), st.integers(0, 3),
)  # fmt: skip


@given(st.lists(blocks, min_size=1, max_size=9), st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_blocks_alive_together_lie_apart_or_as_far_over_each_other_as_allowed(items: list[Block], rng) -> None:
    pairs = [
        (a, b) for a, b in permutations(range(len(items)), 2) if items[a].last == items[b].first and rng.random() < 0.7
    ]
    leads = {pair: rng.randrange(0, 30) for pair in pairs if pair[::-1] not in pairs}
    offsets, span = pack(items, leads)
    assert span == max(aligned(block.size) + at for block, at in zip(items, offsets, strict=True))
    for a, b in permutations(range(len(items)), 2):
        if items[a].first > items[b].last or items[b].first > items[a].last:
            continue
        apart = offsets[a] + items[a].size <= offsets[b] or offsets[b] + items[b].size <= offsets[a]
        allowed = any(pair in leads and offsets[pair[1]] + leads[pair] <= offsets[pair[0]] for pair in ((a, b), (b, a)))
        assert apart or allowed
        assert offsets[a] % 4 == 0


def pieces(rng: np.random.Generator, count: int) -> list[Block]:
    """Blocks that fill 64 KiB over 40 steps without a gap: cut out of it, the largest again and again."""
    cut = [(0, 1 << 16, 0, 39)]
    while len(cut) < count:
        low, high, first, last = cut.pop(
            max(range(len(cut)), key=lambda i: (cut[i][1] - cut[i][0]) * (cut[i][3] - cut[i][2]))
        )
        if last - first > 3 and rng.random() < 0.5:
            middle = int(rng.integers(first, last))
            cut += [(low, high, first, middle), (low, high, middle + 1, last)]
        else:
            middle = low + 4 * int(rng.integers(1, (high - low) // 4))
            cut += [(low, middle, first, last), (middle, high, first, last)]
    return [Block(high - low, first, last) for low, high, first, last in cut]


@pytest.mark.slow
def test_more_effort_packs_closer_and_still_apart() -> None:
    items = pieces(np.random.default_rng(3), 60)
    offsets, before = pack(items, {}, 1 << 16)
    again, after = repack(items, {}, offsets, 1 << 16)
    assert after < before - 0.25 * (before - (1 << 16))
    assert after == max(at + block.size for at, block in zip(again, items, strict=True))
    assert repack(items, {}, again, after) == (again, after)
    for (at, block), (other_at, other) in permutations(zip(again, items, strict=True), 2):
        alive = block.first <= other.last and other.first <= block.last
        assert not alive or at + block.size <= other_at or other_at + other.size <= at


def test_a_plan_far_above_its_bound_is_packed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = optimised(read_graph(MODELS["resnet8"]()))
    kernels = {position: choice.kernel for position, choice in choose_kernels(graph, "m4", plan_memory).items()}
    usual = plan_memory(graph, kernels)

    def stacked(items: list[Block], _leads: object, enough: int = 0) -> tuple[tuple[int, ...], int]:
        ends = np.cumsum([aligned(block.size) for block in items])
        return tuple(int(end) - aligned(block.size) for end, block in zip(ends, items, strict=True)), int(ends[-1])

    monkeypatch.setattr(memory, "pack", stacked)
    loose = plan_memory(graph, kernels)
    tight = tighten(graph, kernels, loose)
    assert tight.arena_bytes == tight.whole_layers == usual.arena_bytes < loose.arena_bytes
    assert max(slot.offset + slot.size for slot in tight.slots) == tight.arena_bytes
    assert tighten(graph, kernels, usual) is usual


def test_large_windows_are_taken_one_pixel_at_a_time() -> None:
    golden = read_graph(large_windows_model())
    emission = emission_of(golden, "m4")
    assert [kernel.function for kernel in emission.kernels.values()].count("tg_conv2d_slim") > 0
    graph = emission.graph
    columns = choose_kernels(graph, "m4", plan_memory)
    plan = plan_memory(graph, {position: choice.kernel for position, choice in columns.items()})
    assert emission.plan.arena_bytes < 0.75 * plan.arena_bytes
    for name in ("resnet8", "kws", "vww", "ad", "wake-word"):  # where columns are a small part
        kernels = emission_of(read_graph(MODELS[name]()), "m4").kernels
        assert "tg_conv2d_slim" not in {kernel.function for kernel in kernels.values()}


def touched(op: Op, graph: Graph, position: int) -> set[int]:
    """Every input byte that a windowed op's output pixel depends on."""
    window = op.window  # type: ignore[attr-defined]
    height, width, channels = graph.tensors[op.inputs[0]].shape
    oy, ox = divmod(position, graph.tensors[op.output].shape[1])
    bytes_ = set()
    for ky in range(window.kernel[0]):
        for kx in range(window.kernel[1]):
            y = oy * window.stride[0] - window.padding[0] + ky * window.dilation[0]
            x = ox * window.stride[1] - window.padding[1] + kx * window.dilation[1]
            if 0 <= y < height and 0 <= x < width:
                bytes_ |= set(range((y * width + x) * channels, (y * width + x + 1) * channels))
    return bytes_


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=sandwiches(["conv", "depthwise", "pool"]), order=st.sampled_from(["pixels", "tiles"]))
def test_no_byte_is_overwritten_before_its_last_reader(content: bytes, order: Order) -> None:
    """Every byte that every output pixel needs, followed through time."""
    graph = read_graph(content)
    op = graph.ops[1]
    distance = lead(graph, op, op.inputs[0], order)
    assume(distance is not None)
    depth = graph.tensors[op.output].shape[2]
    steps = graph.tensors[op.output].size // depth
    overwritten: set[int] = set()
    for step in range(steps):
        written = {at - distance for at in range(step * depth, (step + 1) * depth)}
        read_after = overwritten if order == "tiles" and not isinstance(op, Pool2D) else overwritten | written
        assert not read_after & touched(op, graph, step)
        overwritten |= written
    assert overwritten


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), min_size=1, max_size=12), st.booleans())
def test_the_lead_is_the_least_that_is_safe(steps: list[tuple[int, int]], reads_first: bool) -> None:
    reads = np.array([read for read, _ in steps])
    ends = np.cumsum([written for _, written in steps])

    def safe(distance: int) -> bool:
        return not any(
            ends[t] - distance > reads[s] for t in range(len(steps)) for s in range(t + reads_first, len(steps))
        )

    found = Trace(reads, ends, reads_first).lead
    assert safe(found)
    assert found == 0 or not safe(found - 1)


def planned(content: bytes, core: CoreClass = "m4") -> MemoryPlan:
    graph = optimised(read_graph(content))
    return plan_memory(graph, {at: choice.kernel for at, choice in choose_kernels(graph, core, plan_memory).items()})


def mismatches(content: bytes, seed: int, core: CoreClass = "m4") -> int:
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(content, Path(folder) / "bundle", name="overlap", core=core)
        x = sample_inputs(bundle.manifest.input.shape, seed, count=3)
        return int(
            (Twin(bundle, threads=1, in_order=True).predict(x).scores != Oracle(content).predict(x).scores).sum()
        )


@needs_oracle
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=sandwiches(
        ["conv", "conv", "depthwise", "depthwise", "pool", "add", "quantize", "mean", "function", "pair"]
    ),
    seed=inputs,
    core=st.sampled_from(["m0", "m4"]),
)
def test_kernels_give_the_oracles_bytes_with_outputs_over_their_inputs(
    content: bytes, seed: int, core: CoreClass
) -> None:
    plan = planned(content, core)
    overlaps = [overlap for slot in plan.slots for overlap in slot.overlaps]
    assume(overlaps)
    assert all(overlap.lead <= overlap.distance for overlap in overlaps)
    assert mismatches(content, seed, core) == 0


def limit_case(kind: str) -> bytes:
    """One op between two requantisations, whose result every input byte moves."""
    rng = np.random.default_rng(5)
    builder = ModelBuilder((9, 7, 8), 0.05, 3)
    source = builder.quantize(builder.input, (0.05, 0))
    if kind == "conv":
        weights = rng.integers(-128, 128, (8, 3, 3, 8), dtype=np.int8)
        tensor = builder.conv(source, weights, [0.01], None, (0.2, 0))
    else:
        tensor = builder.pool(source, "AVERAGE", (3, 3), (1, 1), same=True, activation="NONE")
    return builder.build(builder.quantize(tensor, (0.5, 0)))


@needs_oracle
@pytest.mark.parametrize("kind", ["conv", "pool"])
def test_these_tests_notice_a_kernel_that_breaks_its_promise(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output two pixels closer than allowed gives wrong bytes, as a kernel would that reads two pixels later."""
    content = limit_case(kind)
    assert mismatches(content, 1) == 0
    monkeypatch.setattr(memory, "lead", lambda *args: max(0, (lead(*args) or 0) - 16))
    assert mismatches(content, 1) > 0
    bundle = write_bundle(content, tmp_path / "b", name="broken")
    with pytest.raises(MismatchError):  # so does `convert`
        verify_against_oracle(bundle)


@pytest.mark.parametrize(("name", "tensors"), [("dscnn_int8", 9_344), ("resnet8_int8", 33_312)])
def test_mlperf_models_take_no_more_than_was_reached(name: str, tensors: int) -> None:
    plan = planned(shared_file(f"models/{name}.tflite").read_bytes())
    scratch = max(slot.size for slot in plan.scratch.values())
    assert plan.lower_bound <= plan.arena_bytes <= tensors + scratch


@pytest.mark.parametrize(
    ("name", "core", "arena", "filled"),
    [
        ("kws-ternary", "m0", 11_168, 3_000),
        ("resnet8-ternary", "m0", 38_800, 11_000),
        ("resnet8-ternary", "m4", 34_960, 14_000),
    ],
)
def test_scratch_that_is_not_needed_fills_the_arena_and_does_not_enlarge_it(
    name: str, core: CoreClass, arena: int, filled: int
) -> None:
    graph = optimised(read_graph(MODELS[name]()))
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, core, plan_memory).items()}
    plan = plan_memory(graph, kernels)
    assert plan.lower_bound <= plan.arena_bytes <= arena
    assert max(kernel.scratch_bytes for kernel in kernels.values()) > filled  # where activations are small


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=st.one_of(models(), rowwise_models()), stripes=st.booleans(), core=st.sampled_from(["m0", "m4", "m55"]))
def test_the_input_lies_where_nothing_is_that_is_needed_with_it(content: bytes, stripes: bool, core: CoreClass) -> None:
    """And costs those nothing who have it in a buffer of their own."""
    emission = emission_of(read_graph(content), core, stripes=stripes)
    graph, plan = emission.graph, emission.plan
    problem, _ = memory._problem(graph, emission.kernels, plan.chains, received=True)
    (own,) = (i for i, group in enumerate(problem.groups) if graph.input in group)
    block, place, size = problem.blocks[own], plan.input, graph.tensors[graph.input].size
    assert place is not None and place.offset % 4 == 0
    assert memory.PACKET_HEADER_BYTES <= place.offset <= place.room - size - memory.PACKET_CRC_BYTES
    assert plan.arena_bytes == (plan_striped if stripes else plan_memory)(graph, emission.kernels).arena_bytes
    assert all(slot.offset + slot.size <= plan.arena_bytes for slot in plan.slots)
    assert plan.arena_bytes <= place.room <= max(plan.arena_bytes + aligned(size) + 12, 12 + 256 + place.offset)
    for slot in plan.slots:
        number = next(at for at, step in enumerate(problem.steps) if slot.first in step)
        apart = slot.offset + slot.size <= place.offset or place.offset + size <= slot.offset
        if apart or number > block.last:
            continue
        sink = next(i for i, group in enumerate(problem.groups) if group == slot.tensors)
        assert slot.tensors and slot.offset + problem.leads[own, sink] <= place.offset


def test_the_first_layers_leave_room_for_the_inputs_of_known_networks() -> None:
    for name in ("vww", "wake-word", "kws", "resnet8"):
        plan = emission_of(read_graph(MODELS[name]()), "m4").plan
        assert plan.input is not None and plan.input.room == plan.arena_bytes, name


@pytest.mark.parametrize("core", ["m0", "m3", "m4", "m55"])
def test_where_nothing_is_gained_the_input_lies_beside_the_rest(core: CoreClass) -> None:
    """Packing anew does not always find the plan again whose outputs lie over their inputs: DS-CNN's on M55."""
    for name in ("vww", "kws", "resnet8", "ad"):
        emission = emission_of(read_graph(MODELS[name]()), core)
        size = emission.graph.tensors[emission.graph.input].size
        assert emission.plan.input is not None
        assert emission.plan.input.room <= emission.plan.arena_bytes + aligned(size) + 12


@needs_oracle
@pytest.mark.parametrize("core", [emulated.M0PLUS, emulated.M4, emulated.M55], ids=lambda core: core.core)
def test_a_first_output_lies_over_the_input_as_far_as_its_kernel_allows(
    core: emulated.Core, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two pixels closer, and a core that receives the input in the arena gives other bytes."""
    content = random_net((12, 12, 8), [("conv", (3, 3), (1, 1), 8), ("conv", (1, 1), (1, 1), 4)], classes=3)
    plan = emission_of(read_graph(content), core.core_class).plan
    assert plan.input is not None and plan.input.room < plan.arena_bytes + 12 * 12 * 8
    assert differences_on_core(core, [content], 3) == []
    monkeypatch.setattr(memory, "lead", lambda *args: max(0, (lead(*args) or 0) - 16))
    assert differences_on_core(core, [content], 3) != []


def test_scratch_lies_apart_from_all_that_its_layer_touches() -> None:
    plan = planned(limit_case("conv"))
    scratch = plan.scratch[1]
    assert (scratch.first, scratch.last) == (1, 1)
    assert 0 not in plan.scratch
    others = [slot for slot in plan.slots if slot.first <= 1 <= slot.last and slot is not scratch]
    assert len(others) == 2
    for slot in others:
        assert slot.offset + slot.size <= scratch.offset or scratch.offset + scratch.size <= slot.offset


def test_the_picture_shows_what_lies_where(tmp_path: Path) -> None:
    bundle = write_bundle(limit_case("conv"), tmp_path / "b", name="picture")
    source = (bundle.c_dir / "tg_model.c").read_text()
    row = re.search(r"^ \*   1 \|(.+)\| CONV_2D$", source, re.MULTILINE)
    assert row is not None
    assert set(row[1]) == {"a", "b", "+", "~"} and row[1].count("+") > 15
    overlap = next(over for slot in bundle.manifest.arena for over in slot.overlaps)
    assert f"starts {overlap.distance} before a (kernel needs {overlap.lead})" in source
