"""The report of a study of membership inference."""

from __future__ import annotations

from collections.abc import Sequence

from tritguard.evaluate.privacy.result import FALSE_RATES, Leak, LeakingModel, PrivacyResult, QuantizerSecurity
from tritguard.evaluate.privacy.roc import Estimate
from tritguard.evaluate.study import Rate
from tritguard.report.lines import Axis, Chart, Point, chart
from tritguard.report.study import Facts, Grid, Page, Section, SectionReport
from tritguard.report.wording import count, percent

_LEAST = 0.001
_EXPERIMENTAL = (
    "After the indicator of Aubinais et al. (2502.06567), as we read the parts of it that were available: "
    "docs/privacy.md. The larger the rate, the less the choice among rounded networks says about the training samples. "
    "It ranks quantizers of one network; it is neither an attack nor a bound."
)


def content(result: PrivacyResult) -> Page:
    """Lay out what the report shows."""
    lead = (
        f"{count(result.members)} training samples and {count(result.others)} others of {result.provenance.data_name}: "
        "can an attacker tell them apart by the model's answers?"
    )
    how = (
        "An area (AUC) of 0.5 is guessing. An attack that finds only a few members but takes "
        "hardly any others for members is a leak too, which the members found at false positive rates of at most 0.1 % "
        "and 1 % show. Drawn is the strongest attack with scores on each precision: one that sees labels alone has no "
        f"curve. Both axes begin at {_LEAST}; a rate of 0 and what so few samples cannot tell are not drawn."
    )
    note = (
        "An area (AUC) of 0.5 and an advantage of 0 are guessing. 95 % intervals: DeLong for areas, Wilson for members "
        "found, normal for advantages, whose thresholds are chosen on other samples than those they are measured on. "
        "The float model of a ternary training has ternary weights."
    )
    return Page(
        "Membership inference",
        lead,
        (
            Section("Leaks", how, _chart(result)),
            *(Section(_title(model), "", None, _leaks(model), note) for model in result.models),
            Section("What there is to leak", "Accuracy on members and others.", None, _fits(result.models)),
            Section("Controls", "", None, _controls(result.models)),
            *(
                Section(f"{model.model.name}: post-training quantizers (experimental)", _EXPERIMENTAL, None,
                        _quantizers(model.quantizers))
                for model in result.models
                if model.quantizers
            ),
        ),
        [(model.model.name, model.model.model_sha256) for model in result.models],
    )  # fmt: skip


def _chart(result: PrivacyResult) -> Chart:
    series = [
        (
            f"{model.model.name}, {leak.precision}: {leak.attack} on {leak.shown}, AUC {leak.auc.value:.3f}",
            points,
        )
        for model in result.models
        for leak in _strongest([one for one in model.leaks if one.shown != "labels"])
        if (points := _points(leak, result.others))
    ]
    rates = Axis("false positive rate", _LEAST, 1, (0.001, 0.01, 0.1, 1), logarithmic=True)
    hits = Axis("members found", _LEAST, 1, (0.001, 0.01, 0.1, 1), logarithmic=True)
    guide = ("guessing", ((_LEAST, _LEAST), (1.0, 1.0)))
    return chart("ROC curves of the strongest attack with scores on each precision", series, rates, hits, guide=guide)


def _strongest(leaks: Sequence[Leak]) -> list[Leak]:
    """Choose for each precision the attack with the largest area."""
    best: dict[str, Leak] = {}
    for leak in leaks:
        if leak.precision not in best or leak.auc.value > best[leak.precision].auc.value:
            best[leak.precision] = leak
    return list(best.values())


def _points(leak: Leak, others: int) -> list[Point]:
    """The measured points within the axes: those at 0 would stand where the axes begin, as if 0.1 % were found."""
    rates = zip(FALSE_RATES, leak.curve, strict=True)
    return [Point(rate, hit, hit, hit) for rate, hit in rates if rate * others >= 1 and hit >= _LEAST]


def _title(model: LeakingModel) -> str:
    return f"{model.model.name}: trained on {count(model.train_samples)} samples"


def _leaks(model: LeakingModel) -> Grid:
    rows = [
        (
            leak.precision,
            leak.attack,
            leak.shown,
            _estimate(leak.auc),
            _estimate(leak.advantage),
            _rate(leak.at_one_permille),
            _rate(leak.at_one_percent),
        )
        for leak in model.leaks
    ]
    columns = ("as", "attack", "sees", "AUC", "advantage", "found, % at 0.1 % FPR", "found, % at 1 % FPR")
    return Grid(columns, tuple(rows), left=3)


def _fits(models: Sequence[LeakingModel]) -> Grid:
    rows = [
        (model.model.name, fit.precision, percent(fit.members.value), percent(fit.others.value))
        for model in models
        for fit in model.fits
    ]
    return Grid(("model", "as", "members", "others"), tuple(rows), left=2)


def _controls(models: Sequence[LeakingModel]) -> Grid:
    rows = [
        (
            model.model.name,
            "not run" if model.control is None else _estimate(model.control),
            "" if model.shadow_accuracy is None else percent(model.shadow_accuracy),
            "not run"
            if model.confirmation is None
            else f"{count(model.confirmation.mismatched_inputs)} of {count(model.confirmation.inputs)}",
        )
        for model in models
    ]
    columns = ("model", "AUC of models that saw neither", "shadows' accuracy", "device differs from twin")
    return Grid(columns, tuple(rows))


def _quantizers(found: Sequence[QuantizerSecurity]) -> Grid:
    rows = [
        ("ternary" if entry.bits == 2 else f"{entry.bits} bits", count(entry.candidates), *_rate_cells(entry.rate))
        for entry in found
    ]
    return Grid(("weights", "networks compared", "rate", "95 %"), tuple(rows))


def _rate_cells(rate: Estimate | None) -> tuple[str, str]:
    return ("cannot be told", "") if rate is None else (f"{rate.value:.2g}", f"{rate.low:.2g} to {rate.high:.2g}")


def _estimate(found: Estimate) -> str:
    return f"{found.value:.3f} ±{max(found.high - found.value, found.value - found.low):.3f}"


def _rate(rate: Rate | None) -> str:
    return "cannot be told" if rate is None else f"{100 * rate.value:.1f} ({100 * rate.low:.1f}-{100 * rate.high:.1f})"


def facts(result: PrivacyResult) -> Facts:
    """Say how well the strongest attack tells members from others, for each model and precision."""
    texts = [
        f"{model.model.name} as {leak.precision}: AUC {_estimate(leak.auc)} by {leak.attack} on {leak.shown}"
        for model in result.models
        for leak in _strongest(model.leaks)
    ]
    return {"membership": f"strongest attack on {'; '.join(texts)} (0.5 is guessing)"}


REPORT = SectionReport(content, facts)
