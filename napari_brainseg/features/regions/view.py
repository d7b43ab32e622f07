"""The third section: the regions, how they are shown, and their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QLabel, QSlider, QVBoxLayout, QWidget

from brainseg_engine.core.palette import RGB
from napari_brainseg.qt.widgets import Elided, Section, Segmented, Swatch, button, label, plain, restyle
from napari_brainseg.session import ItemStats

_WIDTHS = {"opacity": 48, "ml": 54, "voxels": 78, "components": 34, "dice": 46}


@dataclass(frozen=True)
class ItemShown:
    """One row: ``item`` ("WT"), its name in words, and how it is shown."""

    item: str
    name: str
    colour: RGB
    visible: bool
    opacity: float
    stats: ItemStats
    limits: str = ""
    """Between which the true volume lies in nine of ten cases, like "36–47"; "" where that is not known."""


class RegionRow(QFrame):
    """One region. A click on its row (or Enter) asks to go there."""

    def __init__(self, view: RegionsView, shown: ItemShown) -> None:
        super().__init__()
        item = shown.item
        self.item = item
        self.setObjectName(f"region_{item}")
        self.setProperty("role", "row")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip(f"Click: show the largest axial slice of the {shown.name}")
        self.setAccessibleName(f"{shown.name}: show its largest slice")
        self.setMinimumHeight(28)
        row = QHBoxLayout(self)
        row.setContentsMargins(2, 1, 2, 1)
        row.setSpacing(4)
        self.visible = QCheckBox()
        self.visible.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.visible.setObjectName(f"region_{item}_visible")
        self.visible.setToolTip(f"Show the {shown.name}")
        self.visible.setAccessibleName(f"Show the {shown.name}")
        self.visible.setCursor(Qt.CursorShape.ArrowCursor)
        self.visible.toggled.connect(lambda on: view.item_changed.emit(item, {"visible": on}))
        self.colour = Swatch(f"region_{item}_colour", f"Colour of the {shown.name}")
        self.colour.chosen.connect(lambda c: view.item_changed.emit(item, {"colour": c}))
        self.opacity = QSlider(Qt.Orientation.Horizontal)
        self.opacity.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.opacity.setObjectName(f"region_{item}_opacity")
        self.opacity.setRange(0, 100)
        self.opacity.setFixedWidth(_WIDTHS["opacity"])
        self.opacity.setToolTip(f"Opacity of the {shown.name}")
        self.opacity.setAccessibleName(f"Opacity of the {shown.name}")
        self.opacity.setCursor(Qt.CursorShape.ArrowCursor)
        self.opacity.valueChanged.connect(lambda v: view.item_changed.emit(item, {"opacity": v / 100}))
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(label("unknown" if item == "TUMOUR" else item, role="strong"))
        name = Elided(f"region_{item}_name", "head")
        name.show_text(_short(shown.name))
        name.setToolTip("")
        words.addWidget(name)
        row.addWidget(self.visible)
        row.addWidget(self.colour)
        row.addLayout(words, 1)
        row.addWidget(self.opacity)
        self.numbers = {key: _number(f"region_{item}_{key}", _WIDTHS[key]) for key in ("ml", "components", "dice")}
        for number in self.numbers.values():
            row.addWidget(number)
        self._view = view

    def show_item(self, shown: ItemShown, dice: bool) -> None:
        """Bring the row in line. Says nothing."""
        blockers = [QSignalBlocker(self.visible), QSignalBlocker(self.opacity)]
        self.visible.setChecked(shown.visible)
        if not self.opacity.isSliderDown():
            self.opacity.setValue(round(shown.opacity * 100))
        for b in blockers:
            b.unblock()
        self.colour.show_colour(shown.colour)
        s = shown.stats
        self.show_size(s, shown.limits)
        self.numbers["components"].setText("–" if s.components is None else str(s.components))
        self.numbers["dice"].setText("–" if s.dice is None else f"{s.dice:.3f}")
        self.numbers["dice"].setVisible(dice)

    def show_size(self, stats: ItemStats, limits: str) -> None:
        """The volume, in brackets its ``limits`` ("" for none)."""
        self.numbers["ml"].setText(f"{_size(stats)}\n({limits})" if limits else _size(stats))

    def mouseReleaseEvent(self, event: Any) -> None:
        """A click: go there."""
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.pos()):
            self._view.jump_requested.emit(self.item)
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: Any) -> None:
        """Enter or space: go there."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._view.jump_requested.emit(self.item)
        else:
            super().keyPressEvent(event)


class RegionsView(Section):
    """Shows the regions and asks for changes of how they are shown."""

    item_changed = Signal(str, dict)
    scheme_chosen = Signal(object)
    outline_chosen = Signal(object)
    jump_requested = Signal(str)
    lesion_requested = Signal(int)

    def __init__(self, schemes: Mapping[str, tuple[str, str]]) -> None:
        """``schemes``: value → (text, tooltip)."""
        super().__init__("Regions", "regions")
        self.head.addWidget(label("Lesion", role="head"))
        for text, step, name, tip in (
            ("◂", -1, "lesion_before", "The lesion before (,)"),
            ("▸", 1, "lesion_next", "The next lesion, from the largest on (.)"),
        ):
            b = button(text, name, tip, partial(self.lesion_requested.emit, step))
            b.setProperty("role", "link")
            self.head.addWidget(b)
        switches = QHBoxLayout()
        switches.setSpacing(10)
        self.scheme = Segmented([(text, value, f"scheme_{value}", tip) for value, (text, tip) in schemes.items()])
        self.outline = Segmented(
            [
                ("Fill", False, "fill", "Show filled areas"),
                ("Outline", True, "outline", "Show outlines, leaving the image free (key U)"),
            ]
        )
        self.scheme.chosen.connect(self.scheme_chosen)
        self.outline.chosen.connect(self.outline_chosen)
        switches.addWidget(self.scheme, 3)
        switches.addWidget(self.outline, 2)
        self.body.addLayout(switches)
        self.empty = label("Segment the study, or open a mask, to see its regions here.", role="dim", wrap=True)
        self.body.addWidget(self.empty)
        self._rows_layout = QVBoxLayout()
        self._table = plain(self._rows_layout)
        self._rows_layout.setSpacing(1)
        self._head, self._dice_head = _header()
        self._rows_layout.addWidget(self._head)
        self.body.addWidget(self._table)
        self.expected = label(role="dim", name="expected_overlap", wrap=True)
        self.expected.hide()
        self.body.addWidget(self.expected)
        self.rows: dict[str, RegionRow] = {}
        self._order: tuple[str, ...] = ()
        self.show_items((), compared_with="")

    def show_items(self, items: Sequence[ItemShown], compared_with: str) -> None:
        """Show these rows; ``compared_with`` names the mask that Dice is against ("" for none)."""
        self.empty.setVisible(not items)
        self._table.setVisible(bool(items))
        order = tuple(f"{i.item} {i.name}" for i in items)
        if order != self._order:
            for row in self.rows.values():
                self._rows_layout.removeWidget(row)
                row.hide()
                row.deleteLater()
            self.rows = {shown.item: RegionRow(self, shown) for shown in items}
            for row in self.rows.values():
                self._rows_layout.addWidget(row)
            self._order = order
        for shown in items:
            self.rows[shown.item].show_item(shown, bool(compared_with))
        in_voxels = any(_in_voxels(shown.stats) for shown in items)
        size = self._head.findChild(QLabel, "head_ml")
        size.setText("Voxels" if in_voxels else "mL")
        brackets = "; in brackets, where the true volume lies in nine of ten cases"
        in_ml = f"Volume in millilitres{brackets if any(shown.limits for shown in items) else ''}"
        size.setToolTip("Number of voxels: their size is not known" if in_voxels else in_ml)
        for cell in (size, *(row.numbers["ml"] for row in self.rows.values())):
            cell.setFixedWidth(_WIDTHS["voxels" if in_voxels or any(shown.limits for shown in items) else "ml"])
        self._dice_head.setVisible(bool(compared_with))
        self._dice_head.setToolTip(f"Agreement (Dice) with {compared_with}")

    def show_sizes(self, sizes: Mapping[str, ItemStats], limits: Mapping[str, str]) -> None:
        """Show new sizes in the rows that are there, with the ``limits`` of those that have any."""
        for item, stats in sizes.items():
            if item in self.rows:
                self.rows[item].show_size(stats, limits.get(item, ""))

    def show_expected(self, text: str, tip: str = "", low: bool = False) -> None:
        """Show below the rows which overlap is to be expected ("": nothing); a ``low`` one stands out."""
        self.expected.setText(text)
        self.expected.setToolTip(tip)
        self.expected.setVisible(bool(text))
        role = "warning" if low else "dim"
        if self.expected.property("role") != role:
            restyle(self.expected, role=role)

    def show_switches(self, scheme: str, outline: bool) -> None:
        """Show which scheme is in use, and whether outlines are shown."""
        self.scheme.show_value(scheme)
        self.outline.show_value(outline)


def _header() -> tuple[QWidget, QLabel]:
    row = QHBoxLayout()
    head = plain(row)
    row.setContentsMargins(2, 0, 2, 0)
    row.setSpacing(4)
    row.addWidget(label("Show", role="head"))
    row.addStretch(1)
    opacity = label("Opacity", role="head")
    opacity.setFixedWidth(_WIDTHS["opacity"])
    row.addWidget(opacity)
    heads = {}
    for key, text, tip in (
        ("ml", "mL", "Volume in millilitres"),
        ("components", "Parts", "Separate parts (26-connected)"),
        ("dice", "Dice", ""),
    ):
        heads[key] = label(text, role="head", name=f"head_{key}")
        heads[key].setFixedWidth(_WIDTHS[key])
        heads[key].setAlignment(Qt.AlignmentFlag.AlignRight)
        heads[key].setToolTip(tip)
        row.addWidget(heads[key])
    return head, heads["dice"]


def _in_voxels(stats: ItemStats) -> bool:
    return stats.ml is None and stats.voxels is not None


def _size(stats: ItemStats) -> str:
    if _in_voxels(stats):
        return f"{stats.voxels:,}"
    return "–" if stats.ml is None else f"{stats.ml:.2f}" if stats.ml < 100 else f"{stats.ml:.1f}"


def _number(name: str, width: int) -> QLabel:
    made = label("–", role="number", name=name)
    made.setFixedWidth(width)
    made.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
    made.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    return made


def _short(name: str) -> str:
    """The name in a word or two: "necrotic", "whole tumour", "enhancing"."""
    return name.split(" /")[0].split(",")[0].removesuffix(" tumour") if not name.startswith("whole") else name
