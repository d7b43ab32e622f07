"""`napari-brainseg export`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from brainseg_engine.cli.deidentifying import DeidentifyOption, KeyOption, WithFaceOption, deidentification
from brainseg_engine.cli.options import ImagesOption, JsonOption, ResultCodingOption, ResultsArgument
from brainseg_engine.cli.printing import folded, say, say_json

if TYPE_CHECKING:
    from brainseg_engine.report.sources import ReportSource


def export(
    results: ResultsArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Formats, with commas: seg, labelmap, rtstruct, sr, pdf, sc, images, stl, ply, obj, glb, bids."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the files; made when it is not there.")],
    onto: Annotated[
        Path | None,
        typer.Option("--onto", help="Folder of the DICOM series that was segmented; needed by the DICOM formats."),
    ] = None,
    series: Annotated[
        str, typer.Option("--series", help="Which series of --onto: its UID, number or description.")
    ] = "",
    images: ImagesOption = None,
    coding: ResultCodingOption = None,
    deidentify: DeidentifyOption = False,
    key: KeyOption = None,
    with_face: WithFaceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write results in other programs' formats: DICOM SEG, RTSTRUCT, SR, PDF and secondary captures on the series that was
    segmented, meshes in patient mm, a BIDS derivative.

    With --deidentify under a pseudonym, dates moved, UIDs replaced alike everywhere; 'images' then copies the study's series
    too, with nothing but the brain in them.

    Examples:

      napari-brainseg export masks/p1_seg.nii.gz --to seg,sr --onto p1/T1_post --out dicom
      napari-brainseg export masks/p1_seg.nii.gz --to images,seg --onto p1 --out share --deidentify
      napari-brainseg export masks --to stl --out meshes
      napari-brainseg export masks --images data --to bids --out derivatives/brainseg
    """
    from brainseg_engine.core import labels
    from brainseg_engine.core.errors import InputError
    from brainseg_engine.prepare.back import segmentation_onto
    from brainseg_engine.report import exporting
    from brainseg_engine.report.sources import find_results, load_result

    formats = [f.strip().lower() for f in to.split(",") if f.strip()]
    exporting.check_formats(formats)
    if coding is not None:
        labels.coding(coding)
    sources = find_results(results, images)
    if onto is not None and len(sources) > 1:
        raise InputError(f"--onto names one study, and {len(sources)} results are given. Export them one by one.")
    hidden = deidentification(deidentify, key, with_face)
    where = None if onto is None else exporting.Onto(onto, series, segmentation_onto)
    rows = _export(
        sources, lambda s: exporting.export(load_result(s, coding), formats, out, where, hidden), quiet=as_json
    )
    if as_json:
        say_json({"results": rows}, indent=None)
    if any(r["status"] == "failed" for r in rows):
        raise typer.Exit(3)


def _export(
    sources: Sequence[ReportSource], write: Callable[[ReportSource], Sequence[Path]], *, quiet: bool
) -> list[dict[str, Any]]:
    """Write each result, and say what became of it. One of several that fails does not stop the others."""
    from brainseg_engine.cli.stopping import terminate_as_interrupt
    from brainseg_engine.core.errors import BrainsegError

    rows: list[dict[str, Any]] = []
    with terminate_as_interrupt():
        for source in sources:
            try:
                rows.append(
                    {"id": source.id, "status": "done", "message": "", "files": [str(f) for f in write(source)]}
                )
            except BrainsegError as e:
                if len(sources) == 1:
                    raise
                rows.append({"id": source.id, "status": "failed", "message": str(e), "files": []})
            if not quiet:
                row = rows[-1]
                say(f"{row['status']:8} {row['id']}: {row['message'] or ' '.join(folded(row['files']))}")
    return rows
