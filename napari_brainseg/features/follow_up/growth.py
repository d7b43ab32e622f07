"""The growth curves of a report, in the panel: volumes, and the sum of products, over all days that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import REGION_COLOURS

if TYPE_CHECKING:
    from brainseg_engine.report.growth import Chart, Curve

_BACKGROUND, _FRAME, _WORDS = QColor("#15171b"), QColor("#3a3f47"), QColor("#c3c8cf")
"""Dark in every theme, as the images are: the regions' colours were chosen for that."""
_WIDTH, _GAP = 340, 4
_POINTS = 7.5


class GrowthView(QWidget):
    """The charts below each other, as wide as there is room; nothing is seen while there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("follow_up_growth")
        self.setAccessibleName("Growth curves")
        policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.charts: Sequence[Chart] = ()
        self.hide()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(_WIDTH, self.heightForWidth(self.width() or _WIDTH))

    def heightForWidth(self, width: int) -> int:
        """The charts keep their shape."""
        return round(sum(width * c.height / c.width + _GAP for c in self.charts))

    def show_charts(self, charts: Sequence[Chart]) -> None:
        """Draw these."""
        self.charts = charts
        self.setAccessibleDescription("; ".join(_in_words(c) for c in charts))
        self.setVisible(bool(charts))
        self.updateGeometry()
        self.update()

    def resizeEvent(self, event: Any) -> None:
        """As high as the new width asks for."""
        self.setFixedHeight(max(self.heightForWidth(self.width()), 1))

    def paintEvent(self, event: Any) -> None:
        """Draw the charts."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        font = painter.font()
        font.setPointSizeF(_POINTS)
        painter.setFont(font)
        top = 0.0
        for chart in self.charts:
            scale = self.width() / chart.width
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(_BACKGROUND)
            painter.drawRoundedRect(QRectF(0, top, self.width(), chart.height * scale), 4, 4)
            painter.save()
            painter.translate(0, top)
            _draw(painter, chart, scale)
            painter.restore()
            top += chart.height * scale + _GAP
        painter.end()


def _in_words(chart: Chart) -> str:
    days = [day for _, day in chart.days if day]
    return f"{chart.title}: {', '.join(line.name for line in chart.lines)}, {days[0]} to {days[-1]}"


def _draw(painter: QPainter, chart: Chart, scale: float) -> None:
    left, right, base = chart.left * scale, chart.right * scale, chart.base * scale
    line = painter.fontMetrics().height()
    _write(painter, QRectF(4, 1, right, line), chart.title)
    for y, words in chart.levels:
        painter.setPen(QPen(_FRAME, 1))
        painter.drawLine(QPointF(left, y * scale), QPointF(right, y * scale))
        _write(painter, QRectF(0, y * scale - line / 2, left - 4, line), words, Qt.AlignmentFlag.AlignRight)
    for i, (x, words) in enumerate(chart.days):
        painter.setPen(QPen(_FRAME, 1))
        painter.drawLine(QPointF(x * scale, base), QPointF(x * scale, base + 3))
        first, last = i == 0, i == len(chart.days) - 1
        side = Qt.AlignmentFlag.AlignLeft if first else Qt.AlignmentFlag.AlignRight
        side = side if first or last else Qt.AlignmentFlag.AlignHCenter
        at = x * scale - (0 if first else 120 if last else 60)
        _write(painter, QRectF(at, base + 3, 120, line), words, side)
    for curve in chart.lines:
        _curve(painter, curve, scale, line)


def _curve(painter: QPainter, curve: Curve, scale: float, line: float) -> None:
    colour = QColor.fromRgbF(*REGION_COLOURS[Region(curve.name)])
    points = [QPointF(x * scale, y * scale) for x, y in curve.points]
    painter.setPen(QPen(colour, 1.6))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.drawPolyline(QPolygonF(points))
    painter.setBrush(colour)
    for point in points:
        painter.drawEllipse(point, 2.4, 2.4)
    _write(painter, QRectF(points[-1].x() + 4, curve.label_y * scale - line / 2, 40, line), curve.name, colour=colour)


def _write(
    painter: QPainter, box: QRectF, words: str, side: Any = Qt.AlignmentFlag.AlignLeft, colour: QColor = _WORDS
) -> None:
    painter.setPen(colour)
    painter.drawText(box, int(side | Qt.AlignmentFlag.AlignVCenter), words)
