"""Reading what lies in a store: nothing is believed that its names and hashes do not bear out."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np

from brainseg_engine.core import records
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import LabelArray
from brainseg_engine.core.names import require_inside
from brainseg_engine.corrections.record import Correction

_NAME = re.compile(
    r"sub-(?P<label>[0-9A-Za-z]{1,100})_space-orig_desc-correction(?P<number>\d{2,6})_dseg\.json", re.ASCII
)


def read_record(sidecar: Path) -> Correction:
    """The record in that file of a store. Raises InputError when it is damaged, or is not what the names of file and
    folder say: its id becomes the name of a folder elsewhere."""
    try:
        named = _NAME.fullmatch(sidecar.name)
        if named is None or [p.name for p in sidecar.parents][:2] != ["anat", f"sub-{named['label']}"]:
            raise ValueError("its name is none of a record")
        require_inside(sidecar.parents[2], sidecar)
        mask = sidecar.with_name(sidecar.name.removesuffix(".json") + ".nii.gz")
        record = Correction.from_dict(records.read_object(sidecar), mask)
        if record.id != f"{named['label']}_{named['number']}":
            raise ValueError(f"its id is not '{named['label']}_{named['number']}'")
        return record
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ArithmeticError) as e:
        why = e.strerror if isinstance(e, OSError) and e.strerror else str(e)[:200]
        raise InputError(f"{sidecar} is damaged ({why}), so the correction beside it is not used. Restore it from a "
                         "copy.") from e  # fmt: skip


def require_own(root: Path, file: Path) -> None:
    """Raise InputError for a file of the store that is a link to something outside."""
    try:
        require_inside(root, file)
    except ValueError as e:
        raise InputError(f"{e}, so it is not read. Put the file itself there.") from e


def labels_hash(labels: LabelArray) -> str:
    """SHA-256 of the labels alone, in file order."""
    return hashlib.sha256(np.ascontiguousarray(labels).data).hexdigest()
