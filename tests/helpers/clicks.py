"""Clicks on dialogs, answers to questions, and pictures of what is seen."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import QApplication, QMessageBox, QWidget

from helpers.window import Window


def click(window: Window, name: str) -> None:
    """Click a button of the panel or of a dialog, once it can be."""
    widget = window.widget(name)
    window.wait(lambda: widget.isVisible() and widget.isEnabled(), 20)
    window.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=QPoint(8, widget.height() // 2))
    QApplication.processEvents()


def shot(window: Window, widget: QWidget, name: str) -> None:
    """A picture for whoever names a folder in BRAINSEG_SCREENSHOTS."""
    if os.environ.get("BRAINSEG_SCREENSHOTS"):
        window.qtbot.wait(300)
        widget.grab().save(str(Path(os.environ["BRAINSEG_SCREENSHOTS"]) / f"{name}.png"))


def answer_question(button: str, seen: Callable[[QMessageBox], None] = lambda _: None) -> list[str]:
    """The next question is answered with that button, after ``seen``; its text, once it was asked."""
    asked: list[str] = []

    def answer() -> None:
        box = QApplication.activeModalWidget()
        if not isinstance(box, QMessageBox):
            QTimer.singleShot(100, answer)
            return
        asked.append(box.text())
        seen(box)
        next(b for b in box.buttons() if b.text() == button).click()

    QTimer.singleShot(100, answer)
    return asked
