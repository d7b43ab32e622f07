"""Views on their own: shown, and their buttons pressed."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton


def made(qtbot, view):
    qtbot.addWidget(view)
    view.resize(400, 500)
    view.show()
    qtbot.waitExposed(view)
    return view


def press(qtbot, view, name: str) -> None:
    widget = view.findChild(QAbstractButton, name)
    assert widget.isVisible() and widget.isEnabled(), name
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)
