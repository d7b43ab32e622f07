"""Small parts that the sections are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QImage, QPainter, QPixmap, QTextOption
from qtpy.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLayout,
    QMenu,
    QPushButton,
    QSizePolicy,
    QTextEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from brainseg_engine.core.palette import BLUISH_GREEN, REDDISH_PURPLE, RGB, SKY_BLUE, VERMILLION, YELLOW

SWATCHES: Mapping[str, RGB] = {
    "sky blue": SKY_BLUE,
    "yellow": YELLOW,
    "vermillion": VERMILLION,
    "reddish purple": REDDISH_PURPLE,
    "bluish green": BLUISH_GREEN,
    "orange": (0.902, 0.624, 0.0),
    "blue": (0.0, 0.447, 0.698),
    "white": (1.0, 1.0, 1.0),
}
"""Colours to choose from: the Okabe–Ito set, which colour-blind readers tell apart, and white."""


class Section(QFrame):
    """A titled block; ``body`` is where its widgets go, ``head`` the row of the title."""

    def __init__(self, title: str, name: str) -> None:
        super().__init__()
        self.setObjectName(f"section_{name}")
        self.setProperty("section", "true")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(11, 7, 11, 9)
        outer.setSpacing(5)
        self.head = QHBoxLayout()
        self.head.setSpacing(6)
        self.head.addWidget(label(title, role="title"))
        self.head.addStretch(1)
        outer.addLayout(self.head)
        self.body = QVBoxLayout()
        self.body.setSpacing(6)
        outer.addLayout(self.body)


class FeatureRow(QWidget):
    """A row of one feature in the section of another, laid out without margins. ``wanted``: it is to be seen though that
    section is folded."""

    def __init__(self, layout: QLayout) -> None:
        super().__init__()
        self.setProperty("role", "plain")
        self.setLayout(layout)
        layout.setContentsMargins(0, 0, 0, 0)

    @property
    def wanted(self) -> bool:
        """False, unless a row says otherwise."""
        return False


class Number(QDoubleSpinBox):
    """A number that does not change when the panel is scrolled over it."""

    def __init__(self, name: str, value: float, low: float, high: float, step: float, unit: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setDecimals(0 if step >= 1 else 2 if step < 0.1 else 1)
        self.setRange(low, high)
        self.setSingleStep(step)
        self.setValue(value)
        self.setSuffix(f" {unit}")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setButtonSymbols(QDoubleSpinBox.ButtonSymbols.NoButtons)  # the arrow keys step; there is no room for more
        self.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.setAccessibleName(name.replace("_", " "))
        self.lineEdit().returnPressed.connect(self.clearFocus)

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the scroll area."""
        event.ignore()


class Combo(QComboBox):
    """A combo box that does not change when the panel is scrolled over it, and takes no more width than there is."""

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(6)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the scroll area."""
        event.ignore()

    def show_choices(self, choices: Iterable[tuple[str, Any, str]], current: Any) -> None:
        """(text, value, tooltip) each; the one whose value is ``current`` is chosen. Says nothing."""
        blocker = QSignalBlocker(self)
        self.clear()
        for text, value, tip in choices:
            self.addItem(text, value)
            self.setItemData(self.count() - 1, tip or text, Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(self.findData(current))
        blocker.unblock()


class Segmented(QWidget):
    """Buttons side by side of which one is pressed; ``chosen`` tells its value when a person presses another."""

    chosen = Signal(object)

    def __init__(self, choices: Iterable[tuple[str, Any, str, str]]) -> None:
        """(text, value, object name, tooltip) each."""
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(2)
        self._group = QButtonGroup(self)
        self._group.setExclusive(True)
        self.buttons: dict[Any, QPushButton] = {}
        for text, value, name, tip in choices:
            b = button(text, name, tip)
            b.setCheckable(True)
            b.clicked.connect(lambda _=False, value=value: self.chosen.emit(value))
            self._group.addButton(b)
            row.addWidget(b, 1)
            self.buttons[value] = b

    def share_by_text(self) -> None:
        """Longer words get more of the room."""
        row = self.layout()
        if isinstance(row, QHBoxLayout):
            for i, b in enumerate(self.buttons.values()):
                row.setStretch(i, b.sizeHint().width())

    def show_value(self, value: Any) -> None:
        """Press that button (none for a value without one). Says nothing."""
        self._group.setExclusive(False)
        for v, b in self.buttons.items():
            b.setChecked(v == value)
        self._group.setExclusive(value in self.buttons)


class Swatch(QToolButton):
    """A colour, and a menu to choose another from."""

    chosen = Signal(tuple)

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setToolTip(tip)
        self.setAccessibleName(tip)
        self.setFixedSize(24, 26)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.colour: RGB = (0.5, 0.5, 0.5)
        self.clicked.connect(self._ask)

    def show_colour(self, colour: RGB) -> None:
        """Show that colour."""
        self.colour = colour
        self.setIcon(colour_icon(colour))

    def _ask(self) -> None:
        menu = QMenu(self)
        menu.setObjectName(f"{self.objectName()}_menu")
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        for name, colour in SWATCHES.items():
            action = menu.addAction(colour_icon(colour), name)
            action.triggered.connect(lambda _=False, colour=colour: self.chosen.emit(colour))
        menu.popup(self.mapToGlobal(self.rect().bottomLeft()))


class Elided(QLabel):
    """A label that shortens its text to the room there is; the whole of it is the tooltip."""

    def __init__(self, name: str, role: str = "", mode: Qt.TextElideMode = Qt.TextElideMode.ElideMiddle) -> None:
        super().__init__()
        self.setObjectName(name)
        self._mode = mode
        if role:
            self.setProperty("role", role)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self._whole = ""

    def show_text(self, text: str) -> None:
        """Show that text."""
        self._whole = text
        self.setToolTip(text)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        """Shorten anew."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        self.setText(self.fontMetrics().elidedText(self._whole, self._mode, max(self.width(), 20)))


class Words(QTextEdit):
    """Text as tall as it needs to be that also breaks within long words (file names have no spaces), to read and to copy."""

    def __init__(self, name: str, role: str = "") -> None:
        super().__init__()
        self.setObjectName(name)
        self.setProperty("role", role or "words")
        self.setReadOnly(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # selected and copied by the mouse; keys stay the canvas's
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.setMinimumWidth(60)
        self.document().setDocumentMargin(1)
        self.viewport().setAutoFillBackground(False)

    def text(self) -> str:
        """What it says."""
        return str(self.toPlainText())

    def show_text(self, text: str) -> None:
        """Say that."""
        self.setPlainText(text)
        self._fit()

    def resizeEvent(self, event: Any) -> None:
        """As tall as the text is at this width."""
        super().resizeEvent(event)
        self._fit()

    def changeEvent(self, event: Any) -> None:
        """A style sheet may bring another font."""
        super().changeEvent(event)
        self._fit()

    def wheelEvent(self, event: Any) -> None:
        """Leave the wheel to the scroll area."""
        event.ignore()

    def _fit(self) -> None:
        document = self.document()
        document.setTextWidth(max(self.viewport().width(), 1))
        self.setFixedHeight(ceil(document.size().height()) + 2)


def plain(layout: QLayout) -> QWidget:
    """A widget that is there for its layout alone."""
    made = QWidget()
    made.setProperty("role", "plain")
    made.setLayout(layout)
    layout.setContentsMargins(0, 0, 0, 0)
    return made


def label(text: str = "", *, role: str = "", name: str = "", wrap: bool = False) -> QLabel:
    """A label; ``role`` is one of the style sheet's."""
    made = QLabel(text)
    made.setObjectName(name)
    if role:
        made.setProperty("role", role)
    made.setWordWrap(wrap)
    return made


def button(text: str, name: str, tip: str, pressed: Callable[[], object] | None = None) -> QPushButton:
    """A push button that can be reached by the keyboard, and does not keep it after a click: Space is the canvas's."""
    made = QPushButton(text)
    made.setObjectName(name)
    made.setToolTip(tip)
    made.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    if pressed is not None:
        made.clicked.connect(lambda _=False: pressed())
    return made


def colour_icon(colour: RGB) -> QIcon:
    """A rounded square of that colour."""
    pixmap = QPixmap(32, 32)
    pixmap.fill(QColor(0, 0, 0, 0))
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setBrush(QColor.fromRgbF(*colour))
    painter.setPen(QColor(20, 20, 20, 160))
    painter.drawRoundedRect(3, 3, 26, 26, 6, 6)
    painter.end()
    return QIcon(pixmap)


def grey_icon(picture: NDArray[np.uint8]) -> QIcon:
    """A grey picture (rows, columns)."""
    rows, columns = picture.shape
    held = np.ascontiguousarray(picture)
    image = QImage(held.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
    return QIcon(QPixmap.fromImage(image))


def restyle(widget: QWidget, **properties: str) -> None:
    """Set properties that the style sheet looks at, and have it look again."""
    for name, value in properties.items():
        widget.setProperty(name, value)
    widget.style().unpolish(widget)
    widget.style().polish(widget)
