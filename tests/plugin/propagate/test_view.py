"""The propagate row: it shows what it is told, and asks for what is pressed."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton

from napari_brainseg.features.paint.shown import PaintShown
from napari_brainseg.features.paint.view import PaintView
from napari_brainseg.features.propagate.view import PropagateRow, PropagateShown

pytestmark = pytest.mark.window


@pytest.fixture
def view(qtbot) -> PaintView:
    made = PaintView()
    row = PropagateRow()
    made.add_row(row)
    row.wanted_changed.connect(made.show_more)  # as the panel has it
    qtbot.addWidget(made)
    made.resize(400, 700)
    made.show()
    qtbot.waitExposed(made)
    made.show_state(PaintShown(possible=True))
    return made


def buttons(view) -> dict[str, bool]:
    names = ("propagate", "propagate_accept", "propagate_drop")
    return {name: view.findChild(QAbstractButton, name).isVisible() for name in names}


def press(qtbot, view, name: str) -> None:
    qtbot.mouseClick(view.findChild(QAbstractButton, name), Qt.MouseButton.LeftButton)


def test_the_row_unfolds_with_the_tools_and_stays_while_there_is_something_to_judge(view):
    view.more.show_state(PropagateShown(possible=True))
    assert not view.more.isVisible()
    view.show_open(True)
    assert buttons(view) == {"propagate": True, "propagate_accept": False, "propagate_drop": False}
    view.more.show_state(PropagateShown(True, False, True, "Proposed: 5 voxels change"))
    view.show_open(False)
    view.show_state(PaintShown(possible=True))
    assert buttons(view) == {"propagate": False, "propagate_accept": True, "propagate_drop": True}
    assert "5 voxels" in view.more.words.text()
    view.more.show_state(PropagateShown(True))
    assert not view.more.isVisible()


def test_each_button_asks_for_its_own(qtbot, view):
    asked: list[str] = []
    row = view.more
    for name in ("propose", "cancel", "accept", "drop"):
        getattr(row, f"{name}_requested").connect(lambda name=name: asked.append(name))
    view.show_open(True)
    for shown, name in (
        (PropagateShown(True), "propagate"),
        (PropagateShown(True, running=True, words="adapting the model … 40%"), "propagate"),
        (PropagateShown(True, proposed=True), "propagate_accept"),
        (PropagateShown(True, proposed=True), "propagate_drop"),
        (PropagateShown(False), "propagate"),
    ):
        view.more.show_state(shown)
        press(qtbot, view, name)
    assert asked == ["propose", "cancel", "accept", "drop"]
