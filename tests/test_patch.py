"""Adversarial patches: the ball of squares, the attack that paints them, and what reports say of them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError
from typer.testing import CliRunner

from tests.support import float_net
from tests.support.device_support import inputs
from tests.support.tflite_builder import ModelBuilder
from tritguard import api
from tritguard.api.keeping import attacks_by, keep_other_result, runs_on
from tritguard.attack import Ball, Target
from tritguard.attack.apgd import ascend
from tritguard.attack.base import Best, Queries
from tritguard.attack.catalog import ATTACKS, make
from tritguard.attack.gradient import Gradients
from tritguard.attack.norms import NORMS
from tritguard.attack.norms.patch import PATCHES, REACH
from tritguard.attack.patch import PatchSearch
from tritguard.attack.view import GradientView
from tritguard.build import Build
from tritguard.cli import app
from tritguard.data import Dataset, write_dataset
from tritguard.data.dataset import read_dataset
from tritguard.emit import Bundle, write_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.certify.result import CertifyPlan
from tritguard.evaluate.robustness.fidelity import Fidelities, measure
from tritguard.evaluate.robustness.grids import Regrid
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.repairs import Held, judge
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.robustness.study import ROBUSTNESS
from tritguard.graph import read_graph
from tritguard.predictor import Predictor
from tritguard.twin import Twin

pytest_plugins = ("tests.support.device_fixtures",)

HEIGHT, WIDTH, CHANNELS = 5, 7, 2


def squares(name: str, side: int) -> list[np.ndarray]:
    """Every square that a norm allows in pictures of 5 x 7 pixels: bool[height, width] each."""
    found = []
    for top, left in product(range(max(HEIGHT - side, 0) + 1), range(max(WIDTH - side, 0) + 1)):
        inside = np.zeros((HEIGHT, WIDTH), bool)
        inside[top : top + side, left : left + side] = True
        at_corner = top in {0, max(HEIGHT - side, 0)} and left in {0, max(WIDTH - side, 0)}
        if name == "patch" or at_corner:
            found.append(inside)
    return found


@settings(max_examples=25)
@given(
    st.sampled_from(tuple(PATCHES)),
    st.integers(1, 8),
    hnp.arrays(np.int8, (2, HEIGHT, WIDTH, CHANNELS)),
    hnp.arrays(np.float64, (2, HEIGHT, WIDTH, CHANNELS), elements=st.integers(-300, 300).map(lambda n: n / 2)),
)
def test_candidates_are_put_into_the_nearest_square(
    name: str, eps: int, clean: np.ndarray, candidates: np.ndarray
) -> None:
    """Against all squares, one by one."""
    ball = Ball(name, eps)
    found = ball.to_grid(candidates, clean).astype(float)
    assert (ball.distances(found.astype(np.int8), clean) <= eps).all()
    moves = np.rint(np.clip(candidates, -128, 127)) - clean
    for got, move in zip(found - clean, moves, strict=True):
        left = [((move * ~inside[..., None]) ** 2).sum() for inside in squares(name, eps)]
        assert ((move - got) ** 2).sum() == min(left)


@given(st.sampled_from(tuple(PATCHES)), hnp.arrays(np.bool_, (1, HEIGHT, WIDTH, CHANNELS)))
def test_the_distance_is_the_smallest_square_that_holds_all_changes(name: str, changed: np.ndarray) -> None:
    pixels = changed[0].any(axis=2)
    fits = [side for side in range(1, 8) if any(not (pixels & ~inside).any() for inside in squares(name, side))]
    wanted = min(fits) if pixels.any() else 0
    assert NORMS[name].lengths(changed.astype(float)).tolist() == [wanted]


@pytest.mark.parametrize("name", NORMS)
def test_no_sample_is_no_error(name: str) -> None:
    """Where nothing is proved, or everything is broken."""
    rng, norm, none = np.random.default_rng(0), NORMS[name], np.zeros((0, 4, 4, 2))
    made = [norm.shrink(none, 2), norm.steepest(none), norm.start(rng, none.shape, 2), norm.to_edge(rng, none, 2)]
    made += [norm.to_grid(none, none.astype(np.int8), 2), norm.start_at(rng, none, 2), norm.along(none, 2, none)]
    assert [each.shape for each in made] == [none.shape] * len(made) and norm.lengths(none).shape == (0,)


@pytest.mark.parametrize("name", PATCHES)
def test_a_way_back_to_the_clean_input_is_a_smaller_square(name: str) -> None:
    rng, norm = np.random.default_rng(0), NORMS[name]
    moves = rng.normal(size=(6, HEIGHT, WIDTH, CHANNELS))
    for share in (0.0, 0.3, 0.8, 1.0):
        shorter = norm.towards_clean(moves, np.full(6, share))
        assert (norm.lengths(shorter) <= share * norm.lengths(moves)).all()
        assert ((shorter == 0) | (shorter == moves)).all()
    assert np.array_equal(norm.towards_clean(moves, np.ones(6)), moves)


@pytest.mark.parametrize("name", PATCHES)
def test_gradients_are_judged_inside_one_square(name: str) -> None:
    """The steepest one, or where an input has been changed already."""
    rng, norm = np.random.default_rng(0), NORMS[name]
    slopes, moved = rng.normal(size=(2, HEIGHT, WIDTH, CHANNELS)), np.zeros((2, HEIGHT, WIDTH, CHANNELS))
    moved[1, 3:5, 5:7] = 40
    along = norm.along(slopes, 3, moved)
    assert (norm.lengths(along) <= 3).all() and set(np.unique(np.abs(along))) == {0, REACH}
    assert (np.sign(along) * slopes >= 0).all()
    gains = [(np.abs(slopes[0]) * inside[..., None]).sum() for inside in squares(name, 3)]
    assert np.isclose((np.abs(slopes[0]) * (along[0] != 0)).sum(), max(gains))
    assert np.array_equal(along[1] != 0, moved[1] != 0)


@pytest.mark.parametrize("name", PATCHES)
def test_ascents_begin_in_the_square_that_gains_most(name: str) -> None:
    rng, norm = np.random.default_rng(0), NORMS[name]
    gains = rng.exponential(size=(2, HEIGHT, WIDTH, CHANNELS))
    gains[1] = 0
    moves = norm.start_at(rng, gains, 3)
    every = [(gains[0] * inside[..., None]).sum() for inside in squares(name, 3)]
    assert np.isclose((gains[0] * (moves[0] != 0)).sum(), max(every))
    assert (norm.lengths(moves) == 3).all(), "where nothing gains, the place is random"


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("shape", [(49, 10, 1), (20,), (9, 4)])
def test_inputs_of_any_shape_have_squares(name: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    clean = rng.integers(-128, 128, (5, *shape), dtype=np.int8)
    for eps in (1, 3, 64):
        ball = Ball(name, eps)
        for moves in (ball.geometry.start(rng, clean.shape, eps), ball.geometry.to_edge(rng, clean.astype(float), eps)):
            found = ball.to_grid(clean + moves, clean)
            distances = ball.distances(found, clean)
            assert (distances <= eps).all() and distances.max() > 0
        assert np.array_equal(ball.to_grid(clean.astype(float), clean), clean)


SMALL: dict[str, dict[str, int]] = {
    "noise": {"tries": 20}, "apgd-ce": {"steps": 8}, "patch": {"tried": 40, "places": 2, "steps": 8},
    "square": {"queries": 150}, "hopskipjump": {"queries": 100, "probes": 20},
}  # fmt: skip
OTHERS = {"apgd-dlr", "apgd-margin", "apgd-t", "two-step", "zoo", "boundary"}  # they move as those above do


def test_which_attacks_know_patches() -> None:
    for norm in PATCHES:
        known = {name for name, entry in ATTACKS.items() if entry.knows(norm)}
        assert known >= set(SMALL) | OTHERS
        assert not known & {"fgsm", "pgd", "cw"}, "they work in the balls of a library, or by a table of norms"


@pytest.mark.slow
@pytest.mark.parametrize(("norm", "names"), [("patch", tuple(SMALL)), ("corner-patch", ("noise", "patch", "square"))])
def test_attacks_keep_to_the_square(norm: str, names: tuple[str, ...]) -> None:
    """What is found is the same each time; the patch attack is the strongest, and Square beats noise."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    target, ball, left = float_net.white_box(10), Ball(norm, 7).within((-120, 127)), {}
    target = replace(target, x=np.maximum(target.x, np.int8(-120)))
    for name in names:
        attack = make(name, SMALL[name])
        found = attack.craft(target, ball)
        assert found.x.dtype == np.int8 and found.x.min() >= -120
        assert (ball.distances(found.x, target.x) <= 7).all(), name
        if name in {"patch", "square"}:
            again = attack.craft(target, ball)
            assert np.array_equal(found.x, again.x) and found.queries == again.queries
        left[name] = int((target.predictor.predict(found.x).labels == target.y).sum())
        if name == "patch":  # an honest network's gradients are not found to lead astray, also where it is painted
            assert measure(target, ball, found.x).astray.sum() <= 1
    assert left["patch"] == min(left.values()) < left["noise"], left
    assert left["square"] < left["noise"], left
    if "apgd-ce" in left:  # else random noise would make an honest network's result invalid
        assert left["apgd-ce"] < left["noise"], left


def linear_model() -> bytes:
    """Scores that are linear in pictures of 5 x 7 pixels and two channels."""
    rng = np.random.default_rng(4)
    builder = ModelBuilder((HEIGHT, WIDTH, CHANNELS), 1 / 255, -128)
    flat = builder.reshape(builder.input, (HEIGHT * WIDTH * CHANNELS,))
    weights = rng.integers(-127, 128, (3, HEIGHT * WIDTH * CHANNELS), dtype=np.int8)
    return builder.build(builder.dense(flat, weights, [0.01] * 3, None, (0.2, 0)))


def linear_target(folder: Path) -> Target:
    """This network and 12 inputs, with its own answers for labels."""
    bundle = write_bundle(linear_model(), folder / "bundle", name="linear")
    twin, x = Twin(bundle), inputs(bundle, 12)
    return Target(twin, GradientView(read_graph(linear_model())), x, twin.predict(x).labels, seed=0)


@pytest.mark.parametrize("norm", PATCHES)
def test_on_a_linear_network_the_worst_square_is_found(tmp_path: Path, norm: str) -> None:
    """The least margin against one rival class is that of the best corner of the best square, on the integers."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    target, ball = linear_target(tmp_path), Ball(norm, 3)
    twin, x, y = target.predictor, target.x, target.y
    found = target.margins(twin.predict(PatchSearch(tried=1000, places=1, steps=1).craft(target, ball).x))
    logits = twin.predict(x).logits
    assert logits is not None
    rival = np.argsort(logits, axis=1)[:, -2]
    weights = _slopes(twin, x[:1])
    for row in range(len(x)):
        slope = weights[rival[row]] - weights[y[row]]
        corner = np.where(slope > 0, 127, -128).astype(np.int8)
        tried = np.stack([np.where(inside[..., None], corner, x[row]) for inside in squares(norm, 3)])
        least = target.margins(twin.predict(tried), np.full(len(tried), row)).min()
        assert found[row] <= max(least, 0) or found[row] <= least


def _slopes(twin: Predictor, clean: np.ndarray) -> np.ndarray:
    """float64[3, height, width, channels]: what one step of each element adds to each logit."""
    moved = np.repeat(np.clip(clean, -128, 126), HEIGHT * WIDTH * CHANNELS, axis=0)
    flat = moved.reshape(len(moved), -1)
    before = twin.predict(moved).logits
    flat[np.arange(len(flat)), np.arange(len(flat))] += 1
    after = twin.predict(moved).logits
    assert before is not None and after is not None
    return np.asarray((after - before).T.reshape(3, HEIGHT, WIDTH, CHANNELS))


@pytest.mark.parametrize("norm", PATCHES)
def test_gradients_that_no_attack_repairs_stay_lost(tmp_path: Path, norm: str) -> None:
    """Repaired views of a linear network lead somewhere, but in these balls nothing follows them."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    target, everyone = linear_target(tmp_path), np.ones(12, bool)
    astray = Fidelities(everyone, np.zeros(12, bool))
    found = {}
    for ball in (Ball(norm, 3), Ball("Linf", 3)):
        (found[ball.norm],) = judge(target, [Held(ball, np.arange(12), target.x, astray)], (), {})
    assert (found[norm].lost, found[norm].repaired, found[norm].failed) == (12, False, True)
    assert (found["Linf"].lost, found["Linf"].repaired, found["Linf"].failed) == (0, True, True)


@pytest.mark.parametrize("norm", PATCHES)
def test_moves_are_in_values_and_not_in_pixels(tmp_path: Path, norm: str) -> None:
    """One step of APGD crosses half of the range, and each push of the two-step attack's walk stays in one square."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    target, ball = linear_target(tmp_path), Ball(norm, 3)
    clean, start = np.zeros_like(target.x), np.zeros_like(target.x)
    start[:, 0, 0] = 1
    target = replace(target, x=clean, y=target.predictor.predict(clean).labels, starts=start)
    queries, best = Queries(target), Best(target)
    best.take(target.x, queries.margins(target.x))
    ascend(target, ball, Gradients(target, "ce"), queries, best, steps=1, rng=np.random.default_rng(0))
    moved = np.abs(best.x.astype(int)).max(axis=(1, 2, 3))
    assert (moved[moved > 0] > 60).all() and moved.any()
    rng = np.random.default_rng(0)
    slopes, changed = rng.normal(size=(2, HEIGHT, WIDTH, CHANNELS)), np.zeros((2, HEIGHT, WIDTH, CHANNELS))
    changed[1, 3:5, 5:7] = 40
    pushed = ball.geometry.nudge(slopes, 3, changed, 4)
    assert (ball.geometry.lengths(pushed) <= 3).all() and set(np.unique(np.abs(pushed))) == {0, REACH}
    assert np.array_equal(pushed[1] != 0, changed[1] != 0)


@pytest.fixture(scope="module")
def folder(small_bundle: Bundle, small_build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a user gets who attacks with patches."""
    pytest.importorskip("tensorflow", reason="needs the extra 'train'")
    out = tmp_path_factory.mktemp("patched")
    x = inputs(small_bundle, 16)
    labels = Twin(small_bundle).predict(x).labels
    pixels = (x.astype(np.int16) + 128).astype(np.uint8)
    write_dataset(out / "data.npz", Dataset("pixels", pixels, labels, tuple("abcde"), "pixel/255", "none"))
    arguments = ["attack", small_bundle.path, small_build.path, "-d", out / "data.npz", "-o", out / "run", "-n", 16]
    arguments += ["--norm", "patch", "--eps", "2,4", "--attacks", "noise,square", "--workers", 1]
    arguments += ["--set", "square.queries=20", "--set", "noise.tries=2"]
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code in {0, 1}, done.output
    return out / "run"


def test_a_result_tells_the_patch_and_its_size(folder: Path) -> None:
    result = api.read_study(folder / "result.json")
    assert isinstance(result, RobustnessResult)
    threat = result.threat_model
    assert (threat.norm, threat.eps_steps, threat.eps_input) == ("patch", (2, 4), (2.0, 4.0))
    assert [point.eps_steps for point in result.curve] == [2, 4, 64]
    assert result.confirmation.mismatched_inputs == 0 and result.confirmation.inputs > 16
    page = (folder / "report.html").read_text()
    assert "attacked within patch bounds of 2, 4 pixels" in page
    assert "side in pixels of the smallest square that holds all changes" in page
    assert "input units" not in page.split("<main>")[1].split('id="checks"')[0]


def test_the_same_attacks_may_replace_their_result_and_others_may_not(
    folder: Path, small_bundle: Bundle, small_build: Build
) -> None:
    data, budgets = read_dataset(folder.parent / "data.npz"), {"square": {"queries": 20}, "noise": {"tries": 2}}
    plan = Plan.model_validate(
        {"samples": 16, "norm": "patch", "eps": (2, 4), "attacks": ("noise", "square"), "settings": budgets}
    )

    def kept(port: str | None = None, **others: object) -> None:
        chosen = plan.model_copy(update=others)
        asked = attacks_by(chosen, 5, data, live=False) | runs_on(small_build.record.board.id, port)
        keep_other_result(ROBUSTNESS, folder, data, asked, [small_bundle], replace=False)

    kept()
    with pytest.raises(BadInputError, match=r"\(emulated: True there, False here\)"):
        kept("auto")
    with pytest.raises(BadInputError, match=r"\(access: logits there, labels here\)"):
        kept(access="labels")
    with pytest.raises(BadInputError, match=r"\(data-range: 0,255 there, 0,200 here\)"):
        kept(data_range=(0, 200))


def test_a_patch_of_the_control_has_as_many_pixels() -> None:
    grids = Regrid(step=0.25)
    assert grids.to_control(Ball("patch", 6)) == grids.nearest(Ball("patch", 6)) == Ball("patch", 6)
    assert grids.to_control(Ball("Linf", 6)) == Ball("Linf", 24)


def test_nothing_is_said_to_be_proved_of_patches() -> None:
    with pytest.raises(ValidationError, match="patch is no Lp norm"):
        CertifyPlan(norm="patch")


def test_plans_with_patches() -> None:
    plan = Plan(norm="patch", eps=(4, 8))
    assert plan.sanity == 64
    assert set(plan.budgets_for(10)) == {"noise", "apgd-ce", "apgd-t", "two-step", "patch", "square", "hopskipjump"}
    assert "patch" not in Plan().budgets_for(10)
    doubled, usual = plan.doubled(), Plan().doubled()
    assert doubled is not None and usual is not None
    assert (doubled.name, doubled.parameters["steps"], usual.name) == ("Patch", 50, "APGD-CE")
    with pytest.raises(ValidationError, match="pgd knows no patch ball"):
        Plan(norm="patch", attacks=("pgd",))
    assert json.loads(plan.model_dump_json())["norm"] == "patch"
