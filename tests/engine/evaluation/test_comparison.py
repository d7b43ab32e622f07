"""Two evaluations compared, and the figures of them."""

from __future__ import annotations

import csv
import io
import json

import matplotlib.image
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import BLUISH_GREEN, REGION_COLOURS, VERMILLION
from brainseg_engine.evaluation import COMPARED, Evaluation, compare
from brainseg_engine.evaluation.plots import plot_comparison, plot_scores
from brainseg_engine.scores.scorer import METRICS, RegionScore, mean_score

unit = st.none() | st.floats(0, 1)
mm = st.none() | st.floats(0, 374)
scores = st.builds(RegionScore, unit, mm, unit, mm)
cases = st.dictionaries(
    st.sampled_from("ABCDEFGHIJ"), st.fixed_dictionaries(dict.fromkeys(Region, scores)), max_size=10
)


def evaluation(cases):
    return Evaluation(cases, mean_score(cases.values()))


def of(dice, hd95=3.0):
    """A case with those Dice values in all regions."""
    return {r: RegionScore(dice, hd95, dice, hd95) for r in Region}


@settings(max_examples=10)
@given(cases, cases)
def test_the_other_way_round_the_signs_turn(first, second):
    there, back = compare(evaluation(first), evaluation(second)), compare(evaluation(second), evaluation(first))
    assert set(there.cases) == set(back.cases) == set(first) & set(second)
    for region in Region:
        for metric in COMPARED:
            a, b = there.regions[region][metric], back.regions[region][metric]
            assert (a.n, a.better, a.worse, a.equal) == (b.n, b.worse, b.better, b.equal)
            assert a.better + a.worse + a.equal == a.n
            if a.difference is None:
                assert (a.n, b.difference) == (0, None)
                continue
            assert a.difference == pytest.approx(-b.difference, abs=1e-6)
            assert a.difference == pytest.approx(a.first - a.second, abs=1e-6)
            assert (a.p is None) == (b.p is None)
            assert a.p is None or (a.p, a.p_holm) == pytest.approx((b.p, b.p_holm))
            assert (a.low is None) == (a.n < 3)


@settings(max_examples=10)
@given(cases)
def test_equal_sets_differ_by_nothing(found):
    result = compare(evaluation(found), evaluation(found))
    for of_region in result.regions.values():
        for paired in of_region.values():
            assert (paired.better, paired.worse, paired.p) == (0, 0, None)
            assert paired.note
            assert paired.difference in (0.0, None)
            assert paired.low is None or paired.low <= 0.0 <= paired.high
    assert result.tests == 0


@settings(max_examples=10)
@given(cases, cases)
def test_json_and_csv_hold_all_and_no_nan(first, second):
    result = compare(evaluation(first), evaluation(second))
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert set(content["regions"]) == set(Region)
    assert all(set(of_region) == set(COMPARED) for of_region in content["regions"].values())
    rows = list(csv.DictReader(io.StringIO(result.to_csv())))
    assert sum(row["case"] == "mean" for row in rows) == len(Region) * len(COMPARED)
    assert not any("nan" in cell.lower() for row in rows for cell in row.values())
    for row in rows:
        if row["case"] != "mean":
            values = [getattr(f[row["case"]][Region(row["region"])], row["metric"]) for f in (first, second)]
            assert [float(row["first"]), float(row["second"])] == pytest.approx(values, abs=1e-5)
            assert float(row["difference"]) == pytest.approx(values[0] - values[1], abs=1e-5)


def test_lower_distances_and_higher_overlaps_are_better():
    result = compare(evaluation({"A": of(0.9, 2.0)}), evaluation({"A": of(0.8, 5.0)}))
    for metric in COMPARED:
        paired = result.regions[Region.TC][metric]
        assert (paired.n, paired.better, paired.worse) == (1, 1, 0)
    assert result.regions[Region.TC]["hd95_mm"].difference == -3.0
    assert (result.regions[Region.TC]["dice"].low, result.regions[Region.TC]["dice"].p) == (None, None)


def test_only_cases_and_regions_that_both_measured_are_compared():
    half = {**of(0.5), Region.ET: RegionScore()}
    first = evaluation({"A": of(0.9), "B": half, "C": of(0.1)})
    second = evaluation({"A": of(0.8), "B": of(0.4), "D": of(0.2)})
    result = compare(first, second)
    assert result.cases == ("A", "B")
    assert result.regions[Region.WT]["dice"].n == 2
    assert (result.regions[Region.ET]["dice"].n, result.regions[Region.ET]["dice"].first) == (1, 0.9)
    none = compare(evaluation({"B": half}), second).regions[Region.ET]["dice"]
    assert (none.n, none.first, none.difference, none.p) == (0, None, None, None)
    assert none.note


def test_a_clear_difference_is_reported_with_its_p_and_for_how_many_tests():
    rng = np.random.default_rng(0)
    old = {f"{i:02}": of(d) for i, d in enumerate(rng.uniform(0.5, 0.8, 12))}
    new = {case: of(score[Region.WT].dice + 0.05 + rng.uniform(0, 0.02)) for case, score in old.items()}
    result = compare(evaluation(new), evaluation(old))
    paired = result.regions[Region.WT]["dice"]
    assert (paired.better, paired.worse) == (12, 0)
    assert 0.05 < paired.low <= paired.difference <= paired.high < 0.07
    assert paired.p == pytest.approx(2 / 2**12)
    assert result.tests == 6  # Dice and lesion-wise Dice of three regions; no distance differs
    assert paired.p_holm == pytest.approx(6 * paired.p)
    assert result.regions[Region.WT]["hd95_mm"].p is None


@settings(max_examples=10)
@given(cases)
def test_the_summary_is_of_the_cases_and_the_json_has_no_nan(found):
    result = evaluation(found)
    content = json.loads(result.to_json())
    for region in Region:
        for key in METRICS:
            e = result.summary[region][key]
            assert e.n == content["n"][region][key] == sum(getattr(s[region], key) is not None for s in found.values())
            assert e.mean == pytest.approx(getattr(result.mean[region], key))
            assert content["interval"][region][key] == (None if e.n < 3 else list(e.interval))


def near(png, colour):
    pixels = matplotlib.image.imread(png)[..., :3]
    return int((np.abs(pixels - np.array(colour)).max(axis=2) < 0.18).sum())


def test_a_figure_of_one_set_shows_the_regions_that_were_measured(tmp_path):
    found = {f"{i}": {**of(0.1 * i, 10.0 * i), Region.TC: RegionScore()} for i in range(9)}
    plot_scores(evaluation(found), tmp_path / "one.png", "masks")
    assert near(tmp_path / "one.png", REGION_COLOURS[Region.WT]) > 50
    assert near(tmp_path / "one.png", REGION_COLOURS[Region.TC]) == 0


def test_a_figure_of_two_sets_shows_what_became_better_and_worse(tmp_path):
    old = evaluation({f"{i}": of(0.1 * i, 10.0 * i) for i in range(5)})
    new = evaluation({f"{i}": of(0.1 * i + 0.3, 5.0 * i) for i in range(5)})
    plot_comparison(compare(new, old), ("new", "old"), tmp_path / "up.png")
    plot_comparison(compare(old, new), ("old", "new"), tmp_path / "down.png")
    up, down = ((near(tmp_path / n, BLUISH_GREEN), near(tmp_path / n, VERMILLION)) for n in ("up.png", "down.png"))
    assert up[0] > 10 * up[1]
    assert down[1] > 10 * down[0]


def test_figures_of_nothing_can_be_drawn(tmp_path):
    nothing = evaluation({})
    plot_scores(nothing, tmp_path / "a.png")
    plot_comparison(compare(nothing, nothing), ("one", "two"), tmp_path / "b.png")
    assert (tmp_path / "a.png").exists()
    assert (tmp_path / "b.png").exists()
    with pytest.raises(OutputError):
        plot_scores(nothing, tmp_path / "no" / "a.png")
