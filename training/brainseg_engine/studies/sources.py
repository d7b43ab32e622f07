"""Which studies a list of paths stands for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from brainseg_engine.core.errors import InputError
from brainseg_engine.io import decathlon, dicom, find_studies
from brainseg_engine.io.archive import is_archive
from brainseg_engine.studies.incoming import is_export

_DEEPEST = 4
"""Folders below the one given in which studies are looked for."""


def expand(sources: Sequence[Path], *, whole: bool = False) -> list[Path]:
    """Studies as given (folders, DICOM archives, images of four channels); a data folder stands for the studies in it, and
    any other file among folders (``data/*``) for nothing.

    A folder of DICOM studies that lie in folders or archives of their own stands for these; one in which they are mixed, and
    with ``whole`` every one, for itself: then a number says which. Raises InputError for what is not there.
    """
    for source in sources:
        try:
            source.stat()
        except FileNotFoundError:
            raise InputError(f"There is no folder {source}.") from None
        except (OSError, ValueError) as e:
            why = (e.strerror if isinstance(e, OSError) else None) or e
            raise InputError(f"{source} cannot be looked at: {why}. Check the path.") from e
    given = [s for s in sources if s.is_dir() or decathlon.is_case(s) or is_export(s)]
    if not given:
        raise InputError(f"{sources[0]} is a file; give the folder that holds the study's four series.")
    studies = [study for source in given for study in (source.is_dir() and _within(source, whole)) or [source]]
    return list({study.resolve(): study for study in studies}.values())


def _within(folder: Path, whole: bool) -> list[Path]:
    """The studies at or below a folder."""
    named = find_studies(folder)
    if named == [folder] or whole:
        return named
    return sorted([*named, *_exports(folder, [p.resolve() for p in named], _DEEPEST)])


def _exports(folder: Path, named: Sequence[Path], depth: int) -> list[Path]:
    """The folders and archives with a DICOM study each, at or below the folder; nothing where a study of files lies."""
    here = folder.resolve()
    if any(here == p or p in here.parents for p in named):
        return []
    if dicom.first_study(folder, deep=False):
        return [folder]
    below = {p: uid for p in _folders(folder) if (uid := dicom.first_study(p))}
    archives = [p for p in sorted(folder.iterdir()) if p.is_file() and is_archive(p)]
    if len(set(below.values())) < len(below):  # folders of series, or studies mixed: the listing tells them apart
        return [folder]
    inside = [study for p in below for study in (_exports(p, named, depth - 1) if depth else [p])]
    if len(inside) == len(below) == 1 and not archives and not any(here in p.parents for p in named):
        return [folder]  # what is given stands for the one study in it
    return [*inside, *archives]


def _folders(folder: Path) -> Iterator[Path]:
    return (p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith("."))
