"""`napari-brainseg inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.assigning import (
    AssignOption,
    FlairOption,
    PatientOption,
    T1ceOption,
    T1Option,
    T2Option,
    VisitOption,
    wanted,
    which,
)
from brainseg_engine.cli.options import JsonOption, MaskCodingOption
from brainseg_engine.cli.printing import say_json
from brainseg_engine.core.errors import BrainsegError, InputError

if TYPE_CHECKING:
    from brainseg_engine.core.geometry import Grid
    from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
    from brainseg_engine.io import Series
    from brainseg_engine.studies.assignment import Wanted
    from brainseg_engine.studies.checks import Finding


def inspect(
    study: Annotated[
        list[Path],
        typer.Argument(help="A study folder, its image files, or a DICOM folder, CD or .zip.", metavar="STUDY"),
    ],
    coding: MaskCodingOption = None,
    as_json: JsonOption = False,
    patient: PatientOption = None,
    visit: VisitOption = None,
    t1: T1Option = None,
    t1ce: T1ceOption = None,
    t2: T2Option = None,
    flair: FlairOption = None,
    assign: AssignOption = None,
) -> None:
    """Tell what a study holds (series, grids, mask and its label coding) and what is wrong with it.

    Everything is read and checked, also when one file is damaged. The exit code is 0 for a study that can be used
    (warnings may remain) and 3 for one that cannot.

    Of DICOM, in folders, on CDs and in .zip exports, the patients, dates and series are listed, without names or ids.

    Examples:

      napari-brainseg inspect patient1
      napari-brainseg inspect patient1 --json
      napari-brainseg inspect export.zip
      napari-brainseg inspect patient1 --t1ce scan7.nii.gz
      napari-brainseg inspect T1.nii.gz T1_GD.nii.gz T2.nii.gz FLAIR.nii.gz
    """
    from brainseg_engine.cli import inspect_listing
    from brainseg_engine.studies.incoming import is_export

    export = len(study) == 1 and is_export(study[0])
    by_hand = wanted(t1, t1ce, t2, flair, assign)
    one = which(patient, visit)
    report = inspect_listing.inspect_export(study[0], by_hand, one) if export else inspect_study(study, coding, by_hand)
    if as_json:
        say_json(report)
    elif export:
        inspect_listing.show(report)
    else:
        _print(report)
    if not report["usable"]:
        raise typer.Exit(InputError.exit_code)


def inspect_study(paths: list[Path], coding: str | None = None, by_hand: Wanted | None = None) -> dict[str, Any]:
    """The report as a JSON object; problems are in ``problems``. Raises InputError only where there is no study at all."""
    from brainseg_engine.core.study import Study
    from brainseg_engine.io import series_of
    from brainseg_engine.io.unused import sentence
    from brainseg_engine.studies.assignment import assigned
    from brainseg_engine.studies.checks import Finding
    from brainseg_engine.studies.settled import settled

    source = paths[0] if len(paths) == 1 else paths
    series = settled(assigned(source, by_hand) if by_hand else series_of(source))
    problems = _naming_problems(series)
    volumes, failed = _read(series)
    problems += [Finding("unreadable", "error", e) for e in dict.fromkeys(failed.values())]
    mask, coding_origin = _mask(series, coding, list(volumes.values()), problems)
    if volumes:
        problems += _checked(Study(series.id, volumes, segmentation=mask, folder=series.folder))
    problems += [Finding("slices", "warning", note) for note in series.notes]
    problems += [Finding("unused", "warning", left)] if (left := sentence(series)) else []
    problems += _proposals(series)
    problems.sort(key=lambda f: f.severity != "error")
    return {
        "id": series.id,
        "folder": str(series.folder) if series.folder else None,
        "usable": all(f.severity != "error" for f in problems),
        "coding": coding or series.coding or None,
        "modalities": {m.value: _series(m, series, volumes, failed) for m in _modalities()},
        "segmentation": _segmentation(series.segmentation, mask, coding_origin),
        "other_files": [str(p) for p in series.unknown],
        "problems": [{"code": f.code, "severity": f.severity, "message": f.message} for f in problems],
    }


def _checked(study: Study) -> list[Finding]:
    """What is doubtful of the study; of one as acquired not that which preparing it puts right."""
    from brainseg_engine.core.study import SeriesNeeded
    from brainseg_engine.prepare.head import shows_head
    from brainseg_engine.studies.checks import Finding, check_study

    findings = check_study(study, SeriesNeeded(tuple(study.volumes)))
    whole = all(v.grid.calibrated and shows_head(v.grid) for v in study.volumes.values())
    if not whole or all(f.code not in ("grid", "skull") for f in findings):
        return findings
    left = [f for f in findings if f.code not in ("grid", "skull", "spacing")]
    text = "The series are as acquired (on grids of their own, or with the skull on): predict and prepare align them, take "
    return [*left, Finding("as-acquired", "warning", f"{text}the brain out and bring them onto one grid of 1 mm.")]


def _naming_problems(series: Series) -> list[Finding]:
    from brainseg_engine.io import ambiguity
    from brainseg_engine.studies.checks import Finding

    several = [ambiguity(what, candidates) for what, candidates in series.ambiguous.items()]
    codes = dict.fromkeys(several, "ambiguous") | {series.mixed: "mixed"}
    return [Finding(codes.get(p, "missing"), "error", p) for p in series.problems]


def _proposals(series: Series) -> list[Finding]:
    """What images without a telling name look like, where a series is missing."""
    from brainseg_engine.studies.assignment import proposed
    from brainseg_engine.studies.checks import Finding

    if not (series.unknown or series.ambiguous) or len(series.files) == len(_modalities()):
        return []
    files = {m: Path(i) for m, i in proposed(series).chosen.items() if m not in series.files}
    if not files:
        return []
    looks = ", ".join(f"{p.name} looks like {m.title}" for m, p in files.items())
    options = " ".join(f"--{m.value} {p.name}" for m, p in files.items())
    return [Finding("proposal", "warning", f"By what they hold, {looks}. If that is right, add {options}")]


def _read(series: Series) -> tuple[dict[Modality, Volume], dict[Modality, str]]:
    """The series that can be read, and the sentences for those that cannot."""
    from concurrent.futures import ThreadPoolExecutor

    from brainseg_engine.io import Layout, read_series, read_volume

    if series.layout is not Layout.FILES:
        try:
            return read_series(series), {}
        except BrainsegError as e:
            return {}, dict.fromkeys(series.files, str(e))
    volumes, failed = {}, {}
    with ThreadPoolExecutor() as pool:
        waiting = {m: pool.submit(read_volume, path, m) for m, path in series.files.items()}
    for m, future in waiting.items():
        try:
            volumes[m] = future.result()
        except BrainsegError as e:
            failed[m] = str(e)
    return volumes, failed


def _mask(
    series: Series, coding: str | None, volumes: list[Volume], problems: list[Finding]
) -> tuple[Segmentation | None, str | None]:
    """The mask beside the images and where its coding comes from; what is wrong with it goes into ``problems``."""
    from brainseg_engine.io import coding_of, load_segmentation, require_on_grid
    from brainseg_engine.io.derived.slicer import is_slicer
    from brainseg_engine.studies.checks import Finding

    if series.segmentation is None:
        return None, None
    try:
        _, coding_origin = coding_of(series.segmentation, coding, series.coding)
        grid = volumes[0].grid if volumes and is_slicer(series.segmentation) else None
        mask = load_segmentation(series.segmentation, coding=coding, implied=series.coding, grid=grid)
        if volumes:
            require_on_grid(mask, volumes)
    except BrainsegError as e:
        problems.append(Finding("segmentation", "error", str(e)))
        return None, None
    return mask, coding_origin


def _modalities() -> list[Modality]:
    from brainseg_engine.core.study import Modality

    return list(Modality)


def _series(
    m: Modality, series: Series, volumes: dict[Modality, Volume], failed: dict[Modality, str]
) -> dict[str, Any] | None:
    if m not in series.files:
        return None
    file = str(series.files[m])
    if m in failed:
        return {"file": file, "error": failed[m]}
    v = volumes[m]
    return {"file": file, **_grid(v.grid), "dtype": v.data.dtype.name, "sha256": v.sha256}


def _segmentation(path: Path | None, mask: Segmentation | None, coding_origin: str | None) -> dict[str, Any] | None:
    from brainseg_engine.core import labels as codings
    from brainseg_engine.scores.volumes import class_voxel_counts, volume_fields, voxel_counts

    if path is None:
        return None
    if mask is None:
        return {"file": str(path), "error": "see problems"}
    regions = voxel_counts(mask.labels, mask.regions)
    held = [label for label in codings.coding(mask.coding).writes if label is not codings.Label.BACKGROUND]
    classes = class_voxel_counts(mask.labels, held)
    return {
        "file": str(path),
        **_grid(mask.grid),
        "coding": mask.coding,
        "coding_told_by": coding_origin,
        "made_by": mask.made_by or None,
        **volume_fields({k.name: n for k, n in (*regions.items(), *classes.items())}, mask.grid),
    }


def _grid(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(s, 4) for s in grid.spacing] if grid.calibrated else None,
        "orientation": grid.orientation,
        "obliquity_deg": round(grid.obliquity_deg, 1),
    }


def _print(report: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from brainseg_engine.cli.printing import console as results
    from brainseg_engine.core.study import Modality

    console = results()
    console.print(Text(report["id"], style="bold"), Text(report["folder"] or "", style="dim"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("series", no_wrap=True)
    table.add_column("file", overflow="fold")
    for name in ("voxels", "mm", "axes", "type"):
        table.add_column(name, no_wrap=True)
    for name, entry in report["modalities"].items():
        table.add_row(Modality(name).title, *_cells(entry, (entry or {}).get("dtype", "")))
    mask = report["segmentation"]
    if mask is not None:
        table.add_row("mask", *_cells(mask, mask.get("coding", "")))
    console.print(table)
    if mask is not None and "volumes_ml" in mask:
        ml, voxels = mask["volumes_ml"], mask.get("volumes_voxels", {})
        listed = ", ".join(f"{k} {n:,}" for k, n in voxels.items()) or ", ".join(f"{k} {v:.1f}" for k, v in ml.items())
        unit = "voxels" if voxels else "mL"
        entry = f"Mask: coding {mask['coding']} (known from the {mask['coding_told_by']}); {unit}: {listed}"
        console.print(Text(entry), soft_wrap=True)
    for p in report["problems"]:
        colour = "red" if p["severity"] == "error" else "yellow"
        console.print(Text.assemble((f"{p['severity']}: ", colour), p["message"]), soft_wrap=True)  # names stay whole
    if not report["problems"]:
        console.print("Nothing is wrong with it.")


def _cells(entry: dict[str, Any] | None, last: str) -> list[Any]:
    from rich.text import Text

    if entry is None:
        return [Text("missing", style="red"), "", "", "", ""]
    name = Text(Path(entry["file"]).name)
    if "error" in entry:
        return [name, Text("not usable", style="red"), "", "", ""]
    tilt = f" {entry['obliquity_deg']:.0f}°" if entry["obliquity_deg"] >= 0.5 else ""
    sides = "×".join(f"{s:.3g}" for s in entry["spacing_mm"]) if entry["spacing_mm"] else "unknown"
    return [name, "×".join(str(n) for n in entry["shape"]), sides, entry["orientation"] + tilt, last]
