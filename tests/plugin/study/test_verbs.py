"""What each button means: a viewer without a window, a runner that answers when told to, work done on the spot."""

from __future__ import annotations

import gc
import json
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, House, Later, Model, paint, prediction, segment, shown
from helpers.small_study import make_study
from helpers.unpacked import EGD, KAGGLE, write_case

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import load_segmentation, save_segmentation, save_volume
from napari_brainseg.display import layers, region_layer
from napari_brainseg.features.regions.measuring import measure
from napari_brainseg.session import Kind


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(make_study(id="A"), tmp_path)


# --- opening


def test_a_folder_opens_with_its_mask_as_the_labels(house, folder):
    house.study.open(folder)
    session = house.session
    assert session.study.study.id == "A" and session.message.kind is Kind.INFO
    assert set(layers.image_layers(house.viewer)) == set(Modality)
    np.testing.assert_array_equal(shown(house), make_study().segmentation.labels)
    assert not session.dirty
    assert session.study.truth is session.segmentation
    assert house.runner.warmed == [("model.safetensors", "auto")]


def test_files_open_as_one_study(house, folder):
    house.study.open(sorted(folder.glob("*.nii.gz")))
    assert set(house.session.study.study.volumes) == set(Modality)
    assert house.session.segmentation is not None


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
def test_what_cannot_be_read_is_a_sentence_and_the_last_study_stays(house, tmp_path, folder, damage):
    house.study.open(write(make_study(3, id="Good"), tmp_path))
    before, labels, n = house.session.study, house.labels, len(house.viewer.layers)
    named = damage(folder)
    house.study.open(folder)
    message = house.session.message
    assert message.kind is Kind.ERROR and named in message.text and "Traceback" not in message.text
    assert house.session.study is before and house.labels is labels and len(house.viewer.layers) == n
    assert house.session.reading == "" and house.session.blocker == ""


def test_the_same_file_twice_is_a_sentence(house, folder):
    path = folder / "A_t1.nii.gz"
    house.study.open([path, path])
    assert house.session.message.kind is Kind.ERROR and "twice" in house.session.message.text
    assert house.session.study is None


def test_a_mask_that_cannot_be_used_does_not_keep_the_images_away(house, folder):
    seg = make_study().segmentation
    save_volume((seg.labels * 3).astype(np.uint8), seg.grid, folder / "A_seg.nii.gz")
    house.study.open(folder)
    assert house.session.study.study.id == "A" and house.session.segmentation is None
    assert house.session.message.kind is Kind.ERROR and "A_seg.nii.gz" in house.session.message.text


def test_a_missing_series_is_reported_and_blocks_until_it_is_assigned(house, folder, tmp_path):
    elsewhere = tmp_path / "scan.nii.gz"
    (folder / "A_t2.nii.gz").rename(elsewhere)
    house.study.open(folder)
    assert "T2" in house.session.blocker and "T2" in house.session.study.problems[0]
    house.segment.segment()
    assert house.runner.jobs == [] and "T2" in house.session.message.text
    house.study.reassign(Modality.T2, elsewhere)
    assert house.session.blocker == "" and house.session.study.problems == ()
    assert house.session.study.study.volumes[Modality.T2].path == elsewhere
    assert elsewhere in house.session.study.files


def test_series_that_lie_on_other_grids_are_to_be_prepared(house, folder):
    from brainseg_engine.core.geometry import Grid

    v = make_study().volumes[Modality.FLAIR]
    affine = v.grid.affine.copy()
    affine[0, 3] += 7
    save_volume(v.data, Grid(v.grid.shape, affine), folder / "A_flair.nii.gz")
    house.study.open(folder)
    assert house.session.study is None and len(house.series.incoming.visit.series) == 4


@pytest.mark.parametrize(("value", "says"), [(0.0, "zeros"), (np.nan, "NaN")])
def test_voxels_that_no_model_can_take_block(house, folder, value, says):
    v = make_study().volumes[Modality.T1]
    data = v.data.copy() if np.isnan(value) else np.zeros_like(v.data)
    data[4, 4, 4] = value
    save_volume(data, v.grid, folder / "A_t1.nii.gz")
    house.study.open(folder)
    assert says in house.session.blocker and "A_t1.nii.gz" in house.session.blocker


def test_warnings_do_not_block(house, folder):
    (folder / "A_t2.nii.gz").write_bytes((folder / "A_t1.nii.gz").read_bytes())
    house.study.open(folder)
    assert house.session.warnings and house.session.blocker == ""
    house.segment.segment()
    assert len(house.runner.jobs) == 1


def test_only_the_last_study_asked_for_is_opened(house, viewer, tmp_path, folder):
    later = Later()
    house.background = later
    house.study.open(folder)
    house.study.open(write(make_study(2, id="B"), tmp_path))
    later.run(1)
    while later.waiting:
        later.run(0)
    assert house.session.study.study.id == "B"
    assert {layers.layer_study_id(x) for x in viewer.layers} == {"B"}


def test_two_series_change_places(house, folder):
    house.study.open(folder)
    t1, t2 = folder / "A_t1.nii.gz", folder / "A_t2.nii.gz"
    before = house.session.study.token
    labels = house.labels
    house.study.reassign(Modality.T1, t2)
    volumes = house.session.study.study.volumes
    assert (volumes[Modality.T1].path, volumes[Modality.T2].path) == (t2, t1)
    assert volumes[Modality.T1].modality is Modality.T1
    assert house.session.study.token != before
    assert house.labels is labels and list(house.viewer.layers)[-1] is labels  # the mask stays, on top
    shown_as_t1 = layers.layer_info(layers.image_layers(house.viewer)[Modality.T1])
    assert shown_as_t1.volume is volumes[Modality.T1]
    house.study.reassign(Modality.T1, t1)
    assert house.session.study.token == before


def test_a_series_can_be_taken_away_but_not_the_last_one(house, folder):
    house.study.open(folder)
    for m in (Modality.T1, Modality.T2, Modality.FLAIR):
        house.study.reassign(m, None)
    assert list(house.session.study.study.volumes) == [Modality.T1CE]
    house.study.reassign(Modality.T1CE, None)
    assert list(house.session.study.study.volumes) == [Modality.T1CE]
    assert house.session.message.kind is Kind.ERROR


def test_a_mask_opens_onto_its_study(house, folder, tmp_path):
    mask = tmp_path / "reader2.nii.gz"
    labels = np.zeros((28, 32, 24), dtype=np.uint8)
    labels[3:6, 3:6, 3:6] = Label.ET
    save_segmentation(Segmentation(labels, make_study().reference.grid), mask, coding="brats2021")
    house.study.load_mask(mask)
    assert house.session.message.kind is Kind.WARNING
    house.study.open(folder)
    truth, layer = house.session.study.truth, house.labels
    house.study.load_mask(mask)  # nothing tells its coding
    assert house.session.message.kind is Kind.ERROR and "brats2021" in house.session.message.text
    house.study.load_mask(mask, "brats2021")
    assert house.labels is layer
    np.testing.assert_array_equal(shown(house), labels)
    assert house.session.study.truth is truth and not house.session.dirty
    layer.undo()
    np.testing.assert_array_equal(shown(house), truth.labels)


def test_a_mask_is_what_to_compare_with_where_there_was_none(house, tmp_path):
    folder = write(make_study(id="A"), tmp_path, mask=False)
    house.study.open(folder)
    assert house.session.study.truth is None
    save_segmentation(make_study().segmentation, tmp_path / "m.nii.gz", coding="brats2023")
    house.study.load_mask(tmp_path / "m.nii.gz", "brats2023")
    assert house.session.study.truth is not None


def test_a_mask_on_another_grid_is_refused(house, folder, tmp_path):
    house.study.open(folder)
    before = shown(house)
    other = make_study(shape=(20, 20, 20)).segmentation
    save_segmentation(other, tmp_path / "m_seg.nii.gz", coding="brats2023")
    house.study.load_mask(tmp_path / "m_seg.nii.gz", "brats2023")
    assert house.session.message.kind is Kind.ERROR and "grid" in house.session.message.text
    np.testing.assert_array_equal(shown(house), before)


# --- what a person drops onto the canvas, or removes


def test_a_dropped_study_is_taken_up_with_its_layers(house, viewer, folder, study):
    house.study.open(folder)
    for data, meta, kind in layers.study_tuples(replace(study, id="Dropped")):
        getattr(viewer, f"add_{kind}")(data, **meta)
    dropped = layers.image_layers(viewer, "Dropped")
    house.study.notice_layers()
    assert house.session.study.study.id == "Dropped"
    assert layers.image_layers(viewer) == dropped  # not made anew
    assert {layers.layer_study_id(x) for x in viewer.layers} == {"Dropped"}
    np.testing.assert_array_equal(shown(house), study.segmentation.labels)
    assert not house.session.dirty
    house.study.notice_layers()
    assert layers.image_layers(viewer) == dropped


def test_removed_labels_and_removed_images_are_noticed(house, viewer, folder):
    house.study.open(folder)
    viewer.layers.remove(house.labels)
    house.study.notice_layers()
    assert house.session.segmentation is None and house.session.study is not None
    viewer.layers.clear()
    house.study.notice_layers()
    assert house.session.study is None


def test_a_dropped_mask_becomes_the_labels(house, viewer, folder, study):
    house.study.open(folder)
    layer = house.labels
    flipped = Segmentation(study.segmentation.labels[::-1].copy(), study.reference.grid)
    layers.add_segmentation(viewer, flipped, study_id="A")
    house.study.notice_layers()
    assert layers.labels_layers(viewer) == [layer]
    np.testing.assert_array_equal(shown(house), flipped.labels)


# --- segmenting


def test_a_press_makes_a_job_of_the_open_study(house, folder):
    house.study.open(folder)
    house.session.choose(device="cpu")
    house.segment.segment()
    [(job, listener)] = house.runner.jobs
    assert (job.study, job.token) == (house.session.study.study, house.session.study.token)
    assert (job.model, job.device) == (Path("/m/model.safetensors"), "cpu")
    assert house.session.job.study_id == "A"
    house.segment.segment()  # one at a time
    assert len(house.runner.jobs) == 1
    listener.progress(Progress("segmenting", 0.4))
    assert (house.session.job.stage, house.session.job.fraction) == ("segmenting", 0.4)
    listener.finished(prediction(job))
    assert house.session.job is None and house.session.dirty
    np.testing.assert_array_equal(shown(house), prediction(job).segmentation.labels)
    assert house.session.message.kind is Kind.GOOD
    house.labels.undo()  # the mask that was there is one step away
    np.testing.assert_array_equal(shown(house), make_study().segmentation.labels)


def test_a_failure_and_a_cancel_leave_the_last_good_state(house, folder):
    house.study.open(folder)
    before = shown(house)
    for event in (Failed("", "No memory."), Failed("", "Cancelled.", cancelled=True)):
        house.segment.segment()
        job, listener = house.runner.jobs[-1]
        house.segment.cancel()
        assert house.runner.cancelled[-1] == job.id
        listener.failed(event)
        assert house.session.job is None
        assert house.session.message.kind is (Kind.INFO if event.cancelled else Kind.ERROR)
        np.testing.assert_array_equal(shown(house), before)
        assert not house.session.dirty


def test_a_result_never_lands_on_another_study(house, folder, tmp_path):
    house.study.open(folder)
    house.segment.segment()
    job, listener = house.runner.jobs[0]
    other = write(make_study(2, id="B"), tmp_path)
    house.study.open(other)
    before = shown(house)
    listener.finished(prediction(job))
    np.testing.assert_array_equal(shown(house), before)
    assert "A" in house.session.message.text and not house.session.dirty
    house.study.open(folder)  # read anew: it is known by its content
    np.testing.assert_array_equal(shown(house), prediction(job).segmentation.labels)
    assert house.session.dirty


def test_a_result_does_not_land_on_the_same_study_with_other_series(house, folder):
    house.study.open(folder)
    house.segment.segment()
    job, listener = house.runner.jobs[0]
    house.study.reassign(Modality.T1, folder / "A_t2.nii.gz")
    before = shown(house)
    listener.finished(prediction(job))
    np.testing.assert_array_equal(shown(house), before)


def test_edits_that_were_not_saved_come_back_with_their_study(house, folder, tmp_path):
    house.study.open(folder)
    edited = shown(house).copy()
    edited[1, 1, 1] = Label.ET
    layers.set_labels(house.labels, edited)
    house.regions.measure()
    assert house.session.dirty
    house.study.open(write(make_study(2, id="B"), tmp_path))
    assert not house.session.dirty
    house.study.open(folder)
    np.testing.assert_array_equal(shown(house), edited)
    house.regions.measure()
    assert house.session.dirty
    house.labels.undo()


def test_a_study_that_is_left_leaves_nothing_in_memory(house, folder, tmp_path):
    house.study.open(folder)
    paint(house)
    held = [weakref.ref(house.labels), weakref.ref(house.session.study), weakref.ref(house.session.answer)]
    for n in (2, 3):
        house.study.open(write(make_study(n, id=f"B{n}"), tmp_path))
    gc.collect()
    assert [ref() for ref in held] == [None, None, None]


def test_without_a_model_nothing_can_be_segmented(house, folder):
    house.study.open(folder)
    house.session.set_models((Model(problem="model.safetensors is damaged."),))
    assert house.session.blocker
    house.segment.segment()
    assert house.runner.jobs == []


# --- labels


def test_measures_are_those_of_the_engine_and_follow_edits(house, folder):
    from brainseg_engine.scores.volumes import component_counts, volumes_ml

    house.study.open(folder)
    house.regions.measure()
    seg = make_study().segmentation
    items = house.session.measures.items
    for r in Region:
        assert items[r.value].ml == pytest.approx(volumes_ml(seg.labels, seg.grid)[r])
        assert items[r.value].components == component_counts(seg.labels)[r]
        assert items[r.value].dice is None  # a mask against itself
    labels = seg.labels.copy()
    labels[labels == Label.ET] = Label.NCR
    layers.set_labels(house.labels, labels)
    house.regions.measure()
    items = house.session.measures.items
    assert (items["ET"].ml, items["ET"].components, items["ET"].dice) == (0.0, 0, 0.0)
    assert items["TC"].dice == 1.0 and house.session.dirty
    house.labels.undo()
    house.regions.measure()
    assert house.session.measures.items["ET"].dice is None and not house.session.dirty


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
def test_jump_goes_to_the_largest_axial_slice_and_into_the_region(house, tmp_path, axes):
    house.study.open(write(make_study(5, affine=axes, id="J"), tmp_path))
    house.viewer.dims.order = (2, 0, 1)
    for item, values in (("WT", (1, 2, 3)), ("ET", (3,))):
        house.regions.jump(item)
        labels = shown(house)
        grid = house.session.study.study.reference.grid
        assert tuple(house.viewer.dims.order) == (0, 1, 2)
        at = -np.array(house.viewer.dims.point)[::-1]
        index = np.round(grid.to_index(at)).astype(int)
        assert labels[tuple(index)] in values
        axis = next(i for i, c in enumerate(grid.orientation) if c in "SI")
        areas = np.isin(labels, values).sum(axis=tuple(a for a in range(3) if a != axis))
        assert areas[index[axis]] == areas.max()


def test_jump_to_what_is_not_there_says_so(house, folder):
    house.study.open(folder)
    layers.set_labels(house.labels, np.zeros_like(shown(house)))
    before = house.viewer.dims.point
    house.regions.jump("ET")
    assert "enhancing" in house.session.message.text and house.viewer.dims.point == before


def test_the_view_of_regions_goes_from_study_to_study(house, folder, tmp_path):
    house.study.open(folder)
    view = house.regions.view.with_item("TC", visible=False).with_outline(True)
    heard = []
    house.regions.view_changed.connect(lambda: heard.append(1))
    house.regions.view = view
    house.regions.view = view
    assert heard == [1]
    assert region_layer.region_view(house.labels) == view
    house.study.open(write(make_study(2, id="B"), tmp_path))
    assert region_layer.region_view(house.labels) == view


def test_saving_writes_the_labels_as_they_are_with_the_header_of_the_reference(house, folder, tmp_path):
    import nibabel

    house.study.open(folder)
    house.segment.segment()
    job, listener = house.runner.jobs[0]
    listener.finished(prediction(job))
    house.regions.measure()
    path = tmp_path / "out" / "mine.nii.gz"
    house.save.save(path, "brats2021")
    assert house.session.message.kind is Kind.GOOD and str(path) in house.session.message.text
    assert not house.session.dirty
    image, reference = nibabel.load(path), nibabel.load(folder / "A_t1ce.nii.gz")
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert set(np.unique(image.dataobj)) == {0, 4}
    beside = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert beside["coding"] == "brats2021" and beside["model"] == "model" and not beside["edited"]
    assert beside["regions"]["ET"]["volume_ml"] == pytest.approx(0.064)
    np.testing.assert_array_equal(load_segmentation(path).labels, shown(house))
    edited = shown(house)
    edited[5, 5, 5] = 0
    layers.set_labels(house.labels, edited)
    house.save.save(path, "brats2021")
    beside = json.loads((tmp_path / "out" / "mine.json").read_text())
    assert beside["edited"] and beside["made_by"] == "model 1 and a person"


def test_edits_that_were_put_away_with_their_study_are_still_reported_as_edits(house, folder, tmp_path):
    house.study.open(folder)
    house.segment.segment()
    job, listener = house.runner.jobs[0]
    listener.finished(prediction(job))
    edited = shown(house)
    edited[5, 5, 5] = 0
    layers.set_labels(house.labels, edited)
    house.regions.measure()
    house.study.open(write(make_study(2, id="B"), tmp_path))
    house.study.open(folder)
    house.save.save(tmp_path / "mine.nii.gz")
    beside = json.loads((tmp_path / "mine.json").read_text())
    assert beside["edited"] and beside["made_by"] == "model 1 and a person" and beside["model"] == "model"


def test_a_place_that_takes_no_file_is_a_sentence_and_loses_nothing(house, folder, tmp_path):
    house.save.save(tmp_path / "x.nii.gz")
    assert house.session.message.kind is Kind.WARNING
    house.study.open(folder)
    house.session.dirty = True
    (tmp_path / "file").write_text("")
    house.save.save(tmp_path / "file" / "x.nii.gz")
    assert house.session.message.kind is Kind.ERROR and "file" in house.session.message.text
    assert house.session.dirty and house.labels is not None


def test_a_class_that_the_coding_lacks_is_refused(house, folder, tmp_path):
    house.study.open(folder)
    labels = shown(house)
    labels[0, 0, 0] = Label.RC
    layers.set_labels(house.labels, labels)
    house.save.save(tmp_path / "x.nii.gz", "brats2021")
    assert house.session.message.kind is Kind.ERROR and "cavity" in house.session.message.text
    assert not (tmp_path / "x.nii.gz").exists()


def test_the_suggested_name_overwrites_nothing(house, folder):
    assert house.save.suggestion() is None
    house.study.open(folder)
    first = house.save.suggestion()
    assert first.parent == folder and not first.exists()
    first.touch()
    assert house.save.suggestion() not in (None, first)


def test_a_bug_is_reported_in_words_too(house, monkeypatch):
    monkeypatch.setattr("napari_brainseg.features.study.reading.read", lambda *_: 1 / 0)
    house.study.open(Path("/x/A"))
    assert house.session.message.kind is Kind.ERROR and "ZeroDivisionError" in house.session.message.text


def test_closing_stops_the_jobs(viewer):
    house = House(viewer)
    house.close()
    assert house.runner.closed


@pytest.mark.parametrize(
    ("id_", "layout", "coding"), [("BraTS2021_00495", KAGGLE, "brats2021"), ("EGD-0001", EGD, "1=TUMOUR")]
)
def test_a_study_whose_series_lie_in_folders_of_their_own_is_opened_segmented_corrected_and_saved(
    viewer, tmp_path, id_, layout, coding
):
    folder = write_case(tmp_path, id_, layout, coding)
    house = House(viewer)
    house.session.set_models((Model(card=Card()),))
    house.study.open(folder)
    current = house.session.study
    assert current.study.id == id_ and set(current.study.volumes) == set(Modality) and not house.session.blocker
    assert current.truth.coding == coding and not current.problems
    for m, volume in make_study(0, id=id_).volumes.items():
        assert np.array_equal(current.study.volumes[m].data, volume.data)
    answer = segment(house)
    painted = paint(house)
    assert (painted != answer).any()
    house.corrections.accept()
    assert np.array_equal(house.session.store.read(house.corrections.accepted).labels, painted)
    house.save.save(tmp_path / "mask.nii.gz", "brats2021")
    assert np.array_equal(load_segmentation(tmp_path / "mask.nii.gz").labels, painted)
    house.close()
