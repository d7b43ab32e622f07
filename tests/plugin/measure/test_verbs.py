"""Measuring below the window: the lines lie where the lesions are, an end that is moved counts, and is kept."""

from __future__ import annotations

import json

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import House, paint
from helpers.small_study import make_study

from brainseg_engine.core.labels import Region
from brainseg_engine.report import record as records
from brainseg_engine.scores.diameters import diameters
from napari_brainseg.display import diameter_lines
from napari_brainseg.features.measure.section import state_of

OTHER_AXES = np.array([[0, 0, 1.5, -7], [-2.0, 0, 0, 3], [0, 2.0, 0, 5], [0, 0, 0, 1]])
TURNED = np.array([[1.9, 0.6, 0, -7], [-0.6, 1.9, 0, 3], [0, 0, 2.5, 5], [0, 0, 0, 1]])


@pytest.fixture(params=[None, OTHER_AXES, TURNED], ids=["LPS", "other axes", "oblique"])
def house(request, viewer, tmp_path):
    made = House(viewer)
    affine = np.diag([-2.0, -2.0, 2.0, 1.0]) if request.param is None else request.param
    made.study.open(write(make_study(id="A", shape=(30, 32, 34), affine=affine), tmp_path))
    made.timers.pass_time()
    assert made.labels is not None
    yield made
    made.close()


def lines_of(house):
    return next(layer for layer in house.viewer.layers if layer.name == diameter_lines.NAME)


def test_the_numbers_are_those_of_the_engine_and_the_lines_lie_there(house):
    measure, active = house.features.measure, house.viewer.layers.selection.active
    measure.measure()
    seg = house.session.segmentation
    expected = diameters(seg.labels, seg.grid)
    assert measure.measured[Region.ET].lesions == expected[Region.ET].lesions
    layer = lines_of(house)
    lesion = expected[Region.ET].lesions[0]
    ends = diameter_lines.ends_of(layer, seg.grid)
    assert len(ends) == 4  # two diameters each of an ET lesion and of a WT lesion
    assert np.allclose(ends[0], [lesion.longest.start, lesion.longest.end])
    labels = house.labels
    for line in layer.data:  # in one slice of the canvas, and over the tumour
        assert np.ptp(line, axis=0).min() < 1e-6
        middle = np.rint(line.mean(axis=0)).astype(int)
        assert np.allclose(layer.data_to_world(line[0]), labels.data_to_world(line[0]))
        assert labels.data[tuple(middle)] > 0
    assert house.viewer.layers.selection.active is active
    assert state_of(measure, possible=True).lesions[0].longest == pytest.approx(lesion.longest.mm)


def test_an_end_that_is_moved_counts_says_so_and_is_kept(house, tmp_path):
    measure = house.features.measure
    measure.measure()
    layer, grid = lines_of(house), house.session.segmentation.grid
    before = measure.measured[Region.ET].lesions[0]
    measure.edit(True)
    assert layer.mode == "direct"
    assert house.viewer.layers.selection.active is layer
    data = [line.copy() for line in layer.data]
    data[0][1] = data[0][0] + (data[0][1] - data[0][0]) * 0.5
    layer.data = data
    after = measure.measured[Region.ET].lesions[0]
    assert after.longest.mm == pytest.approx(before.longest.mm / 2)
    assert after.edited
    assert not measure.measured[Region.WT].lesions[0].edited
    assert "set by hand" in state_of(measure, possible=True).lesions[0].note
    measure.edit(False)
    assert house.viewer.layers.selection.active is house.labels
    house.save.save(tmp_path / "A_seg.nii.gz")
    content = json.loads((tmp_path / "A_seg.json").read_text())["diameters"]
    assert list(content) == ["ET"]
    assert content["ET"]["lesions"][0]["edited"]
    assert content["ET"]["lesions"][0]["longest"]["mm"] == pytest.approx(after.longest.mm, abs=0.01)
    assert grid is not None


def test_what_was_kept_is_shown_again(house):
    measure, folder = house.features.measure, house.session.study.study.folder
    measure.measure()
    data = [line.copy() for line in lines_of(house).data]
    data[0][1] = data[0][0] + (data[0][1] - data[0][0]) * 0.5
    lines_of(house).data = data
    set_by_hand = measure.measured[Region.ET].lesions[0]
    house.save.save(folder / "A_seg.nii.gz", "brats2021")
    house.study.open(folder)
    house.timers.pass_time()
    assert not measure.measured
    measure.measure()
    again = measure.measured[Region.ET].lesions[0]
    assert again.edited
    assert again.longest.mm == pytest.approx(set_by_hand.longest.mm, abs=0.01)


def test_edits_of_the_mask_make_it_stale_and_nothing_of_it_is_kept(house):
    measure = house.features.measure
    measure.measure()
    layer = lines_of(house)
    data = [line.copy() for line in layer.data]
    data[0][1] = data[0][0]
    layer.data = data
    assert measure.beside()
    paint(house)
    assert measure.stale
    assert measure.beside() == {}
    assert "measure again" in state_of(measure, possible=True).words
    measure.measure()
    assert not measure.stale


def test_hiding_removing_and_another_study_take_it_away(house, tmp_path):
    measure = house.features.measure
    for away in (measure.drop, lambda: house.viewer.layers.remove(lines_of(house)),
                 lambda: house.study.open(write(make_study(1, id="B"), tmp_path))):  # fmt: skip
        measure.measure()
        assert measure.measured
        away()
        assert not measure.measured
        assert all(layer.name != diameter_lines.NAME for layer in house.viewer.layers)
    house.viewer.layers.clear()


def test_the_report_of_what_is_open(house, tmp_path):
    measure, pages = house.features.measure, []
    measure.reported.connect(pages.append)
    measure.measure()
    measure.report(tmp_path / "out", house.save.known())
    assert pages == [tmp_path / "out" / "A_report.html"]
    record = records.read(tmp_path / "out" / "A_report.json")
    seg = house.session.segmentation
    assert record["regions"]["ET"]["volume_ml"] == pytest.approx((seg.labels == 3).sum() * seg.grid.voxel_ml, abs=1e-3)
    assert record["series"] and record["prior"] is None
    measure.earlier = lambda: make_study(id="B")  # as a study that is shown beside
    measure.report(tmp_path / "out", house.save.known())
    assert records.read(tmp_path / "out" / "A_report.json")["prior"]["id"] == "B"
    measure.report(tmp_path / "out" / "A_report.html", house.save.known())  # a file: no folder to write into
    assert "it is a file" in house.session.message.text


def test_a_lesion_is_gone_to(house):
    measure = house.features.measure
    measure.measure()
    measure.go_to(Region.ET, 0)
    line = lines_of(house).data[0]
    world = np.asarray(lines_of(house).data_to_world(line.mean(axis=0)))
    across = int(house.viewer.dims.order[0])
    assert abs(house.viewer.dims.point[across] - world[across]) < 1e-6 + max(house.labels.scale)


def test_without_labels_nothing_is_measured(viewer, tmp_path):
    made = House(viewer)
    made.study.open(write(make_study(id="A"), tmp_path, mask=False))
    made.features.measure.measure()
    assert "nothing to measure" in made.session.message.text
    assert not state_of(made.features.measure, possible=made.labels is not None).possible
    made.close()
