"""Reports: what they show is the result's, they load nothing, and an invalid result is never quoted."""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from tests.support.robustness_result import BLIND, control_with, make_result, picture
from tritguard.cli import app, main
from tritguard.errors import BadInputError
from tritguard.evaluate.robustness.result import Picture, RobustnessResult, read_result
from tritguard.evaluate.study import Rate
from tritguard.report import chart, html, lines, pictures, summary, terminal, wording
from tritguard.report.explained import explained

WARN = {"code": "SOFTMAX_HEAD", "severity": "warn", "message": "the model ends in a softmax"}
HELD = control_with(139)  # half of an undefended model: where scores are hidden, a sign that the attacks do not work
UNSEEN = {"shown": "labels", "plateaus": None}  # what only labels show leaves checks of scores unmade
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def real_board() -> dict[str, Any]:
    base = make_result().model_dump()
    return {
        "firmware": base["firmware"] | {"board_name": "Netduino Plus 2", "emulated": False, "clock_hz": 168_000_000},
        "latency": base["latency"]
        | {"instructions": None, "cycles_estimated": None, "cycles_method": None}
        | {"ticks_median": 8_400_000, "tick_hz": 168_000_000, "core_hz": 168_000_000},
    }


NOTHING_RAN = {
    "threat_model": make_result().threat_model.model_dump() | {"eps_steps": [], "eps_input": []},
    "curve": [],
    "attacks": [],
    "samples": None,
    "schema_version": 1,
    "control": None,
    "doubling": [],
}
RESULTS = {
    "keyword net, emulated": make_result(),
    "real board": make_result(**real_board()),
    "grey pictures": make_result(pictures=[picture((28, 28, 1))]),
    "colour pictures": make_result(pictures=[picture((32, 32, 3))]),
    "checks not made": make_result(symptoms=UNSEEN),
    "degraded": make_result(symptoms=BLIND),
    "invalid": make_result(symptoms=BLIND, control=HELD),
    "bare": make_result(**NOTHING_RAN, pictures=[], clean_full=None),
    "without samples": make_result(schema_version=1, samples=None),
}


class Page(HTMLParser):
    """Checks nesting while parsing; keeps text, attributes and the tags met."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        self.ids += [values["id"]] if "id" in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> inside {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shown(result: RobustnessResult, width: int = 100) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
    with console.capture() as capture:
        console.print(terminal.render(result))
    return capture.get()


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_page_is_well_formed_and_loads_nothing(result: RobustnessResult) -> None:
    text = html.render(result)
    page = Page(text)
    assert "http:" not in text and "https:" not in text and "@import" not in text and "url(" not in text
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
    assert not forbidden & {tag for tag, _ in page.tags}
    for tag, values in page.tags:
        assert not any(name.startswith("on") for name in values)
        assert values.get("src", "data:").startswith("data:image/png;base64,") or tag != "img"
        assert values.get("href", "#").startswith("#") and "xlink:href" not in values
        assert "href" not in values or values["href"][1:] in page.ids


@pytest.mark.parametrize("result", RESULTS.values(), ids=RESULTS)
def test_page_can_be_used_without_eyes(result: RobustnessResult) -> None:
    page = Page(html.render(result))
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    for tag, values in page.tags:
        assert tag != "img" or values["alt"]
        assert tag != "svg" or values.get("aria-label") or values.get("aria-labelledby")
        assert tag != "th" or values.get("scope")
    assert f"{result.status}" in page.text.lower()


def test_the_page_says_over_which_line_the_inputs_were_answered() -> None:
    seen = make_result().confirmation.model_dump()
    assert "were answered over the serial port by the firmware" in html.render(make_result())
    bulk = make_result(confirmation=seen | {"bulk_inputs": seen["inputs"], "uart_again": 87})
    words = "were answered over the emulator's bulk line, 87 of them also over the serial port, by the firmware"
    assert words in Page(html.render(bulk)).text
    part = make_result(confirmation=seen | {"bulk_inputs": seen["inputs"] - 10, "uart_again": 0})
    words = "were answered over the emulator's bulk line, 10 of them over the serial port, by the firmware"
    assert words in Page(html.render(part)).text


def every_number(result: RobustnessResult) -> list[str]:
    """What a reader must find, written by rules of this test's own."""
    rates = [result.clean, *(point.robust for point in result.curve)]
    numbers = [f"{100 * rate.k / rate.n:.1f} %" for rate in rates]
    numbers += [f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %" for rate in rates]
    numbers += [f"{rate.k:,} of {rate.n:,}" for rate in rates]
    seen, size = result.confirmation, result.footprint
    counts = [seen.inputs, seen.bytes_compared, seen.mismatched_inputs, result.model_macs, size.flash_total]
    counts += [size.ram_static, size.ram_arena, size.stack_peak, size.stack_reserved]
    counts += [
        *size.flash_groups.values(),
        *size.flash_sections.values(),
        *(layer.bytes for layer in size.flash_layers),
    ]
    counts += [n for n in (result.latency.instructions, result.latency.cycles_estimated) if n is not None]
    return numbers + [f"{n:,}" for n in counts] + [f"{result.latency.milliseconds:.4g} ms"]


@pytest.mark.parametrize("result", [r for r in RESULTS.values() if r.status != "invalid"])
def test_every_number_is_the_results(result: RobustnessResult) -> None:
    page, table = Page(html.render(result)).text, shown(result)
    for number in every_number(result):
        assert number in page
        assert number in table
    for row in result.attacks:
        assert f"{row.robust.k:,} of {row.robust.n:,}" in page
        assert f"{100 * row.robust.value:.1f} %" in page and f"{100 * row.robust.value:.1f} %" in table


def test_page_holds_all_that_is_needed_to_repeat_the_run() -> None:
    result = make_result()
    page = Page(html.render(result)).text
    for value in result.provenance.model_dump().values():
        if isinstance(value, dict):
            assert all(f"{name} {version}" in page for name, version in value.items())
        elif isinstance(value, str | int):
            assert str(value) in page
    assert "0-299" in page
    for value in (result.firmware.build_id, result.firmware.elf_sha256, result.threat_model.knowledge):
        assert value in page
    assert "step size, steps = 0.0625" in page.replace("\xa0", " ")
    assert "ANOTHER MODEL" not in page


def test_a_control_is_named_where_it_has_a_name_of_its_own() -> None:
    fields = make_result().model_dump(mode="json")
    for name, terminal_words, page_words in (
        ("plain", "undefended control plain: clean", "The undefended control, plain (model"),
        ("control", "undefended control: clean", "The undefended control (model"),
    ):
        result = make_result(control=fields["control"] | {"name": name})
        assert terminal_words in shown(result) and page_words in Page(html.render(result)).text


def test_a_board_with_another_model_is_called_out() -> None:
    firmware = make_result().firmware.model_dump() | {"model_sha256": "f" * 64}
    assert "ANOTHER MODEL" in Page(html.render(make_result(firmware=firmware))).text


def test_headline_is_the_largest_eps_of_the_threat_model() -> None:
    result = make_result()
    point = summary.headline_point(result)
    assert point is not None and point.eps_steps == 8  # the curve goes on to 64, as a check
    assert "* Beyond the threat model" in Page(html.render(result)).text
    assert "64 *" in shown(result) and "* beyond the threat model" in shown(result)


def test_invalid_result_shows_no_accuracy() -> None:
    result = RESULTS["invalid"]
    text, table = html.render(result), shown(result, 400)
    quoted = text[: text.index('<details class="diagnosis">')]  # folded, not printed, labelled as not to be quoted
    secret = [result.clean, *(point.robust for point in result.curve)]
    for place in (
        quoted,
        table[: table.index("Flash")],
        text[text.index('<h2 id="checks"') :].split('<h2 id="footprint"')[0],
    ):
        for rate in secret:
            assert f"{100 * rate.value:.1f}" not in place
            assert f"{rate.k:,} of {rate.n:,}" not in place
        assert "Clean accuracy" not in place and "clean accuracy" not in place
    assert "<polyline" not in text and 'class="number"' not in text
    for place in (Page(text).text, table):
        assert {"CONTROL_NOT_BROKEN", "SOFTMAX_HEAD"} <= {issue.code for issue in result.issues}
        assert all(issue.code in place and issue.message in place for issue in result.issues)
        assert "INVALID" in place.upper()


def test_degraded_result_names_its_codes_beside_the_number() -> None:
    result = RESULTS["degraded"]
    page = Page(html.render(result)).text
    headline = page[: page.index("How to read this")]
    codes = ", ".join(issue.code for issue in result.issues)
    assert "Subject to NO_LOGITS" in headline and "SOFTMAX_HEAD" in headline and "92.0 %" in headline
    table = shown(result, 300)
    assert f"subject to {codes}" in table and all(issue.message in table for issue in result.issues)


@pytest.mark.parametrize(
    "result", [make_result(symptoms=UNSEEN), make_result(symptoms=UNSEEN | {"unsteady_inputs": 1})]
)
def test_checks_that_were_not_made_are_listed_with_the_reason(result: RobustnessResult) -> None:
    for text in (Page(html.render(result)).text, shown(result)):
        assert {"SCORE_PLATEAUS", "NO_LOGITS"} <= {one.code for one in result.unmade}
        assert all(one.code in text and one.reason in text for one in result.unmade)
    assert "could not be made" not in shown(make_result())


def test_estimates_are_labelled_and_measurements_are_not() -> None:
    for text in (Page(html.render(RESULTS["keyword net, emulated"])).text, shown(RESULTS["keyword net, emulated"])):
        assert "1760 ms ESTIMATED" in text and "44,000,000 ESTIMATED" in text
        assert "1.4 cycles an instruction" in text and "emulated" in text
    for text in (Page(html.render(RESULTS["real board"])).text, shown(RESULTS["real board"])):
        assert "50 ms" in text and "measured" in text
        assert "ESTIMATED" not in text and "emulated" not in text


def test_emulated_board_without_estimate_shows_no_time() -> None:
    latency = make_result().latency.model_dump() | {"cycles_estimated": None, "cycles_method": None}
    result = make_result(latency=latency)
    for text in (Page(html.render(result)).text, shown(result)):
        assert "ticks are not time" in text and " ms" not in text


def test_who_was_asked_and_for_what_is_said_at_the_top() -> None:
    threat = make_result().threat_model.model_copy(update={"goal": "targeted", "space": "features"})
    result = make_result(live=True, threat_model=threat.model_dump())
    text, page = shown(result, 200), html.render(result)
    assert " LIVE " in text and " TARGETED " in text and " FEATURES " in text
    assert (
        "<strong>Live:</strong>" in page
        and "<strong>Feature space:</strong>" in page
        and "one class drawn for each sample" in page
    )
    assert " LIVE " not in shown(make_result(), 200) and "<strong>Live:</strong>" not in html.render(make_result())


def test_mismatch_is_said_loudly() -> None:
    seen = make_result().confirmation.model_dump() | {"mismatched_inputs": 4}
    result = make_result(confirmation=seen)
    assert "4 of 2,700 inputs gave other bytes" in Page(html.render(result)).text
    assert "4 inputs DIFFER" in shown(result)


HOSTILE = "</style><script>alert(1)</script>\"'><img src=x onerror=a>{{7*7}}[red]x[/red]\x1b[31m\u202e&"


def test_hostile_strings_stay_text() -> None:
    base = make_result(schema_version=1, samples=None, status="degraded", issues=[WARN]).model_dump()

    def poison(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {(HOSTILE if name in {"packages", "tools"} else k): poison(v, k) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [poison(v, name) for v in value]
        literal = {"status", "severity", "goal", "norm", "space", "kind", "clean_base64", "adversarial_base64"}
        literal |= {"follows", "shown", "right", "held"}
        return HOSTILE if isinstance(value, str) and name not in literal else value

    result = RobustnessResult.model_validate(poison(base))
    text = html.render(result)
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags} and not any("onerror" in v for _, v in page.tags)
    assert "{{7*7}}" in page.text and "<script>" not in text
    assert HOSTILE.replace("\x1b", "\\u001b").replace("\u202e", "\\u202e") in page.text
    table = shown(result, width=400)
    for output in (text, table):
        assert "\x1b" not in output and "\u202e" not in output
    assert "[red]x[/red]" in table


@pytest.mark.parametrize("width", [40, 80, 200])
def test_terminal_is_ascii_and_fits(width: int) -> None:
    for result in RESULTS.values():
        text = shown(result, width)
        assert all(len(line) <= width for line in text.splitlines())
        assert re.sub(r"[─-╿…]", "", text).isascii()  # frames and bars, which rich replaces where it must


def test_an_interval_stays_in_one_line_where_there_is_room() -> None:
    """A perfect rate makes the widest one; names give way. A narrow terminal breaks it rather than lose a figure."""
    table = terminal._table("", "attack", "<kind", "eps", "accuracy", "95 %", "queries", "grad.", "s")
    table.add_row("Repaired gradients", "white box", "8", "100.0 %", "96.3 to 100.0 %", "279.4", "278.1", "35.2")
    for width, whole in ((80, True), (60, False)):
        console = Console(width=width, file=io.StringIO(), color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(table)
        assert ("100.0 %  96.3 to 100.0 %    279.4" in capture.get()) is whole
        assert all(figure in capture.get() for figure in ("96.3 to", "279.4", "278.1", "35.2"))


def decoded(uri: str) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,")))))


@pytest.mark.parametrize("shape", [(28, 28, 1), (32, 32, 3)])
def test_images_are_shown_pixel_by_pixel(shape: tuple[int, ...]) -> None:
    record = Picture.model_validate(picture(shape))
    drawing = pictures.draw(record, "here")
    side = drawing.width // shape[0]
    assert not drawing.heat_map and drawing.amplification == 127 // 8 and drawing.largest_change == 8
    for uri, encoded in ((drawing.clean, record.clean_base64), (drawing.adversarial, record.adversarial_base64)):
        expected = np.frombuffer(base64.b64decode(encoded), np.int8).astype(np.int16).reshape(shape).squeeze() + 128
        assert (decoded(uri)[::side, ::side] == expected).all()
        assert (decoded(uri)[side - 1 :: side, side - 1 :: side] == expected).all()


@pytest.mark.parametrize("shape", [(49, 10, 1), (10, 49, 1), (640,), (128, 6), (4, 5, 2), (1,)])
def test_other_shapes_are_heat_maps(shape: tuple[int, ...]) -> None:
    drawing = pictures.draw(Picture.model_validate(picture(shape, eps=1)), "here")
    assert (
        drawing.heat_map and drawing.axes[0] >= drawing.axes[1] and drawing.axes[0] * drawing.axes[1] == np.prod(shape)
    )
    assert decoded(drawing.clean).shape == (drawing.height, drawing.width, 3)


def test_difference_keeps_its_sign() -> None:
    zero = base64.b64encode(bytes(6)).decode()
    moved = base64.b64encode(np.array([2, -2, 0, 0, 0, 0], np.int8).tobytes()).decode()
    record = picture((6,)) | {"clean_base64": zero, "adversarial_base64": moved}
    drawing = pictures.draw(Picture.model_validate(record), "here")
    factor = drawing.width // 6
    up, down, still = (decoded(drawing.difference)[0, index * factor] for index in range(3))
    assert drawing.amplification == 63 and up[0] > up[2] and down[2] > down[0] and (still == 255).all()


@pytest.mark.parametrize("broken", [{"clean_base64": "AAAA"}, {"adversarial_base64": "%"}, {"shape": (0, 3)}])
def test_picture_that_does_not_fit_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(BadInputError, match=r"pictures\[0\]"):
        html.render(make_result(pictures=[picture((28, 28, 1)) | broken]))


def test_curve_is_drawn_to_scale() -> None:
    result = make_result()
    near = chart.curve(result.clean, summary.robust_points(result)[:4], 12)
    assert not near.logarithmic
    spread = [mark.x - chart.LEFT for mark in near.marks]
    assert spread == pytest.approx([eps / 8 * spread[-1] for eps in (0, 1, 2, 4, 8)])
    far = chart.curve(result.clean, summary.robust_points(result), 12)
    assert far.logarithmic
    labelled = [mark.x for mark in far.marks if mark.labelled]
    assert len(labelled) >= 5 and all(after - before >= chart.LABEL_ROOM for before, after in pairwise(labelled))
    base, top = far.guides[0][0], far.guides[-1][0]
    for mark in far.marks:
        assert (base - mark.y) / (base - top) == pytest.approx(mark.rate.value)


def test_the_page_leads_with_what_matters_and_says_how_to_get_there() -> None:
    text = html.render(make_result())
    order = ['class="status valid"', "Clean accuracy", "Robust accuracy", ">Checks</a>", ">Latency</a>", ">Flash</a>"]
    order += ['<nav aria-label="Contents">', '<h2 id="threat-model">', '<h2 id="curve">', '<h2 id="provenance">']
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "59.8 KiB" in text and "1760 ms" in text


def test_every_check_is_explained_the_passed_ones_too() -> None:
    result = make_result(symptoms=UNSEEN)
    text = Page(html.render(result)).text
    for code in (*(one.code for one in (*result.issues, *result.unmade)), *result.passed):
        assert f"{code} {explained(code)}" in text


def test_the_configuration_is_shown_as_it_was_written() -> None:
    config = 'name = "<b>x"\n\n[attack]  # \x1b[2J\neps = [1]\n'
    provenance = make_result().provenance.model_dump() | {"configuration": config}
    text = html.render(make_result(provenance=provenance))
    assert "name = &#34;&lt;b&gt;x&#34;\n\n[attack]  # \\u001b[2J\neps = [1]\n</code></pre>" in text
    assert "Configuration of the run" not in html.render(make_result())


def test_bounds_are_written_as_people_write_them() -> None:
    assert (
        wording.eps(8 / 255, "pixel/255") == "8/255"
        and wording.eps_list([1 / 255, 0.5], "pixel/255") == "1/255, 127.5/255"
    )
    assert wording.eps(0.584, "MFCC value") == "0.584 in input units (MFCC value)"


def test_a_phone_and_the_dark_are_thought_of() -> None:
    """Drawings are about as wide as a phone, so that their text is not scaled down; inks have their dark ones."""
    assert chart.WIDTH <= 420 and lines.WIDTH <= 420
    text = html.render(make_result())
    style = text[text.index("<style>") : text.index("</style>")]
    dark = style[style.index("prefers-color-scheme: dark") :].split("@media")[0]
    drawn = text[text.index("</style>") :]
    inks = set(re.findall(r'(?:fill|stroke)="(#[0-9a-f]+)"', drawn)) - {ink for pair in chart.FILLS for ink in pair}
    assert all(ink in dark for ink in inks - {"#8fb8dc"})


def test_bar_adds_up_and_says_what_no_group_claims() -> None:
    footprint = make_result().footprint
    parts = chart.stacked_bar(summary.flash_parts(footprint))
    assert sum(part.amount for part in parts) == footprint.flash_total
    assert parts[-1].name == "not attributed" and parts[-1].amount == 1_000
    assert parts[-1].x + parts[-1].width == pytest.approx(chart.WIDTH)


@given(st.lists(st.integers(0, 400)))
def test_ranges_lose_nothing(indices: list[int]) -> None:
    back: list[int] = []
    for part in filter(None, wording.ranges(indices).split(", ")):
        first, _, last = part.partition("-")
        back += range(int(first), int(last or first) + 1)
    assert back == indices


# Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3.
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_gives_the_published_intervals(k: int, n: int, low: float, high: float) -> None:
    rate = Rate.of(k, n)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_an_interval(pair: tuple[int, int]) -> None:
    k, n = pair
    rate, mirror, doubled = Rate.of(k, n), Rate.of(n - k, n), Rate.of(2 * k, 2 * n)
    assert 0 <= rate.low <= rate.value + 1e-12 and rate.value - 1e-12 <= rate.high <= 1
    assert (rate.low, rate.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)
    assert doubled.high - doubled.low < rate.high - rate.low
    # The ends are where |p - k/n| is z standard errors of p: Wilson's definition.
    for end in (rate.low, rate.high):
        assert (end - k / n) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / n, abs=1e-9)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_no_rate_without_samples(k: int, n: int) -> None:
    with pytest.raises(ValueError):
        Rate(k=k, n=n, low=0, high=1)


def test_status_must_follow_the_issues() -> None:
    with pytest.raises(ValueError, match="status is valid"):
        make_result(symptoms=BLIND, control=HELD, status="valid")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "result.json").write_text(make_result().model_dump_json())
    return tmp_path


def test_command_prints_and_writes(run_dir: Path) -> None:
    outcome = CliRunner().invoke(app, ["report", str(run_dir)])
    assert outcome.exit_code == 0 and "92.0 %" in outcome.output and "report.html" in outcome.output
    assert (run_dir / "report.html").read_text() == html.render(make_result())
    elsewhere = run_dir / "filed" / "audit.html"
    assert CliRunner().invoke(app, ["report", str(run_dir / "result.json"), "-o", str(elsewhere)]).exit_code == 0
    assert elsewhere.is_file()


def test_json_is_the_result_and_nothing_else(run_dir: Path) -> None:
    outcome = CliRunner().invoke(app, ["report", "--json", str(run_dir)])
    assert RobustnessResult.model_validate_json(outcome.stdout) == make_result()
    assert (run_dir / "report.html").is_file()


def damaged(whole: bytes) -> dict[str, bytes]:
    return {
        "empty": b"",
        "truncated": whole[: len(whole) // 2],
        "not JSON": b"\x00\xff\xfe",
        "foreign": b'{"hello": 1}',
        "another version": whole.replace(b'"schema_version":2', b'"schema_version":3'),
        "no samples": whole.replace(b'"n":300', b'"n":0'),
        "not a number": whole.replace(b'"seconds":417.5', b'"seconds":NaN'),
        "upgraded by hand": make_result(symptoms=BLIND, control=HELD)
        .model_dump_json()
        .replace('"status":"invalid"', '"status":"valid"')
        .encode(),
        "cut picture": whole.replace(b'"clean_base64":"', b'"clean_base64":"AAAA', 1),
    }


@pytest.mark.parametrize("name", damaged(b""))
def test_bad_result_is_one_line_exit_2_and_no_file(
    name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run_dir / "result.json"
    path.write_bytes(damaged(path.read_bytes())[name])
    with pytest.raises(BadInputError):
        html.render(read_result(path))
    monkeypatch.setattr("sys.argv", ["tritguard", "report", str(run_dir)])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert stop.value.code == 2 and captured.out == ""
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1
    assert [file.name for file in run_dir.iterdir()] == ["result.json"]


def test_the_result_is_not_overwritten(run_dir: Path) -> None:
    path = run_dir / "result.json"
    before = path.read_bytes()
    outcome = CliRunner().invoke(app, ["report", str(run_dir), "-o", str(path)])
    assert isinstance(outcome.exception, BadInputError) and path.read_bytes() == before


def test_missing_result_and_unwritable_target(run_dir: Path) -> None:
    for arguments in ([str(run_dir / "nothing")], [str(run_dir), "-o", str(run_dir / "result.json" / "x.html")]):
        outcome = CliRunner().invoke(app, ["report", *arguments])
        assert isinstance(outcome.exception, BadInputError)
