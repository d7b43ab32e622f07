"""The report's pages: HTML that carries all it shows, with no script and no address outside itself.

What comes from files (names, warnings, models) is text: Jinja2 escapes markup, and characters that no page should hold
(controls, marks that turn the writing direction, halves of surrogate pairs) are shown as a replacement.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from brainseg_engine.core.labels import Region
from brainseg_engine.core.palette import REGION_COLOURS
from brainseg_engine.core.study import Modality
from brainseg_engine.report.growth import charts, time_point
from brainseg_engine.report.pictures import Picture
from brainseg_engine.report.record import NOTE, expected_in_words, name_of
from brainseg_engine.scores.follow_up import CAVEAT
from brainseg_engine.scores.volumes import INTERVAL, limits

_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


@dataclass(frozen=True)
class Entry:
    """One line of a cohort's page: the report's file name, its record, and a small picture (or None)."""

    file: str
    record: Mapping[str, Any]
    thumbnail: Picture | None


def report_page(record: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """The page of one result."""
    now = time_point(record)
    points = [p for p in record["history"] if now and p["date"] != now["date"]] + [now] if now else []
    page = _environment().get_template("report.html.j2")
    return str(page.render(record=record, pictures=pictures, caveat=CAVEAT, interval_words=INTERVAL, points=points,
                           expected_words=expected_in_words(record), charts=charts(points)))  # fmt: skip


def index_page(entries: Sequence[Entry]) -> str:
    """The page of a cohort: a line per report, sorted by the column chosen with buttons (by style alone, no script)."""
    columns: list[tuple[str, list[Any]]] = [("id", [e.record["id"] for e in entries])]
    for region in Region:
        amounts = [_sortable((e.record["regions"].get(region.value) or {}).get("volume_ml")) for e in entries]
        columns.append((f"{region} mL", [-a for a in amounts]))
    lesions = [
        ((e.record["regions"].get("ET") or {}).get("diameters") or {}).get("sum_of_products_rano_mm2") for e in entries
    ]
    columns.append(("ET sum of products, mm²", [-_sortable(value) for value in lesions]))
    ranks = [_ranks(values) for _, values in columns]
    rows = [(e, [r[i] for r in ranks]) for i, e in enumerate(entries)]
    page = _environment().get_template("index.html.j2")
    return str(page.render(columns=[c for c, _ in columns], rows=rows, note=NOTE))


def plain(value: Any) -> Any:
    """Strings without the characters that no page should hold; anything else as it is."""
    unwanted = isinstance(value, str) and _UNWANTED.search(value)
    return type(value)(_UNWANTED.sub("\ufffd", value)) if unwanted else value


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("brainseg_engine.report", "templates")
    env = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, finalize=plain, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        "plain": plain,
        "number": number,
        "limits": limits,
        "signed": signed,
        "data_uri": _data_uri,
        "name": name_of,
        "date": _date,
    }
    env.globals |= {
        "colours": {r.value: _hex(c) for r, c in REGION_COLOURS.items()},
        "titles": {m.value: m.title for m in Modality},
    }
    return env


def number(value: float | None, digits: int = 1) -> str:
    """A number as reports show it; – for None."""
    return "–" if value is None else f"{value:,.{digits}f}".replace(",", "\u202f")


def signed(value: float | None, digits: int = 1) -> str:
    """A difference as reports show it; – for None."""
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\u2212")


def _date(value: str | None) -> str:
    return "–" if not value else str(value)[:16].replace("T", " ")


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _hex(colour: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(255 * c):02x}" for c in colour)


def _sortable(value: float | None) -> float:
    return -1.0 if value is None else float(value)


def _ranks(values: list[Any]) -> list[int]:
    order = sorted(range(len(values)), key=lambda i: values[i])
    return [order.index(i) for i in range(len(values))]
