"""The demo: what it makes, what it says, when it fails, and when it opens the viewer."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from brainseg_engine import models, phantom
from brainseg_engine.cli import app
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.study import Prediction, Study
from brainseg_engine.io import load_segmentation

ID = phantom.study_id(phantom.DEMO_SEED)


@pytest.fixture(scope="module")
def study() -> Study:
    return replace(phantom.phantom_study(3, (60, 60, 40)), id=ID)


@pytest.fixture
def stage(study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> SimpleNamespace:
    """A demo of seconds: a small study, and a predictor that knows the truth as well as ``stage.good`` says."""
    state = SimpleNamespace(good=True, out=tmp_path / "demo", opened=[])

    class Predictor:
        card = SimpleNamespace(name="knower", version="1")

        def __init__(self, model: Path, device: str) -> None:
            assert model == tmp_path / "m.safetensors"

        def predict(self, found: Study, progress: Any) -> Prediction:
            assert study.segmentation is not None
            labels = study.segmentation.labels
            labels = labels if state.good else np.roll(labels, 6, axis=0)
            made = replace(study.segmentation, labels=labels, made_by="knower 1")
            return Prediction(found.id, made, "knower", "1", "cpu", {"network": 0.1})

    def run(command: list[str], **_: object) -> SimpleNamespace:
        state.opened.append(command)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("brainseg_engine.inference.predictor.Predictor", Predictor)
    monkeypatch.setattr("brainseg_engine.models.find", lambda name: tmp_path / "m.safetensors")
    monkeypatch.setattr("brainseg_engine.models.default", lambda: "knower")
    monkeypatch.setattr("brainseg_engine.phantom.phantom_study", lambda seed: study)
    module = sys.modules["brainseg_engine.cli.demo"]
    monkeypatch.setattr(module, "subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr(module, "has_viewer", lambda: True)
    monkeypatch.setenv("DISPLAY", ":0")
    state.module = module
    return state


def _run(stage: SimpleNamespace, *more: str) -> Any:
    return CliRunner().invoke(app, ["demo", "--out", str(stage.out), *more])


def test_it_writes_mask_report_picture_and_the_study(stage: SimpleNamespace, study: Study) -> None:
    result = _run(stage, "--no-window")
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in stage.out.iterdir()) == [ID, f"{ID}.png", f"{ID}_seg.json", f"{ID}_seg.nii.gz"]
    assert study.segmentation is not None
    saved = load_segmentation(stage.out / f"{ID}_seg.nii.gz")
    assert saved.coding == "brats2023"
    assert np.array_equal(saved.labels, study.segmentation.labels)
    report = json.loads((stage.out / f"{ID}_seg.json").read_text())
    assert report["dice"] == {"WT": 1.0, "TC": 1.0, "ET": 1.0}
    assert report["model"] == "knower"
    assert set(report["volumes_ml"]) == {"WT", "TC", "ET"}
    for said in ("1.000", "knower", "predict", str(stage.out / f"{ID}.png")):
        assert said in result.output
    assert stage.opened == []


def test_a_poor_model_fails_and_says_so(stage: SimpleNamespace) -> None:
    stage.good = False
    result = _run(stage, "--no-window")
    assert result.exit_code == 1
    assert "too low" in result.stderr
    assert "at least 0.85" in result.stderr
    assert (stage.out / f"{ID}.png").exists()  # to see why


def test_again_it_leaves_what_a_person_added(stage: SimpleNamespace) -> None:
    assert _run(stage, "--no-window").exit_code == 0
    note = stage.out / ID / "my_seg.nii.gz"
    note.write_bytes(b"mine")
    assert _run(stage, "--no-window").exit_code == 0
    assert note.read_bytes() == b"mine"


def test_a_study_with_a_missing_file_is_made_anew(stage: SimpleNamespace) -> None:
    assert _run(stage, "--no-window").exit_code == 0
    (stage.out / ID / f"{ID}-t1c.nii.gz").unlink()
    assert _run(stage, "--no-window").exit_code == 0
    assert (stage.out / ID / f"{ID}-t1c.nii.gz").exists()


def test_the_viewer_opens_with_the_study_where_there_is_a_screen(
    stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(stage).exit_code == 0
    assert [c[1:] for c in stage.opened] == [["-m", "napari", "--plugin", "napari-brainseg", str(stage.out / ID)]]
    monkeypatch.setattr(stage.module, "has_display", lambda: False)
    result = _run(stage)
    assert "no screen" in result.output
    monkeypatch.setattr(stage.module, "has_viewer", lambda: False)
    result = _run(stage)
    assert "pip install 'napari-brainseg[app]'" in result.output
    assert len(stage.opened) == 1


def test_a_screen_is_told_by_the_environment(monkeypatch: pytest.MonkeyPatch, stage: SimpleNamespace) -> None:
    monkeypatch.setattr(stage.module.sys, "platform", "linux")
    assert stage.module.has_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not stage.module.has_display()
    monkeypatch.setattr(stage.module.sys, "platform", "darwin")
    assert stage.module.has_display()


def test_without_a_model_nothing_is_written(stage: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise CheckpointError("No model is installed.")

    monkeypatch.setattr("brainseg_engine.models.default", none)
    result = _run(stage)
    assert result.exit_code == CheckpointError.exit_code
    assert "No model is installed." in result.stderr
    assert not stage.out.exists()


def test_a_place_that_takes_no_files_is_noticed_first(stage: SimpleNamespace) -> None:
    stage.out.write_text("a file")
    result = _run(stage)
    assert result.exit_code == OutputError.exit_code
    assert "Cannot write" in result.stderr
    assert "it is a file" in result.stderr


def test_an_output_folder_with_brackets_is_shown_as_it_is(stage: SimpleNamespace) -> None:
    stage.out = stage.out.with_name("[bold]x[red]")
    result = _run(stage, "--no-window")
    assert result.exit_code == 0, result.output
    assert f"{stage.out / ID}.png" in result.output


@pytest.mark.slow
@pytest.mark.skipif(not any(m.bundled for m in models.installed()), reason="no model is bundled in this checkout")
def test_the_bundled_model_segments_the_bundled_phantom(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "brainseg_engine", "demo", "--no-window", "--out", str(tmp_path / "demo")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    report = json.loads((tmp_path / "demo" / f"{ID}_seg.json").read_text())
    for region, least in {"WT": 0.85, "TC": 0.70, "ET": 0.60}.items():
        assert report["dice"][region] >= least
