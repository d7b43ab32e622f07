"""The job client against a real worker process whose predictor is a threshold (``fake_worker``)."""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from brainseg_engine.core import shared_arrays
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Study, Volume
from napari_brainseg import jobs
from napari_brainseg.jobs import SegmentRequest, WorkerClient

COMMAND = [sys.executable, str(Path(__file__).parents[2] / "helpers" / "fake_worker.py")]


class Ear:
    """Keeps what is heard of the requests it is given for: (what, of which request, outcome or event)."""

    def __init__(self) -> None:
        self.heard: queue.Queue[tuple[str, SegmentRequest, object]] = queue.Queue()

    def of(self, request: SegmentRequest) -> OneEar:
        """The listener of one request."""
        return OneEar(self.heard, request)

    def outcome(self) -> tuple[str, SegmentRequest, object]:
        while (said := self.heard.get(timeout=30))[0] == "progress":
            pass
        return said

    def silent_for(self, seconds: float) -> bool:
        time.sleep(seconds)
        return self.heard.empty()


class OneEar:
    def __init__(self, heard, request) -> None:
        self._heard, self._request = heard, request

    def progress(self, event):
        self._heard.put(("progress", self._request, event))

    def finished(self, outcome):
        self._heard.put(("finished", self._request, outcome))

    def failed(self, event):
        self._heard.put(("failed", self._request, event))


def ask(client: WorkerClient, request: SegmentRequest, ear: Ear) -> None:
    client.submit(request, ear.of(request))


@pytest.fixture
def blocks(monkeypatch) -> list[shared_arrays.SharedArray]:
    """Every shared array that is made."""
    made = []
    create = shared_arrays.SharedArray.create.__func__

    def remember(cls, shape, dtype):
        made.append(create(cls, shape, dtype))
        return made[-1]

    monkeypatch.setattr(shared_arrays.SharedArray, "create", classmethod(remember))
    return made


@pytest.fixture
def client(blocks) -> Iterator[WorkerClient]:
    c = WorkerClient(command=COMMAND, grace_s=0.2)
    yield c
    pid = c.pid
    c.close()
    assert pid is None or not psutil.pid_exists(pid)
    for block in blocks:
        with pytest.raises(OSError):  # nothing is left behind, whatever happened
            shared_arrays.SharedArray.attach(block.spec)


def study(seed: int = 0) -> Study:
    rng = np.random.default_rng(seed)
    data = {m: rng.integers(0, 200, (8, 7, 6)).astype(">i2") for m in Modality}  # the byte order of some files
    return Study(f"case{seed}", {m: Volume(d, Grid(d.shape, np.diag([1, 1, 2, 1.0])), m) for m, d in data.items()})


def job(model: str, seed: int = 0, **more: object) -> SegmentRequest:
    return SegmentRequest(study(seed), f"token{seed}", Path(f"/m/{model}.safetensors"), **more)


def expected(s: Study) -> np.ndarray:
    labels = np.where(s.volumes[Modality.FLAIR].data > 100, np.uint8(2), np.uint8(0))
    labels[s.reference.data > 100] = 3
    return labels


def test_a_result_comes_back_with_the_job_it_was_made_from(client):
    ear, asked = Ear(), [job("threshold", seed) for seed in range(3)]
    for j in asked:
        ask(client, j, ear)
    for j in asked:
        kind, of, prediction = ear.outcome()
        assert kind == "finished" and of is j
        np.testing.assert_array_equal(prediction.segmentation.labels, expected(j.study))
        assert prediction.segmentation.grid is j.study.reference.grid
        assert (prediction.study_id, prediction.segmentation.coding) == (j.study.id, "brats2021")


def test_probabilities_come_when_asked_for(client):
    ear, j = Ear(), job("threshold", probabilities=True)
    ask(client, j, ear)
    _, _, prediction = ear.outcome()
    for i, region in enumerate(Region):
        np.testing.assert_array_equal(
            prediction.probabilities[region], (expected(j.study) > 0) * np.float16(0.25 * (i + 1))
        )


def test_progress_is_reported_in_words(client):
    ear = Ear()
    ask(client, job("threshold"), ear)
    said = [ear.heard.get(timeout=30) for _ in range(2)]
    assert [(kind, event.stage) for kind, _, event in said] == [
        ("progress", "loading the model"),
        ("progress", "segmenting"),
    ]


@pytest.mark.parametrize("model", ["slow", "deaf"])
def test_cancel_is_reported_at_once_and_the_next_job_runs(client, model):
    """``deaf`` answers no flag, as a pass in mid-flight does not: its process is replaced."""
    ear = Ear()
    ask(client, job(model), ear)
    while ear.heard.get(timeout=30)[2].stage != "segmenting":
        pass
    before = client.pid
    started = time.monotonic()
    cancelled = job("threshold", 2)
    ask(client, cancelled, ear)
    client.cancel(cancelled.id)  # one that waits
    kind, of, event = ear.outcome()
    assert kind == "failed" and event.cancelled and of is cancelled
    client.cancel("no such job")
    running = client._active.request
    client.cancel(running.id)
    kind, of, event = ear.outcome()
    assert kind == "failed" and event.cancelled and of is running
    assert time.monotonic() - started < 5
    ask(client, job("threshold", 1), ear)
    kind, of, _ = ear.outcome()
    assert kind == "finished" and of.token == "token1"
    assert (client.pid == before) is (model == "slow")  # a model that stopped by itself stays warm
    if model == "deaf":
        assert not psutil.pid_exists(before)


def test_a_cancelled_job_says_nothing_more(client):
    ear, j = Ear(), job("short")
    ask(client, j, ear)
    while ear.heard.get(timeout=30)[2].stage != "segmenting":
        pass
    client._grace_s = 30  # let it finish by itself
    client.cancel(j.id)
    client.cancel(j.id)
    assert ear.outcome()[0] == "failed"
    assert ear.silent_for(1.0)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("damaged", r"damaged\.safetensors is damaged\."),
        ("bug", "unexpectedly .ValueError: an unlucky number"),
        ("killed", "memory ran out"),
        ("crash", "ended with code 7"),
    ],
)
def test_failures_are_sentences_and_a_dead_process_is_replaced(client, model, says):
    import re

    ear = Ear()
    for _ in range(2):
        ask(client, job(model), ear)
        kind, _, event = ear.outcome()
        assert kind == "failed" and not event.cancelled
        assert re.search(says, event.message) and "Traceback" not in event.message
    ask(client, job("threshold"), ear)
    assert ear.outcome()[0] == "finished"


def test_a_process_that_does_not_start_is_a_sentence(blocks):
    ear, client = Ear(), WorkerClient(command=["/no/such/python"])
    ask(client, job("threshold"), ear)
    kind, _, event = ear.outcome()
    assert kind == "failed" and "did not start" in event.message
    client.close()


def test_no_shared_memory_is_a_sentence_and_leaves_nothing(client, blocks, monkeypatch):
    ear = Ear()
    create = shared_arrays.SharedArray.create

    def full(shape, dtype):
        if len(blocks) == 3:
            raise OutputError("There is no room to hand 1 MiB.")
        return create(shape, dtype)

    monkeypatch.setattr(shared_arrays.SharedArray, "create", full)
    ask(client, job("threshold"), ear)
    kind, _, event = ear.outcome()
    assert kind == "failed" and "no room" in event.message
    for block in blocks:
        with pytest.raises(OSError):
            shared_arrays.SharedArray.attach(block.spec)


def test_warming_starts_the_process_before_a_job_needs_it(client):
    assert client.pid is None  # nothing runs until something is asked for
    client.warm(Path("/m/threshold.safetensors"))
    deadline = time.monotonic() + 20
    while client.pid is None and time.monotonic() < deadline:
        time.sleep(0.02)
    pid, ear = client.pid, Ear()
    assert pid is not None
    ask(client, job("threshold"), ear)
    assert ear.outcome()[0] == "finished" and client.pid == pid


def test_a_model_that_cannot_be_warmed_is_told_by_the_job_that_needs_it(client):
    client.warm(Path("/m/damaged.safetensors"))
    ear = Ear()
    ask(client, job("damaged"), ear)
    assert ear.outcome()[0] == "failed"


def test_close_in_mid_job_is_quick_and_final(client):
    ear = Ear()
    ask(client, job("deaf"), ear)
    while ear.heard.get(timeout=30)[2].stage != "segmenting":
        pass
    pid, started = client.pid, time.monotonic()
    client.close()
    assert time.monotonic() - started < 3 and not psutil.pid_exists(pid)
    ask(client, job("threshold"), ear)
    assert ear.silent_for(0.3)


def test_answers_go_through_deliver(blocks):
    calls: queue.Queue = queue.Queue()
    client, ear = WorkerClient(calls.put, command=COMMAND), Ear()
    ask(client, job("threshold"), ear)
    call = calls.get(timeout=30)
    assert ear.heard.empty()
    call()
    assert ear.heard.get_nowait()[0] == "progress"
    client.close()


def test_the_worker_is_started_apart_from_the_folder_one_is_in():
    """``-P``: a user's own ``random.py`` in the current folder must not stand in for Python's."""
    assert WorkerClient()._command[1:] == ["-P", "-X", "utf8", "-m", "brainseg_engine.worker"]
    assert jobs.GRACE_S <= 1
