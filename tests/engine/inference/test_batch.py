"""`predict` as a person calls it: on files, with one bad study among good ones."""

import csv
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from helpers.commands import call
from helpers.layouts_on_disk import write_decathlon, write_slices
from helpers.secrets_of import leaks
from helpers.small_study import make_study

from brainseg_engine.core import paths
from brainseg_engine.core.errors import CodingError, InputError
from brainseg_engine.core.events import silent
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.evaluation import evaluate
from brainseg_engine.inference import batch
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_segmentation, load_study
from brainseg_engine.io.derived.pseudonyms import Pseudonyms, hidden
from brainseg_engine.phantom import write_study
from brainseg_engine.recipe import Output, Postprocess


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    for i in range(2):
        write_study(make_study(i, id=f"Case_{i}"), folder)
    return folder


def test_masks_sidecars_summary_and_skipping(data, tiny_model, tmp_path):
    bad = data / "Case_0b"
    write_study(make_study(5, id="Case_0b"), data)
    flair = next(bad.glob("*t2f*"))
    flair.write_bytes(flair.read_bytes()[:2000])
    out = tmp_path / "out"
    first = call("predict", data, "--out", out, "--model", tiny_model, "--device", "cpu", "--save-probabilities")
    assert first.exit_code == 3, first.stderr
    assert "Traceback" not in first.stderr
    rows = {r["id"]: r for r in csv.DictReader((out / "summary.csv").read_text().splitlines())}
    assert {k: r["status"] for k, r in rows.items()} == {"Case_0": "done", "Case_0b": "failed", "Case_1": "done"}
    assert flair.name in rows["Case_0b"]["message"]

    study = load_study(data / "Case_0")
    saved = load_segmentation(out / "Case_0_seg.nii.gz")
    assert saved.coding == "brats2023"
    expected = Predictor(tiny_model, "cpu").predict(study, probabilities=True)
    np.testing.assert_array_equal(saved.labels, expected.segmentation.labels)
    assert saved.grid.same_as(study.reference.grid)
    content = json.loads((out / "Case_0_seg.json").read_text())
    assert content["model"] == "tiny"
    assert content["volumes_ml"]["WT"] == pytest.approx(
        (saved.labels > 0).sum() * study.reference.grid.voxel_ml, abs=1e-3
    )
    assert set(content["seconds"]) >= {"read", "network"}
    assert str(tmp_path) not in (out / "Case_0_seg.json").read_text()
    assert ".nii" not in (out / "Case_0_seg.json").read_text()  # nor a file's name
    probability = nib.load(out / "Case_0_prob-WT.nii.gz").get_fdata()
    assert probability.min() >= 0
    assert probability.max() <= 1

    again = call(
        "predict", data / "Case_0", data / "Case_1", "--out", out, "--model", tiny_model, "--device", "cpu", "--json"
    )
    assert again.exit_code == 0, again.stderr
    assert [r["status"] for r in json.loads(again.stdout)["results"]] == ["skipped", "skipped"]
    other = call(
        "predict", data / "Case_0", "--out", out, "--model", tiny_model, "--device", "cpu", "--coding", "brats2021"
    )
    assert other.exit_code == 3
    assert "--overwrite" in (out / "summary.csv").read_text()
    replaced = call(
        "predict",
        data / "Case_0",
        "--out",
        out,
        "--model",
        tiny_model,
        "--device",
        "cpu",
        "--coding",
        "brats2021",
        "--overwrite",
    )
    assert replaced.exit_code == 0
    recoded = load_segmentation(out / "Case_0_seg.nii.gz")
    assert recoded.coding == "brats2021"
    np.testing.assert_array_equal(recoded.labels, saved.labels)


def many(predictor, sources, out, **more):
    settings = batch.PredictSettings(out, **more)
    return list(batch.predict_many(predictor, sources, settings, lambda source: lambda event: None))


def test_probabilities_asked_for_later_are_written(data, tiny_model, tmp_path):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    sources = [data / "Case_0"]
    assert [r.status for r in many(predictor, sources, out)] == ["done"]
    mask = (out / "Case_0_seg.nii.gz").read_bytes()
    assert [r.status for r in many(predictor, sources, out, probabilities=True)] == ["done"]
    assert len(list(out.glob("*_prob-*"))) == 3
    assert (out / "Case_0_seg.nii.gz").read_bytes() == mask
    assert [r.status for r in many(predictor, sources, out, probabilities=True)] == ["skipped"]


def test_under_pseudonyms_nothing_written_names_the_study(data, tiny_model, tmp_path):
    predictor, out, who = Predictor(tiny_model, "cpu"), tmp_path / "out", Pseudonyms(b"k" * 32)
    rows = many(predictor, [data / "Case_0", tmp_path / "absent Case_9"], out, pseudonyms=who, probabilities=True)
    assert [r.status for r in rows] == ["done", "failed"]
    for row in rows:
        batch.write_summary([hidden(row, who)], out / "summary.csv")
    assert (out / f"{who.patient('Case_0')}_seg.nii.gz").is_file()
    hashes = {load_study(data / "Case_0").reference.sha256}
    assert leaks(out, {"case_0", "case_9", str(tmp_path).lower(), *hashes}) == []
    assert [r.status for r in many(predictor, [data / "Case_0"], out, pseudonyms=who)] == ["skipped"]


def test_two_studies_of_one_id_a_bug_and_a_full_disk_are_rows(data, tiny_model, tmp_path, monkeypatch):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    twin = tmp_path / "other" / "Case_0"
    shutil.copytree(data / "Case_0", twin)
    rows = many(predictor, [data / "Case_0", twin, data / "Case_1"], out)
    assert [r.status for r in rows] == ["done", "done", "done"]
    assert len({r.id for r in rows}) == 3 and rows[1].id.endswith("other_Case_0") and rows[2].id == "Case_1"

    def bug(study, **_):
        if study.id == "Case_0":
            raise ZeroDivisionError("odd")
        return real(study, **_)

    real = predictor.predict
    monkeypatch.setattr(predictor, "predict", bug)
    rows = many(predictor, [data / "Case_0", data / "Case_1"], tmp_path / "bug")
    assert [(r.id, r.status) for r in rows] == [("Case_0", "failed"), ("Case_1", "done")]
    assert "ZeroDivisionError" in rows[0].message

    def counted(study, **_):
        pytest.fail("an inference for nothing")

    monkeypatch.setattr(predictor, "predict", counted)
    free = iter([10**12, 0, 0])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, next(free)))
    rows = many(predictor, [data / "Case_0", data / "Case_1"], tmp_path / "full")
    assert [r.status for r in rows] == ["failed", "failed"]
    assert "MiB free" in rows[0].message


def test_a_network_disk_that_is_slow_and_goes_away_for_a_moment(data, tiny_model, tmp_path, monkeypatch):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    put, gone = paths._replace, []

    def far(part, target):
        time.sleep(0.05)
        if "Case_0_seg" in target.name and not gone:
            gone.append(target)
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        put(part, target)

    monkeypatch.setattr(paths, "_replace", far)
    rows = many(predictor, [data / "Case_0", data / "Case_1"], out)
    assert [(r.id, r.status) for r in rows] == [("Case_0", "failed"), ("Case_1", "done")]
    assert os.strerror(errno.ESTALE) in rows[0].message and "Cannot write" in rows[0].message
    left = {p.name for p in out.iterdir() if p.suffix in (".gz", ".json") and p.name.startswith("Case_")}
    assert left == {"Case_1_seg.nii.gz", "Case_1_seg.json"}  # nothing half-written
    rows = many(predictor, [data / "Case_0", data / "Case_1"], out)
    assert [(r.id, r.status) for r in rows] == [("Case_0", "done"), ("Case_1", "skipped")]


def test_a_coding_that_cannot_hold_the_answer_is_refused_first(data, tiny_model, tmp_path):
    predictor = Predictor(tiny_model, "cpu")
    with pytest.raises(CodingError, match=r"lgg.*cannot express"):
        many(predictor, [data / "Case_0"], tmp_path / "out", coding="lgg")
    assert not (tmp_path / "out").exists()
    predictor.recipe = predictor.recipe.model_copy(update={"output": Output(regions=(Region.WT,))})
    with pytest.raises(CodingError, match="brats2021"):
        many(predictor, [data / "Case_0"], tmp_path / "out", coding="brats2021")


def test_brackets_in_names_are_no_markup(tiny_model, tmp_path):
    study = tmp_path / "[red] x [" / "Case_[0]"
    write_study(make_study(0, id="Case_[0]"), study.parent)
    broken = tmp_path / "[red] x [" / "[bold]"
    broken.mkdir()
    done = call("predict", study, broken, "--out", tmp_path / "[out", "--model", tiny_model, "--device", "cpu")
    assert done.exit_code == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "Case_[0]" in done.stdout
    assert "[bold]" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{data}/nowhere",), InputError.exit_code, "nowhere"),
        (("{data}/Case_0", "--device", "cuda"), 7, "CUDA"),
        (("{data}/Case_0", "--model", "absent"), 5, "absent"),
        (("{data}/Case_0", "--out", "{data}/Case_0/a_file/out"), 4, "a_file"),
    ],
)
def test_what_cannot_work_is_reported_before_the_inference(arguments, code, words, data, tiny_model, tmp_path):
    (data / "Case_0" / "a_file").write_text("x")
    given = [a.format(data=data) for a in arguments]
    more = [] if "--out" in given else ["--out", tmp_path / "out"]
    more += [] if "--model" in given else ["--model", tiny_model]
    done = call("predict", *given, *more)
    assert done.exit_code == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*_seg*"))


@pytest.mark.slow
def test_an_interrupt_leaves_no_half_written_file(data, tiny_model, tmp_path):
    out = tmp_path / "out"
    for i in range(2, 30):
        write_study(make_study(i, id=f"Case_{i}"), data)
    command = [
        sys.executable,
        "-m",
        "brainseg_engine",
        "predict",
        str(data),
        "--out",
        str(out),
        "--model",
        str(tiny_model),
    ]
    process = subprocess.Popen(
        [*command, "--device", "cpu"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while not list(out.glob("*_seg.nii.gz")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert not list(out.glob(".part*"))
    for mask in out.glob("*_seg.nii.gz"):
        load_segmentation(mask)


@pytest.fixture
def wt_model(tiny_recipe, tmp_path):
    """A model of the whole tumour from the three series that slices have."""
    import torch

    from brainseg_engine import nets
    from brainseg_engine.models import checkpoint

    series = ("t1", "flair", "t1ce")
    recipe = tiny_recipe.model_copy(
        update={"modalities": tuple(map(Modality, series)), "output": Output(regions=(Region.WT,))}
    )
    recipe = recipe.model_copy(update={"postprocess": Postprocess(min_component_ml={Region.WT: 5.0})})
    torch.manual_seed(0)
    net = nets.build(recipe)
    card = checkpoint.Card(
        name="wt",
        recipe="baseline",
        modalities=recipe.modalities,
        regions=recipe.output.regions,
        parameters=nets.count_parameters(net),
    )
    path = tmp_path / "wt.safetensors"
    checkpoint.save(path, net.state_dict(), card, recipe)
    return path


def test_slices_give_slices_and_voxels_instead_of_ml(wt_model, tmp_path):
    for name in ("TCGA_AB_1_19990101", "TCGA_AB_2_19990101"):
        write_slices(tmp_path / "data" / name, size=(24, 20), numbers=range(1, 9))
    out = tmp_path / "out"
    predictor = Predictor(wt_model, "cpu")
    settings = batch.PredictSettings(out, like_input=True)
    rows = list(batch.predict_many(predictor, batch.expand([tmp_path / "data"]), settings, lambda _: silent))
    assert [r.status for r in rows] == ["done", "done"], rows
    for row in rows:
        saved = load_segmentation(row.output)
        voxels = int((saved.labels > 0).sum())
        assert (row.volumes_ml, row.volumes_voxels) == ({}, {"WT": voxels})
        content = json.loads((out / f"{row.id}_seg.json").read_text())
        assert (content["volumes_ml"], content["volumes_voxels"], content["coding"]) == (None, {"WT": voxels}, "lgg")
        pictures = sorted(p.name for p in (out / row.id).iterdir())
        assert pictures == sorted(p.name for p in (tmp_path / "data" / row.id).glob("*_mask.tif"))
        np.testing.assert_array_equal(load_segmentation(out / row.id).labels, saved.labels)
    batch.write_summary(rows, out / "summary.csv")
    assert (
        int(next(csv.DictReader((out / "summary.csv").read_text().splitlines()))["WT_voxels"])
        == rows[0].volumes_voxels["WT"]
    )
    again = list(batch.predict_many(predictor, batch.expand([tmp_path / "data"]), settings, lambda _: silent))
    assert [(r.status, r.volumes_voxels) for r in again] == [("skipped", r.volumes_voxels) for r in rows]
    shutil.rmtree(out / rows[0].id)  # what was asked for is not there any more
    third = list(batch.predict_many(predictor, batch.expand([tmp_path / "data"]), settings, lambda _: silent))
    assert [r.status for r in third] == ["done", "skipped"]
    scored = evaluate(tmp_path / "data", out)
    assert [s[Region.WT].hd95_mm for s in scored.cases.values()] == [None, None]
    for row in rows:  # the slices alone will do
        for path in out.glob(f"{row.id}_seg*"):
            path.unlink()
    alone = evaluate(tmp_path / "data", out)
    dice = [{case: s[Region.WT].dice for case, s in e.cases.items()} for e in (scored, alone)]
    assert dice[0] == dice[1]


def test_like_input_is_refused_for_studies_that_are_no_slices(data, tiny_model, tmp_path):
    settings = batch.PredictSettings(tmp_path / "out", like_input=True)
    [row] = batch.predict_many(Predictor(tiny_model, "cpu"), [data / "Case_0"], settings, lambda _: silent)
    assert row.status == "failed"
    assert "does not consist of image slices" in row.message


def test_an_image_of_four_channels_is_a_study(tiny_model, tmp_path):
    from brainseg_engine.io import load_study as load

    root = write_decathlon(tmp_path / "Task01")
    out = tmp_path / "out"
    sources = batch.expand([root])
    assert batch.expand([*sources, root / "dataset.json"]) == sources
    rows = list(batch.predict_many(Predictor(tiny_model, "cpu"), sources, batch.PredictSettings(out), lambda _: silent))
    assert [(r.id, r.status) for r in rows] == [("BRATS_001", "done"), ("BRATS_002", "done")], rows
    content = json.loads((out / "BRATS_001_seg.json").read_text())
    assert content["coding"] == "decathlon"
    assert load_segmentation(out / "BRATS_001_seg.nii.gz").grid.same_as(load(sources[0]).reference.grid)
    assert set(evaluate(root, out).cases) == {"BRATS_001", "BRATS_002"}
