"""Working copies of living programs are nobody's to discard, damaged ones end nothing, and nothing is lost after an accept."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from helpers.small_study import make_study

from brainseg_engine.core.errors import InputError
from brainseg_engine.corrections import Store, Work, image_hashes, study_key, working
from brainseg_engine.corrections.working import Desk

HOLD = """
import sys, time
from helpers.small_study import make_study
from brainseg_engine.corrections import Work, study_key
from brainseg_engine.corrections.working import Desk
study = make_study()
desk = Desk(study_key(study))
desk.save(Work(study_key(study), study.id, study.segmentation))
print("saved", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def work(study) -> Work:
    return Work(study_key(study), study.id, study.segmentation, base=study.segmentation)


@pytest.fixture
def other(own_home):
    """Another program that paints on the same study."""
    import os
    from pathlib import Path

    tests = str(Path(__file__).parents[2])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    with subprocess.Popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
    ) as p:
        assert p.stdout.readline() == "saved\n"
        yield p
        p.kill()


@pytest.mark.parametrize("lie", ["another container", "the clock was set", "nothing"])
def test_what_a_living_program_paints_is_never_offered(lie, other, monkeypatch):
    if lie == "another container":  # its number means nothing here
        monkeypatch.setattr(working, "alive", lambda pid, began: False)
    if lie == "the clock was set":
        real = working.alive
        monkeypatch.setattr(working, "alive", lambda pid, began: real(pid, began - 3.0))
    key = study_key(make_study())
    assert working.pending(key) == [] == working.pending()
    other.kill()
    other.wait()
    assert len(working.pending(key)) == 1


def test_of_two_copies_the_higher_version_is_the_newer_whatever_the_clock_said(work, monkeypatch):
    for n, when in enumerate(("2031-01-01T00:00:00+00:00", "2020-01-01T00:00:00+00:00")):
        desk = Desk(work.key)
        monkeypatch.setattr(working, "datetime", Clock(when))
        for _ in range(3):
            desk.save(replace(work, minutes=float(n), made=working.time.monotonic_ns()))
        desk.close()
    assert [f.minutes for f in working.pending(work.key)] == [1.0, 0.0]


class Clock:
    """A clock that stands."""

    def __init__(self, when: str) -> None:
        self.when = when

    def now(self, _zone):
        from datetime import datetime

        return datetime.fromisoformat(self.when)


DAMAGES = [
    b"",
    b"{",
    b"[" * 10**5 + b"\n",
    b"\xff\n\x00",
    b'{"format": "napari-brainseg-working-copy/1"}\n',
    None,
    "cut",
    "flip",
    "text",
]


@pytest.mark.parametrize("damage", DAMAGES, ids=range(len(DAMAGES)))
@pytest.mark.parametrize("which", ["*.work", "*.answer"])
def test_a_damaged_copy_ends_nothing(damage, which, work):
    desk = Desk(work.key)
    desk.save(work)
    desk.close()
    (file,) = desk.path.parent.glob(which)
    raw = file.read_bytes()
    head, _, body = raw.partition(b"\n")
    file.write_bytes({
        "cut": raw[:-7], "flip": head + b"\n" + bytes(b ^ 0x55 for b in body), "text": head + b"\n" + b"x" * len(body),
        None: head.replace(b'"shape": [', b'"shape": [9999999999, ') + b"\n" + body,
    }[damage] if not isinstance(damage, bytes) else damage)  # fmt: skip
    if which == "*.answer":  # what was painted is there all the same
        (found,) = working.pending(work.key)
        assert working.load(found.path).base is None
    else:
        for path in (desk.path, *(f.path for f in working.pending(work.key))):
            with pytest.raises(InputError, match="damaged"):
                working.load(path)
    new = Desk(work.key)
    new.save(replace(work, made=working.time.monotonic_ns()))
    again = working.load(new.path)
    assert np.array_equal(again.segmentation.labels, work.segmentation.labels)
    assert np.array_equal(again.base.labels, work.base.labels)
    new.close()


def test_the_answer_is_kept_after_an_accept(work):
    """Paint, accept, paint, kill: what is painted then still knows the answer it began from."""
    desk = Desk(work.key)
    desk.save(work)
    desk.clear()
    desk.save(replace(work, made=working.time.monotonic_ns()))
    desk.close()
    (found,) = working.pending(work.key)
    assert np.array_equal(working.load(found.path).base.labels, work.base.labels)


def test_only_the_owner_may_look(work, own_home):
    desk = Desk(work.key)
    desk.save(work)
    for path in (own_home / "working", desk.path.parent, *desk.path.parent.iterdir()):
        assert not path.stat().st_mode & 0o077, path
    desk.close()


def drafts(tmp_path, n: int) -> tuple[Store, list[str]]:
    from brainseg_engine.corrections import CorrectionState

    store = Store(tmp_path / "store")
    made = []
    for seed in range(n):
        study = make_study(seed)
        made.append(store.add(study, study.segmentation, state=CorrectionState.DRAFT).id)
    return store, made


def test_all_drafts_are_accepted_or_none(tmp_path, monkeypatch):
    store, ids = drafts(tmp_path, 3)
    with pytest.raises(InputError, match="no correction 'nobody'"):
        store.accept_all([*ids, "nobody"])
    assert {c.state.value for c in store.corrections()} == {"draft"}
    lines = len(store.log.read_text().splitlines())
    assert [c.id for c in store.accept_all(ids)] == ids
    assert {c.state.value for c in store.corrections()} == {"accepted"}
    assert len(store.log.read_text().splitlines()) == lines + 1  # one line: no kill can part it
    assert [c.id for c in store.accept_all(ids)] == ids
    store.exclude(ids[0], "no")
    with pytest.raises(InputError, match="excluded"):
        store.accept_all(ids)


def test_the_newest_version_is_the_one_added_last_whatever_the_clock_said(tmp_path, monkeypatch):
    from brainseg_engine.corrections import store as module

    store, study = Store(tmp_path / "store"), make_study()
    for when in ("2031-01-01T00:00:00.000Z", "2020-01-01T00:00:00.000Z"):
        monkeypatch.setattr(module, "_now", lambda when=when: when)
        made = store.add(study, study.segmentation)
    assert store.latest()[made.study].id == made.id and made.id.endswith("_02")
    assert image_hashes(study)
