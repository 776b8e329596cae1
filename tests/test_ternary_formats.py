"""Formats of ternary weights: what is packed comes back, the accumulator's bounds hold at their edges, the choice."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rich.console import Console

from tests import emulated
from tests.support.every_format import in_every_format
from tests.support.tflite_builder import ModelBuilder
from tritguard.boards import CoreClass
from tritguard.cli import convert
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.graph.formats import base3
from tritguard.graph.formats.base3 import Base3Dual, Base3Rows, store_dual, store_rows, to_base3
from tritguard.graph.formats.dual import MAX_HIGH, MAX_LOW, pack_dual, unpack_dual
from tritguard.graph.formats.registry import WeightFormat
from tritguard.graph.formats.trit_lanes import pack_lanes, unpack_lanes
from tritguard.oracle import Oracle, oracle_available
from tritguard.twin import Twin

Int8 = NDArray[np.int8]
SHAPE = (9, 7, 5)
needs_oracle = pytest.mark.skipif(not oracle_available(), reason="no tflite-micro for this platform")


@st.composite
def trit_rows(draw: st.DrawFn) -> Int8:
    """int8[channels, positions] with any share of zeros, not the same in all channels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    channels, positions = draw(st.integers(1, 12)), draw(st.integers(1, 400))
    zeros = rng.uniform(*sorted((draw(st.floats(0, 1)), draw(st.floats(0, 1)))), (channels, 1))
    return np.where(rng.random((channels, positions)) < zeros, 0, rng.choice([-1, 1], (channels, positions))).astype(
        np.int8
    )


@settings(max_examples=200, deadline=None)
@given(trits=trit_rows(), together=st.sampled_from([1, 4]))
def test_dual_words_hold_the_trits_within_the_bounds(trits: Int8, together: int) -> None:
    packed = pack_dual(trits, together)
    assert np.array_equal(unpack_dual(packed, *trits.shape), trits)
    assert sorted(packed.channels[packed.channels >= 0]) == list(range(len(trits)))
    for length, column, most in ((packed.block_words, 0, MAX_LOW), (packed.segment_words, 1, MAX_HIGH)):
        for channel in packed.channels[:, column][packed.channels[:, column] >= 0]:
            for first in range(0, trits.shape[1], 8 * length):
                assert np.count_nonzero(trits[channel, first : first + 8 * length]) <= most


def from_base3(packed: NDArray[np.uint32]) -> Int8:
    """int8[n, 20]: the digits of each word, by multiplications with 3."""
    fraction, digits = packed.astype(np.uint64), []
    for _ in range(20):
        fraction *= 3
        digits.append(fraction >> 32)
        fraction &= 0xFFFFFFFF
    return np.stack(digits, axis=1).astype(np.int8)


@settings(max_examples=100, deadline=None)
@given(digits=st.lists(st.integers(0, 2), min_size=1, max_size=200), seed=st.integers(0, 999))
def test_base_3_holds_twenty_trits_a_word(digits: list[int], seed: int) -> None:
    fields = np.pad(np.array(digits, dtype=np.uint32), (0, -len(digits) % 16)).reshape(-1, 16)
    coded = np.where((fields == 2) & (np.random.default_rng(seed).random(fields.shape) < 0.5), 3, fields)
    words = np.bitwise_or.reduce(coded << np.arange(0, 32, 2), axis=1).astype(np.uint32)
    packed = to_base3(words)
    assert len(packed) == -(-fields.size // 20)
    # A byte's four fields are the digits of a number, the last field first.
    decoded = from_base3(packed).reshape(-1, 4)[:, ::-1].ravel()
    assert np.array_equal(decoded[: fields.size], fields.ravel()) and not decoded[fields.size :].any()


@settings(max_examples=100, deadline=None)
@given(trits=trit_rows())
def test_bytes_of_trits_hold_them_in_the_fewest_words(trits: Int8) -> None:
    packed = pack_lanes(trits)
    assert packed.size == len(trits) * 4 * -(-trits.shape[1] // 16)
    assert np.array_equal(unpack_lanes(packed, *trits.shape), trits)


def test_a_window_is_cut_only_where_the_bounds_ask_for_it() -> None:
    def blocks(low: int, high: int) -> tuple[int, int]:
        trits = np.zeros((2, 2048), dtype=np.int8)
        trits[0, :low], trits[1, :high] = -1, -1
        packed = pack_dual(trits)
        return packed.blocks, -(-packed.pair_words // packed.segment_words)

    assert blocks(63, 1023) == (1, 1)
    assert blocks(64, 1023)[0] > 1
    assert blocks(63, 1024)[0] > 1
    assert blocks(640, 1023)[1] == 1
    assert blocks(640, 1024)[1] > 1


def ones(counts: list[int], positions: int) -> Int8:
    """A channel for each count, that many trits of -1: with inputs of -128 the greatest sums there are."""
    return np.stack([np.where(np.arange(positions) < count, -1, 0) for count in counts]).astype(np.int8)


def dense_bundle(trits: Int8, folder: Path) -> Bundle:
    """A dense layer; its logits are the sums, times 127."""
    builder = ModelBuilder((trits.shape[1],), 1.0, 0)
    output = builder.dense(builder.input, trits * np.int8(127), [1.0], None, (1e5, 0))
    return write_bundle(builder.build(output), folder, name="edges", formats={0: "dual2"})


def lanes_bundle(trits: Int8, folder: Path) -> Bundle:
    """The pixels' sums in lanes of bytes."""
    return pixels_bundle(trits, folder, "lanes2", "m55")


def pixels_bundle(trits: Int8, folder: Path, weight_format: WeightFormat = "dual2", core: CoreClass = "m4") -> Bundle:
    """The same sums at each of seven pixels: a tile and a part of one. Outputs are in steps of 200,000."""
    builder = ModelBuilder((1, 7, trits.shape[1]), 1.0, 0)
    weights = (trits * np.int8(127)).reshape(len(trits), 1, 1, -1)
    output = builder.conv(builder.input, weights, [1.0], None, (2e5, 0))
    return write_bundle(builder.build(output), folder, name="edges", core=core, formats={0: weight_format})


EDGES = [[63, 1023], [64, 1023], [63, 1024], [64, 1024], [1023, 1023], [1024] * 8, [0, 0]]


@pytest.mark.parametrize("core", [emulated.M4, emulated.M55], ids=lambda core: core.core)
def test_the_edges_of_the_bounds_on_the_cores(core: emulated.Core, tmp_path: Path) -> None:
    cases, expected = [], []
    made = [(dense_bundle, (1280,)), (pixels_bundle, (1, 7, 1280))]
    made += [(lanes_bundle, (1, 7, 1280))] if core is emulated.M55 else []
    for i, counts in enumerate(EDGES):
        trits = ones(counts, 1280)
        for make, shape in made:
            bundle = make(trits, tmp_path / f"{make.__name__}{i}")
            assert bundle.manifest.layers[0].weight_format == ("lanes2" if make is lanes_bundle else "dual2")
            x = np.stack([np.full(shape, value, dtype=np.int8) for value in (-128, 127)])
            cases.append(emulated.Case(bundle, x))
            expected.append((x.astype(np.int64) @ (127 * trits.astype(np.int64)).T).reshape(2, -1))
    (tmp_path / "run").mkdir()
    for sums, (scores, logits) in zip(expected, emulated.run(core, cases, tmp_path / "run"), strict=True):
        assert np.array_equal(logits, sums) if logits.size else np.array_equal(scores, np.rint(sums / 2e5))


@pytest.mark.parametrize("counts", EDGES)
def test_sums_are_exact_at_the_edges_of_the_bounds(counts: list[int], tmp_path: Path) -> None:
    trits = ones(counts, 1280)
    bundle = dense_bundle(trits, tmp_path / "b")
    assert bundle.manifest.layers[0].weight_format == "dual2"
    x = np.stack([np.full(1280, value, dtype=np.int8) for value in (-128, 127)])
    _, accumulators = Twin(bundle, threads=1).run(x)
    expected = x.astype(np.int64) @ (127 * trits.astype(np.int64)).T
    assert np.array_equal(accumulators, expected)


def ternary_model(zeros: float, seed: int = 0) -> bytes:
    """A convolution, a 1x1 one, depthwise ones and a dense layer, scaled so that inputs still tell in the output."""
    rng = np.random.default_rng(seed)
    live = max(1 - zeros, 0.05) ** 0.5

    def trits(*shape: int) -> Int8:
        values = np.where(rng.random(shape) < zeros, 0, rng.choice([-1, 1], shape))
        return (values * 127).astype(np.int8)

    builder = ModelBuilder(SHAPE, 0.5, 3)
    tensor = builder.conv(builder.input, trits(13, 3, 3, 5), [0.01], None, (12 * live, -5), stride=(2, 1))
    tensor = builder.conv(tensor, trits(16, 1, 1, 13), [0.02], None, (90 * live**2, 4), activation="RELU")
    tensor = builder.depthwise(tensor, trits(3, 3, 16), [0.01], None, (250 * live**3, 0))
    last = (250 * live**4, 0)
    tensor = builder.depthwise(tensor, trits(2, 3, 32), [0.01], None, last, stride=(2, 3), activation="RELU")
    flat = builder.reshape(tensor, (3 * 3 * 32,))
    return builder.build(builder.dense(flat, trits(11, 3 * 3 * 32), [0.01], None, (9000 * live**5, 1)))


def _with_little_room(store: Callable[..., Base3Dual | Base3Rows], *args: Any) -> Base3Dual | Base3Rows:
    stored = store(*args[:-1], 100)
    channels = 2 * len(stored.dual.channels) if isinstance(stored, Base3Dual) else len(stored.magnitude)
    assert stored.group < channels
    return stored


@needs_oracle
@pytest.mark.parametrize("core", emulated.EVERY, ids=lambda core: core.core)
def test_every_format_gives_the_oracles_bytes_on_every_core(
    core: emulated.Core, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = core.core_class
    x = np.random.default_rng(1).integers(-128, 128, (6, *SHAPE), dtype=np.int8)
    cases, expected = [], []
    for zeros in (0.0, 0.2, 0.5, 0.8, 0.9, 1.0):
        content = ternary_model(zeros)
        right = Oracle(content).predict(x).scores
        assert zeros == 1 or len(np.unique(right, axis=0)) > 1
        with monkeypatch.context() as patch:
            if zeros == 0.2:
                for store in (store_dual, store_rows):  # channels in several groups
                    patch.setattr(base3, store.__name__, partial(_with_little_room, store))
            bundles = in_every_format(content, known, tmp_path / str(zeros))
        cases += [emulated.Case(bundle, x) for bundle in bundles]
        expected += [right] * len(bundles)
    ran = {layer.weight_format for case in cases for layer in case.bundle.manifest.layers} - {"none"}
    dual = {"dual2", "quad2"} if known in ("m4", "m55") else set()
    lanes = {"lanes2"} if known == "m55" else set()
    assert ran == {"int8", "ternary2", "taps2", "sparse", "base3"} | (dual or {"fours"}) | lanes
    for case, (scores, _), right in zip(cases, emulated.run(core, cases, tmp_path), expected, strict=True):
        assert np.array_equal(scores, right), case.bundle.path


@pytest.mark.slow
@needs_oracle
@pytest.mark.parametrize("core", ["m0", "m4", "m55"])
def test_every_format_gives_the_oracles_bytes_on_the_twin(core: CoreClass, tmp_path: Path) -> None:
    content = ternary_model(0.5)
    x = np.random.default_rng(2).integers(-128, 128, (20, *SHAPE), dtype=np.int8)
    expected = Oracle(content).predict(x).scores
    assert len(np.unique(expected, axis=0)) > 10
    for bundle in in_every_format(content, core, tmp_path):
        assert np.array_equal(Twin(bundle, threads=1).predict(x).scores, expected)


@pytest.mark.parametrize(
    ("layer", "weight_format", "message"),
    [
        (1, "taps2", "layer 1: no format taps2; it can have base3, dual2, int8, sparse, ternary2"),
        (2, "dual2", "layer 2: no format dual2; it can have int8, taps2, ternary2"),
        (5, "sparse", "layer 5: no format sparse; it can have base3, dual2, int8, quad2, ternary2"),
        (8, "int8", "no layer 8 with weights; layers with weights are 0, 1, 2, 3, 5"),
    ],
)
def test_a_format_that_cannot_be_is_refused(
    layer: int, weight_format: WeightFormat, message: str, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError) as refused:
        write_bundle(ternary_model(0.5), tmp_path / "b", name="no", formats={layer: weight_format})
    assert str(refused.value) == message


@needs_oracle
@pytest.mark.parametrize(("inputs", "offered"), [(255 * 128, True), (255 * 128 + 1, False)])
def test_sparse_lists_have_as_many_runs_as_a_byte_counts(inputs: int, offered: bool, tmp_path: Path) -> None:
    """A run has at most 128 steps of +1."""
    builder = ModelBuilder((1, 1, inputs), 1.0, 0)
    weights = np.full((1, 1, 1, inputs), 127, dtype=np.int8)
    content = builder.build(builder.conv(builder.input, weights, [0.01], None, (2e4, 0)))
    first = write_bundle(content, tmp_path / "b", name="runs", core="m0").manifest.layers[0].ternary
    assert first is not None
    assert ("sparse" in [offer.weight_format for offer in first.offers]) == offered
    if offered:
        bundle = write_bundle(content, tmp_path / "b", name="runs", core="m0", formats={0: "sparse"})
        x = np.stack([np.full((1, 1, inputs), value, dtype=np.int8) for value in (-128, 127, 3)])
        assert np.array_equal(
            Twin(bundle, threads=1).predict(x).scores, Oracle(content).predict(x).scores.reshape(3, 1)
        )


@pytest.mark.parametrize(("rows", "offered"), [(4, True), (5, False)])
def test_trits_in_lanes_are_offered_where_no_sum_overflows(rows: int, offered: bool, tmp_path: Path) -> None:
    """That is below 2^17 positions."""
    builder = ModelBuilder((rows, 4, 32767), 1.0, 0)
    weights = np.ones((1, rows, 1, 32767), dtype=np.int8)
    output = builder.conv(builder.input, weights, [1.0], None, (2e5, 0), same=False)
    output = builder.reshape(output, (4,))
    content = builder.build(builder.dense(output, np.ones((2, 4), dtype=np.int8), [1.0], None, (4.0, 0)))
    first = write_bundle(content, tmp_path / "b", name="wide", core="m55").manifest.layers[0].ternary
    assert first is not None
    assert ("lanes2" in [offer.weight_format for offer in first.offers]) == offered


def test_a_format_has_one_kernel(tmp_path: Path) -> None:
    """Or a layer's could not be asked for."""
    for core in ("m0", "m4", "m55"):
        bundle = write_bundle(ternary_model(0.5), tmp_path / core, name="names", core=core)
        for layer in bundle.manifest.layers:
            names = [offer.weight_format for offer in layer.ternary.offers] if layer.ternary else []
            assert len(names) == len(set(names))


def test_base_3_is_chosen_where_decoding_is_a_small_share(tmp_path: Path) -> None:
    """A layer of many pixels and weights; in a net of dense layers decoding would take as long as computing."""
    rng = np.random.default_rng(0)

    def formats(builder: ModelBuilder, output: int) -> list[str]:
        manifest = write_bundle(builder.build(output), tmp_path / "b", name="share", stripes=False).manifest
        return [layer.weight_format for layer in manifest.layers if layer.ternary]

    image = ModelBuilder((32, 32, 64), 0.5, 3)
    tensor = image.quantize(image.input, (0.5, 0))  # more memory than any group of the convolution's trits
    tensor = image.pool(tensor, "MAX", (2, 2), (2, 2), same=False, activation="NONE")
    weights = (rng.integers(-1, 2, (64, 3, 3, 64)) * 127).astype(np.int8)
    tensor = image.conv(tensor, weights, [0.01], None, (20.0, 0))
    assert formats(image, image.quantize(tensor, (20.0, 1))) == ["base3"]
    vector = ModelBuilder((640,), 0.5, 3)
    weights = (rng.integers(-1, 2, (128, 640)) * 127).astype(np.int8)
    assert formats(vector, vector.dense(vector.input, weights, [0.01], None, (20.0, 0))) == ["quad2"]


@pytest.mark.parametrize(
    ("core", "formats", "below"),
    [
        ("m0", ["int8", "base3", "fours", "sparse", "taps2", "ternary2"], []),
        ("m4", ["int8", "base3", "dual2", "quad2", "sparse", "taps2", "ternary2"], []),
        ("m55", ["int8", "base3", "dual2", "lanes2"], ["quad2", "sparse", "taps2", "ternary2"]),
    ],
)
def test_the_table_of_formats_fits_a_terminal(
    core: CoreClass, formats: list[str], below: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than seven formats are in two tables, one below the other."""
    console = Console(width=80, file=io.StringIO(), record=True)
    monkeypatch.setattr(convert, "console", console)
    convert.list_formats(write_bundle(ternary_model(0.5), tmp_path / "b", name=core, core=core))
    rows = [row.split() for row in console.export_text().splitlines()]
    assert ["op", "zeros", "int8", "B", "now", "B", *formats] in rows
    assert not below or ["op", *below] in rows
    tables = 2 if below else 1
    layers = [row for row in rows if row and row[0].isdigit()]
    assert [row[1][:6] for row in layers] == ["conv", "conv", "depthw", "depthw", "dense"] * tables
    assert sum(cell.startswith("*") for row in layers for cell in row) == 5
    assert all(any(cell.startswith("*") for row in layers[i::5] for cell in row) for i in range(5))
    assert not any("\N{HORIZONTAL ELLIPSIS}" in cell for row in rows for cell in row[2:])
