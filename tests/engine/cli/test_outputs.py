"""No command writes into a folder that holds something else, or removes anything that is not its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_study import write_cohort
from helpers.small_world import make_world
from typer.testing import CliRunner

from brainseg_engine.cli import app

MINE = ["README.txt", "run.json", "metrics.csv", "summary.csv", "data/thesis.txt", "training/notes.txt", "report.json"]


@pytest.fixture
def folder(tmp_path) -> Path:
    """A person's own folder, with the names that we use too."""
    folder = tmp_path / "project"
    for name in MINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"my {name}")
    return folder


@pytest.mark.parametrize("command", ["train", "finetune", "predict", "export-brats", "export-bids", "report"])
@pytest.mark.parametrize("more", [[], ["--resume"]], ids=["", "resume"])
def test_a_folder_of_the_users_own_is_left_as_it_is(command, more, folder, tmp_path, tiny_model, monkeypatch):
    monkeypatch.chdir(folder)  # --out . is how it happened
    store, _ = make_world(tmp_path / "world", corrections=1, anchors=0)
    (tmp_path / "cohort").mkdir()
    data, split = write_cohort(tmp_path / "cohort")
    words = {
        "train": ["train", "baseline", "--data", str(data), "--split", str(split), "--steps", "1", "--device", "cpu"],
        "finetune": ["finetune", "--model", str(tiny_model), "--corrections", str(store.path), "--epochs", "1"],
        "predict": ["predict", str(data), "--model", str(tiny_model), "--device", "cpu"],
        "export-brats": ["corrections", "export", str(store.path)],
        "report": ["report", str(data)],
        "export-bids": ["corrections", "export", str(store.path), "--layout", "bids"],
    }[command]
    if more and command not in ("train", "finetune"):
        more = []
    done = CliRunner().invoke(app, [*words, "--out", ".", *more])
    assert done.exit_code == 4, done.output
    found = {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}
    assert found == {name: f"my {name}" for name in MINE}
