"""The section of an earlier study beside the open one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal

from napari_brainseg.qt.widgets import Section, Words, button, label


class FollowUpView(Section):
    """Shows what changed since an earlier study, and asks for one."""

    prior_requested = Signal()
    measure_requested = Signal()
    drop_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Follow-up", "follow_up")
        self.name = label(role="dim", name="follow_up_prior")
        self.open = button("Prior…", "follow_up_open", "Open an earlier study of this patient: aligned, beside this one, both "
                           "scroll together", self.prior_requested.emit)  # fmt: skip
        self.measure = button("Measure again", "follow_up_measure", "The numbers of the labels as they are now",
                              self.measure_requested.emit)  # fmt: skip
        self.drop = button("Close", "follow_up_close", "One study fills the canvas again", self.drop_requested.emit)
        for widget in (self.name, self.measure, self.drop, self.open):
            self.head.addWidget(widget)
        self.words = Words("follow_up_words")
        self.body.addWidget(self.words)
        self.show_state(False, False, "", ())

    def show_state(self, possible: bool, busy: bool, prior: str, lines: Sequence[str]) -> None:
        """``possible``: a study is open; ``busy``: one is being aligned; ``prior``: the name of the one that is shown."""
        self.open.setEnabled(possible and not busy)
        self.open.setText("Aligning …" if busy else "Prior…")
        self.name.setText(prior)
        for b in (self.measure, self.drop):
            b.setVisible(bool(prior))
        self.words.show_text("\n".join(lines))
        self.words.setVisible(bool(lines))
