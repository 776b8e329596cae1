"""Results side by side: paired by sample, judged by an exact test, refused where they do not fit."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from tests.support.robustness_result import BLIND, CLASSES, EPS, N, control_with, make_result
from tests.support.schemas import assert_conforms
from tritguard.api.comparing import compare
from tritguard.cli import app
from tritguard.errors import BadInputError
from tritguard.evaluate.study import Rate
from tritguard.report.compare import to_html
from tritguard.report.lines import round_ticks
from tritguard.report.study import Grid, Page, Section, tables


def write(path: Path, **changes: Any) -> Path:
    path.mkdir()
    (path / "result.json").write_text(make_result(**changes).model_dump_json())
    return path


def raised(by: int) -> dict[str, Any]:
    """Changes that let `by` more samples hold at the smallest eps, in every attack, row and curve."""
    fields = make_result().model_dump(mode="json")
    for row, figures in zip(fields["samples"]["attacks"], fields["attacks"], strict=True):
        if row["eps_steps"] == 1:
            held = figures["robust"]["k"]
            first = N - row["broken"][::-1].index("0")  # the samples that hold are together; the next ones do now too
            row["broken"] = row["broken"][:first] + "0" * by + row["broken"][first + by :]
            figures["robust"] = Rate.of(held + by, N).model_dump()
    point = next(point for point in fields["curve"] if point["eps_steps"] == 1)
    point["robust"] = Rate.of(EPS[1] + by, N).model_dump()
    doubling = next(one for one in fields["doubling"] if one["eps_steps"] == 1)
    doubling["tried"] += by
    return {name: fields[name] for name in ("samples", "attacks", "curve", "doubling")}


def test_a_result_is_no_better_than_itself(tmp_path: Path) -> None:
    found = compare([write(tmp_path / "a"), write(tmp_path / "b")])
    assert [pair.eps_input for pair in found.pairs] == [0.0, *(eps * 0.584 for eps in EPS)]
    for pair in found.pairs:
        assert (pair.gained, pair.lost, pair.p, pair.verdict) == (0, 0, 1.0, "no difference shown")
        assert pair.first == pair.second
    assert [pair.first.k for pair in found.pairs] == [N - 24, *EPS.values()]
    assert found.front == (0, 1) and found.samples == N


@pytest.mark.parametrize(("by", "verdict"), [(6, "no difference shown"), (7, "no difference shown"), (8, "better")])
def test_a_difference_has_to_be_more_than_luck(by: int, verdict: str, tmp_path: Path) -> None:
    """Five bounds share 5 %: 2 / 2**8 is below 1 % and 2 / 2**7 is not."""
    before, after = write(tmp_path / "a"), write(tmp_path / "b", **raised(by))
    pairs = {round(pair.eps_input, 3): pair for pair in compare([before, after]).pairs}
    pair = pairs[0.584]
    assert (pair.gained, pair.lost, pair.second.k - pair.first.k) == (by, 0, by)
    assert pair.p == pytest.approx(2 / 2**by) and pair.verdict == verdict
    assert all(other.verdict == "no difference shown" for eps, other in pairs.items() if eps != 0.584)
    (back,) = [pair for pair in compare([after, before]).pairs if pair.gained or pair.lost]
    assert (back.gained, back.lost) == (0, by) and back.verdict == verdict.replace("better", "worse")


def test_only_shared_samples_are_paired(tmp_path: Path) -> None:
    provenance = make_result().provenance.model_dump() | {"sample_indices": list(range(CLASSES * 8, CLASSES * 8 + N))}
    shifted = write(tmp_path / "b", provenance=provenance, pictures=[])
    found = compare([write(tmp_path / "a"), shifted])
    assert found.samples == N - CLASSES * 8 and all(pair.first.n == found.samples for pair in found.pairs)
    provenance["sample_indices"] = list(range(1000, 1000 + N))
    apart = write(tmp_path / "c", provenance=provenance, pictures=[])
    with pytest.raises(BadInputError, match="have no sample in common"):
        compare([tmp_path / "a", apart])


def test_the_front_and_the_dots_are_of_the_samples_that_all_have(tmp_path: Path) -> None:
    """Samples that the others lack are no advantage; results that are equal are all seen."""
    rows = list(range(CLASSES * 8, CLASSES * 8 + N))
    provenance = make_result().provenance.model_dump() | {"sample_indices": rows}
    found = compare(
        [write(tmp_path / "a"), write(tmp_path / "b"), write(tmp_path / "c", provenance=provenance, pictures=[])]
    )
    assert [one.paired and one.paired.n for one in found.results] == [found.samples] * 3
    assert [one.robust and one.robust.n for one in found.results] == [N] * 3
    assert [one.name.partition(" (")[2] for one in found.results] == ["a)", "b)", "c)"]
    assert [one.file for one in found.results] == [str(tmp_path / name) for name in "abc"]
    page = to_html(found)
    assert f"the {found.samples} samples that all have" in page and page.count('fill="none" stroke="#b3541e"') == 2


def test_an_invalid_result_is_listed_without_accuracies(tmp_path: Path) -> None:
    invalid = write(tmp_path / "b", symptoms=BLIND, control=control_with(139))
    found = compare([write(tmp_path / "a"), invalid])
    assert found.results[1].status == "invalid" and found.results[1].robust is None and found.results[1].clean is None
    assert found.pairs == () and found.front == (0,)
    assert "withheld" in to_html(found)


def test_the_front_is_what_nothing_beats(tmp_path: Path) -> None:
    footprint = make_result().footprint.model_dump()
    smaller = write(tmp_path / "small", footprint=footprint | {"flash_total": 50_000, "flash_groups": {}})
    better = write(tmp_path / "better", **raised(20), footprint=footprint | {"flash_total": 90_000, "flash_groups": {}})
    found = compare([write(tmp_path / "base"), smaller, better])
    assert found.front == (1,)  # at the largest eps all three hold the same, and this one is the smallest
    page = to_html(found)
    assert "Robust accuracy against flash" in page and page.count("<circle") == 2 * 3, "each dot, and its key"


def test_results_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    provenance = make_result().provenance.model_dump() | {"data_sha256": "1" * 64}
    with pytest.raises(BadInputError, match="is of another data than the first: 1111"):
        compare([first, write(tmp_path / "b", provenance=provenance)])
    with pytest.raises(BadInputError, match="holds no table of samples"):
        compare([first, write(tmp_path / "c", schema_version=1, samples=None)])
    with pytest.raises(BadInputError, match="one result alone"):
        compare([first])


def test_other_labels_and_threat_models_are_refused(tmp_path: Path) -> None:
    first, threat = write(tmp_path / "a"), make_result().threat_model.model_dump()
    ranged = threat | {"data_range": {"low": 0, "high": 1, "low_step": -128, "high_step": 127}}
    features = threat | {"space": "features"}
    for name, changed, what in (("b", ranged, "data range"), ("c", features, "space")):
        with pytest.raises(BadInputError, match=f"is of another {what} than the first"):
            compare([first, write(tmp_path / name, threat_model=changed)])
    table = make_result().samples
    assert table is not None
    labels = list(table.labels)
    labels[3], clean = (labels[3] + 5) % 12, list(table.clean)  # sample 3 is wrong either way
    samples = table.model_dump(mode="json") | {"labels": labels, "clean": clean}
    with pytest.raises(BadInputError, match=f"another label than the first for sample 3: {labels[3]}, not 3"):
        compare([first, write(tmp_path / "d", samples=samples)])


def test_weaker_attacks_make_no_better_result(tmp_path: Path) -> None:
    first = write(tmp_path / "a")
    found = compare([first, write(tmp_path / "b", **raised(20), budgets={"PGD": {"steps": 1}})])
    assert [one.attacked_alike for one in found.results] == [True, False] and found.front == (0,)
    assert {pair.verdict for pair in found.pairs if pair.eps_input > 0} == {"attacked otherwise"}
    assert "; attacked otherwise" in to_html(found)


def test_accuracies_are_those_at_a_bound_that_all_share(tmp_path: Path) -> None:
    """A result whose threat model ends earlier would lead any front at its own largest bound."""
    threat = make_result().threat_model.model_dump() | {"eps_steps": [1], "eps_input": [0.584]}
    fields = make_result().model_dump(mode="json")
    fields["samples"]["doubled"] = [row for row in fields["samples"]["doubled"] if row["eps_steps"] == 1]
    doubling = [row for row in fields["doubling"] if row["eps_steps"] == 1]
    near = write(tmp_path / "b", threat_model=threat, samples=fields["samples"], doubling=doubling, control=None)
    found = compare([write(tmp_path / "a"), near])
    assert [(one.eps_input, one.robust and one.robust.k) for one in found.results] == [(0.584, EPS[1])] * 2
    fields["curve"][0]["eps_input"] = 0.6
    changed = {"threat_model": threat | {"eps_input": [0.6]}, "curve": fields["curve"], "samples": fields["samples"]}
    apart = write(tmp_path / "c", **changed, doubling=doubling, control=None)
    found = compare([tmp_path / "a", apart])
    assert found.front == () and "no bound is shared" in to_html(found)


def test_the_verb_writes_and_prints(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b", **raised(20))
    out = tmp_path / "out"
    invoke = CliRunner().invoke
    done = invoke(app, ["compare", str(first), str(second), "-o", str(out)], env={"COLUMNS": "200"})
    assert done.exit_code == 0 and "better" in done.output and "comparison.html" in done.output
    assert_conforms(out / "comparison.json", "comparison")
    page = (out / "comparison.html").read_text()
    HTMLParser().feed(page)
    assert "http:" not in page and "https:" not in page and "<script" not in page and "better" in page
    shown = json.loads(invoke(app, ["compare", str(first), str(second), "--json"]).stdout)
    assert shown == json.loads((out / "comparison.json").read_text())


def test_nothing_is_cut_in_a_narrow_terminal(tmp_path: Path) -> None:
    other = write(tmp_path / "b", **raised(20), budgets={"PGD": {"steps": 1}})
    shown = CliRunner().invoke(app, ["compare", str(write(tmp_path / "a")), str(other)], env={"COLUMNS": "80"}).output
    lines = [line for line in shown.splitlines() if "\N{HORIZONTAL ELLIPSIS}" in line]
    assert all("\N{HORIZONTAL ELLIPSIS}" not in line[12:] for line in lines), lines  # a model's name may be cut


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(21.4, 26.2, (20, 22, 24, 26, 28)), (0.9, 1.1, (0.9, 0.95, 1, 1.05, 1.1)), (90, 1100, (0, 500, 1000, 1500))],
)
def test_ticks_are_round(low: float, high: float, ticks: tuple[float, ...]) -> None:
    assert round_ticks(low, high) == pytest.approx(ticks)


def test_a_code_stays_whole_in_a_narrow_table() -> None:
    """It is what is looked up."""
    grid = Grid(
        ("name", "status", "words"), (("n" * 30, "degraded: LITTLE_EVIDENCE; otherwise", "word " * 20),), left=2
    )
    console = Console(width=50, record=True, file=StringIO())
    console.print(*tables(Page("a title", "", [Section("a heading", grid=grid)])))
    shown = console.export_text()
    assert "LITTLE_EVIDENCE;" in shown and max(map(len, shown.splitlines())) <= 50
