"""How a tumour grew: what is known of each examination, and the curve that a report draws of it.

A time point is the day of an examination with its volumes and its sum of products. Each report carries those of the reports
before it, so that the last report alone gives the curve over all known dates. A report whose examination has no known date is
compared with, but is no point of the curve.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region

TimePoint = dict[str, Any]
"""``date`` (2025-03-14), ``id``, ``model`` (name and version, "" for none), ``volume_ml`` {region: mL, None: not measured} and
``sum_of_products_rano_mm2`` of ET (None: not measured)."""

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 88.0, 31.0, 11.0, 6.0, 5.0, 6.0
_LABEL = 16.0
_LINE = 2.8
"""Millimetres: of a chart, of the room around its axes, and between two dates that are both written out; a line of text."""
_UPPER = {Region.ET: 2, Region.TC: 1, Region.WT: 0}
"""Of curves that end at one height, whose name stands lower."""
_DASHES = {Region.WT: "1.6 0.8", Region.TC: "0.4 0.7", Region.ET: ""}


def time_point(record: Mapping[str, Any]) -> TimePoint | None:
    """What a report tells of its examination; None where its date is not known. Raises ValueError, TypeError, KeyError and
    AttributeError for a damaged one."""
    day = record.get("examined")
    if day is None:
        return None
    model = record.get("model") or {}
    regions = record["regions"]
    lengths = (regions.get("ET") or {}).get("diameters") or {}
    return _checked({
        "date": day, "id": record["id"], "model": f"{model.get('name', '')} {model.get('version', '')}".strip(),
        "volume_ml": {r.value: (regions.get(r.value) or {}).get("volume_ml") for r in Region},
        "sum_of_products_rano_mm2": lengths.get("sum_of_products_rano_mm2"),
    })  # fmt: skip


def history(prior: Mapping[str, Any] | None) -> list[TimePoint]:
    """The time points up to an earlier report, the oldest first, one a day (of two reports of a day the later one).

    Raises ValueError, TypeError, KeyError and AttributeError for a damaged report.
    """
    if prior is None:
        return []
    last = time_point(prior)
    points = [_checked(p) for p in prior.get("history") or ()] + ([last] if last else [])
    return [p for _, p in sorted({p["date"]: p for p in points}.items())]


def require_later(day: str | None, prior: Mapping[str, Any] | None) -> None:
    """Raise InputError where the examination of the earlier report is the later one."""
    before = None if prior is None else prior.get("examined")
    if day is not None and before is not None and str(before) > day:
        raise InputError(
            f"The report of {prior['id'] if prior else ''} is of an examination on {before}, after this one on {day}. Name an "
            "earlier report, and report on the other result with this one as the earlier."
        )


@dataclass(frozen=True)
class Curve:
    """One curve: its points in mm on the chart, its dashes (as SVG has them), and how far down its name stands at its end."""

    name: str
    points: tuple[tuple[float, float], ...]
    dashes: str
    label_y: float

    @property
    def path(self) -> str:
        """The points as SVG has them."""
        return " ".join(f"{x:.2f},{y:.2f}" for x, y in self.points)


@dataclass(frozen=True)
class Chart:
    """Curves over the days, in mm from the upper left corner; ticks are (place, words)."""

    title: str
    lines: tuple[Curve, ...]
    days: tuple[tuple[float, str], ...]
    levels: tuple[tuple[float, str], ...]
    width: float = _WIDTH
    height: float = _HEIGHT
    left: float = _LEFT
    right: float = _WIDTH - _RIGHT
    base: float = _HEIGHT - _BOTTOM


def charts(points: Sequence[TimePoint]) -> list[Chart]:
    """Volumes in mL, and the sum of products in mm²; none of what was measured on fewer than two days."""
    volumes = {r: [(p["date"], p["volume_ml"].get(r.value)) for p in points] for r in Region}
    products = {Region.ET: [(p["date"], p["sum_of_products_rano_mm2"]) for p in points]}
    found = (_chart("Volume, mL", volumes), _chart("ET: sum of products, mm²", products))
    return [c for c in found if c is not None]


def _chart(title: str, values: Mapping[Region, Iterable[tuple[str, float | None]]]) -> Chart | None:
    known = {
        r: [(date.fromisoformat(d).toordinal(), v) for d, v in pairs if v is not None] for r, pairs in values.items()
    }
    known = {r: pairs for r, pairs in known.items() if len(pairs) > 1}
    if not known:
        return None
    days = sorted({d for pairs in known.values() for d, _ in pairs})
    step = _step(max(v for pairs in known.values() for _, v in pairs))
    top = step * max(1, math.ceil(max(v for pairs in known.values() for _, v in pairs) / step))
    width, height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def x(day: int) -> float:
        return _LEFT + width * (day - days[0]) / (days[-1] - days[0])

    def y(value: float) -> float:
        return _TOP + height * (1 - value / top)

    placed = {r: tuple((x(d), y(v)) for d, v in pairs) for r, pairs in known.items()}
    labels = _apart({r: points[-1][1] for r, points in placed.items()})
    lines = tuple(Curve(r.value, points, _DASHES[r], labels[r]) for r, points in placed.items())
    levels = tuple((y(n * step), f"{n * step:g}") for n in range(round(top / step) + 1))
    return Chart(title, lines, tuple(_written(days, x)), levels)


def _apart(wanted: Mapping[Region, float]) -> dict[Region, float]:
    """The heights of names, moved up as far as is needed for none to lie on another."""
    out: dict[Region, float] = {}
    below = math.inf
    for region in sorted(wanted, key=lambda r: (wanted[r], _UPPER[r]), reverse=True):
        below = out[region] = min(wanted[region], below - _LINE)
    return out


def _written(days: Sequence[int], x: Any) -> Iterable[tuple[float, str]]:
    """The days with room to be written out: the first (from its tick on), the last (up to its tick) and what fits between, in
    the middle of its tick; the others have a tick alone."""
    taken, end = x(days[0]) + _LABEL, x(days[-1]) - _LABEL
    for day in days:
        fits = taken <= x(day) - _LABEL / 2 and x(day) + _LABEL / 2 <= end
        taken = x(day) + _LABEL / 2 if fits else taken
        yield x(day), date.fromordinal(day).isoformat() if fits or day in (days[0], days[-1]) else ""


def _step(most: float) -> float:
    """A round number that three to five of reach to ``most``."""
    if most <= 0:
        return 1.0
    size = 10.0 ** math.floor(math.log10(most / 3))
    return next(f * size for f in (1, 2, 5, 10) if most / (f * size) <= 5)


def _checked(point: Any) -> TimePoint:
    """The time point. Raises ValueError, TypeError, KeyError, AttributeError where it is none."""
    day = date.fromisoformat(point["date"]).isoformat()
    volumes = {r.value: _amount(point["volume_ml"].get(r.value)) for r in Region}
    return {"date": day, "id": str(point["id"]), "model": str(point["model"]), "volume_ml": volumes,
            "sum_of_products_rano_mm2": _amount(point["sum_of_products_rano_mm2"])}  # fmt: skip


def _amount(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        raise ValueError("no amount")
    return float(value)
