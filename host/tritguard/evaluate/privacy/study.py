"""Membership inference on what a training left: its float model, and the deployed model made from it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tritguard.attack.float_model import FloatModel
from tritguard.attack.membership import label_robustness, likelihood_ratio, loss_score, scaled_confidence
from tritguard.boards import Board
from tritguard.build import build
from tritguard.data import Dataset, SampleArray, to_input_bytes
from tritguard.device import emulator_version
from tritguard.emit import Bundle, open_bundle
from tritguard.errors import BadInputError
from tritguard.evaluate.confirmation import confirm
from tritguard.evaluate.data_checks import Checked, check_data
from tritguard.evaluate.kind import RunContext, RunSources, StudyKind
from tritguard.evaluate.privacy.checks import check
from tritguard.evaluate.privacy.indicator import quantizer_security
from tritguard.evaluate.privacy.result import (
    FALSE_RATES,
    Fit,
    Leak,
    LeakAttack,
    LeakingModel,
    Precision,
    PrivacyPlan,
    PrivacyResult,
    Shown,
)
from tritguard.evaluate.privacy.roc import Estimate, advantage, auc, curve, hits_at
from tritguard.evaluate.privacy.shadows import ModelOutputs, Pool, Shadow, ask, deploy, train_shadows
from tritguard.evaluate.samples import check_attackable, check_given
from tritguard.evaluate.study import Confirmation, ModelIdentity, Rate, StudyProvenance, status_of
from tritguard.predictor import Int8, Predictor
from tritguard.progress import Stages
from tritguard.records import from_json
from tritguard.train.config import MODEL, RECORD, QuantizeConfig, TrainRecord
from tritguard.twin import Twin

Float64 = NDArray[np.float64]
Label = NDArray[np.int64]

BUNDLE = "bundle"  # folder of the deployed model, in a training's folder of the output


@dataclass(frozen=True)
class Training:
    """A training: what reports call it, the folder it left, its record, and the data it used."""

    name: str
    folder: Path
    record: TrainRecord
    dataset: Dataset

    @property
    def sha256(self) -> str:
        """The hash of the float model's file."""
        return hashlib.sha256((self.folder / MODEL).read_bytes()).hexdigest()


def open_training(folder: Path, load: Callable[[str], Dataset], name: str | None = None) -> Training:
    """Open what `tritguard train` left in a folder.

    Args:
        folder: the training's folder.
        load: gives the data set with a name.
        name: what reports call the training; by default the folder's name.

    Raises:
        BadInputError: the folder holds no training, or the data is not what it was trained on.
    """
    if not (folder / MODEL).is_file():
        raise BadInputError(f"holds no {MODEL}", where=str(folder), fix="give a folder written by 'tritguard train'")
    record = from_json(TrainRecord, folder / RECORD, fix="train the model again")
    dataset = load(record.config.data)
    if dataset.sha256 != record.data_sha256:
        raise BadInputError(f"was trained on other data than {record.config.data} holds now", where=str(folder))
    return Training(name or folder.resolve().name, folder, record, dataset)


def study_privacy(
    trainings: Sequence[Training], board: Board | None, plan: PrivacyPlan, out: Path, stages: Stages
) -> PrivacyResult:
    """Attack the privacy of each training's float and deployed model.

    Args:
        trainings: one or several, for example one network trained with different quantization.
        board: the emulated board that confirms deployed outputs; None to use the twin alone.
        plan: the settings.
        out: folder for bundles, builds and shadow models; finished shadow models there are used again.
        stages: gives the callback that shows a stage's progress.

    Raises:
        BadInputError: there is no training, a data set has fewer than two test samples, or two trainings have the same
            name.
    """
    check_given(trainings, "training")
    names = [training.name for training in trainings]
    if twice := next((name for name in names if names.count(name) > 1), None):
        fix = "give their folders different names"
        raise BadInputError(f"two of the trainings are called {twice!r}, so nothing tells them apart", fix=fix)
    models, drawn, checked = [], [_draw(training, plan) for training in trainings], Checked()
    for training, samples in zip(trainings, drawn, strict=True):
        models.append(_study(training, samples, board, plan, out / training.name, stages))
        checked += check_data(open_bundle(out / training.name / BUNDLE).manifest, dataset=training.dataset)
    runs = {(t.record.data_sha256, t.record.config.samples, t.record.config.seed) for t in trainings}
    issues = (*checked.issues, *check(models, plan, drawn[0].others, same_run=len(runs) == 1))
    tools = {} if board is None else {"emulator": emulator_version(board)}
    return PrivacyResult(
        status=status_of(issues),
        issues=issues,
        provenance=StudyProvenance.now(trainings[0].dataset, plan.seed, drawn[0].pool.asked.tolist(), tools),
        plan=plan,
        members=drawn[0].members,
        others=drawn[0].others,
        models=tuple(models),
    )


@dataclass(frozen=True)
class _Drawn:
    """The samples in question, members first, and the pool they were drawn from."""

    pool: Pool
    members: int

    @property
    def others(self) -> int:
        return len(self.pool.asked) - self.members

    def part(self, places: slice) -> tuple[SampleArray, Label]:
        return self.x[places], self.y[places]

    @property
    def x(self) -> SampleArray:
        return self.pool.x[self.pool.asked]

    @property
    def y(self) -> Label:
        return self.pool.y[self.pool.asked]


def _draw(training: Training, plan: PrivacyPlan) -> _Drawn:
    from tritguard.train.inputs import training_set  # noqa: PLC0415

    trained, dataset = training_set(training.record.config, training.dataset), training.dataset
    if len(dataset.x_test) < 2:
        raise BadInputError("has no test samples to compare members with", where=dataset.name)
    rng = np.random.default_rng(plan.seed)
    count = min(plan.samples, len(trained.x), len(dataset.x_test))
    members = np.sort(rng.permutation(len(trained.x))[:count])
    others = np.sort(rng.permutation(len(dataset.x_test))[:count]) + len(trained.x)
    x, y = np.concatenate([trained.x, dataset.x_test]), np.concatenate([trained.y, dataset.y_test])
    return _Drawn(Pool(x, y.astype(np.int64), np.concatenate([members, others])), count)


def _study(
    training: Training, drawn: _Drawn, board: Board | None, plan: PrivacyPlan, out: Path,
    stages: Stages,
) -> LeakingModel:  # fmt: skip
    core = "m4" if board is None else board.core_class
    asking = stages(f"{training.name}: asking")
    asking(0, 2)
    bundle = deploy(training.folder, out / BUNDLE, training.name, core)
    answers = ask(training.folder, bundle, drawn.x)
    check_attackable(bundle.manifest)
    bundle.manifest.check_stateless()
    bundle.manifest.check_narrow()
    asking(1, 2)
    deployed: Precision = "int8" if training.record.config.quantize.weights == "none" else "ternary"
    steps = to_input_bytes(drawn.x, bundle.manifest.input.scale, bundle.manifest.input.zero_point)
    predictors: dict[Precision, Predictor] = {
        "float": FloatModel(training.folder / MODEL, bundle.manifest.input),
        deployed: Twin(bundle),
    }
    labels = [
        (precision, label_robustness(predictor, steps, drawn.y, tries=plan.label_tries, largest=plan.label_noise,
                                     seed=plan.seed))
        for precision, predictor in predictors.items()
    ]  # fmt: skip
    fits = tuple(_fit(precision, predictor, steps, drawn) for precision, predictor in predictors.items())
    asking(2, 2)
    shadows = train_shadows(
        training.record.config, drawn.pool, training.dataset.classes, out / "shadows", plan.shadows, plan.seed,
        stages(f"{training.name}: shadow models"),
    ) if plan.shadows else []  # fmt: skip
    leaks = [_leak(precision, "label only", "labels", score, drawn) for precision, score in labels]
    leaks += _by_confidence(answers, shadows, deployed, drawn)
    return LeakingModel(
        model=ModelIdentity.of(bundle),
        training_sha256=training.sha256,
        train_samples=training.record.train_samples,
        fits=fits,
        leaks=tuple(sorted(leaks, key=lambda leak: (leak.precision != "float", leak.attack, leak.shown))),
        control=_control(shadows, drawn) if shadows else None,
        shadow_accuracy=float(np.mean([shadow.accuracy for shadow in shadows])) if shadows else None,
        confirmation=None if board is None else _confirm(bundle, board, steps, plan, out, stages),
        quantizers=quantizer_security(
            training.folder, training.record.config, drawn.part(slice(None, drawn.members)),
            drawn.part(slice(drawn.members, None)), plan.indicator, plan.seed, stages(f"{training.name}: quantizers"),
        ) if plan.indicator and _in_float(training.record.config.quantize) else (),
    )  # fmt: skip


def _in_float(trained: QuantizeConfig) -> bool:
    """Say whether nothing was rounded in training, so that quantization came after it."""
    return trained.weights == "none" and trained.activations == "float"


def _by_confidence(
    answers: ModelOutputs, shadows: Sequence[Shadow], deployed: Precision, drawn: _Drawn
) -> Iterator[Leak]:
    """Run the loss threshold and the likelihood ratio on each kind of output."""
    views: tuple[tuple[Precision, Shown, str], ...] = (
        ("float", "logits", "float_logits"), (deployed, "logits", "logits"), (deployed, "scores", "scores"),
    )  # fmt: skip
    seen = np.array([shadow.seen for shadow in shadows])
    for precision, shown, field in views:
        values = getattr(answers, field)
        yield _leak(precision, "loss threshold", shown, loss_score(values, drawn.y), drawn)
        if shadows:
            unseen = np.array([scaled_confidence(getattr(shadow.answers, field), drawn.y) for shadow in shadows])
            ratio = likelihood_ratio(scaled_confidence(values, drawn.y), unseen, seen)
            yield _leak(precision, "offline LiRA", shown, ratio, drawn)


def _leak(precision: Precision, attack: LeakAttack, shown: Shown, score: Float64, drawn: _Drawn) -> Leak:
    members, others = _split(score, drawn.members)
    guessed = np.where(np.isnan(score), -np.inf, score)  # a sample without a score is not taken for a member
    each = guessed[: drawn.members], guessed[drawn.members :]

    def found(false_rate: float) -> Rate | None:
        return hits_at(*each, false_rate) if false_rate * drawn.others >= 1 else None

    return Leak(
        precision=precision,
        attack=attack,
        shown=shown,
        auc=auc(members, others),
        advantage=advantage(members, others),
        at_one_permille=found(0.001),
        at_one_percent=found(0.01),
        curve=curve(*each, FALSE_RATES),
    )


def _split(score: Float64, members: int) -> tuple[Float64, Float64]:
    """Separate the scores of members and of others, without samples that have none: all shadow models saw those."""
    parts = score[:members], score[members:]
    return parts[0][~np.isnan(parts[0])], parts[1][~np.isnan(parts[1])]


def _control(shadows: Sequence[Shadow], drawn: _Drawn) -> Estimate:
    seen = np.array([shadow.seen for shadow in shadows])
    confidence = np.array([scaled_confidence(shadow.answers.float_logits, drawn.y) for shadow in shadows])
    unseen = np.where(seen, np.nan, confidence)
    known = ~seen.all(axis=0)
    mean = np.full(len(drawn.y), np.nan)
    mean[known] = np.nanmean(unseen[:, known], axis=0)
    return auc(*_split(mean, drawn.members))


def _fit(precision: Precision, predictor: Predictor, steps: Int8, drawn: _Drawn) -> Fit:
    right = predictor.predict(steps).labels == drawn.y
    return Fit(
        precision=precision,
        members=Rate.of(int(right[: drawn.members].sum()), drawn.members),
        others=Rate.of(int(right[drawn.members :].sum()), drawn.others),
    )


def _confirm(bundle: Bundle, board: Board, steps: Int8, plan: PrivacyPlan, out: Path, stages: Stages) -> Confirmation:
    """Send evenly spaced samples, and so some of both groups, to the device."""
    showing = stages(f"{bundle.manifest.name}: confirming on {board.name}")
    showing(0, 1)
    x = steps[np.linspace(0, len(steps) - 1, min(plan.device_samples, len(steps))).astype(int)]
    return confirm(bundle, build(bundle, board, out / "build"), x, showing)


def _in_run(plan: PrivacyPlan, run: RunContext, stages: Stages) -> PrivacyResult:
    folder, dataset = run.training, run.trained_on
    if folder is None or dataset is None:
        raise BadInputError("membership inference needs a training", fix="give the run a [train] table")
    training = open_training(folder, lambda _: dataset, run.name)
    return study_privacy([training], run.board, plan, run.out / PRIVACY.name, stages)


def _missing(sources: RunSources) -> str | None:
    return None if sources.trained else "a [train] table: who was a member has to be known"


PRIVACY = StudyKind("privacy", "privacy", PrivacyPlan, PrivacyResult, _in_run, _missing)
