"""Who is who: sessions of equal names in two patients' folders, and whose cases a split keeps together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import InputError, TrainingError
from brainseg_engine.core.study import Modality
from brainseg_engine.evaluation import evaluate
from brainseg_engine.inference import batch
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import find_studies, save_segmentation, save_volume
from brainseg_engine.io.sessions import kept_apart, patient_in
from brainseg_engine.studies import cohort

NAMES = {Modality.T1: "T1", Modality.T1CE: "T1ce", Modality.T2: "T2", Modality.FLAIR: "FLAIR"}


def write(folder: Path, seed: int, mask: bool = True) -> Path:
    study = make_study(seed)
    for m, name in NAMES.items():
        save_volume(study.volumes[m].data, study.reference.grid, folder / f"{name}.nii.gz")
    if mask:
        save_segmentation(study.segmentation, folder / "seg.nii.gz", sidecar={})
    return folder


@pytest.fixture(params=["week-000", "ses-01", "baseline", "2020-01-31", "exam A"])
def two(tmp_path, request) -> Path:
    """Two patients whose sessions have one name; the last is no word that names sessions."""
    for i in (1, 2):
        write(tmp_path / "data" / f"Patient-00{i}" / request.param, i)
    return tmp_path / "data"


def test_each_prediction_meets_its_own_truth(two, tmp_path):
    """Named by id in one folder, or lying as the data do: the masks of the two are never exchanged."""
    flat, as_data = tmp_path / "flat", tmp_path / "as_data"
    for i, study in enumerate(sorted(find_studies(two)), start=1):
        truth = make_study(i).segmentation
        name = f"Patient-00{i}_{study.name}"
        save_segmentation(truth, flat / f"{name}_seg.nii.gz", sidecar={})
        save_segmentation(truth, as_data / study.relative_to(two) / "seg_seg.nii.gz", sidecar={})
        save_segmentation(truth, as_data / study.relative_to(two) / f"{study.name}_seg.nii.gz", sidecar={})
    for folder in (flat, as_data):
        scores = evaluate(two, folder)
        assert len(scores.cases) == 2 and not scores.failed and not scores.missing
        assert all(s.dice == 1 for case in scores.cases.values() for s in case.values())


def test_a_mask_named_by_the_session_alone_is_nobodys(two, tmp_path):
    save_segmentation(
        make_study(1).segmentation, tmp_path / "p" / f"{find_studies(two)[0].name}_seg.nii.gz", sidecar={}
    )
    scores = evaluate(two, tmp_path / "p")
    assert not scores.cases and len(scores.missing) == 2


def test_each_study_has_its_row_and_mask(two, tmp_path, tiny_model):
    rows = list(batch.predict_many(
        Predictor(tiny_model, "cpu"), find_studies(two), batch.PredictSettings(tmp_path / "out"), lambda _: lambda e: None
    ))  # fmt: skip
    assert [r.status for r in rows] == ["done", "done"] and len({r.id for r in rows}) == 2
    batch.write_summary(rows, tmp_path / "out" / "summary.csv")
    assert len((tmp_path / "out" / "summary.csv").read_text().splitlines()) == 3
    assert len(list((tmp_path / "out").glob("*_seg.nii.gz"))) == 2


def test_a_split_keeps_each_patient_whole(two, tmp_path):
    write(two / "Patient-001" / "week-044", 7)
    cases = cohort.list_cases(two)
    assert len({c.name for c in cases}) == 3
    out = tmp_path / "split.csv"
    result = CliRunner().invoke(app, ["data", "split", str(two), "--out", str(out), "--validation", "0.4"])
    assert result.exit_code == 0 and "2 patients, 1 of them with several cases" in result.output
    split = cohort.read_split(out)
    assert len({side for case, side in split.items() if case.startswith("Patient-001")}) == 1
    assert len(set(split.values())) == 2
    assert all(cohort.cases(two, split, side) for side in set(split.values()))


@pytest.mark.parametrize(("name", "patient"), [
    ("sub-01_ses-2", "sub-01"), ("UCSF-PDGM-0391_FU016d", "UCSF-PDGM-0391"), ("PatientID_0003_Timepoint_1", "PatientID_0003"),
    ("Patient-001_week-000-1", "Patient-001"), ("P7_20200131", "P7"), ("BraTS-GLI-00001-001", "BraTS-GLI-00001"),
    ("P3_baseline", "P3"), ("Case_7", "Case_7"), ("BraTS2021_00147", "BraTS2021_00147"), ("Brats18_2013_2_1", "Brats18_2013_2"),
])  # fmt: skip
def test_whose_a_name_is(name, patient):
    assert cohort.patient_of(name) == patient
    assert patient_in("Case_7") == ""


def test_the_rule_can_be_said(tmp_path):
    cases = [cohort.CohortCase(n, tmp_path, f) for n, f in (("a1_x", "A"), ("a1_y", "A"), ("b2_x", "B"))]
    assert cohort.patients_of(cases, "case") == {"a1_x": "a1_x", "a1_y": "a1_y", "b2_x": "b2_x"}
    assert cohort.patients_of(cases, "folder") == {"a1_x": "A", "a1_y": "A", "b2_x": "B"}
    assert cohort.patients_of(cases, r"(\w\d)_") == {"a1_x": "a1", "a1_y": "a1", "b2_x": "b2"}
    for wrong in ("(", "a1_x", "(z)"):
        with pytest.raises(TrainingError, match="--patients"):
            cohort.patients_of(cases, wrong)


def test_names_that_still_clash_are_an_error():
    with pytest.raises(InputError, match="would both be called"):
        kept_apart({Path("/d/a/b_c/x"): "x", Path("/d/a_b/c/x"): "x"})
    assert np.array_equal(list(kept_apart({Path("/d/A/x"): "x", Path("/d/B/x"): "x", Path("/d/y"): "y"}).values()),
                          ["A_x", "B_x", "y"])  # fmt: skip
    assert replace(cohort.CohortCase("n", Path()), name="m").patient == "m"
