"""Layers in stripes of rows: no row missing or computed twice, the oracle's bytes, and only where it pays."""

from __future__ import annotations

import random
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests import emulated
from tests.support.differences import differences_on_core
from tests.support.random_graphs import inputs, rowwise_models, sample_inputs
from tests.support.shared import shared_file
from tests.support.strict_flags import STRICT
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import CoreClass
from tritguard.cli import app
from tritguard.emit import open_bundle, write_bundle
from tritguard.graph import emission, optimised, read_graph
from tritguard.graph.arena import chains, memory
from tritguard.graph.arena.chains import LEAST_SAVED, plan_striped
from tritguard.graph.arena.memory import MemoryPlan, plan_memory
from tritguard.graph.arena.stripes import Chain, chain_lead, chain_of, may_stripe
from tritguard.graph.emission import choose_kernels
from tritguard.graph.formats.kernel import Kernel
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.model import Graph
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin

needs_oracle = pytest.mark.skipif(not oracle_available(), reason="the tflite-micro oracle has no wheel here")


def some_chains(graph: Graph, kernels: Mapping[int, Kernel], seed: int) -> tuple[Chain, ...]:
    """Chains that are possible, whether they pay or not: long ones rather than short ones, in stripes of any height."""
    rng = random.Random(seed)
    layers = len(graph.ops)
    spans = [(a, b) for a in range(layers) for b in range(a + 1, layers) if may_stripe(graph, kernels, a, b)]
    rng.shuffle(spans)
    spans.sort(key=lambda span: span[0] - span[1] if seed % 4 else 0)
    found: list[Chain] = []
    for first, last in spans:
        rows = graph.tensors[graph.ops[last].output].shape[0]
        if all(last < other.first or other.last < first for other in found):
            chain = chain_of(graph, first, last, rng.choice([1, 1, 2, 3, rng.randint(1, rows)]))
            found += [] if chain is None else [chain]
    return tuple(sorted(found, key=lambda chain: chain.first))


def chains_in(content: bytes, seed: int, core: CoreClass = "m4") -> tuple[Graph, tuple[Chain, ...]]:
    graph = optimised(read_graph(content))
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, core, plan_memory).items()}
    return graph, some_chains(graph, kernels, seed)


@contextmanager
def forced(seed: int) -> Iterator[None]:
    """Every bundle gets chains, whether they pay or not."""

    def plan(graph: Graph, kernels: Mapping[int, Kernel]) -> MemoryPlan:
        return plan_memory(graph, kernels, some_chains(graph, kernels, seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emission, "plan_striped", plan)
        yield


def follow(graph: Graph, chain: Chain) -> None:
    """Run a chain on row numbers in place of rows."""
    inner = {graph.ops[position].output for position in range(chain.first, chain.last)}
    lies = {  # the number of the row at each place
        tensor: [-1] * (chain.buffers[tensor] // (size // rows)) if tensor in inner else list(range(rows))
        for tensor, rows, size in ((t.index, t.shape[0], t.size) for t in graph.tensors.values() if len(t.shape) == 3)
    }
    computed = dict.fromkeys(chain.stripes, 0)
    for number in range(chain.count):
        for position, stripes in chain.stripes.items():
            op, stripe = graph.ops[position], stripes[number]
            out = lies[op.output]
            if stripe.kept:
                out[: stripe.kept] = out[stripe.dropped : stripe.dropped + stripe.kept]
            for row in range(stripe.out_rows):
                window = getattr(op, "window", None)
                taps = range(window.kernel[0]) if window else (0,)
                dilation, stride, padding = (
                    (window.dilation[0], window.stride[0], window.padding[0]) if window else (1, 1, 0)
                )
                for tensor, start in zip(op.inputs, stripe.read_from, strict=True):
                    for tap in taps:
                        wanted = (stripe.top + row) * stride - padding + tap * dilation
                        place = row * stride - stripe.pad_top + tap * dilation
                        inside = 0 <= wanted < graph.tensors[tensor].shape[0]
                        assert inside == (0 <= place < stripe.in_rows)
                        assert not inside or lies[tensor][start + place] == wanted
                out[stripe.to + row] = stripe.top + row
            assert stripe.top == computed[position]
            computed[position] += stripe.out_rows
    assert computed[chain.last] == graph.tensors[graph.ops[chain.last].output].shape[0]


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=rowwise_models(), seed=st.integers(0, 999))
def test_every_row_is_there_when_it_is_read_and_computed_once(content: bytes, seed: int) -> None:
    graph, chains = chains_in(content, seed)
    assume(chains)
    for chain in chains:
        follow(graph, chain)


def mismatches(content: bytes, seed: int, core: CoreClass) -> int:
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(content, Path(folder) / "bundle", name="stripes", core=core)
        assert bundle.manifest.stripes
        x = sample_inputs(bundle.manifest.input.shape, seed, count=3)
        return int(
            (Twin(bundle, threads=1, in_order=True).predict(x).scores != Oracle(content).predict(x).scores).sum()
        )


@needs_oracle
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=rowwise_models(), seed=inputs, core=st.sampled_from(["m0", "m4"]))
def test_stripes_give_the_oracles_bytes(content: bytes, seed: int, core: CoreClass) -> None:
    assume(chains_in(content, seed, core)[1])
    with forced(seed):
        assert mismatches(content, seed, core) == 0


@needs_oracle
@pytest.mark.parametrize("core", [emulated.M0PLUS, emulated.M4], ids=lambda core: core.core)
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(contents=st.lists(rowwise_models(), min_size=8, max_size=8), seed=st.integers(0, 999))
def test_stripes_give_the_oracles_bytes_on_cores(core: emulated.Core, contents: list[bytes], seed: int) -> None:
    with forced(seed):
        assert differences_on_core(core, contents, seed) == []


@needs_oracle
@pytest.mark.parametrize("weight_format", ["int8", "ternary2", "dual2", "base3"])
def test_convolutions_of_single_pixels_keep_their_rows_in_stripes(weight_format: WeightFormat, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    builder = ModelBuilder((24, 12, 8), 0.05, 3)
    tensor = builder.quantize(builder.input, (0.05, 0))
    layers = (1, 2, 3)
    for side in (3, 1, 3):
        trits = rng.integers(-1, 2, (16, side, side, builder.shape(tensor)[2]), dtype=np.int8)
        tensor = builder.conv(tensor, trits * 127, [0.01], None, (0.5 * side, 0))
    content = builder.build(builder.pool(tensor, "MAX", (3, 3), (3, 3), same=False, activation="NONE"))
    formats = dict.fromkeys(layers, weight_format)
    bundle = write_bundle(content, tmp_path / "b", name="pixels", formats=formats)
    assert any(chain.first_layer <= 2 <= chain.last_layer for chain in bundle.manifest.stripes)
    x = sample_inputs(bundle.manifest.input.shape, 1, count=3)
    scores = Twin(bundle, threads=1, in_order=True).predict(x).scores
    assert len(np.unique(scores)) > 30
    assert np.array_equal(scores, Oracle(content).predict(x).scores)


def residual(height: int = 24) -> bytes:
    """Two convolutions and a sum with what was before them, between requantisations; every input byte matters."""
    rng = np.random.default_rng(5)
    builder = ModelBuilder((height, 12, 8), 0.05, 3)
    source = builder.quantize(builder.input, (0.05, 0))
    tensor = source
    for _ in range(2):
        tensor = builder.conv(tensor, rng.integers(-128, 128, (8, 3, 3, 8), dtype=np.int8), [0.01], None, (0.2, 0))
    tensor = builder.add(source, tensor, (0.2, 0))
    pooled = builder.pool(tensor, "MAX", (height, 1), (1, 1), same=False, activation="NONE")
    return builder.build(pooled)


@needs_oracle
def test_these_tests_notice_an_output_too_close_to_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second convolution's rows are longer than the input's, so the output has to start well before it."""
    rng = np.random.default_rng(5)
    builder = ModelBuilder((24, 12, 8), 0.05, 3)
    tensor = builder.quantize(builder.input, (0.05, 0))
    for channels in (8, 12):
        weights = rng.integers(-128, 128, (channels, 3, 3, 8), dtype=np.int8)
        tensor = builder.conv(tensor, weights, [0.01], None, (0.2, 0))
    content = builder.build(builder.quantize(tensor, (0.5, 0)))

    def plan(graph: Graph, kernels: Mapping[int, Kernel]) -> MemoryPlan:
        chain = chain_of(graph, 1, 2, 2)
        assert chain is not None
        return plan_memory(graph, kernels, (chain,))

    monkeypatch.setattr(emission, "plan_striped", plan)
    assert mismatches(content, 1, "m4") == 0
    two_rows = 2 * 12 * 8
    monkeypatch.setattr(memory, "chain_lead", lambda *args: chain_lead(*args) - two_rows)
    assert mismatches(content, 1, "m4") > 0


@pytest.mark.parametrize(("name", "arena"), [("resnet8_int8", 22_816), ("dscnn_int8", 9_940)])
def test_mlperf_models_take_no_more_than_was_reached(name: str, arena: int) -> None:
    graph = optimised(read_graph(shared_file(f"models/{name}.tflite").read_bytes()))
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, "m4", plan_memory).items()}
    plan = plan_striped(graph, kernels)
    assert plan.lower_bound <= plan.arena_bytes <= arena
    assert plan.whole_layers == plan_memory(graph, kernels).arena_bytes
    assert all(chain.macs == 0 for chain in plan.chains)


def test_what_saves_little_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, _ = chains_in(residual(height=6), 0)
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, "m4", plan_memory).items()}
    assert plan_striped(graph, kernels).chains == ()
    monkeypatch.setattr(chains, "LEAST_BYTES", 1)
    plan = plan_striped(graph, kernels)
    assert 0.6 * plan.whole_layers < plan.arena_bytes <= (1 - LEAST_SAVED) * plan.whole_layers


def test_the_logits_layer_is_in_no_chain() -> None:
    rng = np.random.default_rng(0)
    builder = ModelBuilder((1, 1, 8), 0.05, 3)
    tensor = builder.quantize(builder.input, (0.05, 0))
    tensor = builder.conv(tensor, rng.integers(-128, 128, (8, 1, 1, 8), dtype=np.int8), [0.01], None, (0.2, 0))
    graph = read_graph(builder.build(builder.quantize(tensor, (0.3, 0))))
    kernels = {at: choice.kernel for at, choice in choose_kernels(graph, "m4", plan_memory).items()}
    assert graph.logits_position() == 1
    assert not any(may_stripe(graph, kernels, first, last) for first, last in ((0, 1), (1, 2), (0, 2)))


def test_convert_tells_of_stripes_and_does_without(tmp_path: Path) -> None:
    model = tmp_path / "residual.tflite"
    model.write_bytes(residual())
    striped, whole = tmp_path / "striped", tmp_path / "whole"
    told = CliRunner().invoke(app, ["convert", str(model), "-o", str(striped)])
    untold = CliRunner().invoke(app, ["convert", str(model), "-o", str(whole), "--no-stripes"])
    assert (told.exit_code, untold.exit_code) == (0, 0), told.output + untold.output
    with_stripes, without = open_bundle(striped).manifest, open_bundle(whole).manifest
    (chain,) = with_stripes.stripes
    assert f"layers {chain.first_layer} to {chain.last_layer} run in {chain.count} stripes" in told.output
    assert f"without stripes the arena takes {without.arena_bytes:,} B" in told.output
    assert without.stripes == () and "without stripes" not in untold.output
    assert with_stripes.arena_whole_layers == without.arena_whole_layers == without.arena_bytes
    assert with_stripes.arena_bytes <= (1 - LEAST_SAVED) * without.arena_bytes
    subprocess.run(["cc", *STRICT, "-c", str(striped / "c" / "tg_model.c"), "-o", str(tmp_path / "o.o")], check=True)
    source = (striped / "c" / "tg_model.c").read_text()
    assert f"CONV_2D, {chain.count} stripes\n" in source
    assert f"for (int32_t stripe = 0; stripe < {chain.count}; stripe++)" in source
