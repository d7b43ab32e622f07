"""Painting on a series as it was acquired: it counts, it can be undone, and nothing of it is lost. Without a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.rig import Later, prediction, segment, shown

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes
from napari_brainseg.display.axes import to_file
from napari_brainseg.display.history import history_of
from napari_brainseg.display.region_layer import region_view
from napari_brainseg.display.tools import Tool
from napari_brainseg.session import OpenStudy


@pytest.fixture(autouse=True)
def _segmented(house):
    segment(house)


def over(house, series):
    """The labels layer over that series."""
    return next(x for x in house.viewer.layers if x.name == f"Segmentation on {series.title} as acquired")


def dab(house, series, at=None, value=3, size=9):
    """A dab of the brush in the middle of the series; the labels over it afterwards."""
    house.features.alignment.show(series)
    house.paint.choose_tool(Tool.BRUSH)
    house.paint.change_brush(inside=False, target=Region.ET)
    layer = over(house, series)
    layer.brush_size = size
    with layer.block_history():
        layer.paint(tuple(n // 2 for n in layer.data.shape) if at is None else at, value)
    return np.array(layer.data)


@pytest.mark.parametrize("series", [Modality.T1CE, Modality.FLAIR])
def test_what_is_painted_on_a_series_counts_and_is_there_when_one_comes_back(house, made, series):
    raw, prepared = made
    before = shown(house)
    painted = dab(house, series)
    assert house.context.labels.visible is False and over(house, series).editable
    told = shown(house)
    new = (told == 3) & (before != 3)
    voxel = np.prod(raw.study.volumes[series].grid.spacing)
    assert new.sum() == pytest.approx(61 * voxel, rel=0.25)  # a disc of 9 pixels across, one slice thick
    assert not ((told != before) & ~new).any()
    house.timers.pass_time()
    np.testing.assert_array_equal(over(house, series).data, painted)
    alignment = house.features.alignment
    for elsewhere in (None, Modality.T2):
        alignment.show(elsewhere)
        house.timers.pass_time()
        alignment.show(series)
        house.timers.pass_time()
        np.testing.assert_array_equal(over(house, series).data, painted)
    np.testing.assert_array_equal(shown(house), told)
    back = prepared.back(layers.segmentation_of(house.labels), series).labels == 3
    seen = to_file(painted, raw.study.volumes[series].grid.affine) == 3
    assert 2 * (back & seen).sum() >= 0.9 * (back.sum() + seen.sum())


def test_undo_and_redo_hold_for_both_and_reach_back_before_the_series_was_shown(house):
    from helpers.rig import paint

    empty = shown(house)
    first = paint(house, at=(30, 30, 30))
    house.features.alignment.show(Modality.T1CE)
    clean = np.array(over(house, Modality.T1CE).data)
    painted = dab(house, Modality.T1CE)
    second = shown(house)
    house.paint.undo()
    np.testing.assert_array_equal(shown(house), first)
    np.testing.assert_array_equal(over(house, Modality.T1CE).data, clean)
    house.paint.redo()
    np.testing.assert_array_equal(shown(house), second)
    np.testing.assert_array_equal(over(house, Modality.T1CE).data, painted)
    house.paint.undo()
    assert house.paint.steps("undo")
    house.paint.undo()  # the stroke on the grid of 1 mm
    np.testing.assert_array_equal(shown(house), empty)
    house.timers.pass_time()
    assert (over(house, Modality.T1CE).data == 3).sum() <= (clean == 3).sum()
    house.paint.redo()
    np.testing.assert_array_equal(shown(house), first)


def test_a_tool_in_hand_stays_in_hand_and_every_tool_works_on_the_series(house):
    house.paint.choose_tool(Tool.BRUSH)
    house.labels.brush_size = 8
    alignment = house.features.alignment
    alignment.show(Modality.FLAIR)
    layer = over(house, Modality.FLAIR)
    assert house.paint.brush.layer is layer and house.viewer.layers.selection.active is layer
    assert house.paint.brush.tool is Tool.BRUSH and layer.brush_size == 8
    assert set(house.paint.brush.images) == {Modality.FLAIR}
    dab(house, Modality.FLAIR)
    before = shown(house)
    for work in ("smooth", "holes", "islands"):
        house.paint.works[work](None)
    house.paint.grow(5.0)
    assert "series is shown" not in house.session.message.text
    house.paint.pointer.drop()
    assert history_of(layer).done
    while len(history_of(layer).done) > 1:
        house.paint.undo()
    np.testing.assert_array_equal(shown(house), before)
    layer.brush_size = 12
    alignment.show(None)
    assert house.paint.brush.layer is house.labels and house.paint.brush.tool is Tool.BRUSH
    assert house.labels.brush_size == 12


def test_where_the_grid_of_1_mm_does_not_reach_nothing_can_be_painted(house):
    alignment = house.features.alignment
    alignment.show(Modality.T1CE)
    layer, easel = over(house, Modality.T1CE), house.context.easel
    reach = easel.reach.copy()
    reach[:, :, layer.data.shape[2] // 2 :] = False
    house.context.easel = replace(easel, reach=reach)
    before = np.array(layer.data)
    changed = dab(house, Modality.T1CE) != before
    assert changed.any() and not changed[~reach].any()


def test_an_edit_of_the_study_s_labels_while_they_are_carried_over_is_carried_too(house):
    painted = dab(house, Modality.T1CE)
    alignment = house.features.alignment
    alignment.show(None)
    house.labels.undo()
    house.background = Later()
    alignment.show(Modality.T1CE)
    assert house.background.waiting
    house.labels.redo()
    while house.background.waiting:
        house.background.run()
        house.timers.pass_time()
    assert (over(house, Modality.T1CE).data == 3).sum() > 0.8 * (painted == 3).sum()


def test_hidden_regions_stay_hidden_over_the_series_and_the_study_s_own_stay_below(house):
    alignment = house.features.alignment
    alignment.show(Modality.T2)
    house.features.regions.toggle_visible()
    assert not over(house, Modality.T2).visible and not house.labels.visible
    alignment.show(None)
    alignment.show(Modality.T2)
    assert not over(house, Modality.T2).visible and not house.labels.visible
    house.features.regions.toggle_visible()
    assert over(house, Modality.T2).visible and not house.labels.visible
    house.features.regions.toggle_visible()
    alignment.show(None)
    assert not house.labels.visible
    house.features.regions.toggle_visible()
    assert house.labels.visible


def test_what_was_painted_on_a_series_is_accepted_on_the_grid_that_the_model_learns_from(house, made):
    _, prepared = made
    dab(house, Modality.FLAIR)
    told = shown(house)
    house.corrections.accept()
    [correction] = house.session.store.latest().values()
    kept = house.session.store.read(correction)
    assert kept.grid.same_as(prepared.grid) and Region.ET in correction.edited
    np.testing.assert_array_equal(kept.labels, told)


def test_in_3d_the_study_s_own_labels_are_the_ones_again(house):
    alignment = house.features.alignment
    dab(house, Modality.T2)
    planes.set_3d(house.viewer, True)
    assert alignment.reading.shown is None and house.paint.brush.layer is house.labels
    assert region_view(house.labels).visible and not any("acquired" in x.name for x in house.viewer.layers if x.visible)
    planes.set_3d(house.viewer, False)
    assert house.labels.visible


def test_another_study_takes_the_layers_over_the_series_with_it(house, study):
    dab(house, Modality.T2)
    house.session.open(OpenStudy(replace(study, id="other")), None)
    assert house.context.easel is None and house.paint.brush.layer is house.labels
    assert not any("acquired" in x.name for x in house.viewer.layers)


def test_another_answer_while_a_series_is_read_takes_the_place_of_what_was_shown(house):
    alignment = house.features.alignment
    dab(house, Modality.FLAIR)
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    given = prediction(request)
    other = np.zeros_like(given.segmentation.labels)
    other[20:40, 20:40, 20:40] = 2
    listener.finished(replace(given, segmentation=replace(given.segmentation, labels=other)))
    house.timers.pass_time()
    layer = over(house, Modality.FLAIR)
    assert alignment.reading.shown is Modality.FLAIR and house.paint.brush.layer is layer and not house.labels.visible
    assert set(np.unique(layer.data)) == {0, 2} and (shown(house) == 2).sum() == 8000
    again = dab(house, Modality.FLAIR)
    assert (again == 3).any() and (shown(house) == 3).any()
    house.paint.undo()
    assert not (shown(house) == 3).any() and not (layer.data == 3).any()


def test_from_lesion_to_lesion_on_the_series_and_to_a_measured_slice_on_the_grid_of_1_mm(house):
    alignment = house.features.alignment
    dab(house, Modality.FLAIR)
    layer = over(house, Modality.FLAIR)
    house.features.regions.step_lesion()
    assert alignment.reading.shown is Modality.FLAIR
    k = round(float(layer.world_to_data(house.viewer.dims.point)[0]))
    assert k == layer.data.shape[0] // 2
    house.context.show_aligned()
    assert alignment.reading.shown is None
