"""The worker's protocol, spoken to the real process; the predictor is a threshold (``fake_worker``)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from brainseg_engine import worker
from brainseg_engine.core.events import Event, Failed, Finished, Progress, from_json
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.shared_arrays import SharedArray
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.core.study_wire import study_from_wire, study_to_wire

FAKE = Path(__file__).parents[1] / "helpers" / "fake_worker.py"


class Worker:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(FAKE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def say(self, **command: object) -> None:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Event:
        return from_json(self.process.stdout.readline())

    def outcome(self) -> tuple[list[Progress], Event]:
        progress = []
        while isinstance(event := self.hear(), Progress):
            progress.append(event)
        return progress, event

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[list[Worker]]:
    """The process that tests take over from each other, once there is one; one of its own would be a second for each."""
    workers: list[Worker] = []
    yield workers
    for w in workers:
        w.end()


@pytest.fixture
def process(shared: list[Worker], request: pytest.FixtureRequest) -> Iterator[Worker]:
    """A worker that is idle, as the test leaves it when it passes."""
    if not shared:
        shared.append(Worker())
    failed = request.session.testsfailed
    yield shared[0]
    if request.session.testsfailed > failed or shared[0].process.poll() is not None:
        shared.pop().end()


@pytest.fixture
def own_process() -> Iterator[Worker]:
    """A worker for a test that ends it."""
    w = Worker()
    yield w
    w.end()


@pytest.fixture
def study() -> Study:
    rng = np.random.default_rng(1)
    affine = np.array([[-1, 0, 0, 9], [0, 0, 2.5, -3], [0, -1.5, 0, 4], [0, 0, 0, 1.0]])
    volumes = {
        m: Volume(
            rng.integers(0, 200, (6, 5, 4), dtype=np.int16), Grid((6, 5, 4), affine), m, Path(f"/x/{m}.nii"), "ab"
        )
        for m in Modality
    }
    return Study("case", volumes, coding="brats2021")


class Sent:
    """The study in shared memory, with room for the answer."""

    def __init__(self, study: Study) -> None:
        self.blocks = {m: SharedArray.of(v.data) for m, v in study.volumes.items()}
        self.labels = SharedArray.create(study.reference.grid.shape, np.uint8)
        self.wire = study_to_wire(study, {m: b.spec for m, b in self.blocks.items()})

    def command(self, model: str, job: str = "j1", **more: object) -> dict[str, object]:
        fields = {"do": "predict", "job": job, "model": f"/m/{model}.safetensors", "device": "cpu", "tta": False}
        return fields | {"study": self.wire, "labels": self.labels.spec.to_dict()} | more

    def close(self) -> None:
        for block in [*self.blocks.values(), self.labels]:
            block.close()


@pytest.fixture
def sent(study: Study) -> Iterator[Sent]:
    s = Sent(study)
    yield s
    s.close()


def expected(study: Study) -> np.ndarray:
    labels = np.where(study.volumes[Modality.FLAIR].data > 100, np.uint8(2), np.uint8(0))
    labels[study.reference.data > 100] = 3
    return labels


def test_a_study_survives_the_wire(study):
    from contextlib import ExitStack

    blocks = {m: SharedArray.of(v.data) for m, v in study.volumes.items()}
    wire = json.loads(json.dumps(study_to_wire(study, {m: b.spec for m, b in blocks.items()})))
    assert all(f.pop("calibrated") for f in wire["volumes"])  # what tells nothing is calibrated
    wire["volumes"][0]["calibrated"] = False
    with ExitStack() as stack:
        back = study_from_wire(wire, stack)
        assert [v.grid.calibrated for v in back.volumes.values()] == [False, True, True, True]
        assert (back.id, back.coding, list(back.volumes)) == (study.id, study.coding, list(study.volumes))
        for m, v in study.volumes.items():
            got = back.volumes[m]
            np.testing.assert_array_equal(got.data, v.data)
            np.testing.assert_array_equal(got.grid.affine, v.grid.affine)
            assert (got.path, got.sha256, got.data.dtype) == (v.path, v.sha256, v.data.dtype)
        del back, got
    for b in blocks.values():
        b.close()


def test_labels_and_probabilities_come_back(process, sent, study):
    shape = (3, *study.reference.grid.shape)
    with SharedArray.create(shape, np.float16) as probabilities:
        process.say(**sent.command("threshold", probabilities=probabilities.spec.to_dict()))
        progress, done = process.outcome()
        assert isinstance(done, Finished) and done.job == "j1"
        assert [p.stage for p in progress] == ["loading the model", "segmenting"]
        assert done.result["coding"] == "brats2021" and done.result["regions"] == ["WT", "TC", "ET"]
        np.testing.assert_array_equal(sent.labels.array, expected(study))
        np.testing.assert_array_equal(probabilities.array[2], (expected(study) > 0) * np.float16(0.75))


def test_what_libraries_print_does_not_reach_the_protocol(own_process, sent, study):
    process = own_process
    process.say(**sent.command("noisy"))
    _, done = process.outcome()
    assert isinstance(done, Finished) and done.job == "j1"
    process.say(do="quit")
    out, err = process.process.communicate(timeout=20)
    assert out == ""
    assert "a library prints" in err and "a child prints" in err and "a lie" in err


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("damaged", "damaged.safetensors is damaged."),
        ("bug", "ValueError: an unlucky number"),
        ("memory", "not enough memory"),
    ],
)
def test_a_failure_is_a_sentence_and_the_next_job_runs(process, sent, model, says):
    process.say(**sent.command(model))
    _, event = process.outcome()
    assert isinstance(event, Failed) and not event.cancelled
    assert says in event.message and "Traceback" not in event.message
    assert "Traceback" in event.detail
    process.say(**sent.command("threshold", job="j2"))
    _, event = process.outcome()
    assert isinstance(event, Finished) and event.job == "j2"


def test_cancel_stops_between_tiles_and_only_that_job(process, sent, study):
    with SharedArray.create(study.reference.grid.shape, np.uint8) as second:
        process.say(**sent.command("slow"))
        process.say(**sent.command("threshold", job="j2", labels=second.spec.to_dict()))
        assert isinstance(process.hear(), Progress) and isinstance(process.hear(), Progress)
        process.say(do="cancel", job="j1")
        event = process.hear()
        assert isinstance(event, Failed) and event.job == "j1" and event.cancelled
        _, event = process.outcome()
        assert isinstance(event, Finished) and event.job == "j2"
        assert not sent.labels.array.any()
        np.testing.assert_array_equal(second.array, expected(study))


def test_a_job_cancelled_while_it_waits_does_not_run(process, sent):
    process.say(**sent.command("short", job="j1"))
    process.say(**sent.command("threshold", job="j2"))
    process.say(do="cancel", job="j2")
    assert isinstance(process.outcome()[1], Finished)
    event = process.outcome()[1]
    assert isinstance(event, Failed) and event.cancelled and event.job == "j2"


def test_nonsense_is_passed_over(process, sent):
    process.process.stdin.write('not json\n[]\n{"job": 1}\n')
    process.say(**sent.command("threshold"))
    assert isinstance(process.outcome()[1], Finished)


@pytest.mark.parametrize("how", ["eof", "quit"])
def test_it_leaves_in_mid_pass_when_the_window_goes(own_process, sent, how):
    process = own_process
    process.say(**sent.command("deaf"))
    process.hear(), process.hear()
    if how == "quit":
        process.say(do="quit")
    else:
        process.process.stdin.close()
    started = time.monotonic()
    assert process.process.wait(timeout=10) == 0
    assert time.monotonic() - started < 5


@pytest.mark.skipif(os.name != "posix", reason="a parent's death is told by the pipe elsewhere")
def test_it_leaves_when_its_parent_was_killed_though_the_pipe_stays_open():
    read, write = os.pipe()  # its stdin: held open here, outside the parent that dies
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys, time; p = subprocess.Popen([sys.executable, {str(FAKE)!r}], "
         f"stdin={read}, stdout=sys.stdout); print(p.pid, flush=True); time.sleep(60)"],
        stdout=subprocess.PIPE, text=True, pass_fds=[read],
    )  # fmt: skip
    pid = int(parent.stdout.readline())
    os.write(write, b'{"do": "warm", "job": "w", "model": "/m/x.safetensors", "device": "cpu", "tta": false}\n')
    assert isinstance(from_json(parent.stdout.readline()), Finished)  # it runs
    parent.kill()
    parent.wait()
    try:
        assert gone(pid, within_s=15)
    finally:
        os.close(write)
        os.close(read)
        parent.stdout.close()


def gone(pid: int, within_s: float) -> bool:
    import psutil

    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.1)
    return False


def test_it_steps_back_in_priority(process, sent):
    if not hasattr(os, "getpriority"):
        pytest.skip("priorities are POSIX's")
    process.say(**sent.command("threshold"))
    process.outcome()
    assert os.getpriority(os.PRIO_PROCESS, process.process.pid) >= min(19, os.nice(0) + worker.NICENESS)


def test_one_model_is_kept_warm_until_another_is_asked_for(tmp_path):
    made = []

    class Predictor:
        pass

    def make(model, device, tta):
        made.append((model.name, device, tta))
        return Predictor()

    events: list[Event] = []
    w = worker.Worker(events.append, make)
    model = tmp_path / "a.safetensors"
    model.touch()

    def warm(**more: object) -> None:
        w.run({"do": "warm", "job": "w", "model": str(model), "device": "cpu", "tta": False} | more)

    warm(), warm()
    assert len(made) == 1
    warm(device="cuda"), warm(tta=True)
    assert made[1:] == [("a.safetensors", "cuda", False), ("a.safetensors", "cpu", True)]
    warm(tta=True)
    os.utime(model, ns=(1, 1))  # the file was replaced: the old weights must not answer
    warm(tta=True)
    assert len(made) == 4
    assert all(isinstance(e, Finished) for e in events)
