"""Attacks: on the grid, in the ball, stronger than noise, and the view they take gradients from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.support import float_net
from tests.support.known_models import ternary_model
from tests.support.shared import ROOT, shared_file
from tritguard.attack import Apgd, ApgdTargeted, Attack, Ball, CarliniWagner, Fgsm, Noise, Pgd, Square, Target
from tritguard.attack.base import margins
from tritguard.attack.square import _share
from tritguard.attack.view import DifferentiableView, GradientView
from tritguard.campaign.workers import settle_art
from tritguard.emit import write_bundle
from tritguard.graph import read_graph
from tritguard.predictor import Outputs, Predictor
from tritguard.twin import Twin

pytest.importorskip("art", reason="white-box attacks need the extra 'attack'")


@pytest.fixture(scope="module")
def keywords(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """MLPerf Tiny's keyword spotter (49 x 10 x 1 inputs) with 40 samples."""
    data = np.load(shared_file("data/gsc_kws01.npz"))
    content = shared_file("models/dscnn_int8.tflite").read_bytes()
    bundle = write_bundle(content, tmp_path_factory.mktemp("kws") / "b", name="kws")
    view = GradientView(read_graph(content))
    return Target(Twin(bundle), view, data["mfcc_int8"][:40], data["labels"][:40].astype(np.int64), seed=7)


@given(
    st.integers(1, 255),
    st.lists(st.floats(-400, 400, width=32), min_size=3, max_size=3),
    st.lists(st.integers(-128, 127), min_size=3, max_size=3),
)
def test_candidates_are_projected_on_the_grid(eps: int, candidates: list[float], clean: list[int]) -> None:
    x = np.array(clean, dtype=np.int8)
    projected = Ball("Linf", eps).to_grid(np.array(candidates, dtype=np.float32), x).astype(int)
    assert (np.abs(projected - np.array(clean)) <= eps).all()
    inside = (np.abs(np.array(candidates) - clean) <= eps) & (np.abs(candidates) <= 127)
    assert (np.abs(projected - candidates)[inside] <= 0.5).all()


@given(
    st.integers(1, 600),
    hnp.arrays(np.float64, (3, 7), elements=st.floats(-400, 400)),
    hnp.arrays(np.int8, (3, 7)),
)
def test_l2_candidates_are_projected_on_the_grid(eps: int, candidates: np.ndarray, clean: np.ndarray) -> None:
    ball = Ball("L2", eps)
    projected = ball.to_grid(candidates, clean)
    assert (ball.distances(projected, clean) <= eps).all()
    wanted = np.clip(candidates, -128, 127)
    inside = np.sqrt(((wanted - clean) ** 2).sum(axis=1)) <= eps
    assert (np.abs(projected - wanted)[inside] <= 1).all()


@given(
    st.integers(1, 60),
    hnp.arrays(np.float64, (3, 40), elements=st.floats(-150, 150)),
    hnp.arrays(np.int8, (3, 40)),
)
def test_l2_candidates_keep_their_length(eps: int, moved: np.ndarray, clean: np.ndarray) -> None:
    """Up to the ball's, and to what lengthening one more element would cost."""
    ball = Ball("L2", eps)
    used = ball.distances(ball.to_grid(clean + moved, clean), clean) ** 2
    moved = np.clip(clean + moved, -128, 127) - clean
    energy = (moved**2).sum(axis=1)
    largest = np.abs(moved * np.minimum(1, eps / np.sqrt(np.maximum(energy, 1e-9)))[:, None]).max(axis=1)
    assert (used > np.minimum(np.rint(energy), eps**2) - (2 * largest + 1) - 1e-6).all()
    assert (used <= eps**2).all()


@pytest.mark.parametrize("tails", [None, 1.5], ids=["gaussian", "heavy tails"])
@pytest.mark.parametrize(("elements", "eps"), [(490, 4), (490, 12), (490, 20), (3072, 8), (3072, 32), (3072, 128)])
def test_l2_candidates_use_their_radius(elements: int, eps: int, tails: float | None) -> None:
    """Rounded to the nearest, or cut where that leaves the ball, they use 14 to 84 % of it along Gaussian moves."""
    rng, ball = np.random.default_rng(0), Ball("L2", eps)
    clean = rng.integers(-128, 128, (20, elements), dtype=np.int8)
    moved = rng.standard_normal(clean.shape) if tails is None else rng.standard_t(tails, clean.shape)
    moved *= eps / np.linalg.norm(moved, axis=1, keepdims=True)
    moved = np.clip(clean + moved, -128, 127) - clean
    lengths = np.linalg.norm(moved, axis=1)
    found = ball.to_grid(clean + moved, clean)
    used = ball.distances(found, clean)
    assert (used >= 0.95 * lengths).all() and (used <= eps).all()
    along = ((found.astype(float) - clean) * moved).sum(axis=1) / (used * lengths)
    assert along.min() > (0.3 if eps**2 < 0.1 * elements else 0.7)  # the direction is the candidate's


def test_l2_candidates_go_to_the_nearest_that_is_inside_and_as_long() -> None:
    rng, ball = np.random.default_rng(0), Ball("L2", 40)
    clean = rng.integers(-100, 100, (200, 490), dtype=np.int8)
    moved = rng.standard_normal(clean.shape)
    moved *= rng.uniform(1, 39, (200, 1)) / np.linalg.norm(moved, axis=1, keepdims=True)
    nearest = np.rint(moved)
    fits = ((nearest**2).sum(axis=1) >= (moved**2).sum(axis=1)) & ((nearest**2).sum(axis=1) <= 40**2)
    assert fits.sum() > 30
    assert np.array_equal(ball.to_grid(clean + moved, clean)[fits], (clean + nearest)[fits])
    assert np.array_equal(ball.to_grid(clean.astype(np.float64), clean), clean)


@pytest.mark.parametrize("value", [0, -128, 127], ids=str)
@pytest.mark.parametrize("eps", [3, 12, 60])
def test_l2_noise_fills_its_ball_all_over_the_input(eps: int, value: int) -> None:
    target = float_net.target(8)
    target = replace(target, x=np.full_like(target.x, value))
    x = Noise(1).craft(target, Ball("L2", eps)).x
    assert (Ball("L2", eps).distances(x, target.x) >= 0.95 * eps).all()
    moves = x.astype(float) - target.x
    assert (value == -128 or moves.min() < 0) and (value == 127 or moves.max() > 0)
    halves = (moves**2).reshape(8, 2, -1).sum(axis=(0, 2))
    assert 0.5 < halves[0] / halves[1] < 2


def test_margins_follow_the_deployed_label() -> None:
    scores = np.array([[5, 5, 1], [5, 5, 1], [1, 2, 3]], dtype=np.int8)
    logits = np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.1, 0.5]])
    # A tie in scores is label 0, whatever the logits say.
    assert (margins(Outputs(scores, logits), np.array([0, 1, 2])) > 0).tolist() == [True, False, True]
    assert margins(Outputs(scores), np.array([2, 2, 2])).tolist()[:2] == [-4.0, -4.0]


def assert_exact(predictor: Predictor, view: DifferentiableView, x: np.ndarray) -> None:
    """The view's logits are the deployed model's accumulators: the same after the same one multiplication."""
    theirs = predictor.predict(x).logits
    assert theirs is not None
    assert len(np.unique(theirs)) > 2
    assert np.array_equal(view.logits(x.astype(np.float32)), theirs.astype(np.float32))


def test_the_view_computes_what_the_device_computes(keywords: Target) -> None:
    assert keywords.view is not None
    assert_exact(keywords.predictor, keywords.view, keywords.x)


@pytest.mark.parametrize("name", ["models/resnet8_int8.tflite", "cifar10-stq-image", "digits-stq-keywords"])
def test_the_view_is_exact_on_whole_networks(name: str, tmp_path: Path) -> None:
    path = shared_file(name) if name.startswith("models") else ROOT / "examples" / name / "model.tflite"
    content = path.read_bytes()
    view = GradientView(read_graph(content))
    x = np.random.default_rng(0).integers(-128, 128, (16, *view.input_shape), dtype=np.int8)
    assert_exact(Twin(write_bundle(content, tmp_path / "b", name="net")), view, x)


def test_the_view_is_exact_on_a_ternary_network(tmp_path: Path) -> None:
    content = ternary_model()
    x = np.random.default_rng(0).integers(-128, 128, (50, 8, 8, 3), dtype=np.int8)
    assert_exact(Twin(write_bundle(content, tmp_path / "b", name="ops")), GradientView(read_graph(content)), x)


def test_the_views_gradient_points_downhill(keywords: Target) -> None:
    """A small step along the sign of the loss' gradient raises the loss of the view itself on most samples."""
    import tensorflow as tf  # noqa: PLC0415

    view = keywords.view
    assert view is not None
    x = tf.constant(keywords.x.astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(x)
        before = tf.nn.sparse_softmax_cross_entropy_with_logits(keywords.y, view(x))
    step = x + 2 * tf.sign(tape.gradient(before, x))
    after = tf.nn.sparse_softmax_cross_entropy_with_logits(keywords.y, view(step))
    assert float(tf.reduce_mean(tf.cast(after > before, tf.float32))) > 0.9


@pytest.mark.parametrize("attack", [Noise(4), Fgsm(), Pgd(8), Square(60)], ids=lambda attack: attack.name)
def test_attacks_stay_in_their_ball_and_repeat(attack: Attack, keywords: Target) -> None:
    ball = Ball("Linf", 3)
    first, second = attack.craft(keywords, ball), attack.craft(keywords, ball)
    assert first.x.dtype == np.int8
    assert np.abs(first.x.astype(int) - keywords.x.astype(int)).max() == 3
    assert np.array_equal(first.x, second.x)
    assert (first.queries, first.gradients) == (second.queries, second.gradients)


def test_attacks_rank_as_they_should(keywords: Target) -> None:
    """Measured on 100 samples at one step: noise leaves 87 %, Square (300 queries) 50 %, FGSM 11 %, PGD-20 none."""

    def robust(attack: Attack) -> float:
        return float(
            (keywords.predictor.predict(attack.craft(keywords, Ball("Linf", 1)).x).labels == keywords.y).mean()
        )

    noise, square, fgsm, pgd = robust(Noise(10)), robust(Square(200)), robust(Fgsm()), robust(Pgd(20))
    assert pgd <= fgsm <= square <= noise
    assert pgd <= 0.05
    assert noise >= 0.7


def test_what_is_not_shown_is_not_used(keywords: Target) -> None:
    """Square learns less from int8 scores than from logits, and from labels alone no more than noise does."""
    left = {}
    for access in ("logits", "scores", "labels"):
        x = Square(200).craft(replace(keywords, access=access), Ball("Linf", 1)).x
        left[access] = float((keywords.predictor.predict(x).labels == keywords.y).mean())
    assert left["logits"] < left["scores"] < left["labels"]


@pytest.mark.parametrize("attack", [Fgsm(), Pgd(8)], ids=lambda attack: attack.name)
def test_l2_attacks_stay_in_their_ball_and_work(attack: Attack, keywords: Target) -> None:
    ball = Ball("L2", 40)
    crafted = attack.craft(keywords, ball)
    assert (ball.distances(crafted.x, keywords.x) <= 40).all()
    noise = Noise(4).craft(keywords, ball)
    robust = [float((keywords.predictor.predict(c.x).labels == keywords.y).mean()) for c in (crafted, noise)]
    assert robust[0] < 0.5 * robust[1]


@pytest.fixture(scope="module")
def few(keywords: Target) -> Target:
    """The first twelve samples, all of them right on the clean input."""
    right = np.flatnonzero(keywords.predictor.predict(keywords.x).labels == keywords.y)[:12]
    return replace(keywords, x=keywords.x[right], y=keywords.y[right])


@pytest.mark.parametrize(
    ("attack", "ball"),
    [
        (Apgd("ce", 10), Ball("Linf", 1)),
        (Apgd("dlr", 10), Ball("Linf", 1)),
        (ApgdTargeted(10, 2), Ball("L2", 15)),
        (CarliniWagner(20, 2), Ball("Linf", 1)),
        (CarliniWagner(30, 3), Ball("L2", 15)),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else f"{value.norm}-{value.eps}",
)
def test_strong_white_box_attacks_break_what_is_undefended(attack: Attack, ball: Ball, few: Target) -> None:
    crafted = attack.craft(few, ball)
    assert (ball.distances(crafted.x, few.x) <= ball.eps).all()
    assert (few.predictor.predict(crafted.x).labels == few.y).mean() <= 1 / 12
    assert crafted.gradients > 0


def test_carlini_wagner_finds_the_smaller_change(few: Target) -> None:
    """In a ball that breaks everything, it comes back much closer to the clean input than a sign attack does."""
    ball = Ball("L2", 60)
    near, far = (attack.craft(few, ball) for attack in (CarliniWagner(40, 3), Pgd(10)))
    assert (few.predictor.predict(near.x).labels != few.y).all()
    assert np.median(ball.distances(near.x, few.x)) < 0.5 * np.median(ball.distances(far.x, few.x))


@pytest.mark.parametrize("attack", [Pgd(20), Square(400)], ids=lambda attack: attack.name)
def test_targeted_attacks_reach_their_label(attack: Attack, keywords: Target) -> None:
    aim = (keywords.y + 1) % 12
    crafted = attack.craft(replace(keywords, aim=aim), Ball("Linf", 8))
    assert float((keywords.predictor.predict(crafted.x).labels == aim).mean()) > 0.5


def test_squares_windows_shrink_as_in_the_paper() -> None:
    shares = [_share(query, 10_000) for query in (1, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 8001)]
    assert shares == [0.5**i for i in range(10)]
    assert [_share(q, 1000) for q in (1, 6, 21)] == [_share(q, 10_000) for q in (10, 60, 210)]


def test_arts_settings_are_written_once_before_several_processes_import_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = tmp_path / ".art" / "config.json"
    settle_art()
    assert json.loads(settings.read_text()) == {"ART_DATA_PATH": str(tmp_path / ".art" / "data")}
    settings.write_text('{"ART_DATA_PATH": "/elsewhere"}')
    settle_art()
    assert "elsewhere" in settings.read_text()
