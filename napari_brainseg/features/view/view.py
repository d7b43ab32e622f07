"""The fourth section: planes, series and their values at the cursor, window presets, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QDialog, QGridLayout, QHBoxLayout, QVBoxLayout, QWidget

from brainseg_engine.core.study import Modality
from napari_brainseg.qt.widgets import Section, Segmented, button, label, plain


class ViewView(Section):
    """Shows what is looked at and asks for another plane, series or window."""

    plane_chosen = Signal(object)
    modality_chosen = Signal(object)
    window_chosen = Signal(object)
    fit_requested = Signal()
    controls_chosen = Signal(bool)
    picture_requested = Signal()
    keys_wanted = Signal()
    """The sheet of keys is about to be shown."""

    def __init__(
        self, planes: Sequence[tuple[str, str, str]], windows: Sequence[str], keys: Sequence[tuple[str, str]]
    ) -> None:
        """``planes``: (text, value, key) each; ``keys``: (key, what it does) each."""
        super().__init__("View", "view")
        self.plane = Segmented([(text, value, f"plane_{value}", f"{text} (key {key})") for text, value, key in planes])
        self.plane.chosen.connect(self.plane_chosen)
        self.first = QHBoxLayout()
        self.first.setSpacing(6)
        self.first.addWidget(self.plane, 1)
        self.body.addLayout(self.first)
        self.rows = QVBoxLayout()
        self.body.addLayout(self.rows)
        self.modality = Segmented(
            [
                (m.title, m, f"show_{m.value}", f"Show {m.title} (keys N, Shift+N: the next, the previous)")
                for m in Modality
            ]
        )
        self.modality.chosen.connect(self.modality_chosen)
        series = QGridLayout()
        series.setSpacing(2)
        series.addWidget(self.modality, 0, 0, 1, len(Modality))
        self.values = {}
        for i, m in enumerate(Modality):
            value = label("–", role="number", name=f"value_{m.value}")
            value.setAlignment(Qt.AlignmentFlag.AlignCenter)
            value.setToolTip(f"{m.title} at the cursor")
            series.addWidget(value, 1, i)
            series.setColumnStretch(i, 1)
            self.values[m] = value
        self.body.addLayout(series)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(label("Window"))
        self.window_preset = Segmented(
            [(w, w, f"window_{w.lower()}", f"Window preset {w} (key W: the next)") for w in windows]
        )
        self.window_preset.chosen.connect(self.window_chosen)
        row.addWidget(self.window_preset, 1)
        self.body.addLayout(row)
        self.keys = KeySheet(self)
        self.show_keys(keys)
        self._make_head()

    def _make_head(self) -> None:
        fit = button("Fit", "fit", "The head fills the canvas (Home)", self.fit_requested.emit)
        self.controls = button(
            "napari's controls", "napari_controls", "Show or hide napari's own layer controls, which repeat the panel's"
        )
        self.controls.setCheckable(True)
        self.controls.clicked.connect(lambda on: self.controls_chosen.emit(bool(on)))
        picture = button("Picture…", "picture", "What is seen, as PNG: with the letters, the texts and the legend",
                         self.picture_requested.emit)  # fmt: skip
        keys = button("Keys", "keys_toggle", "What keys and mouse do (F1)", self.toggle_keys)
        for b in (fit, picture, self.controls, keys):
            b.setProperty("role", "link")
            self.head.addWidget(b)

    def show_controls(self, on: bool) -> None:
        """Whether napari's layer controls are shown."""
        self.controls.setChecked(on)

    def show_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        """List these: (key, what it does) each."""
        self.keys.show_keys(keys)

    def toggle_keys(self) -> None:
        """Open the sheet of keys where one sees it, over the window; or close it."""
        if self.keys.isVisible():
            self.keys.close()
            return
        self.keys_wanted.emit()
        self.keys.open_over(self.window())

    def show_values(self, values: Mapping[Modality, float]) -> None:
        """The intensities at the cursor; "–" for a series without one there."""
        for m, value in self.values.items():
            value.setText(_short(values[m]) if m in values else "–")

    def show_modalities(self, present: Sequence[Modality], shown: Modality | None) -> None:
        """Which series there are, and which is shown."""
        for m, b in self.modality.buttons.items():
            b.setEnabled(m in present)
        self.modality.show_value(shown)


class KeySheet(QDialog):
    """What keys and mouse do, on one sheet beside the work."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.setObjectName("key_sheet")
        self.setWindowTitle("Keys and mouse")
        self._column = QVBoxLayout(self)
        self._sheet = QWidget()
        self._column.addWidget(self._sheet)
        note = label("Other keys are chosen in napari: File, Preferences, napari-brainseg.", role="dim")
        self._column.addWidget(note)

    def show_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        """List these, in two columns."""
        grid = QGridLayout()
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(3)
        half = (len(keys) + 1) // 2
        for i, (key, what) in enumerate(keys):
            row, column = i % half if half else 0, 2 * (i // half) if half else 0
            grid.addWidget(label(key if key == "-" else key.replace("-", "+"), role="number"), row, column)
            grid.addWidget(label(what, role="dim"), row, column + 1)
        made = plain(grid)
        self._column.replaceWidget(self._sheet, made)
        self._sheet.deleteLater()
        self._sheet = made

    def open_over(self, window: QWidget) -> None:
        """Show the sheet over the middle of the window; keys go on to the canvas."""
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.adjustSize()
        middle = window.mapToGlobal(window.rect().center())
        self.move(middle.x() - self.width() // 2, middle.y() - self.height() // 2)
        self.show()
        self.raise_()


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
