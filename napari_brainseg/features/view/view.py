"""The fourth section: planes, series and their values at the cursor, window presets, keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QHBoxLayout, QWidget

from brainseg_engine.core.study import Modality
from napari_brainseg.qt.widgets import Section, Segmented, button, label, plain


class ViewView(Section):
    """Shows what is looked at and asks for another plane, series or window."""

    plane_chosen = Signal(object)
    modality_chosen = Signal(object)
    window_chosen = Signal(object)

    def __init__(
        self, planes: Sequence[tuple[str, str, str]], windows: Sequence[str], keys: Sequence[tuple[str, str]]
    ) -> None:
        """``planes``: (text, value, key) each; ``keys``: (key, what it does) each."""
        super().__init__("View", "view")
        self.plane = Segmented([(text, value, f"plane_{value}", f"{text} (key {key})") for text, value, key in planes])
        self.plane.chosen.connect(self.plane_chosen)
        self.body.addWidget(self.plane)
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
        self.keys = _listed(keys)
        self.keys.setVisible(False)
        self.keys_toggle = button("Keys and mouse", "keys_toggle", "Show or hide what keys and mouse do")
        self.keys_toggle.setProperty("role", "link")
        self.keys_toggle.setCheckable(True)
        self.keys_toggle.toggled.connect(self.keys.setVisible)
        self.head.addWidget(self.keys_toggle)
        self.body.addWidget(self.keys)

    def show_values(self, values: Mapping[Modality, float]) -> None:
        """The intensities at the cursor; "–" for a series without one there."""
        for m, value in self.values.items():
            value.setText(_short(values[m]) if m in values else "–")

    def show_modalities(self, present: Sequence[Modality], shown: Modality | None) -> None:
        """Which series there are, and which is shown."""
        for m, b in self.modality.buttons.items():
            b.setEnabled(m in present)
        self.modality.show_value(shown)


def _listed(keys: Sequence[tuple[str, str]]) -> QWidget:
    grid = QGridLayout()
    grid.setHorizontalSpacing(10)
    grid.setVerticalSpacing(2)
    grid.setColumnStretch(1, 1)
    for i, (key, what) in enumerate(keys):
        grid.addWidget(label(key.replace("-", "+"), role="number"), i, 0, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(label(what, role="dim", wrap=True), i, 1)
    return plain(grid)


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
