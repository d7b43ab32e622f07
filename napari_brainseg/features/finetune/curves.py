"""Curves of a training while it runs: the loss, and the Dice of what is held out for each region."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import REGION_COLOURS

BACKGROUND, FRAME, WORDS, LOSS = QColor("#15171b"), QColor("#3a3f47"), QColor("#c3c8cf"), QColor("#e6e8eb")
"""Dark in every theme, as the images are: the regions' colours were chosen for that."""
HEIGHT = 132
_TOP, _BOTTOM, _LEFT, _RIGHT = 22, 17, 30, 7
Point = tuple[int, float]


@dataclass(frozen=True)
class CurvesShown:
    """``loss`` and ``dice`` (region → points) over steps, of ``steps`` planned; ``held_out``: there is a Dice to wait for."""

    loss: Sequence[Point] = ()
    dice: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    steps: int = 0
    held_out: bool = True


class CurvesView(QWidget):
    """Two plots side by side, painted with what Qt brings along."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("finetune_curves")
        self.setAccessibleName("Curves of loss and held-out Dice")
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.shown = CurvesShown()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(340, HEIGHT)

    def show_curves(self, shown: CurvesShown) -> None:
        """Draw the curves of loss and Dice."""
        if shown == self.shown:
            return
        self.shown = shown
        last = [f"loss {shown.loss[-1][1]:.3f}"] if shown.loss else []
        last += [f"{region} {points[-1][1]:.3f}" for region, points in shown.dice.items() if points]
        self.setAccessibleDescription(", ".join(last))
        self.setToolTip(f"Last: {', '.join(last)}" if last else "")
        self.update()

    def paintEvent(self, event: Any) -> None:
        """Draw both plots."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(BACKGROUND)
        painter.drawRoundedRect(QRectF(self.rect()), 4, 4)
        font = painter.font()
        font.setPointSizeF(8)
        painter.setFont(font)
        shown, half = self.shown, self.width() / 2
        left, right = (QRectF(x, 0, half, self.height()) for x in (0.0, half))
        self._loss(painter, _inner(left))
        self._dice(painter, _inner(right))
        last = max((p[-1][0] for p in (shown.loss, *shown.dice.values()) if p), default=0)
        for inner in (_inner(left), _inner(right)):
            _write(painter, QRectF(inner.left(), inner.bottom() + 1, inner.width(), 15), f"step {max(shown.steps, last) or ''}",
                   Qt.AlignmentFlag.AlignRight)  # fmt: skip
        painter.end()

    def _loss(self, painter: QPainter, inner: QRectF) -> None:
        values = [v for _, v in self.shown.loss]
        top = max(values, default=1.0) * 1.05 or 1.0
        low = min([0.0, *values])
        self._frame(painter, inner, low, top)
        last = f" {values[-1]:.3f}" if values else ""
        _write(painter, QRectF(inner.left(), 3, inner.width(), 16), f"Loss{last}", colour=LOSS)
        self._line(painter, inner, self.shown.loss, low, top, LOSS)

    def _dice(self, painter: QPainter, inner: QRectF) -> None:
        self._frame(painter, inner, 0.0, 1.0)
        if not self.shown.held_out:
            _write(painter, inner, "nothing is held out", Qt.AlignmentFlag.AlignCenter)
            return
        x = inner.left()
        if not any(self.shown.dice.values()):
            _write(painter, QRectF(x, 3, inner.width(), 16), "Held-out Dice")
            return
        for region in Region:
            points = self.shown.dice.get(region.value, ())
            if points:
                colour = QColor.fromRgbF(*REGION_COLOURS[region])
                text = f"{region.value} {points[-1][1]:.2f}  "
                _write(painter, QRectF(x, 3, inner.width(), 16), text, colour=colour)
                x += painter.fontMetrics().horizontalAdvance(text)
                self._line(painter, inner, points, 0.0, 1.0, colour, marks=True)

    def _frame(self, painter: QPainter, inner: QRectF, low: float, high: float) -> None:
        painter.setPen(QPen(FRAME, 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(inner)
        middle = inner.center().y()
        painter.drawLine(QPointF(inner.left(), middle), QPointF(inner.right(), middle))
        for value, y in ((high, inner.top()), ((low + high) / 2, middle), (low, inner.bottom())):
            box = QRectF(0, y - 8, _LEFT - 4, 16).translated(inner.left() - _LEFT, 0)
            _write(painter, box, f"{value:.{1 if high - low > 0.7 else 2}f}", Qt.AlignmentFlag.AlignRight)

    def _line(
        self,
        painter: QPainter,
        inner: QRectF,
        points: Sequence[Point],
        low: float,
        high: float,
        colour: QColor,
        marks: bool = False,
    ) -> None:
        """A line through the points; where they are few, a dot at each."""
        if not points:
            return
        width = max(self.shown.steps, points[-1][0], 1)
        at = [
            QPointF(
                inner.left() + inner.width() * s / width, inner.bottom() - inner.height() * (v - low) / (high - low)
            )
            for s, v in points
        ]
        painter.setPen(QPen(colour, 1.6))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(at))
        if marks or len(at) == 1:
            painter.setBrush(colour)
            for p in at:
                painter.drawEllipse(p, 2.2, 2.2)


def _inner(plot: QRectF) -> QRectF:
    return plot.adjusted(_LEFT, _TOP, -_RIGHT, -_BOTTOM)


def _write(
    painter: QPainter,
    box: QRectF,
    text: str,
    side: Any = Qt.AlignmentFlag.AlignLeft,
    colour: QColor = WORDS,
) -> None:
    painter.setPen(colour)
    painter.drawText(box, int(side | Qt.AlignmentFlag.AlignVCenter), text)
