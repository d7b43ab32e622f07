"""What is printed can be read anywhere: in a pipe, in a narrow window, in a terminal that knows few characters."""

from __future__ import annotations

import io
import os
import subprocess
import sys

from helpers.on_disk import BRATS2023, write_mask, write_series
from typer.testing import CliRunner

from brainseg_engine.cli import app, printing

LONG = "MRHR_T1_AX_POST_GAD_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_T1_AX_POST_GAD_SE_13"


def test_a_pipe_is_given_utf_8_whatever_the_platform_says(tmp_path):
    folder = tmp_path / "Jürgen →"
    folder.mkdir()
    write_series(folder, BRATS2023)
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "brainseg_engine", "inspect", str(folder)], capture_output=True, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"{folder}" in done.stdout.decode("utf-8")


def test_a_terminal_shows_a_question_mark_for_what_it_lacks(monkeypatch):
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, Terminal(io.BytesIO(), encoding="ascii"))
    printing.accept_all_characters()
    assert (sys.stdout.encoding, sys.stdout.errors) == ("ascii", "replace")
    sys.stdout.write("✓")
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b"?"


def test_a_pipe_is_wide_enough_for_long_names(tmp_path, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    write_series(tmp_path, id=LONG)
    listing = CliRunner().invoke(app, ["inspect", str(tmp_path)]).stdout
    assert f"{LONG}_flair.nii.gz" in listing


def test_a_narrow_window_keeps_numbers_and_sentences_whole(tmp_path):
    write_series(tmp_path, id=LONG, affine=None)
    write_mask(tmp_path / f"{LONG}_seg.nii.gz", (1, 2, 7))
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)], env={"COLUMNS": "60"})
    assert "7×6×5" in result.stdout
    assert "…" not in result.stdout
    assert f"{LONG}_seg.nii.gz holds the value 7" in result.stdout  # a name can be copied out of a sentence
