"""The folder's README and cards: the evidence for people, made from its results and its manifest alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from tritguard.data import Dataset
from tritguard.emit.bundle import Manifest
from tritguard.evaluate.registry import STUDIES
from tritguard.evaluate.robustness.result import RobustnessResult
from tritguard.evaluate.study import Study
from tritguard.printable import printable
from tritguard.report import summary, wording
from tritguard.report.evidence.manifest import EvidenceManifest
from tritguard.report.evidence.mapping import NOT_TESTED, mapped_texts
from tritguard.report.explained import explained
from tritguard.report.registry import facts_of
from tritguard.report.templating import markdown

README = "README.md"
MODEL_CARD = "cards/model.md"
DATA_CARD = "cards/data.md"
TRAINING_CARD = "cards/training.md"


def readme(manifest: EvidenceManifest, result: RobustnessResult, beside: Sequence[Study]) -> str:
    """Write what was tested, how, what was not, and which figure speaks to which term of laws and standards."""
    studies = [result, *beside]
    facts = {name: text for study in studies for name, text in facts_of(study).items()}
    found = {study.kind for study in studies}
    texts = [(text.name, [(row, row.offered(facts)) for row in text.row]) for text in mapped_texts()]
    context = {
        "manifest": manifest,
        "result": result,
        "studies": studies,
        "facts": facts,
        "points": summary.robust_points(result),
        "groups": summary.attack_groups(result),
        "texts": texts,
        "untested": [(name, row.term) for name, rows in texts for row, offered in rows if offered == NOT_TESTED],
        "not_run": [kind.name for kind in STUDIES if kind.name not in found],
        "quotable": result.status != "invalid",
    }
    return _rendered("evidence.md.jinja", context)


def model_card(bundle: Manifest, result: RobustnessResult) -> str:
    """Write what the deployed model is, layer by layer, and what was found about it."""
    return _rendered("model_card.md.jinja", {"bundle": bundle, "result": result, "facts": facts_of(result)})


def data_card(result: RobustnessResult, dataset: Dataset | None) -> str:
    """Write what the data is, as far as the data set says; without it, what the result says about it."""
    counts = None if dataset is None else np.bincount(dataset.y_test, minlength=len(dataset.classes)).tolist()
    return _rendered("data_card.md.jinja", {"result": result, "data": dataset, "counts": counts})


def _rendered(template: str, context: dict[str, object]) -> str:
    return markdown().get_template(template).render(context | {"say": wording, "code": _code, "explained": explained})


def _code(text: str) -> Markup:
    """Set a text in a code span, in which nothing but the closing mark has a meaning."""
    return Markup("`{}`".format(printable(str(text)).replace("`", "'")))
