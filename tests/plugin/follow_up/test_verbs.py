"""What the follow-up tells of two examinations."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.cases import write
from helpers.small_study import make_study

from brainseg_engine.report.record import build
from brainseg_engine.report.sources import study_with_mask
from napari_brainseg.features.follow_up.verbs import compared, days_of


@pytest.mark.parametrize(
    ("before", "now", "words"),
    [("2025-01-10", "2025-03-10", ("2025-01-10 → 2025-03-10 (59 days)",)),
     ("2025-03-10", "2025-01-10", ("2025-03-10 → 2025-01-10 (59 days: the earlier study is the later one)",)),
     (None, "2025-01-10", ()), ("2025-01-10", None, ())],
)  # fmt: skip
def test_the_days_of_both_are_told_where_they_are_known(before, now, words):
    assert days_of(before, now) == words


def test_the_curve_goes_over_all_days_that_are_known(tmp_path):
    """Those before the earlier study are told by the report that lies beside it."""
    before, now = (study_with_mask(write(make_study(id=i), tmp_path)) for i in ("before", "now"))
    told = build(before.segmentation, before, examined="2025-01-10")
    first = {"date": "2024-10-01", "id": "first", "model": "", "volume_ml": {"WT": 1.0, "TC": 0.5, "ET": None},
             "sum_of_products_rano_mm2": None}  # fmt: skip
    beside = before.segmentation.path.parent / "before_report.json"
    beside.write_text(json.dumps(told | {"history": [first]}))
    found = compared(before, now, now.segmentation, "2025-03-10")
    volumes = found.charts[0]
    assert [day for _, day in volumes.days] == ["2024-10-01", "2025-01-10", "2025-03-10"]
    assert {line.name: len(line.points) for line in volumes.lines} == {"WT": 3, "TC": 3, "ET": 2}
    assert any(line.startswith("WT") and "+0 %" in line for line in found.lines)
    assert compared(before, now, now.segmentation, None).charts == ()  # when this was is not known
    nothing = compared(before, now, None, "2025-03-10")
    assert nothing.charts == () and "no mask" in nothing.lines[-1]


def test_the_largest_lesion_is_told_with_its_diameters(tmp_path):
    study = study_with_mask(write(make_study(id="A", affine=np.diag([-2.0, -2.0, 2.0, 1.0])), tmp_path))
    lines = compared(study, study, study.segmentation, None).lines
    (largest,) = [line for line in lines if line.startswith("Largest ET lesion")]
    before, after = largest.removeprefix("Largest ET lesion  ").removesuffix(" mm").split(" → ")
    assert before == after and float(before.split(" × ")[0]) >= float(before.split(" × ")[1]) > 0
