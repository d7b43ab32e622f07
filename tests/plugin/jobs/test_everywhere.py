"""Requests go where their device is; a machine elsewhere answers the window as its own worker does."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.elsewhere import Elsewhere, expected, study
from helpers.rig import Runner

from brainseg_engine.core.labels import Region
from napari_brainseg.jobs import DoubtRequest, Everywhere, PropagateRequest, SegmentRequest


class Heard:
    def __init__(self) -> None:
        self.stages, self.end = [], None

    def progress(self, event):
        self.stages.append(event.stage)

    def finished(self, outcome):
        self.end = outcome

    def failed(self, event):
        self.end = event

    def wait(self):
        until = time.monotonic() + 60
        while self.end is None:
            assert time.monotonic() < until, self.stages
            time.sleep(0.02)
        return self.end


def test_each_machine_has_a_client_and_what_names_no_device_is_done_here():
    made: dict[str, Runner] = {}
    everywhere = Everywhere(make=lambda device, _: made.setdefault(device, Runner()))
    s = study()
    for device in ("auto", "cuda", "ssh:a", "ssh:b", "ssh:a"):
        everywhere.submit(SegmentRequest(s, "t", Path("m"), device), Heard())
    everywhere.warm(Path("m"), "ssh:b", False)
    everywhere.cancel("x")
    everywhere.close()
    assert {device: len(client.submitted) for device, client in made.items()} == {"": 2, "ssh:a": 2, "ssh:b": 1}
    assert made["ssh:b"].warmed == [("m", "ssh:b")] and all(c.cancelled == ["x"] and c.closed for c in made.values())


@pytest.fixture
def everywhere(tmp_path, monkeypatch):
    client = Everywhere()
    client.elsewhere = Elsewhere(tmp_path, monkeypatch)
    yield client
    client.close()
    until = time.monotonic() + 20
    while left := [line for line in command_lines() if "fake_" in line or "bridge" in line]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


def command_lines() -> list[str]:
    """Of all that this process has started and that lives."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return found


def ask(client, request) -> Heard:
    heard = Heard()
    client.submit(request, heard)
    return heard


def test_a_study_is_segmented_elsewhere_and_doubted_and_cancelled(everywhere):
    s, model = study(), everywhere.elsewhere.model
    heard = ask(everywhere, SegmentRequest(s, "t", model("threshold"), "ssh:gpu1", probabilities=True))
    made = heard.wait()
    np.testing.assert_array_equal(made.segmentation.labels, expected(s))
    np.testing.assert_array_equal(made.probabilities[Region.ET], (expected(s) > 0) * np.float16(0.75))
    assert made.study_id == "Doe0" and made.device == "cpu on gpu1"
    assert heard.stages[0] == "connecting to gpu1" and "segmenting" in heard.stages
    doubt = ask(everywhere, DoubtRequest(s, "t", model("threshold"), "ssh:gpu1", tta=False)).wait()
    assert doubt.map.shape == s.reference.grid.shape and 0 < doubt.map.max() <= 1 and doubt.score["tumour_ml"] > 0
    sent = [a["sizes"] for a in everywhere.elsewhere.works()]
    assert all(sent[0]) and not any(sent[1])  # the images went over once
    slow = SegmentRequest(s, "t", model("slow"), "ssh:gpu1")
    heard = ask(everywhere, slow)
    while "segmenting" not in heard.stages:
        time.sleep(0.02)
    everywhere.cancel(slow.id)
    assert heard.wait().cancelled
    after = ask(everywhere, SegmentRequest(s, "t", model("threshold"), "ssh:gpu1")).wait()
    np.testing.assert_array_equal(after.segmentation.labels, expected(s))


def test_corrections_go_over_with_the_study(everywhere):
    s = study()
    labels = expected(s)
    request = PropagateRequest(
        s, "t", everywhere.elsewhere.model("threshold"), labels, labels, labels > 2, {0: [3]}, "ssh:gpu1"
    )
    failed = ask(everywhere, request).wait()  # the threshold has no network to begin from
    assert "unexpectedly" in failed.message
    assert everywhere.elsewhere.works()[-1]["names"] == [
        "answer", "corrected", "study:flair", "study:t1", "study:t1ce", "study:t2", "voxels",
    ]  # fmt: skip


def test_a_machine_that_cannot_be_had_is_a_sentence(everywhere):
    everywhere.elsewhere.install("false", before="exit 127")
    failed = ask(everywhere, SegmentRequest(study(), "t", everywhere.elsewhere.model("x"), "ssh:gpu1")).wait()
    assert "There is no napari-brainseg on gpu1" in failed.message and not failed.cancelled
