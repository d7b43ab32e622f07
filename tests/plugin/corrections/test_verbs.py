"""Nothing is lost: the working copy, what a crash left, accepting. A viewer without a window, work done on the spot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, Later, Model, Runner, at_once, paint, segment, shown
from helpers.small_study import make_study

from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.labels import Label
from brainseg_engine.corrections import Found, State, Store, Work, study_key, working
from brainseg_engine.edits import Edit
from brainseg_engine.io import load_study
from napari_brainseg.display import layers
from napari_brainseg.display.undo import history_of
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.corrections import autosave
from napari_brainseg.features.corrections.activity import IDLE_S, Activity
from napari_brainseg.features.corrections.section import CorrectionsSection
from napari_brainseg.features.corrections.verbs import Keeping, said
from napari_brainseg.features.propagate.corrected import DRAFT
from napari_brainseg.session import Kind, Session


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def actions(viewer) -> Actions:
    return make_actions(viewer)


def make_actions(viewer, background=at_once) -> Actions:
    made = Actions(Session(), viewer, Runner(), background)
    made.session.segmentation_changed.connect(made.show_segmentation)
    made.session.set_models((Model(card=Card()),))
    return made


@pytest.fixture
def keeping(actions, clock):
    made = Keeping(actions, clock)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(make_study(id="A"), tmp_path)


def crash(keeping) -> None:
    """The program is gone: nobody writes to its copies any more."""
    if keeping._bench is not None:
        keeping._bench.desk.close()
        keeping._bench = None
    keeping._brush.follow(None)
    keeping._session.study_changed.disconnect(keeping._follow)
    keeping._session.segmentation_changed.disconnect(keeping._follow)


def restart(folder: Path, clock) -> tuple[Actions, Keeping]:
    """A new program, and the study opened in it."""
    from napari.components import ViewerModel

    actions = make_actions(ViewerModel())
    keeping = Keeping(actions, clock)
    actions.open(folder)
    return actions, keeping


# --- the working copy


def test_what_is_painted_is_in_the_copy_at_the_next_tick(actions, keeping, folder):
    actions.open(folder)
    answer = segment(actions)
    keeping.tick()
    assert working.pending() == [] and keeping.autosaved is None  # a model's answer can be made again
    painted = paint(actions)
    keeping.tick()
    assert keeping.autosaved is not None
    work = working.load(keeping._bench.desk.path)
    assert np.array_equal(work.segmentation.labels, painted) and np.array_equal(work.base.labels, answer)
    assert (work.study_id, work.folder, work.model.name) == ("A", folder, "model")
    assert not np.array_equal(answer, painted)


def test_undo_and_redo_reach_the_copy(actions, keeping, folder, clock):
    actions.open(folder)
    answer, painted = segment(actions), None
    painted = paint(actions)
    for step, expected in ((actions.labels.undo, answer), (actions.labels.redo, painted)):
        clock.now += 10
        step()
        keeping.tick()
        assert np.array_equal(working.load(keeping._bench.desk.path).segmentation.labels, expected)


def test_a_stroke_that_lasts_is_saved_while_it_lasts(actions, keeping, folder, clock):
    actions.open(folder)
    segment(actions)
    layer = actions.labels
    with layer.block_history():  # as between press and release
        layer.paint((3, 4, 5), 3)
        keeping.tick()
        first = working.load(keeping._bench.desk.path)
        layer.paint((8, 9, 10), 3)
        clock.now += autosave.AUTOSAVE_S + 0.1
        keeping.tick()
        second = working.load(keeping._bench.desk.path)
    assert (second.segmentation.labels == 3).sum() > (first.segmentation.labels == 3).sum() > 0


def test_copies_are_not_written_more_often_than_wanted(actions, keeping, folder, clock, monkeypatch):
    written = []
    monkeypatch.setattr(working.Desk, "save", lambda self, work: written.append(work) or replace(work, when=stamp()))
    actions.open(folder)
    segment(actions)
    for n in range(40):  # ten seconds of painting
        paint(actions, 1 + n % 3)
        keeping.tick()
        clock.now += 0.25
    assert 4 <= len(written) <= 6
    clock.now += 60
    keeping.tick()
    count = len(written)
    clock.now += 60
    keeping.tick()
    assert len(written) == count  # nothing new, nothing written


def stamp() -> str:
    return datetime.now(UTC).isoformat()


def test_a_full_disk_is_told_loudly_once_and_tried_again(actions, keeping, folder, clock, monkeypatch):
    actions.open(folder)
    segment(actions)
    real = working.Desk.save

    def full(self, work):
        raise OutputError("Cannot write: No space left on device. Free some space.")

    monkeypatch.setattr(working.Desk, "save", full)
    painted = paint(actions)
    keeping.tick()
    assert actions.session.message.kind is Kind.ERROR
    assert "NOT being saved" in actions.session.message.text and "No space" in keeping.trouble
    actions.session.say("")
    for _ in range(5):
        clock.now += autosave.RETRY_S
        keeping.tick()
    assert actions.session.message is None and keeping.trouble  # told once in words; the state line goes on
    assert np.array_equal(shown(actions), painted)
    monkeypatch.setattr(working.Desk, "save", real)
    clock.now += autosave.RETRY_S
    keeping.tick()
    assert keeping.trouble == "" and actions.session.message.kind is Kind.GOOD
    assert np.array_equal(working.load(keeping._bench.desk.path).segmentation.labels, painted)


# --- what a crash left


@pytest.mark.parametrize("with_mask", [True, False])
def test_after_a_crash_exactly_what_was_there_is_offered(actions, keeping, tmp_path, clock, with_mask):
    folder = write(make_study(id="A"), tmp_path, mask=with_mask)
    actions.open(folder)
    answer = segment(actions)
    keeping.note(Edit("brush", "ET", {Label.ET: 7}, "axial", 5))
    painted = paint(actions)
    keeping.tick()
    crash(keeping)
    again, kept = restart(folder, clock)
    assert kept.offer is not None and kept.offer.study_id == "A" and said(kept.offer).startswith("today")
    kept.restore()
    assert np.array_equal(shown(again), painted) and np.array_equal(kept.answer.labels, answer)
    assert [s["tool"] for s in kept._bench.steps if s["tool"] == "brush"] == ["brush"]
    assert "back" in again.session.message.text and kept.offer is None
    clock.now += 10
    kept.tick()
    (copy,) = (working.folder() / kept._bench.key).glob("*.work")  # the old one went when the new one was there
    assert np.array_equal(working.load(copy).segmentation.labels, painted)
    kept.close()


def test_a_crash_right_after_restoring_loses_nothing(actions, keeping, folder, clock):
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    keeping.tick()
    crash(keeping)
    _, kept = restart(folder, clock)
    kept.restore()
    crash(kept)  # before the next tick
    _, kept = restart(folder, clock)
    assert kept.offer is not None
    assert np.array_equal(working.load(kept.offer.path).segmentation.labels, painted)
    kept.close()


def test_what_is_given_up_is_not_offered_again(actions, keeping, folder, clock):
    actions.open(folder)
    segment(actions)
    paint(actions)
    keeping.tick()
    crash(keeping)
    _, kept = restart(folder, clock)
    kept.discard()
    assert kept.offer is None and working.pending() == []
    kept.close()


def test_work_on_another_study_is_told_of(actions, keeping, tmp_path, clock):
    first, second = write(make_study(id="A"), tmp_path), write(make_study(1, id="B"), tmp_path)
    actions.open(first)
    segment(actions)
    paint(actions)
    keeping.tick()
    crash(keeping)
    _, kept = restart(second, clock)
    assert kept.offer is None and [f.study_id for f in kept.others] == ["A"] and kept.others[0].folder == first
    kept.close()


def test_going_to_another_study_and_back_goes_on_with_answer_steps_and_time(actions, keeping, tmp_path, clock):
    first, second = write(make_study(id="A"), tmp_path), write(make_study(1, id="B"), tmp_path)
    actions.open(first)
    answer = segment(actions)
    keeping.note(Edit("brush", "ET", {Label.ET: 7}, "axial", 5))
    painted = paint(actions)
    clock.now += 12
    keeping.sign_of_life()
    minutes = keeping.minutes
    actions.open(second)
    assert keeping.offer is None
    actions.open(first)
    assert np.array_equal(shown(actions), painted) and keeping.offer is None
    assert np.array_equal(keeping.answer.labels, answer) and keeping.edited
    assert keeping.minutes == pytest.approx(minutes, abs=0.001) and minutes > 0
    assert any(s["tool"] == "brush" for s in keeping._bench.steps)


def test_a_labels_layer_that_was_removed_by_mistake_is_offered_back(actions, keeping, folder):
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    actions.viewer.layers.remove(actions.labels)
    actions.notice_layers()
    assert actions.labels is None and keeping.offer is not None
    keeping.restore()
    assert np.array_equal(shown(actions), painted)


def test_another_program_that_runs_keeps_its_copy_to_itself(actions, keeping, folder):
    actions.open(folder)
    segment(actions)
    paint(actions)
    keeping.tick()
    assert working.pending() == []


# --- accepting


def test_an_accepted_correction_is_in_the_store_with_its_record(actions, keeping, folder):
    keeping.choose(by="Ann")
    actions.open(folder)
    answer = segment(actions)
    keeping.note(Edit("brush", "ET", {Label.ET: 7, Label.BACKGROUND: -7}, "axial", 5))
    painted = paint(actions)
    keeping.tick()
    heard = []
    keeping.accept(heard.append)
    made = keeping.accepted
    assert heard == [made] and made.by == "Ann" and made.base.name == "model"
    assert np.array_equal(keeping.store.read(made).labels, painted)
    added = sum(t.added for t in made.changed.values())
    assert added == ((painted != answer) & (painted != 0)).sum()
    (step,) = [json.loads(x) for x in made.log.read_text().splitlines()]
    assert step["tool"] == "brush" and step["changed"]["ET"] == 7 and step["index"] == 5
    assert working.pending() == [] and not list(working.folder().rglob("*.work"))
    assert not keeping.edited and not keeping.at_risk
    assert np.array_equal(load_study(folder).segmentation.labels, make_study(id="A").segmentation.labels)  # untouched


def test_the_record_holds_the_hash_of_the_very_file_whatever_it_is_called(actions, keeping, folder, tmp_path):
    """A model's file may have another name than the model in it, and another file that name."""
    files = {name: tmp_path / f"{name}.safetensors" for name in ("mine", "model")}
    for name, file in files.items():
        file.write_bytes(name.encode())
    actions.session.set_models(tuple(Model(name, Card(), path=file) for name, file in files.items()))
    actions.choose_model("mine")
    actions.open(folder)
    segment(actions)  # by the model that calls itself "model"
    keeping.accept()
    assert keeping.accepted.base.name == "model"
    assert keeping.accepted.base.sha256 == hashlib.sha256(b"mine").hexdigest()


def test_accepted_work_is_not_offered_after_a_crash(actions, keeping, folder, clock):
    actions.open(folder)
    segment(actions)
    paint(actions)
    keeping.tick()
    keeping.accept()
    crash(keeping)
    _, kept = restart(folder, clock)
    assert kept.offer is None and kept.accepted is not None
    kept.close()


def test_what_is_painted_while_it_is_being_accepted_belongs_to_the_next_version(viewer, folder, clock):
    later = Later()
    actions = make_actions(viewer, lambda *a: (later if holding else at_once)(*a))
    holding = False
    keeping = Keeping(actions, clock)
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    holding = True
    keeping.accept()
    assert not keeping.possible
    after = paint(actions, 1, (9, 9, 9))
    holding = False
    later.run()
    assert np.array_equal(keeping.store.read(keeping.accepted).labels, painted)
    assert keeping.edited
    clock.now += 10
    keeping.tick()
    assert np.array_equal(working.load(keeping._bench.desk.path).segmentation.labels, after)
    keeping.close()


def test_a_store_that_cannot_be_written_loses_nothing(actions, keeping, folder, tmp_path):
    (tmp_path / "file").write_text("")
    keeping.choose(store=tmp_path / "file" / "x")
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    keeping.accept()
    assert actions.session.message.kind is Kind.ERROR and keeping.accepted is None
    assert keeping.edited and keeping.possible and np.array_equal(shown(actions), painted)
    keeping.tick()
    assert np.array_equal(working.load(keeping._bench.desk.path).segmentation.labels, painted)


def test_it_asks_about_an_empty_an_untouched_and_somebody_elses(actions, keeping, folder):
    assert keeping.doubts == ""
    actions.open(folder)
    segment(actions)
    assert "nothing was corrected" in keeping.doubts
    painted = paint(actions)
    assert keeping.doubts == ""
    keeping.choose(by="Ann")
    keeping.accept()
    keeping.choose(by="Ben")
    assert "Ann" in keeping.doubts
    keeping.choose(by="Ann ")
    assert keeping.doubts == ""
    layers.set_labels(actions.labels, np.zeros_like(painted))
    assert "empty" in keeping.doubts


def test_a_draft_is_named_shown_and_accepted(actions, keeping, folder):
    study = load_study(folder)
    proposed = replace(study.segmentation, labels=np.where(study.segmentation.labels > 0, np.uint8(2), np.uint8(0)))
    keeping.store.add(study, study.segmentation, by="Ann")
    draft = keeping.store.add(study, proposed, by="robot", state=State.DRAFT)
    actions.open(folder)
    assert keeping.draft.id == draft.id and keeping.accepted.by == "Ann"
    keeping.show_draft()
    assert np.array_equal(shown(actions), proposed.labels) and keeping.accepted.by == "Ann"
    heard = []
    keeping.accept_draft(heard.append)
    assert keeping.draft is None and keeping.accepted.id == draft.id == heard[0].id
    assert keeping.store.latest()[draft.study].id == draft.id
    keeping.accept_draft(heard.append)
    assert len(heard) == 1


def test_a_draft_on_the_canvas_is_an_edit_of_the_answer(actions, keeping, folder):
    actions.open(folder)
    answer = segment(actions)
    painted = paint(actions)
    draft = keeping.store.add(
        load_study(folder), replace(keeping.answer, labels=np.full_like(answer, 2)), state=State.DRAFT
    )
    keeping._bench.draft = draft
    version = history_of(actions.labels).version
    keeping.show_draft()
    assert (shown(actions) == 2).all() and history_of(actions.labels).version == version + 1
    assert history_of(actions.labels).done[-1].tool == DRAFT
    assert np.array_equal(keeping.answer.labels, answer) and keeping.model == "model" and keeping.at_risk
    actions.labels.undo()
    assert np.array_equal(shown(actions), painted)
    keeping.accept()
    record = keeping.accepted
    assert record.base.name == "model" and np.array_equal(keeping.store.read(record).labels, painted)
    assert sum(t.added for t in record.changed.values()) == ((painted != answer) & (painted != 0)).sum()


@pytest.mark.parametrize("yes", [True, False])
def test_a_draft_takes_the_place_of_edits_only_after_a_question(actions, keeping, folder, yes):
    actions.open(folder)
    answer = segment(actions)
    draft = replace(keeping.answer, labels=np.full_like(answer, 2))
    keeping._bench.draft = keeping.store.add(load_study(folder), draft, state=State.DRAFT)
    painted, asked = paint(actions), []
    section = SimpleNamespace(_keeping=keeping, _sure=lambda *told: asked.append(told) or yes)
    CorrectionsSection._show_draft(section)
    assert len(asked) == 1 and np.array_equal(shown(actions), draft.labels if yes else painted)


def test_a_draft_that_is_accepted_while_it_is_on_the_canvas_leaves_nothing_at_risk(actions, keeping, folder):
    actions.open(folder)
    answer = segment(actions)
    keeping._bench.draft = keeping.store.add(
        load_study(folder), replace(keeping.answer, labels=np.full_like(answer, 2)), state=State.DRAFT
    )
    keeping.show_draft()
    actions.session.dirty = True
    keeping.tick()
    assert keeping.at_risk and list(working.folder().rglob("*.work"))
    keeping.accept_draft()
    assert not keeping.at_risk and not list(working.folder().rglob("*.work"))
    assert not actions.session.dirty


def test_what_was_accepted_after_its_study_was_left_has_no_model_on_return(viewer, folder, tmp_path, clock):
    actions = make_actions(viewer)
    keeping = Keeping(actions, clock)
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    accepting = Later()
    actions._saving = accepting
    keeping.accept()
    actions._saving = at_once
    actions.open(write(make_study(1, id="B"), tmp_path))
    assert not keeping._bench.accepting  # that one is not being accepted
    accepting.run()
    assert not list(working.folder().rglob("*.work"))
    actions.open(folder)
    assert np.array_equal(shown(actions), painted) and not actions.session.dirty
    assert keeping.model_file is None  # so that nothing is adapted from it
    keeping.close()


def test_a_study_opened_while_another_is_accepted_has_no_work_to_offer(viewer, folder, tmp_path, clock):
    actions = make_actions(viewer)
    keeping = Keeping(actions, clock)
    actions.open(folder)
    segment(actions)
    paint(actions)
    accepting = Later()
    actions._saving = accepting
    keeping.accept()
    actions._saving = at_once
    actions.open(write(make_study(1, id="B"), tmp_path))
    keeping.flush()
    key = keeping._bench.key
    assert not list(working.pending(key))
    accepting.run()
    keeping.close()


def test_autosave_waits_for_nothing_else(actions, keeping, folder):
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    actions._background = Later()  # studies are being read
    keeping.tick()
    assert np.array_equal(working.load(keeping._bench.desk.path).segmentation.labels, painted)


def test_strokes_on_an_old_answer_are_no_edits_of_the_new_one(actions, keeping, folder, clock):
    actions.open(folder)
    segment(actions)
    paint(actions)
    segment(actions)
    clock.now += 10
    keeping.tick()
    assert not keeping.edited and not list(working.folder().rglob("*.work"))


def test_a_draft_is_offered_no_more_once_something_newer_was_accepted(actions, keeping, folder):
    study = load_study(folder)
    keeping.store.add(study, study.segmentation, state=State.DRAFT)
    actions.open(folder)
    paint(actions)
    assert keeping.draft is not None
    keeping.accept()
    assert keeping.draft is None


def test_a_program_that_ends_before_the_accepting_was_done_keeps_the_strokes(viewer, folder, clock):
    holding, later = False, Later()
    actions = make_actions(viewer, lambda *a: (later if holding else at_once)(*a))
    keeping = Keeping(actions, clock)
    actions.open(folder)
    segment(actions)
    painted = paint(actions)
    holding = True
    keeping.accept()
    keeping.flush()
    crash(keeping)  # what waited in the background is dropped
    holding = False
    _, kept = restart(folder, clock)
    assert kept.offer is not None
    assert np.array_equal(working.load(kept.offer.path).segmentation.labels, painted)
    kept.close()
    keeping.close()


def test_the_record_of_restored_work_finds_its_model_by_the_card(actions, keeping, folder, clock, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    actions.open(folder)
    segment(actions)
    paint(actions)
    keeping.tick()
    crash(keeping)
    again, kept = restart(folder, clock)
    again.session.set_models((Model("mine", Card(), path=tmp_path / "mine.safetensors"),))
    kept.restore()
    kept.accept()
    assert kept.accepted.base.sha256 == hashlib.sha256(b"mine").hexdigest()
    kept.close()


def test_a_draft_older_than_what_was_accepted_is_passed_over(actions, keeping, folder):
    study = load_study(folder)
    keeping.store.add(study, study.segmentation, state=State.DRAFT)
    keeping.store.add(study, study.segmentation)
    actions.open(folder)
    assert keeping.draft is None and keeping.accepted is not None


def test_a_draft_that_changed_on_disk_is_not_accepted(actions, keeping, folder):
    study = load_study(folder)
    draft = keeping.store.add(study, study.segmentation, state=State.DRAFT)
    draft.mask.chmod(0o644)
    draft.mask.write_bytes(b"damaged")
    actions.open(folder)
    keeping.accept_draft()
    assert actions.session.message.kind is Kind.ERROR and keeping.store.get(draft.id).state is State.DRAFT


def test_undoing_all_of_it_leaves_nothing_at_risk(actions, keeping, folder):
    actions.open(folder)
    segment(actions)
    assert not keeping.at_risk
    paint(actions)
    assert keeping.at_risk
    actions.labels.undo()
    assert not keeping.at_risk


def test_choices_are_remembered(actions, keeping, tmp_path):
    keeping.choose(store=tmp_path / "s", by="Ann", named=True)
    other = Keeping(actions)
    assert (other.store.path, other.by, other.named) == (tmp_path / "s", "Ann", True)
    other.close()


def test_only_active_time_counts(clock):
    activity = Activity(clock)
    for gap in (0, 10, IDLE_S, IDLE_S + 1, 5):
        clock.now += gap
        activity.sign()
    assert activity.minutes == pytest.approx((10 + IDLE_S + 5) / 60)


@pytest.mark.parametrize(("days", "words"), [(0, "today"), (1, "yesterday"), (40, " 20")])
def test_when_it_was_is_said_as_one_says_it(days, words):
    when = (datetime.now(UTC) - timedelta(days=days)).isoformat()
    assert words in said(Found(Path(), "", "", None, when, 0, 0))


def test_the_key_is_the_images_own(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    study = load_study(moved)
    assert study_key(study) == study_key(replace(study, id="other name", folder=None))
    assert Store(tmp_path).latest() == {} and Work("", "", study.segmentation).made > 0
