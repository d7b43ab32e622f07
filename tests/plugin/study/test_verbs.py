"""What each button means: a viewer without a window, a runner that answers when told to, work done on the spot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, Later, Model, Runner, at_once, prediction, shown
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import load_segmentation, save_segmentation, save_volume
from napari_brainseg.display import layers, region_layer
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.regions.measuring import measure
from napari_brainseg.session import Kind, Session


@pytest.fixture
def actions(viewer) -> Actions:
    made = Actions(Session(), viewer, Runner(), at_once)
    made.session.segmentation_changed.connect(made.show_segmentation)
    made.session.set_models((Model(card=Card()),))
    return made


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(make_study(id="A"), tmp_path)


# --- opening


def test_a_folder_opens_with_its_mask_as_the_labels(actions, folder):
    actions.open(folder)
    session = actions.session
    assert session.study.study.id == "A" and session.message.kind is Kind.INFO
    assert set(layers.image_layers(actions.viewer)) == set(Modality)
    np.testing.assert_array_equal(shown(actions), make_study().segmentation.labels)
    assert not session.dirty
    assert session.study.truth is session.segmentation
    assert actions._runner.warmed == [("model.safetensors", "auto")]


def test_files_open_as_one_study(actions, folder):
    actions.open(sorted(folder.glob("*.nii.gz")))
    assert set(actions.session.study.study.volumes) == set(Modality)
    assert actions.session.segmentation is not None


def damaged_gzip(folder):
    path = folder / "A_t2.nii.gz"
    path.write_bytes(path.read_bytes()[:2000])
    return "A_t2.nii.gz"


def no_gzip(folder):
    (folder / "A_t1.nii.gz").write_bytes(b"\x00" * 4000)
    return "A_t1.nii.gz"


def four_dimensional(folder):
    import nibabel

    nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), np.eye(4)).to_filename(folder / "A_flair.nii.gz")
    return "A_flair.nii.gz"


def empty(folder):
    for path in folder.iterdir():
        path.unlink()
    return folder.name


def gone(folder):
    empty(folder)
    folder.rmdir()
    return folder.name


@pytest.mark.parametrize("damage", [damaged_gzip, no_gzip, four_dimensional, empty, gone])
def test_what_cannot_be_read_is_a_sentence_and_the_last_study_stays(actions, tmp_path, folder, damage):
    actions.open(write(make_study(3, id="Good"), tmp_path))
    before, labels, n = actions.session.study, actions.labels, len(actions.viewer.layers)
    named = damage(folder)
    actions.open(folder)
    message = actions.session.message
    assert message.kind is Kind.ERROR and named in message.text and "Traceback" not in message.text
    assert actions.session.study is before and actions.labels is labels and len(actions.viewer.layers) == n
    assert actions.session.reading == "" and actions.blocker == ""


def test_the_same_file_twice_is_a_sentence(actions, folder):
    path = folder / "A_t1.nii.gz"
    actions.open([path, path])
    assert actions.session.message.kind is Kind.ERROR and "twice" in actions.session.message.text
    assert actions.session.study is None


def test_a_mask_that_cannot_be_used_does_not_keep_the_images_away(actions, folder):
    seg = make_study().segmentation
    save_volume((seg.labels * 3).astype(np.uint8), seg.grid, folder / "A_seg.nii.gz")
    actions.open(folder)
    assert actions.session.study.study.id == "A" and actions.session.segmentation is None
    assert actions.session.message.kind is Kind.ERROR and "A_seg.nii.gz" in actions.session.message.text


def test_a_missing_series_is_told_and_blocks_until_it_is_assigned(actions, folder, tmp_path):
    elsewhere = tmp_path / "scan.nii.gz"
    (folder / "A_t2.nii.gz").rename(elsewhere)
    actions.open(folder)
    assert "T2" in actions.blocker and "T2" in actions.session.study.problems[0]
    actions.segment()
    assert actions._runner.jobs == [] and "T2" in actions.session.message.text
    actions.reassign(Modality.T2, elsewhere)
    assert actions.blocker == "" and actions.session.study.problems == ()
    assert actions.session.study.study.volumes[Modality.T2].path == elsewhere
    assert elsewhere in actions.session.study.files


def test_series_that_lie_on_other_grids_block(actions, folder):
    from brainseg_engine.core.geometry import Grid

    v = make_study().volumes[Modality.FLAIR]
    affine = v.grid.affine.copy()
    affine[0, 3] += 7
    save_volume(v.data, Grid(v.grid.shape, affine), folder / "A_flair.nii.gz")
    actions.open(folder)
    assert "FLAIR" in actions.blocker and "lign" in actions.blocker


@pytest.mark.parametrize(("value", "says"), [(0.0, "zeros"), (np.nan, "NaN")])
def test_voxels_that_no_model_can_take_block(actions, folder, value, says):
    v = make_study().volumes[Modality.T1]
    data = v.data.copy() if np.isnan(value) else np.zeros_like(v.data)
    data[4, 4, 4] = value
    save_volume(data, v.grid, folder / "A_t1.nii.gz")
    actions.open(folder)
    assert says in actions.blocker and "A_t1.nii.gz" in actions.blocker


def test_warnings_do_not_block(actions, folder):
    (folder / "A_t2.nii.gz").write_bytes((folder / "A_t1.nii.gz").read_bytes())
    actions.open(folder)
    assert actions.warnings and actions.blocker == ""
    actions.segment()
    assert len(actions._runner.jobs) == 1


def test_only_the_last_study_asked_for_is_opened(actions, viewer, tmp_path, folder):
    later = Later()
    actions._background = later
    actions.open(folder)
    actions.open(write(make_study(2, id="B"), tmp_path))
    later.run(1)
    later.run(0)
    assert actions.session.study.study.id == "B"
    assert {layers.layer_study_id(x) for x in viewer.layers} == {"B"}


def test_two_series_change_places(actions, folder):
    actions.open(folder)
    t1, t2 = folder / "A_t1.nii.gz", folder / "A_t2.nii.gz"
    before = actions.session.study.token
    labels = actions.labels
    actions.reassign(Modality.T1, t2)
    volumes = actions.session.study.study.volumes
    assert (volumes[Modality.T1].path, volumes[Modality.T2].path) == (t2, t1)
    assert volumes[Modality.T1].modality is Modality.T1
    assert actions.session.study.token != before
    assert actions.labels is labels and list(actions.viewer.layers)[-1] is labels  # the mask stays, on top
    shown_as_t1 = layers.layer_info(layers.image_layers(actions.viewer)[Modality.T1])
    assert shown_as_t1.volume is volumes[Modality.T1]
    actions.reassign(Modality.T1, t1)
    assert actions.session.study.token == before


def test_a_series_can_be_taken_away_but_not_the_last_one(actions, folder):
    actions.open(folder)
    for m in (Modality.T1, Modality.T2, Modality.FLAIR):
        actions.reassign(m, None)
    assert list(actions.session.study.study.volumes) == [Modality.T1CE]
    actions.reassign(Modality.T1CE, None)
    assert list(actions.session.study.study.volumes) == [Modality.T1CE]
    assert actions.session.message.kind is Kind.ERROR


def test_a_mask_opens_onto_its_study(actions, folder, tmp_path):
    mask = tmp_path / "reader2.nii.gz"
    labels = np.zeros((28, 32, 24), dtype=np.uint8)
    labels[3:6, 3:6, 3:6] = Label.ET
    save_segmentation(Segmentation(labels, make_study().reference.grid), mask, coding="brats2021")
    actions.load_mask(mask)
    assert actions.session.message.kind is Kind.WARNING
    actions.open(folder)
    truth, layer = actions.session.study.truth, actions.labels
    actions.load_mask(mask)  # nothing tells its coding
    assert actions.session.message.kind is Kind.ERROR and "brats2021" in actions.session.message.text
    actions.load_mask(mask, "brats2021")
    assert actions.labels is layer
    np.testing.assert_array_equal(shown(actions), labels)
    assert actions.session.study.truth is truth and not actions.session.dirty
    layer.undo()
    np.testing.assert_array_equal(shown(actions), truth.labels)


def test_a_mask_is_what_to_compare_with_where_there_was_none(actions, tmp_path):
    folder = write(make_study(id="A"), tmp_path, mask=False)
    actions.open(folder)
    assert actions.session.study.truth is None
    save_segmentation(make_study().segmentation, tmp_path / "m.nii.gz", coding="brats2023")
    actions.load_mask(tmp_path / "m.nii.gz", "brats2023")
    assert actions.session.study.truth is not None


def test_a_mask_on_another_grid_is_refused(actions, folder, tmp_path):
    actions.open(folder)
    before = shown(actions)
    other = make_study(shape=(20, 20, 20)).segmentation
    save_segmentation(other, tmp_path / "m_seg.nii.gz", coding="brats2023")
    actions.load_mask(tmp_path / "m_seg.nii.gz", "brats2023")
    assert actions.session.message.kind is Kind.ERROR and "grid" in actions.session.message.text
    np.testing.assert_array_equal(shown(actions), before)


# --- what a person drops onto the canvas, or removes


def test_a_dropped_study_is_taken_up_with_its_layers(actions, viewer, folder, study):
    actions.open(folder)
    for data, meta, kind in layers.study_tuples(replace(study, id="Dropped")):
        getattr(viewer, f"add_{kind}")(data, **meta)
    dropped = layers.image_layers(viewer, "Dropped")
    actions.notice_layers()
    assert actions.session.study.study.id == "Dropped"
    assert layers.image_layers(viewer) == dropped  # not made anew
    assert {layers.layer_study_id(x) for x in viewer.layers} == {"Dropped"}
    np.testing.assert_array_equal(shown(actions), study.segmentation.labels)
    assert not actions.session.dirty
    actions.notice_layers()
    assert layers.image_layers(viewer) == dropped


def test_removed_labels_and_removed_images_are_noticed(actions, viewer, folder):
    actions.open(folder)
    viewer.layers.remove(actions.labels)
    actions.notice_layers()
    assert actions.session.segmentation is None and actions.session.study is not None
    viewer.layers.clear()
    actions.notice_layers()
    assert actions.session.study is None


def test_a_dropped_mask_becomes_the_labels(actions, viewer, folder, study):
    actions.open(folder)
    layer = actions.labels
    flipped = Segmentation(study.segmentation.labels[::-1].copy(), study.reference.grid)
    layers.add_segmentation(viewer, flipped, study_id="A")
    actions.notice_layers()
    assert layers.labels_layers(viewer) == [layer]
    np.testing.assert_array_equal(shown(actions), flipped.labels)


# --- segmenting


def test_a_press_makes_a_job_of_the_open_study(actions, folder):
    actions.open(folder)
    actions.session.choose(device="cpu")
    actions.segment()
    [(job, listener)] = actions._runner.jobs
    assert (job.study, job.token) == (actions.session.study.study, actions.session.study.token)
    assert (job.model, job.device) == (Path("/m/model.safetensors"), "cpu")
    assert actions.session.job.study_id == "A"
    actions.segment()  # one at a time
    assert len(actions._runner.jobs) == 1
    listener.progress(job, Progress("segmenting", 0.4))
    assert (actions.session.job.stage, actions.session.job.fraction) == ("segmenting", 0.4)
    listener.finished(job, prediction(job))
    assert actions.session.job is None and actions.session.dirty
    np.testing.assert_array_equal(shown(actions), prediction(job).segmentation.labels)
    assert actions.session.message.kind is Kind.GOOD
    actions.labels.undo()  # the mask that was there is one step away
    np.testing.assert_array_equal(shown(actions), make_study().segmentation.labels)


def test_a_failure_and_a_cancel_leave_the_last_good_state(actions, folder):
    actions.open(folder)
    before = shown(actions)
    for event in (Failed("", "No memory."), Failed("", "Cancelled.", cancelled=True)):
        actions.segment()
        job, listener = actions._runner.jobs[-1]
        actions.cancel()
        assert actions._runner.cancelled[-1] == job.id
        listener.failed(job, event)
        assert actions.session.job is None
        assert actions.session.message.kind is (Kind.INFO if event.cancelled else Kind.ERROR)
        np.testing.assert_array_equal(shown(actions), before)
        assert not actions.session.dirty


def test_a_result_never_lands_on_another_study(actions, folder, tmp_path):
    actions.open(folder)
    actions.segment()
    job, listener = actions._runner.jobs[0]
    other = write(make_study(2, id="B"), tmp_path)
    actions.open(other)
    before = shown(actions)
    listener.finished(job, prediction(job))
    np.testing.assert_array_equal(shown(actions), before)
    assert "A" in actions.session.message.text and not actions.session.dirty
    actions.open(folder)  # read anew: it is known by its content
    np.testing.assert_array_equal(shown(actions), prediction(job).segmentation.labels)
    assert actions.session.dirty


def test_a_result_does_not_land_on_the_same_study_with_other_series(actions, folder):
    actions.open(folder)
    actions.segment()
    job, listener = actions._runner.jobs[0]
    actions.reassign(Modality.T1, folder / "A_t2.nii.gz")
    before = shown(actions)
    listener.finished(job, prediction(job))
    np.testing.assert_array_equal(shown(actions), before)


def test_edits_that_were_not_saved_come_back_with_their_study(actions, folder, tmp_path):
    actions.open(folder)
    edited = shown(actions).copy()
    edited[1, 1, 1] = Label.ET
    layers.set_labels(actions.labels, edited)
    actions.measure()
    assert actions.session.dirty
    actions.open(write(make_study(2, id="B"), tmp_path))
    assert not actions.session.dirty
    actions.open(folder)
    np.testing.assert_array_equal(shown(actions), edited)
    actions.measure()
    assert actions.session.dirty
    actions.labels.undo()


def test_without_a_model_nothing_can_be_segmented(actions, folder):
    actions.open(folder)
    actions.session.set_models((Model(problem="model.safetensors is damaged."),))
    assert actions.blocker
    actions.segment()
    assert actions._runner.jobs == []


# --- labels


def test_measures_are_those_of_the_engine_and_follow_edits(actions, folder):
    from brainseg_engine.scores.volumes import component_counts, volumes_ml

    actions.open(folder)
    actions.measure()
    seg = make_study().segmentation
    items = actions.session.measures.items
    for r in Region:
        assert items[r.value].ml == pytest.approx(volumes_ml(seg.labels, seg.grid)[r])
        assert items[r.value].components == component_counts(seg.labels)[r]
        assert items[r.value].dice == 1.0
    labels = seg.labels.copy()
    labels[labels == Label.ET] = Label.NCR
    layers.set_labels(actions.labels, labels)
    actions.measure()
    items = actions.session.measures.items
    assert (items["ET"].ml, items["ET"].components, items["ET"].dice) == (0.0, 0, 0.0)
    assert items["TC"].dice == 1.0 and actions.session.dirty
    actions.labels.undo()
    actions.measure()
    assert actions.session.measures.items["ET"].dice == 1.0 and not actions.session.dirty


def test_what_was_not_measured_is_none_and_never_zero():
    study = make_study()
    labels = np.where(study.segmentation.labels > 0, np.uint8(Label.TUMOUR), np.uint8(0))
    items = measure(labels, study.reference.grid, (Region.WT,), study.segmentation).items
    assert items["WT"].ml > 0 and items["WT"].dice == 1.0
    for item in ("TC", "ET", "NCR", "ED"):
        assert (items[item].ml, items[item].components, items[item].dice) == (None, None, None)
    assert items["TUMOUR"].ml == items["WT"].ml
    whole = measure(study.segmentation.labels, study.reference.grid).items
    assert "TUMOUR" not in whole and "RC" not in whole and whole["ED"].dice is None


def test_empty_labels_are_measured():
    study = make_study()
    items = measure(np.zeros_like(study.segmentation.labels), study.reference.grid).items
    assert {i.ml for i in items.values()} == {0.0}


LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OTHER = np.array([[0, 0, 1.0, 0], [1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize("axes", [LPS, OTHER])
def test_jump_goes_to_the_largest_axial_slice_and_into_the_region(actions, tmp_path, axes):
    actions.open(write(make_study(5, affine=axes, id="J"), tmp_path))
    actions.viewer.dims.order = (2, 0, 1)
    for item, values in (("WT", (1, 2, 3)), ("ET", (3,))):
        actions.jump(item)
        labels = shown(actions)
        grid = actions.session.study.study.reference.grid
        assert tuple(actions.viewer.dims.order) == (0, 1, 2)
        at = -np.array(actions.viewer.dims.point)[::-1]
        index = np.round(grid.to_index(at)).astype(int)
        assert labels[tuple(index)] in values
        axis = next(i for i, c in enumerate(grid.orientation) if c in "SI")
        areas = np.isin(labels, values).sum(axis=tuple(a for a in range(3) if a != axis))
        assert areas[index[axis]] == areas.max()


def test_jump_to_what_is_not_there_says_so(actions, folder):
    actions.open(folder)
    layers.set_labels(actions.labels, np.zeros_like(shown(actions)))
    before = actions.viewer.dims.point
    actions.jump("ET")
    assert "enhancing" in actions.session.message.text and actions.viewer.dims.point == before


def test_the_view_of_regions_goes_from_study_to_study(actions, folder, tmp_path):
    actions.open(folder)
    view = actions.view.with_item("TC", visible=False).with_outline(True)
    heard = []
    actions.view_changed.connect(lambda: heard.append(1))
    actions.view = view
    actions.view = view
    assert heard == [1]
    assert region_layer.region_view(actions.labels) == view
    actions.open(write(make_study(2, id="B"), tmp_path))
    assert region_layer.region_view(actions.labels) == view


def test_saving_writes_the_labels_as_they_are_with_the_header_of_the_reference(actions, folder, tmp_path):
    import nibabel

    actions.open(folder)
    actions.segment()
    job, listener = actions._runner.jobs[0]
    listener.finished(job, prediction(job))
    actions.measure()
    path = tmp_path / "out" / "mine.nii.gz"
    actions.save(path, "brats2021")
    assert actions.session.message.kind is Kind.GOOD and str(path) in actions.session.message.text
    assert not actions.session.dirty
    image, reference = nibabel.load(path), nibabel.load(folder / "A_t1ce.nii.gz")
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert set(np.unique(image.dataobj)) == {0, 4}
    beside = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert beside["coding"] == "brats2021" and beside["model"] == "model" and not beside["edited"]
    assert beside["regions"]["ET"]["volume_ml"] == pytest.approx(0.064)
    np.testing.assert_array_equal(load_segmentation(path).labels, shown(actions))
    edited = shown(actions)
    edited[5, 5, 5] = 0
    layers.set_labels(actions.labels, edited)
    actions.save(path, "brats2021")
    beside = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert beside["edited"] and beside["made_by"] == "model 1 and a person"


def test_edits_that_were_put_away_with_their_study_are_still_told_as_edits(actions, folder, tmp_path):
    actions.open(folder)
    actions.segment()
    job, listener = actions._runner.jobs[0]
    listener.finished(job, prediction(job))
    edited = shown(actions)
    edited[5, 5, 5] = 0
    layers.set_labels(actions.labels, edited)
    actions.measure()
    actions.open(write(make_study(2, id="B"), tmp_path))
    actions.open(folder)
    actions.save(tmp_path / "mine.nii.gz")
    beside = json.loads((tmp_path / "mine.json").read_text())
    assert beside["edited"] and beside["made_by"] == "model 1 and a person" and beside["model"] == "model"


def test_a_place_that_takes_no_file_is_a_sentence_and_loses_nothing(actions, folder, tmp_path):
    actions.save(tmp_path / "x.nii.gz")
    assert actions.session.message.kind is Kind.WARNING
    actions.open(folder)
    actions.session.dirty = True
    (tmp_path / "file").write_text("")
    actions.save(tmp_path / "file" / "x.nii.gz")
    assert actions.session.message.kind is Kind.ERROR and "file" in actions.session.message.text
    assert actions.session.dirty and actions.labels is not None


def test_a_class_that_the_coding_lacks_is_refused(actions, folder, tmp_path):
    actions.open(folder)
    labels = shown(actions)
    labels[0, 0, 0] = Label.RC
    layers.set_labels(actions.labels, labels)
    actions.save(tmp_path / "x.nii.gz", "brats2021")
    assert actions.session.message.kind is Kind.ERROR and "cavity" in actions.session.message.text
    assert not (tmp_path / "x.nii.gz").exists()


def test_the_suggested_name_overwrites_nothing(actions, folder):
    assert actions.suggestion() is None
    actions.open(folder)
    first = actions.suggestion()
    assert first.parent == folder and not first.exists()
    first.touch()
    assert actions.suggestion() not in (None, first)


def test_a_bug_is_told_in_words_too(actions, monkeypatch):
    monkeypatch.setattr("napari_brainseg.features.study.reading.read", lambda *_: 1 / 0)
    actions.open(Path("/x/A"))
    assert actions.session.message.kind is Kind.ERROR and "ZeroDivisionError" in actions.session.message.text


def test_closing_stops_the_jobs(actions):
    actions.close()
    assert actions._runner.closed
