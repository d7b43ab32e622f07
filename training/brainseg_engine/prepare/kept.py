"""Prepared studies that are kept for this user alone, so that corrections find their images again, in the next window too::

    <home>/prepared/<key>/study/…                     the prepared study (see :mod:`brainseg_engine.prepare.files`)
    <home>/prepared/<key>/acquired/t1.nii.gz …        the series it was made from, voxel for voxel, under headers of our own

``<key>`` is made of the hashes of the series and of what was chosen: the same series prepared in the same way are found again.
Prepared anew they are another study (``<key>-2``): the former may have corrections that rest on its very voxels.
Folders are 0700 and files 0600; no name, date or number of a patient is in them. What nobody opened for a month and no
correction rests on is removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError, InputError, OutputError
from brainseg_engine.core.paths import home, private_folder, sweep
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io import read_image, save_volume
from brainseg_engine.io.image import content_hash
from brainseg_engine.prepare import files
from brainseg_engine.prepare.many import identity_of
from brainseg_engine.prepare.pipeline import PrepareOptions
from brainseg_engine.prepare.prepared import Prepared

STUDY, _ACQUIRED = "study", "acquired"
DAYS = 30
"""After so many without being opened a study that nothing rests on is removed."""


def root() -> Path:
    """The folder, made for this user alone. Raises OutputError."""
    private_folder(home())
    return private_folder(home() / "prepared")


def key_of(study: Study, options: PrepareOptions) -> str:
    """32 hex digits of the series and of what was chosen."""
    text = json.dumps(identity_of(hashed(study), options), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def hashed(study: Study) -> Study:
    """The same study, every series with its hash."""
    volumes = {m: replace(v, sha256=v.sha256 or content_hash(v.data, v.grid.affine)) for m, v in study.volumes.items()}
    return replace(study, volumes=volumes)


def find(key: str) -> Path | None:
    """The newest prepared study of that key (its folder), marked as used today; None where there is none that can be read."""
    for folder in reversed([f for f in _of(key, home() / "prepared") if f.is_dir()]):
        try:
            files.read_record(folder / STUDY)
            os.utime(folder)
        except (BrainsegError, OSError):
            continue
        return folder / STUDY
    return None


def keep(made: Path, raw: Study, key: str) -> Path:
    """Keep the prepared study in the folder ``made``, which lies in a folder of its own in :func:`root`, with the series that
    it was made from; returns its new folder. Raises OutputError, and then nothing is kept."""
    place = made.parent
    target = _of(key, root())[-1]
    try:
        for modality, volume in raw.volumes.items():
            save_volume(volume.data, volume.grid, place / _ACQUIRED / f"{modality.value}.nii.gz")
        if made.name != STUDY:
            made.rename(place / STUDY)
        _close(place)
        place.rename(target)
    except OSError as e:
        raise OutputError(f"The prepared study cannot be kept in {target}: {e.strerror or e}. Free some space.") from e
    return target / STUDY


def is_kept(folder: Path) -> bool:
    """Whether that is the folder of a study that is kept here."""
    return folder.name == STUDY and folder.parent.parent == home() / "prepared"


def label(folder: Path) -> str:
    """How a kept study is called where nothing else is known of it."""
    return f"study-{folder.parent.name[:8]}"


def acquired(folder: Path, prepared: Prepared) -> Mapping[Modality, Volume]:
    """The series that the study in that folder was made from, each on its own grid; {} where they are not kept with it."""
    volumes: dict[Modality, Volume] = {}
    for modality, grid in prepared.grids.items():
        try:
            image = read_image(folder.parent / _ACQUIRED / f"{modality.value}.nii.gz")
            if image.grid.same_as(grid):
                volumes[modality] = Volume(image.data, grid, modality, header=image.header)
        except InputError:
            continue
    return volumes


def tidy(in_use: Collection[Path], days: float = DAYS) -> int:
    """Remove what killed programs left, and every study that was not opened for ``days`` and is not ``in_use`` (folders of
    studies); how many. Raises OutputError."""
    place, removed = root(), sweep(root())
    used = {p.resolve() for p in in_use}
    for folder in list(place.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir() or (folder / STUDY).resolve() in used:
            continue
        if time.time() - folder.stat().st_mtime > days * 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _of(key: str, place: Path) -> list[Path]:
    """The folders that studies of that key lie in, oldest first, and at the end the one that is free."""
    names: Iterator[str] = (key if n == 1 else f"{key}-{n}" for n in count(1))
    folders = []
    for name in names:
        folders.append(place / name)
        if not folders[-1].exists():
            return folders
    return folders


def _close(place: Path) -> None:
    """Make a folder readable for its owner alone."""
    place.chmod(0o700)
    for folder, _, names in os.walk(place):
        Path(folder).chmod(0o700)
        for name in names:
            Path(folder, name).chmod(0o600)
