"""A network and a loss of the user's own, from a recipe to a model that is used."""

from __future__ import annotations

import pytest
import torch
from helpers.small_study import make_study, write_cohort

from brainseg_engine.core.errors import RecipeError
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.recipe import load_recipe, overridden
from brainseg_engine.train import TrainOptions, train

CODE = """
import torch

class Small(torch.nn.Module):
    def __init__(self, inputs, outputs, width=4):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv3d(inputs, width, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(width, outputs, 1)
        )

    def forward(self, x):
        return self.body(x)

def squares(logits, targets):
    return ((logits.sigmoid() - targets) ** 2).mean()

def vector(logits, targets):
    return logits.mean(dim=0)
"""
OWN = [
    'network={name="external", target="lab_code:Small", multiple=8, options={width=6}}', 'loss.target="lab_code:squares"',
    "loss.target_weight=2.0", "schedule.warmup_steps=2", "training.validate_every_steps=4",
]  # fmt: skip


def test_they_are_trained_and_used(tmp_path, monkeypatch):
    (tmp_path / "lab_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("baseline", OWN)
    data, split = write_cohort(tmp_path / "data")
    options = TrainOptions(data, split, tmp_path / "run", 4, device="cpu", cache=tmp_path / "cache")
    with pytest.raises(RecipeError, match="BRAINSEG_TRUSTED=lab_code"):
        train(recipe, options, lambda _: None)
    monkeypatch.setenv("BRAINSEG_TRUSTED", "lab_code")
    model = train(
        recipe, TrainOptions(data, split, tmp_path / "run2", 4, device="cpu", cache=tmp_path / "cache"), lambda _: None
    )
    study = make_study(3)
    assert Predictor(model, "cpu").predict(study).segmentation.labels.shape == study.reference.grid.shape
    monkeypatch.delenv("BRAINSEG_TRUSTED")
    with pytest.raises(RecipeError, match="trust it"):  # a model from anybody runs no code by itself
        Predictor(model, "cpu")


def test_events_are_lines_of_json(tmp_path):
    import json

    from typer.testing import CliRunner

    from brainseg_engine.cli import app

    data, split = write_cohort(tmp_path / "data")
    small = ("network.init_filters=8", "network.blocks_down=[1]", "network.blocks_up=[]", "schedule.warmup_steps=1")
    words = ["train", "baseline", "--data", data, "--split", split, "--out", tmp_path / "run", "--steps", 2, "--json"]
    words += [word for item in small for word in ("--set", item)]
    done = CliRunner().invoke(app, [*map(str, words), "--device", "cpu", "--cache", str(tmp_path / "cache")])
    assert done.exit_code == 0, done.output
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert {e["event"] for e in events} == {"progress", "epoch", "finished"}
    assert events[-1]["result"]["model"] == str(tmp_path / "run" / "model.safetensors")


def test_contradictions_are_refused(tmp_path, monkeypatch):
    (tmp_path / "lab_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRAINSEG_TRUSTED", "lab_code")
    recipe = load_recipe("baseline", OWN)
    with pytest.raises(RecipeError, match=r"training\.parts"):
        overridden(recipe, ['training.parts="head"'])
    from brainseg_engine import nets
    from brainseg_engine.train import losses

    with pytest.raises(RecipeError, match="cannot be made"):
        nets.build(overridden(recipe, ["network.options.depth=3"]))
    wrong = losses.build(overridden(recipe, ['loss.target="lab_code:vector"']))
    with pytest.raises(RecipeError, match="one number"):
        wrong(torch.zeros(1, 3, 8, 8, 8), torch.zeros(1, 8, 8, 8, dtype=torch.uint8), {}, torch.zeros(1, 4, 8, 8, 8))
