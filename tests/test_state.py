"""Models that keep state between inferences: the oracle's bytes, frame by frame, on the host, cores and a line."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import emulated
from tests.support.device_support import Builder
from tests.support.host_firmware import host_firmware
from tests.support.modelled_line import ModelledLine, Weather
from tests.support.shared import ROOT
from tests.support.stateful import QUANT, STATEFUL, begun, exchanged, lstm, streaming_model, svdf
from tests.support.strict_flags import STRICT
from tests.support.tflite_builder import ModelBuilder
from tritguard import api
from tritguard.attack.faults import Flip, flip
from tritguard.attack.faults.view import FaultView
from tritguard.attack.float_model import open_float
from tritguard.attack.view import GradientView
from tritguard.certify.rules import stages_of
from tritguard.data import Dataset, write_dataset
from tritguard.device import Fleet, emulate
from tritguard.device.greeting import greet
from tritguard.device.inferences import Inferences
from tritguard.device.link import Link
from tritguard.device.protocol import Inference, Request
from tritguard.emit import Bundle, write_bundle
from tritguard.emit.golden import golden_of
from tritguard.emit.tflm import write_arrays
from tritguard.errors import BadInputError, BadModelError, DeviceError, UnsupportedOpError
from tritguard.evaluate.certify.result import CertifyPlan
from tritguard.evaluate.confirmation import ask
from tritguard.evaluate.faults.result import FaultPlan
from tritguard.evaluate.transfer.result import TransferPlan
from tritguard.export import export
from tritguard.graph import read_graph
from tritguard.graph.arithmetic.reference import computed
from tritguard.graph.formats.bits import PADDING
from tritguard.graph.formats.kernel import bits_of
from tritguard.graph.model import Weighted
from tritguard.graph.passes.unrolled import unrolled
from tritguard.oracle import Oracle, oracle_available
from tritguard.predictor import Int8
from tritguard.twin import OpenTwin, Twin, verify_against_oracle

pytest_plugins = ("tests.support.device_fixtures",)

FRAMES = 50
needs_oracle = pytest.mark.skipif(
    not oracle_available(), reason="the tflite-micro oracle has no wheel for this platform"
)


def streams(bundle: Bundle, count: int, seed: int = 0) -> Int8:
    """Random streams, int8[count, FRAMES, *input_shape]."""
    shape = (count, FRAMES, *bundle.manifest.input.shape)
    return np.random.default_rng(seed).integers(-128, 128, shape, dtype=np.int8)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return write_bundle(streaming_model(), tmp_path_factory.mktemp("stream") / "bundle", name="stream")


@needs_oracle
@pytest.mark.parametrize("name", STATEFUL)
def test_every_frame_of_every_stream_is_the_oracles(name: str, tmp_path: Path) -> None:
    content = STATEFUL[name]()
    assert golden_of(content).content == content
    checked = verify_against_oracle if name == "streaming" else None
    bundle = write_bundle(content, tmp_path / "bundle", name="state", check=checked)
    x = streams(bundle, 4) if bundle.manifest.state_bytes else streams(bundle, 4)[:, 0]
    ours, theirs = Twin(bundle).predict(x), Oracle(content).predict(x)
    if bundle.manifest.state_bytes:
        assert np.array_equal(ours.answered, theirs.answered)
        assert np.ptp(ours.answered.astype(int)) > 50
        assert np.array_equal(ours.scores, ours.answered[:, -1])
    else:
        assert np.array_equal(ours.scores, theirs.scores)


@needs_oracle
@pytest.mark.parametrize("core", emulated.EVERY, ids=lambda core: core.core)
def test_every_core_class_keeps_state_as_the_oracle_does(core: emulated.Core, tmp_path: Path) -> None:
    cases, expected = [], []
    for number, name in enumerate(("streaming", "a clipped LSTM", "an SVDF of 8 bits")):
        content = STATEFUL[name]()
        bundle = write_bundle(content, tmp_path / name, name="state", core=core.core_class)
        x = streams(bundle, 1, seed=number)
        cases.append(emulated.Case(bundle, x[0]))
        expected.append(Oracle(content).predict(x).answered[0])
    (tmp_path / "run").mkdir()
    for (scores, _), theirs in zip(emulated.run(core, cases, tmp_path / "run"), expected, strict=True):
        assert np.array_equal(scores, theirs)


def test_state_lies_beside_the_arena_and_costs_no_copy_where_none_is_needed(bundle: Bundle) -> None:
    assert bundle.manifest.state_bytes == 48
    text = (bundle.c_dir / "tg_model.c").read_text()
    assert "memcpy" not in text.split("void tg_model_run")[1]
    assert "tg_state + 24" in text


def recurrent(seed: int) -> bytes:
    """An SVDF or LSTM of any size and scale."""
    rng = np.random.default_rng(seed)
    scale, zero_point = float(np.float32(rng.uniform(0.001, 0.2))), int(rng.integers(-128, 128))
    out = (float(np.float32(rng.uniform(0.004, 0.02))), int(rng.integers(-128, 128)))
    if seed % 2:
        builder = ModelBuilder((int(rng.integers(1, 6)), int(rng.integers(1, 20))), scale, zero_point)
        cell, clip = 2.0 ** -int(rng.integers(8, 15)), float(rng.choice([0, 1.0, 3.3]))
        last = lstm(builder, builder.input, int(rng.integers(1, 24)), rng, cell=cell, clip=clip, hidden=out)
    else:
        builder = ModelBuilder((int(rng.integers(1, 40)),), scale, zero_point)
        units, rank, memory = (int(rng.integers(1, most)) for most in (9, 4, 12))
        last = svdf(builder, builder.input, units, rank, memory, out, rng, narrow=seed % 4 == 0)
    return builder.build(last)


@needs_oracle
@pytest.mark.parametrize("seed", range(4))
def test_recurrent_layers_of_any_size_and_scale_give_the_oracles_bytes(seed: int, tmp_path: Path) -> None:
    content = recurrent(seed)
    bundle = write_bundle(content, tmp_path / "bundle", name="recurrent")
    x = streams(bundle, 3, seed)
    assert np.array_equal(Twin(bundle).predict(x).answered, Oracle(content).predict(x).answered)


@needs_oracle
def test_a_clip_below_one_step_of_the_cell_clips_to_zero(tmp_path: Path) -> None:
    builder, rng = ModelBuilder((4, 6), 0.05, 3), np.random.default_rng(1)
    content = builder.build(lstm(builder, builder.input, 5, rng, cell=2.0**-11, clip=2.0**-13, hidden=(0.01, 7)))
    bundle = write_bundle(content, tmp_path / "bundle", name="recurrent")
    x = streams(bundle, 2)
    ours = Twin(bundle).predict(x).answered
    assert np.array_equal(ours, Oracle(content).predict(x).answered) and (ours == 7).all()


def test_a_ring_of_reshapes_is_refused() -> None:
    """Each of two reshapes takes what the other gives, which no order of the ops can compute."""
    builder, state = begun(7)
    total = builder.add(builder.read(state), builder.input, QUANT)
    flat, whole = builder.activation((24,), *QUANT), builder.activation((3, 2, 4), *QUANT)
    builder.op("RESHAPE", [whole, builder.ints([1, 24])], flat)
    builder.op("RESHAPE", [flat, builder.ints([1, 3, 2, 4])], whole)
    builder.assign(state, whole)
    with pytest.raises(BadModelError):
        read_graph(builder.build(total))


@needs_oracle
def test_ops_may_leave_out_empty_lists_of_tensors(tmp_path: Path) -> None:
    """Some writers do for ops without inputs or outputs, as those on variables are."""
    answers = []
    for name in ("written", "left out"):
        builder, state = begun(7)
        total = builder.add(builder.read(state), builder.input, QUANT)
        builder.assign(state, total)
        if name == "left out":
            for op in builder.operators:
                op.fields = {field: each for field, each in op.fields.items() if np.size(each)}
        bundle = write_bundle(builder.build(total), tmp_path / name, name="m", check=verify_against_oracle)
        answers.append(Twin(bundle).predict(streams(bundle, 1)).answered)
    assert np.array_equal(*answers)


def test_an_assignment_of_nothing_is_refused() -> None:
    """-1 is not the last tensor of the file, which would fit."""
    builder, state = begun(7)
    builder.assign(state, -1)
    total = builder.add(builder.read(state), builder.input, QUANT)
    with pytest.raises(BadModelError, match=r"\(ASSIGN_VARIABLE\): input 1 is missing"):
        read_graph(builder.build(total))


FEW = 3  # frames of a stream of a study


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorFlow runs op by op: to compile the graph of a stream takes seconds, and gives the same."""
    tf = pytest.importorskip("tensorflow", reason="gradients need the extra 'attack'")

    def uncompiled(function: Callable[..., Any], signature: Sequence[Any]) -> Callable[..., Any]:
        return lambda *given: function(
            *(tf.convert_to_tensor(each, spec.dtype) for each, spec in zip(given, signature, strict=True))
        )

    monkeypatch.setattr("tritguard.train.backend.compiled", uncompiled)


@pytest.fixture(scope="module")
def clips(bundle: Bundle) -> Dataset:
    """Short streams with the model's own labels."""
    x = streams(bundle, 24, seed=3)[:, :FEW]
    return Dataset("clips", x, Twin(bundle).predict(x).labels, ("a", "b", "c"), "unknown", "unknown")


def test_what_is_proved_of_a_stream_holds_in_the_ball_of_all_its_frames(
    bundle: Bundle, clips: Dataset, tmp_path: Path
) -> None:
    plan = CertifyPlan(samples=8, eps=(2,), level="relaxation")
    result = api.certify(bundle, clips, tmp_path / "run", plan=plan)
    proved = np.flatnonzero(np.array(list(result.points[0].statuses)) == "p")
    assert len(proved) >= 2 and "PROOF_CONTRADICTED" not in {issue.code for issue in result.issues}
    places, twin = np.array(result.provenance.sample_indices)[proved], Twin(bundle)
    rng = np.random.default_rng(4)
    for x, label in zip(clips.x_test[places], clips.y_test[places], strict=True):
        moved = np.clip(x.astype(np.int16) + 2 * rng.choice((-1, 1), (300, *x.shape)), -128, 127)
        assert (twin.predict(moved.astype(np.int8)).labels == label).all()


@needs_oracle
@pytest.mark.usefixtures("uncompiled")
def test_flips_are_measured_on_whole_streams(bundle: Bundle, clips: Dataset, tmp_path: Path) -> None:
    plan = FaultPlan(samples=12, attacker_samples=8, flips=(2,), draws=2, greedy=1, tflm_samples=4)
    model = api.faults([(bundle, None)], clips, tmp_path / "run", plan=plan).models[0]
    assert (model.clean.k, len(model.chosen), {point.search for point in model.tflm}) == (12, 1, {"random", "greedy"})
    twin, emission = OpenTwin(bundle), bundle.emission
    view = FaultView(emission, frames=FEW)
    for position, kernel in emission.kernels.items():  # a weight of each layer, which all frames meet
        op = emission.graph.ops[position]
        assert isinstance(op, Weighted)
        bits = bits_of(op, kernel.weights)
        assert bits is not None
        byte, bit = np.argwhere(bits.weight != PADDING)[5]
        symbol = twin.symbol(op.index)
        change = bits.changes(twin.weights[symbol])[byte, bit]
        flip(twin.weights, [Flip(symbol, int(byte), int(bit))])
        view.change(position, int(bits.weight[byte, bit]), int(change))
        logits = twin.predict(clips.x_test).logits
        assert logits is not None
        assert np.allclose(view.logits(clips.x_test.astype(np.float32)), logits, atol=1e-4)


@pytest.mark.usefixtures("uncompiled")
def test_attacks_on_streams_are_carried_to_a_float_model_end_to_end(
    bundle: Bundle, clips: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras = pytest.importorskip("tensorflow", reason="float models need the extra 'train'").keras
    source = keras.Input((2 * FEW, 1, 8))
    plain = keras.Model(source, keras.layers.Dense(3)(keras.layers.Flatten()(source)))
    plain.set_weights([np.random.default_rng(6).normal(size=each.shape) for each in plain.get_weights()])
    monkeypatch.setattr("tritguard.convert.archive.load_model", lambda _path: plain)  # its own tests read files
    (tmp_path / "float.keras").write_bytes(b"")
    plan = TransferPlan(samples=8, eps=(4,), steps=2, trigger_samples=0)
    result = api.transfer([bundle], clips, tmp_path / "run", floats=[tmp_path / "float.keras"], plan=plan)
    assert [(cell.source, cell.target) for cell in result.cells] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert result.apart  # some are right on both, so inputs that fool the deployed one alone were looked for
    edge, x = bundle.manifest.input, clips.x_test
    model = open_float(tmp_path / "float.keras", edge, x.shape[1:])
    real = (x.astype(np.float32) - edge.zero_point) * np.float32(edge.scale)
    assert np.allclose(model.predict(x).logits, plain(real.reshape(-1, 2 * FEW, 1, 8)), atol=1e-4)
    with pytest.raises(BadInputError, match=r"takes \[6, 1, 8\], the streams are \[4, 2, 1, 8\], or \[8, 1, 8\]"):
        open_float(tmp_path / "float.keras", edge, (4, 2, 1, 8))


def test_studies_that_know_no_lstm_say_so_at_once(tmp_path: Path) -> None:
    recurrent = write_bundle(STATEFUL["a clipped LSTM"](), tmp_path / "bundle", name="lstm")
    clips = Dataset("none", np.zeros((0, 3, 3, 6), np.int8), np.zeros(0, np.int64), tuple("abcd"), "unknown", "unknown")
    with pytest.raises(UnsupportedOpError, match="of which there are no bounds"):
        api.certify(recurrent, clips, tmp_path / "run")
    with pytest.raises(UnsupportedOpError, match="bits of its weights are not flipped"):
        api.faults([(recurrent, None)], clips, tmp_path / "run")


def test_what_is_exchanged_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedOpError, match="variables that are exchanged"):
        read_graph(exchanged())


def test_what_takes_no_state_says_so(bundle: Bundle) -> None:
    with pytest.raises(BadInputError, match=r"takes int8\[n, frames, 2, 1, 8\], not int8\[4, 2, 1, 8\]"):
        Twin(bundle).predict(np.zeros((4, 2, 1, 8), np.int8))
    with pytest.raises(BadInputError, match="the model keeps state between inferences"):
        stages_of(bundle.golden)


@needs_oracle
def test_arrays_for_tflm_are_compared_over_streams_and_tell_their_first_frame(tmp_path: Path) -> None:
    content = STATEFUL["set to another value"]()
    arrays = write_arrays(content, tmp_path / "arrays", name="state")
    assert (arrays.manifest.verified_against_oracle, arrays.manifest.variables) == (32, 1)
    assert {"CALL_ONCE", "ASSIGN_VARIABLE"} <= set(arrays.manifest.ops)
    if shutil.which("g++") is not None:  # against declarations of what it uses of TFLM, not TFLM itself
        headers = [f"-isystem{ROOT / 'tests' / 'tflm_headers'}", f"-I{arrays.path}"]
        example = arrays.path / "example.cc"
        subprocess.run(["g++", "-std=c++17", "-Wall", "-Werror", "-fsyntax-only", *headers, example], check=True)
        assert "MicroResourceVariables::Create(allocator, state_model::kVariables)" in example.read_text()
    golden = next((tmp_path / "arrays").glob("*_golden.h")).read_text()
    x, scores = (
        np.array([int(value) for value in re.findall(r"-?\d+", part.split("}")[0])], dtype=np.int8)
        for part in golden.split("{")[-2:]
    )
    shape = read_graph(content).tensors[read_graph(content).input].shape
    assert np.array_equal(Oracle(content).predict(x.reshape(1, 1, *shape)).scores[0], scores)


@pytest.mark.slow
def test_the_graph_of_a_stream_gives_the_logits_of_its_last_frame_and_a_gradient(tmp_path: Path) -> None:
    bundle = write_bundle(STATEFUL["reshaped"](), tmp_path / "bundle", name="unrolled")
    x = streams(bundle, 3)[:, :3]
    graph = unrolled(bundle.golden, 3)
    assert (graph.states, graph.tensors[graph.input].shape) == ((), (3, 3, 2, 4))
    view = GradientView(graph)
    assert np.allclose(view.logits(x.astype(np.float32)), Twin(bundle).predict(x).logits, atol=1e-4)
    assert view.zero_gradient_share(x.astype(np.float32), np.zeros(3, np.int64)) == 0


def test_the_graph_of_a_stream_goes_through_lstm_and_svdf(tmp_path: Path) -> None:
    """Frame by frame and step by step without compiling, which takes seconds; one loop over steps is compiled."""
    pytest.importorskip("tensorflow", reason="gradients need the extra 'attack'")
    made = [STATEFUL[name]() for name in ("a clipped LSTM", "an SVDF of 8 bits")]
    for number, content in enumerate([*made, *map(recurrent, range(4))]):
        bundle = write_bundle(content, tmp_path / str(number), name="recurrent")
        x, output = streams(bundle, 20)[:, :3], bundle.manifest.output
        view, answers = GradientView(unrolled(bundle.golden, 3)), Twin(bundle).predict(x)
        vars(view)["_call"] = view._forward
        logits = answers.logits
        if logits is None:
            logits = (answers.scores.astype(np.float64) - output.zero_point) * output.scale
        assert np.array_equal(view.logits(x.astype(np.float32)), logits.astype(np.float32))
        assert number > 1 or view.zero_gradient_share(x.astype(np.float32), np.zeros(20, np.int64)) < 0.5
    view = GradientView(unrolled(read_graph(STATEFUL["a time-major LSTM"]()), 1))
    given = np.random.default_rng(1).integers(-128, 128, (20, *view.input_shape)).astype(np.float32)
    assert np.array_equal(view.logits(given), np.asarray(view._forward(given)))


@pytest.mark.parametrize("name", ["a delay line", "of other values", "set to another value"])
def test_an_unrolled_graph_begins_with_the_initial_values(name: str, tmp_path: Path) -> None:
    bundle = write_bundle(STATEFUL[name](), tmp_path / "bundle", name="state")
    x = streams(bundle, 4)[:, :3]
    graph, answers = unrolled(bundle.golden, 3), Twin(bundle).predict(x).scores
    for stream, answer in zip(x, answers, strict=True):
        values = {graph.input: stream}
        for op in graph.ops:
            values[op.output] = computed(op, [values[tensor] for tensor in op.inputs], graph.tensors)
        assert np.array_equal(values[graph.output].ravel(), answer)


@pytest.fixture(scope="module")
def program(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return host_firmware(bundle, tmp_path_factory.mktemp("firmware"), "modelled_port.c")


@pytest.mark.slow
@pytest.mark.parametrize("broken", [0.0, 0.003])
def test_frames_that_are_sent_again_do_not_move_the_state_twice(broken: float, program: Path, bundle: Bundle) -> None:
    x = streams(bundle, 4, seed=3)
    twin = Twin(bundle).predict(x)
    assert twin.frames is not None
    with ModelledLine(program, weather=Weather(broken=lambda _: broken)) as line:
        link = Link(line)
        hello = greet(link)
        inferences = Inferences(link, None, hello.ring, 0, lambda: 0.1, lambda: None)
        for number, stream in enumerate(x):
            for at, payload in inferences.run_stream([frame.tobytes() for frame in stream]):
                answer = Inference.parse(payload, hello.outputs, hello.logits)
                assert np.array_equal(answer.scores, twin.frames[number, at]), (number, at)
        assert (link.resent > 10) == (broken > 0)
        assert line.computed == x[:, :, 0, 0, 0].size


def test_a_frame_out_of_its_order_is_refused(program: Path, bundle: Bundle) -> None:
    frame = bytes(bundle.manifest.input.bytes)

    def infer(link: Link) -> bytes:
        return link.ask(Request.INFER, frame)

    with ModelledLine(program) as line:
        link = Link(line)
        with pytest.raises(DeviceError, match="its stream goes on with frame 0; was it reset"):
            infer(link)
        link.ask(Request.RESET)
        first = infer(link)
        with pytest.raises(DeviceError, match="its stream goes on with frame 1"):
            infer(link)
        with pytest.raises(DeviceError, match="does not know request 7"):
            link.ask(Request.RUN, bytes(8))
        link.ask(Request.RESET)
        assert infer(link) == first


def test_a_device_answers_evaluates_and_is_profiled(bundle: Bundle, firmware: Builder, tmp_path: Path) -> None:
    build = firmware(bundle, "mps2-an386")
    x = streams(bundle, 6, seed=5)
    twin = Twin(bundle).predict(x)
    with emulate(bundle, build) as bulk, emulate(bundle, build, bulk=False) as uart:
        for device in (Fleet([bulk, uart]), uart):
            outputs = device.predict(x)
            assert np.array_equal(outputs.answered, twin.answered)
            assert outputs.logits is not None and np.array_equal(outputs.logits, twin.logits)
        kept = tmp_path / "campaign.db"
        with pytest.raises(KeyboardInterrupt):
            ask(bulk, x, _interrupt, campaign=kept, boards=1)
        resumed = ask(bulk, x, lambda _done, _total: None, campaign=kept, boards=1).outputs
        assert np.array_equal(resumed.answered, twin.answered)
    dataset = Dataset("streams", x, twin.labels, ("a", "b", "c"), "unknown", "unknown")
    write_dataset(tmp_path / "streams.npz", dataset)
    result = api.evaluate(bundle, build, dataset, tmp_path / "run")
    assert (result.latency.runs, result.latency.frames) == (6, FRAMES)
    assert result.accuracy.k == result.accuracy.n == result.confirmation.inputs == 6
    assert result.confirmation.mismatched_inputs == 0
    assert result.confirmation.bytes_compared == 6 * (FRAMES * 3 + 3 * 4)
    assert result.oracle is None or (result.oracle.bytes_compared, result.oracle.mismatched_inputs) == (
        6 * FRAMES * 3,
        0,
    )
    assert api.profile(bundle, build).total.instructions


def _interrupt(done: int, total: int) -> None:
    """Stop the confirmation when all is answered and kept, but nothing is compared yet."""
    if done == total:
        raise KeyboardInterrupt


def test_an_export_begins_streams(bundle: Bundle, tmp_path: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("cc is not installed")
    export(bundle, "single-header", tmp_path / "net", prefix="wake")
    assert "wake_model_reset" in (tmp_path / "net" / "README.md").read_text()
    subprocess.run(["cc", *STRICT, "example.c", "-o", "example"], cwd=tmp_path / "net", check=True)
    subprocess.run([tmp_path / "net" / "example"], check=True, capture_output=True)
    (tmp_path / "net" / "frames.c").write_text(
        '#define WAKE_IMPLEMENTATION\n#include "wake_model.h"\n#include <stdio.h>\n'
        "static int8_t in[WAKE_INPUT_BYTES], out[WAKE_OUTPUT_BYTES];\n"
        "int main(void)\n{\n    for (int n = 0; fread(in, sizeof in, 1, stdin) == 1; n++) {\n"
        f"        if (n % {FRAMES} == 0) {{ wake_model_reset(); }}\n"
        "        wake_model_run(in, out, NULL);\n"
        "        (void)fwrite(out, sizeof out, 1, stdout);\n    }\n    return 0;\n}\n"
    )
    subprocess.run(["cc", "-O2", "frames.c", "-o", "frames"], cwd=tmp_path / "net", check=True)
    x = streams(bundle, 3)
    done = subprocess.run([tmp_path / "net" / "frames"], input=x.tobytes(), capture_output=True, check=True)
    assert np.array_equal(np.frombuffer(done.stdout, np.int8).reshape(3, FRAMES, 3), Twin(bundle).predict(x).answered)
