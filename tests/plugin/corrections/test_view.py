"""The views of corrections and queue: they show what they are told, and ask for what is pressed."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.views import made, press
from qtpy.QtCore import Qt

from napari_brainseg.features.corrections.view import CorrectionsShown, CorrectionsView
from napari_brainseg.features.queue.view import EntryShown, QueueView

pytestmark = pytest.mark.window


ALL = CorrectionsShown(
    True,
    "autosaved 14:03:22",
    False,
    "Work of today",
    "Work on B",
    "Draft 2",
    "Version 1",
    True,
    False,
    "/c",
    "Ann",
    True,
)


@pytest.mark.parametrize(
    ("name", "signal", "args"),
    [
        ("accept", "accept_requested", []),
        ("restore", "restore_requested", []),
        ("discard", "discard_requested", []),
        ("open_other", "other_requested", []),
        ("show_draft", "show_draft_requested", []),
        ("accept_draft", "accept_draft_requested", []),
        ("doubt", "doubt_requested", []),
        ("changes", "changes_requested", []),
        ("next_doubt", "slice_requested", [1]),
        ("previous_doubt", "slice_requested", [-1]),
        ("store_folder", "folder_requested", []),
    ],
)
def test_each_button_asks_for_its_own(qtbot, name, signal, args):
    view = made(qtbot, CorrectionsView())
    view.show_state(ALL)
    view.more.click()
    with qtbot.waitSignal(getattr(view, signal), timeout=1000) as heard:
        press(qtbot, view, name)
    assert heard.args == args


def test_it_shows_what_there_is_and_nothing_else(qtbot):
    view = made(qtbot, CorrectionsView())
    view.show_state(ALL)
    assert view.state.text() == "autosaved 14:03:22" and view.by.text() == "Ann" and view.named.isChecked()
    assert view.doubt.isChecked() and not view.changes.isChecked() and view.offer.isVisible() and view.other.isVisible()
    view.show_state(CorrectionsShown())
    assert not view.offer.isVisible() and not view.other.isVisible() and not view.accepted.isVisible()
    assert not view.accept.isEnabled() and not view.state.isVisible()
    view.show_state(CorrectionsShown(state="NOT SAVED", danger=True))
    assert view.state.property("role") == "warning"


def test_a_name_that_is_being_typed_is_left_alone(qtbot):
    view = made(qtbot, CorrectionsView())
    view.more.click()
    view.activateWindow()
    view.by.setFocus()
    qtbot.waitUntil(view.by.hasFocus)
    qtbot.keyClicks(view.by, "Be")
    view.show_state(ALL)
    assert view.by.text() == "Be"
    with qtbot.waitSignal(view.by_changed) as heard:
        qtbot.keyClick(view.by, Qt.Key.Key_Return)
    assert heard.args == ["Be"]


def test_the_queue_shows_its_order_and_opens_what_is_chosen(qtbot):
    view = made(qtbot, QueueView())
    assert not view.list.isVisible() and not view.next.isVisible()
    entries = [EntryShown(Path(f"/d/{i}"), i, f"doubt 0.{n}", open=n == 1) for n, i in enumerate(("b", "a"))]
    view.show_queue(Path("/d"), entries, "0 of 2 corrected", paused=False)
    texts = [view.list.item(i).text() for i in range(view.list.count())]
    assert texts[0].startswith("b") and texts[1].startswith("▸ a") and view.progress.text() == "0 of 2 corrected"
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
