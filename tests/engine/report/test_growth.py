"""The curve over all known dates: what each report carries on, and what is drawn of it."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import date
from itertools import combinations, pairwise

import numpy as np
import pytest
from helpers.small_study import make_study
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.records import write_json
from brainseg_engine.io.derived import pseudonyms
from brainseg_engine.report import growth
from brainseg_engine.report import record as records
from brainseg_engine.report.hidden import Deidentify, hide_prior, moved_day
from brainseg_engine.report.html import report_page
from brainseg_engine.report.writing import earlier_record


@pytest.fixture(scope="module")
def small():
    return make_study(shape=(40, 44, 36), affine=np.diag([-2.0, -2.0, 2.5, 1.0]))


def point(day: str, ml: float | None = 1.0, product: float | None = 100.0) -> growth.TimePoint:
    return {"date": day, "id": "a", "model": "m 1", "volume_ml": {r.value: ml for r in Region},
            "sum_of_products_rano_mm2": product}  # fmt: skip


def test_each_report_carries_on_what_the_earlier_ones_told(small):
    first = records.build(small.segmentation, small, examined="2025-01-10")
    again = records.build(small.segmentation, small, examined="2025-03-10", prior=first)
    undated = records.build(small.segmentation, small, prior=again)
    third = records.build(small.segmentation, small, examined="2025-06-10", prior=again)
    assert [p["date"] for p in third["history"]] == ["2025-01-10", "2025-03-10"]
    assert third["history"][0] == growth.time_point(first)
    assert third["history"][0]["volume_ml"]["WT"] == first["regions"]["WT"]["volume_ml"]
    assert undated["examined"] is None and len(undated["history"]) == 2
    page = report_page(third, [])
    assert page.count("<svg") == (
        2 if third["regions"]["ET"]["diameters"]["sum_of_products_rano_mm2"] is not None else 1
    )
    assert all(day in page for day in ("2025-01-10", "2025-03-10", "2025-06-10 (this one)"))
    assert "<svg" not in report_page(undated, []) and "<svg" not in report_page(first, [])


def test_the_range_of_rano_is_told_of_all_known_dates(small):
    """Progression counts from the least sum, response from the first one."""
    now = records.build(small.segmentation, small, examined="2025-06-10")
    product = now["regions"]["ET"]["diameters"]["sum_of_products_rano_mm2"]
    assert product > 0
    prior = copy.deepcopy(now) | {"examined": "2025-05-10", "history": [point("2025-04-10", product=product / 2)]}
    made = records.build(small.segmentation, small, examined="2025-06-10", prior=prior)
    assert "range of progression" in made["rano_range"]  # though it is what it was before
    assert "stable" in records.build(small.segmentation, small, prior=prior)["rano_range"]  # no date: the prior alone


def test_a_study_beside_whose_mask_a_report_lies_is_known_with_all_before_it(small, tmp_path):
    path = tmp_path / "Case_1_seg.nii.gz"
    assert earlier_record(replace(small, segmentation=None)) is None
    study = replace(small, segmentation=replace(small.segmentation, path=path))
    assert earlier_record(study)["examined"] is None
    first = records.build(small.segmentation, small, examined="2025-01-10")
    write_json(
        tmp_path / f"{small.id}_report.json",
        records.build(small.segmentation, small, examined="2025-03-10", prior=first),
    )
    made = earlier_record(study)
    assert made["examined"] == "2025-03-10" and [p["date"] for p in made["history"]] == ["2025-01-10"]
    now = records.build(small.segmentation, small, examined="2025-05-10", prior=made)
    assert [p["date"] for p in now["history"]] == ["2025-01-10", "2025-03-10"]
    (tmp_path / f"{small.id}_report.json").write_text("{}")
    assert earlier_record(study)["history"] == []


def test_de_identified_all_dates_are_moved_together_and_no_id_stays(small, own_home):
    first = records.build(small.segmentation, small, id="Lindqvist-1", examined="2025-01-10")
    prior = records.build(small.segmentation, small, id="Lindqvist-2", examined="2025-03-10", prior=first)
    how = Deidentify(pseudonyms.load())
    shift = how.of_id("Lindqvist-3")[0].shift
    hidden = hide_prior(prior, how, shift)
    now = records.build(small.segmentation, small, examined=moved_day("2025-05-10", shift), prior=hidden)
    days = [date.fromisoformat(p["date"]) for p in [*now["history"], growth.time_point(now)]]
    assert [(b - a).days for a, b in pairwise(days)] == [59, 61]
    assert days[0].year < 2025 and "Lindqvist" not in report_page(now, []) + str(now["history"])


def test_a_report_of_the_same_day_takes_the_place_of_the_other(small):
    first = records.build(small.segmentation, small, examined="2025-01-10")
    other_model = records.build(small.segmentation, small, examined="2025-01-10", prior=first)
    assert [p["date"] for p in growth.history(other_model)] == ["2025-01-10"]
    assert "<svg" not in report_page(other_model, [])


def test_a_later_examination_is_no_prior(small):
    later = records.build(small.segmentation, small, examined="2025-03-10")
    with pytest.raises(InputError, match="after this one on 2025-01-10"):
        records.build(small.segmentation, small, examined="2025-01-10", prior=later)


@given(
    st.dictionaries(st.dates(), st.tuples(st.none() | st.floats(0, 9e8), st.none() | st.floats(0, 9e8)), max_size=12)
)
def test_all_that_is_drawn_lies_within_the_chart(amounts):
    points = [point(day.isoformat(), *both) for day, both in sorted(amounts.items())]
    for chart in growth.charts(points):
        assert len({x for x, _ in chart.days}) == len(chart.days) > 1
        assert chart.days[0][1] and chart.days[-1][1] and 2 <= len(chart.levels) <= 7
        shown = [x for x, words in chart.days if words]
        assert all(b - a >= 16 for a, b in pairwise(shown))
        assert all(a.label_y - b.label_y < -2 or a.label_y - b.label_y > 2 for a, b in combinations(chart.lines, 2))
        for line in chart.lines:
            assert len(line.points) > 1
            assert all(
                chart.left - 0.01 <= x <= chart.right + 0.01 and 0 <= y <= chart.base + 0.01 for x, y in line.points
            )
    measured = [sum(both[i] is not None for both in amounts.values()) for i in (0, 1)]
    assert len(growth.charts(points)) == sum(n > 1 for n in measured)


@pytest.mark.parametrize(
    "spoilt",
    [{"date": "yesterday"}, {"date": 5}, {"volume_ml": None}, {"volume_ml": {"WT": "x"}}, {"volume_ml": {"WT": -1}},
     {"sum_of_products_rano_mm2": float("inf")}, {"id": None, "date": None}],
    ids=str,
)  # fmt: skip
def test_a_damaged_history_is_refused(small, spoilt, tmp_path):
    made = records.build(small.segmentation, small, examined="2025-06-10")
    write_json(tmp_path / "r.json", made | {"history": [point("2025-01-01") | spoilt]})
    with pytest.raises(InputError):
        records.read(tmp_path / "r.json")
