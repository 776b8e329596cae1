"""The eps at which a claim would be true, and shares at fractions of a step: robustness claim's arithmetic."""

from __future__ import annotations

import xml.etree.ElementTree as Xml

import numpy as np
import pytest

from tests.bench.robustness_claim import LEFT, Attacked, Calibration, Claimed, Claims, as_markdown, eps_at, shares
from tests.bench.robustness_front import drawing, joined
from tritguard.errors import BadInputError
from tritguard.evaluate.study import Rate, wilson

HOLDS = 1 << 20
# 1,000 samples: 200 wrong, then 50 % broken at 1, 20 % at 2, and 10 % hold.
BROKEN = (0,) * 200 + (1,) * 500 + (2,) * 200 + (HOLDS,) * 100


def found(**changes: object) -> Attacked:
    fields = {"attacks": "PGD-20", "eps": (1, 2), "broken": BROKEN, "seconds": 1.0} | changes
    return Attacked.model_validate(fields)


def test_shares_count_what_was_broken_at_smaller_eps() -> None:
    assert [found().share(eps) for eps in (0, 1, 2)] == pytest.approx([0.8, 0.3, 0.1])
    assert found().share(0.5) == pytest.approx(0.55)
    assert found().share(1.25) == pytest.approx(0.25)


def test_eps_is_where_that_share_is_left() -> None:
    broken = np.array([0.2, 0.5, 0.2])
    for left in (0.8, 0.55, 0.3, LEFT, 0.11):
        assert shares(broken, eps_at(broken, left))[()] == pytest.approx(left)
    assert np.isnan(eps_at(broken, 0.05))
    assert eps_at(broken, 0.9) == 0


def test_intervals_are_wilsons_and_cover_what_other_samples_would_give() -> None:
    assert found().interval(1) == pytest.approx(wilson(300, 1000))
    low, high = found().interval(1.5)
    drawn = shares(found().resampled(1.5), 1.5)  # of the same distribution
    assert 0.95 <= np.mean((drawn > low) & (drawn < high)) < 1
    assert drawn.mean() == pytest.approx(0.2, abs=0.002)
    each = np.select([np.array(BROKEN) > 2, np.array(BROKEN) > 1], [1.0, 0.5], 0.0)  # half way from 1 to 2
    assert drawn.std() == pytest.approx(each.std() / np.sqrt(1000), rel=0.1)
    assert found(broken=(0,) * 100).interval(1.5)[1] > 0.03


def test_bounds_that_were_not_attacked_are_not_guessed() -> None:
    with pytest.raises(AssertionError, match=r"not attacked around 2\.5"):
        found().share(2.5)


def claims() -> Claims:
    worst = found(attacks="APGD-CE, Square", each={"APGD-CE": BROKEN, "Square": (HOLDS,) * 1000})
    row = {"name": "a <net>", "eps": 1.5, "clean": Rate.of(800, 1000), "pgd": found(), "worst": worst, "hours": 0.5}
    row |= {"ternary": (5, 7), "flash_bytes": 100_000, "ram_bytes": 40_000, "cycles": 30_000_000, "machine": "here"}
    calibration = Calibration(net="ds-cnn", left=LEFT, eps=1.87, low=1.8, high=1.9, clean=0.8, found=found())
    return Claims(table="cifar10", calibration=calibration, at=(2,), rows=(Claimed.model_validate(row),))


def test_the_tables_have_each_net_at_eps_and_further_ones() -> None:
    made = claims()
    text = as_markdown(list(made.rows), made.calibration, made.at)
    assert "It leaves 12.54 % at eps* = 1.870 steps" in text
    assert "| a <net> | 5 of 7 | 80.0 (77.4 to 82.4) | 20.0 " in text
    assert "| a <net> | 2 | 10.0 (8.3 to 12.0) | 10.0 (8.3 to 12.0) | 100.0 " in text


def test_nets_of_several_seeds_get_a_line_with_mean_and_deviation() -> None:
    made = claims()
    first = made.rows[0].model_copy(update={"name": "net-at-0", "recipe": "at"})
    second = first.model_copy(update={"name": "net-at-1", "clean": Rate.of(900, 1000)})
    another = first.model_copy(update={"name": "net-at-8", "recipe": "at 8/255"})  # no seed of the two
    text = as_markdown([*made.rows, first, second, another], made.calibration, made.at)
    assert "| net-at, 2 seeds | | 85.0 ± 7.1 | 20.0 ± 0.0 | 20.0 ± 0.0 |" in text
    assert "| net-at, 2 seeds | 2 | 10.0 ± 0.0 | 10.0 ± 0.0 | 100.0 ± 0.0 | 10.0 ± 0.0 |" in text
    assert "a <net>, " not in text


def test_pictures_join_calls_of_one_table_at_one_eps() -> None:
    made = claims()
    other = made.rows[0].model_copy(update={"name": "other", "worst": None})
    again = made.rows[0].model_copy(update={"flash_bytes": 1})
    whole = joined([made, made.model_copy(update={"rows": (again, other)})])
    assert {row.name: row.flash_bytes for row in whole.rows} == {"a <net>": 100_000, "other": 100_000}
    elsewhere = made.model_copy(update={"rows": (other.model_copy(update={"eps": 1.0}),)})
    with pytest.raises(BadInputError, match="other tables or eps"):
        joined([made, elsewhere])


def test_the_picture_has_a_circle_of_its_flash_for_each_net() -> None:
    made = claims()
    picture = Xml.fromstring(drawing(made))
    circles = picture.findall("{http://www.w3.org/2000/svg}circle")
    larger = made.rows[0].model_copy(update={"flash_bytes": 400_000})
    more = Xml.fromstring(drawing(made.model_copy(update={"rows": (made.rows[0], larger)})))
    radii = [float(circle.attrib["r"]) for circle in more.findall("{http://www.w3.org/2000/svg}circle")]
    assert len(circles) == 1 and len(radii) == 2
    assert radii[0] == pytest.approx(2 * radii[1], rel=0.02)  # the larger one lies below
    assert "a <net>" in "".join(picture.itertext())
