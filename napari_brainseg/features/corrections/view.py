"""The section that keeps corrections: what a crash left, whether the work is safe, accepting."""

from __future__ import annotations

from dataclasses import dataclass

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QVBoxLayout

from napari_brainseg.qt.widgets import Elided, Section, Words, button, label, plain, restyle


@dataclass(frozen=True)
class CorrectionsShown:
    """What there is to show, in words; "" for nothing. ``danger``: the state line is bad news."""

    possible: bool = False
    state: str = ""
    danger: bool = False
    offer: str = ""
    other: str = ""
    draft: str = ""
    accepted: str = ""
    store: str = ""
    by: str = ""
    named: bool = False


class CorrectionsView(Section):
    """Shows how safe the work is, and asks to accept and to restore. ``rows``: where rows of other features go."""

    offered = Signal()
    """There is work that was not accepted: it is to be seen."""
    accept_requested = Signal()
    restore_requested = Signal()
    discard_requested = Signal()
    other_requested = Signal()
    show_draft_requested = Signal()
    accept_draft_requested = Signal()
    folder_requested = Signal()
    by_changed = Signal(str)
    named_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Corrections", "corrections")
        self._build_offer()
        self.rows = QVBoxLayout()
        self.body.addLayout(self.rows)
        self.accept = button(
            "Accept correction", "accept", "Keep the mask as a version that is never rewritten (Ctrl-Enter)",
            self.accept_requested.emit,
        )  # fmt: skip
        self.accept.setProperty("role", "primary")
        self.state = Words("corrections_state", "dim")
        self.accepted = Words("accepted", "dim")
        for widget in (self.state, self.accept, self.accepted):
            self.body.addWidget(widget)
        self._build_choices()
        self.show_state(CorrectionsShown())

    def _build_offer(self) -> None:
        """Work that was not accepted, on this study and on another."""
        self.offer_text = Words("offer_text", "warning")
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(button("Restore", "restore", "Bring that work back; Ctrl-Z takes it away again",
                             self.restore_requested.emit), 1)  # fmt: skip
        row.addWidget(button("Discard…", "discard", "Give that work up", self.discard_requested.emit), 1)
        column = QVBoxLayout()
        column.setSpacing(4)
        column.addWidget(self.offer_text)
        column.addLayout(row)
        self.offer = plain(column)
        other = QHBoxLayout()
        other.setSpacing(6)
        self.other_text = Words("other_text", "dim")
        other.addWidget(self.other_text, 1)
        other.addWidget(button("Open", "open_other", "Open that study", self.other_requested.emit))
        self.other = plain(other)
        self.body.addWidget(self.offer)
        self.body.addWidget(self.other)
        self._build_draft()

    def _build_draft(self) -> None:
        """A correction that a program proposed and nobody has accepted."""
        row = QHBoxLayout()
        row.setSpacing(6)
        self.draft_text = Words("draft_text", "dim")
        row.addWidget(self.draft_text, 1)
        row.addWidget(
            button(
                "Show", "show_draft", "Put the draft onto the canvas instead of what is there; Ctrl-Z takes it away again",
                self.show_draft_requested.emit,
            )
        )  # fmt: skip
        row.addWidget(button("Accept draft", "accept_draft", "The draft as it is counts as a correction from now on",
                             self.accept_draft_requested.emit))  # fmt: skip
        self.draft = plain(row)
        self.body.addWidget(self.draft)

    def _build_choices(self) -> None:
        column = QVBoxLayout()
        column.setSpacing(4)
        choices = plain(column)
        self.more = button(
            "Who and where ▸", "corrections_more", "Whose name is recorded, and where corrections are kept"
        )
        self.more.setProperty("role", "link")
        self.more.setCheckable(True)
        self.more.toggled.connect(choices.setVisible)
        self.more.toggled.connect(lambda on: self.more.setText("Who and where ▾" if on else "Who and where ▸"))
        self.head.addWidget(self.more)
        row = QHBoxLayout()
        row.setSpacing(6)
        self.by = QLineEdit()
        self.by.setObjectName("by")
        self.by.setPlaceholderText("your name, if it is to be recorded")
        self.by.setAccessibleName("Your name, if it is to be recorded")
        self.by.returnPressed.connect(self.by.clearFocus)
        self.by.editingFinished.connect(lambda: self.by_changed.emit(self.by.text()))
        row.addWidget(label("By"))
        row.addWidget(self.by, 1)
        column.addLayout(row)
        row = QHBoxLayout()
        row.setSpacing(6)
        self.store = Elided("store", "dim")
        row.addWidget(label("In"))
        row.addWidget(self.store, 1)
        row.addWidget(button("Folder…", "store_folder", "Choose the folder that corrections are kept in",
                             self.folder_requested.emit))  # fmt: skip
        column.addLayout(row)
        self.named = QCheckBox("Record the study's name and folder too")
        self.named.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.named.setObjectName("named")
        self.named.setToolTip(
            "Without it a correction is tied to its images by their hashes alone, and names no patient"
        )
        self.named.clicked.connect(self.named_changed.emit)
        column.addWidget(self.named)
        self.body.addWidget(choices)
        choices.hide()

    def show_state(self, shown: CorrectionsShown) -> None:
        """Show the state of the corrections."""
        self.accept.setEnabled(shown.possible)
        for widget, text in ((self.state, shown.state), (self.accepted, shown.accepted)):
            widget.show_text(text)
            widget.setVisible(bool(text))
        restyle(self.state, role="warning" if shown.danger else "dim")
        self.offer_text.show_text(shown.offer)
        came = bool(shown.offer) and self.offer.isHidden()
        self.offer.setVisible(bool(shown.offer))
        if came:
            self.offered.emit()
        self.other_text.show_text(shown.other)
        self.other.setVisible(bool(shown.other))
        self.draft_text.show_text(shown.draft)
        self.draft.setVisible(bool(shown.draft))
        self.store.show_text(shown.store)
        if not self.by.hasFocus():
            self.by.setText(shown.by)
        self.named.setChecked(shown.named)
