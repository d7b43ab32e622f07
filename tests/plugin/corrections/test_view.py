"""The view of corrections: it shows what it is given, and asks for what is pressed."""

from __future__ import annotations

import pytest
from helpers.views import made, press
from qtpy.QtCore import Qt

from napari_brainseg.features.corrections.view import CorrectionsShown, CorrectionsView

pytestmark = pytest.mark.window


ALL = CorrectionsShown(
    True,
    "autosaved 14:03:22",
    False,
    "Work of today",
    "Work on B",
    "Draft 2",
    "Version 1",
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
    assert view.offer.isVisible() and view.other.isVisible()
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
