"""Closing the window: what was not accepted is asked about, and kept in any case unless a person gives it up."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QMessageBox, QWidget

from brainseg_engine.core.errors import BrainsegError
from napari_brainseg.features.corrections.autosave import Autosave

_Role = QMessageBox.ButtonRole


def may_close(parent: QWidget, autosave: Autosave) -> bool:
    """Ask where there is something to lose. False: the window stays open."""
    at_risk = autosave.at_risk
    if not at_risk and not autosave.accepting:
        return True
    trouble = ""
    try:
        autosave.flush()
    except BrainsegError as e:
        trouble = f"\n\nIt could NOT be saved: {e}"
    if not at_risk and not trouble:
        return True  # a copy is there, whatever comes of the accepting
    box = QMessageBox(parent)
    box.setObjectName("closing_question")
    box.setWindowTitle("Corrections that were not accepted")
    box.setText(f"The edits on the study that is open were not accepted as a correction.{trouble}")
    keep = box.addButton("Keep for the next time", _Role.AcceptRole)
    keep.setToolTip("They are offered when the study is opened again")
    discard = box.addButton("Discard them", _Role.DestructiveRole)
    stay = box.addButton("Stay", _Role.RejectRole)
    box.setDefaultButton(stay if trouble else keep)
    box.setEscapeButton(stay)
    if trouble:
        keep.setEnabled(False)
    box.exec()
    pressed = box.clickedButton()
    if pressed is discard:
        autosave.give_up()
    return pressed in (keep, discard)


def ask_before(window: Any, may: Callable[[], bool]) -> Callable[[], None]:
    """Have ``window.close`` ask when a person closes it from a menu or by a key (napari's ``confirm_need``).

    The button of the frame comes as a spontaneous event instead; a program that closes its own window is not asked. The
    function returned takes this back.
    """
    napari_close, there = type(window).close, weakref.ref(window)

    def close(quit_app: bool = False, confirm_need: bool = False) -> Any:
        if confirm_need and not may():
            return None
        return napari_close(there(), quit_app, confirm_need)

    window.close = close

    def undo() -> None:
        window = there()
        if window is not None and vars(window).get("close") is close:
            del window.close

    return undo


def take_all(*steps: Callable[[], object]) -> None:
    """Take each step, also when one before it failed; its error is raised at the end. What Qt has deleted by then, as it
    does when an error ends the program, needs no release.
    """
    with contextlib.ExitStack() as rest:
        for step in reversed(steps):
            rest.callback(_unless_deleted, step)


def _unless_deleted(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as e:
        cause: BaseException | None = e  # psygnal wraps what a listener raised
        while cause is not None:
            if isinstance(cause, RuntimeError) and "deleted" in str(cause):  # the one sign that Qt bindings give of it
                return
            cause = cause.__cause__
        raise
