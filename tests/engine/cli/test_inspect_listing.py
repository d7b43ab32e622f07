"""`napari-brainseg inspect` of DICOM: patients, dates, series and verdicts; no name, id or UID."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pytest
from dicom_studies import NAMES, new_person, write_clinical, write_other_object
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.phantom.dicom import SeriesPlan, write_series


def inspect(*args) -> tuple[int, dict]:
    result = CliRunner().invoke(app, ["inspect", *map(str, args), "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def export(tmp_path):
    folder = tmp_path / "export"
    person = write_clinical(
        folder / "A", make_study(shape=(40, 40, 50), affine=np.diag([-4.0, -4.0, 3.0, 1.0])), vendor="GE"
    )
    earlier = new_person(patient_id=person.patient_id, study_date="20230101")
    write_clinical(folder / "B", make_study(shape=(40, 40, 50)), person=earlier, distractors=1)
    sorted((folder / "A" / "S0004").iterdir())[3].unlink()
    write_other_object(folder / "A" / "report", person, "report")
    (folder / "AUTORUN.INF").write_text("x")
    return folder


def test_patients_dates_series_and_verdicts(export):
    code, report = inspect(export)
    assert code == 0 and report["usable"]
    (patient,) = report["patients"]
    assert [(v["label"], v["date"]) for v in patient["studies"]] == [
        ("study 1 (1 of 2)", "2023-01-01"),
        ("study 2 (2 of 2)", "2025-03-14"),
    ]
    series = {s["label"]: s for s in patient["studies"][1]["series"]}
    assert len(series) == 19
    assert set(NAMES["GE"].values()) <= set(series)
    assert series["AX T1 FSE +C"]["remarks"][0]["code"] == "missing-slices"
    assert len(series["AX T1 FSE +C"]["missing_mm"]) == 1
    assert series["localizer"]["orientations"] == 3
    assert {s["use"]: s["label"] for s in series.values() if s["use"]} == {m.value: n for m, n in NAMES["GE"].items()}
    assert "contrast agent named" in series["AX T1 FSE +C"]["reason"]
    assert {(s["files"], s["reason"]) for s in report["skipped"]} == {
        (1, "is a structured report, no image"),
        (1, "is no DICOM file"),
    }
    assert [p["code"] for p in report["problems"]] == ["several-dates"]


def test_the_table_shows_the_same_and_nothing_of_the_patient(export):
    result = CliRunner().invoke(app, ["inspect", str(export)])
    assert result.exit_code == 0
    for word in ("patient 1, study 2 (2 of 2)  2025-03-14", "AX T2 FLAIR", "1 slice is missing, at", "choose one"):
        assert word in result.stdout
    for secret in ("PHANTOM-1", "Philippa", "19700101", "1.2.826"):
        assert secret not in result.output
        assert secret not in json.dumps(inspect(export)[1])


def test_an_archive_is_listed(export, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as z:
        for path in (export / "A").rglob("*"):
            z.write(path, path.relative_to(export))
    code, report = inspect(tmp_path / "x.zip")
    assert code == 0
    assert len(report["patients"][0]["studies"][0]["series"]) == 19


def test_two_patients_are_said(tmp_path):
    study = make_study(shape=(40, 40, 50))
    write_clinical(tmp_path / "a", study, distractors=0)
    write_clinical(tmp_path / "b", study, distractors=0, person=new_person(patient_id="P2", name="Other^One"))
    report = inspect(tmp_path)[1]
    assert [p["label"] for p in report["patients"]] == ["patient 1", "patient 2"]
    assert "never mixed" in report["problems"][0]["message"]


def test_ct_alone_is_one_sentence(tmp_path):
    volume = next(iter(make_study(shape=(40, 40, 12)).volumes.values()))
    plan = SeriesPlan("CT head", tags={"Modality": "CT"})
    write_series(tmp_path, volume.data.astype("int16"), volume.grid, new_person(), plan)
    code, report = inspect(tmp_path)
    assert code == 3
    assert report["problems"][0]["message"] == "There is no MR among these series, but CT. Give the MR study."


@pytest.mark.parametrize("slices", [1, 3])
def test_a_few_slices_are_no_volume(tmp_path, slices):
    volume = next(iter(make_study(shape=(40, 40, 12)).volumes.values()))
    from brainseg_engine.core.geometry import Grid

    grid = Grid((40, 40, slices), volume.grid.affine)
    write_series(tmp_path, volume.data[:, :, :slices].astype("int16"), grid, new_person())
    code, report = inspect(tmp_path)
    assert code == 3
    assert "at least 8 slices" in report["problems"][0]["message"]


def test_a_folder_without_images_is_one_sentence(tmp_path):
    write_other_object(tmp_path / "x", new_person(), "document")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert result.exit_code == 3
    assert "is an encapsulated document" in " ".join(result.output.split())
