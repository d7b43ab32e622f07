"""Run folders that somebody prepared, and names that are wrong: told before any work, and nothing is written elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.small_world import make_world

from brainseg_engine.core import outputs
from brainseg_engine.core.errors import BrainsegError, OutputError, TrainingError
from brainseg_engine.core.events import EpochDone
from brainseg_engine.finetune import FinetuneOptions, plan, status
from brainseg_engine.finetune.job import run
from brainseg_engine.runs import RunFolder


@pytest.fixture
def prepared(tmp_path) -> tuple[Path, Path]:
    """(run folder that is ours by its mark, a file that is nobody's business)."""
    out, victim = tmp_path / "run", tmp_path / "victim"
    outputs.claim(out, outputs.Use.FINETUNING)
    victim.write_text("mine")
    return out, victim


@pytest.mark.parametrize("make", [Path.symlink_to, Path.hardlink_to], ids=["link", "second name"])
@pytest.mark.parametrize("name", ["lock", "events.jsonl", "train.log", "metrics.csv", "stop"])
def test_nothing_is_written_through_a_link(name, make, prepared):
    out, victim = prepared
    make(out / name, victim)
    folder = RunFolder(out, outputs.Use.FINETUNING)
    acts = {
        "lock": lambda: folder.lock().__enter__(),
        "events.jsonl": lambda: folder.emit(EpochDone(1, 1, 0.5, 0.1)),
        "train.log": lambda: folder.log().__enter__(),
        "metrics.csv": lambda: folder.record(EpochDone(1, 1, 0.5, 0.1)),
        "stop": lambda: status.ask_to_stop(out),
    }
    with pytest.raises(OutputError, match="ordinary"):
        acts[name]()
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("name", ["data", "training"])
def test_a_linked_folder_in_a_run_is_not_emptied(name, prepared, tmp_path, tiny_model):
    out, _ = prepared
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    (out / name).symlink_to(tmp_path / "elsewhere")
    store, _ = make_world(tmp_path / "world", corrections=1, anchors=0)
    with pytest.raises(BrainsegError, match="link"):
        run(FinetuneOptions(out, str(tiny_model), store.path, epochs=1))
    assert (tmp_path / "elsewhere" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["../x", "a b", ".x", "", "x" * 300])
@pytest.mark.parametrize("resume", [False, True])
def test_a_wrong_name_is_reported_before_any_work(name, resume, tmp_path, tiny_model):
    with pytest.raises(OutputError, match="cannot be a model's name"):
        run(FinetuneOptions(tmp_path / "out", str(tiny_model), tmp_path / "absent", epochs=1, name=name, resume=resume))
    assert not (tmp_path / "out").exists()


def a_plan(**changes) -> dict:
    made = plan.FinetunePlan({"corrections": "c"}, {"name": "b", "version": "1", "path": "p", "sha256": "0"}, "new",
                     [plan.Learnt("a_01", "0", "p", False, ["0"])], {"x": "/x"}, {"y": "/y"}, "phantoms", False)  # fmt: skip
    from dataclasses import asdict

    return {"format": plan.FORMAT, **asdict(made), **changes}


@pytest.mark.parametrize("changes", [
    {"name": "../x"}, {"name": 3}, {"corrections": [{**a_plan()["corrections"][0], "name": "../../x"}]}, {"corrections": 1},
    {"corrections": [{**a_plan()["corrections"][0], "held_out": "no"}]}, {"base": {}}, {"base": []}, {"level": -1},
    {"level": 1.5}, {"level": 10**400}, {"trained": "yes"}, {"scored": {"a": 1}}, {"settings": []}, {"notes": [1]}, {"more": 1},
])  # fmt: skip
def test_a_wicked_plan_is_refused(changes, tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(a_plan()))
    assert plan.load(tmp_path) is not None
    (tmp_path / "plan.json").write_text(json.dumps(a_plan(**changes)))
    with pytest.raises(TrainingError, match="cannot be read"):
        plan.load(tmp_path)


@pytest.mark.parametrize("change", [
    {"pid": "1"}, {"pid": -1}, {"pid": 2**70}, {"began": None}, {"state": "dancing"}, {"state": []}, {"fraction": 7},
    {"stage": {}}, {"seconds_left": "x"}, {"message": 3}, {"more": 1},
])  # fmt: skip
def test_a_wicked_status_is_none(change, tmp_path):
    status._save(tmp_path, status.Status(1, 1.0))
    content = json.loads((tmp_path / "status.json").read_text())
    (tmp_path / "status.json").write_text(json.dumps(content | change))
    assert status.status_of(tmp_path) is None


def test_a_run_in_another_container_is_alive(tmp_path, monkeypatch):
    """Its process' number says nothing here, and the clock may have been set: its lock tells."""
    monkeypatch.setattr(status, "alive", lambda pid, began: False)
    folder = RunFolder(tmp_path / "run", outputs.Use.FINETUNING)
    with folder.lock():
        status._save(folder.path, status.Status(12345, 0.0))
        assert status.status_of(folder.path).state == "running"
    assert status.status_of(folder.path).state == "killed"
