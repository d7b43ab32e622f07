"""The section of an earlier study beside the open one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout

from napari_brainseg.features.follow_up.growth import GrowthView
from napari_brainseg.qt.widgets import Elided, Section, Words, button

if TYPE_CHECKING:
    from brainseg_engine.report.growth import Chart


class FollowUpView(Section):
    """Shows what changed since an earlier study, and asks for one."""

    prior_requested = Signal()
    measure_requested = Signal()
    drop_requested = Signal()

    def __init__(self) -> None:
        super().__init__("Follow-up", "follow_up")
        self.name = Elided("follow_up_prior", "dim")
        self.open = button("Prior…", "follow_up_open", "Open an earlier study of this patient: aligned, beside this one, both "
                           "scroll together", self.prior_requested.emit)  # fmt: skip
        self.measure = button("Measure again", "follow_up_measure", "The numbers of the labels as they are now",
                              self.measure_requested.emit)  # fmt: skip
        self.drop = button("Close", "follow_up_close", "One study fills the canvas again", self.drop_requested.emit)
        self.head.addWidget(self.open)
        row = QHBoxLayout()
        row.setSpacing(6)
        for widget, stretch in ((self.name, 1), (self.measure, 0), (self.drop, 0)):
            row.addWidget(widget, stretch)
        self.body.addLayout(row)
        self.words = Words("follow_up_words")
        self.body.addWidget(self.words)
        self.growth = GrowthView()
        self.body.addWidget(self.growth)
        self.show_state(False, False, "", ())

    def show_state(
        self, possible: bool, busy: bool, prior: str, lines: Sequence[str], charts: Sequence[Chart] = ()
    ) -> None:
        """``possible``: a study is open; ``busy``: one is being aligned; ``prior``: the name of the one that is shown;
        ``charts``: how the tumour grew over the days that are known."""
        self.open.setEnabled(possible and not busy)
        self.open.setText("Aligning …" if busy else "Prior…")
        self.name.show_text(f"Prior: {prior}" if prior else "")
        self.name.setVisible(bool(prior))
        for b in (self.measure, self.drop):
            b.setVisible(bool(prior))
        self.words.show_text("\n".join(lines))
        self.words.setVisible(bool(lines))
        self.growth.show_charts(charts)
