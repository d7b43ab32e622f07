"""From an export to the four series: the right visit, the right series, or one sentence."""

from __future__ import annotations

import re
import zipfile
from datetime import date

import numpy as np
import pytest
from dicom_studies import as_stored, new_person, write_clinical, write_distractors
from helpers.small_study import make_study

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study, read_series, save_volume
from brainseg_engine.io.series import Layout
from brainseg_engine.studies.incoming import Which, find_study, is_export, study_id
from brainseg_engine.studies.sources import expand

STUDY = make_study(shape=(48, 52, 60), affine=np.diag([-3.5, -3.5, 2.5, 1.0]))


def titles(series) -> dict[str, str]:
    return {m.value: s.facts.label for m, s in series.listed.items()}


@pytest.mark.parametrize(("vendor", "enhanced"), [("SIEMENS", False), ("GE", False), ("Philips", True)])
def test_four_series_among_nineteen(tmp_path, vendor, enhanced):
    write_clinical(tmp_path, STUDY, vendor=vendor, enhanced=enhanced, thickness_mm=None)
    series = find_study(tmp_path)
    from dicom_studies import NAMES

    assert titles(series) == {m.value: NAMES[vendor][m] for m in Modality}
    assert series.layout is Layout.LISTED and series.problems == []
    for m, volume in load_study(series).volumes.items():
        np.testing.assert_array_equal(volume.data, as_stored(STUDY.volumes[m].data))
        assert volume.grid.same_as(STUDY.volumes[m].grid, 1e-3)


def test_an_archive_lives_as_long_as_the_study(tmp_path):
    write_clinical(tmp_path / "x", STUDY, distractors=1)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as z:
        for path in (tmp_path / "x").rglob("*"):
            z.write(path, path.relative_to(tmp_path))
    series = find_study(tmp_path / "export.zip")
    assert series.id == "export"
    assert len(read_series(series)) == 4


def test_any_file_of_a_folder_stands_for_the_folder(tmp_path):
    write_clinical(tmp_path / "cd", STUDY, distractors=0, nested=False)
    series = find_study(next((tmp_path / "cd").iterdir()))
    assert series.id == "cd" and len(series.listed) == 4


def test_a_folder_of_the_patients_name_names_no_files(tmp_path):
    write_clinical(tmp_path / "Phantom Philippa 1970", STUDY, distractors=0)
    id_ = find_study(tmp_path / "Phantom Philippa 1970").id
    assert re.fullmatch(r"study-[0-9a-f]{8}", id_)
    assert study_id(tmp_path / "Phantom Philippa 1970") == id_


def test_several_patients_and_dates_ask_which(tmp_path):
    person = write_clinical(tmp_path / "a", STUDY, distractors=0)
    write_clinical(tmp_path / "b", STUDY, distractors=0, person=new_person(study_date="20240101"))
    with pytest.raises(InputError, match=r"holds 2 studies of one patient \(1: 2024-01-01, 2: 2025-03-14\)"):
        find_study(tmp_path)
    assert find_study(tmp_path, which=Which(visit=2)).listed[Modality.T1].facts.study_uid == person.study_uid
    write_clinical(tmp_path / "c", STUDY, distractors=0, person=new_person(patient_id="P2", name="Other^One"))
    with pytest.raises(InputError, match="holds 2 patients, who are never mixed"):
        find_study(tmp_path)
    with pytest.raises(InputError, match="no number 3"):
        find_study(tmp_path, which=Which(patient=3))


def test_a_visit_is_named_by_its_day_and_names_the_study(tmp_path):
    for day in ("20240101", "20250314"):
        write_clinical(tmp_path / "cd" / day, STUDY, distractors=0, person=new_person(study_date=day))
    later = Which(visit=date(2025, 3, 14))
    assert find_study(tmp_path / "cd", which=later).id == study_id(tmp_path / "cd", which=later) == "cd-v2"
    assert find_study(tmp_path / "cd", which=Which(visit=1)).id == "cd-v1"
    with pytest.raises(InputError, match="no study of 2020-01-01"):
        find_study(tmp_path / "cd", which=Which(visit=date(2020, 1, 1)))


@pytest.mark.parametrize("name", ["MR 2025-03-14", "14.03.2025", "03-14-2025-MR Brain"])
def test_a_folder_of_the_days_name_names_no_files(name, tmp_path):
    write_clinical(tmp_path / name, STUDY, distractors=0)
    assert study_id(tmp_path / name).startswith("study-")


def test_a_data_folder_of_dicom_studies_stands_for_them(tmp_path):
    for patient, visits in (("A", 2), ("B", 1)):
        for i in range(visits):
            person = new_person(patient_id=patient, name=f"{patient}^X", study_date=f"2020010{i + 1}")
            write_clinical(tmp_path / "data" / patient / f"MR{i}" / "DICOM", STUDY, distractors=0, person=person)
    write_clinical(tmp_path / "c", STUDY, distractors=0)
    with zipfile.ZipFile(tmp_path / "data" / "C.zip", "w") as z:
        for path in (tmp_path / "c").rglob("*.IMA"):
            z.write(path, path.name)
    data = tmp_path / "data"
    assert expand([data]) == [data / "A" / "MR0", data / "A" / "MR1", data / "B", data / "C.zip"]
    assert expand([data / "B"]) == [data / "B"] and expand([data / "A" / "MR1"]) == [data / "A" / "MR1"]
    assert expand([tmp_path / "c"]) == [tmp_path / "c"]  # folders of series


def test_dicom_beside_studies_of_files_is_not_left_out(tmp_path):
    write_study_files(tmp_path / "p1", STUDY)
    write_clinical(tmp_path / "p2", STUDY, distractors=0)
    assert expand([tmp_path]) == [tmp_path / "p1", tmp_path / "p2"]


def write_study_files(folder, study) -> None:
    for m, v in study.volumes.items():
        save_volume(v.data, v.grid, folder / f"{folder.name}_{m.value}.nii.gz")


def test_two_candidates_of_files_as_acquired_are_settled_and_those_of_one_grid_are_not(tmp_path):
    acquired, aligned = tmp_path / "acquired", tmp_path / "aligned"
    for i, (m, v) in enumerate(STUDY.volumes.items()):
        moved = v.grid.affine.copy()
        moved[2, 3] += 3.0 * i
        save_volume(v.data, Grid(v.grid.shape, moved), acquired / f"x_{m.value}.nii.gz")
        save_volume(v.data, v.grid, aligned / f"x_{m.value}.nii.gz")
    v = STUDY.volumes[Modality.T1CE]
    save_volume(v.data[:, :, :24], Grid((48, 52, 24), v.grid.affine), acquired / "x_t1_km.nii.gz")  # not the whole head
    save_volume(v.data, v.grid, aligned / "x_t1_km.nii.gz")
    found = find_study(acquired)
    assert found.files[Modality.T1CE].name == "x_t1ce.nii.gz" and not found.problems
    assert [n for n in found.notes if n.startswith("x_t1ce.nii.gz was taken for T1ce")]
    assert Modality.T1CE in find_study(aligned).ambiguous


def test_a_series_that_is_missing_is_said(tmp_path):
    volumes = {m: v for m, v in STUDY.volumes.items() if m is not Modality.T2}
    from dataclasses import replace

    write_clinical(tmp_path, replace(STUDY, volumes=volumes), distractors=3)
    series = find_study(tmp_path)
    assert series.problems == ["No series of this study was found to be T2. Assign it by hand."]


def test_series_are_assigned_by_hand(tmp_path):
    write_clinical(tmp_path, STUDY, distractors=15)
    series = find_study(tmp_path, {Modality.T2: "#32", Modality.T1: None})
    assert titles(series)["t2"] == "pd_tse_cor"
    assert "t1" not in titles(series)


def test_localisers_alone_are_no_study(tmp_path):
    write_distractors(tmp_path, new_person(), most=1)
    with pytest.raises(InputError, match="at least 8 slices"):
        find_study(tmp_path)


def test_what_is_listed_series_by_series(tmp_path):
    write_clinical(tmp_path / "dicom", STUDY, distractors=0)
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("x")
    assert is_export(tmp_path) and is_export(tmp_path / "dicom")
    assert is_export(next((tmp_path / "dicom/S0003").iterdir()))
    assert not is_export(tmp_path / "empty") and not is_export(tmp_path / "x.txt") and not is_export(tmp_path / "no")
