"""Exporting below the window: what is open goes out, onto the series it is asked for, with names or without."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_studies import new_person, write_clinical
from helpers.cases import write
from helpers.rig import House
from helpers.secrets_of import leaks, secrets_in
from helpers.small_study import make_study

from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study
from brainseg_engine.io.derived.reading import read_derived
from brainseg_engine.io.derived.source import series_uid
from brainseg_engine.prepare import Prepared, Rigid
from brainseg_engine.studies.incoming import find_study
from napari_brainseg.features.export.verbs import ExportOrder, _placed, _write
from napari_brainseg.session import Acquired

pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def house(viewer, tmp_path, own_home):
    made = House(viewer)
    study = make_study(id="A", shape=(30, 32, 34), affine=np.diag([-2.0, -2.0, 2.0, 1.0]))
    made.study.open(write(study, tmp_path))
    made.timers.pass_time()
    person = new_person(name="Lindqvist^Thyra", patient_id="PAT-00918273")
    write_clinical(tmp_path / "dicom", study, thickness_mm=None, distractors=0, person=person)
    made.source = study
    yield made
    made.close()


def test_objects_stand_on_the_series_and_hold_the_labels_on_the_screen(house, tmp_path):
    export, done = house.features.export, []
    export.exported.connect(lambda folder, count: done.append(count))
    house.labels.data[3:6, 3:6, 3:6] = 3  # what is on the screen counts, not what was opened
    export.export(ExportOrder(("seg", "stl", "report"), tmp_path / "out", tmp_path / "dicom"))
    assert house.session.message.text.startswith("Exported 7 files")
    assert done == [7]
    back = read_derived(tmp_path / "out" / "A_seg.dcm", images=tmp_path / "dicom")
    assert (back.labels == 3).sum() == (np.asarray(house.labels.data) == 3).sum()


@pytest.mark.slow
def test_de_identified_nothing_tells_whose_it_is(house, tmp_path):
    order = ExportOrder(
        ("seg", "images", "sr", "report"), tmp_path / "out", tmp_path / "dicom", deidentify=True, face=True
    )
    house.features.export.export(order)
    assert house.session.message.text.startswith("Exported")
    secrets = secrets_in(p for p in (tmp_path / "dicom").rglob("*") if p.is_file())
    assert (
        leaks(tmp_path / "out", {s for s in secrets if not s.isdigit() or len(s) > 6} | {"lindqvist", "00918273"}) == []
    )


def test_what_stands_in_the_way_is_said_and_nothing_is_lost(house, tmp_path):
    export = house.features.export
    export.export(ExportOrder(("seg",), tmp_path / "out"))
    assert "Name the folder of that series" in house.session.message.text
    (tmp_path / "file").write_text("x")
    export.export(ExportOrder(("stl",), tmp_path / "file"))
    assert "it is a file" in house.session.message.text
    found = []
    export.find_images(found.append)
    assert found == [None]
    assert export.series == ()


def test_without_labels_nothing_is_exported(viewer, tmp_path):
    made = House(viewer)
    made.study.open(write(make_study(id="A"), tmp_path, mask=False))
    assert not made.features.export.possible
    made.features.export.export(ExportOrder(("stl",), tmp_path / "out"))
    assert "nothing to export" in made.session.message.text
    made.close()


@pytest.mark.parametrize("on", ["", "flair"])
def test_a_prepared_study_s_mask_goes_back_onto_the_series_that_was_chosen(tmp_path, own_home, on):
    study = make_study(id="A", shape=(60, 64, 66), affine=np.diag([-2.0, -2.0, 2.0, 1.0]))
    write_clinical(tmp_path / "dicom", study, thickness_mm=5.5, distractors=0)
    listed = find_study(tmp_path / "dicom")
    raw = load_study(listed, segmentation=False)
    still, grids = dict.fromkeys(raw.volumes, Rigid.identity()), {m: v.grid for m, v in raw.volumes.items()}
    prepared = Prepared(study, study.reference.data > 0, Modality.T1CE, still, grids)
    acquired = Acquired(prepared, raw.volumes, {m: m.title for m in Modality}, tmp_path / "dicom")
    order = ExportOrder(("seg", "sc"), tmp_path / "out", tmp_path / "dicom", on)
    result, onto = _placed(study, acquired, study.segmentation, {"model": "m"}, order)
    assert _write(result, onto, order) > 1
    seg = pydicom.dcmread(tmp_path / "out" / "A_seg.dcm")
    meant = listed.listed[Modality(on or "t1ce")]
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series_uid(meant)
    back = read_derived(tmp_path / "out" / "A_seg.dcm", images=tmp_path / "dicom")
    ml = [np.count_nonzero(s.labels) * s.grid.voxel_ml for s in (back, study.segmentation)]
    assert ml[0] == pytest.approx(ml[1], rel=0.1)
