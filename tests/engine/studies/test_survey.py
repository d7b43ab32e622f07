"""`data check` and `data split` as a person calls them."""

import csv
import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from helpers.layouts_on_disk import write_decathlon, write_slices
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.phantom import write_study
from brainseg_engine.studies.survey import summary, survey


def call(*args):
    return CliRunner().invoke(app, [str(a) for a in args], prog_name="napari-brainseg")


@pytest.fixture
def data(tmp_path):
    for i in range(3):
        write_study(make_study(i, id=f"BraTS-GLI-0000{i}-000"), tmp_path / "data")
    return tmp_path / "data"


def only(folder, pattern):
    [found] = folder.glob(pattern)
    return found


def test_what_is_there_is_counted(data):
    reports = survey(data)
    overview = summary(reports)
    assert (overview["cases"], overview["patients"], overview["unusable"], overview["without_mask"]) == (3, 3, 0, 0)
    assert overview["modalities"] == {"t1": 3, "t1ce": 3, "t2": 3, "flair": 3}
    assert overview["shapes"] == {"28×32×24": 3}
    assert overview["spacings_mm"] == {"1×1×1": 3}
    assert overview["orientations"] == {"LPS": 3}
    assert overview["codings"] == {"brats2023": 3}
    assert overview["labels"] == {"NCR": 3, "ED": 3, "ET": 3}
    truth = make_study(1).segmentation.labels
    assert reports[1].labels == {label: int((truth == label).sum()) for label in Label if (truth == label).any()}


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _rewrite(path, change):
    old = nib.load(path)
    nib.save(nib.Nifti1Image(change(np.asarray(old.dataobj)), old.affine), path)


def _shifted(path):
    old = nib.load(path)
    affine = old.affine.copy()
    affine[0, 3] += 5
    nib.save(nib.Nifti1Image(np.asarray(old.dataobj), affine), path)


ERRORS = {
    "a series is missing": (False, lambda f: only(f, "*t2w*").unlink(), "No file is named as T2"),
    "a header is damaged": (False, lambda f: only(f, "*t2w*").write_bytes(b"\x1f\x8bno"), "damaged|cut short"),
    "another grid": (False, lambda f: _shifted(only(f, "*t2w*")), "another grid"),
    "the mask's grid": (False, lambda f: _shifted(only(f, "*seg*")), "lies elsewhere than its images"),
    "the mask's values": (False, lambda f: _rewrite(only(f, "*seg*"), lambda a: a + 40), "does not have"),
    "an image is cut short": (True, lambda f: _cut(only(f, "*t2w*")), "cut short|damaged"),
    "an image of zeros": (True, lambda f: _rewrite(only(f, "*t2w*"), np.zeros_like), "only zeros"),
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_case_that_cannot_be_used_is_named_and_the_others_are_not(what, data):
    full, damage, words = ERRORS[what]
    damage(data / "BraTS-GLI-00001-000")
    reports = survey(data, full=full)
    assert [r.name for r in reports if r.errors] == ["BraTS-GLI-00001-000"]
    assert any(word in " ".join(reports[1].errors) for word in words.split("|")), reports[1].errors
    result = call("data", "check", data, *(["--full"] if full else []))
    assert result.exit_code == 3
    assert "BraTS-GLI-00001-000: error:" in result.stdout
    assert "2 of 3 cases can be used" in result.stdout


@pytest.mark.parametrize("full", [False, True])
def test_one_case_twice_is_reported(data, full):
    twin = data / "BraTS-GLI-00009-000"
    shutil.copytree(data / "BraTS-GLI-00001-000", twin)
    for path in twin.iterdir():
        path.rename(twin / path.name.replace("00001", "00009"))
    [bad] = [r for r in survey(data, full=full) if r.errors]
    assert bad.name == twin.name
    assert "of BraTS-GLI-00001-000: it is the same case twice" in bad.errors[0]


def test_empty_regions_and_absent_masks_are_counted(data):
    _rewrite(only(data / "BraTS-GLI-00000-000", "*seg*"), lambda a: np.where(a == 3, 1, a).astype(np.uint8))
    _rewrite(only(data / "BraTS-GLI-00001-000", "*seg*"), np.zeros_like)
    only(data / "BraTS-GLI-00002-000", "*seg*").unlink()
    reports = survey(data)
    assert [r.empty for r in reports] == [(Region.ET,), tuple(Region), ()]
    assert summary(reports)["regions"]["ET"] == {"measured": 2, "empty": 2}
    assert summary(reports)["without_mask"] == 1
    assert not any(r.errors for r in reports)
    result = call("data", "check", data)
    assert result.exit_code == 0
    assert "no ET enhancing tumour  2 of 2 (100%)" in result.stdout
    assert "BraTS-GLI-00002-000: warning: It has no mask" in result.stdout


def test_json_is_one_object_with_nothing_lost(data):
    result = call("data", "check", data, "--json")
    content = json.loads(result.stdout)
    assert [c["case"] for c in content["cases"]] == [f"BraTS-GLI-0000{i}-000" for i in range(3)]
    assert content["cases"][0]["spacing_mm"] == [1.0, 1.0, 1.0]
    assert content["summary"]["cases"] == 3


def test_the_other_layouts(tmp_path):
    write_decathlon(tmp_path / "four")
    write_slices(tmp_path / "slices" / "TCGA_AB_1234_19990101")
    write_slices(tmp_path / "slices" / "TCGA_AB_1234_20000101", numbers=(1, 3, 4), seed=1)
    four, slices = survey(tmp_path / "four"), survey(tmp_path / "slices", full=True)
    assert summary(four)["codings"] == {"decathlon": 2}
    assert not any(r.errors for r in (*four, *slices))
    overview = summary(slices)
    assert (overview["patients"], overview["spacings_mm"], overview["modalities"]["t2"]) == (1, {"unknown": 2}, 0)
    assert overview["regions"]["ET"] == {"measured": 0, "empty": 0}
    assert "no slice 2" in slices[1].warnings[0]
    (tmp_path / "slices" / "TCGA_AB_1234_20000101" / "TCGA_AB_1234_20000101_3_mask.tif").unlink()
    assert "slice 3 has no mask" in survey(tmp_path / "slices")[1].errors[0]


def test_a_folder_without_cases_exits_3(tmp_path):
    result = call("data", "check", tmp_path)
    assert result.exit_code == 3
    assert "holds no case" in result.stderr


def test_a_split_is_written_once_and_says_what_it_is(data, tmp_path):
    only(data / "BraTS-GLI-00002-000", "*seg*").unlink()
    for i in range(3, 9):
        write_study(make_study(i, id=f"BraTS-GLI-0000{i}-000"), data)
    out = tmp_path / "new" / "split.csv"
    first = call("data", "split", data, "--out", out, "--validation", "0.25")
    assert first.exit_code == 0, first.stderr
    assert first.stdout.startswith(f"Wrote {out}: train 6, validation 2 cases.\n8 patients, 0 of them with several")
    assert "1 case without a mask left out" in first.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [r["case"] for r in rows] == [f"BraTS-GLI-0000{i}-000" for i in (0, 1, 3, 4, 5, 6, 7, 8)]
    assert {r["patient"] for r in rows} == {f"BraTS-GLI-0000{i}" for i in (0, 1, 3, 4, 5, 6, 7, 8)}
    before = out.read_bytes()
    again = call("data", "split", data, "--out", out, "--validation", "0.25")
    assert again.exit_code == 4
    assert "add --force" in again.stderr
    assert call("data", "split", data, "--out", out, "--validation", "0.25", "--force").exit_code == 0
    assert out.read_bytes() == before
    folds = call("data", "split", data, "--out", tmp_path / "folds.csv", "--folds", "4")
    assert "fold 0 2, fold 1 2, fold 2 2, fold 3 2 cases." in folds.stdout
    both = call("data", "split", data, "--out", tmp_path / "x.csv", "--folds", "4", "--validation", "0.2")
    assert both.exit_code == 8
    assert "contradict" in both.stderr
    unlike = call("data", "split", data, "--out", tmp_path / "x.csv", "--coding", "brats2021")
    assert unlike.exit_code == 3 and "holds the value 3" in unlike.stderr and not (tmp_path / "x.csv").exists()
    assert call("data", "split", data, "--out", tmp_path / "x.csv", "--coding", "brats2023").exit_code == 0
