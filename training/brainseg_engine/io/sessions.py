"""Names of studies that stay apart: folders of sessions have equal names in every patient's folder.

``Patient-001/week-000`` and ``Patient-002/week-000`` are two studies: a study whose folder names a session bears its
patient's folder's name too. Where names still repeat, the path below the data folder takes their place.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from brainseg_engine.core.errors import InputError

_WORD = (
    r"(?:(?:ses|session|visit|v|week|wk|month|year|yr|day|tp|time|time[-_ ]?point|fu|follow[-_ ]?up)[-_ ]?\d+[a-z]?(?:[-_]\d+)?|"
    r"ses-[a-z0-9]+|baseline|follow[-_ ]?up|pre[-_]?op(?:erative)?|post[-_]?op(?:erative)?|pre|post|"
    r"(?:19|20)\d{6}|(?:19|20)\d\d-\d\d-\d\d)"
)
_SESSION = re.compile(_WORD, re.IGNORECASE)
_ENDS_WITH_SESSION = re.compile(rf"(?P<patient>.+?)[-_ ]{_WORD}(?:[-_ ].*)?", re.IGNORECASE)
NO_NAME = {"anat", "nifti", "nii", "mri", "images"}
"""Folders between a session and its files."""


def name_of(folder: Path) -> str:
    """What a study in that folder is called: the folder's name, with that of the patient's in front of a session's."""
    folder = folder.resolve()
    if folder.name.lower() in NO_NAME and folder.parent.name:
        return name_of(folder.parent)
    if _SESSION.fullmatch(folder.name) and folder.parent.name:
        return f"{folder.parent.name}_{folder.name}"
    return folder.name


def patient_in(name: str) -> str:
    """The patient in a name that ends with a session's (``UCSF-PDGM-0391_FU016d``); "" in others."""
    match = _ENDS_WITH_SESSION.fullmatch(name)
    return match["patient"] if match else ""


def kept_apart(names: Mapping[Path, str]) -> dict[Path, str]:
    """Study → its name, or its path below what they all have in common where several would have that name.

    Raises InputError where even these are equal.
    """
    repeated = {name for name, n in Counter(names.values()).items() if n > 1}
    if not repeated:
        return dict(names)
    paths = {study: study.resolve() for study in names}
    common = _common([p.parts for p in paths.values()])
    out = {
        study: "_".join([*paths[study].parts[common:-1], name]) if name in repeated else name
        for study, name in names.items()
    }
    owner: dict[str, Path] = {}
    for study, name in out.items():
        if name in owner:
            raise InputError(f"{owner[name]} and {study} would both be called '{name}'. Rename one of them.")
        owner[name] = study
    return out


def _common(parts: list[tuple[str, ...]]) -> int:
    """How many folders all paths begin with."""
    n = 0
    for column in zip(*(p[:-1] for p in parts), strict=False):
        if len(set(column)) > 1:
            break
        n += 1
    return n
