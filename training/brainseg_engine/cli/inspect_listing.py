"""`napari-brainseg inspect` of what a hospital exports: patients, dates, series, and what is wrong with each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brainseg_engine.io.found import ImageSeries, Listing
    from brainseg_engine.studies.assignment import Wanted
    from brainseg_engine.studies.incoming import Incoming, Which


MOST_VISITS = 3
"""Of more visits the voxels are not looked at: tags and names alone say what the series are."""


def inspect_export(path: Path, wanted: Wanted | None = None, which: Which | None = None) -> dict[str, Any]:
    """The report as a JSON object; ``wanted`` names series by hand, ``which`` the one visit that is reported.

    Raises InputError where there is no image at all, or no such visit.
    """
    from brainseg_engine.cli.printing import messages, progress_bars
    from brainseg_engine.io.listing import list_series

    with progress_bars(messages()) as bars:
        task = bars.add_task("reading headers", total=1.0)
        with list_series(path, lambda p: bars.update(task, description=p.stage, completed=p.fraction)) as listing:
            return report(path, only(listing, path, which) if which is not None else listing, wanted)


def only(listing: Listing, path: Path, which: Which) -> Listing:
    """The listing with the one visit that is meant; all of it where nothing is asked for. Raises InputError."""
    from dataclasses import replace

    from brainseg_engine.studies.incoming import choose

    if which.patient is None and which.visit is None:
        return listing
    if which.visit is None and 1 <= (which.patient or 0) <= len(listing.patients):
        return replace(listing, patients=(listing.patients[(which.patient or 1) - 1],))
    patient, visit = choose(listing, path, which)
    return replace(listing, patients=(replace(patient, visits=(visit,)),))


def report(path: Path, listing: Listing, wanted: Wanted | None = None) -> dict[str, Any]:
    """What a listing holds, without a name, an id or a UID: days and neutral labels alone tell visits and people apart."""
    from brainseg_engine.studies.incoming import identified
    from brainseg_engine.studies.listed import check_listing

    problems = check_listing(listing)
    voxels = sum(len(p.visits) for p in listing.patients) <= MOST_VISITS
    visits = {(p.label, v.label): identified(p, v, wanted, voxels=voxels) for p in listing.patients for v in p.visits}
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
                        "missing": [m.value for m in visits[p.label, v.label].choices.missing],
                        "series": [_series(s, visits[p.label, v.label]) for s in v.series],
                    }
                    for v in p.visits
                ],
            }
            for p in listing.patients
        ],
        "skipped": [{"files": s.count, "reason": s.reason} for s in listing.skipped],
        "problems": [{"code": f.code, "severity": f.severity, "message": f.message} for f in problems],
    }


def _series(s: ImageSeries, among: Incoming) -> dict[str, Any]:
    grid = s.grid
    proposal = next((p for p in among.choices.proposals if p.series.id == s.facts.id), None)
    use = proposal.use if proposal is not None else None
    placed = {} if grid is None else {
        "obliquity_deg": round(grid.obliquity_deg, 1),
        "missing_mm": [round(mm, 2) for mm in s.missing_mm],
    }  # fmt: skip
    return {
        **s.facts.to_dict(),
        **placed,
        "usable": s.usable,
        "use": use.value if use else None,
        "reason": proposal.reason if proposal is not None else "",
        "doubt": proposal.doubt if proposal is not None and use is not None else "",
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

    from brainseg_engine.core.study import Modality

    console.print(Text.assemble((title, "bold"), f"  {visit['date'] or 'no date'}"))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("no.", justify="right", no_wrap=True)
    table.add_column("series", overflow="fold")
    for name in ("plane", "voxels", "mm", "axes", "can be read", "use"):
        table.add_column(name, no_wrap=True)
    for s in visit["series"]:
        table.add_row(*_cells(s))
    console.print(table)
    for s in visit["series"]:
        if s["use"]:
            console.print(Text.assemble(("use: ", "green"), f"{s['label']}: {s['reason']}"), soft_wrap=True)
        if s["doubt"]:
            console.print(Text.assemble(("warning: ", "yellow"), f"{s['label']}: {s['doubt']}."), soft_wrap=True)
    if any(s["use"] for s in visit["series"]) and visit["missing"]:
        names = " and ".join(Modality(m).title for m in visit["missing"])
        console.print(Text.assemble(("warning: ", "yellow"), f"No series was found to be {names}."), soft_wrap=True)
    for s in visit["series"]:
        for r in s["remarks"]:
            colour = {"error": "red", "warning": "yellow"}.get(r["severity"], "dim")
            number = f"{s['number']}: " if "number" in s else ""
            console.print(
                Text.assemble((f"{r['severity']}: ", colour), f"{number}{s['label']}: {r['message']}"), soft_wrap=True
            )


def _cells(s: dict[str, Any]) -> list[Any]:
    from rich.text import Text

    from brainseg_engine.core.study import Modality

    tilt = f" {s['obliquity_deg']:.0f}°" if s.get("obliquity_deg", 0) >= 0.5 else ""
    mm = "×".join(f"{v:.3g}" for v in s["spacing"]) if s.get("spacing") and s.get("calibrated", True) else ""
    verdict = Text("no", style="red") if not s["usable"] else Text("yes")
    if s["usable"] and any(r["severity"] == "warning" for r in s["remarks"]):
        verdict = Text("see below", style="yellow")
    return [
        str(s.get("number", "")), Text(s["label"]), s.get("plane", "") if s.get("modality", "MR") == "MR" else s["modality"],
        "×".join(str(n) for n in s.get("shape", ())), mm, s.get("orientation", "") + tilt, verdict,
        Modality(s["use"]).title if s["use"] else "",
    ]  # fmt: skip
