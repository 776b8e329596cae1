"""Outputs that are given twice hide nothing from losses and margins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import masks
from tests.support.judged import victim
from tests.support.masked_models import HONEST, INPUT_SCALE, VALUES, quantized, task, trained
from tests.support.tflite_builder import ModelBuilder
from tritguard.attack import Ball, Square, Target
from tritguard.attack.base import margins
from tritguard.attack.rivals import told_apart
from tritguard.emit import write_bundle
from tritguard.evaluate.robustness.plan import Plan
from tritguard.evaluate.robustness.study import prepare
from tritguard.evaluate.samples import Samples
from tritguard.predictor import Outputs

BALL = Ball("Linf", 24)


def copied(lowered: float) -> bytes:
    """The small classifier with its ten outputs given twice, the copies lower by so much in its logits."""
    first, second = trained()
    hidden = np.maximum(task()[0] * INPUT_SCALE @ first.T, 0)
    hidden_scale = float(hidden.max()) / 255
    builder = ModelBuilder((VALUES,), INPUT_SCALE, 0)
    weights, scales = quantized(first)
    tensor = builder.dense(builder.input, weights, scales, None, (hidden_scale, -128), "RELU")
    weights, scales = quantized(np.concatenate([second, second]))
    bias = np.array([-lowered * (place >= 10) / (hidden_scale * scale) for place, scale in enumerate(scales)])
    spread = float(np.abs(hidden @ second.T).max()) / 127
    return builder.build(builder.dense(tensor, weights, scales, bias.round().astype(np.int32), (spread, 0)))


def target(content: bytes, folder: Path, plan: Plan) -> Target:
    bundle = write_bundle(content, folder / "bundle", name="model")
    x, y = task()[2:]
    return prepare(bundle, Samples(x, y, np.arange(len(x))), plan)


@pytest.mark.parametrize("lowered", [0.0, 0.5])
def test_a_copy_is_no_rival_and_hides_nothing_from_scores(lowered: float, tmp_path: Path) -> None:
    model = target(copied(lowered), tmp_path, Plan(samples=100))
    rivals = model.rivals
    assert rivals is not None
    assert not rivals[np.arange(20), (np.arange(20) + 10) % 20].any() and not rivals.diagonal().any()
    used = rivals[:10, :10]
    assert used.sum() >= 85  # the classes themselves are told apart
    found = Square(400).craft(model, BALL).x
    blind = Square(400).craft(replace(model, rivals=None), BALL).x
    left, without = ((model.predictor.predict(x).labels == model.y).mean() for x in (found, blind))
    assert left < 0.1 < without - 0.2
    margin = model.margins(model.predictor.predict(model.x))
    assert np.array_equal(margin > 0, model.predictor.predict(model.x).labels == model.y)
    assert np.median(margin) > 1


def test_a_network_without_copies_has_all_rivals(tmp_path: Path) -> None:

    assert target(HONEST["plain"].build(), tmp_path, Plan(samples=100)).rivals is None


def test_classes_whose_outputs_move_together_are_rivals_all_the_same(tmp_path: Path) -> None:
    case = masks.ZOO["logits that move together"]()
    model = victim(case.content, tmp_path, Plan(samples=100), case.x, case.y).target
    right = np.unique(model.y[model.predictor.predict(model.x).labels == model.y])
    assert len(right) == 10
    if model.rivals is not None:
        others = ~np.eye(10, dtype=bool)
        assert model.rivals[:10, :10][others].all() and not model.rivals.diagonal().any()


def test_no_copy_is_aimed_at(tmp_path: Path) -> None:
    model = target(copied(0.5), tmp_path, Plan(samples=100, goal="targeted"))
    assert model.aim is not None and model.aim.max() < 10
    assert (model.aim != model.y).all() and len(np.unique(model.aim)) == 10


def test_a_label_that_holds_by_a_tie_of_scores_still_shows_which_way_leads() -> None:
    y, scores = np.zeros(3, np.int64), np.zeros((3, 2), np.int8)
    logits = np.array([[1.0, 0.5], [1.0, 1.2], [1.0, 3.0]])
    margin = margins(Outputs(scores, logits), y)
    assert margin[0] > margin[1] > margin[2] > 0


def test_told_apart_lowers_only_what_is_no_rival() -> None:
    values = np.array([[3.0, 2.0, 3.0, 1.0]])
    rivals = np.array([[False, True, False, True]] * 4)
    assert told_apart(values, np.array([0]), rivals).tolist() == [[3.0, 2.0, 1.0, 1.0]]
    assert told_apart(values, np.array([0]), None) is values
