"""Where to look next, and the queue: a viewer without a window, a runner that answers when told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.cases import write
from helpers.rig import Card, House, Later, Model, paint, prediction, segment, shown
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed, Progress
from brainseg_engine.corrections import study_key
from brainseg_engine.inference import uncertainty
from brainseg_engine.inference.uncertainty import Score, Scores
from brainseg_engine.io import load_study
from napari_brainseg.display import outlines, planes
from napari_brainseg.display.axes import world_to_voxel
from napari_brainseg.features.queue.verbs import QueueVerbs
from napari_brainseg.jobs import DoubtMap, DoubtRequest, ScoreRequest, StudyScore
from napari_brainseg.session import Kind

AFFINES = (
    np.diag([-1.0, -1.0, 1.0, 1.0]),
    np.diag([1.0, 1.0, 2.0, 1.0]),
    np.array([[0, 0, 1.5, -7], [-1.0, 0, 0, 3], [0, 1.0, 0, 5], [0, 0, 0, 1]]),
)


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def house(viewer, model) -> House:
    made = House(viewer)
    made.session.set_models((Model(card=Card(), path=model),))
    yield made
    made.close()


@pytest.fixture
def corrections(house):
    return house.corrections


@pytest.fixture
def doubt(house):
    return house.doubt


def answer(house, map: np.ndarray) -> None:
    _, listener = house.runner.doubts[-1]
    listener.finished(DoubtMap(map.astype(np.float16), {"score": 0.5, "doubted_ml": 3.0, "tumour_ml": 5.0}))


def peaks(shape, *slices, axis=2) -> np.ndarray:
    """Doubt in those slices, the first the greatest."""
    map = np.zeros(shape, np.float16)
    for n, i in enumerate(slices):
        where = [slice(2, 6)] * 3
        where[axis] = i
        map[tuple(where)] = 1 - 0.2 * n
    return map


# --- doubt


def test_the_doubt_is_computed_once_and_shown_over_the_images(house, doubt, tmp_path):
    house.study.open(write(make_study(id="A"), tmp_path))
    doubt.toggle_doubt()
    (job, _), state = house.runner.doubts[0], house.session.job
    assert isinstance(job, DoubtRequest) and job.tta and state.id == job.id
    house.runner.doubts[-1][1].progress(Progress("segmenting", 0.5))
    assert house.session.job.fraction == 0.5 and "doubt" in house.session.job.stage
    brush = house.labels
    house.viewer.layers.selection.active = brush
    answer(house, peaks(job.study.reference.grid.shape, 7))
    assert house.session.job is None and doubt.doubt_shown and doubt.known
    assert house.viewer.layers.selection.active is brush  # the brush stays where it was
    layer = outlines.beside(house.viewer, outlines.DOUBT)
    world = layer.data_to_world(np.argwhere(layer.data > 0.5)[0])
    assert round(world_to_voxel(job.study.reference.grid, world)[2]) == 7
    doubt.toggle_doubt()
    assert not doubt.doubt_shown
    doubt.toggle_doubt()
    assert doubt.doubt_shown and len(house.runner.doubts) == 1


@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize(("plane", "world_axis"), [("axial", 0), ("coronal", 1), ("sagittal", 2)])
def test_the_next_doubtful_slice_is_shown_in_every_plane(viewer, house, doubt, tmp_path, affine, plane, world_axis):
    house.study.open(write(make_study(id="A", shape=(20, 22, 24), affine=affine), tmp_path))
    grid = house.session.study.study.reference.grid
    axis = outlines.file_axis(grid, world_axis)
    doubt.compute()
    answer(house, peaks(grid.shape, 9, 3, 14, axis=axis))
    planes.set_plane(viewer, plane)
    planes.go_to_voxel(viewer, grid, (0, 0, 0))
    order = []
    for step in (1, 1, 1, 1, -1):
        doubt.next_slice(step)
        assert outlines.slice_shown(viewer, grid)[0] == axis
        order.append(outlines.slice_shown(viewer, grid)[1])
    assert order == [9, 3, 14, 9, 14]


def test_without_a_map_the_key_computes_it_and_without_doubt_it_says_so(house, doubt, tmp_path):
    doubt.next_slice()
    assert house.session.message.kind is Kind.WARNING
    house.study.open(write(make_study(id="A"), tmp_path))
    doubt.next_slice()
    (job, _) = house.runner.doubts[0]
    answer(house, np.zeros(job.study.reference.grid.shape))
    doubt.next_slice()
    assert "no slice" in house.session.message.text


def test_a_map_never_lands_on_another_study_and_goes_with_its_own(house, doubt, tmp_path):
    first, second = write(make_study(id="A"), tmp_path), write(make_study(1, id="B"), tmp_path)
    house.study.open(first)
    doubt.compute()
    house.study.open(second)
    shape = house.session.study.study.reference.grid.shape
    answer(house, peaks(shape, 5))
    assert not doubt.known and outlines.beside(house.viewer, outlines.DOUBT) is None
    doubt.compute()
    answer(house, peaks(shape, 5))
    assert doubt.doubt_shown
    house.study.open(first)
    assert not doubt.known and outlines.beside(house.viewer, outlines.DOUBT) is None


def test_failures_and_cancelling_are_reported_and_free_the_way(house, doubt, tmp_path):
    house.study.open(write(make_study(id="A"), tmp_path))
    for cancelled, kind in ((True, Kind.INFO), (False, Kind.ERROR)):
        doubt.compute()
        job, listener = house.runner.doubts[-1]
        listener.failed(Failed(job.id, "no luck", cancelled=cancelled))
        assert house.session.job is None and house.session.message.kind is kind
    house.segment.segment()
    doubt.compute()
    assert len(house.runner.doubts) == 2 and house.session.message.kind is Kind.WARNING


# --- what was changed


def test_changes_against_the_answer_are_outlined_and_follow_the_brush(house, corrections, doubt, tmp_path):
    doubt.toggle_changes()
    assert not doubt.changes_shown and house.session.message.kind is Kind.WARNING
    house.study.open(write(make_study(id="A"), tmp_path))
    before = segment(house)
    doubt.toggle_changes()
    layer = outlines.beside(house.viewer, outlines.CHANGES)
    assert doubt.changes_shown and not layer.data.any() and layer.contour == 1
    after = paint(house, 1)
    doubt.compare()
    values = np.transpose(layer.data, np.argsort(outlines.axis_order(house.session.answer.origin.grid.affine)))
    assert np.array_equal(values == outlines.ADDED, (after != 0) & (before == 0))
    assert (values != 0).sum() == (after != before).sum() > 0
    house.labels.undo()
    doubt.compare()
    assert not layer.data.any()
    assert house.labels is not layer and not layer.editable
    doubt.toggle_changes()
    assert not doubt.changes_shown


def test_in_3d_the_outlines_hide(viewer, house, doubt, tmp_path):
    house.study.open(write(make_study(id="A"), tmp_path))
    segment(house)
    doubt.toggle_changes()
    layer = outlines.beside(viewer, outlines.CHANGES)
    planes.set_3d(viewer)
    assert not layer.visible
    planes.set_3d(viewer, False)
    assert layer.visible


def test_each_kind_of_change_is_told_apart():
    study = make_study(shape=(6, 7, 8), affine=AFFINES[2])
    grid = study.reference.grid
    was = np.zeros(grid.shape, np.uint8)
    was[0], was[1] = 2, 2
    now = was.copy()
    now[0], now[1], now[2] = 0, 3, 1
    found = outlines.compare(np.transpose(now, outlines.axis_order(grid.affine)), was, grid)
    back = np.transpose(found, np.argsort(outlines.axis_order(grid.affine)))
    assert [set(np.unique(back[i])) for i in range(4)] == [
        {outlines.REMOVED},
        {outlines.RENAMED},
        {outlines.ADDED},
        {0},
    ]


# --- the queue


@pytest.fixture
def folders(tmp_path) -> list[Path]:
    (tmp_path / "data").mkdir()
    return [write(make_study(n, id=f"S{n}"), tmp_path / "data", mask=False) for n in range(4)]


@pytest.fixture
def queue(house):
    return house.queue


def score(house, value: float) -> ScoreRequest:
    job, listener = house.runner.scores[-1]
    key = study_key(load_study(job.folder))
    uncertainty.remember_key(list(job.files.values()), load_study(job.folder))
    scores = Scores(uncertainty.model_hash(job.model), "one")
    scores.put(key, Score(value, value, 1.0))
    listener.finished(StudyScore(key, {"score": value}))
    return job


def test_studies_are_scored_one_after_the_other_and_ranked(house, queue, folders):
    queue.open(folders[0].parent)
    assert [e.id for e in queue.ranked] == ["S0", "S1", "S2", "S3"] and queue.scoring.id == "S0"
    for value in (0.2, 0.9, 0.5, 0.7):
        assert len(house.runner.scores) == 1 + sum(e.score is not None for e in queue.entries)
        score(house, value)
    assert [e.id for e in queue.ranked] == ["S1", "S3", "S2", "S0"] and queue.scoring is None
    other = QueueVerbs(house.context)  # the next start knows them all
    other.open(folders[0].parent)
    assert [e.score for e in other.ranked] == [0.9, 0.7, 0.5, 0.2] and len(house.runner.scores) == 4


def test_correct_accept_next(house, corrections, queue, folders):
    queue.open(folders[0].parent)
    for value in (0.2, 0.9, 0.5, 0.7):
        score(house, value)
    seen = []
    for _ in range(4):
        queue.next()
        seen.append(house.session.study.study.id)
        segment(house)
        paint(house)
        corrections.accept()
    assert seen == ["S1", "S3", "S2", "S0"] and queue.corrected == 4 and queue.ranked == []
    queue.next()
    assert "done" in house.session.message.text and house.session.study.study.id == "S0"
    again = QueueVerbs(house.context)
    again.open(folders[0].parent)
    assert again.corrected == 4


def test_the_study_that_was_accepted_leaves_the_queue_though_another_is_open_by_then(
    house, corrections, queue, folders
):
    queue.open(folders[0].parent)
    house.study.open(folders[0])
    segment(house)
    paint(house)
    house.saving = later = Later()
    corrections.accept()
    house.study.open(folders[1])
    later.run()
    assert [e.id for e in queue.entries if e.corrected] == ["S0"]


def test_next_goes_on_without_accepting_too(house, queue, folders):
    queue.next()
    assert house.session.message.kind is Kind.WARNING
    queue.open(folders[0].parent)
    queue.next()
    first = house.session.study.study.id
    queue.next()
    assert house.session.study.study.id != first


def test_a_person_s_job_goes_first(house, queue, folders):
    queue.open(folders[0].parent)
    (job, listener) = house.runner.scores[0]
    house.study.open(folders[2])
    house.segment.segment()
    assert house.runner.cancelled == [job.id]
    listener.failed(Failed(job.id, "cancelled", cancelled=True))
    assert len(house.runner.scores) == 1  # not while the person's runs
    mine, asked = house.runner.jobs[0]
    asked.finished(prediction(mine))
    assert len(house.runner.scores) == 2 and house.runner.scores[1][0].folder == job.folder


def test_pausing_and_failing(house, queue, folders):
    queue.open(folders[0].parent)
    job, listener = house.runner.scores[0]
    queue.pause(True)
    assert house.runner.cancelled == [job.id]
    listener.failed(Failed(job.id, "cancelled", cancelled=True))
    assert len(house.runner.scores) == 1 and queue.paused
    queue.pause(False)
    job, listener = house.runner.scores[1]
    listener.failed(Failed(job.id, "It is damaged."))
    assert queue.ranked[-1].problem == "It is damaged." and len(house.runner.scores) == 3
    assert queue.scoring.id == "S1"


def test_another_model_has_doubts_of_its_own(house, queue, folders, tmp_path):
    queue.open(folders[0].parent)
    for value in (0.2, 0.9, 0.5, 0.7):
        score(house, value)
    path = tmp_path / "other.safetensors"
    path.write_bytes(b"other weights")
    house.session.set_models((*house.session.models, Model("other", Card(), path=path)))
    house.session.choose(model="other")
    assert all(e.score is None for e in queue.entries) and len(house.runner.scores) == 5


def test_a_folder_without_studies_is_reported(house, queue, tmp_path):
    (tmp_path / "none").mkdir()
    queue.open(tmp_path / "none")
    assert queue.entries == () and house.session.message.kind is Kind.WARNING


def test_the_labels_are_never_the_layers_beside_them(house, doubt, tmp_path):
    house.study.open(write(make_study(id="A"), tmp_path))
    segment(house)
    doubt.toggle_changes()
    doubt.compute()
    answer(house, peaks(house.session.study.study.reference.grid.shape, 5))
    assert house.labels.name == "Segmentation" and shown(house).any()
    assert [m.value for m in planes.image_layers(house.viewer)] == ["t1", "t1ce", "t2", "flair"]
