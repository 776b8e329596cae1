"""Proves samples of a deployed model, breaks others, and puts the two bounds of robust accuracy side by side."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tritguard.attack import Ball
from tritguard.attack.base import Labels, Limits
from tritguard.build import Build
from tritguard.certify.box import Region
from tritguard.certify.bracket import LEVELS, Depth, Verdicts, certify
from tritguard.certify.network import Network
from tritguard.certify.refinement import Effort
from tritguard.certify.splitting import Answer, Limit
from tritguard.data import Dataset
from tritguard.emit import Bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.certify.checks import check
from tritguard.evaluate.certify.result import CertifyPlan, CertifyPoint, CertifyResult, Counterexample
from tritguard.evaluate.confirmation import confirm
from tritguard.evaluate.data_checks import check_data
from tritguard.evaluate.kind import RunContext, StudyKind
from tritguard.evaluate.limits import find_range, limits_of
from tritguard.evaluate.samples import Samples, draw_samples, without_recurrent
from tritguard.evaluate.study import Attacked, Confirmation, ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.graph.passes.unrolled import unrolled
from tritguard.predictor import Int8
from tritguard.progress import Progress, Stages
from tritguard.twin import Twin

_LETTERS = {"proved": "p", "broken": "b", "open": "o"}


@dataclass(eq=False)
class _Found:
    """What is known of each sample at one eps, as letters and digits of a `CertifyPoint`."""

    ball: Ball
    letters: list[str]
    digits: list[str]
    verdicts: Verdicts


def study_certify(
    bundle: Bundle, build: Build | None, dataset: Dataset, plan: CertifyPlan, stages: Stages,
    attacked: Attacked | None = None,
) -> CertifyResult:  # fmt: skip
    """Bound the robust accuracy of a deployed model from both sides.

    Args:
        bundle: the deployed model.
        build: its firmware for an emulated board, which confirms what the twin says; None to use the twin alone.
        dataset: the data that samples are drawn from.
        plan: the samples, the balls and how far to go.
        stages: gives the callback that shows a stage's progress.
        attacked: what attacks found on the same samples in the same balls.

    Raises:
        BadInputError: data, plan, attacks and model do not fit each other.
        UnsupportedOpError: the model has an LSTM or SVDF, of which there are no bounds.
        DeviceError, MismatchError: see `confirm`.
    """
    without_recurrent(bundle, "of which there are no bounds: nothing behind it could be proved")
    samples, twin = draw_samples(bundle, dataset, plan.samples, plan.seed), Twin(bundle)
    data_range = find_range(plan.data_range, dataset, bundle.manifest.input)
    limits = limits_of(data_range)
    if attacked is not None and (other := differing(attacked, bundle, dataset, samples, plan, limits)):
        raise BadInputError(
            f"what was attacked differs in {' and '.join(other)}, so it does not bound what is proved here",
            fix="give the result of the same model, and its samples, seed, norm and data range",
        )
    # For a model with state this is the graph of a whole stream, because a ball is around all of its frames.
    network, depth = Network.of(unrolled(bundle.golden, samples.x.shape[1])), _depth(plan)
    if network.decision.rule != bundle.manifest.label_rule:
        raise BadInputError(
            "the manifest's label rule is not the model's own", where=str(bundle.path), fix="convert the model again"
        )

    def answer(x: Int8) -> Labels:
        return twin.predict(x).labels

    found: list[_Found] = []
    for place, eps in enumerate(plan.eps, 1):
        ball = Ball(plan.norm, eps).within(limits)
        # How long a larger bound takes is not known in advance, so the time left is estimated for this one alone.
        progress = stages(f"Proving at eps {eps}, bound {place} of {len(plan.eps)}")
        found.append(_at(network, answer, samples, ball, depth, found, progress))
    for smaller, larger in zip(found[-2::-1], found[:0:-1], strict=True):
        _carry_down(smaller, larger)
    tried = _within_proved(samples, found, plan.seed)
    contradicted = sum(int((answer(x) != y).sum()) for x, y in tried)
    confirmation = _confirmed(bundle, build, samples, found, [x for x, _ in tried], stages)
    statuses = [(each.ball.eps, "".join(each.letters)) for each in found]
    issues = (
        *check_data(bundle.manifest, dataset=dataset).issues,
        *check(statuses, attacked, contradicted, confirmation),
    )
    scale = bundle.manifest.input.scale
    return CertifyResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(dataset, plan.seed, samples.indices.tolist(), {}),
        plan=plan,
        model=ModelIdentity.of(bundle),
        input_unit=dataset.unit_at(scale),
        data_range=data_range,
        clean=Rate.of(int((answer(samples.x) == samples.y).sum()), len(samples.y)),
        points=tuple(_point(each, samples, answer, attacked, scale) for each in found),
        confirmation=confirmation,
    )


def differing(
    attacked: Attacked, bundle: Bundle, dataset: Dataset, samples: Samples, plan: CertifyPlan, limits: Limits
) -> list[str]:
    """Name what differs between attacks and proofs, among all that has to be the same."""
    same = {
        "model": attacked.model_sha256 == bundle.manifest.model_sha256,
        "data set": attacked.data_sha256 == dataset.sha256,
        "samples": attacked.sample_indices == tuple(samples.indices.tolist()),
        "norm": attacked.norm == plan.norm,
        "range of the data": attacked.limits == limits,
    }
    return [name for name, agrees in same.items() if not agrees]


def _depth(plan: CertifyPlan) -> Depth:
    return Depth(
        None if plan.level == "intervals" else Effort(plan.work * 1e6, plan.seconds),
        Limit(plan.seconds) if plan.level == "splitting" else None,
    )


def _at(
    network: Network, answer: Answer, samples: Samples, ball: Ball, depth: Depth, before: Sequence[_Found],
    progress: Progress,
) -> _Found:  # fmt: skip
    """Try to prove the samples that are not broken in a smaller ball; those that are, are broken here too."""
    fallen = {k for k, letter in enumerate(before[-1].letters) if letter == "b"} if before else set[int]()
    rest = np.array([k for k in range(len(samples.y)) if k not in fallen], np.int64)
    verdicts = certify(network, answer, samples.x[rest], samples.y[rest], ball, depth, progress)
    letters, digits = ["b"] * len(samples.y), list(before[-1].digits) if before else [""] * len(samples.y)
    for place, sample in enumerate(rest.tolist()):
        letters[sample] = _LETTERS[verdicts.status[place]]
        digits[sample] = str(LEVELS.index(verdicts.level[place]))
    verdicts.counterexamples = {int(rest[place]): x for place, x in verdicts.counterexamples.items()}
    return _Found(ball, letters, digits, verdicts)


def _carry_down(smaller: _Found, larger: _Found) -> None:
    """What is proved in a ball is proved in every smaller one."""
    for sample, letter in enumerate(larger.letters):
        if letter == "p" and smaller.letters[sample] == "o":
            smaller.letters[sample], smaller.digits[sample] = "p", larger.digits[sample]


def _within_proved(samples: Samples, found: Sequence[_Found], seed: int) -> list[tuple[Int8, Labels]]:
    """A random corner of each proved ball, and the label it has to get, for a wrong proof to show itself."""
    rng, tried = np.random.default_rng(seed), []
    for each in found:
        rows = np.flatnonzero(np.array(each.letters) == "p")
        box = Region.of(each.ball, samples.x[rows]).box
        corners = np.where(rng.random(box.low.shape) < 0.5, box.low, box.high).astype(np.float64)
        tried.append((each.ball.to_grid(corners, samples.x[rows]), samples.y[rows]))
    return tried


def _confirmed(
    bundle: Bundle, build: Build | None, samples: Samples, found: Sequence[_Found], tried: list[Int8], stages: Stages
) -> Confirmation | None:
    if build is None:
        return None
    broken = [x[None] for each in found for x in each.verdicts.counterexamples.values()]
    x = np.concatenate([samples.x, *broken, *tried])
    return confirm(bundle, build, np.unique(x, axis=0), stages("Confirming on the device"))


def _point(found: _Found, samples: Samples, answer: Answer, attacked: Attacked | None, scale: float) -> CertifyPoint:
    n, eps = len(samples.y), found.ball.eps
    letters, left = list(found.letters), None
    if attacked is not None:
        held = [first is None or first > eps for first in attacked.first]
        left = Rate.of(sum(held), n) if eps in attacked.bounds else None
        letters = ["b" if letter == "o" and not holds else letter for letter, holds in zip(letters, held, strict=True)]
    kept = {k: x for k, x in found.verdicts.counterexamples.items() if found.digits[k] != "0"}
    labels = answer(np.stack(list(kept.values()))).tolist() if kept else []
    return CertifyPoint(
        eps_steps=eps,
        eps_input=eps * scale,
        statuses="".join(letters),
        levels="".join(found.digits),
        proved=Rate.of(letters.count("p"), n),
        unbroken=Rate.of(n - letters.count("b"), n),
        attacked=left,
        tried={level: found.verdicts.tried[level] for level in LEVELS[1:]},
        seconds={level: round(found.verdicts.seconds.get(level, 0.0), 3) for level in LEVELS[1:]},
        counterexamples=tuple(
            Counterexample(
                sample=int(samples.indices[k]),
                label=label,
                shape=x.shape,
                input_base64=base64.b64encode(x.tobytes()).decode(),
            )
            for (k, x), label in zip(kept.items(), labels, strict=True)
        ),
    )


def _in_run(plan: CertifyPlan, run: RunContext, stages: Stages) -> CertifyResult:
    """Carry out the study, with what the run's attacks found if they were made on the same samples in such balls."""
    samples = draw_samples(run.bundle, run.dataset, plan.samples, plan.seed)
    limits = limits_of(find_range(plan.data_range, run.dataset, run.bundle.manifest.input))
    known = [study.attacked for study in run.earlier if study.attacked is not None]
    fitting = [each for each in known if not differing(each, run.bundle, run.dataset, samples, plan, limits)]
    return study_certify(run.bundle, run.build, run.dataset, plan, stages, next(iter(fitting), None))


CERTIFY = StudyKind("certify", "certify", CertifyPlan, CertifyResult, _in_run, needs_tensorflow=False)
