"""The doubt row: it shows what it is given, and asks for what is pressed."""

from __future__ import annotations

import pytest
from helpers.views import made, press

from napari_brainseg.features.doubt.view import DoubtRow

pytestmark = pytest.mark.window


@pytest.mark.parametrize(
    ("name", "signal", "args"),
    [
        ("doubt", "doubt_requested", []),
        ("changes", "changes_requested", []),
        ("next_doubt", "slice_requested", [1]),
        ("previous_doubt", "slice_requested", [-1]),
    ],
)
def test_each_button_asks_for_its_own(qtbot, name, signal, args):
    view = made(qtbot, DoubtRow())
    view.show_state(True, True, False)
    assert view.doubt.isChecked() and not view.changes.isChecked()
    with qtbot.waitSignal(getattr(view, signal), timeout=1000) as heard:
        press(qtbot, view, name)
    assert heard.args == args


def test_without_labels_there_is_nothing_to_ask_for(qtbot):
    view = made(qtbot, DoubtRow())
    view.show_state(False, False, False)
    assert not view.doubt.isEnabled() and not view.changes.isEnabled()
