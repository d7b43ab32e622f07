"""Scores per region, and their means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainseg_engine.geometry import Grid
from brainseg_engine.labels import Label, Region, region_mask
from brainseg_engine.metrics import dice, hd95
from brainseg_engine.score import RegionScore, mean_score, score_case

GRID = Grid((4, 5, 3), np.diag([0.5, 2.0, 3.0, 1.0]))
labels_arrays = arrays(np.uint8, GRID.shape, elements=st.integers(0, 5))


@given(labels_arrays, labels_arrays)
def test_each_region_is_scored_by_its_mask(prediction, truth):
    scores = score_case(prediction, truth, GRID)
    assert tuple(scores) == tuple(Region)
    for region, score in scores.items():
        a, b = region_mask(prediction, region), region_mask(truth, region)
        assert score == RegionScore(dice(a, b), hd95(a, b, GRID.spacing))


def test_only_the_regions_and_metrics_asked_for():
    labels = np.full(GRID.shape, Label.ED, np.uint8)
    assert score_case(labels, labels, GRID, (Region.WT,), hd95=False) == {Region.WT: RegionScore(1.0, None)}


def test_classes_do_not_matter_inside_a_region():
    oedema, core = np.full(GRID.shape, Label.ED, np.uint8), np.full(GRID.shape, Label.NCR, np.uint8)
    scores = score_case(oedema, core, GRID)
    assert scores[Region.WT].dice == 1.0
    assert scores[Region.TC] == RegionScore(0.0, pytest.approx(GRID.diagonal_mm))
    assert scores[Region.ET] == RegionScore(1.0, 0.0)


def test_arrays_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="truth"):
        score_case(np.zeros(GRID.shape, np.uint8), np.zeros((2, 2, 2), np.uint8), GRID)


def test_the_mean_leaves_out_what_was_not_measured():
    cases = [
        {Region.WT: RegionScore(0.5, 2.0), Region.TC: RegionScore(0.2, None)},
        {Region.WT: RegionScore(1.0, 4.0), Region.TC: RegionScore(None, None)},
    ]
    assert mean_score(cases) == {
        Region.WT: RegionScore(0.75, 3.0),
        Region.TC: RegionScore(0.2, None),
        Region.ET: RegionScore(None, None),
    }


def test_the_mean_of_nothing_is_not_measured():
    assert set(mean_score([]).values()) == {RegionScore()}
