"""Scores per region, and their means."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region, region_mask
from brainseg_engine.scores.lesions import lesion_wise
from brainseg_engine.scores.overlap import dice, hd95
from brainseg_engine.scores.scorer import METRICS, RegionScore, mean_score, score_case

GRID = Grid((4, 5, 3), np.diag([0.5, 2.0, 3.0, 1.0]))
labels_arrays = arrays(np.uint8, GRID.shape, elements=st.integers(0, 5))


@given(labels_arrays, labels_arrays)
def test_each_region_is_scored_by_its_mask(prediction, truth):
    scores = score_case(prediction, truth, GRID)
    assert tuple(scores) == tuple(Region)
    for region, score in scores.items():
        a, b = region_mask(prediction, region), region_mask(truth, region)
        assert (score.dice, score.hd95_mm) == (dice(a, b), hd95(a, b, GRID.spacing))
        lesions = lesion_wise(a, b, GRID.spacing)
        assert (score.lesion_dice, score.lesion_hd95_mm) == (lesions.dice, lesions.hd95_mm)
        assert (score.lesions_found, score.lesions_missed, score.lesions_extra) == (
            lesions.found,
            lesions.missed,
            lesions.extra,
        )


def test_only_the_regions_and_metrics_asked_for():
    labels = np.full(GRID.shape, Label.ED, np.uint8)
    scores = score_case(labels, labels, GRID, (Region.WT,), hd95=False)
    assert set(scores) == {Region.WT}
    assert scores[Region.WT] == RegionScore(
        dice=1.0, sensitivity=1.0, volume_difference_ml=0.0, volume_difference_relative=0.0
    )  # nothing lies outside of the truth, so that there is no specificity


def test_classes_do_not_matter_inside_a_region():
    oedema, core = np.full(GRID.shape, Label.ED, np.uint8), np.full(GRID.shape, Label.NCR, np.uint8)
    scores = score_case(oedema, core, GRID)
    assert scores[Region.WT].dice == 1.0
    assert (scores[Region.TC].dice, scores[Region.TC].hd95_mm) == (0.0, pytest.approx(GRID.diagonal_mm))
    assert (scores[Region.ET].dice, scores[Region.ET].hd95_mm) == (1.0, 0.0)


@given(labels_arrays, labels_arrays)
def test_counts_of_voxels_are_what_their_definitions_say(prediction, truth):
    for region, score in score_case(prediction, truth, GRID, hd95=False).items():
        a, b = region_mask(prediction, region), region_mask(truth, region)
        tp, fp, fn, tn = (a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()
        assert score.sensitivity == (pytest.approx(tp / (tp + fn)) if tp + fn else None)
        assert score.specificity == (pytest.approx(tn / (tn + fp)) if tn + fp else None)
        assert score.volume_difference_ml == pytest.approx((int(fp) - int(fn)) * 3e-3)  # voxels of 3 mm³
        relative = (int(fp) - int(fn)) / (tp + fn) if tp + fn else None
        assert score.volume_difference_relative == (None if relative is None else pytest.approx(relative))


@given(labels_arrays, labels_arrays)
def test_what_was_too_much_one_way_is_too_little_the_other(prediction, truth):
    there, back = score_case(prediction, truth, GRID, hd95=False), score_case(truth, prediction, GRID, hd95=False)
    for region in Region:
        assert there[region].volume_difference_ml == pytest.approx(-back[region].volume_difference_ml)


@given(labels_arrays, labels_arrays)
def test_nothing_in_mm_is_reported_of_a_grid_without_a_size(prediction, truth):
    grid = Grid(GRID.shape, np.eye(4), calibrated=False)
    for region, score in score_case(prediction, truth, grid).items():
        content = {key for key, value in score.to_dict().items() if value is not None}
        assert content <= {"dice", "sensitivity", "specificity", "volume_difference_relative"}
        assert score.dice == score_case(prediction, truth, GRID)[region].dice


def test_every_value_has_its_title():
    assert list(METRICS) == [f.name for f in fields(RegionScore)]
    assert [metric.key for metric in METRICS.values()] == list(METRICS)


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
