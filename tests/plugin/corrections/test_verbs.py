"""Nothing is lost: the working copy, what a crash left, accepting. A viewer without a window, work done on the spot."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, House, Later, Model, at_once, paint, segment, shown
from helpers.small_study import make_study

from brainseg_engine.core.errors import OutputError
from brainseg_engine.corrections import CorrectionState, LeftCopy, Store, Work, study_key, working
from brainseg_engine.io import load_study
from napari_brainseg.display import layers
from napari_brainseg.display.history import DRAFT, history_of
from napari_brainseg.features.corrections import autosave
from napari_brainseg.features.corrections.activity import IDLE_S, Activity
from napari_brainseg.features.corrections.section import CorrectionsSection
from napari_brainseg.features.corrections.verbs import CorrectionVerbs
from napari_brainseg.features.corrections.workspace import when_in_words
from napari_brainseg.session import Kind


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def make_house(viewer, clock, background=None) -> House:
    made = House(viewer, background, clock)
    made.session.set_models((Model(card=Card()),))
    return made


@pytest.fixture
def house(viewer, clock) -> House:
    made = make_house(viewer, clock)
    yield made
    made.close()


@pytest.fixture
def corrections(house):
    return house.corrections


@pytest.fixture
def folder(tmp_path) -> Path:
    return write(make_study(id="A"), tmp_path)


def crash(house) -> None:
    """The program is gone: nobody writes to its copies any more."""
    autosave = house.corrections.autosave
    if autosave.workspace is not None:
        autosave.workspace.desk.close()
        autosave.workspace = None
    house.context.close()


def restart(folder: Path, clock) -> House:
    """A new program, and the study opened in it."""
    from napari.components import ViewerModel

    house = make_house(ViewerModel(), clock)
    house.study.open(folder)
    return house


# --- the working copy


def test_what_is_painted_is_in_the_copy_at_the_next_tick(house, corrections, folder):
    house.study.open(folder)
    answer = segment(house)
    corrections.autosave.tick()
    assert working.pending() == [] and corrections.autosaved is None  # a model's answer can be made again
    painted = paint(house)
    corrections.autosave.tick()
    assert corrections.autosaved is not None
    work = working.load(corrections.autosave.workspace.desk.path)
    assert np.array_equal(work.segmentation.labels, painted) and np.array_equal(work.base.labels, answer)
    assert (work.study_id, work.folder, work.model.name) == ("A", folder, "model")
    assert not np.array_equal(answer, painted)


def test_undo_and_redo_reach_the_copy(house, corrections, folder, clock):
    house.study.open(folder)
    answer, painted = segment(house), None
    painted = paint(house)
    for step, expected in ((house.labels.undo, answer), (house.labels.redo, painted)):
        clock.now += 10
        step()
        corrections.autosave.tick()
        assert np.array_equal(working.load(corrections.autosave.workspace.desk.path).segmentation.labels, expected)


def test_a_stroke_that_lasts_is_saved_while_it_lasts(house, corrections, folder, clock):
    house.study.open(folder)
    segment(house)
    layer = house.labels
    with layer.block_history():  # as between press and release
        layer.paint((3, 4, 5), 3)
        corrections.autosave.tick()
        first = working.load(corrections.autosave.workspace.desk.path)
        layer.paint((8, 9, 10), 3)
        clock.now += autosave.AUTOSAVE_S + 0.1
        corrections.autosave.tick()
        second = working.load(corrections.autosave.workspace.desk.path)
    assert (second.segmentation.labels == 3).sum() > (first.segmentation.labels == 3).sum() > 0


def test_copies_are_not_written_more_often_than_wanted(house, corrections, folder, clock, monkeypatch):
    written = []
    monkeypatch.setattr(working.Desk, "save", lambda self, work: written.append(work) or replace(work, when=stamp()))
    house.study.open(folder)
    segment(house)
    for n in range(40):  # ten seconds of painting
        paint(house, 1 + n % 3)
        corrections.autosave.tick()
        clock.now += 0.25
    assert 4 <= len(written) <= 6
    clock.now += 60
    corrections.autosave.tick()
    count = len(written)
    clock.now += 60
    corrections.autosave.tick()
    assert len(written) == count  # nothing new, nothing written


def stamp() -> str:
    return datetime.now(UTC).isoformat()


def test_a_full_disk_is_reported_loudly_once_and_tried_again(house, corrections, folder, clock, monkeypatch):
    house.study.open(folder)
    segment(house)
    real = working.Desk.save

    def full(self, work):
        raise OutputError("Cannot write: No space left on device. Free some space.")

    monkeypatch.setattr(working.Desk, "save", full)
    painted = paint(house)
    corrections.autosave.tick()
    assert house.session.message.kind is Kind.ERROR
    assert "NOT being saved" in house.session.message.text and "No space" in corrections.autosave.trouble
    house.session.say("")
    for _ in range(5):
        clock.now += autosave.RETRY_S
        corrections.autosave.tick()
    assert house.session.message is None and corrections.autosave.trouble  # told once in words; the state line goes on
    assert np.array_equal(shown(house), painted)
    monkeypatch.setattr(working.Desk, "save", real)
    clock.now += autosave.RETRY_S
    corrections.autosave.tick()
    assert corrections.autosave.trouble == "" and house.session.message.kind is Kind.GOOD
    assert np.array_equal(working.load(corrections.autosave.workspace.desk.path).segmentation.labels, painted)


# --- what a crash left


@pytest.mark.parametrize("with_mask", [True, False])
def test_after_a_crash_exactly_what_was_there_is_offered(house, corrections, tmp_path, clock, with_mask):
    folder = write(make_study(id="A"), tmp_path, mask=with_mask)
    house.study.open(folder)
    answer = segment(house)
    painted = paint(house)
    corrections.autosave.tick()
    crash(house)
    again = restart(folder, clock)
    kept = again.corrections
    assert (
        kept.autosave.offer is not None
        and kept.autosave.offer.study_id == "A"
        and when_in_words(kept.autosave.offer).startswith("today")
    )
    kept.autosave.restore()
    assert np.array_equal(shown(again), painted) and np.array_equal(again.session.answer.origin.labels, answer)
    assert [s["tool"] for s in kept.autosave.workspace.steps if s["tool"] == "brush"] == ["brush"]
    assert "back" in again.session.message.text and kept.autosave.offer is None
    clock.now += 10
    kept.autosave.tick()
    (copy,) = (working.folder() / kept.autosave.workspace.key).glob(
        "*.work"
    )  # the old one went when the new one was there
    assert np.array_equal(working.load(copy).segmentation.labels, painted)
    again.close()


def test_a_crash_right_after_restoring_loses_nothing(house, corrections, folder, clock):
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    corrections.autosave.tick()
    crash(house)
    again = restart(folder, clock)
    kept = again.corrections
    kept.autosave.restore()
    crash(again)  # before the next tick
    again = restart(folder, clock)
    kept = again.corrections
    assert kept.autosave.offer is not None
    assert np.array_equal(working.load(kept.autosave.offer.path).segmentation.labels, painted)
    again.close()


def test_what_is_given_up_is_not_offered_again(house, corrections, folder, clock):
    house.study.open(folder)
    segment(house)
    paint(house)
    corrections.autosave.tick()
    crash(house)
    again = restart(folder, clock)
    kept = again.corrections
    kept.autosave.discard()
    assert kept.autosave.offer is None and working.pending() == []
    again.close()


def test_work_on_another_study_is_reported(house, corrections, tmp_path, clock):
    first, second = write(make_study(id="A"), tmp_path), write(make_study(1, id="B"), tmp_path)
    house.study.open(first)
    segment(house)
    paint(house)
    corrections.autosave.tick()
    crash(house)
    again = restart(second, clock)
    kept = again.corrections
    assert (
        kept.autosave.offer is None
        and [f.study_id for f in kept.autosave.others] == ["A"]
        and kept.autosave.others[0].folder == first
    )
    again.close()


def test_going_to_another_study_and_back_goes_on_with_answer_steps_and_time(house, corrections, tmp_path, clock):
    first, second = write(make_study(id="A"), tmp_path), write(make_study(1, id="B"), tmp_path)
    house.study.open(first)
    answer = segment(house)
    painted = paint(house)
    clock.now += 12
    corrections.autosave.sign_of_life()
    minutes = corrections.minutes
    house.study.open(second)
    assert corrections.autosave.offer is None
    house.study.open(first)
    assert np.array_equal(shown(house), painted) and corrections.autosave.offer is None
    assert np.array_equal(house.session.answer.origin.labels, answer) and corrections.edited
    assert corrections.minutes == pytest.approx(minutes, abs=0.001) and minutes > 0
    assert any(s["tool"] == "brush" for s in corrections.autosave.workspace.steps)


def test_a_labels_layer_that_was_removed_by_mistake_is_offered_back(house, corrections, folder):
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    house.viewer.layers.remove(house.labels)
    house.study.notice_layers()
    assert house.labels is None and corrections.autosave.offer is not None
    corrections.autosave.restore()
    assert np.array_equal(shown(house), painted)


def test_another_program_that_runs_keeps_its_copy_to_itself(house, corrections, folder):
    house.study.open(folder)
    segment(house)
    paint(house)
    corrections.autosave.tick()
    assert working.pending() == []


# --- accepting


def test_an_accepted_correction_is_in_the_store_with_its_record(house, corrections, folder):
    corrections.choose(by="Ann")
    house.study.open(folder)
    answer = segment(house)
    painted = paint(house)
    corrections.autosave.tick()
    heard = []
    house.session.accepted.connect(lambda a: heard.append(a.correction))
    corrections.accept()
    made = corrections.accepted
    assert heard == [made] and made.by == "Ann" and made.base.name == "model"
    assert np.array_equal(house.session.store.read(made).labels, painted)
    added = sum(t.added for t in made.changed.values())
    assert added == ((painted != answer) & (painted != 0)).sum()
    *_, step = [json.loads(x) for x in made.log.read_text().splitlines()]
    assert (
        step["tool"] == "brush"
        and step["changed"]["ET"] == ((painted == 3) & (answer != 3)).sum()
        and step["index"] == 3
    )
    assert working.pending() == [] and not list(working.folder().rglob("*.work"))
    assert not corrections.edited and not corrections.autosave.at_risk
    assert np.array_equal(load_study(folder).segmentation.labels, make_study(id="A").segmentation.labels)  # untouched


def test_the_record_holds_the_hash_of_the_very_file_whatever_it_is_called(house, corrections, folder, tmp_path):
    """A model's file may have another name than the model in it, and another file that name."""
    files = {name: tmp_path / f"{name}.safetensors" for name in ("mine", "model")}
    for name, file in files.items():
        file.write_bytes(name.encode())
    house.session.set_models(tuple(Model(name, Card(), path=file) for name, file in files.items()))
    house.segment.choose_model("mine")
    house.study.open(folder)
    segment(house)  # by the model that calls itself "model"
    corrections.accept()
    assert corrections.accepted.base.name == "model"
    assert corrections.accepted.base.sha256 == hashlib.sha256(b"mine").hexdigest()


def test_accepted_work_is_not_offered_after_a_crash(house, corrections, folder, clock):
    house.study.open(folder)
    segment(house)
    paint(house)
    corrections.autosave.tick()
    corrections.accept()
    crash(house)
    again = restart(folder, clock)
    kept = again.corrections
    assert kept.autosave.offer is None and kept.accepted is not None
    again.close()


def test_what_is_painted_while_it_is_being_accepted_belongs_to_the_next_version(viewer, folder, clock):
    later = Later()
    holding = False
    house = make_house(viewer, clock, lambda *a: (later if holding else at_once)(*a))
    corrections = house.corrections
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    holding = True
    corrections.accept()
    assert not corrections.possible
    after = paint(house, 1, (9, 9, 9))
    holding = False
    later.run()
    assert np.array_equal(house.session.store.read(corrections.accepted).labels, painted)
    assert corrections.edited
    clock.now += 10
    corrections.autosave.tick()
    assert np.array_equal(working.load(corrections.autosave.workspace.desk.path).segmentation.labels, after)
    house.close()


def test_a_store_that_cannot_be_written_loses_nothing(house, corrections, folder, tmp_path):
    (tmp_path / "file").write_text("")
    corrections.choose(store=tmp_path / "file" / "x")
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    corrections.accept()
    assert house.session.message.kind is Kind.ERROR and corrections.accepted is None
    assert corrections.edited and corrections.possible and np.array_equal(shown(house), painted)
    corrections.autosave.tick()
    assert np.array_equal(working.load(corrections.autosave.workspace.desk.path).segmentation.labels, painted)


def test_it_asks_about_an_empty_an_untouched_and_somebody_elses(house, corrections, folder):
    assert corrections.objection == ""
    house.study.open(folder)
    segment(house)
    assert "nothing was corrected" in corrections.objection
    painted = paint(house)
    assert corrections.objection == ""
    corrections.choose(by="Ann")
    corrections.accept()
    corrections.choose(by="Ben")
    assert "Ann" in corrections.objection
    corrections.choose(by="Ann ")
    assert corrections.objection == ""
    layers.set_labels(house.labels, np.zeros_like(painted))
    assert "empty" in corrections.objection


def test_a_draft_is_named_shown_and_accepted(house, corrections, folder):
    study = load_study(folder)
    proposed = replace(study.segmentation, labels=np.where(study.segmentation.labels > 0, np.uint8(2), np.uint8(0)))
    house.session.store.add(study, study.segmentation, by="Ann")
    draft = house.session.store.add(study, proposed, by="robot", state=CorrectionState.DRAFT)
    house.study.open(folder)
    assert corrections.draft.id == draft.id and corrections.accepted.by == "Ann"
    corrections.show_draft()
    assert np.array_equal(shown(house), proposed.labels) and corrections.accepted.by == "Ann"
    heard = []
    house.session.accepted.connect(lambda a: heard.append(a.correction))
    corrections.accept_draft()
    assert corrections.draft is None and corrections.accepted.id == draft.id == heard[0].id
    assert house.session.store.latest()[draft.study].id == draft.id
    corrections.accept_draft()
    assert len(heard) == 1


def test_a_draft_on_the_canvas_is_an_edit_of_the_answer(house, corrections, folder):
    house.study.open(folder)
    answer = segment(house)
    painted = paint(house)
    draft = house.session.store.add(
        load_study(folder),
        replace(house.session.answer.origin, labels=np.full_like(answer, 2)),
        state=CorrectionState.DRAFT,
    )
    corrections.autosave.workspace.draft = draft
    version = history_of(house.labels).version
    corrections.show_draft()
    assert (shown(house) == 2).all() and history_of(house.labels).version == version + 1
    assert history_of(house.labels).done[-1].tool == DRAFT
    assert (
        np.array_equal(house.session.answer.origin.labels, answer)
        and house.session.answer.model.name == "model"
        and corrections.autosave.at_risk
    )
    house.labels.undo()
    assert np.array_equal(shown(house), painted)
    corrections.accept()
    record = corrections.accepted
    assert record.base.name == "model" and np.array_equal(house.session.store.read(record).labels, painted)
    assert sum(t.added for t in record.changed.values()) == ((painted != answer) & (painted != 0)).sum()


@pytest.mark.window
@pytest.mark.parametrize("yes", [True, False])
def test_a_draft_takes_the_place_of_edits_only_after_a_question(qtbot, house, corrections, folder, yes, monkeypatch):
    from qtpy.QtWidgets import QMessageBox

    from napari_brainseg.features.corrections.view import CorrectionsView

    house.study.open(folder)
    answer = segment(house)
    draft = replace(house.session.answer.origin, labels=np.full_like(answer, 2))
    corrections.autosave.workspace.draft = house.session.store.add(
        load_study(folder), draft, state=CorrectionState.DRAFT
    )
    painted, asked = paint(house), []
    view = CorrectionsView()
    qtbot.addWidget(view)
    section = CorrectionsSection(view, corrections, house.context)
    answers = QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *a: asked.append(a) or answers[not yes])
    view.show_draft_requested.emit()
    assert section is not None
    assert len(asked) == 1 and np.array_equal(shown(house), draft.labels if yes else painted)


def test_a_draft_that_is_accepted_while_it_is_on_the_canvas_leaves_nothing_at_risk(house, corrections, folder):
    house.study.open(folder)
    answer = segment(house)
    corrections.autosave.workspace.draft = house.session.store.add(
        load_study(folder),
        replace(house.session.answer.origin, labels=np.full_like(answer, 2)),
        state=CorrectionState.DRAFT,
    )
    corrections.show_draft()
    house.session.dirty = True
    corrections.autosave.tick()
    assert corrections.autosave.at_risk and list(working.folder().rglob("*.work"))
    corrections.accept_draft()
    assert not corrections.autosave.at_risk and not list(working.folder().rglob("*.work"))
    assert not house.session.dirty


def test_what_was_accepted_after_its_study_was_left_has_no_model_on_return(viewer, folder, tmp_path, clock):
    house = make_house(viewer, clock)
    corrections = house.corrections
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    accepting = Later()
    house.saving = accepting
    corrections.accept()
    house.saving = at_once
    house.study.open(write(make_study(1, id="B"), tmp_path))
    assert not corrections.autosave.workspace.accepting  # that one is not being accepted
    accepting.run()
    assert not list(working.folder().rglob("*.work"))
    house.study.open(folder)
    assert np.array_equal(shown(house), painted) and not house.session.dirty
    assert house.session.model_file is None  # so that nothing is adapted from it
    house.close()


def test_a_study_opened_while_another_is_accepted_has_no_work_to_offer(viewer, folder, tmp_path, clock):
    house = make_house(viewer, clock)
    corrections = house.corrections
    house.study.open(folder)
    segment(house)
    paint(house)
    accepting = Later()
    house.saving = accepting
    corrections.accept()
    house.saving = at_once
    house.study.open(write(make_study(1, id="B"), tmp_path))
    corrections.autosave.flush()
    key = corrections.autosave.workspace.key
    assert not list(working.pending(key))
    accepting.run()
    house.close()


def test_autosave_waits_for_nothing_else(house, corrections, folder):
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    house.background, house.saving = Later(), at_once  # studies are being read
    corrections.autosave.tick()
    assert np.array_equal(working.load(corrections.autosave.workspace.desk.path).segmentation.labels, painted)


def test_strokes_on_an_old_answer_are_no_edits_of_the_new_one(house, corrections, folder, clock):
    house.study.open(folder)
    segment(house)
    paint(house)
    segment(house)
    clock.now += 10
    corrections.autosave.tick()
    assert not corrections.edited and not list(working.folder().rglob("*.work"))


def test_a_draft_is_offered_no_more_once_something_newer_was_accepted(house, corrections, folder):
    study = load_study(folder)
    house.session.store.add(study, study.segmentation, state=CorrectionState.DRAFT)
    house.study.open(folder)
    paint(house)
    assert corrections.draft is not None
    corrections.accept()
    assert corrections.draft is None


def test_a_program_that_ends_before_the_accepting_was_done_keeps_the_strokes(viewer, folder, clock):
    holding, later = False, Later()
    house = make_house(viewer, clock, lambda *a: (later if holding else at_once)(*a))
    corrections = house.corrections
    house.study.open(folder)
    segment(house)
    painted = paint(house)
    holding = True
    corrections.accept()
    corrections.autosave.flush()
    crash(house)  # what waited in the background is dropped
    holding = False
    again = restart(folder, clock)
    kept = again.corrections
    assert kept.autosave.offer is not None
    assert np.array_equal(working.load(kept.autosave.offer.path).segmentation.labels, painted)
    again.close()
    house.close()


def test_an_accept_that_the_closing_window_finished_is_not_offered_again(viewer, folder, clock):
    holding, later = False, Later()
    house = make_house(viewer, clock, lambda *a: (later if holding else at_once)(*a))
    house.study.open(folder)
    segment(house)
    paint(house)
    holding = True
    house.corrections.accept()
    house.corrections.autosave.flush()  # as a closing window does
    work, _, _ = later.waiting.pop()
    work()  # what waits is still done, and nobody is there to hear of it
    crash(house)
    holding = False
    again = restart(folder, clock)
    assert again.corrections.autosave.offer is None and again.corrections.accepted is not None
    assert working.pending() == []
    again.close()
    house.close()


def test_closing_in_the_instant_of_an_accept_asks_only_where_nothing_can_be_kept(viewer, folder, clock, monkeypatch):
    from napari_brainseg.app import closing

    asked = []
    holding, later = False, Later()
    house = make_house(viewer, clock, lambda *a: (later if holding else at_once)(*a))
    autosave = house.corrections.autosave
    house.study.open(folder)
    segment(house)
    paint(house)
    holding = True
    house.corrections.accept()
    monkeypatch.setattr(
        closing, "QMessageBox", lambda parent: asked.append(parent) or (_ for _ in ()).throw(InterruptedError)
    )
    assert closing.may_close(None, autosave) and not asked  # a copy is kept, whatever comes of the accepting
    monkeypatch.setattr(autosave, "flush", lambda: (_ for _ in ()).throw(OutputError("The disk is full.")))
    with pytest.raises(InterruptedError):
        closing.may_close(None, autosave)
    assert len(asked) == 1
    holding = False
    house.close()


def test_a_mask_that_holds_edits_says_so_when_it_is_saved_again(house, folder, tmp_path):
    house.study.open(folder)
    segment(house)
    paint(house)
    house.save.save(folder / "A_seg.nii.gz", "brats2021")
    first = json.loads((folder / "A_seg.json").read_text())
    assert first["edited"] is True and first["made_by"] == "model 1 and a person"
    house.session.close()
    house.study.open(folder)  # another day
    house.save.save(tmp_path / "again.nii.gz", "brats2021")
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["edited"] is True and again["made_by"] == first["made_by"]
    paint(house, at=(3, 7, 5))
    house.save.save(tmp_path / "more.nii.gz", "brats2021")
    assert json.loads((tmp_path / "more.json").read_text())["made_by"] == first["made_by"]
    segment(house)
    house.save.save(tmp_path / "new.nii.gz", "brats2021")
    new = json.loads((tmp_path / "new.json").read_text())
    assert new["edited"] is False and new["made_by"] == "model 1"


def test_the_record_of_restored_work_finds_its_model_by_the_card(house, corrections, folder, clock, tmp_path):
    (tmp_path / "mine.safetensors").write_bytes(b"mine")
    house.study.open(folder)
    segment(house)
    paint(house)
    corrections.autosave.tick()
    crash(house)
    again = restart(folder, clock)
    kept = again.corrections
    again.session.set_models((Model("mine", Card(), path=tmp_path / "mine.safetensors"),))
    kept.autosave.restore()
    kept.accept()
    assert kept.accepted.base.sha256 == hashlib.sha256(b"mine").hexdigest()
    again.close()


def test_a_draft_older_than_what_was_accepted_is_passed_over(house, corrections, folder):
    study = load_study(folder)
    house.session.store.add(study, study.segmentation, state=CorrectionState.DRAFT)
    house.session.store.add(study, study.segmentation)
    house.study.open(folder)
    assert corrections.draft is None and corrections.accepted is not None


def test_a_draft_that_changed_on_disk_is_not_accepted(house, corrections, folder):
    study = load_study(folder)
    draft = house.session.store.add(study, study.segmentation, state=CorrectionState.DRAFT)
    draft.mask.chmod(0o644)
    draft.mask.write_bytes(b"damaged")
    house.study.open(folder)
    corrections.accept_draft()
    assert house.session.message.kind is Kind.ERROR and house.session.store.get(draft.id).state is CorrectionState.DRAFT


def test_undoing_all_of_it_leaves_nothing_at_risk(house, corrections, folder):
    house.study.open(folder)
    segment(house)
    assert not corrections.autosave.at_risk
    paint(house)
    assert corrections.autosave.at_risk
    house.labels.undo()
    assert not corrections.autosave.at_risk


def test_choices_are_remembered(house, corrections, tmp_path):
    corrections.choose(store=tmp_path / "s", by="Ann", named=True)
    other = CorrectionVerbs(house.context)
    assert (house.session.store.path, other.by, other.named) == (tmp_path / "s", "Ann", True)
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
    assert words in when_in_words(LeftCopy(Path(), "", "", None, when, 0, 0))


def test_the_key_is_the_images_own(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    study = load_study(moved)
    assert study_key(study) == study_key(replace(study, id="other name", folder=None))
    assert Store(tmp_path).latest() == {} and Work("", "", study.segmentation).made > 0
