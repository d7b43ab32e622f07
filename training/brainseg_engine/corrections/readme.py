"""What a store says of itself."""

from __future__ import annotations

from pathlib import Path

from brainseg_engine.core import records
from brainseg_engine.core.labels import LABEL_NAMES, coding
from brainseg_engine.core.paths import atomic

_DESCRIPTION = "dataset_description.json"
_NAME = "Corrected brain tumour segmentations"

_README = """Corrected brain tumour segmentations
====================================

Each version of a correction is three files in sub-<label>/anat/:

  ..._desc-correction<NN>_dseg.nii.gz   the mask, on the grid of the study's own images; dseg.tsv names its values
  ..._desc-correction<NN>_dseg.json     the record: SHA-256 of the images it belongs to, the model whose answer was
                                        corrected, who (if a name was given), when (UTC), minutes of editing, and of each
                                        class the voxels it has, and how many were added to and removed from the answer
  ..._desc-correction<NN>_steps.jsonl   the steps that led to it, one JSON object a line

and, where a proposal of a model was taken over while correcting,

  ..._desc-correction<NN>_writers.nii.gz  who wrote each voxel last: 2 the proposal, 1 a person over it, 0 neither

What was accepted is never rewritten: the files are read-only and a later correction is a new version with the next
number. What happens to a version afterwards is a line in log.jsonl: "accepted" (a draft before), "excluded" with the
reason, "held_out" (the study is kept for testing and never trained on). Where a record and the log differ, the last line
of the log counts. "mask_sha256" is the SHA-256 of the mask's file, as sha256sum tells it.

No name, no date of birth and no path is in this folder, unless the person who accepted a version chose to record the
study's name and folder; <label> is made of the hashes of the images. Where the images lie is noted on each machine by
itself, outside this folder (sources.local.json in the program's own folder), and is no part of any export.

Made with napari-brainseg, for research use only:
  napari-brainseg corrections list .      what there is
  napari-brainseg corrections check .     whether all of it is sound
  napari-brainseg corrections export . --out DIR --layout brats
"""


def prepare(folder: Path) -> None:
    """Put what explains the folder into it, where it is absent. Raises OutputError."""
    contents = {_DESCRIPTION: _description, "README": lambda: _README, "dseg.tsv": _table}
    for name, make in contents.items():
        path = folder / name
        if not path.exists():
            with atomic(path) as part:
                part.write_text(make(), encoding="utf-8")


def is_store(folder: Path) -> bool:
    """True where a folder's description says that it is one of ours."""
    try:
        description = records.read_object(folder / _DESCRIPTION)
        return bool(description["Name"] == _NAME)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _description() -> str:
    from importlib import metadata

    description = {
        "Name": _NAME,
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "napari-brainseg", "Version": metadata.version("napari-brainseg")}],
    }
    return records.dumps(description, indent=2) + "\n"


def _table() -> str:
    rows = ["index\tname\tabbreviation"]
    for name in ("brats2024", "lgg"):
        for value, label in coding(name).values.items():
            row = f"{value}\t{LABEL_NAMES[label]}\t{label.name if label else 'BG'}"
            if row not in rows:
                rows.append(row)
    return "\n".join(rows) + "\n"
