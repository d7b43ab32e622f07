"""The panel as a whole: sections that read top to bottom as the work goes, a message area, a footer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from qtpy.QtCore import QPoint, QSize, Qt, QTimer, Signal
from qtpy.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from napari_brainseg.features.corrections.view import CorrectionsView
from napari_brainseg.features.finetune.view import FinetuneView
from napari_brainseg.features.paint.view import CorrectView
from napari_brainseg.features.queue.view import QueueView
from napari_brainseg.features.regions.view import RegionsView
from napari_brainseg.features.save.view import SaveView
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.features.study.view import StudyView
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.qt import style
from napari_brainseg.qt.widgets import Words, label, restyle

FOOTER = "For research use only. Not a medical device."


class PanelView(QWidget):
    """Holds the sections. ``closing`` is told when the widget is destroyed or its window closes."""

    def __init__(
        self,
        study: StudyView,
        segment: SegmentView,
        regions: RegionsView,
        correct: CorrectView,
        view: ViewView,
        save: SaveView,
        corrections: CorrectionsView,
        queue: QueueView,
        finetune: FinetuneView,
    ) -> None:
        super().__init__()
        self.setObjectName("brainseg_panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.study, self.segment, self.regions, self.view, self.save = study, segment, regions, view, save
        self.correct, self.corrections, self.queue, self.finetune = correct, corrections, queue, finetune
        body = QWidget()
        body.setObjectName("panel_body")
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 4, 0)
        column.setSpacing(6)
        for section in (study, segment, regions, correct, corrections, view, save, queue, finetune):
            column.addWidget(section)
        column.addStretch(1)
        self.scroll = QScrollArea()
        self.scroll.setObjectName("panel_scroll")
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setFrameShape(QFrame.Shape.NoFrame)
        self.scroll.setWidget(body)
        for section in (correct, finetune):
            section.fold.toggled.connect(partial(self._unfolded, section))
        finetune.arrived.connect(partial(self._unfolded, finetune.result, True))
        self._wanted: QWidget = correct
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
        self.app: object = None

    def sizeHint(self) -> QSize:
        """Wide enough for the table of regions."""
        return QSize(400, 900)

    def _unfolded(self, section: QWidget, open_: bool) -> None:
        """Scroll to what is in it once it has its place."""
        if open_:
            self._wanted = section
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

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("message_area")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 7, 6, 7)
        self.text = Words("message")
        self.text.setAccessibleName("Message")
        row.addWidget(self.text, 1, Qt.AlignmentFlag.AlignVCenter)
        close = QToolButton()
        close.setObjectName("message_close")
        close.setText("✕")
        close.setToolTip("Take the message away")
        close.setFixedSize(24, 24)
        close.clicked.connect(self.dismissed)
        row.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self.show_message("", "info")

    def show_message(self, text: str, kind: str) -> None:
        """Say that; "" for nothing."""
        self.text.show_text(text)
        self.setVisible(bool(text))
        restyle(self, kind=kind)
