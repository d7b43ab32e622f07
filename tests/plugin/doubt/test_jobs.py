"""Doubt and scores through the worker process: the map by shared memory, the score from files."""

from __future__ import annotations

import queue
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.cases import FAKE_WORKER, write
from helpers.small_study import make_study

from brainseg_engine.core.events import Failed
from brainseg_engine.corrections import study_key
from brainseg_engine.inference import uncertainty
from brainseg_engine.io import find_series, load_study
from napari_brainseg.jobs import DoubtMap, DoubtRequest, ScoreRequest, StudyScore, WorkerClient


class Heard:
    def __init__(self) -> None:
        self.outcomes: queue.Queue[object] = queue.Queue()
        self.stages: list[str] = []

    def progress(self, event):
        self.stages.append(event.stage)

    def finished(self, outcome):
        self.outcomes.put(outcome)

    def failed(self, event):
        self.outcomes.put(event)


@pytest.fixture
def client():
    made = WorkerClient(command=[sys.executable, str(FAKE_WORKER)])
    yield made
    made.close()


@pytest.fixture
def model(tmp_path) -> Path:
    path = tmp_path / "good.safetensors"
    path.write_bytes(b"weights")
    return path


def test_the_map_arrives_on_the_study_s_grid(client, model):
    study, heard = make_study(), Heard()
    client.submit(DoubtRequest(study, "t", model), heard)
    outcome = heard.outcomes.get(timeout=60)
    assert isinstance(outcome, DoubtMap)
    wt = np.float16(1) * (study.volumes["flair"].data > 100)
    wt[study.reference.data > 100] = 1
    probabilities = {r: np.float16(0.25 * (i + 1)) * wt for i, r in enumerate(uncertainty.Region)}
    assert np.array_equal(outcome.map, uncertainty.entropy(probabilities))
    assert outcome.score["score"] > 0 and "segmenting" in heard.stages


def test_a_score_comes_from_files_and_is_kept(client, model, tmp_path):
    folder, heard = write(make_study(id="A"), tmp_path), Heard()
    files = find_series(folder).files
    client.submit(ScoreRequest(folder, files, model), heard)
    first = heard.outcomes.get(timeout=60)
    assert isinstance(first, StudyScore) and first.key == study_key(load_study(folder))
    scores = uncertainty.Scores(uncertainty.model_hash(model), "one")
    assert scores.get(first.key).to_dict() == first.score
    assert uncertainty.known_key(list(files.values())) == first.key
    client.submit(ScoreRequest(folder, files, model), heard)
    heard.stages.clear()
    assert heard.outcomes.get(timeout=60) == first and "segmenting" not in heard.stages  # not computed again


@pytest.mark.parametrize("kind", ["slow", "deaf"])
def test_a_doubt_job_can_be_cancelled(client, tmp_path, kind):
    model, heard = tmp_path / f"{kind}.safetensors", Heard()
    model.write_bytes(b"")
    job = DoubtRequest(make_study(), "t", model)
    client.submit(job, heard)
    while "segmenting" not in heard.stages:
        assert heard.outcomes.empty()
    client.cancel(job.id)
    outcome = heard.outcomes.get(timeout=10)
    assert isinstance(outcome, Failed) and outcome.cancelled


def test_a_study_that_cannot_be_read_is_reported(client, model, tmp_path):
    folder, heard = write(make_study(id="A"), tmp_path), Heard()
    files = find_series(folder).files
    next(iter(files.values())).write_bytes(b"no image")
    client.submit(ScoreRequest(folder, files, model), heard)
    outcome = heard.outcomes.get(timeout=60)
    assert isinstance(outcome, Failed) and "A_t1" in outcome.message
