"""Working copies: whatever is killed at whatever moment, what was painted seconds ago comes back whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from helpers.working_copies import KEY, a_work
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg_engine.core.errors import InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel, Work, working


@settings(max_examples=25)
@given(
    labels=hnp.arrays(np.uint8, st.tuples(*(st.integers(1, 7),) * 3), elements=st.integers(0, 5)),
    order=st.permutations([0, 1, 2]),
    minutes=st.floats(0, 1e4),
    id=st.text(st.characters(exclude_categories=("Cs",)), max_size=8),
)
def test_what_is_written_comes_back(labels, order, minutes, id):
    shown = np.transpose(np.ascontiguousarray(np.transpose(labels, order)), np.argsort(order))
    seg = Segmentation(shown, Grid(shown.shape, np.diag([-1, -2, 3, 1.0])), "brats2021", "m 1")
    base = replace(seg, labels=np.zeros_like(shown))
    desk = working.Desk(KEY)
    work = Work(KEY, id, seg, base, BaseModel("m", "1", "ff", ""), Path("/a b"), ({"tool": "brush"},), minutes)
    desk.save(work)
    back = working.load(desk.path)
    desk.clear()
    assert np.array_equal(back.segmentation.labels, labels) and back.segmentation.labels.flags.writeable
    assert back.segmentation.grid.same_as(seg.grid) and back.segmentation.coding == "brats2021"
    assert back.base is not None and not back.base.labels.any()
    assert (back.study_id, back.model, back.folder, back.steps) == (id, work.model, work.folder, work.steps)
    assert back.minutes == pytest.approx(minutes, abs=0.001)


def test_a_copy_is_offered_once_nobody_writes_to_it():
    desk = working.Desk(KEY)
    desk.save(a_work())
    assert working.pending(KEY) == []
    desk.close()
    (found,) = working.pending(KEY)
    assert (found.study_id, found.key) == ("case", KEY) and working.pending("f" * 32) == []
    assert abs((found.local_time - datetime.now(UTC)).total_seconds()) < 60
    working.discard(found.path)
    assert working.pending() == [] and not found.path.parent.exists()


def test_the_newest_comes_first_and_the_answer_goes_with_the_last():
    answer = a_work().segmentation
    for minutes in (1, 2):
        desk = working.Desk(KEY)
        desk.save(a_work(base=answer, minutes=minutes))
        desk.close()
    newest, oldest = working.pending(KEY)
    assert (newest.minutes, oldest.minutes) == (2, 1)
    working.discard(newest.path)
    assert working.load(oldest.path).base is not None
    working.discard(oldest.path)
    assert not oldest.path.parent.exists()


def test_an_older_one_never_replaces_a_younger_nor_returns_after_it_was_cleared():
    desk = working.Desk(KEY)
    old, young = a_work(minutes=1), a_work(minutes=2)
    desk.save(young)
    desk.save(old)
    assert working.load(desk.path).minutes == 2
    desk.clear()
    desk.save(young)
    assert not desk.path.exists()


def test_it_is_for_its_owner_alone():
    desk = working.Desk(KEY)
    desk.save(a_work())
    if os.name == "posix":
        assert desk.path.stat().st_mode & 0o077 == 0
    desk.clear()


@pytest.mark.parametrize("spoil", [lambda raw: raw[: len(raw) // 2], lambda raw: b"", lambda raw: raw[:-9] + b"x" * 9])
def test_a_damaged_copy_is_reported_or_passed_over(spoil):
    desk = working.Desk(KEY)
    desk.save(a_work())
    desk.close()
    desk.path.write_bytes(spoil(desk.path.read_bytes()))
    with pytest.raises(InputError, match="damaged"):
        working.load(desk.path)
    for found in working.pending(KEY):
        with pytest.raises(InputError):
            working.load(found.path)
    working.discard(desk.path)


def test_a_copy_of_a_program_that_runs_is_left_to_it(tmp_path):
    code = f"import sys, time; sys.path[:0] = {sys.path!r}; from brainseg_engine.corrections import working; "
    code += "from helpers.working_copies import KEY, a_work; "
    code += "d = working.Desk(KEY); d.save(a_work()); "
    child = subprocess.Popen(
        [sys.executable, "-c", code + "print('ready', flush=True); time.sleep(60)"], stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout.readline() == b"ready\n"
        assert working.pending(KEY) == []
        child.kill()
    (found,) = working.pending(KEY)
    assert found.study_id == "case"


PAINT = """
import sys, threading
sys.path[:0] = {path!r}
import numpy as np
from brainseg_engine.corrections import Work, working
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Segmentation
shape = (96, 96, 64)
labels, answer = np.zeros(shape, np.uint8, order="F"), np.full(shape, 2, np.uint8, order="F")
grid = Grid(shape, np.eye(4))
desk = working.Desk({key!r})
flat = labels.reshape(-1, order="F")
for n in range(1, 100000):
    flat[(n - 1) * 5 : n * 5] = n % 3 + 1  # the nth stroke
    snapshot = Segmentation(labels.copy(order="K"), grid)
    steps = tuple({{"n": i}} for i in range(n))
    thread = threading.Thread(target=desk.save, args=(Work({key!r}, "case", snapshot, Segmentation(answer, grid), steps=steps),))
    thread.start()
    print(n, flush=True)
    thread.join()
    print("saved", n, flush=True)
"""


def strokes(n: int) -> np.ndarray:
    """What the child has painted after n strokes."""
    labels = np.zeros((96, 96, 64), np.uint8, order="F")
    flat = labels.reshape(-1, order="F")
    for i in range(1, n + 1):
        flat[(i - 1) * 5 : i * 5] = i % 3 + 1
    return labels


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_at_any_moment_loses_the_last_stroke_at_most(seed):
    rng = random.Random(seed)
    child = subprocess.Popen(
        [sys.executable, "-c", PAINT.format(path=sys.path, key=KEY)], stdout=subprocess.PIPE, text=True
    )
    with child:
        for line in child.stdout:  # the first copy is there; then any moment will do
            if line.startswith("saved 2"):
                break
        time.sleep(rng.uniform(0, 0.4))
        os.kill(child.pid, signal.SIGKILL)
        content = [x.split() for x in child.stdout.read().splitlines() if x.startswith("saved ")]
    assert child.returncode == -signal.SIGKILL
    saved = max(
        (int(x[1]) for x in content if len(x) == 2 and x is not content[-1]), default=2
    )  # the last may be half a line
    (found,) = working.pending(KEY)
    work = working.load(found.path)  # whole, not damaged
    n = len(work.steps)
    assert n >= saved
    assert np.array_equal(work.segmentation.labels, strokes(n))
    assert work.base is not None and (work.base.labels == 2).all()


FULL = """
import resource, signal, sys
sys.path[:0] = {path!r}
import numpy as np
from brainseg_engine.core.errors import OutputError
from brainseg_engine.corrections import working
from helpers.working_copies import KEY, a_work
rng = np.random.default_rng(0)
noise = lambda: rng.integers(0, 4, (80, 80, 40)).astype(np.uint8)
desk, first = working.Desk(KEY), np.zeros((80, 80, 40), np.uint8)
desk.save(a_work(first))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.RLIM_INFINITY))
last = noise()
for _ in range(2):
    try:
        desk.save(a_work(last))
    except OutputError as e:
        print("told:", e)
assert not working.load(desk.path).segmentation.labels.any()  # the copy before is whole
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
desk.save(a_work(last))
assert np.array_equal(working.load(desk.path).segmentation.labels, last)
print("left:", [p.name for p in desk.path.parent.iterdir() if "part" in p.name])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
def test_a_full_disk_is_reported_keeps_the_copy_before_and_is_over_when_there_is_room_again():
    done = subprocess.run(
        [sys.executable, "-c", FULL.format(path=sys.path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.count("told: Cannot write") == 2, done.stdout + done.stderr
    assert done.stdout.endswith("left: []\n"), done.stdout + done.stderr
    assert OutputError.exit_code == 4
