"""Work in threads: what is painted is written whatever else is being read."""

from __future__ import annotations

from threading import Event

import pytest

from napari_brainseg.qt.threads import GuiThread, Threads

pytestmark = pytest.mark.window


@pytest.fixture
def threads(qtbot):
    gui = GuiThread()
    made = Threads(gui)
    yield made
    made.close()
    gui.close()


def test_saving_waits_for_no_reading(qtbot, threads):
    read, saved = Event(), []
    try:
        for _ in range(10):
            threads(lambda: read.wait(30), lambda _: None, lambda _: None)
        threads.for_saving(lambda: "saved", saved.append, saved.append)
        qtbot.waitUntil(lambda: saved == ["saved"], timeout=30_000)
    finally:
        read.set()


def test_what_was_handed_over_for_saving_is_saved_when_the_window_closes(qtbot, threads):
    begin, saved = Event(), []
    for n in range(3):
        threads.for_saving(lambda n=n: (begin.wait(30), saved.append(n)), lambda _: None, lambda _: None)
    threads.close()
    begin.set()
    qtbot.waitUntil(lambda: saved == [0, 1, 2], timeout=30_000)


def test_an_autosave_takes_the_way_of_its_own(viewer):
    from helpers.rig import House, at_once

    def reading(work, done, failed):
        raise AssertionError

    house, saved = House(viewer), []
    house.background, house.saving = reading, at_once
    house.context.save(lambda: "saved", saved.append, saved.append)
    assert saved == ["saved"]
