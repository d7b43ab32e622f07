"""`predict` as a person calls it: in a process of its own, on files, with one bad study among good ones."""

import csv
import json
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from conftest import make_study

from brainseg_engine.errors import InputError
from brainseg_engine.io import load_segmentation, load_study
from brainseg_engine.phantom import write_study
from brainseg_engine.predict import Predictor


def call(*arguments, timeout=200):
    command = [sys.executable, "-m", "brainseg_engine", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


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
    assert first.returncode == 3, first.stderr
    assert "Traceback" not in first.stderr
    rows = {r["id"]: r for r in csv.DictReader((out / "summary.csv").open())}
    assert {k: r["status"] for k, r in rows.items()} == {"Case_0": "done", "Case_0b": "failed", "Case_1": "done"}
    assert flair.name in rows["Case_0b"]["message"]

    study = load_study(data / "Case_0")
    saved = load_segmentation(out / "Case_0_seg.nii.gz")
    assert saved.coding == "brats2023"
    expected = Predictor(tiny_model, "cpu").predict(study, probabilities=True)
    np.testing.assert_array_equal(saved.labels, expected.segmentation.labels)
    assert saved.grid.same_as(study.reference.grid)
    told = json.loads((out / "Case_0_seg.json").read_text())
    assert told["model"] == "tiny"
    assert told["volumes_ml"]["WT"] == pytest.approx((saved.labels > 0).sum() * study.reference.grid.voxel_ml, abs=1e-3)
    assert set(told["seconds"]) >= {"read", "network"}
    assert str(tmp_path) not in (out / "Case_0_seg.json").read_text()
    probability = nib.load(out / "Case_0_prob-WT.nii.gz").get_fdata()
    assert probability.min() >= 0
    assert probability.max() <= 1

    again = call(
        "predict", data / "Case_0", data / "Case_1", "--out", out, "--model", tiny_model, "--device", "cpu", "--json"
    )
    assert again.returncode == 0, again.stderr
    assert [r["status"] for r in json.loads(again.stdout)["results"]] == ["skipped", "skipped"]
    other = call(
        "predict", data / "Case_0", "--out", out, "--model", tiny_model, "--device", "cpu", "--coding", "brats2021"
    )
    assert other.returncode == 3
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
    assert replaced.returncode == 0
    recoded = load_segmentation(out / "Case_0_seg.nii.gz")
    assert recoded.coding == "brats2021"
    np.testing.assert_array_equal(recoded.labels, saved.labels)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{data}/nowhere",), InputError.exit_code, "nowhere"),
        (("{data}/Case_0", "--device", "cuda"), 7, "CUDA"),
        (("{data}/Case_0", "--model", "absent"), 5, "absent"),
        (("{data}/Case_0", "--out", "{data}/Case_0/a_file/out"), 4, "a_file"),
    ],
)
def test_what_cannot_work_is_told_before_the_inference(arguments, code, words, data, tiny_model, tmp_path):
    (data / "Case_0" / "a_file").write_text("x")
    given = [a.format(data=data) for a in arguments]
    more = [] if "--out" in given else ["--out", tmp_path / "out"]
    more += [] if "--model" in given else ["--model", tiny_model]
    done = call("predict", *given, *more)
    assert done.returncode == code, done.stderr
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
