"""From a DICOM folder to its mask, its objects and its report by one command."""

from __future__ import annotations

import json

import numpy as np
import pytest
from dicom_studies import new_person, write_clinical
from helpers.secrets_of import leaks, secrets_in
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_segmentation
from brainseg_engine.io.derived.reading import read_derived
from brainseg_engine.io.derived.source import series_uid
from brainseg_engine.studies.incoming import find_study

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")


@pytest.fixture(scope="module")
def clinical(tmp_path_factory):
    """Four series on one grid: which of them the mask is of, only the study tells."""
    folder = tmp_path_factory.mktemp("clinical") / "Lindqvist"
    study = make_study(shape=(48, 52, 60), affine=np.diag([-3.5, -3.5, 2.5, 1.0]))
    person = new_person(name="Lindqvist^Thyra", patient_id="PAT-00918273")
    write_clinical(folder, study, thickness_mm=None, distractors=2, person=person)
    return folder


def predict(clinical, model, out, *more):
    call = [
        "predict",
        str(clinical),
        "--out",
        str(out),
        "--model",
        str(model),
        "--device",
        "cpu",
        "--no-prepare",
        *more,
    ]
    return CliRunner().invoke(app, call)


@pytest.mark.slow
def test_mask_objects_and_report_at_once(clinical, tiny_model, tmp_path):
    done = predict(clinical, tiny_model, tmp_path, "--to", "seg,sr,report", "--json")
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)["results"]
    assert {f.rpartition(".")[2] for f in row["files"]} == {"dcm", "html"}
    mask = load_segmentation(row["output"])
    seg = next(f for f in row["files"] if f.endswith("_seg.dcm"))
    t1ce = find_study(clinical).listed[Modality.T1CE]
    assert pydicom.dcmread(seg).ReferencedSeriesSequence[0].SeriesInstanceUID == series_uid(t1ce)
    back = read_derived(seg, grid=mask.grid)
    assert np.array_equal(back.labels, mask.labels)
    again = predict(clinical, tiny_model, tmp_path, "--to", "seg")
    assert again.exit_code == 0 and "skipped" in again.output  # the mask is there; the objects are written anew


@pytest.mark.slow
def test_de_identified_nothing_of_it_tells_whose_it_is(clinical, tiny_model, tmp_path):
    out = tmp_path / "out"
    more = ("--to", "images,seg,report", "--deidentify", "--with-face", "--key", str(tmp_path / "project.key"))
    done = predict(clinical, tiny_model, out, *more)
    assert done.exit_code == 0, done.output
    assert "files)" in done.output  # copies are told by their folder
    secrets = secrets_in(p for p in clinical.rglob("*") if p.is_file())
    assert leaks(out, {s for s in secrets if not s.isdigit() or len(s) > 6} | {"lindqvist", "00918273"}) == []
    names = {p.name.split("_")[0] for p in out.iterdir() if p.name.startswith("P-")}
    assert len(names) == 1
    copies = find_study(next(out.glob("*_images")))
    assert set(copies.listed) == set(Modality)


def test_what_cannot_be_exported_fails_that_study_and_keeps_its_mask(clinical, tiny_model, tmp_path):
    done = predict(clinical, tiny_model, tmp_path, "--to", "images")
    assert done.exit_code == 3
    assert "The mask is written, the rest is not" in done.output
    assert list(tmp_path.glob("*_seg.nii.gz"))
    assert predict(clinical, tiny_model, tmp_path / "o", "--to", "dwg").exit_code == 3
    assert not (tmp_path / "o" / "summary.csv").exists()
