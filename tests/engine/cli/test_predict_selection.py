"""Which studies `predict` takes, several models, jobs, and what is said where."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.phantom import write_study


@pytest.fixture
def data(tmp_path) -> Path:
    for n in range(3):
        write_study(make_study(n, id=f"Case_{n}"), tmp_path / "data")
    (tmp_path / "split.csv").write_text("case,split\nCase_0,train\nCase_1,validation\nCase_2,validation\n")
    (tmp_path / "names.txt").write_text("# two of them\nCase_2\n\nCase_0\n")
    return tmp_path / "data"


def call(*words, code=0, stdin=None):
    done = CliRunner().invoke(app, [*map(str, words)], input=stdin)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.output
    return done


def ids(done) -> list[str]:
    return [r["id"] for r in json.loads(done.stdout)["results"]]


def test_by_list_and_by_split(data, tiny_model, tmp_path, monkeypatch):
    common = ("--model", tiny_model, "--device", "cpu", "--json", "--out", tmp_path / "out")
    assert ids(call("predict", data, "--list", tmp_path / "names.txt", *common)) == ["Case_2", "Case_0"]
    assert ids(call("predict", data, "--split", tmp_path / "split.csv", *common)) == ["Case_1", "Case_2"]
    assert ids(call("predict", data, "--split", tmp_path / "split.csv", "--subset", "train", *common)) == ["Case_0"]
    monkeypatch.chdir(tmp_path)
    assert ids(call("predict", "--list", "-", *common, stdin="data/Case_1\n")) == ["Case_1"]
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "paths.txt").write_text("../data/Case_1\n")
    assert ids(call("predict", "--list", "lists/paths.txt", *common)) == ["Case_1"]
    halves = [ids(call("predict", data, "--shard", f"{n}/2", *common)) for n in (1, 2)]
    assert sorted(i for half in halves for i in half) == ["Case_0", "Case_1", "Case_2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--list", "{tmp}/nowhere.txt"), "cannot be read"),
        (("--list", "{tmp}/empty.txt"), "names no study"),
        (("{data}", "--list", "{tmp}/wrong.txt"), "Case_9"),
        (("{data}", "--split", "{tmp}/split.csv", "--subset", "exam"), "no part 'exam'"),
        (("{data}", "--shard", "3/2"), "no shard '3/2'"),
        (("{data}", "--shard", "1/2", "--jobs", "2"), "contradict"),
        (("{data}", "--slurm", "partition"), "KEY=VALUE"),
        (("{data}", "--slurm", "partition=gpu"), "no sbatch"),
        ((), "No study was given"),
        (("{data}", "--model", "{model}", "--model", "{model}"), "called 'tiny'"),
        (("--status", "{tmp}"), "holds no work"),
    ],
)
def test_what_cannot_be_meant(words, said, data, tiny_model, tmp_path):
    (tmp_path / "empty.txt").write_text("# nothing\n")
    (tmp_path / "wrong.txt").write_text("Case_1\nCase_9\n")
    given = [w.format(tmp=tmp_path, data=data, model=tiny_model) for w in words]
    more = [] if "--model" in given else ["--model", tiny_model]
    done = call("predict", *given, *more, "--device", "cpu", "--out", tmp_path / "out", code=3)
    assert said in " ".join(done.stderr.split())
    assert not list((tmp_path / "out").glob("*_seg*"))


def test_a_folder_for_each_model_or_one_mask_of_all(data, tiny_model, tmp_path):
    other = tmp_path / "second.safetensors"
    shutil.copyfile(tiny_model, other)
    both = ("--model", tiny_model, "--model", other, "--device", "cpu", "--json")
    out = tmp_path / "out"
    content = json.loads(call("predict", data / "Case_0", *both, "--out", out).stdout)
    assert [Path(r["output"]).relative_to(out).parts[0] for r in content["results"]] == ["tiny", "second"]
    assert all(Path(s).is_file() for s in content["summaries"])
    one = json.loads(call("predict", data / "Case_0", *both, "--ensemble", "--out", tmp_path / "one").stdout)
    assert [r["status"] for r in one["results"]] == ["done"]
    assert json.loads((tmp_path / "one" / "Case_0_seg.json").read_text())["model"] == "tiny+tiny"


def test_quiet_and_the_log(data, tiny_model, tmp_path):
    broken = data / "Case_1"
    flair = next(broken.glob("*t2f*"))
    flair.write_bytes(flair.read_bytes()[:500])
    log = tmp_path / "log.txt"
    words = ("predict", data, "--model", tiny_model, "--device", "cpu", "--out", tmp_path / "out", "--log-file", log)
    done = call(*words, "--quiet", code=3)
    assert done.stdout == "" and "1 of 3 studies failed" in done.stderr
    written = log.read_text()
    assert flair.name in written and "Case_2: WT" in written and "ended with code 3" in written
    output = call("predict", "--status", tmp_path / "out").stdout
    assert "2 done, 1 failed, 0 not begun" in output and flair.name in output
    status = json.loads(call("predict", "--status", tmp_path / "out", "--json").stdout)
    assert {s["id"]: s["state"] for s in status[0]["studies"]}["Case_1"] == "failed"


@pytest.mark.slow
def test_jobs_of_this_machine(data, tiny_model, tmp_path):
    out = tmp_path / "out"
    done = call("predict", data, "--model", tiny_model, "--device", "cpu", "--out", out, "--jobs", 2, "--json")
    assert sorted(ids(done)) == ["Case_0", "Case_1", "Case_2"]
    with (out / "summary.csv").open(newline="") as f:
        assert sorted((r["id"], r["status"]) for r in csv.DictReader(f)) == [(f"Case_{n}", "done") for n in range(3)]
    assert len(list((out / ".jobs").glob("*_log.err"))) == 2


def test_a_shell_learns_how_to_complete():
    done = CliRunner().invoke(app, [], prog_name="napari-brainseg", env={"_NAPARI_BRAINSEG_COMPLETE": "source_bash"})
    assert done.exit_code == 0 and "_NAPARI_BRAINSEG_COMPLETE=complete_bash" in done.stdout
