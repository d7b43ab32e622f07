"""Propagate: which slices count as corrected, and what becomes of a proposal. A viewer without a window."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, House, Later, Model, at_once, prediction, segment
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.core.labels import Label
from brainseg_engine.corrections import Writer, working
from brainseg_engine.worker import Worker
from napari_brainseg.display import history, layers, outlines, planes
from napari_brainseg.display.axes import axis_order, to_display
from napari_brainseg.display.history import DRAFT, PROPAGATED, history_of
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.propagate.corrected import in_words
from napari_brainseg.features.propagate.section import state_of
from napari_brainseg.jobs import PropagateRequest, ProposedLabels, WorkerClient
from napari_brainseg.jobs.process import Task
from napari_brainseg.session import Kind

OTHER_AXES = np.array([[0, 0, 1.5, -7], [-1.0, 0, 0, 3], [0, 1.0, 0, 5], [0, 0, 0, 1]])
AFFINE = make_study(id="A", shape=(20, 22, 24)).reference.grid.affine
TOLD = {"steps": 60, "seconds": {"adapting": 3.0}}


class Desk:
    """A segmented study, and what the window wires together."""

    def __init__(self, viewer, tmp_path, affine=None, background=at_once) -> None:
        self.house = House(viewer, background)
        self.session, self.propagate = self.house.session, self.house.propagate
        path = tmp_path / "model.safetensors"
        path.write_bytes(b"weights")
        self.session.set_models((Model(name="brats-test", card=Card(), path=path),))
        made = tmp_path / "A"
        if not made.exists():
            write(make_study(id="A", shape=(20, 22, 24), affine=affine), tmp_path, mask=False)
        self.house.study.open(made)

    def segment(self) -> None:
        segment(self.house)
        self.layer = self.house.labels

    def stroke(self, index: int, axis: int = 0, value: int = 3) -> None:
        """One dab by the brush in that slice of the canvas."""
        three = (planes.Plane.AXIAL, planes.Plane.CORONAL, planes.Plane.SAGITTAL)
        planes.set_plane(self.house.viewer, three[axis])
        self.house.paint.brush.choose(Tool.BRUSH)
        self.layer.brush_size = 3
        at = [n // 2 for n in self.layer.data.shape]
        at[axis] = index
        with self.layer.block_history():
            self.layer.paint(at, value)

    def ask(self) -> tuple:
        self.propagate.propose()
        return self.house.runner.proposals[-1]

    def propose(self) -> np.ndarray:
        """Ask, and get labels in which a corner is oedema; what was proposed (file order)."""
        job, listener = self.ask()
        labels = job.labels.copy()
        labels[2:5, 2:6, 3:6] = Label.ED
        listener.finished(ProposedLabels(labels, TOLD))
        return labels

    def now(self) -> np.ndarray:
        return layers.snapshot(self.layer).labels

    def close(self) -> None:
        self.house.close()

    def after_a_crash(self, tmp_path) -> Desk:
        """The program is gone; another one has opened the study, and taken the work up again."""
        from napari.components import ViewerModel

        corrections = self.house.corrections
        corrections.autosave.tick()
        corrections.close()
        self.house.context.close()
        again = Desk(ViewerModel(), tmp_path)
        assert again.house.corrections.autosave.offer is not None
        again.house.corrections.autosave.restore()
        again.layer = again.house.labels
        return again


@pytest.fixture
def desk(viewer, tmp_path):
    made = Desk(viewer, tmp_path)
    made.segment()
    yield made
    made.close()


# --- what counts as corrected


def test_without_an_answer_or_a_correction_it_says_what_to_do(viewer, tmp_path):
    desk = Desk(viewer, tmp_path)
    desk.propagate.propose()
    assert "segment the study" in desk.session.message.text and desk.session.message.kind is Kind.WARNING
    desk.segment()
    desk.propagate.propose()
    assert "Nothing was corrected" in desk.session.message.text
    assert desk.house.runner.proposals == [] and not desk.propagate.running and desk.session.job is None
    desk.close()


def test_labels_that_no_model_gave_cannot_be_adapted(desk):
    desk.stroke(9)
    desk.session.set_models((Model(name="model", card=Card(name="another")),))
    desk.propagate.propose()
    assert "no model to adapt" in desk.session.message.text and not desk.house.runner.proposals


@pytest.mark.parametrize("affine", [None, OTHER_AXES])
@pytest.mark.parametrize("axis", range(3))
def test_the_slices_that_were_painted_in_are_reported_in_file_order(viewer, tmp_path, affine, axis):
    desk = Desk(viewer, tmp_path, affine)
    desk.segment()
    before = desk.now()
    for index in (9, 12):
        desk.stroke(index, axis)
    job, _ = desk.ask()
    file_axis = axis_order(job.study.reference.grid.affine)[axis]
    assert dict(job.slices) == {file_axis: [9, 12]}
    assert np.array_equal(job.labels, desk.now()) and np.array_equal(job.answer, before)
    assert job.voxels.any() and np.array_equal(job.voxels, desk.now() != before)
    assert set(np.nonzero(job.voxels)[file_axis]) == {9, 12}
    desk.close()


def test_a_stroke_that_was_undone_counts_no_more(desk):
    desk.stroke(9)
    desk.stroke(12)
    desk.house.paint.undo()
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[9]]
    desk.house.runner.proposals[-1][1].failed(Failed(job.id, "", cancelled=True))
    desk.house.paint.undo()
    desk.propagate.propose()
    assert "Nothing was corrected" in desk.session.message.text and not desk.propagate.running
    desk.stroke(9)
    desk.session.attribute(replace(desk.session.answer, base=segmentation(desk)), desk.session.steps)
    desk.propagate.propose()
    assert "differs from the answer" in desk.session.message.text and not desk.propagate.running


def test_what_a_proposal_wrote_is_not_taken_for_a_correction(desk):
    desk.stroke(9)
    desk.propose()
    desk.propagate.accept()
    desk.stroke(12)
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[9, 12]]
    assert not job.voxels[2:5, 2:6, 3:6].any() and job.voxels.any()


@pytest.mark.parametrize("tool", [PROPAGATED, DRAFT])
def test_what_is_erased_of_a_proposal_is_a_correction_though_it_is_the_answer_again(desk, tool):
    desk.layer.data[:] = 0
    desk.session.attribute(replace(desk.session.answer, base=segmentation(desk)), desk.session.steps)
    box = tuple(slice(n // 2 - 4, n // 2 + 4) for n in desk.layer.data.shape)
    inside = np.ones((8, 8, 8), np.bool_)
    with history_of(desk.layer).naming(tool, ""):
        history.apply_edit(desk.layer, box, inside, inside.astype(np.uint8) * int(Label.ED))
    desk.stroke(9, value=0)
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[9]]
    assert job.voxels.any() and not desk.now()[job.voxels].any()  # the erased ones, and not what the proposal left


@pytest.mark.parametrize("affine", [None, OTHER_AXES])
def test_after_a_restart_it_is_still_known_what_a_proposal_wrote(viewer, tmp_path, affine):
    desk = Desk(viewer, tmp_path, affine)
    desk.segment()
    desk.stroke(9)
    before = desk.now()
    proposed = desk.propose()
    desk.propagate.accept()
    desk.stroke(4)  # and over it a person's
    painted = desk.now()
    theirs = (proposed != before) & (painted == proposed)
    again = desk.after_a_crash(tmp_path)
    again = again.after_a_crash(tmp_path) if affine is None else again  # twice is not once too often
    assert np.array_equal(again.now(), painted)
    again.stroke(12)
    job, _ = again.ask()
    assert theirs.any() and np.array_equal(job.voxels, (again.now() != desk.session.answer.origin.labels) & ~theirs)
    assert list(job.slices.values()) == [[4, 9, 12]]
    again.house.corrections.accept()
    made = again.house.corrections.accepted
    assert sum(made.proposed.values()) == np.count_nonzero(theirs)
    assert np.array_equal(again.session.store.writers(made) == Writer.PROPOSAL, theirs)
    again.close()


def test_after_a_restart_what_was_erased_of_a_proposal_is_a_correction(desk, tmp_path):
    desk.stroke(9)
    desk.propose()
    desk.propagate.accept()
    wrong = (desk.now() == Label.ED) & (desk.session.answer.origin.labels == 0)
    shown = np.ascontiguousarray(to_display(wrong, AFFINE)[0])
    with history_of(desk.layer).naming("smooth", "ED"):
        history.apply_edit(desk.layer, tuple(slice(0, n) for n in shown.shape), shown, np.zeros(shown.shape, np.uint8))
    again = desk.after_a_crash(tmp_path)
    job, _ = again.ask()
    assert wrong.any() and job.voxels[wrong].all() and not again.now()[wrong].any()
    again.close()


def test_a_stroke_over_a_proposal_that_a_crash_cut_off_is_a_persons(desk, tmp_path):
    desk.stroke(9)
    proposed = desk.propose()
    desk.propagate.accept()
    at = [int(i[0]) for i in np.nonzero(to_display(proposed == Label.ED, AFFINE)[0])]
    desk.house.paint.change_brush(inside=False)
    with desk.layer.block_history():
        desk.layer.brush_size = 1
        desk.layer.paint(at, 3)
        desk.house.corrections.autosave.tick()
    (found,) = working.folder().glob("*/*.work")
    work = working.load(found)
    changed = work.segmentation.labels != proposed
    assert changed.any() and (work.writers[changed] == Writer.PERSON).all() and (work.writers == Writer.PROPOSAL).any()


def test_the_record_names_everybody_who_worked_on_it(desk, tmp_path):
    desk.house.corrections.choose(by="Ann")
    desk.stroke(9)
    again = desk.after_a_crash(tmp_path)
    again.house.corrections.choose(by="Ben")
    again.stroke(12)
    again.house.corrections.accept()
    made = again.house.corrections.accepted
    assert (made.by, made.others, made.made_by) == ("Ben", ("Ann",), "model 1 and Ann and Ben")
    assert (
        "Ann and Ben" in again.house.corrections.accepted.people
        and made.proposed == {}
        and again.session.store.writers(made) is None
    )
    again.close()


def test_a_new_answer_forgets_what_was_proposed_for_the_one_before(desk, tmp_path):
    desk.stroke(9)
    desk.propose()
    desk.propagate.accept()
    again = desk.after_a_crash(tmp_path)
    assert again.now().any()
    segment(again.house)  # a new answer: what was proposed for the old one counts no more
    again.stroke(12)
    job, _ = again.ask()
    assert job.voxels.any() and np.array_equal(job.voxels, again.now() != again.session.answer.origin.labels)
    again.close()


def test_strokes_on_an_answer_before_do_not_count(desk):
    desk.stroke(9)
    segment(desk.house)
    assert not [s for s in desk.session.steps if s["tool"] == "brush"]
    desk.stroke(12)
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[12]]


def test_undoing_a_stroke_of_the_answer_before_takes_nothing_from_the_next_one(desk):
    desk.stroke(9)
    segment(desk.house)
    desk.house.paint.undo()  # the new answer
    desk.house.paint.undo()  # the stroke before it
    desk.stroke(9)
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[9]]


def test_a_slice_whose_strokes_were_undone_is_not_right_as_a_whole_when_a_3d_tool_touches_it(desk):
    desk.stroke(12)
    desk.stroke(9)
    desk.house.paint.undo()
    box = (slice(9, 10), slice(0, 2), slice(0, 2))
    history.apply_edit(desk.layer, box, np.ones((1, 2, 2), np.bool_), np.full((1, 2, 2), 2, np.uint8))
    job, _ = desk.ask()
    assert list(job.slices.values()) == [[12]] and job.voxels.any()


def test_the_model_is_known_by_its_card_whatever_its_file_is_called(desk, tmp_path):
    """And again after other studies, when the mask alone tells "model 1"; of two the one that gave the answer counts."""
    given = desk.session.models[0]
    assert given.name != given.card.name and desk.session.model_file == given.path
    other = Model(name="model", card=Card(), path=tmp_path / "other.safetensors")
    desk.session.set_models((given, other))
    assert desk.session.model_file == given.path
    here = desk.session.study.study.folder
    desk.house.study.open(write(make_study(3, id="B"), tmp_path))
    assert desk.session.model_file is None  # its mask came with it
    desk.house.study.open(here)
    assert desk.session.model_file == given.path and desk.session.answer.model.name == "model"
    desk.session.set_models((other, replace(given, path=tmp_path / "own.safetensors")))
    assert desk.session.model_file == tmp_path / "own.safetensors"  # the user's own of the same name


def test_an_answer_that_came_while_another_study_was_open_can_be_corrected(desk, tmp_path):
    here = desk.session.study.study.folder
    desk.house.segment.segment()
    job, listener = desk.house.runner.jobs[-1]
    desk.house.study.open(write(make_study(3, id="B"), tmp_path))
    listener.finished(prediction(job, Label.NCR))
    desk.house.study.open(here)
    assert desk.session.answer.model.name == "model" and desk.session.model_file == job.model


# --- the proposal


def test_a_proposal_leaves_the_labels_alone_until_it_is_accepted_as_one_step(desk):
    desk.stroke(9)
    before, steps = desk.now(), len(history_of(desk.layer).done)
    edits: list = []
    desk.session.edited.connect(edits.append)
    proposed = desk.propose()
    assert desk.session.job is None and not desk.propagate.running
    assert np.array_equal(desk.now(), before) and "voxels change" in desk.session.message.text
    outline = outlines.beside(desk.house.viewer, outlines.PROPOSAL)
    assert outline is not None and np.count_nonzero(outline.data) == np.count_nonzero(proposed != before)
    assert desk.house.viewer.layers.selection.active is desk.layer
    desk.propagate.accept()
    assert np.array_equal(desk.now(), proposed) and len(history_of(desk.layer).done) == steps + 1
    assert history_of(desk.layer).done[-1].tool == PROPAGATED and [e.tool for e in edits] == [PROPAGATED]
    assert outlines.beside(desk.house.viewer, outlines.PROPOSAL) is None and desk.propagate.proposal is None
    assert desk.house.corrections.edited and desk.session.steps[-1]["tool"] == PROPAGATED  # autosave and log follow
    desk.house.paint.undo()
    assert np.array_equal(desk.now(), before)
    desk.house.paint.redo()
    assert np.array_equal(desk.now(), proposed)


def test_a_proposal_can_be_dropped(desk):
    desk.stroke(9)
    before, version = desk.now(), history_of(desk.layer).version
    desk.propose()
    desk.propagate.drop()
    assert np.array_equal(desk.now(), before) and history_of(desk.layer).version == version
    assert outlines.beside(desk.house.viewer, outlines.PROPOSAL) is None
    desk.propagate.accept()  # there is nothing any more
    assert np.array_equal(desk.now(), before)


def test_painting_on_drops_a_proposal_that_was_made_for_other_labels(desk):
    desk.stroke(9)
    desk.propose()
    desk.stroke(13)
    assert desk.propagate.proposal is None and outlines.beside(desk.house.viewer, outlines.PROPOSAL) is None
    job, listener = desk.ask()
    desk.stroke(14)
    listener.finished(ProposedLabels(np.zeros_like(job.labels), TOLD))
    assert desk.propagate.proposal is None and "painted on" in desk.session.message.text


def test_a_proposal_that_changes_nothing_is_reported(desk):
    desk.stroke(9)
    job, listener = desk.ask()
    listener.finished(ProposedLabels(job.labels.copy(), TOLD))
    assert desk.propagate.proposal is None and "nothing that would change" in desk.session.message.text


def test_a_proposal_never_lands_on_another_study(desk, tmp_path):
    desk.stroke(9)
    job, listener = desk.ask()
    desk.house.study.open(write(make_study(3, id="B", shape=(20, 22, 24)), tmp_path))
    shown = layers.snapshot(desk.house.labels).labels.copy()
    listener.finished(ProposedLabels(np.full_like(job.labels, 3), TOLD))
    assert desk.propagate.proposal is None and desk.session.job is None
    assert np.array_equal(layers.snapshot(desk.house.labels).labels, shown)


def test_in_3d_the_outline_is_hidden_and_the_changes_made_while_there_is_one(desk):
    desk.stroke(9)
    viewer, grid = desk.house.viewer, desk.session.answer.origin.grid
    made = outlines.show_changes(viewer, np.zeros(desk.layer.data.shape, np.uint8), grid)
    desk.propose()
    assert not made.visible
    desk.house.viewer.dims.ndisplay = 3
    assert not outlines.beside(desk.house.viewer, outlines.PROPOSAL).visible
    desk.house.viewer.dims.ndisplay = 2
    assert outlines.beside(desk.house.viewer, outlines.PROPOSAL).visible and not made.visible
    desk.propagate.drop()
    assert made.visible


def test_progress_failure_and_cancel(desk):
    desk.stroke(9)
    job, listener = desk.ask()
    assert desk.session.job.id == job.id and desk.propagate.running
    desk.propagate.propose()  # one at a time
    assert len(desk.house.runner.proposals) == 1
    listener.progress(Progress("adapting the model", 0.4))
    assert state_of(desk.propagate, True).words == "adapting the model … 40%"
    desk.propagate.cancel()
    assert desk.house.runner.cancelled == [job.id]
    listener.failed(Failed(job.id, "Cancelled; nothing was changed.", cancelled=True))
    assert not desk.propagate.running and desk.session.job is None and desk.session.message.kind is Kind.INFO
    job, listener = desk.ask()
    listener.failed(Failed(job.id, "No memory."))
    assert desk.session.message.kind is Kind.ERROR and not desk.propagate.running


def segmentation(desk):
    """The labels as they are now."""
    return replace(desk.session.segmentation, labels=desk.now())


def held(desk) -> Later:
    """From here on background work waits until it is told to run."""
    desk.house.background = later = Later()
    return later


def test_cancel_while_the_corrections_are_looked_up(desk):
    desk.stroke(9)
    later = held(desk)
    desk.propagate.propose()
    assert desk.propagate.running
    desk.propagate.cancel()
    assert not desk.propagate.running
    later.run()
    assert not desk.house.runner.proposals and not desk.propagate.running and desk.session.job is None


def test_cancel_between_the_end_and_the_showing(desk):
    """The worker has answered, and the answer is only being compared with what is there."""
    desk.stroke(9)
    job, listener = desk.ask()
    later = held(desk)
    listener.finished(ProposedLabels(np.full_like(job.labels, 3), TOLD))
    desk.propagate.cancel()
    while later.waiting:
        later.run()
    assert desk.propagate.proposal is None and not desk.propagate.running
    assert desk.session.message.text == "Cancelled; nothing was changed."


def test_a_job_that_began_while_the_corrections_were_looked_up_goes_first(desk):
    desk.stroke(9)
    later = held(desk)
    desk.propagate.propose()
    desk.house.segment.segment()
    running = desk.session.job
    later.run()
    assert desk.session.job is running and not desk.house.runner.proposals and not desk.propagate.running
    assert "running job" in desk.session.message.text


def test_the_first_stroke_stops_the_job_that_it_makes_useless(desk):
    desk.stroke(9)
    job, listener = desk.ask()
    desk.stroke(12)
    assert desk.house.runner.cancelled == [job.id] and "painted on" in desk.session.message.text
    desk.stroke(13)
    assert len(desk.house.runner.cancelled) == 1
    listener.failed(Failed(job.id, "Cancelled; nothing was changed.", cancelled=True))
    assert "painted on" in desk.session.message.text and not desk.propagate.running


def test_another_study_stops_the_job_and_that_is_reported(desk, tmp_path):
    desk.stroke(9)
    job, listener = desk.ask()
    desk.house.study.open(write(make_study(3, id="B", shape=(20, 22, 24)), tmp_path))
    assert desk.house.runner.cancelled == [job.id]
    listener.failed(Failed(job.id, "Cancelled; nothing was changed.", cancelled=True))
    assert "propagating was stopped" in desk.session.message.text and desk.session.message.kind is Kind.WARNING


def test_changes_asked_for_while_a_proposal_is_shown_stay_hidden_until_it_is_gone(desk):
    doubt = desk.house.doubt
    desk.stroke(9)
    desk.propose()
    doubt.toggle_changes()
    made = outlines.beside(desk.house.viewer, outlines.CHANGES)
    assert doubt.changes_shown and not made.visible
    desk.propagate.drop()
    assert made.visible


def test_it_waits_for_the_job_that_runs(desk):
    desk.stroke(9)
    desk.house.segment.segment()
    desk.propagate.propose()
    assert "running job" in desk.session.message.text and not desk.house.runner.proposals


def test_what_changes_is_reported_by_region():
    before, after = np.zeros((2, 10), np.uint8), np.zeros((2, 10), np.uint8)
    after[0, :4], after[1, :2], before[1, 5:8] = Label.ED, Label.ET, Label.ET
    assert in_words(before, after, 0.5) == "9 voxels change (WT +3.0 −1.5, TC +1.0 −1.5, ET +1.0 −1.5 mL)"
    assert in_words(before, after, None) == "9 voxels change (WT +6 −3, TC +2 −3, ET +2 −3 voxels)"


# --- through the worker


def test_the_worker_proposes_what_the_engine_proposes(tiny_model: Path, study):
    """What goes out and comes back by shared memory; the worker's process is left out."""
    from brainseg_engine.inference.predictor import Predictor
    from brainseg_engine.propagate import Corrected, propose

    truth, predictor = study.segmentation.labels, Predictor(tiny_model, "cpu")
    answer = np.where(truth == Label.ET, np.uint8(Label.ED), truth)
    labels = answer.copy()
    labels[..., 10] = truth[..., 10]
    job = PropagateRequest(study, "t", tiny_model, answer, labels, labels != answer, {2: [10]}, "cpu")
    fields = {**job.command(), "job": job.id}
    events: list = []
    worker = Worker(events.append, lambda *_: predictor)
    for slices in ({"2": [10]}, {}):
        task = Task(fields | {"slices": slices}, job)
        task.share()
        worker.run(json.loads(json.dumps(task.fields)))
        if slices:
            outcome = task.outcome(events[-1])
        task.release()
    expected = propose(predictor, study, answer, Corrected(labels, {2: (10,)}, labels != answer))
    assert isinstance(outcome, ProposedLabels) and np.array_equal(outcome.labels, expected.labels)
    assert outcome.report["steps"] == expected.steps
    assert any(isinstance(e, Progress) and e.stage == "adapting the model" for e in events)
    assert isinstance(events[-1], Failed) and "No slice" in events[-1].message


def test_the_client_sends_a_job_with_its_slices():
    sent: list = []
    client = WorkerClient()
    client._ask = sent.append  # nothing is started
    volume = np.zeros((4, 5, 6), np.uint8)
    job = PropagateRequest(make_study(), "t", Path("m"), volume, volume, volume > 0, {0: [np.int64(3)]}, "cpu")
    client.submit(job, None)
    (task,) = sent[0].args
    assert json.loads(json.dumps(task.fields)) | {"slices": {"0": [3]}, "do": "propagate", "job": job.id} == task.fields
