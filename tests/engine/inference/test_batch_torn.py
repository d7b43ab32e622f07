"""Results that a kill tore, two calls into one folder, and tables of other programs."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.small_study import make_study

from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.events import silent
from brainseg_engine.inference import batch
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_study, save_segmentation
from brainseg_engine.io.sidecars import sidecar_state
from brainseg_engine.phantom import write_study


@pytest.fixture
def study(tmp_path) -> Path:
    return write_study(make_study(id="Case"), tmp_path / "data")


def predicted(model, study: Path, out: Path, **settings) -> batch.PredictOutcome:
    (row,) = batch.predict_many(
        Predictor(model, "cpu"), [study], batch.PredictSettings(out, **settings), lambda _: silent
    )
    return row


def test_a_pair_that_a_kill_tore_is_made_anew(study, tiny_model, tmp_path):
    out = tmp_path / "out"
    mask = out / "Case_seg.nii.gz"
    assert predicted(tiny_model, study, out).status == "done"
    truth = load_study(study).segmentation
    save_segmentation(truth, mask, sidecar={"model": "another"})
    old = mask.read_bytes()
    assert predicted(tiny_model, study, out, overwrite=True).status == "done"
    new = mask.read_bytes()
    assert new != old
    mask.write_bytes(old)  # the kill came when the sidecar had its name and the mask had not
    assert sidecar_state(mask) == "torn"
    assert predicted(tiny_model, study, out).status == "done"
    assert sidecar_state(mask) == "whole" and mask.read_bytes() == new
    assert predicted(tiny_model, study, out).status == "skipped"


def test_a_mask_that_a_person_changed_is_not_replaced(study, tiny_model, tmp_path):
    out = tmp_path / "out"
    predicted(tiny_model, study, out)
    mask = out / "Case_seg.nii.gz"
    mask.write_bytes(mask.read_bytes() + b"\0")
    row = predicted(tiny_model, study, out)
    assert row.status == "failed" and "was changed since it was made" in row.message
    assert predicted(tiny_model, study, out, overwrite=True).status == "done"


def test_a_table_of_another_program_is_not_replaced(tmp_path):
    (tmp_path / "summary.csv").write_text("patient,age\n1,54\n")
    with pytest.raises(OutputError, match="no summary of this program"):
        batch.write_summary([batch.PredictOutcome("a", "done")], tmp_path / "summary.csv")
    assert (tmp_path / "summary.csv").read_text() == "patient,age\n1,54\n"


WRITE = """
import sys
from pathlib import Path
from brainseg_engine.inference.batch import PredictOutcome, write_summary
for n in range(12):
    write_summary([PredictOutcome(f"{sys.argv[2]}{n}", "done", volumes_ml={"WT": 1.0})], Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_several_processes_write_into_one_summary(tmp_path):
    path = tmp_path / "summary.csv"
    running = [subprocess.Popen([sys.executable, "-c", WRITE, str(path), who]) for who in "abc"]
    assert all(p.wait(120) == 0 for p in running)
    with path.open(newline="") as f:
        assert sorted(r["id"] for r in csv.DictReader(f)) == sorted(f"{who}{n}" for who in "abc" for n in range(12))


def test_names_that_are_no_unicode_are_rows(tmp_path):
    rows = [batch.PredictOutcome("caf\udce9", "failed", "bad\udcff \x1b[2J"), batch.PredictOutcome("b", "done")]
    for _ in range(2):
        batch.write_summary(rows, tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open(newline="", encoding="utf-8") as f:
        assert [r["id"] for r in csv.DictReader(f)] == ["caf\\udce9", "b"]
