"""A fine-tuning elsewhere: it goes on when the line breaks, and what came of it lies here as if it had been made here."""

from __future__ import annotations

import csv
import json
import shlex
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.elsewhere import Elsewhere
from helpers.small_study import make_study
from helpers.small_world import make_world

from brainseg_engine import __version__, models
from brainseg_engine.core.errors import Cancelled, DeviceError, InputError
from brainseg_engine.core.events import EpochDone, Progress, never
from brainseg_engine.corrections import Store
from brainseg_engine.finetune import FinetuneOptions, anchors, ask_to_stop, status_of
from brainseg_engine.io import load_study
from brainseg_engine.models import checkpoint
from brainseg_engine.phantom import phantom_study, write_study
from brainseg_engine.remote import anchor_cases, tuning
from brainseg_engine.studies import cohort


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


@pytest.fixture
def world(tmp_path) -> tuple[Store, Path]:
    """Two corrections, four anchors (two studies of one patient among them), and an anchor that was corrected."""
    store, folder = make_world(tmp_path, corrections=2, anchors=0)
    for seed, name in ((1, "Patient1"), *((n, f"sub-Doe{n // 2}_ses-{n}") for n in range(100, 104))):
        write_study(make_study(seed, id=name), folder)
    return store, folder


def test_anchors_go_once_under_names_that_tell_nothing(world, tmp_path, tiny_model):
    """Those that a fine-tuning here would take; their voxels, places and masks are the same there."""
    store, folder = world
    there, puts = tmp_path / "there", []
    (tmp_path / "run").mkdir()

    def put(path: str, content: bytes) -> None:
        puts.append(path)
        (there / path).parent.mkdir(parents=True, exist_ok=True)
        (there / path).write_bytes(content)

    asked = options(tmp_path, tiny_model, anchors=folder)
    latest = list(store.latest().values())
    anchor_cases.send(asked, tiny_model, latest, "f" * 32, put, lambda _: None, never)
    sent = cohort.list_cases(there / "anchors")
    with (tmp_path / "run" / "anchors.csv").open() as f:
        names = {row["there"]: row["here"] for row in csv.DictReader(f)}
    assert sorted(names.values()) == [f"sub-Doe{n // 2}_ses-{n}" for n in range(100, 104)]  # not the corrected one
    assert {c.name for c in sent} == set(names) and not any("doe" in p.lower() for p in puts)
    for case in sent:
        here, away = load_study(folder / names[case.name]), load_study(case.source)
        assert {m: v.sha256 for m, v in here.volumes.items()} == {m: v.sha256 for m, v in away.volumes.items()}
        np.testing.assert_array_equal(here.segmentation.labels, away.segmentation.labels)
        assert away.reference.grid.same_as(here.reference.grid)
    patients = {c.patient for c in sent}
    assert len(patients) == 2 and all(len(p) == 20 for p in patients)
    split = cohort.read_split(there / "anchors.csv")
    assert set(split) == set(names) and set(split.values()) == {"train", "validation"}
    first = list(puts)
    anchor_cases.send(asked, tiny_model, latest, "f" * 32, put, lambda _: None, never)
    assert puts == first * 2  # the same names and sizes, so that a connection that was made again sends nothing twice
    puts.clear()
    anchor_cases.send(asked, tiny_model, latest, "e" * 32, put, lambda _: None, never)
    assert set(puts).isdisjoint(first[:-1])  # two runs tell nothing of each other's patients
    with pytest.raises(Cancelled):
        anchor_cases.send(asked, tiny_model, latest, "e" * 32, put, lambda _: None, lambda: True)


def test_bad_anchors_end_it_before_anything_begins_there(elsewhere, tmp_path, tiny_model):
    make_world(tmp_path, corrections=1, anchors=0)
    with pytest.raises(InputError, match="holds no case"):
        tuning.tune(options(tmp_path, tiny_model, anchors=tmp_path / "anchors"))


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
                with suppress(psutil.NoSuchProcess):  # some end by themselves meanwhile
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
