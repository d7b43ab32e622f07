"""The volumes of all sessions of a derivative dataset, in one table."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import REGION_NAMES, Region
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.io import load_segmentation
from brainseg_engine.io.naming import entities
from brainseg_engine.scores import volumes

TABLE = Path("group") / "volumes.tsv"
_IGNORED = ".bidsignore"
_PASSED_OVER = ("group", "group/**")


def write_table(out: Path) -> Path:
    """Write ``group/volumes.tsv`` with its JSON, a row a session: mL of each region (n/a where it is not measured). BIDS has no
    place for such a table of several sessions, so the validator is asked to pass it over.

    Raises InputError where there is no mask of ours.
    """
    masks = sorted(out.glob("sub-*/**/*_desc-auto_dseg.nii.gz"))
    if not masks:
        raise InputError(f"{out} holds no sub-*_dseg.nii.gz. Run the level 'participant' first.")
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(["participant_id", "session_id", *(f"{r.value}_ml" for r in Region)])
    for mask in masks:
        named = entities(mask.name)
        segmentation = load_segmentation(mask)
        measured = volumes.volumes_ml(segmentation.labels, segmentation.grid, segmentation.regions)
        row = [measured.get(r.value, measured.get(r)) for r in Region]  # type: ignore[call-overload]
        session = f"ses-{named['ses']}" if "ses" in named else "n/a"
        writer.writerow([f"sub-{named['sub']}", session, *("n/a" if v is None else f"{v:.3f}" for v in row)])
    table = out / TABLE
    check_writable(table.parent)
    with atomic(table) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    columns = {
        "MeasurementToolMetadata": {
            "Description": "napari-brainseg, from the masks of this dataset; for research use only"
        },
        **{f"{r.value}_ml": {"Description": REGION_NAMES[r], "Units": "mL"} for r in Region},
    }
    records.write_json(table.with_suffix(".json"), columns, indent=2)
    ignored = out / _IGNORED
    lines = plain.read(ignored).decode("utf-8", "surrogateescape").splitlines() if plain.is_file(ignored) else []
    if not set(_PASSED_OVER) <= set(lines):
        with atomic(ignored) as part:
            part.write_bytes(os.fsencode("\n".join(dict.fromkeys([*lines, *_PASSED_OVER])) + "\n"))
    return table
