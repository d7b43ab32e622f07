"""The panel as a whole: sections that read top to bottom as the work goes, a message area, a footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from napari_brainseg.qt import style
from napari_brainseg.qt.widgets import Segmented, Words, button, label, plain, restyle

FOOTER = "For research use only. Not a medical device."


class PanelView(QWidget):
    """What is always in sight, then tabs of sections that are scrolled, then a footer that stays. ``owner`` lives as long as the
    panel."""

    def __init__(
        self,
        tabs: Mapping[str, Sequence[QWidget]],
        always: Sequence[QWidget] = (),
        footer: Sequence[QWidget] = (),
    ) -> None:
        """``tabs``: title → its sections, top to bottom."""
        super().__init__()
        self.setObjectName("brainseg_panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(6, 4, 2, 4)
        outer.setSpacing(4)
        for section in always:
            outer.addWidget(section)
        self.tab = Segmented(
            [(title, title, f"tab_{title.lower()}", f"Show the tools to {title.lower()}") for title in tabs]
        )
        self.tab.chosen.connect(self.show_tab)
        self.tab.setVisible(len(tabs) > 1)
        outer.addWidget(self.tab)
        self._pages: dict[str, QWidget] = {}
        body = QWidget()
        body.setObjectName("panel_body")
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(0)
        for title, sections in tabs.items():
            page = QVBoxLayout()
            self._pages[title] = plain(page)
            page.setSpacing(6)
            for section in sections:
                page.addWidget(section)
            page.addStretch(1)
            column.addWidget(self._pages[title])
        column.addStretch(1)
        self.scroll = _Scroll(self)
        self.scroll.setWidget(body)
        self._wanted: QWidget = body
        self.message = MessageArea()
        outer.addWidget(self.scroll, 1)
        for section in footer:
            outer.addWidget(section)
        outer.addWidget(self.message)
        note = label(FOOTER, name="footer")
        note.setAlignment(Qt.AlignmentFlag.AlignCenter)
        outer.addWidget(note)
        self.setMinimumWidth(370)
        self.owner: object = None
        self.show_tab(next(iter(tabs)))

    def show_tab(self, title: str) -> None:
        """Show the sections of that tab."""
        self.tab.show_value(title)
        for name, page in self._pages.items():
            page.setVisible(name == title)

    def bring(self, widget: QWidget) -> None:
        """Show the tab that holds the widget, if one does."""
        for title, page in self._pages.items():
            if page.isAncestorOf(widget) and not page.isVisibleTo(self):
                self.show_tab(title)

    def shows(self, widget: QWidget) -> bool:
        """Whether the tab that holds the widget is the one that is shown."""
        return any(page.isAncestorOf(widget) and page.isVisibleTo(self) for page in self._pages.values())

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


class _Scroll(QScrollArea):
    """Scrolls the sections of the tab that is shown."""

    def __init__(self, panel: PanelView) -> None:
        super().__init__()
        self._panel = panel
        self.setObjectName("panel_scroll")
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFrameShape(QFrame.Shape.NoFrame)

    def ensureWidgetVisible(self, widget: QWidget, xmargin: int = 50, ymargin: int = 50) -> None:
        """Scroll to the widget, in its tab; one that is always in sight needs no scrolling."""
        self._panel.bring(widget)
        if self.widget().isAncestorOf(widget):
            super().ensureWidgetVisible(widget, xmargin, ymargin)


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
