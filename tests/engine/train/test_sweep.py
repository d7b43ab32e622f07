"""A sweep of tiny trainings: one journal for all, weak trials end early, wrong spaces are refused."""

from __future__ import annotations

import csv
import json

import pytest
from helpers.small_study import write_cohort
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.recipe import load_recipe
from brainseg_engine.train import sweep as sweeping

pytest.importorskip("optuna")
SMALL = ("network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]", "schedule.warmup_steps=1",
         "training.validate_every_steps=1")  # fmt: skip


def test_trials_are_run_folders_of_one_sweep(tmp_path):
    data, split = write_cohort(tmp_path / "data")
    space = tmp_path / "space.toml"
    space.write_text(
        '["optimiser.learning_rate"]\nlow = 1e-4\nhigh = 1e-2\nlog = true\n["loss.squared"]\nchoices = [true, false]\n'
    )
    out = tmp_path / "sweep"
    words = [
        "sweep",
        "baseline",
        "--space",
        space,
        "--data",
        data,
        "--split",
        split,
        "--out",
        out,
        "--steps",
        2,
        "--json",
    ]
    words += ["--device", "cpu", "--cache", tmp_path / "cache", *(w for s in SMALL for w in ("--set", s))]
    for trials in (1, 2):  # the second call goes on
        done = CliRunner().invoke(app, [*map(str, words), "--trials", str(trials)])
        assert done.exit_code == 0, done.output
    best = json.loads(done.stdout)
    with (out / "trials.csv").open(newline="") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 2 and {r["state"] for r in rows} <= {"complete", "pruned"}
    assert best["dice"] == pytest.approx(max(float(r["dice"]) for r in rows if r["state"] == "complete"), abs=1e-4)
    assert [s.split("=")[0] for s in best["settings"]] == ["optimiser.learning_rate", "loss.squared"]
    assert all((out / f"trial-{n:04d}" / "model.safetensors").is_file() for n in range(2))


@pytest.mark.parametrize(
    ("text", "words"),
    [('["optimiser.learning_rat"]\nlow = 1e-4\nhigh = 1e-3\n', "learning_rate"), ("", "names no key"), ("[", "cannot be read"),
     ('["loss.dice"]\nlow = 2.0\nhigh = 1.0\n', "must be less"), ('["loss.dice"]\nhigh = 1.0\n', "low and high"),
     ('["loss.dice"]\nchoices = []\n', "choices")],
)  # fmt: skip
def test_a_space_that_is_none_is_refused(text, words, tmp_path):
    (tmp_path / "space.toml").write_text(text)
    with pytest.raises(RecipeError, match=words):
        sweeping.read_space(tmp_path / "space.toml", load_recipe("baseline"))
