"""From a folder of DICOM to a prepared study that is open: without a window, over a runner that answers when told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_studies import new_person, write_clinical
from helpers.cases import write
from helpers.raw_study import raw_study
from helpers.rig import Card, House, Later, Model, paint, segment, shown
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.corrections import source_of
from brainseg_engine.io import load_segmentation, save_segmentation, save_volume
from brainseg_engine.prepare import PrepareOptions, files, prepare
from napari_brainseg.features.save.verbs import ALIGNED
from napari_brainseg.features.series.section import table_of
from napari_brainseg.jobs import PrepareRequest
from napari_brainseg.session import Kind


@pytest.fixture(scope="module")
def raw():
    return raw_study(1)


@pytest.fixture(scope="module")
def export(raw, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    write_clinical(folder, raw.study, thickness_mm=None, distractors=4)
    return folder


@pytest.fixture(scope="module")
def prepared(raw):
    return prepare(raw.study, PrepareOptions(brain="rough", threads=1))


def requests(house) -> list:
    return house.runner.of(PrepareRequest)


def answered(house, prepared) -> Path:
    """The worker's answer to the last request; the folder that it worked in."""
    from dataclasses import replace

    request, listener = requests(house)[-1]
    made = replace(prepared, study=replace(prepared.study, id=request.study.id))
    listener.finished(files.save(made, request.folder))
    return request.folder


def uses(house) -> dict:
    return {m: next(r.title for r in table_of(house.series).rows if r.use is m) for m in Modality}


def test_a_dicom_folder_is_listed_and_nothing_is_opened(house, export):
    house.study.open(export)
    assert house.session.study is None and not house.viewer.layers
    table = table_of(house.series)
    assert len(table.rows) >= 8 and table.visit == 0 and table.words == ""
    assert uses(house)[Modality.T1CE] == "4: t1_tse_tra_km"
    t1ce = next(r for r in table.rows if r.use is Modality.T1CE)
    assert "axial" in t1ce.extent and t1ce.extent.endswith("1×1×4 mm") and t1ce.reason.startswith("T1-weighted")


@pytest.mark.slow
def test_one_click_prepares_and_opens_and_the_mask_goes_back(house, export, raw, prepared, tmp_path):
    house.study.open(export)
    house.series.prepare("rough")
    request, listener = requests(house)[0]
    assert set(request.study.volumes) == set(Modality) and request.brain == "rough" and request.study.id == "study"
    assert all(v.path is None for v in request.study.volumes.values())
    assert request.folder.stat().st_mode & 0o077 == 0
    listener.progress(Progress("aligning", 0.3))
    assert house.session.job.stage == "aligning" and house.session.job.where == "series"
    house.segment.segment()
    assert not house.runner.jobs, "nothing else begins meanwhile"
    folder = answered(house, prepared)
    assert not folder.exists()
    current = house.session.study
    assert house.session.job is None and current.acquired.titles[Modality.T1CE] == "4: t1_tse_tra_km"
    assert current.study.reference.grid.same_as(prepared.grid) and not current.files
    assert table_of(house.series).done and house.save.suggestion().parent == export

    segment(house)
    house.save.save(tmp_path / "own.nii.gz")
    house.save.save(tmp_path / "mm.nii.gz", grid=ALIGNED)
    own, aligned = load_segmentation(tmp_path / "own.nii.gz"), load_segmentation(tmp_path / "mm.nii.gz")
    assert own.grid.same_as(raw.study.volumes[Modality.T1CE].grid, tolerance_mm=0.01)
    assert aligned.grid.same_as(prepared.grid)
    assert np.count_nonzero(aligned.labels) == 64 and house.session.message.kind is Kind.GOOD


def test_a_series_is_taken_for_another_use(house, export):
    house.study.open(export)
    rows = {r.title: r for r in table_of(house.series).rows}
    house.series.assign(rows["3: t1_tse_tra"].id, None)
    assert house.series.missing == (Modality.T1,)
    assert table_of(house.series).words == "⚠ No series is chosen for T1."
    house.series.assign(rows["4: t1_tse_tra_km"].id, Modality.T1)
    assert uses_of(house, Modality.T1) == "4: t1_tse_tra_km"


def uses_of(house, use) -> str:
    return next(r.title for r in table_of(house.series).rows if r.use is use)


def test_cancelled_while_reading_and_while_preparing_nothing_stays(house, export, raw):
    house.study.open(export)
    later = house.background = Later()
    house.series.prepare("rough")
    working = house.series.preparing.working.folder
    assert working.is_dir()
    house.series.cancel()
    later.run()
    house.timers.pass_time()
    assert house.session.job is None and not requests(house) and not working.exists()

    house.series.prepare("rough")
    later.run()
    request, listener = requests(house)[0]
    house.series.cancel()
    assert house.runner.cancelled[-1] == request.id
    listener.failed(Failed(request.id, "Cancelled; nothing was changed.", cancelled=True))
    house.timers.pass_time()
    assert house.session.job is None and not request.folder.exists() and house.session.study is None


def test_two_patients_are_asked_about_and_never_mixed(house, raw, tmp_path):
    for n in (1, 2):
        person = new_person(patient_id=f"P{n}", name=f"Doe^Jane{n}")
        write_clinical(tmp_path / str(n), raw.study, thickness_mm=None, distractors=0, person=person)
    house.study.open(tmp_path)
    table = table_of(house.series)
    assert len(table.visits) == 2 and table.visit is None and not table.rows
    assert all("Doe" not in text and "P1" not in text for text in table.visits)
    house.series.prepare()
    assert not requests(house)
    house.series.choose_visit(1)
    assert len(table_of(house.series).rows) == 4


def test_files_on_grids_of_their_own_are_listed_too(house, raw, tmp_path):
    folder = tmp_path / "case"
    folder.mkdir()
    for m, v in raw.study.volumes.items():
        thin = v.data[:, :, ::2] if m is Modality.FLAIR else v.data
        affine = v.grid.affine @ np.diag([1, 1, 2 if m is Modality.FLAIR else 1, 1])
        from brainseg_engine.core.geometry import Grid

        save_volume(thin, Grid(thin.shape, affine), folder / f"case_{m.value}.nii.gz")
    house.study.open(folder)
    assert uses(house) == {m: f"case_{m.value}.nii.gz" for m in Modality}
    house.study.open(write(make_study(id="A"), tmp_path))
    assert house.session.study.study.id == "A" and table_of(house.series) is None


def test_what_cannot_be_used_is_a_sentence(house, tmp_path):
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 no zip")
    house.study.open(tmp_path / "x.zip")
    assert house.session.message.kind is Kind.ERROR and "damaged" in house.session.message.text
    assert table_of(house.series) is None


@pytest.mark.slow
def test_a_prepared_study_is_kept_for_corrections_and_opens_at_once_the_next_time(
    house, viewer, export, prepared, own_home
):
    house.study.open(export)
    house.series.prepare("rough")
    answered(house, prepared)
    segment(house)
    painted = paint(house)
    house.timers.pass_time()
    house.corrections.accept()
    assert house.session.message.kind is Kind.GOOD, house.session.message.text
    [kept] = (own_home / "prepared").iterdir()
    assert all(p.stat().st_mode & 0o077 == 0 for p in (own_home / "prepared").rglob("*"))
    assert "Raw_1" not in " ".join(str(p) for p in kept.rglob("*"))
    # the correction finds its images, as fine-tuning does
    [c] = house.session.store.latest().values()
    assert source_of(c.study).there and {f.severity for f in house.session.store.check()} <= {"info"}
    # the same series again: no second preparation, and the same study by its content
    house.series.close()
    house.study.open(export)
    house.series.prepare("rough")
    assert len(requests(house)) == 1 and "prepared before" in house.session.message.text
    assert house.corrections.accepted.id == c.id
    # by its own folder, as "work that was not accepted" is opened: with the series it was made from
    house.study.open(kept / "study")
    current = house.session.study
    assert set(current.acquired.volumes) == set(Modality) and house.corrections.accepted.id == c.id
    assert current.study.id.startswith("study-") and house.save.grids
    np.testing.assert_array_equal(house.session.store.read(c).labels, painted)
    # made anew it is another study: the correction keeps its images
    house.study.open(export)
    house.series.prepare("rough")
    house.series.prepare("rough")
    answered(house, prepared)
    assert len(list((own_home / "prepared").glob("*/study"))) == 2 and source_of(c.study).there


@pytest.mark.slow
def test_work_on_a_prepared_study_that_was_not_accepted_is_offered_again(viewer, export, prepared):
    from napari.components import ViewerModel

    house = House(viewer)
    house.session.set_models((Model(card=Card()),))
    house.study.open(export)
    house.series.prepare("rough")
    answered(house, prepared)
    segment(house)
    painted = paint(house)
    house.corrections.autosave.tick()
    house.close()
    again = House(ViewerModel())
    try:
        [left] = again.corrections.autosave.others
        again.study.open(left.folder)
        again.corrections.autosave.restore()
        np.testing.assert_array_equal(shown(again), painted)
        assert again.session.study.acquired is not None
    finally:
        again.close()


def test_each_series_has_a_picture_of_its_own_slices(house, export, raw):
    house.study.open(export)
    rows = {r.title: r for r in table_of(house.series).rows}
    picture = rows["4: t1_tse_tra_km"].picture
    assert picture.shape == (46, 46) and picture.max() > 200
    own = raw.study.volumes[Modality.T1CE].data
    top = own[:, :, own.shape[2] // 2]
    assert abs((picture > 100).mean() - (top > 0.4 * top.max()).mean()) < 0.25
    assert sum(r.picture is not None for r in rows.values()) >= 4


def test_a_mask_beside_raw_series_opens_on_its_series(house, raw, prepared, tmp_path):
    folder = tmp_path / "case"
    for m, v in raw.study.volumes.items():
        grid = v.grid if m is not Modality.T2 else v.grid.crop((0, 0, 0), (v.grid.shape[0] - 2, *v.grid.shape[1:]))
        save_volume(v.data[: grid.shape[0]], grid, folder / f"case_{m.value}.nii.gz")
    own = prepared.back(Segmentation(ball(prepared), prepared.grid))
    save_segmentation(own, folder / "case_seg.nii.gz", coding="brats2023")
    house.study.open(folder)
    house.series.prepare("rough")
    answered(house, prepared)
    current = house.session.study
    assert current.truth is not None and current.truth.grid.same_as(prepared.grid)
    back = prepared.back(house.session.segmentation)
    both = np.count_nonzero((back.labels > 0) & (own.labels > 0))
    assert 2 * both / (np.count_nonzero(back.labels) + np.count_nonzero(own.labels)) > 0.95
    assert not house.session.dirty and house.session.segmentation.path.name == "case_seg.nii.gz"
    # the same by hand, and one that lies nowhere
    house.study.load_mask(folder / "case_seg.nii.gz", "brats2023")
    assert house.session.message.kind is not Kind.ERROR
    elsewhere = Segmentation(np.ones((9, 9, 9), np.uint8), prepared.grid.crop((0, 0, 0), (9, 9, 9)))
    save_segmentation(elsewhere, tmp_path / "other_seg.nii.gz", coding="brats2023")
    house.study.load_mask(tmp_path / "other_seg.nii.gz", "brats2023")
    assert house.session.message.kind is Kind.ERROR and "neither" in house.session.message.text


def ball(prepared) -> np.ndarray:
    at = np.argwhere(prepared.brain).mean(axis=0)
    index = np.stack(np.meshgrid(*map(np.arange, prepared.grid.shape), indexing="ij"), -1)
    return (2 * (np.linalg.norm(index - at, axis=-1) < 12)).astype(np.uint8)
