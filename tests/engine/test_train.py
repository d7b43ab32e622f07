"""Training on disk, small: it learns, it repeats, and a resumed run ends as one that was never stopped."""

import csv
import os
import signal
import subprocess
import sys

import pytest
import torch
from conftest import make_study
from safetensors.torch import load_file

from brainseg_engine import checkpoint
from brainseg_engine.errors import Cancelled, InputError, RecipeError, TrainingError
from brainseg_engine.events import EpochDone
from brainseg_engine.io import load_study
from brainseg_engine.labels import Region
from brainseg_engine.phantom import write_study
from brainseg_engine.predict import Predictor
from brainseg_engine.recipe import Schedule, load_recipe
from brainseg_engine.score import score_case
from brainseg_engine.train import Options, schedule, train


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cohort")
    names = [f"Case_{i}" for i in range(4)]
    for i, name in enumerate(names):
        write_study(make_study(i, id=name), folder)
    split = folder / "split.csv"
    split.write_text("case,split\n" + "".join(f"{n},{'validation' if n == names[-1] else 'train'}\n" for n in names))
    return folder, split


def run(recipe, cohort, out, steps, **more):
    events = []
    train(recipe, Options(*cohort, out, steps=steps, device="cpu", **more), events.append)
    return [e for e in events if isinstance(e, EpochDone)]


def equal(a, b):
    one, two = load_file(a), load_file(b)
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def test_it_learns_and_keeps_the_best(tiny_recipe, cohort, tmp_path):
    recipe = load_recipe("baseline", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
        "optimiser.learning_rate=2e-2", "training.validate_every_steps=20", "training.ema_decay=0.8",
    ])  # fmt: skip
    events = run(recipe, cohort, tmp_path, 60)
    assert events[-1].loss < 0.6 * events[0].loss
    validated = [e for e in events if e.dice]
    best = max(validated, key=lambda e: sum(e.dice.values()))
    assert best.dice["WT"] > 0.8
    loaded = checkpoint.load(tmp_path / "model.safetensors")
    assert loaded.card.scores["WT"]["dice"] == round(best.dice["WT"], 4)
    assert len(loaded.card.training_hashes) == 3 * 4
    study = load_study(cohort[0] / "Case_0")
    assert study.reference.sha256 in loaded.card.training_hashes
    held_out = load_study(cohort[0] / "Case_3")
    assert held_out.reference.sha256 not in loaded.card.training_hashes
    labels = Predictor(tmp_path / "model.safetensors", "cpu").predict(held_out).segmentation.labels
    score = score_case(labels, held_out.segmentation.labels, held_out.reference.grid, hd95=False)
    assert abs(score[Region.WT].dice - best.dice["WT"]) < 1e-4  # inference is what validation was


def test_same_seed_same_weights_whatever_the_workers(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "a", 6)
    run(tiny_recipe, cohort, tmp_path / "b", 6, workers=2)
    run(tiny_recipe, cohort, tmp_path / "c", 6, seed=1)
    assert equal(tmp_path / "a/last.safetensors", tmp_path / "b/last.safetensors")
    assert not equal(tmp_path / "a/last.safetensors", tmp_path / "c/last.safetensors")


def test_stopped_and_resumed_equals_never_stopped(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "whole", 12)
    seen = []
    with pytest.raises(Cancelled):
        train(
            tiny_recipe, Options(*cohort, tmp_path / "parts", steps=12, device="cpu"), seen.append,
            lambda: len(seen) > 12,
        )  # fmt: skip
    with (tmp_path / "parts/metrics.csv").open("a") as f:
        f.write("9,11,0.1,1e-3,,,,1.0\n")  # what a killed process may have written after its last checkpoint
    run(tiny_recipe, cohort, tmp_path / "parts", 12, resume=True)
    assert equal(tmp_path / "whole/last.safetensors", tmp_path / "parts/last.safetensors")
    assert equal(tmp_path / "whole/model.safetensors", tmp_path / "parts/model.safetensors")
    drop = {"seconds"}
    rows = [
        [{k: v for k, v in r.items() if k not in drop} for r in csv.DictReader((tmp_path / d / "metrics.csv").open())]
        for d in ("whole", "parts")
    ]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]]
    assert [r["dice_WT"] for r in rows[0]] == [r["dice_WT"] for r in rows[1]]


@pytest.mark.slow
def test_kill_minus_nine_then_resume(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "whole", 230)
    command = [
        sys.executable, "-m", "brainseg_engine", "train", "baseline", "--data", str(cohort[0]), "--split",
        str(cohort[1]), "--out", str(tmp_path / "killed"), "--steps", "230", "--device", "cpu", "--resume",
        *(x for s in (
            "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", "schedule.warmup_steps=2",
            "optimiser.learning_rate=5e-3", "training.validate_every_steps=5",
        ) for x in ("--set", s)),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(timeout=12)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, capture_output=True, text=True, timeout=280).returncode == 0
    assert equal(tmp_path / "whole/last.safetensors", tmp_path / "killed/last.safetensors")


def test_bad_input_is_told_in_words(tiny_recipe, cohort, tmp_path):
    folder, split = cohort

    def attempt(text, **more):
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        train(tiny_recipe, Options(folder, bad, tmp_path / "out", steps=1, device="cpu", **more), lambda e: None)

    with pytest.raises(TrainingError, match="Case_9"):
        attempt("case,split\nCase_9,train\nCase_1,validation\n")
    with pytest.raises(TrainingError, match=r"line 3.*both in"):
        attempt("case,split\nCase_1,train\nCase_1,validation\n")
    with pytest.raises(TrainingError, match="one for validation"):
        attempt("case,split\nCase_1,train\n")
    with pytest.raises(TrainingError, match="columns"):
        attempt("a,b\n1,2\n")
    with pytest.raises(TrainingError, match="must be one of"):
        attempt("case,split\nCase_1,training\n")
    with pytest.raises(InputError, match="no data folder"):
        train(tiny_recipe, Options(tmp_path / "none", split, tmp_path / "o", device="cpu"), lambda e: None)


def test_a_run_folder_is_not_overwritten(tiny_recipe, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path, 2)
    with pytest.raises(TrainingError, match="--resume"):
        run(tiny_recipe, cohort, tmp_path, 2)
    with pytest.raises(TrainingError, match="seed"):
        run(tiny_recipe, cohort, tmp_path, 2, seed=3, resume=True)
    with pytest.raises(TrainingError, match="another recipe"):
        run(load_recipe("baseline"), cohort, tmp_path, 2, resume=True)
    (tmp_path / "lock").write_text(str(os.getpid()))
    with pytest.raises(TrainingError, match="already training"):
        run(tiny_recipe, cohort, tmp_path, 2, resume=True)


def test_starting_from_a_model(tiny_recipe, tiny_model, cohort, tmp_path):
    run(tiny_recipe, cohort, tmp_path / "run", 1, init=str(tiny_model))
    with pytest.raises(RecipeError, match="same form"):
        run(load_recipe("baseline"), cohort, tmp_path / "other", 1, init=str(tiny_model))


def test_the_schedule_rises_and_falls():
    config = Schedule(warmup_steps=10, floor=0.01)
    factors = [schedule(config, s, 100) for s in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == pytest.approx(1.0)
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert schedule(config, 100, 100) == pytest.approx(0.01)
