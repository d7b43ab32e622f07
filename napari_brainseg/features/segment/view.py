"""The second section: model, device, one big button, and how far the work is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton

from napari_brainseg.qt.widgets import Combo, Section, Words, button, label, plain, restyle


class SegmentView(Section):
    """Shows model, device and progress; asks to segment and to cancel."""

    segment_requested = Signal()
    cancel_requested = Signal()
    model_chosen = Signal(str)
    device_chosen = Signal(str)
    answer_chosen = Signal(str)

    def __init__(self, devices: Mapping[str, str]) -> None:
        super().__init__("Segment", "segment")
        row = QHBoxLayout()
        row.setSpacing(8)
        self.model = Combo("model", "The model to segment with")
        self.device = Combo("device", "Where to compute")
        self.show_devices(devices, "auto")
        self.model.activated.connect(lambda i: self.model_chosen.emit(self.model.itemData(i)))
        self.device.activated.connect(lambda i: self.device_chosen.emit(self.device.itemData(i)))
        row.addWidget(label("Model"))
        row.addWidget(self.model, 3)
        row.addWidget(label("on"))
        row.addWidget(self.device, 2)
        self.body.addLayout(row)
        self.start = button("Segment", "segment", "Segment the open study", self.segment_requested.emit)
        self.start.setProperty("role", "primary")
        self.body.addWidget(self.start)
        row = QHBoxLayout()
        self._running = plain(row)
        self.bar = QProgressBar()
        self.bar.setObjectName("progress")
        self.bar.setRange(0, 1000)
        self.cancel = button("Cancel", "cancel", "Stop now; nothing is changed", self.cancel_requested.emit)
        row.addWidget(self.bar, 1)
        self.cancel.setMinimumHeight(36)
        row.addWidget(self.cancel)
        self.body.addWidget(self._running)
        self.why = Words("segment_why", "dim")
        self.body.addWidget(self.why)
        self.terms = Words("model_terms", "dim")
        self.body.addWidget(self.terms)
        self._answers = QHBoxLayout()
        self._strip = plain(self._answers)
        self._strip.setObjectName("answers")
        self.body.addWidget(self._strip)
        self.agreement = Words("agreement", "dim")
        self.body.addWidget(self.agreement)
        self.answers: dict[str, QPushButton] = {}
        self.show_answers((), "", ())
        self.show_progress(None)
        self.show_blocker("Open a study first.", 0)

    def show_models(self, models: Sequence[tuple[str, str, str]], current: str) -> None:
        """(text, name, tooltip) each."""
        self.model.show_choices(models or [("no model is installed", "", "")], current)
        tip = next((t for _, name, t in models if name == current), "")
        self.model.setToolTip(tip or "The model to segment with")

    def show_terms(self, terms: str) -> None:
        """What the chosen model's licence limits; "" for nothing."""
        self.terms.show_text(terms)
        self.terms.setVisible(bool(terms))

    def show_answers(self, names: Sequence[str], current: str, agreement: Sequence[str]) -> None:
        """A button for each answer of the study, and how far the others agree with the one shown; nothing for a single one."""
        several = len(names) > 1
        self._strip.setVisible(several)
        self.agreement.setVisible(several and bool(agreement))
        if list(names) != list(self.answers):  # buttons stay where they are while the same models have answered
            self._rebuild(names if several else ())
        for name, one in self.answers.items():
            one.setChecked(name == current)
        told = "\n".join(agreement)
        self.agreement.show_text(f"Dice of {current or 'the one shown'} with\n{told}" if agreement else "")

    def _rebuild(self, names: Sequence[str]) -> None:
        while (item := self._answers.takeAt(0)) is not None:
            if (old := item.widget()) is not None:
                old.hide()
                old.setParent(None)  # it goes a moment later, and is not found or pressed until then
                old.deleteLater()
        self.answers = {}
        for name in names:
            tip = f"Put the answer of {name} into the labels"
            one = button(name, f"answer_{name}", tip, partial(self.answer_chosen.emit, name))
            one.setCheckable(True)
            self._answers.addWidget(one, 1)
            self.answers[name] = one

    def show_devices(self, devices: Mapping[str, str], current: str) -> None:
        """Value → text of each; the one that is chosen."""
        self.device.show_choices([(text, value, "") for value, text in devices.items()], current)

    def show_blocker(self, why: str, findings: int) -> None:
        """Why the button cannot be pressed ("" when it can), and how many findings one would press it in spite of."""
        self._possible = not why
        self.why.show_text(why)
        self.why.setVisible(bool(why))
        self.start.setText("Segment anyway" if findings and not why else "Segment")
        tip = (
            f"In spite of the {findings} warning{'s' if findings != 1 else ''} above"
            if findings
            else "Segment the open study"
        )
        self.start.setToolTip(why or tip)
        restyle(self.start, caution="true" if findings else "false")
        self._enable()

    def show_progress(self, progress: tuple[str, float] | None) -> None:
        """(stage in words, fraction); None when nothing runs."""
        self._busy = progress is not None
        self._running.setVisible(self._busy)
        self.start.setVisible(not self._busy)  # the progress takes its place: nothing below it moves
        if progress is not None:
            stage, fraction = progress
            self.bar.setValue(round(1000 * fraction))
            self.bar.setFormat(f"{stage} — %p %")
            self.bar.setAccessibleDescription(stage)
        self._enable()

    def _enable(self) -> None:
        self.start.setEnabled(getattr(self, "_possible", False) and not self._busy)
