"""Fine-tuning from the window, without a window: what may be started, what a run's folder tells, using and rolling back."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.cases import write
from helpers.rig import Card, House, Later, Model, at_once
from helpers.run_folders import finished, killed, make_plan, make_report, tell
from helpers.small_study import make_study

from brainseg_engine import models
from brainseg_engine.core.labels import Region
from brainseg_engine.core.locks import is_held
from brainseg_engine.corrections import Store
from brainseg_engine.finetune import runs, runs_home
from brainseg_engine.finetune.status import FILE, STOP
from brainseg_engine.io import load_study
from napari_brainseg.features.finetune import candidates
from napari_brainseg.features.finetune.run import new_folder, new_name
from napari_brainseg.features.finetune.verbs import FinetuneVerbs
from napari_brainseg.session import Kind


class Launcher:
    """Starts nothing, and notes what it was asked; the run seems to work in the test's own process."""

    def __init__(self) -> None:
        self.commands = []

    def __call__(self, words, out):
        self.commands.append((words, out))
        out.mkdir(parents=True, exist_ok=True)
        tell(out)


def correct(store: Store, folder: Path, seed: int, id: str, **more):
    """A study on disk, and its mask as an accepted correction."""
    place = folder / id
    loaded = load_study(place if place.exists() else write(make_study(seed, id=id), folder))
    return store.add(loaded, loaded.segmentation, **more)


@pytest.fixture
def background():
    return at_once


@pytest.fixture
def house(viewer, background, tmp_path, launcher, monkeypatch) -> House:
    made = House(viewer, background, launcher=launcher)
    weights = tmp_path / "base.safetensors"
    weights.write_bytes(b"weights")
    made.session.set_models((Model("base", Card(), path=weights),))
    monkeypatch.setattr(made.segment, "find_models", lambda: None)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path) -> Store:
    (tmp_path / "studies").mkdir()
    return Store(tmp_path / "corrections")


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


@pytest.fixture
def finetuning(house, store):
    house.corrections.choose(store=store.path)
    house.finetune.choose(model="base")
    return house.finetune


def listed(finetuning, store, tmp_path, *ids: str):
    made = [correct(store, tmp_path / "studies", seed, id) for seed, id in enumerate(ids)]
    finetuning.candidates.refresh()
    return made


# --- what there is to learn from


def test_none_and_one_correction_are_reported_in_sentences(finetuning, store, tmp_path, launcher, house):
    finetuning.candidates.refresh()
    assert "There is no accepted correction" in finetuning.blocker
    finetuning.start()
    assert launcher.commands == [] and "no accepted correction" in house.session.message.text
    listed(finetuning, store, tmp_path, "A")
    assert candidates.in_words(finetuning.rows).startswith("One correction only: nothing can be held out")
    assert finetuning.blocker == ""
    finetuning.candidates.hold_out(finetuning.rows[0].id, True)
    assert "nothing to learn from" in finetuning.blocker


def test_holding_out_concerns_the_patient_and_stays_in_the_store(finetuning, store, tmp_path):
    first, _, other = listed(
        finetuning, store, tmp_path, "BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"
    )
    finetuning.candidates.hold_out(first.id, True)
    assert {r.name: r.held_out for r in finetuning.rows} == {
        "BraTS-GLI-00001-000": True, "BraTS-GLI-00001-001": True, "BraTS-GLI-00002-000": False,
    }  # fmt: skip
    assert {c.id for c in Store(store.path).corrections() if c.held_out} == {r.id for r in finetuning.rows} - {other.id}
    finetuning.candidates.hold_out(first.id, False)
    assert not any(r.held_out for r in finetuning.rows)


def test_excluded_ones_are_listed_last_and_not_counted(finetuning, store, tmp_path):
    a, b = listed(finetuning, store, tmp_path, "A", "B")
    store.exclude(a.id, "a slip")
    finetuning.candidates.refresh()
    assert [(r.name, r.excluded) for r in finetuning.rows] == [("B", False), ("A", True)]
    assert candidates.in_words(finetuning.rows).startswith("One correction only")
    assert b.id == finetuning.rows[0].id


def test_two_people_s_corrections_of_one_study_are_reported(finetuning, store, tmp_path):
    correct(store, tmp_path / "studies", 1, "A", by="Ann")
    newest = correct(store, tmp_path / "studies", 1, "A", by="Ben")
    finetuning.candidates.refresh()
    (row,) = finetuning.rows
    assert row.id == newest.id and "several people" in row.problem and not row.barred


def test_a_study_that_changed_is_reported_when_it_is_checked(finetuning, store, tmp_path):
    listed(finetuning, store, tmp_path, "A", "B")
    changed = tmp_path / "studies" / "A"
    for path in changed.iterdir():
        path.unlink()
    changed.rmdir()
    write(make_study(77, id="A"), tmp_path / "studies")
    assert not any(r.barred for r in finetuning.rows)
    finetuning.candidates.check()
    row = next(r for r in finetuning.rows if r.name == "A")
    assert row.barred and "has changed since it was corrected" in row.problem and not finetuning.candidates.checking
    finetuning.candidates.refresh()  # what was found out holds until the next check
    assert next(r for r in finetuning.rows if r.name == "A").barred


def test_a_base_model_that_cannot_learn_from_them_is_reported(finetuning, store, tmp_path, house):
    listed(finetuning, store, tmp_path, "A")
    poor = Card().model_copy(update={"regions": (*Region, "RC")})
    house.session.set_models((*house.session.models, Model("other", poor)))
    assert finetuning.blocker == ""
    finetuning.choose(model="other")
    assert finetuning.rows[0].barred and "RC cannot be learnt from it" in finetuning.blocker
    finetuning.choose(model="gone")
    assert "cannot be used" in finetuning.blocker


def test_another_store_is_listed_when_it_is_chosen(finetuning, store, tmp_path, house):
    listed(finetuning, store, tmp_path, "A")
    house.corrections.choose(store=tmp_path / "elsewhere")
    assert finetuning.rows == () and "elsewhere" in finetuning.blocker


# --- starting and stopping


def option(words, name):
    return words[words.index(name) + 1] if name in words else None


def test_one_button_starts_the_command_line_s_program_with_what_was_chosen(finetuning, store, tmp_path, launcher):
    listed(finetuning, store, tmp_path, "Doe_John")
    finetuning.start()
    ((words, out),) = launcher.commands
    assert words[1:4] == ["-m", "brainseg_engine", "finetune"] and out.parent == runs_home()
    assert option(words, "--corrections") == str(store.path.resolve()) and option(words, "--minutes") == "15.0"
    assert option(words, "--epochs") is None and option(words, "--model").endswith("base.safetensors")
    assert "Doe" not in " ".join(words)
    assert finetuning.running and finetuning.run.folder == out
    finetuning.start()
    assert len(launcher.commands) == 1
    finetuning.run = None
    (out / FILE).unlink()
    finetuning.choose(unit="epochs", amount=7.4, parts="head", device="cpu", anchors=tmp_path)
    finetuning.start()
    words, _ = launcher.commands[1]
    options = [option(words, f"--{o}") for o in ("epochs", "minutes", "parts", "device", "anchors")]
    assert options == ["7", None, "head", "cpu", str(tmp_path.resolve())]


def test_a_run_that_another_window_started_is_followed_instead(finetuning, store, tmp_path, launcher, house):
    listed(finetuning, store, tmp_path, "A")
    elsewhere = runs_home() / new_name()
    elsewhere.mkdir(parents=True)
    tell(elsewhere)
    finetuning.start()
    assert launcher.commands == [] and finetuning.run.folder == elsewhere and "already" in house.session.message.text


def test_of_two_windows_one_starts_and_the_other_waits_and_finds_it(finetuning, store, tmp_path, launcher, house):
    """What runs is looked up, and a process started, under one lock of all windows."""
    seen = []

    def start(words, out):
        seen.append(is_held(runs_home() / ".lock"))
        launcher(words, out)

    listed(finetuning, store, tmp_path, "A")
    finetuning._launch = start
    finetuning.start()
    assert seen == [True] and not is_held(runs_home() / ".lock")


def test_a_full_disk_is_reported_and_nothing_is_started(finetuning, store, tmp_path, launcher, monkeypatch, house):
    listed(finetuning, store, tmp_path, "A")
    monkeypatch.setattr("napari_brainseg.features.finetune.verbs.ROOM", 1 << 60)
    finetuning.start()
    message = house.session.message
    assert launcher.commands == [] and message.kind is Kind.ERROR and "Free some space" in message.text
    assert not finetuning.running


def test_a_wish_to_stop_outlives_the_start_of_the_process(finetuning, store, tmp_path, house):
    listed(finetuning, store, tmp_path, "A")
    finetuning.start()
    finetuning.stop()
    stop = finetuning.run.folder / STOP
    assert stop.exists() and finetuning.stopping
    stop.unlink()  # what a process does that has only just begun
    finetuning.poll()
    assert stop.exists() and finetuning.stopping
    tell(finetuning.run.folder, state="stopped", fraction=0.4)
    finetuning.poll()
    assert not finetuning.running and not finetuning.stopping and "stopped at 40" in house.session.message.text


def test_resuming_goes_on_in_the_same_folder(finetuning, store, tmp_path, launcher):
    listed(finetuning, store, tmp_path, "A")
    finetuning.start()
    out = finetuning.run.folder
    killed(out)
    finetuning.poll()
    assert not finetuning.run.resumable  # it had not even planned
    finetuning.resume()
    assert len(launcher.commands) == 1
    make_plan(out)
    (out / STOP).touch()
    finetuning.resume()
    words, again = launcher.commands[1]
    assert again == out and "--resume" in words and option(words, "--model") is None
    assert not (out / STOP).exists() and finetuning.running


def test_a_process_that_dies_at_once_is_reported_with_its_last_line(finetuning, store, tmp_path, house):
    listed(finetuning, store, tmp_path, "A")
    finetuning.start()
    out = finetuning.run.folder
    (out / "process.log").write_text("Loading\nnapari-brainseg: The weights in m do not fit.\n\n")
    killed(out)
    finetuning.poll()
    said = house.session.message
    assert said.kind is Kind.ERROR and said.text.endswith("Its last line: The weights in m do not fit.")


# --- what runs, or ran


def test_the_next_start_finds_what_runs(finetuning, house, store, launcher):
    out = runs_home() / new_name()
    out.mkdir(parents=True)
    tell(out, stage="step 3 of 9", fraction=0.3, seconds_left=60.0)
    heard = []
    finetuning.found.connect(lambda: heard.append(1))
    finetuning.find()
    assert finetuning.running and finetuning.run.status.seconds_left == 60 and heard == [1]
    assert "still running" in house.session.message.text
    finished(out, make_report())
    finetuning.poll()
    assert not finetuning.running and finetuning.made == "new"
    assert house.session.message.kind is Kind.GOOD and "So it is." in house.session.message.text


def test_what_ended_meanwhile_is_reported_once(finetuning, house, store, launcher):
    finished(runs_home() / "20200101-000000", make_report("older"))
    finished(runs_home() / "20260101-120000", make_report("newer", "worse"))
    assert [p.name for p in runs()] == ["20260101-120000", "20200101-000000"]
    finetuning.find()
    assert finetuning.made == "newer" and finetuning.marked == "worse" and house.session.message.kind is Kind.WARNING
    house.session.say("")
    again = FinetuneVerbs(house.context, launcher)
    again.find()
    assert again.made == "newer" and house.session.message is None


def test_the_anchors_of_the_last_run_are_those_of_the_next(finetuning, tmp_path, launcher, house):
    out = runs_home() / new_name()
    finished(out, make_report())
    make_plan(out, anchors=tmp_path)
    finetuning.find()
    assert finetuning.settings.anchors == tmp_path
    make_plan(out, anchors=tmp_path / "gone")
    again = FinetuneVerbs(house.context, launcher)
    again.find()
    assert again.settings.anchors is None


def test_a_report_that_cannot_be_read_is_reported(finetuning, house):
    out = runs_home() / new_name()
    out.mkdir(parents=True)
    (out / "report.json").write_text("{")
    tell(out, state="done")
    finetuning.find()
    assert finetuning.made == "" and "cannot be read" in house.session.message.text


def test_of_two_runs_in_one_second_each_has_a_folder(monkeypatch):
    names = iter(("20260101-120000", "20260101-120000", "20260101-120001"))
    monkeypatch.setattr("napari_brainseg.features.finetune.run.new_name", lambda: next(names))
    new_folder().mkdir(parents=True)
    assert new_folder().name == "20260101-120001"


def test_a_base_model_that_was_deleted_is_reported(finetuning, store, tmp_path, launcher, house):
    listed(finetuning, store, tmp_path, "A")
    (tmp_path / "base.safetensors").unlink()
    finetuning.start()
    message = house.session.message
    assert launcher.commands == [] and message.kind is Kind.ERROR and "base.safetensors cannot be read" in message.text
    assert not finetuning.running


def test_what_a_model_costs_is_reported_before_it_is_used(finetuning):
    report = make_report("dear", "better, at a cost", held_out={"A": (0.5, 0.6)})
    report["held_out"]["verdict"] = "better"
    report["anchor_scores"] |= {
        "verdict": "worse",
        "difference": {"n": 1, "dice": -0.006, "low": -0.009, "high": -0.002},
    }
    finished(runs_home() / new_name(), report)
    finetuning.find()
    assert finetuning.marked == "better, at a cost"
    sentence = "On the anchors (1 case) the mean Dice changes by -0.006, 95 % interval -0.009 to -0.002."
    assert finetuning.cost == sentence
    finetuning.run.report = make_report()
    assert finetuning.cost == "" == finetuning.marked


class TestSlowly:
    @pytest.fixture
    def background(self):
        return Later()

    def test_nothing_is_listed_or_started_before_it_is_asked_for(self, finetuning, background, launcher, store):
        background.waiting.clear()
        finetuning.candidates.refresh()
        assert finetuning.blocker == "The corrections are being listed …"
        finetuning.start()
        assert launcher.commands == []
        finetuning.candidates.refresh()  # of two listings the later counts
        background.run(0)
        assert "being listed" in finetuning.blocker
        background.run(0)
        assert "There is no accepted correction" in finetuning.blocker

    def test_a_check_is_one_whatever_is_ticked_meanwhile(self, finetuning, background, store, tmp_path, monkeypatch):
        correct(store, tmp_path / "studies", 1, "A")
        read = []
        monkeypatch.setattr("brainseg_engine.io.load_study", lambda *a, **k: read.append(1) or load_study(*a, **k))
        background.waiting.clear()
        finetuning.candidates.check()
        finetuning.candidates.check()
        for _ in range(3):
            finetuning.candidates.refresh()
        assert finetuning.candidates.checking
        while background.waiting:
            background.run(0)
        assert read == [1] and not finetuning.candidates.checking
        assert [r.name for r in finetuning.rows] == ["A"]

    def test_closing_stops_a_check(self, finetuning, background, store, tmp_path, monkeypatch):
        correct(store, tmp_path / "studies", 1, "A")
        read = []
        monkeypatch.setattr("brainseg_engine.io.load_study", lambda *a, **k: read.append(1) or load_study(*a, **k))
        background.waiting.clear()
        finetuning.candidates.check()
        finetuning.close()
        while background.waiting:
            background.run(0)
        assert read == []

    def test_a_network_folder_that_does_not_answer_holds_nothing_up(self, finetuning, background, tmp_path):
        out = runs_home() / new_name()
        finished(out, make_report())
        make_plan(out, anchors=tmp_path)
        background.waiting.clear()
        finetuning.find()
        background.run(0)
        assert finetuning.made == "new" and finetuning.settings.anchors is None
        background.run(0)
        assert finetuning.settings.anchors == tmp_path


# --- what came of it


def test_using_and_rolling_back_change_the_default_and_the_window(finetuning, house, tiny_model):
    models.add(tiny_model, "new")
    before = models.default()
    finished(runs_home() / new_name(), make_report("new"))
    finetuning.find()
    assert (finetuning.default, finetuning.previous, finetuning.in_use) == (before, "", False)
    finetuning.use()
    assert models.default() == "new" == house.session.model.name and finetuning.in_use and finetuning.previous == before
    later = House(house.viewer)
    later.segment.find_models()
    assert later.session.model.name == "new"  # in the next window too
    finetuning.show_lineage()
    assert finetuning.lineage.startswith("tiny 1 (")
    finetuning.roll_back()
    assert models.default() == before == house.session.model.name and not finetuning.in_use
    finetuning.roll_back()
    assert house.session.message.kind is Kind.ERROR and "no default model before" in house.session.message.text
    models.find("new").unlink()
    finetuning.use()
    assert "There is no installed model 'new'" in house.session.message.text and models.default() == before
