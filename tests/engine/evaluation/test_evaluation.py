"""Folders of predictions against folders of truths, from files on disk."""

from __future__ import annotations

import csv
import hashlib
import io
import json

import nibabel as nib
import numpy as np
import pytest

import brainseg_engine
from brainseg_engine.core.errors import Cancelled, CheckpointError, InputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.evaluation import evaluate, find_truths
from brainseg_engine.io import load_study
from brainseg_engine.scores.scorer import RegionScore

SHAPE = (12, 14, 10)
PERFECT = (1.0, 0.0)


def overlap(score):
    """Region → (Dice, HD95) of a case or of the means."""
    return {region: (s.dice, s.hd95_mm) for region, s in score.items()}


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine
    nib.save(nib.Nifti1Image(array, affine), path)


def tumour(shift=0, values=(1, 2, 4)):
    """Nested boxes: oedema around a core around an enhancing part, in file values NCR, ED, ET."""
    ncr, ed, et = values
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:9, 2:9, 2:8] = ed
    labels[3:8, 3:8, 3:7] = ncr
    labels[4:6, 4:6, 4:6] = et
    return np.roll(labels, shift, 1)


def study(folder, case, seed=0, values=(1, 2, 4)):
    """A study folder in the BraTS 2018 or 2023 layout, by its label values."""
    new = values == (1, 2, 3)
    rng = np.random.default_rng(seed)
    for ending in ("-t1n", "-t1c", "-t2w", "-t2f") if new else ("_t1", "_t1ce", "_t2", "_flair"):
        save(folder / case / f"{case}{ending}.nii.gz", rng.integers(1, 100, SHAPE).astype(np.int16))
    save(folder / case / f"{case}{'-' if new else '_'}seg.nii.gz", tumour(values=values))
    return folder / case


def prediction(folder, case, shift=0, name="{}_seg.nii.gz", **sidecar):
    save(folder / name.format(case), tumour(shift, (1, 2, 3)))
    stem = name.format(case).split(".")[0]
    (folder / f"{stem}.json").write_text(json.dumps({"coding": "brats2023", **sidecar}))


@pytest.fixture
def folders(tmp_path):
    for name in ("truth", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path / "truth", tmp_path / "masks"


def test_each_side_is_read_in_its_own_coding(folders):
    truth, masks = folders
    study(truth, "A", values=(1, 2, 4))
    study(truth, "B", values=(1, 2, 3))
    prediction(masks, "A")
    prediction(masks, "B", shift=2)
    result = evaluate(truth, masks)
    assert overlap(result.cases["A"]) == dict.fromkeys(Region, PERFECT)
    assert all(score.dice < 1 for score in result.cases["B"].values())
    assert result.cases["B"][Region.WT].hd95_mm == 2.0
    for region in Region:
        assert result.mean[region].dice == pytest.approx((1 + result.cases["B"][region].dice) / 2)
    assert (result.missing, result.failed, result.seen_in_training) == ((), {}, ())


def test_truth_against_itself_is_perfect(folders):
    truth, _ = folders
    study(truth, "A")
    assert overlap(evaluate(truth, truth).mean) == dict.fromkeys(Region, PERFECT)


def test_hgg_and_lgg_folders_are_looked_into(folders):
    truth, masks = folders
    study(truth / "HGG", "A")
    study(truth / "LGG", "B")
    prediction(masks, "A")
    prediction(masks, "B")
    assert set(evaluate(truth, masks).cases) == {"A", "B"}


@pytest.mark.parametrize("name", ["{}_seg.nii.gz", "{}-seg.nii.gz", "{}.nii.gz", "{}_seg.nii", "{}.nii"])
def test_predictions_are_found_by_name(folders, name):
    truth, masks = folders
    study(truth, "A")
    prediction(masks, "A", name=name)
    assert overlap(evaluate(truth, masks).mean) == dict.fromkeys(Region, PERFECT)


@pytest.mark.parametrize("name", ["A_seg.nii.gz", "A-seg.nii.gz", "A_seg.nii"])
def test_a_flat_folder_of_masks_is_a_truth(folders, name):
    truth, masks = folders
    save(truth / name, tumour(values=(1, 2, 4)))
    prediction(masks, "A")
    assert overlap(evaluate(truth, masks, truth_coding="brats2021").cases["A"]) == dict.fromkeys(Region, PERFECT)


def test_the_coding_of_the_predictions_helps_a_truth_that_tells_none(folders):
    truth, masks = folders
    save(truth / "A_seg.nii.gz", tumour(values=(1, 2, 3)))
    save(masks / "A.nii.gz", tumour(values=(1, 2, 3)))
    assert "--coding" in evaluate(truth, masks).failed["A"]
    assert overlap(evaluate(truth, masks, coding="brats2023").mean)[Region.ET] == PERFECT
    case = find_truths(truth)[0]
    assert (case.id, case.folder) == ("A", None)


def test_the_truth_may_have_a_coding_of_its_own(folders):
    truth, masks = folders
    save(truth / "A_seg.nii.gz", tumour(values=(2, 1, 3)))
    save(masks / "A.nii.gz", tumour(values=(1, 2, 4)))
    result = evaluate(truth, masks, coding="brats2021", truth_coding="decathlon")
    assert overlap(result.cases["A"]) == dict.fromkeys(Region, PERFECT)


def test_a_study_folder_is_not_counted_twice(folders):
    truth, masks = folders
    only = study(truth, "A")
    prediction(masks, "A")
    assert [t.id for t in find_truths(only)] == ["A"]
    assert set(evaluate(only, masks).cases) == {"A"}


def test_regions_that_were_not_measured_are_none(folders):
    truth, masks = folders
    study(truth, "A")
    study(truth, "B")
    prediction(masks, "A", regions={"WT": 1.0, "TC": None, "ET": None})
    prediction(masks, "B")
    result = evaluate(truth, masks)
    assert overlap(result.cases["A"])[Region.WT] == PERFECT
    assert result.cases["A"][Region.TC] == result.cases["A"][Region.ET] == RegionScore()
    assert overlap(result.mean)[Region.TC] == PERFECT  # of B alone
    assert result.summary[Region.TC]["dice"].n == 1
    assert set(json.loads(result.to_json())["cases"]["A"]["ET"].values()) == {None}
    row = next(csv.DictReader(io.StringIO(result.to_csv())))
    assert (row["case"], row["WT_dice"], row["ET_dice"], row["ET_hd95_mm"]) == ("A", "1.000000", "", "")


def test_a_bad_case_is_named_and_the_others_go_on(folders):
    truth, masks = folders
    for case in "ABCDE":
        study(truth, case)
    prediction(masks, "A")
    save(masks / "B_seg.nii.gz", tumour(values=(1, 2, 3))[:-1])  # another shape
    save(masks / "C_seg.nii.gz", np.full(SHAPE, 9, np.uint8))  # no coding has 9
    (masks / "D_seg.nii.gz").write_bytes(b"no image")
    result = evaluate(truth, masks, coding="brats2023")
    assert set(result.cases) == {"A"}
    assert set(result.failed) == set("BCD")
    assert result.missing == ("E",)
    assert "B_seg.nii.gz" in result.failed["B"]
    assert "11×14×10" in result.failed["B"]
    assert result.mean == result.cases["A"]


def test_a_grid_elsewhere_is_refused(folders):
    truth, masks = folders
    study(truth, "A")
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 5.0
    save(masks / "A_seg.nii.gz", tumour(), affine)
    assert "another grid" in evaluate(truth, masks, coding="brats2021").failed["A"]


def test_two_masks_in_a_study_are_a_failure_of_that_case(folders):
    truth, masks = folders
    folder = study(truth, "A")
    save(folder / "A_truth.nii.gz", tumour())
    prediction(masks, "A")
    result = evaluate(truth, masks)
    assert "A_seg.nii.gz" in result.failed["A"]
    assert "A_truth.nii.gz" in result.failed["A"]


def test_studies_without_a_mask_are_no_truth(folders):
    truth, masks = folders
    study(truth, "A")
    (study(truth, "B") / "B_seg.nii.gz").unlink()
    prediction(masks, "A")
    assert set(evaluate(truth, masks).cases) == {"A"}
    (truth / "A" / "A_seg.nii.gz").unlink()
    with pytest.raises(InputError, match="no truth"):
        evaluate(truth, masks)


def test_a_list_of_cases_limits_it(folders):
    truth, masks = folders
    for case in "ABC":
        study(truth, case)
        prediction(masks, case)
    (truth / "C").rename(truth / "patient3")
    assert set(evaluate(truth, masks, cases=["A", "patient3"]).cases) == {"A", "C"}
    with pytest.raises(InputError, match="D"):
        evaluate(truth, masks, cases=["A", "D"])
    with pytest.raises(InputError, match="empty list"):
        evaluate(truth, masks, cases=[])


@pytest.mark.parametrize("absent", [0, 1])
def test_an_absent_folder_is_named(folders, absent):
    study(folders[0], "A")
    asked = list(folders)
    asked[absent] = asked[absent].with_name("nowhere")
    with pytest.raises(InputError, match="nowhere"):
        evaluate(*asked)


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Installs a model file (card and recipe, no weights) that was trained on those images; gives its path."""
    from safetensors.numpy import save_file

    from brainseg_engine.models.checkpoint import FORMAT, Card
    from brainseg_engine.recipe import load_recipe

    monkeypatch.setenv("BRAINSEG_HOME", str(tmp_path / "home"))
    (tmp_path / "home" / "models").mkdir(parents=True)
    recipe = load_recipe("baseline")

    def put(name, hashes):
        card = Card(
            name=name,
            recipe="baseline",
            modalities=tuple(Modality),
            regions=tuple(Region),
            parameters=0,
            training_hashes=tuple(hashes),
        )
        path = tmp_path / "home" / "models" / f"{name}.safetensors"
        content = {"format": FORMAT, "card": card.model_dump_json(), "recipe": recipe.model_dump_json()}
        save_file({"none": np.zeros(1, np.float32)}, path, metadata=content)
        return path

    return put


def hashes_of(folder):
    return [v.sha256 for v in load_study(folder, segmentation=False).volumes.values()]


def test_cases_the_model_was_trained_on_are_reported(folders, install):
    truth, masks = folders
    for seed, case in enumerate("ABC"):
        study(truth, case, seed)
        prediction(masks, case, model="ours" if case != "C" else "unknown")
    a, b, c = (hashes_of(truth / case) for case in "ABC")
    ours = install("ours", [a[0], c[0]])
    assert evaluate(truth, masks).seen_in_training == ("A",)  # by sidecar, and C's model is not at hand
    assert evaluate(truth, masks, model="ours").seen_in_training == ("A", "C")
    assert evaluate(truth, masks, model=ours).seen_in_training == ("A", "C")
    install("theirs", b)
    result = evaluate(truth, masks, model="theirs")
    assert result.to_dict()["seen_in_training"] == ["B"]
    assert [row["seen_in_training"] for row in csv.DictReader(io.StringIO(result.to_csv()))] == ["0", "1", "0", ""]


def test_a_model_of_the_same_name_is_not_the_same_model(folders, install):
    truth, masks = folders
    study(truth, "A")
    path = install("ours", hashes_of(truth / "A"))
    prediction(masks, "A", model="ours", model_sha256="0" * 64)
    assert evaluate(truth, masks).seen_in_training == ()
    prediction(masks, "A", model="ours", model_sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    assert evaluate(truth, masks).seen_in_training == ("A",)


def test_the_images_may_be_known_by_the_sidecar_alone(folders, install):
    truth, masks = folders
    save(truth / "A_seg.nii.gz", tumour())
    prediction(masks, "A", model="ours", images={"t1": "abc", "t2": "def"})
    install("ours", ["def"])
    assert evaluate(truth, masks, truth_coding="brats2021").seen_in_training == ("A",)


@pytest.mark.parametrize("seen", [True, False])
def test_a_sidecar_may_tell_it_itself(folders, seen):
    truth, masks = folders
    study(truth, "A")
    prediction(masks, "A", model="unknown", seen_in_training=seen)
    assert evaluate(truth, masks).seen_in_training == (("A",) if seen else ())


def test_a_model_asked_for_must_be_there(folders):
    study(folders[0], "A")
    with pytest.raises(CheckpointError):
        evaluate(*folders, model="nowhere")


def test_it_can_be_cancelled_and_tells_its_progress(folders):
    truth, masks = folders
    for case in "AB":
        study(truth, case)
        prediction(masks, case)
    events = []
    evaluate(truth, masks, progress=events.append)
    fractions = [p.fraction for p in events]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    with pytest.raises(Cancelled):
        evaluate(truth, masks, cancelled=lambda: True)


def test_the_public_name_is_the_function(folders):
    truth, masks = folders
    study(truth, "A")
    prediction(masks, "A")
    assert brainseg_engine.evaluate(truth=truth, predictions=masks) == evaluate(truth, masks)


METRICS = """
import numpy as np

def volume_ratio(prediction, truth, spacing):
    return prediction.sum() / truth.sum() if truth.any() else None

def wrong(prediction, truth, spacing):
    raise ValueError("not today")
"""


def test_surface_dice_and_metrics_of_ones_own(folders, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from brainseg_engine.cli import app

    truth, masks = folders
    for n, case in enumerate("AB"):
        study(truth, case)
        prediction(masks, case, shift=n)
    (tmp_path / "lab_metrics.py").write_text(METRICS)
    monkeypatch.chdir(tmp_path)
    words = ["evaluate", "--truth", str(truth), "--predictions", str(masks), "--metric", "lab_metrics:volume_ratio"]
    done = CliRunner().invoke(app, [*words, "--json", "--csv", str(tmp_path / "s.csv")])
    assert done.exit_code == 0, done.output
    content = json.loads(done.stdout)
    assert content["surface_dice_tolerance_mm"] == 1.0
    assert (
        content["cases"]["A"]["WT"]["surface_dice"] == content["cases"]["B"]["WT"]["surface_dice"] == 1.0
    )  # moved by 1 mm
    assert content["own"]["volume_ratio"]["cases"] == {c: {"WT": 1.0, "TC": 1.0, "ET": 1.0} for c in "AB"}
    rows = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert [r["WT_volume_ratio"] for r in rows] == ["1.000000"] * 3
    strict = json.loads(CliRunner().invoke(app, [*words, "--json", "--nsd", "0.5"]).stdout)
    assert strict["cases"]["A"]["WT"]["surface_dice"] == 1.0 > strict["cases"]["B"]["WT"]["surface_dice"]
    shown = CliRunner().invoke(app, words)
    assert "volume_ratio" in shown.stdout and "surface Dice (NSD), 1 mm" in shown.stdout
    failing = CliRunner().invoke(app, [*words[:-1], "lab_metrics:wrong"])
    assert failing.exit_code == 3 and "metric 'wrong' failed on WT" in " ".join(failing.stderr.split())
