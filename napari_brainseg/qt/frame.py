"""The panel as a whole: sections that read top to bottom as the work goes, a message area, a footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from napari_brainseg.qt import style
from napari_brainseg.qt.widgets import Words, button, label, restyle

FOOTER = "For research use only. Not a medical device."


class PanelView(QWidget):
    """Holds the sections, top to bottom. ``owner`` lives as long as the panel."""

    def __init__(self, sections: Sequence[QWidget]) -> None:
        super().__init__()
        self.setObjectName("brainseg_panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        body = QWidget()
        body.setObjectName("panel_body")
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(6)
        for section in sections:
            column.addWidget(section)
        column.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setObjectName("panel_scroll")
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(body)
        self._wanted: QWidget = body
        self.message = MessageArea()
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 6, 2, 6)
        outer.setSpacing(6)
        outer.addWidget(self.scroll, 1)
        outer.addWidget(self.message)
        footer = label(FOOTER, name="footer")
        footer.setAlignment(Qt.AlignmentFlag.AlignCenter)
        outer.addWidget(footer)
        self.setMinimumWidth(370)
        self.owner: object = None

    def sizeHint(self) -> QSize:
        """Wide enough for the table of regions."""
        return QSize(400, 900)

    def scroll_to(self, widget: QWidget, wanted: bool = True) -> None:
        """Scroll to it once it has its place, where that is ``wanted``."""
        if wanted:
            self._wanted = widget
            QTimer.singleShot(50, self._scroll_to_wanted)

    def _scroll_to_wanted(self) -> None:
        """Its end too where there is room for it, but its beginning above all."""
        self.scroll.ensureWidgetVisible(self._wanted, 0, 0)
        bar = self.scroll.verticalScrollBar()
        bar.setValue(min(bar.value(), self._wanted.mapTo(self.scroll.widget(), QPoint()).y()))

    def show_theme(self, theme: Mapping[str, str]) -> None:
        """Take over the colours of a napari theme."""
        self.setStyleSheet(style.sheet(theme))


class MessageArea(QFrame):
    """The last thing the program has to say; hidden when there is none."""

    dismissed = Signal()
    offer_taken = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("message_area")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 7, 6, 7)
        self.text = Words("message")
        self.text.setAccessibleName("Message")
        row.addWidget(self.text, 1, Qt.AlignmentFlag.AlignVCenter)
        self.offer = button("", "message_offer", "", self.offer_taken.emit)
        row.addWidget(self.offer)
        close = QToolButton()
        close.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        close.setObjectName("message_close")
        close.setText("✕")
        close.setToolTip("Take the message away")
        close.setFixedSize(24, 24)
        close.clicked.connect(self.dismissed)
        row.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.show_message("", "info")

    def show_message(self, text: str, kind: str, offer: str = "") -> None:
        """Say that; "" for nothing. ``offer``: what the button beside it says."""
        self.text.show_text(text)
        self.offer.setText(offer)
        self.offer.setVisible(bool(offer))
        self.setVisible(bool(text))
        restyle(self, kind=kind)
