"""A path stands for a series: a folder, or any file of it."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
from dicom_studies import ball, grid_of, new_person, write_series
from helpers.layouts_on_disk import write_decathlon
from helpers.on_disk import image, write_mha
from helpers.on_disk import write as write_nifti

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study, read_volume
from brainseg_engine.io.listing import list_series, read_listed, series_at, volume_of
from brainseg_engine.phantom.dicom import SeriesPlan

GRID = grid_of((34, 32, 9))


def write(folder, seed=0, **plan):
    return write_series(folder, ball(GRID, seed), GRID, new_person(), SeriesPlan(**plan))


def test_dicom_series_are_assigned_by_folder_or_by_any_file(tmp_path):
    write(tmp_path / "a", 0, number=1)
    write(tmp_path / "flat", 1, number=2)
    files = write(tmp_path / "flat", 2, number=3)
    study = load_study({Modality.T1: tmp_path / "a", Modality.T1CE: files[4]})
    np.testing.assert_array_equal(study.volumes[Modality.T1].data, ball(GRID, 0))
    np.testing.assert_array_equal(study.volumes[Modality.T1CE].data, ball(GRID, 2))
    again = read_volume(study.volumes[Modality.T1CE].path, Modality.T1CE)
    assert again.sha256 == study.volumes[Modality.T1CE].sha256


def test_a_folder_of_several_series_asks_which(tmp_path):
    write(tmp_path, 0, number=1, description="first")
    write(tmp_path, 1, number=2, description="second")
    with pytest.raises(InputError, match=r"holds 2 series \('first', 'second'\), and one is wanted"):
        read_volume(tmp_path, Modality.T1)


def test_a_file_of_no_series_says_why(tmp_path):
    files = write(tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:500])
    with pytest.raises(InputError, match="is cut short"):
        series_at(files[3])


def test_changed_files_are_listed_anew(tmp_path):
    files = write(tmp_path)
    assert len(series_at(files[0]).slices) == 9
    files[3].unlink()
    assert len(series_at(files[0]).slices) == 8


# --- image files ------------------------------------------------------------------------------------------------------------


def listed(folder):
    return {
        (p.label, v.label): {s.facts.file_name: s for s in v.series}
        for p in list_series(folder).patients
        for v in p.visits
    }


def nifti(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_nifti(path, image())


def test_bids_subjects_and_sessions_are_patients_and_visits(tmp_path):
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        nifti(tmp_path / f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_ce-gadolinium_T1w.nii.gz")
    sidecar = tmp_path / "sub-01/ses-a/anat/sub-01_ses-a_ce-gadolinium_T1w.json"
    sidecar.write_text('{"EchoTime": 0.009, "RepetitionTime": 0.55, "MagneticFieldStrength": 3}')
    found = listed(tmp_path)
    assert list(found) == [("sub-01", "ses-a"), ("sub-01", "ses-b"), ("sub-02", "ses-a")]
    (series,) = found["sub-01", "ses-a"].values()
    assert series.facts.entities == {"sub": "01", "ses": "a", "ce": "gadolinium", "suffix": "T1w"}
    assert (series.facts.te_ms, series.facts.tr_ms) == (9, 550)


def test_any_names_in_any_formats_and_masks_apart(tmp_path):
    nifti(tmp_path / "case/scan1.nii.gz")
    write_mha(tmp_path / "case/weird name.mha", image())
    nifti(tmp_path / "case/T2/x.nii")
    nifti(tmp_path / "case/lesion_seg.nii.gz")
    (tmp_path / "case/broken.nii").write_bytes(b"no")
    (tmp_path / "notes.txt").write_text("hello")
    listing = list_series(tmp_path)
    ((_, series),) = listed(tmp_path).items()
    assert set(series) == {"scan1.nii.gz", "weird name.mha", "x.nii"}
    assert series["x.nii"].facts.label == "T2/x.nii"
    assert {(s.reason.split(":")[0], s.lost) for s in listing.skipped} == {
        ("is a mask, no image", False),
        ("is no NIfTI image", True),
    }
    for s in series.values():
        assert read_listed(s).data.shape == s.grid.shape
        assert volume_of(s, Modality.T1).path == s.path


def test_the_channels_of_a_decathlon_image(tmp_path):
    case = write_decathlon(tmp_path) / "imagesTr" / "BRATS_001.nii.gz"
    listing = list_series(tmp_path)
    assert [(p.label, len(p.visits[0].series)) for p in listing.patients] == [("BRATS_001", 4), ("BRATS_002", 4)]
    found = [s for s in listing.series if s.path == case]
    assert [s.facts.description for s in found] == ["FLAIR", "T1", "T1ce", "T2"]
    volumes = load_study(case).volumes
    for s, m in zip(found, (Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2), strict=True):
        np.testing.assert_array_equal(read_listed(s).data, volumes[m].data)


def test_dicom_and_files_together(tmp_path):
    nifti(tmp_path / "nifti/a.nii.gz")
    write_series(tmp_path / "dicom", ball(GRID), GRID, new_person(), SeriesPlan())
    assert [p.label for p in list_series(tmp_path).patients][1:] == ["patient 1"]


def test_an_archive_of_image_files(tmp_path):
    path = nifti(tmp_path / "x/Case_t1.nii.gz")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        z.write(path, "x/Case_t1.nii.gz")
    with list_series(tmp_path / "x.zip") as listing:
        (series,) = listing.series
        assert series.facts.file_name == "Case_t1.nii.gz"
        read_listed(series)
