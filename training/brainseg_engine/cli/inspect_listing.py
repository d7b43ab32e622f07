"""`napari-brainseg inspect` of what a hospital exports: patients, dates, series, and what is wrong with each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainseg_engine.io.found import ImageSeries, Listing


def is_export(path: Path) -> bool:
    """Whether the path is listed series by series: an archive, DICOM, or a folder that is no study by its files' names."""
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.io import dicom, find_series
    from brainseg_engine.io.archive import is_archive
    from brainseg_engine.io.naming import is_image

    if path.is_file():
        return is_archive(path) or (not is_image(path) and dicom.holds_dicom(path))
    if not path.is_dir():
        return False
    try:
        return not find_series(path).files and dicom.holds_dicom(path)
    except InputError:
        return dicom.holds_dicom(path)


def inspect_export(path: Path) -> dict[str, Any]:
    """The report as a JSON object. Raises InputError where there is no image at all."""
    from brainseg_engine.cli.printing import messages, progress_bars
    from brainseg_engine.io.listing import list_series

    with progress_bars(messages()) as bars:
        task = bars.add_task("reading headers", total=1.0)
        with list_series(path, lambda p: bars.update(task, description=p.stage, completed=p.fraction)) as listing:
            return report(path, listing)


def report(path: Path, listing: Listing) -> dict[str, Any]:
    """What a listing holds, without a name, an id or a UID: days and neutral labels alone tell visits and people apart."""
    from brainseg_engine.studies.listed import check_listing

    problems = check_listing(listing)
    return {
        "path": str(path),
        "usable": all(f.severity != "error" for f in problems),
        "patients": [
            {
                "label": p.label,
                "studies": [
                    {
                        "label": v.label,
                        "date": v.day.isoformat() if v.day else None,
                        "series": [_series(s) for s in v.series],
                    }
                    for v in p.visits
                ],
            }
            for p in listing.patients
        ],
        "skipped": [{"files": s.count, "reason": s.reason} for s in listing.skipped],
        "problems": [{"code": f.code, "severity": f.severity, "message": f.message} for f in problems],
    }


def _series(s: ImageSeries) -> dict[str, Any]:
    grid = s.grid
    placed = {} if grid is None else {
        "obliquity_deg": round(grid.obliquity_deg, 1),
        "missing_mm": [round(mm, 2) for mm in s.missing_mm],
    }  # fmt: skip
    return {
        **s.facts.to_dict(),
        **placed,
        "usable": s.usable,
        "remarks": [{"code": r.code, "severity": r.severity, "message": r.message} for r in s.remarks],
    }


def show(report: dict[str, Any]) -> None:
    """Print the report: a table for each visit, with what is to be known of its series below."""
    from rich.text import Text

    from brainseg_engine.cli.printing import console as results

    console = results()
    console.print(Text(report["path"], style="bold"), soft_wrap=True)
    for patient in report["patients"]:
        for visit in patient["studies"]:
            _table(console, f"{patient['label']}, {visit['label']}", visit)
    for s in report["skipped"]:
        line = f"passed over: {'1 file' if s['files'] == 1 else str(s['files']) + ' files'} ({s['reason']})"
        console.print(Text(line, style="dim"), soft_wrap=True)
    for p in report["problems"]:
        colour = "red" if p["severity"] == "error" else "yellow"
        console.print(Text.assemble((f"{p['severity']}: ", colour), p["message"]), soft_wrap=True)


def _table(console: Any, title: str, visit: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console.print(Text.assemble((title, "bold"), f"  {visit['date'] or 'no date'}"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("series", overflow="fold")
    for name in ("kind", "plane", "voxels", "mm", "axes", "can be read"):
        table.add_column(name, no_wrap=True)
    for s in visit["series"]:
        table.add_row(*_cells(s))
    console.print(table)
    for s in visit["series"]:
        for r in s["remarks"]:
            colour = {"error": "red", "warning": "yellow"}.get(r["severity"], "dim")
            number = f"{s['number']}: " if "number" in s else ""
            console.print(
                Text.assemble((f"{r['severity']}: ", colour), f"{number}{s['label']}: {r['message']}"), soft_wrap=True
            )


def _cells(s: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    tilt = f" {s['obliquity_deg']:.0f}°" if s.get("obliquity_deg", 0) >= 0.5 else ""
    mm = "×".join(f"{v:.3g}" for v in s["spacing"]) if s.get("spacing") and s.get("calibrated", True) else ""
    verdict = Text("no", style="red") if not s["usable"] else Text("yes")
    if s["usable"] and any(r["severity"] == "warning" for r in s["remarks"]):
        verdict = Text("see below", style="yellow")
    return [
        str(s.get("number", "")), Text(s["label"]), s.get("modality", ""), s.get("plane", ""),
        "×".join(str(n) for n in s.get("shape", ())), mm, s.get("orientation", "") + tilt, verdict,
    ]  # fmt: skip
