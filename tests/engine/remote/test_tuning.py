"""A fine-tuning elsewhere: it goes on when the line breaks, and what came of it lies here as if it had been made here."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.elsewhere import Elsewhere
from helpers.small_world import make_world

from brainseg_engine import __version__, models
from brainseg_engine.core.errors import Cancelled, DeviceError, TrainingError
from brainseg_engine.core.events import EpochDone, Progress
from brainseg_engine.corrections import Store
from brainseg_engine.finetune import FinetuneOptions, anchors, ask_to_stop, status_of
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom import phantom_study, write_study
from brainseg_engine.remote import tuning


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Elsewhere:
    there = Elsewhere(tmp_path, monkeypatch)
    there.install(f"{shlex.quote(sys.executable)} -m brainseg_engine " + '"$@"')
    monkeypatch.setattr(tuning, "LOOK_S", 0.1)
    monkeypatch.setattr(tuning, "PATIENCE", (0.1, 0.1, 0.1))
    return there


def options(tmp_path: Path, model: Path, **more) -> FinetuneOptions:
    given = {"epochs": 2, "rate": 1.0, "device": "ssh:gpu1", "name": "theirs", **more}
    return FinetuneOptions(tmp_path / "run", str(model), tmp_path / "corrections", **given)


def test_anchors_are_refused_before_anything_is_sent(elsewhere, tmp_path, tiny_model):
    with pytest.raises(TrainingError, match="Anchors would have to be copied to gpu1"):
        tuning.tune(options(tmp_path, tiny_model, anchors=tmp_path))


def test_a_machine_that_is_not_there_leaves_a_run_that_says_so(elsewhere, tmp_path, tiny_model):
    make_world(tmp_path, corrections=1, anchors=0)
    elsewhere.install("false", before="exit 127")
    with pytest.raises(DeviceError, match="no napari-brainseg on gpu1"):
        tuning.tune(options(tmp_path, tiny_model))
    status = status_of(tmp_path / "run")
    assert status.state == "failed" and "pipx install" in status.message


@pytest.mark.slow
def test_a_run_is_stopped_resumed_over_a_broken_line_and_mirrored(elsewhere, tmp_path, tiny_model):
    import psutil

    store, _ = make_world(tmp_path, anchors=0)
    for seed in (
        *anchors.PHANTOMS_REPLAYED,
        *anchors.PHANTOMS_SCORED,
    ):  # found there, they need not be made in full size
        write_study(phantom_study(seed, (24, 28, 20)), elsewhere.folder / "home_there" / "samples" / __version__)
    asked, out = options(tmp_path, tiny_model), tmp_path / "run"

    def stop_early(event) -> None:
        if isinstance(event, EpochDone) and not (out / "stop").exists():
            ask_to_stop(out)

    with pytest.raises(Cancelled):
        tuning.tune(asked, stop_early)
    assert status_of(out).state == "stopped" and "theirs" not in {m.name for m in models.installed()}
    there = elsewhere.folder / "home_there" / "received-runs"
    (place,) = there.iterdir()
    told = b"".join(p.read_bytes() for p in (place / "home").rglob("*.json"))
    assert b"Patient" not in told  # what the studies are called here stays here

    heard, cut = [], []

    def cut_the_line(event) -> None:
        heard.append(event)
        if isinstance(event, EpochDone) and not cut:
            for process in psutil.Process().children(recursive=True):
                if process.cmdline()[-2:] == ["device", "tune"]:
                    process.kill()
                    cut.append(process.pid)

    report = tuning.tune(replace(asked, resume=True), cut_the_line)
    assert cut and any(isinstance(e, Progress) and "broke" in e.stage for e in heard)
    assert status_of(out).state == "done" and report["model"]["name"] == "theirs"
    assert checkpoint.read_metadata(models.find("theirs"))[0].tuned is not None
    assert {"plan.json", "report.md", "split.csv"} <= {p.name for p in out.iterdir()}
    assert json.loads((out / "report.json").read_text())["model"]["file"] == str(models.find("theirs"))
    assert "It was made on gpu1." in report["notes"] and not list(there.iterdir())  # nothing stays there
    held_out = {c.id for c in Store(store.path).latest().values() if c.held_out}
    assert held_out == {c["name"] for c in report["corrections"]["held_out"]} and len(held_out) == 1
