"""Files assigned by hand: to inspect and predict, by path, name or pattern."""

from __future__ import annotations

import json

import pytest
from helpers.layouts_on_disk import write_slices
from helpers.on_disk import image, write, write_series
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study
from brainseg_engine.io.file_facts import file_facts
from brainseg_engine.studies.assignment import assigned
from brainseg_engine.studies.tag_rules import judge

T1, T1CE, T2, FLAIR = Modality


@pytest.fixture
def odd(tmp_path):
    """A study whose names tell nothing but the T2's."""
    folder = tmp_path / "patient"
    for i, name in enumerate(("scan1", "scan2_km", "x_t2", "scan9")):
        write(folder / f"{name}.nii.gz", image(i))
    return folder


def test_files_of_any_name_by_name_pattern_and_path(odd, tmp_path):
    elsewhere = write(tmp_path / "other" / "dark.nii.gz", image(7))
    series = assigned(odd, {T1: "scan1.nii.gz", T1CE: "*km*", FLAIR: str(elsewhere)})
    assert series.problems == [] and series.unknown == (odd / "scan9.nii.gz",)
    assert dict(series.files) == {
        T1: odd / "scan1.nii.gz",
        T1CE: odd / "scan2_km.nii.gz",
        T2: odd / "x_t2.nii.gz",
        FLAIR: elsewhere,
    }
    assert list(load_study(series).volumes) == list(Modality)


def test_the_hand_stands_above_the_names(tmp_path):
    files = write_series(tmp_path)
    series = assigned(tmp_path, {T1: files[T1CE].name, T1CE: files[T1].name})
    assert dict(series.files) == files | {T1: files[T1CE], T1CE: files[T1]}
    without = assigned(tmp_path, {T2: None})
    assert T2 not in without.files and without.problems[0].startswith("No file is named as T2")


def test_two_candidates_are_settled_by_hand(tmp_path):
    write_series(tmp_path)
    write(tmp_path / "Case_7_b_t1.nii.gz", image(9))
    with pytest.raises(InputError, match="Several files may be T1"):
        load_study(tmp_path)
    assert load_study(assigned(tmp_path, {T1: "*_b_t1*"})).volumes[T1].path.name == "Case_7_b_t1.nii.gz"


def test_two_patients_that_belong_together_after_all(tmp_path):
    for i, name in enumerate(("BraTS_147_t1", "BraTS_147_t1ce", "BraTS_148_t2", "BraTS_148_flair")):
        write(tmp_path / f"{name}.nii.gz", image(i))
    with pytest.raises(InputError, match="different patients"):
        load_study(tmp_path)
    assert load_study(assigned(tmp_path, {T2: "*148_t2*"})).volumes.keys() == set(Modality)


def test_inspect_takes_the_options_and_the_file(odd, tmp_path):
    (tmp_path / "names.toml").write_text('t1ce = "*km*"\nt1 = "scan9.nii.gz"\n', encoding="utf-8")
    result = CliRunner().invoke(app, ["inspect", str(odd), "--json", "--assign", str(tmp_path / "names.toml"),
                                    "--t1", "scan1.nii.gz", "--flair", "scan9.nii.gz"])  # fmt: skip
    files = {m: t["file"].rpartition("/")[2] for m, t in json.loads(result.stdout)["modalities"].items()}
    assert files == {"t1": "scan1.nii.gz", "t1ce": "scan2_km.nii.gz", "t2": "x_t2.nii.gz", "flair": "scan9.nii.gz"}
    wrong = CliRunner().invoke(app, ["inspect", str(odd), "--t1", "nowhere.nii.gz"])
    assert wrong.exit_code == 3 and "'nowhere.nii.gz', given for T1, fits no series" in wrong.stderr


def test_predict_takes_them_too(odd, tmp_path, tiny_model):
    result = CliRunner().invoke(app, ["predict", str(odd), "--out", str(tmp_path / "out"), "--model", str(tiny_model), "--json",
                                    "--t1", "scan1.nii.gz", "--t1ce", "*km*", "--flair", "scan9.nii.gz"])  # fmt: skip
    (row,) = json.loads(result.stdout)["results"]
    assert row["status"] == "done", row


def test_slices_are_not_assigned_one_by_one(tmp_path):
    folder = tmp_path / "TCGA_HT_8018_19970411"
    write_slices(folder)
    with pytest.raises(InputError, match="holds image slices, which cannot be assigned one by one"):
        assigned(folder, {T1: "x"})


def test_a_sidecar_tells_what_the_name_does_not(tmp_path):
    path = write(tmp_path / "series7.nii.gz", image(shape=(20, 20, 12)))
    assert judge(file_facts(path)).family is None
    sidecar = {"EchoTime": 0.012, "RepetitionTime": 0.55, "ContrastBolusIngredient": "GADOLINIUM", "ScanningSequence": "SE",
            "SeriesDescription": "t1_se", "AcquisitionTime": "09:30:00.5", "ImageType": ["ORIGINAL", "PRIMARY"]}  # fmt: skip
    (tmp_path / "series7.json").write_text(json.dumps(sidecar), encoding="utf-8")
    facts = file_facts(path)
    assert (facts.te_ms, facts.tr_ms, facts.slices, facts.acquired.hour) == (12.0, 550.0, 12, 9)
    verdict = judge(facts)
    assert (verdict.family, verdict.contrast) == (T1, True)
    (tmp_path / "series7.json").write_text('{"EchoTime": "x", "RepetitionTime": [1], "ImageType": 7', encoding="utf-8")
    assert judge(file_facts(path)).family is None
