"""A DICOM folder or archive opens as a study, in the panel and through napari's reader."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from dicom_studies import as_stored, write_clinical
from helpers.rig import House
from helpers.small_study import make_study

from brainseg_engine.core.study import Modality
from napari_brainseg._reader import get_reader

STUDY = make_study(shape=(80, 90, 100), affine=np.diag([-1.0, -1.0, 1.0, 1.0]))


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cd") / "export"
    write_clinical(folder, STUDY, thickness_mm=None, distractors=4)
    return folder


@pytest.fixture
def house(viewer):
    made = House(viewer)
    yield made
    made.close()


def test_the_panel_opens_what_needs_no_preparation(house, export):
    house.study.open(export)
    current = house.session.study
    assert set(current.study.volumes) == set(Modality)
    for m, v in current.study.volumes.items():
        np.testing.assert_array_equal(v.data, as_stored(STUDY.volumes[m].data))
    assert current.problems == () and house.series.listed is None


def test_an_archive_leaves_nothing_behind(house, export, tmp_path, monkeypatch):
    import tempfile

    (tmp_path / "t").mkdir()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        for path in export.rglob("*"):
            z.write(path, path.relative_to(export))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "t"))
    house.study.open([tmp_path / "x.zip"])
    assert len(house.session.study.study.volumes) == 4
    assert list((tmp_path / "t").iterdir()) == []


def test_naparis_reader_takes_the_folder(export, tmp_path):
    read = get_reader(str(export))
    assert read is not None
    assert len(read(str(export))) == 4
    (tmp_path / "x.txt").write_text("x" * 200)
    assert get_reader(str(tmp_path)) is None
