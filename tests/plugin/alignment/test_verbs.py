"""Checking an alignment, putting it right, and reading on the series as acquired: without a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.rig import House, segment, shown

from brainseg_engine.core.study import Modality
from brainseg_engine.prepare import PrepareOptions, files, prepare
from brainseg_engine.prepare.nudge import Nudge
from napari_brainseg.display.compare import Mix
from napari_brainseg.display.planes import Plane, plane_of
from napari_brainseg.features.alignment.section import state_of
from napari_brainseg.jobs import PrepareRequest, SegmentRequest
from napari_brainseg.session import OpenStudy


def names(house):
    return [layer.name for layer in house.viewer.layers if layer.visible]


def test_a_study_that_was_not_prepared_has_nothing_to_check(viewer, study):
    house = House(viewer)
    house.session.open(OpenStudy(study), None)
    house.features.alignment.check(Mix.SWIPE)
    assert not state_of(house.features.alignment, busy=False).series and not viewer.layers
    house.close()


def test_the_two_are_shown_together_and_the_picture_follows_the_hand(house):
    alignment, before = house.features.alignment, names(house)
    alignment.check(Mix.SWIPE)
    assert "T1ce | T1" in names(house) and alignment.comparing.quality is None
    house.timers.pass_time()
    assert alignment.comparing.quality.good and "Match" in state_of(alignment, busy=False).figures
    picture = next(x for x in house.viewer.layers if x.name == "T1ce | T1")
    alignment.comparing.swipe(0.0)
    still = np.asarray(picture.data[60, :, :]).copy()
    alignment.comparing.move(Nudge((12.0, 0, 0)))
    moved = np.asarray(picture.data[60, :, :])
    assert (moved != still).mean() > 0.1
    # "to the patient's left" is to the right of the canvas
    np.testing.assert_allclose(moved[:, 40:100, 0], still[:, 28:88, 0], atol=2)
    house.timers.pass_time()
    assert alignment.comparing.quality.peak < 1.6 and state_of(alignment, busy=False).moved
    alignment.comparing.undo()
    np.testing.assert_array_equal(picture.data[60, :, :], still)
    assert not alignment.comparing.can_undo
    alignment.choose(Modality.FLAIR)
    assert "T1ce | FLAIR" in names(house) and "T1ce | T1" not in names(house)
    alignment.check(None)
    assert names(house) == before


@pytest.mark.slow
def test_register_from_here_and_use_ask_for_a_preparation_that_keeps_the_brain(house, made):
    raw, prepared = made
    segment(house)
    labels = shown(house)
    alignment = house.features.alignment
    alignment.check(Mix.EDGES)
    alignment.choose(Modality.T2)
    alignment.comparing.move(Nudge((2.0, 0, 0), (0, 0, 1.0)))
    alignment.register()
    request, listener = house.runner.of(PrepareRequest)[-1]
    assert set(request.starts) == {Modality.T2} and set(request.placed) == {Modality.T1, Modality.FLAIR}
    assert request.brain.is_file() and request.folder in request.brain.parents
    np.testing.assert_allclose(request.placed[Modality.T1], raw.rigids[Modality.T1].matrix)
    house.series.cancel()
    from brainseg_engine.core.events import Failed

    listener.failed(Failed(request.id, "Cancelled; nothing was changed.", cancelled=True))
    assert house.session.study.study is prepared.study and alignment.comparing.moved == (Modality.T2,)
    alignment.use()
    request, listener = house.runner.of(PrepareRequest)[-1]
    assert not request.starts and set(request.placed) == {Modality.T1, Modality.T2, Modality.FLAIR}
    # as the worker does
    again = prepare(request.study, PrepareOptions(brain=request.brain, threads=1, transforms={
        m: type(raw.rigids[m])(np.asarray(a)) for m, a in request.placed.items()}))  # fmt: skip
    listener.finished(files.save(again, request.folder))
    current = house.session.study
    assert current.acquired.prepared.choices["t2"]["alignment"] == "as given" and not alignment.comparing.moved
    assert "carried over" in house.session.message.text
    moved = shown(house)
    assert abs(int(np.count_nonzero(moved)) - np.count_nonzero(labels)) <= 8


def test_read_on_a_series_as_acquired_and_back(house, made):
    raw, prepared = made
    segment(house)
    before, point = names(house), house.viewer.dims.point
    alignment = house.features.alignment
    for series in (Modality.FLAIR, Modality.T1CE):
        alignment.show(series)
        assert names(house) == [f"{series.title} as acquired", f"Segmentation on {series.title} as acquired"]
        volume = raw.study.volumes[series]
        assert plane_of(house.viewer) is Plane.AXIAL and house.viewer.dims.range[0].step == pytest.approx(4.0)
        carried = next(x for x in house.viewer.layers if "Segmentation on" in x.name and x.visible)
        on_it = prepared.back(house.session.segmentation, series).labels
        assert np.count_nonzero(carried.data) == np.count_nonzero(on_it) > 0
        assert carried.data.shape[::-1] == volume.grid.shape
    alignment.show(None)
    assert names(house) == before
    np.testing.assert_allclose(house.viewer.dims.point, point, atol=5)  # half a thick slice, and back


def test_the_buttons_of_the_view_mean_the_series_as_acquired(house, made):
    raw, _ = made
    alignment, view = house.features.alignment, house.view
    segment(house)
    said = []
    view.changed.connect(lambda: said.append(view.modality))
    alignment.show(Modality.FLAIR)
    assert said[-1] is Modality.FLAIR
    assert view.caption.words[0].endswith("FLAIR as acquired") and "/27" in view.caption.words[1]
    view.show_modality(Modality.T2)
    assert alignment.reading.shown is Modality.T2 and "T2 as acquired" in names(house) and "T2" not in names(house)
    view.show_modality(Modality.T2)
    assert view.modality is alignment.reading.shown is Modality.T2 and "T2" not in names(house)
    view.choose_window("Narrow")
    assert view.window == "Narrow"
    view.next_window()
    assert view.window != "Narrow"
    image = house.context.read_as_acquired[1]
    grid = raw.study.volumes[Modality.T2].grid
    house.viewer.cursor.position = tuple(image.data_to_world((13, 60, 50)))
    house.viewer.mouse_over_canvas = True
    view._looked_at = True
    assert set(view.values) <= {Modality.T2} and image.data.shape == grid.shape[::-1]
    view.step_modality()
    assert alignment.reading.shown is Modality.FLAIR
    view.step_modality(-1)
    alignment.show(None)
    assert names(house) == ["T2", "Segmentation"]


def test_another_study_ends_it(house, study):
    alignment = house.features.alignment
    alignment.check(Mix.CHECKER)
    house.session.open(OpenStudy(replace(study, id="other")), None)
    assert alignment.comparing.mix is None and not any("|" in n for n in names(house))


def test_the_answer_brings_its_probabilities_for_the_way_back(house):
    house.segment.segment()
    [(request, _)] = house.runner.of(SegmentRequest)
    assert request.probabilities
