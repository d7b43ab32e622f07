"""Which truths there are to score against, and which masks were predicted for them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from brainseg_engine import io
from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.io.layouts import ambiguity
from brainseg_engine.io.naming import MASK, is_image, stem
from brainseg_engine.io.sessions import kept_apart, name_of

_NAME = re.compile(r"^(?P<id>.+)[_-]seg$", re.IGNORECASE)
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Truth:
    """A case to score: its mask, the coding its naming tells ("" for none), its study folder where it has images.

    ``place`` is that folder's path below the folder of all. ``problem`` says why its mask cannot be used ("" where it can);
    ``path`` is then the folder.
    """

    id: str
    path: Path
    coding: str = ""
    folder: Path | None = None
    problem: str = ""
    place: Path | None = None

    @property
    def names(self) -> set[str]:
        """What a list of cases may call it: its id, or the name of its folder."""
        return {self.id} | ({self.folder.name} if self.folder is not None else set())


def find_truths(folder: Path) -> list[Truth]:
    """The masks below ``folder``, sorted by id: of study folders, and files named ``<id>_seg`` in the folder itself."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder}; name the folder of the studies or masks to compare with.")
    below: dict[Path, Truth] = {}
    for study in io.find_studies(folder):
        try:
            series = io.series_of(study)
        except BrainsegError as e:  # one case that cannot be used does not stop the others
            below[study] = Truth(stem(name_of(study)), study, folder=study, problem=str(e))
            continue
        if series.mixed:
            below[study] = Truth(series.id, study, folder=study, problem=series.mixed)
        elif series.segmentation is not None:
            below[study] = Truth(series.id, series.segmentation, series.coding, study)
        elif MASK in series.ambiguous:
            below[study] = Truth(series.id, study, folder=study, problem=ambiguity(MASK, series.ambiguous[MASK]))
        else:
            _log.warning("%s holds no mask and is left out", study)
    ids = kept_apart({study: t.id for study, t in below.items()})
    truths = {ids[study]: replace(t, id=ids[study], place=_place(study, folder)) for study, t in below.items()}
    known = {t.path for t in truths.values()}
    for path in sorted(folder.iterdir()):
        name = _NAME.match(stem(path.name)) if is_image(path) and path.is_file() else None
        if name and path not in known:
            truths.setdefault(name["id"], Truth(name["id"], path))
    return [truths[key] for key in sorted(truths)]


def _place(study: Path, folder: Path) -> Path | None:
    relative = Path(os.path.relpath(study, folder))
    return None if ".." in relative.parts or relative == Path() else relative


def chosen(truths: list[Truth], cases: Iterable[str] | None, folder: Path) -> list[Truth]:
    """Those of the ids ``cases``; raises InputError where one of them, or all, are not there."""
    if not truths:
        raise InputError(
            f"{folder} holds no truth to compare with: neither study folders with a mask nor files <id>_seg.nii.gz."
        )
    if cases is None:
        return truths
    wanted = set(cases)
    chosen = [t for t in truths if t.names & wanted]
    absent = sorted(wanted.difference(*(t.names for t in chosen)))
    if absent or not wanted:
        named = ", ".join(absent) if absent else "an empty list of cases"
        raise InputError(f"{folder} holds no truth for {named}. Check the list of cases, or the folder.")
    return chosen


class Predictions:
    """The masks of a folder of predictions, by case."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; name the folder of the predicted masks.")
        self._folder = folder

    def of(self, case: str, place: Path | None = None) -> Path | None:
        """The mask of that case: ``<id>_seg``, ``<id>-seg`` or ``<id>``, here or in a folder ``<id>``, or that folder itself
        where it holds one mask a slice. With ``place``, also in the folder at that path, by the id or its folder's name."""
        names = _file_names(case)
        paths = [folder / name for folder in (self._folder, self._folder / case) for name in names]
        if place is not None:
            paths += [self._folder / place / name for name in (*names, *_file_names(place.name))]
        slices = self._folder / case
        return next((p for p in paths if p.is_file()), slices if io.holds_masks(slices) else None)


def _file_names(case: str) -> list[str]:
    return [f"{case}{ending}{suffix}" for ending in ("_seg", "-seg", "") for suffix in io.SUFFIXES]
