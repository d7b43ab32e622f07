"""Python work in a child process: its answers, its errors, its progress, a cancel, a child that died."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from dicom_studies import ball, grid_of, new_person, write_series
from helpers.aside_work import broken, died, endless, pid, refused

from brainseg_engine.core.errors import BrainsegError, Cancelled, InputError
from brainseg_engine.core.events import Progress
from brainseg_engine.io.listing import list_unpacked, read_listed
from napari_brainseg.jobs import Children
from napari_brainseg.jobs.aside import here

TESTS = Path(__file__).parents[2]


@pytest.fixture
def for_child(monkeypatch):
    """The functions that it is asked to call lie among the tests."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")])))


@pytest.fixture
def children(for_child):
    made = Children()
    yield made
    made.close()


def test_it_is_another_process_and_the_same_one_the_next_time(children):
    told = []
    first = children(pid, progress=told.append)
    assert first != os.getpid() and told == [Progress("working", 0.5)]
    assert children(pid) == first
    assert here(pid) == os.getpid()


def test_what_it_raises_is_raised_here_and_it_goes_on(children):
    first = children(pid)
    with pytest.raises(InputError, match=r"no MR"):
        children(refused, "There is no MR.")
    with pytest.raises(ZeroDivisionError):
        children(broken)
    assert children(pid) == first


def test_one_that_died_is_told_of_and_the_next_call_has_another(children):
    first = children(pid)
    with pytest.raises(BrainsegError, match=r"ended before it was done"):
        children(died)
    assert children(pid) != first


def test_a_cancel_ends_it_whatever_it_does(children):
    first = children(pid)
    with pytest.raises(Cancelled):
        children(endless, cancelled=lambda: True)
    assert children(pid) != first


def test_one_that_idled_away_is_replaced(for_child):
    children = Children(idle_s=0.2)
    try:
        first = children(pid)
        deadline = time.monotonic() + 30
        while Path(f"/proc/{first}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert children(pid) != first
    finally:
        children.close()


def test_closing_ends_what_is_being_waited_for(children):
    raised = []

    def wait():
        try:
            children(endless)
        except BrainsegError as e:
            raised.append(e)

    thread = threading.Thread(target=wait)
    thread.start()
    while not children._busy:
        time.sleep(0.01)
    children.close()
    thread.join(30)
    assert not thread.is_alive() and raised


def test_a_listing_comes_back_whole(children, tmp_path):
    grid = grid_of()
    write_series(tmp_path / "a", ball(grid), grid, new_person())
    made, own = (
        children(list_unpacked, tmp_path, tmp_path),
        list_unpacked(tmp_path, tmp_path, lambda _: None, lambda: False),
    )
    (one,), (other,) = made.series, own.series
    assert one.facts == other.facts and one.slices == other.slices and one.grid.same_as(other.grid)
    assert (read_listed(one).data == read_listed(other).data).all()
