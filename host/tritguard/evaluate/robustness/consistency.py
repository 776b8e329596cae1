"""Finds statements of a robustness result that its samples, or other parts of it, contradict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tritguard.attack.norms import NORMS
from tritguard.attack.repaired import Repaired
from tritguard.evaluate import data_checks
from tritguard.evaluate.robustness.checks import CHECKS, check
from tritguard.evaluate.robustness.evidence import Measured, gather
from tritguard.evaluate.robustness.growth import GAIN
from tritguard.evaluate.robustness.table import HELD, Bits, Figures, Flags, SampleTable, count, to_flags
from tritguard.evaluate.study import Rate

if TYPE_CHECKING:
    from tritguard.evaluate.robustness.result import RobustnessResult

_MISMATCH = "DEVICE_TWIN_MISMATCH"
_LATER = {"BOARDS_DISAGREE"}  # checks that results of earlier versions do not list where they pass


def contradictions(result: RobustnessResult) -> Iterator[str]:
    """Name each field that does not fit the rest, with what it says and what the rest gives."""
    yield from _eps(result)
    yield from _sizes(result)
    yield from _codes(result)
    if result.schema_version == 1:
        if result.samples is not None:
            yield "samples: schema version 1 has none"
        yield from _impossible(result)
        return
    if result.samples is None:
        yield "samples: missing, schema version 2 has them"
        return
    yield from _known(result)
    figures = count(result.samples)
    yield from _rates(result, figures)
    yield from _doubling(result, figures)
    yield from _control(result)
    yield from _proved("samples.proved", result.samples.proved, figures.first == HELD)
    yield from _pictures(result, result.samples)
    yield from _growth(result)
    yield from _fidelity(result)
    yield from _findings(result, figures)


def _eps(result: RobustnessResult) -> Iterator[str]:
    """Compare the lists of eps: of the threat model, of the attacks, and of the curve."""
    threat, curve = result.threat_model, [point.eps_steps for point in result.curve]
    if len(threat.eps_steps) != len(threat.eps_input):
        yield f"threat_model.eps_input: {len(threat.eps_input)} bounds, eps_steps has {len(threat.eps_steps)}"
    if result.schema_version > 1 and (not curve or not threat.eps_steps):
        yield "curve: is empty, or the threat model is: nothing was attacked"
    if curve != sorted(set(curve)):
        yield f"curve: eps {curve} do not rise"
    ran = sorted({row.eps_steps for row in result.attacks})
    if curve != ran:
        yield f"curve: has eps {curve}, the attacks ran at {ran}"
    if curve[: len(threat.eps_steps)] != list(threat.eps_steps):
        yield f"threat_model.eps_steps: {list(threat.eps_steps)} are not the first eps of the curve, {curve}"
    named = dict(zip(threat.eps_steps, threat.eps_input, strict=False))
    for place, point in enumerate(result.curve):
        other = named.get(point.eps_steps, point.eps_input)
        if not math.isclose(point.eps_input, other, rel_tol=1e-6):
            yield f"curve.{place}.eps_input: {point.eps_input:g}, the threat model has {other:g}"


def _sizes(result: RobustnessResult) -> Iterator[str]:
    """Compare the numbers of samples of all rates."""
    n = len(result.provenance.sample_indices)
    sizes = {"clean": result.clean.n}
    sizes |= {f"attacks.{place}.robust": row.robust.n for place, row in enumerate(result.attacks)}
    sizes |= {f"curve.{place}.robust": point.robust.n for place, point in enumerate(result.curve)}
    if control := result.control:
        sizes |= {"control.clean": control.clean.n, "control.robust": control.robust.n}
        if control.samples is not None:
            sizes["control.samples.right"] = len(control.samples.right)
            sizes["control.samples.held"] = len(control.samples.held)
            if control.samples.proved is not None:
                sizes["control.samples.proved"] = len(control.samples.proved)
    if result.samples is not None:
        sizes["samples.labels"] = len(result.samples.labels)
    for name, size in sizes.items():
        if size != n:
            yield f"{name}: is of {size} samples, provenance.sample_indices has {n}"


def _codes(result: RobustnessResult) -> Iterator[str]:
    """Compare findings, passed checks and what the device answered with each other."""
    found = {issue.code for issue in result.issues}
    for place, code in enumerate(result.passed):
        if code in found:
            yield f"passed.{place}: {code} passed, but issues holds it too"
        if code in result.passed[:place]:
            yield f"passed.{place}: {code} is listed twice"
    for place, one in enumerate(result.unmade):
        if one.code in found or one.code in result.passed:
            yield f"unmade.{place}: {one.code} was not made, but issues or passed holds it too"
    mismatched = result.confirmation.mismatched_inputs
    if (mismatched > 0) != (_MISMATCH in found):
        listed = "hold" if _MISMATCH in found else "do not hold"
        yield f"confirmation.mismatched_inputs: {mismatched}, but issues {listed} {_MISMATCH}"


def _known(result: RobustnessResult) -> Iterator[str]:
    """Compare findings and passed checks with the checks that there are."""
    known = {one.code: {one.severity} for one in CHECKS}
    known |= {one.code: {"warn", "invalid"} for one in data_checks.CHECKS}
    for place, issue in enumerate(result.issues):
        if issue.code not in known:
            yield f"issues.{place}.code: there is no check {issue.code!r}"
        elif issue.severity not in known[issue.code]:
            yield f"issues.{place}.severity: {issue.severity}, but {issue.code} is always {min(known[issue.code])}"
    for place, code in enumerate(result.passed):
        if code not in known:
            yield f"passed.{place}: there is no check {code!r}"
    for place, one in enumerate(result.unmade):
        if one.code not in known:
            yield f"unmade.{place}.code: there is no check {one.code!r}"


def _rates(result: RobustnessResult, figures: Figures) -> Iterator[str]:
    """Compare clean accuracy, each row and the curve with what the samples give."""
    assert result.samples is not None
    stated = {"clean": (result.clean, figures.clean)}
    ran = [(row.attack, row.eps_steps) for row in result.attacks]
    tabled = [(row.attack, row.eps_steps) for row in result.samples.attacks]
    if ran != tabled:
        odd = next((pair for pair in [*ran, *tabled] if ran.count(pair) != tabled.count(pair)), None)
        where = "in another order" if odd is None else f"{odd[0]} at eps {odd[1]} in only one of the two"
        yield f"samples.attacks: names other attacks than attacks does: {where}"
        return
    rows = zip(result.attacks, figures.rows, strict=True)
    stated |= {f"attacks.{place}.robust": (row.robust, rate) for place, (row, rate) in enumerate(rows)}
    stated |= {
        f"curve.{place}.robust": (point.robust, figures.curve[point.eps_steps])
        for place, point in enumerate(result.curve)
        if point.eps_steps in figures.curve
    }
    for name, (ours, theirs) in stated.items():
        yield from _differ(name, ours, theirs)


def _differ(name: str, stated: Rate, counted: Rate) -> Iterator[str]:
    if stated.k != counted.k:
        yield f"{name}: {stated.k} of {stated.n} stated, its samples give {counted.k} of {counted.n}"


def _largest(result: RobustnessResult) -> int:
    return max(result.threat_model.eps_steps, default=0)


def _doubling(result: RobustnessResult, figures: Figures) -> Iterator[str]:
    assert result.samples is not None
    stated = {one.eps_steps: one for one in result.doubling}
    if len(stated) < len(result.doubling) or not set(stated) <= set(result.threat_model.eps_steps):
        yield f"doubling: at eps {[one.eps_steps for one in result.doubling]}, not once each of the threat model's"
        return
    for row in result.samples.doubled:
        one = stated.get(row.eps_steps)
        if one is None:
            yield f"doubling: nothing at eps {row.eps_steps}, but samples.doubled has outcomes"
        elif row.attack != one.attack:
            yield f"samples.doubled: is of {row.attack} at eps {row.eps_steps}, doubling is of {one.attack}"
    for eps, one in stated.items():
        tried, broken = figures.doubled.get(eps, (figures.curve[eps].k if eps in figures.curve else 0, 0))
        if (one.tried, one.broken) != (tried, broken):
            yield (
                f"doubling at eps {eps}: {one.broken} of {one.tried} broken stated, "
                f"its samples give {broken} of {tried}"
            )


def _growth(result: RobustnessResult) -> Iterator[str]:
    """Check whether each grown black box ran, and whether its last gain is as small as it says."""
    ran = {(row.attack, row.eps_steps) for row in result.attacks}
    for place, one in enumerate(result.growth):
        if (one.attack, one.eps_steps) not in ran:
            yield f"growth.{place}: {one.attack} did not run at eps {one.eps_steps}"
        if len(one.queries) != len(one.broken) + 1:
            yield f"growth.{place}: {len(one.queries)} budgets, but {len(one.broken)} gains"
        if not one.settled and not one.broken:
            yield f"growth.{place}.settled: no larger budget was tried, so that nothing shows that it still gains"
        if one.settled and one.broken and one.broken[-1] > GAIN * result.clean.n and _left(result, one.eps_steps):
            yield f"growth.{place}.settled: its last budget broke {one.broken[-1]} of {result.clean.n}"


def _fidelity(result: RobustnessResult) -> Iterator[str]:
    """Check whether gradients were measured wherever attacks took them, and whether the counts can be true."""
    if result.symptoms is None:
        return
    measured, bounds = result.symptoms.fidelity, [point.eps_steps for point in result.curve]
    for name in ("zero_gradients", "saturated"):
        if getattr(result.symptoms, name) is None and any(row.kind == "white box" for row in result.attacks):
            yield f"symptoms.{name}: was not measured, but attacks took gradients"
    ran = sorted({one.eps_steps for one in measured})
    if len(ran) < len(measured) or ran != (bounds if any(row.kind == "white box" for row in result.attacks) else []):
        yield f"symptoms.fidelity: of eps {[one.eps_steps for one in measured]}, the attacks ran at {bounds}"
        return
    for one in measured:
        name, n = f"symptoms.fidelity at eps {one.eps_steps}", result.clean.n
        if max(one.astray, one.rough, one.left) > one.held or one.lost > min(one.left, one.astray) or one.held > n:
            yield f"{name}: {one.lost} lost of {one.left} left, {one.astray} astray of {one.held} held, of {n} samples"
        if one.gained > one.held - one.left:
            yield f"{name}: twice the steps broke {one.gained}, but {one.left} of {one.held} are left"
        followed = any((row.attack, row.eps_steps) == (Repaired.name, one.eps_steps) for row in result.attacks)
        if one.repaired and not followed:
            yield f"{name}: repaired, but no attack followed repaired gradients there"
        if one.failed and not one.repaired and NORMS[result.threat_model.norm].order is not None:
            yield f"{name}: failed but not repaired, which is for norms that are no Lp norms"
        left = _left(result, one.eps_steps)
        if one.left != left and result.confirmation.mismatched_inputs == 0:
            yield f"{name}: {one.left} samples left, the curve has {left}"


def _left(result: RobustnessResult, eps: int) -> int:
    return next((point.robust.k for point in result.curve if point.eps_steps == eps), 0)


def _findings(result: RobustnessResult, figures: Figures) -> Iterator[str]:
    """Make all checks again from what they looked at, and compare what they find with what is stated."""
    if result.symptoms is None or result.samples is None:
        yield "symptoms: missing, schema version 2 has them"
        return
    for place, row in enumerate(result.attacks):
        if row.follows is None:
            yield f"attacks.{place}.follows: missing, schema version 2 has it"
            return
    known = {check.code: check for check in data_checks.CHECKS}
    if set(result.data_checks) != set(known):
        odd = sorted(set(result.data_checks) ^ set(known))[0]
        yield f"data_checks: {odd} is missing or no check of the data"
        return
    measured = Measured(
        samples=result.samples,
        curve=result.curve,
        attacks=result.attacks,
        doubling=result.doubling,
        growth=result.growth,
        control=result.control,
        symptoms=result.symptoms,
        mismatched_inputs=result.confirmation.mismatched_inputs,
        disagreed=result.confirmation.disagreed,
        left_out=result.left_out,
    )
    verdict = check(gather(measured, figures, _largest(result)))
    of_data = {code: known[code].severity(share) for code, share in result.data_checks.items()}
    found = {issue.code: issue.severity for issue in verdict.issues}
    found |= {code: severity for code, severity in of_data.items() if severity in ("warn", "invalid")}
    stated = {issue.code: issue.severity for issue in result.issues}
    for code in sorted(set(found) ^ set(stated)):
        listed = "issues holds it" if code in stated else "issues does not hold it"
        yield f"issues: {'nothing shows' if code in stated else 'the figures show'} {code}, but {listed}"
    for code, severity in stated.items():
        if severity != found[code]:
            yield f"issues: {code} is {severity}, the figures make it {found[code]}"
    passed = {*verdict.passed, *(code for code, severity in of_data.items() if severity == "passed")}
    for code in sorted((passed ^ set(result.passed)) - (_LATER & passed)):
        yield f"passed: {code} {'passes, but is not listed' if code in passed else 'does not pass, but is listed'}"
    unmade = {one.code for one in verdict.unmade}
    for code in sorted(unmade ^ {one.code for one in result.unmade}):
        yield f"unmade: {code} {'was not made, but is not listed' if code in unmade else 'was made, but is listed'}"


def _control(result: RobustnessResult) -> Iterator[str]:
    control = result.control
    if control is None:
        return
    if control.samples is None:
        yield "control.samples: missing, schema version 2 has them"
        return
    for name, stated, bits in (
        ("control.clean", control.clean, control.samples.right),
        ("control.robust", control.robust, control.samples.held),
    ):
        yield from _differ(name, stated, Rate.of(bits.count("1"), len(bits)))
    yield from _proved("control.samples.proved", control.samples.proved, to_flags(control.samples.held))


def _proved(name: str, proved: Bits | None, held: Flags) -> Iterator[str]:
    """A sample that an attack broke cannot be one that nothing breaks."""
    if proved is not None and len(proved) == len(held) and (to_flags(proved) & ~held).any():
        yield f"{name}: says of a sample that was broken that nothing breaks it"


def _pictures(result: RobustnessResult, table: SampleTable) -> Iterator[str]:
    """Compare each picture with its sample, and check whether the attack that it names broke that sample."""
    places = {index: place for place, index in enumerate(result.provenance.sample_indices)}
    for number, picture in enumerate(result.pictures):
        place = places.get(picture.sample)
        if place is None:
            yield f"pictures.{number}.sample: {picture.sample} is not among the samples"
            continue
        shown, known = (picture.label, picture.clean_prediction), (table.labels[place], table.clean[place])
        if shown != known:
            yield f"pictures.{number}: label and clean prediction are {shown}, its sample has {known}"
        if not any(
            (row.attack, row.eps_steps) == (picture.attack, picture.eps_steps) and to_flags(row.broken)[place]
            for row in table.attacks
        ):
            what = f"{picture.attack} at eps {picture.eps_steps} did not break sample {picture.sample}"
            yield f"pictures.{number}: {what}"


def _impossible(result: RobustnessResult) -> Iterator[str]:
    """Compare the curve with the rows of a result without samples.

    A point is at most the least row, and at least what is left if all rows broke different samples.
    """
    for place, point in enumerate(result.curve):
        rows = [row.robust.k for row in result.attacks if row.eps_steps <= point.eps_steps]
        most = min([result.clean.k, *rows, *(earlier.robust.k for earlier in result.curve[:place])])
        doubled = sum(one.broken for one in result.doubling if one.eps_steps <= point.eps_steps)
        least = max(0, result.clean.k - sum(max(0, result.clean.k - k) for k in rows) - doubled)
        if not least <= point.robust.k <= most:
            yield (
                f"curve.{place}.robust: {point.robust.k} of {point.robust.n} stated, "
                f"the attacks' own rows give {least} to {most}"
            )
