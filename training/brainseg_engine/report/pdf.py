"""The report as two A4 pages of PDF, drawn with matplotlib: what a PACS shows that knows neither SEG nor SR."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from brainseg_engine.core.study import Modality
from brainseg_engine.report.html import number, plain
from brainseg_engine.report.pictures import Picture
from brainseg_engine.report.record import expected_in_words, name_of
from brainseg_engine.scores.volumes import INTERVAL, limits

_PDF = {"Title": "Tumour segmentation report", "Creator": "napari-brainseg", "CreationDate": None}
"""No time: beside moved dates it would tell by how much, and the page says when it was made."""
_LEFT, _RIGHT, _STEP = 0.07, 0.93, 0.0165
_LESIONS = 6
Column = tuple[str, float, str]
"""Heading, place (0 left to 1 right) and the side that its texts stand flush with."""


def report_pdf(record: Mapping[str, Any], pictures: Sequence[Picture]) -> bytes:
    """The report's key images and its numbers, a page each."""
    from matplotlib.backends.backend_pdf import PdfPages

    out = io.BytesIO()
    with PdfPages(out, metadata=_PDF) as pages:
        for page in (_images_page(record, pictures), _numbers_page(record)):
            pages.savefig(page)
    return out.getvalue()


def _page(record: Mapping[str, Any]) -> Any:
    """An empty page with what both say at their tops."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.27, 11.69), facecolor="white")
    who, model = record["identity"], record["model"]
    title = str(record["id"]) + (f"   {who['name']}, {who['id']}, born {who['birth_date']}" if who else "")
    by = f"model {model['name']} {model['version']}" if model else record["made_by"] or ""
    made = f"report of {record['created'][:16].replace('T', ' ')} UTC" + (
        " (dates moved)" if record["deidentified"] else ""
    )
    day = f"examination of {record['examined']}" if record["examined"] else ""
    hand = {True: "Corrected by hand.", False: "Not corrected by hand.", None: ""}[record["corrected_by_hand"]]
    _text(figure, _LEFT, 0.955, title, 13)
    _text(figure, _LEFT, 0.937, "   ".join(filter(None, (day, made, by, record["software"]))), 8.5)
    _text(figure, _LEFT, 0.918, f"{record['note']} {hand}", 9.5, weight="bold")
    return figure


def _images_page(record: Mapping[str, Any], pictures: Sequence[Picture]) -> Any:
    from PIL import Image

    figure, regions = _page(record), record["regions"]
    if record["grid"]["calibrated"]:
        amounts = [f"{n} {number(r['volume_ml'])} mL{_limits(r)}" for n, r in regions.items() if r]
        if regions["ET"]:
            total = regions["ET"]["diameters"]["sum_of_products_rano_mm2"]
            amounts.append(f"ET, sum of products {number(total, 0)} mm²")
        _text(figure, _LEFT, 0.9, "   ".join(amounts), 10, weight="bold")
    legend = "Outlines: WT dashed, TC dotted, ET solid. White: diameters. The patient's right is on the left."
    _text(figure, _LEFT, 0.882, legend, 8.5)
    rows = 3 if len(pictures) <= 6 else 4
    height = 0.86 / rows
    for i, picture in enumerate(pictures[: 2 * rows]):
        row, column = divmod(i, 2)
        ax = figure.add_axes((_LEFT + 0.44 * column, 0.865 - height * (row + 1) + 0.012, 0.42, height - 0.03))
        ax.imshow(np.asarray(Image.open(io.BytesIO(picture.png))))
        ax.set_anchor("NW")
        ax.set_axis_off()
        ax.set_title(picture.caption, fontsize=8, loc="left", parse_math=False)
    return figure


def _numbers_page(record: Mapping[str, Any]) -> Any:
    figure, y = _page(record), 0.885
    y = _table(figure, y, "Volumes and diameters", *_regions(record))
    limited = any(_limits(r) for r in record["regions"].values() if r)
    for words in filter(None, (INTERVAL if limited else "", expected_in_words(record))):
        _text(figure, _LEFT, y + 0.4 * _STEP, words, 7.5)
        y -= 0.6 * _STEP
    if record["grid"]["calibrated"]:
        y = _table(figure, y, "Lesions", *_lesions(record))
    y = _table(figure, y, "What it rests on", *_series(record))
    for warning in record["warnings"][:4]:
        _text(figure, _LEFT, y, str(warning)[:130], 8)
        y -= _STEP
    _text(figure, _LEFT, 0.04, "Diameters are measured on the slices as acquired; a lesion is measurable from 10 mm in both. "
          "The definitions stand in the documentation.", 7.5)  # fmt: skip
    return figure


def _limits(region: Mapping[str, Any]) -> str:
    return f" ({limits(region['interval_ml'])})" if region.get("interval_ml") else ""


def _regions(record: Mapping[str, Any]) -> tuple[list[Column], list[list[str]]]:
    mm = record["grid"]["calibrated"]
    columns: list[Column] = [("Region", 0, "left"), ("mL" if mm else "voxels", 0.34, "right")]
    if mm:
        columns += [("side", 0.39, "left"), ("largest in 3D, mm", 0.6, "right"), ("lesions", 0.7, "right"),
                    ("sum of products, mm²", 0.98, "right")]  # fmt: skip
    rows = []
    for name, r in record["regions"].items():
        row = [f"{name} {name_of(name)}"]
        if r is None:
            row += ["not measured"]
        else:
            row += [number(r["volume_ml"]) + _limits(r) if mm else number(r["volume_voxels"], 0)]
        if r is not None and mm:
            lengths = r["diameters"]
            largest = lengths["largest_3d"]
            row += [r["side"] or "–", number(largest["mm"] if largest else None), str(lengths["lesion_count"]),
                    number(lengths["sum_of_products_rano_mm2"], 0)]  # fmt: skip
        rows.append(row)
    for name, c in record["classes"].items():
        if name in record["regions"]:  # ET is both
            continue
        rows.append([name_of(name), number(c["volume_ml"]) if mm else number(c["volume_voxels"], 0)])
    return columns, rows


def _lesions(record: Mapping[str, Any]) -> tuple[list[Column], list[list[str]]]:
    columns: list[Column] = [("Lesion", 0, "left"), ("slice", 0.14, "right"), ("longest, mm", 0.3, "right"),
                             ("perpendicular, mm", 0.5, "right"), ("product, mm²", 0.65, "right"), ("mL", 0.75, "right"),
                             ("RANO", 0.79, "left")]  # fmt: skip
    rows = []
    for name in ("ET", "TC", "WT"):
        lesions = ((record["regions"][name] or {}).get("diameters") or {}).get("lesions") or []
        for i, lesion in enumerate(lesions[:_LESIONS], 1):
            kind = (
                "target" if lesion["target_rano"] else "target in RANO 2.0" if lesion["target_rano2"] else "measurable"
            )
            kind = kind if lesion["measurable"] else "not measurable"
            rows.append(
                [f"{name} {i}", str(lesion["slice_index"] + 1), number(lesion["longest"]["mm"]),
                 number(lesion["perpendicular"]["mm"]), number(lesion["product_mm2"], 0), number(lesion["volume_ml"]),
                 kind + (", by hand" if lesion["edited"] else "")]
            )  # fmt: skip
        if len(lesions) > _LESIONS:
            rows.append([f"{name}: and {len(lesions) - _LESIONS} smaller ones"])
    return columns, rows


def _series(record: Mapping[str, Any]) -> tuple[list[Column], list[list[str]]]:
    columns: list[Column] = [("Series", 0, "left"), ("plane", 0.22, "left"), ("slices every mm", 0.5, "right"),
                             ("voxels", 0.72, "right"), ("pixel, mm", 0.98, "right")]  # fmt: skip
    rows = []
    for s in record["series"]:
        reference = " (reference)" if s["modality"] == record["reference"] else ""
        pixels = " × ".join(number(x, 2) for x in s["spacing_mm"]) if s["spacing_mm"] else "–"
        voxels = " × ".join(map(str, s["shape"]))
        rows.append(
            [
                f"{Modality(s['modality']).title}{reference}",
                s["plane"],
                number(s["slice_distance_mm"], 2),
                voxels,
                pixels,
            ]
        )
    return columns, rows or [["The images were not given."]]


def _table(figure: Any, y: float, title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> float:
    """Draw a table whose title stands at the height ``y``; the height below it."""
    _text(figure, _LEFT, y, title, 10.5, weight="bold")
    y -= 1.15 * _STEP
    for heading, at, side in columns:
        _text(figure, _at(at), y, heading, 8, ha=side, color="#3d4148")
    for row in rows:
        _rule(figure, y - 0.3 * _STEP)
        y -= _STEP
        for text, (_, at, side) in zip(row, columns, strict=False):
            _text(figure, _at(at), y, text, 8.5, ha=side)
    return y - 1.9 * _STEP


def _at(place: float) -> float:
    return _LEFT + place * (_RIGHT - _LEFT)


def _rule(figure: Any, y: float) -> None:
    from matplotlib.lines import Line2D

    figure.add_artist(Line2D([_LEFT, _RIGHT], [y, y], color="#d5d8dc", linewidth=0.5))


def _text(figure: Any, x: float, y: float, text: str, size: float, **more: Any) -> None:
    figure.text(x, y, str(plain(text)), fontsize=size, parse_math=False, **more)
