"""What hospitals hand out and nothing can be made of, at every command: a sentence each, no traceback, nothing left behind."""

from __future__ import annotations

import re

import pytest
from dicom_studies import new_person
from helpers.bad_exports import REFUSED, as_film, four
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.study import Modality


def call(*words):
    done = CliRunner().invoke(app, [*map(str, words)])
    assert "Traceback" not in done.output and (done.exception is None or isinstance(done.exception, SystemExit))
    return done


def said(done) -> str:
    """All that was said, in one line."""
    return " ".join(done.output.split())


@pytest.fixture
def work(tmp_path, tiny_model):
    """Command → its words before the study."""
    return {
        "inspect": ["inspect"],
        "prepare": ["prepare", "--brain", "rough", "--out", tmp_path / "out"],
        "predict": ["predict", "--model", tiny_model, "--device", "cpu", "--out", tmp_path / "out"],
    }


@pytest.mark.parametrize("command", ["inspect", "prepare", "predict"])
@pytest.mark.parametrize("what", REFUSED, ids=lambda f: f.__name__)
def test_it_is_refused_in_words(what, command, work, tmp_path):
    done = call(*work[command], what(tmp_path / "export"))
    assert done.exit_code == 3, done.output
    assert re.search(REFUSED[what] + "|no study", said(done)), done.output
    left = {p.name for p in (tmp_path / "out").glob("[!.]*")}
    assert left <= {"prepared.csv", "summary.csv"} and not list((tmp_path / "out").glob(".part*"))


@pytest.mark.parametrize("command", ["prepare", "predict"])
def test_two_patients_are_never_mixed(command, work, tmp_path):
    four(tmp_path / "export", new_person(patient_id="A", name="Doe^Ann"))
    four(tmp_path / "export" / "b", new_person(patient_id="B", name="Roe^Bea"))
    done = call(*work[command], tmp_path / "export")
    assert done.exit_code == 3 and "2 patients, who are never mixed" in said(done) and "--patient" in said(done)
    assert "Doe" not in done.output and "Roe" not in done.output


def test_predict_names_the_series_that_is_missing(work, tmp_path):
    four(tmp_path / "export", new_person(), (Modality.T1, Modality.T1CE, Modality.FLAIR))
    done = call(*work["predict"], tmp_path / "export")
    assert done.exit_code == 3 and "T2" in said(done), done.output
    assert "No series was found to be T2." in said(call("inspect", tmp_path / "export"))


@pytest.mark.parametrize("command", ["prepare", "predict"])
def test_a_syntax_that_no_decoder_reads_is_named(command, work, tmp_path):
    four(tmp_path / "export", new_person())
    for path in (tmp_path / "export" / "t2").iterdir():
        as_film(path)
    done = call(*work[command], tmp_path / "export")
    assert done.exit_code == 3 and "MPEG2" in said(done), done.output


def test_files_cut_short_among_good_ones_are_named(work, tmp_path):
    four(tmp_path / "export", new_person())
    files = sorted((tmp_path / "export" / "flair").iterdir())
    files[3].write_bytes(b"")
    files[5].write_bytes(files[5].read_bytes()[:-900])
    told = said(call("inspect", tmp_path / "export"))
    assert ("1 slice is cut short in the file" in told and "1 file is empty" in told) or "empty" in told, told
    assert "missing" in told
