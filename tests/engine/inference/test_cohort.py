"""A cohort in parts: shards, jobs, a summary put together after kills, and what is known without reading it again."""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from helpers.small_study import make_study
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.events import silent
from brainseg_engine.inference import batch, cluster
from brainseg_engine.inference.ensemble import Ensemble
from brainseg_engine.inference.ledger import FOLDER, Ledger
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.inference.rows import PredictOutcome, complete_summary, write_summary
from brainseg_engine.inference.shards import Shard
from brainseg_engine.io import load_study
from brainseg_engine.io.sidecars import sidecar_state
from brainseg_engine.phantom import write_study


@pytest.fixture
def data(tmp_path) -> Path:
    for n in range(3):
        write_study(make_study(n, id=f"Case_{n}"), tmp_path / "data")
    return tmp_path / "data"


def many(predictor, data: Path, out: Path, shard=None, **more) -> list[PredictOutcome]:
    settings = batch.PredictSettings(out, **more)
    return list(batch.predict_many(predictor, batch.expand([data]), settings, lambda _: silent, shard=shard))


@given(st.lists(st.text(min_size=1), unique=True, max_size=40), st.integers(1, 9))
def test_shards_divide_a_cohort_and_a_study_stays_where_it_is(ids, of):
    parts = [[i for i in ids if Shard(n, of).holds(i)] for n in range(1, of + 1)]
    assert sorted(i for part in parts for i in part) == sorted(ids)
    more = ["another", *reversed(ids)]
    for n, part in enumerate(parts, start=1):
        assert set(part) <= {i for i in more if Shard(n, of).holds(i)}


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "2", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_a_shard_that_is_none_is_refused(wrong):
    with pytest.raises(InputError, match="counted from 1"):
        Shard.parse(wrong)
    assert str(Shard.parse("2/2")) == "2/2"


def test_a_finished_study_is_known_without_reading_its_images(data, tiny_model, tmp_path, monkeypatch):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    assert {r.status for r in many(predictor, data, out)} == {"done"}
    read = []
    monkeypatch.setattr(batch, "load_study", lambda *a, **k: read.append(a[0].id) or load_study(*a, **k))
    rows = many(predictor, data, out)
    assert [r.status for r in rows] == ["skipped"] * 3 and all(r.volumes_ml for r in rows) and read == []

    image = next((data / "Case_1").glob("*t1c*"))  # the same voxels in a new file: read again, and known from then on
    shutil.copy2(image, image.with_suffix(".x"))
    image.with_suffix(".x").replace(image)
    assert {r.status for r in many(predictor, data, out)} == {"skipped"} and read == ["Case_1"]
    assert {r.status for r in many(predictor, data, out)} == {"skipped"} and read == ["Case_1"]
    many(predictor, data, out, check_contents=True)
    assert read == ["Case_1", "Case_0", "Case_1", "Case_2"]

    other = next((data / "Case_2").glob("*t1c*"))  # other voxels, with the time of the file they replace
    times = image.stat().st_mtime_ns
    shutil.copyfile(other, image)
    os.utime(image, ns=(times, times))
    changed = {r.id: r for r in many(predictor, data, out)}["Case_1"]
    assert changed.status == "failed" and "other images" in changed.message


def test_masks_are_looked_at_even_where_images_are_not(data, tiny_model, tmp_path):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    many(predictor, data, out)
    mask = out / "Case_0_seg.nii.gz"
    mask.write_bytes(mask.read_bytes() + b"\0")
    (out / "Case_1_seg.nii.gz").unlink()
    rows = {r.id: r for r in many(predictor, data, out)}
    assert "was changed since it was made" in rows["Case_0"].message
    assert [rows[f"Case_{n}"].status for n in (1, 2)] == ["done", "skipped"]


def test_the_summary_is_put_together_from_what_became_of_each_study(data, tiny_model, tmp_path):
    predictor, out = Predictor(tiny_model, "cpu"), tmp_path / "out"
    flair = next((data / "Case_1").glob("*t2f*"))
    flair.write_bytes(flair.read_bytes()[:500])
    for n in (1, 2):
        many(predictor, data, out, Shard(n, 2))
    (out / "summary.csv").unlink(missing_ok=True)
    write_summary([PredictOutcome("Case_0", "done")], out / "summary.csv")
    complete_summary(Ledger(out).rows(), out / "summary.csv")
    with (out / "summary.csv").open(newline="") as f:
        rows = {r["id"]: r for r in csv.DictReader(f)}
    assert {i: r["status"] for i, r in rows.items()} == {"Case_0": "done", "Case_1": "failed", "Case_2": "done"}
    assert flair.name in rows["Case_1"]["message"] and rows["Case_2"]["WT_ml"]


def test_who_has_gone_is_told_from_who_still_works(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.plan(["a", "b", "c", "d"])
    for name in "abc":
        ledger.begin(name)
    for name, changes in (("b", {"pid": 2**22 + 1}), ("c", {"host": "elsewhere"})):
        path = tmp_path / FOLDER / f"study-{name}.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    state = ledger.state()
    assert {i: r.state for i, r in state.records.items()} == {"a": "running", "b": "lost", "c": "running"}
    assert state.waiting == ("d",)
    old = time.time() - 3600
    os.utime(tmp_path / FOLDER / "study-c.json", (old, old))
    assert ledger.state().records["c"].state == "lost"
    (tmp_path / FOLDER / "study-a.json").write_text("{")  # torn: as if nobody had begun
    assert ledger.state().waiting == ("a", "d")


def test_an_ensemble_answers_with_the_mean(data, tiny_model, tmp_path):
    study = load_study(data / "Case_0")
    alone = Predictor(tiny_model, "cpu").predict(study, probabilities=True)
    twice = Ensemble([tiny_model, tiny_model], "cpu")
    both = twice.predict(study, probabilities=True)
    np.testing.assert_array_equal(both.segmentation.labels, alone.segmentation.labels)
    assert both.model == "tiny+tiny" and twice.sha256 != Predictor(tiny_model, "cpu").sha256


def test_models_of_different_series_and_regions_answer_as_one(data, tiny_model, tmp_path):
    import torch

    from brainseg_engine import nets
    from brainseg_engine.core.labels import Region
    from brainseg_engine.core.study import Modality
    from brainseg_engine.models import checkpoint
    from brainseg_engine.recipe import overridden

    torch.manual_seed(1)
    recipe = overridden(
        checkpoint.read_metadata(tiny_model)[1],
        ["modalities=['flair','t2']", "output.regions=['WT']", "postprocess.thresholds={}", "augmentation.dose=0.0",
         "postprocess.min_component_ml={}", "preprocess.orientation='LPS'"],
    )  # fmt: skip
    card = checkpoint.Card(
        name="wt", recipe="wt", modalities=recipe.modalities, regions=recipe.output.regions, parameters=1
    )
    other = tmp_path / "other.safetensors"
    checkpoint.save(other, nets.build(recipe).state_dict(), card, recipe)
    study = load_study(data / "Case_0")
    alone = [Predictor(m, "cpu").predict(study, probabilities=True).probabilities for m in (tiny_model, other)]
    both = Ensemble([tiny_model, other], "cpu")
    found = both.predict(study, probabilities=True)
    assert set(both.card.modalities) == set(Modality) and list(found.probabilities) == list(Region)
    mean = (alone[0]["WT"].astype(np.float32) + alone[1]["WT"].astype(np.float32)) / 2
    np.testing.assert_allclose(found.probabilities["WT"].astype(np.float32), mean, atol=2e-3)
    np.testing.assert_allclose(found.probabilities["ET"], alone[0]["ET"], atol=2e-3)


def test_where_memory_is_scarce_one_model_is_freed_before_the_next(data, tiny_model, tmp_path, monkeypatch):
    import gc
    import weakref

    from brainseg_engine.inference import ensemble, plan

    class Counted(Predictor):
        living: ClassVar[weakref.WeakSet] = weakref.WeakSet()
        most = 0

        def __init__(self, *args, **more):
            gc.collect()
            super().__init__(*args, **more)
            Counted.living.add(self)
            Counted.most = max(Counted.most, len(Counted.living))

    study, models = load_study(data / "Case_0"), [tiny_model, tiny_model, tiny_model]
    usual = Ensemble(models, "cpu")
    assert usual.stays_loaded
    before = usual.predict(study, probabilities=True)
    monkeypatch.setattr(ensemble, "Predictor", Counted)
    monkeypatch.setattr(ensemble, "_SHARE", 0.0)
    scarce = Ensemble(models, "cpu")
    found = scarce.predict(study, probabilities=True)
    assert not scarce.stays_loaded and Counted.most == 1
    np.testing.assert_array_equal(found.segmentation.labels, before.segmentation.labels)
    np.testing.assert_array_equal(found.probabilities["WT"], before.probabilities["WT"])
    assert found.plan.count("tiny: one pass") == 3 and found.fallen == ""
    monkeypatch.setattr(plan, "CAPS", (24, 16))
    monkeypatch.setattr(plan, "free_bytes", lambda device: 1)
    assert Ensemble(models, "cpu").predict(study).fallen.count("tiny: Memory did not allow") == 3


SBATCH = """#!{python}
import pathlib, sys
here = pathlib.Path(__file__).parent
(here / "submitted.sh").write_text(pathlib.Path(sys.argv[-1]).read_text())
print("Submitted batch job 4711")
"""


def test_slurm_is_given_one_array_with_its_cap(data, tmp_path, monkeypatch, tiny_model):
    import sys

    bin_ = tmp_path / "bin"
    bin_.mkdir()
    with pytest.raises(InputError, match="no sbatch"):
        cluster.require({})
    (bin_ / "sbatch").write_text(SBATCH.format(python=sys.executable))
    (bin_ / "srun").write_text("#!/bin/sh\n")
    for program in bin_.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.environ['PATH']}")
    options = cluster.slurm_options(["partition=gpu", "gres=gpu:1", "time=90"])
    cluster.require(options)
    settings = batch.PredictSettings(tmp_path / "out")
    tasks = cluster.tasks_of([data], settings, [tiny_model], 8, "cuda", False, local=False)
    jobs = cluster.submit(tasks, options, 3)
    script = (bin_ / "submitted.sh").read_text()
    assert len(jobs) == 8 and jobs[0].job_id == "4711_0"
    for line in ("--partition=gpu", "--gres=gpu:1", "--time=90", "--array=0-7%3", "--job-name=brainseg"):
        assert f"#SBATCH {line}" in script
    assert [str(t.shard) for t in tasks][-1] == "8/8" and tasks[0].checkpoint().function is tasks[0]
    for wrong in ("partition", "time=1:00", "=x", "gres="):
        with pytest.raises(InputError, match="--slurm"):
            cluster.slurm_options([wrong])


def killed(pid: int, after: float) -> None:
    time.sleep(after)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process forked from this one")
def test_two_shards_killed_at_any_moment_lose_and_double_nothing(data, tiny_model, tmp_path):
    predictor, out, draw = Predictor(tiny_model, "cpu"), tmp_path / "out", random.Random(0)
    sources = batch.expand([data])

    def work(n: int) -> None:
        rows = batch.predict_many(
            predictor, sources, batch.PredictSettings(out), lambda _: silent, shard=Shard(n, 2),
            ended=cluster.Ending(batch.PredictSettings(out)),
        )  # fmt: skip
        list(rows)

    def forked(n: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                work(n)
            finally:
                os._exit(0)
        return pid

    for _ in range(int(os.environ.get("BRAINSEG_KILLS", "4"))):
        running = [forked(1), forked(2)]
        for pid in running:
            killed(pid, draw.random() * 0.4)
        for mask in out.glob("*_seg.nii.gz"):
            assert sidecar_state(mask) in ("whole", "torn")
    for n in (1, 2):
        work(n)
    complete_summary(Ledger(out).rows(), out / "summary.csv")
    with (out / "summary.csv").open(newline="") as f:
        rows = [(r["id"], r["status"]) for r in csv.DictReader(f)]
    assert sorted(i for i, _ in rows) == ["Case_0", "Case_1", "Case_2"]
    assert {s for _, s in rows} <= {"done", "skipped"}
    assert all(sidecar_state(out / f"Case_{n}_seg.nii.gz") == "whole" for n in range(3))
    assert not list(out.rglob(".part-*"))
    state = Ledger(out).state()
    assert not state.waiting and state.count("lost") == state.count("running") == 0


@pytest.mark.parametrize("content", ['{"ids": 5}', '{"ids": {"a": 1}}', "[[[["])
def test_a_damaged_plan_is_none(tmp_path, content):
    kept = Ledger(tmp_path)
    kept.plan(["a"])
    (plan,) = kept.folder.glob("plan-*.json")
    plan.write_text(content)
    assert kept.state().waiting == ()


@pytest.mark.parametrize("row", [
    {"id": ["a"], "status": "done"}, {"id": "a", "status": 1}, {"id": "a", "status": "done", "volumes_ml": "x"},
    {"id": "a", "status": "done", "seconds": "long"},
])  # fmt: skip
def test_a_record_of_other_types_counts_for_nothing(tmp_path, row):
    kept = Ledger(tmp_path)
    kept.plan([])
    (kept.folder / "a.json").write_text(json.dumps({"row": row, "host": "x", "pid": 10**30, "began": 1.0}))
    assert kept.state().records == {} and kept.rows() == []
