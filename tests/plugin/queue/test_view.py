"""The queue's view: it shows what it is given, and asks for what is pressed."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.views import made, press

from napari_brainseg.features.queue.entries import QueueEntry, QueueShown
from napari_brainseg.features.queue.view import QueueView

pytestmark = pytest.mark.window


def test_the_queue_shows_its_order_and_opens_what_is_chosen(qtbot):
    view = made(qtbot, QueueView())
    assert not view.list.isVisible() and not view.next.isVisible()
    entries = tuple(QueueEntry(Path(f"/d/{i}"), i, {}, score=n / 10) for n, i in enumerate(("b", "a")))
    view.show_queue(QueueShown(Path("/d"), entries, 0, 2, open=Path("/d/a").resolve()))
    texts = [view.list.item(i).text() for i in range(view.list.count())]
    assert texts[0] == "b   doubt 0.00" and texts[1].startswith("▸ a") and view.progress.text() == "0 of 2 corrected"
    with qtbot.waitSignal(view.study_requested) as heard:
        view.list.itemActivated.emit(view.list.item(1))
    assert heard.args == [Path("/d/a")]
    for name, signal, args in (
        ("queue_next", view.next_requested, []),
        ("queue_open", view.folder_requested, []),
        ("queue_pause", view.pause_requested, [True]),
    ):
        with qtbot.waitSignal(signal) as heard:
            press(qtbot, view, name)
        assert heard.args == args
