"""A result as a BIDS derivative: ``dseg`` with its table, probabilities, sidecars and the dataset's description.

A mask of a BIDS source takes the subject and the session from its images' names; of any other source the id becomes the
subject's label. Source: the BIDS specification 1.11, "Derivatives: Imaging data types", segmentations.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from brainseg_engine.core import labels as codings
from brainseg_engine.core import records
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.labels import LABEL_NAMES, Label
from brainseg_engine.core.palette import LABEL_COLOURS
from brainseg_engine.core.paths import atomic, check_writable
from brainseg_engine.core.study import Study
from brainseg_engine.io import read_image, save_segmentation, save_volume
from brainseg_engine.report.sources import Result

_NEED_BYTES = 16 << 20
_NAME = "napari-brainseg tumour segmentations"


def write_bids(result: Result, out: Path, record: Mapping[str, Any], probabilities: Mapping[str, Path]) -> list[Path]:
    """Write the derivative dataset below ``out`` (made where it is not there); several results share one.

    ``probabilities``: region → image. Returns the images. Raises OutputError.
    """
    subject, session = entities(result)
    folder = out / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
    check_writable(folder, _NEED_BYTES)
    start = f"sub-{subject}{f'_ses-{session}' if session else ''}_space-orig"
    how = "manual" if record["corrected_by_hand"] else "auto"
    coding = codings.coding(result.segmentation.coding)
    if coding.name == "brats2021":  # 1, 2, 4 has a gap; the table tells any values, but one coding for all reads better
        coding = codings.coding("brats2023")
    mask = folder / f"{start}_desc-{how}_dseg.nii.gz"
    reference = result.study.reference if result.study is not None else None
    save_segmentation(result.segmentation, mask, reference=reference, coding=coding.name)
    _json(mask.with_name(f"{start}_desc-{how}_dseg.json"), _sidecar(result, record) | {"coding": coding.name})
    _text(mask.with_name(f"{start}_desc-{how}_dseg.tsv"), _table(coding))
    written = [mask]
    for region, path in probabilities.items():
        image = read_image(path)
        target = folder / f"{start}_label-{region}_desc-{how}_probseg.nii.gz"
        save_volume(image.data, image.grid, target, header=image.header)
        _json(target.with_name(target.name.removesuffix(".nii.gz") + ".json"), _sidecar(result, record))
        written.append(target)
    _require_ours(out / "dataset_description.json", out / "README.md")
    _json(out / "dataset_description.json", _description(result.study))
    _text(
        out / "README.md",
        "# Tumour segmentations\n\nMade by napari-brainseg. For research use only, not for diagnosis.\n",
    )
    return written


def entities(result: Result) -> tuple[str, str]:
    """Subject and session ("" for none), letters and digits only."""
    for volume in result.study.volumes.values() if result.study is not None else ():
        if volume.path is not None and (
            found := re.match(r"sub-([A-Za-z0-9]+)(?:_ses-([A-Za-z0-9]+))?_", volume.path.name)
        ):
            return found.group(1), found.group(2) or ""
    return re.sub("[^A-Za-z0-9]", "", result.id) or "unnamed", ""


def _sidecar(result: Result, record: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON beside an image: of what it was made, and by what. Its sources are named by file, never by path."""
    volumes = result.study.volumes.values() if result.study is not None else ()
    sources = [f"bids:raw:{_within(v.path)}" for v in volumes if v.path is not None and v.path.name.startswith("sub-")]
    content: dict[str, Any] = {
        "Description": "Tumour segmentation; for research use only",
        "Type": "Lesion",
        "Manual": bool(record["corrected_by_hand"]),
        "SpatialReference": {"Index": "orig"} if not sources else sources[0],
        "Model": record["model"],
        "SoftwareVersion": record["software"],
    }
    return {**content, "Sources": sources} if sources else content


def _within(path: Path) -> str:
    """The path inside its dataset: from ``sub-…`` on."""
    parts = path.parts
    first = next((i for i, part in enumerate(parts[:-1]) if part.startswith("sub-")), len(parts) - 1)
    return "/".join(parts[first:])


def _table(coding: codings.Coding) -> str:
    rows = ["index\tname\tabbreviation\tcolor"]
    for label, value in sorted(coding.writes.items(), key=lambda pair: pair[1]):
        if label is Label.BACKGROUND:
            continue
        colour = "#" + "".join(f"{round(255 * c):02x}" for c in LABEL_COLOURS[label])
        rows.append(f"{value}\t{LABEL_NAMES[label]}\t{label.name}\t{colour}")
    return "\n".join(rows) + "\n"


def _description(study: Study | None) -> dict[str, Any]:
    return {
        "Name": _NAME,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": "n/a",
        "GeneratedBy": [{"Name": "napari-brainseg", "Version": metadata.version("napari-brainseg")}],
    }


def _require_ours(description: Path, readme: Path) -> None:
    """Raise OutputError where another data set lies: what it says of itself would be lost."""
    if description.exists():
        with contextlib.suppress(OSError, ValueError):
            if records.read_object(description).get("Name") == _NAME:
                return
    elif not readme.exists():
        return
    raise OutputError(
        f"{description.parent} holds another data set, whose description would be lost. Name another folder."
    )


def _json(path: Path, content: Mapping[str, Any]) -> None:
    _text(path, json.dumps(content, indent=2, ensure_ascii=True) + "\n")


def _text(path: Path, text: str) -> None:
    with atomic(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")
