"""A machine elsewhere, reached by a stand-in for ssh: answers, cancels, breaks, versions, models."""

from __future__ import annotations

import json
import re
import shlex
import sys
import threading
import time
import uuid
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
from helpers.elsewhere import Elsewhere, expected, study

from brainseg_engine.core.errors import Cancelled, DeviceError
from brainseg_engine.core.events import Failed, Finished, silent
from brainseg_engine.core.study_wire import study_to_wire
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.phantom import phantom_study
from brainseg_engine.remote import Host, Place, line, serving
from brainseg_engine.remote.host import Asked
from brainseg_engine.remote.predictor import RemotePredictor
from brainseg_engine.remote.wording import nameless

JOB = {"do": "predict", "device": "auto", "tta": False}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch) -> Elsewhere:
    return Elsewhere(tmp_path, monkeypatch)


@pytest.fixture
def host(elsewhere) -> Iterator[Host]:
    h = Host(Place("gpu1"), patience=(0.1, 0.1))
    yield h
    h.close()
    until = time.monotonic() + 20
    while ours() and time.monotonic() < until:
        time.sleep(0.05)
    assert not ours()  # nothing is left there, whatever happened


def ours() -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if "fake_" in " ".join(child.cmdline()) and child.status() != psutil.STATUS_ZOMBIE:
                found.append(child)
        except psutil.NoSuchProcess:
            pass
    return found


def ask(elsewhere, model: str, seed: int = 0, **more) -> Asked:
    s = study(seed)
    fields = {
        **JOB,
        "job": uuid.uuid4().hex,
        "model": str(elsewhere.model(model)),
        "study": nameless(study_to_wire(s, {})),
    }
    room = {"labels": (s.reference.grid.shape, np.dtype(np.uint8))}
    return Asked({**fields, **more}, {f"study:{m.value}": v.data for m, v in s.volumes.items()}, room)


def test_an_answer_comes_back_and_nothing_goes_over_that_names_the_patient(elsewhere, host):
    answered = host.run(ask(elsewhere, "threshold"), silent)
    assert isinstance(answered.event, Finished)
    np.testing.assert_array_equal(answered.filled["labels"], expected(study()))
    sent = json.dumps(elsewhere.asked)
    assert "Doe" not in sent and "secret" not in sent and "the study" in sent


@pytest.mark.slow
def test_what_is_there_is_not_sent_again_neither_images_nor_models(elsewhere, host):
    for seed in (0, 0, 1):
        answered = host.run(ask(elsewhere, "threshold", seed), silent)
        np.testing.assert_array_equal(answered.filled["labels"], expected(study(seed)))
    done = [a["do"] for a in elsewhere.asked]
    assert done == ["hello", "have", "model", "work", "have", "work", "have", "work"]
    again = Host(Place("gpu1"))  # a new connection finds the model by what it holds
    (elsewhere.folder / "renamed.safetensors").write_bytes(b"threshold")
    again.run(ask(elsewhere, "threshold"), silent)
    again.close()
    assert [a["do"] for a in elsewhere.asked][8:] == ["hello", "have", "work"]


@pytest.mark.parametrize("model", [pytest.param("slow", marks=pytest.mark.slow), "deaf"])
def test_a_cancel_stops_the_work_there_and_the_next_runs(elsewhere, host, model):
    stop = threading.Event()

    def heard(event) -> None:
        if event.stage == "segmenting":
            stop.set()

    answered = host.run(ask(elsewhere, model), heard, stop.is_set)
    assert isinstance(answered.event, Failed) and answered.event.cancelled
    assert isinstance(host.run(ask(elsewhere, "threshold"), silent).event, Finished)
    assert [a["do"] for a in elsewhere.asked].count("hello") == 1  # over the same line


def test_a_cancel_while_connecting_is_one(elsewhere, host):
    elsewhere.install("sleep 60")
    began = time.monotonic()
    with pytest.raises(Cancelled):
        host.run(ask(elsewhere, "threshold"), silent, lambda: time.monotonic() > began + 0.3)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "says"), [
    ("damaged", "is damaged"), ("bug", "an unlucky number"), ("killed", "memory ran out there"), ("crash", "with code 7"),
])  # fmt: skip
def test_failures_are_sentences_and_a_worker_that_died_is_replaced(elsewhere, host, model, says):
    for _ in range(2):
        event = host.run(ask(elsewhere, model), silent).event
        assert isinstance(event, Failed) and not event.cancelled and re.search(says, event.message)
    assert isinstance(host.run(ask(elsewhere, "threshold"), silent).event, Finished)


def test_a_line_that_breaks_is_made_again_and_so_is_the_job(elsewhere, host):
    heard, cut = [], []

    def follow(event) -> None:
        heard.append(event.stage)
        if event.stage == "segmenting" and not cut:
            cut.append(True)
            for process in ours():
                if "fake_serving" in " ".join(process.cmdline()):
                    process.kill()

    answered = host.run(ask(elsewhere, "short"), follow)
    assert isinstance(answered.event, Finished)
    np.testing.assert_array_equal(answered.filled["labels"], expected(study()))
    assert heard.count("connecting to gpu1") == 2 and "the line to gpu1 broke; again in 0 s" in heard
    assert [a["do"] for a in elsewhere.asked].count("model") == 1


@pytest.mark.slow
def test_a_line_that_stays_broken_ends_in_a_sentence(elsewhere, host):
    def follow(event) -> None:
        if event.stage == "segmenting":
            elsewhere.install("sh -c 'echo Connection refused >&2; exit 255'", before="")
            for process in ours():
                if "fake_serving" in " ".join(process.cmdline()):
                    process.kill()

    with pytest.raises(DeviceError, match=r"(?s)gpu1.*It did not come back\. Nothing is lost here"):
        host.run(ask(elsewhere, "slow"), follow)


@pytest.mark.parametrize(("command", "says"), [
    ("sh -c 'exit 127'", r"no napari-brainseg on gpu1.*pipx install"),
    ("sh -c 'echo No such command >&2; exit 2'", "older version"),
    ("sh -c 'echo Permission denied \\(publickey\\) >&2; exit 255'", "ssh-copy-id gpu1"),
    ("sh -c 'echo boom >&2; exit 3'", "ended with code 3: boom"),
    ("other version", "has napari-brainseg 9.9, here is"),
])  # fmt: skip
def test_why_there_is_no_machine_is_said_with_a_remedy(elsewhere, host, command, says):
    if command == "other version":
        command = """printf '%s\\n' 'napari-brainseg-hello {"version": "9.9", "wire": 1}'"""
    elsewhere.install(command, before="")
    with pytest.raises(DeviceError, match=says):
        host.run(ask(elsewhere, "threshold"), silent)


def test_the_other_side_leaves_for_another_version(elsewhere, host, monkeypatch):
    monkeypatch.setattr(line, "check_versions", lambda *_: None)
    monkeypatch.setattr(line, "mine", lambda: {"version": "0.0.9", "wire": 1})
    with pytest.raises(DeviceError, match="did not come back"):
        host.run(ask(elsewhere, "threshold"), silent)
    assert not elsewhere.works()


@pytest.mark.slow
def test_a_predictor_elsewhere_answers_as_one_here(elsewhere, host, tiny_model, monkeypatch):
    python = shlex.quote(sys.executable)
    elsewhere.install(f"{python} -m brainseg_engine device serve")
    s = phantom_study(3, (24, 28, 20))
    with RemotePredictor(tiny_model, "ssh:gpu1") as there:
        found = there.predict(s, probabilities=True)
    here = Predictor(tiny_model, "cpu").predict(s, probabilities=True)
    np.testing.assert_array_equal(found.segmentation.labels, here.segmentation.labels)
    for region, p in here.probabilities.items():
        np.testing.assert_allclose(found.probabilities[region], p, atol=2e-3)
    assert (found.study_id, found.model, found.plan != "") == (s.id, "tiny", True) and found.device.endswith(" on gpu1")
    assert found.segmentation.grid is s.reference.grid and found.rests_on == here.rests_on


def test_the_other_side_does_not_leave_while_the_line_beats():
    assert serving.SILENCE_S > 5 * line._BEAT_S
