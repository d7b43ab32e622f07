"""The propagate row: it shows what it is told, and asks for what is pressed."""

from __future__ import annotations

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton

from napari_brainseg.features.paint.view import CorrectShown, CorrectView
from napari_brainseg.features.propagate.view import ProposeShown

pytestmark = pytest.mark.window


@pytest.fixture
def view(qtbot) -> CorrectView:
    made = CorrectView()
    qtbot.addWidget(made)
    made.resize(400, 700)
    made.show()
    qtbot.waitExposed(made)
    made.show_state(CorrectShown(possible=True))
    return made


def buttons(view) -> dict[str, bool]:
    names = ("propagate", "propagate_accept", "propagate_drop")
    return {name: view.findChild(QAbstractButton, name).isVisible() for name in names}


def press(qtbot, view, name: str) -> None:
    qtbot.mouseClick(view.findChild(QAbstractButton, name), Qt.MouseButton.LeftButton)


def test_the_row_unfolds_with_the_tools_and_stays_while_there_is_something_to_judge(view):
    view.show_propose(ProposeShown(possible=True))
    assert not view.propose.isVisible()
    view.show_open(True)
    assert buttons(view) == {"propagate": True, "propagate_accept": False, "propagate_drop": False}
    view.show_propose(ProposeShown(True, False, True, "Proposed: 5 voxels change"))
    view.show_open(False)
    view.show_state(CorrectShown(possible=True))
    assert buttons(view) == {"propagate": False, "propagate_accept": True, "propagate_drop": True}
    assert "5 voxels" in view.propose.words.text()
    view.show_propose(ProposeShown(True))
    assert not view.propose.isVisible()


def test_each_button_asks_for_its_own(qtbot, view):
    asked: list[str] = []
    row = view.propose
    for name in ("propose", "cancel", "accept", "drop"):
        getattr(row, f"{name}_requested").connect(lambda name=name: asked.append(name))
    view.show_open(True)
    for shown, name in (
        (ProposeShown(True), "propagate"),
        (ProposeShown(True, running=True, words="adapting the model … 40%"), "propagate"),
        (ProposeShown(True, proposed=True), "propagate_accept"),
        (ProposeShown(True, proposed=True), "propagate_drop"),
        (ProposeShown(False), "propagate"),
    ):
        view.show_propose(shown)
        press(qtbot, view, name)
    assert asked == ["propose", "cancel", "accept", "drop"]
