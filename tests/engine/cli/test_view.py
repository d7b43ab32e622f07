"""`napari-brainseg view`."""

from __future__ import annotations

import subprocess
import sys

from typer.testing import CliRunner

from brainseg_engine.cli import app


def test_it_hands_the_study_to_the_window(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr(
        subprocess, "run", lambda command, check: called.append(command) or subprocess.CompletedProcess(command, 0)
    )
    assert CliRunner().invoke(app, ["view", str(tmp_path)]).exit_code == 0
    assert called == [[sys.executable, "-m", "napari_brainseg", str(tmp_path)]]
    assert CliRunner().invoke(app, ["view"]).exit_code == 0
    assert called[-1] == [sys.executable, "-m", "napari_brainseg"]


def test_a_study_that_is_not_there_is_one_sentence(tmp_path):
    done = CliRunner().invoke(app, ["view", str(tmp_path / "absent")])
    assert done.exit_code != 0 and "does not exist" in done.output and "Traceback" not in done.output
