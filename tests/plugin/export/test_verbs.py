"""Exporting below the window: what is open goes out, onto the series it is asked for, with names or without."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_studies import new_person, write_clinical
from helpers.cases import write
from helpers.rig import House
from helpers.secrets_of import leaks, secrets_in
from helpers.small_study import make_study

from brainseg_engine.io.derived.reading import read_derived
from napari_brainseg.features.export.verbs import ExportOrder

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
