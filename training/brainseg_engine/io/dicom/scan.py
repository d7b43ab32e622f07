"""All DICOM headers below a folder, in one pass."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from brainseg_engine.core import plain
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.io.dicom.headers import Frame, Unreadable, looks_like_dicom, read_frames
from brainseg_engine.io.dicom.quiet import quiet
from brainseg_engine.io.found import Skipped

DICOMDIR = "DICOMDIR"


@dataclass(frozen=True)
class Scan:
    """What the headers tell: every frame found, and the files that are none."""

    frames: list[Frame]
    skipped: tuple[Skipped, ...]


def plain_files(path: Path) -> list[Path]:
    """The file itself, or the plain files at or below a folder in the order of their names (no pipe, no device)."""
    return list(_walk(path))


def holds_dicom(path: Path, most: int = 400) -> bool:
    """Whether there is a DICOM file among the first files at or below the path (a file counts itself)."""
    return any(is_dicom(p) for p, _ in zip(_walk(path), range(most), strict=False))


def first_study(path: Path, most: int = 400, *, deep: bool = True) -> str:
    """What tells the study of the first DICOM image at or below the path (``deep``), or directly in it; "" without any.

    In memory only: it is the study's UID. "-" stands for a study without one, or a DICOM file that is no image.
    """
    uid = ""
    with quiet():
        for file, _ in zip(_walk(path, deep=deep), range(most), strict=False):
            if not is_dicom(file):
                continue
            try:
                return read_frames(file)[0].instance.study_uid or "-"
            except Exception:  # damaged or no image: another file may tell
                uid = "-"
    return uid


def scan(files: Iterable[Path], progress: ProgressCallback = silent, cancelled: CancelCheck = never) -> Scan:
    """Read the headers of these files. One that cannot be read is skipped with its reason. Raises Cancelled."""
    files = list(files)
    frames: list[Frame] = []
    skipped: dict[tuple[str, bool], list[Path]] = defaultdict(list)
    with quiet():
        for i, path in enumerate(files):
            if i % 25 == 0:
                if cancelled():
                    raise Cancelled()
                progress(Progress("reading headers", i / len(files)))
            try:
                frames += read_frames(path)
            except Unreadable as e:
                skipped[e.reason, e.lost].append(path)
            except OSError as e:
                skipped[f"cannot be read ({(e.strerror or 'input error').lower()})", True].append(path)
            except Exception:  # pydicom meets anything in damaged files; its words may quote the header
                skipped["is damaged: its header cannot be read", True].append(path)
    progress(Progress("reading headers", 1.0))
    return Scan(frames, tuple(Skipped(why, tuple(paths), lost) for (why, lost), paths in skipped.items()))


def _walk(path: Path, *, deep: bool = True) -> Iterator[Path]:
    if not path.is_dir():
        if plain.is_file(path):
            yield path
        return
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = sorted(subfolders) if deep else []
        yield from (p for n in sorted(names) if plain.is_file(p := Path(folder, n)))


def is_dicom(path: Path) -> bool:
    """Whether the file begins as DICOM files do."""
    try:
        with plain.opened(path) as file:
            return looks_like_dicom(file.read(132))
    except OSError:
        return False


def require_some(scan: Scan, path: Path) -> None:
    """Raise InputError where there is no DICOM image at all; the sentence says what the files are."""
    if scan.frames:
        return
    if not scan.skipped:
        raise InputError(f"{path} is empty. Give the folder that holds the images.")
    of = sum(s.count for s in scan.skipped)
    if of == 1:
        raise InputError(f"{path} {scan.skipped[0].reason}. Give the folder that holds the images.")
    most = max(scan.skipped, key=lambda s: s.count)
    raise InputError(f"{path} holds no DICOM image: of its {of} files, {most.count} are passed over because each "
                     f"{most.reason}. Give the folder that holds the images.")  # fmt: skip
