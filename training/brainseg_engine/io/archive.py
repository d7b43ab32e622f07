"""Archives (``.zip``) as hospitals export studies: unpacked into a private folder, within limits, and removed afterwards.

Files get numbers for names, but for those whose names tell which series they are; an archive with names that lead
elsewhere is refused as a whole. Sizes are bounded by what the archive's
directory tells, by what a file may grow to, and by the room on the disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from brainseg_engine.core import paths, plain
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.events import CancelCheck, Progress, ProgressCallback, never, silent
from brainseg_engine.io.formats import PARTS
from brainseg_engine.io.found import Skipped, UnpackedFolder
from brainseg_engine.io.image import unreadable
from brainseg_engine.io.naming import is_image

MOST_FILES = 200_000
MOST_BYTES = 32 << 30
MOST_RATIO = 200
"""How many times its packed size a file of more than 64 MiB may have."""
_SMALL = 64 << 20
_SPARE = 512 << 20  # room that stays free on the disk
_BLOCK = 1 << 20


def is_archive(path: Path) -> bool:
    """True for an ordinary file that is named like an archive or begins like one."""
    if not plain.is_file(path):
        return False
    if path.name.lower().endswith(".zip"):
        return True
    try:
        with plain.opened(path) as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def unpack(
    path: Path, progress: ProgressCallback = silent, cancelled: CancelCheck = never
) -> tuple[UnpackedFolder, tuple[Skipped, ...]]:
    """The archive's files in a folder for this user alone (0700, files 0600), and what was left packed.

    The folder goes when :meth:`UnpackedFolder.close` is called, when nothing refers to it any more, at the program's end, or,
    after a kill, when the next archive is unpacked. Raises InputError for an archive that is damaged, locked, or not to be
    trusted; Cancelled. Nothing stays behind then.
    """
    home = Path(tempfile.gettempdir())
    paths.sweep(home)
    try:
        holding = contextlib.ExitStack()
        workspace = UnpackedFolder(holding.enter_context(paths.part_folder(home)), holding.close)
    except OSError as e:
        raise InputError(f"There is no place to unpack {path}: {home} takes no files. Free some space.") from e
    try:
        with plain.opened(path) as file, zipfile.ZipFile(file) as archive:
            members = trusted(archive, path, home)
            return workspace, _extract(archive, members, workspace.folder, path, progress, cancelled)
    except BaseException as e:
        workspace.close()
        if isinstance(e, zipfile.BadZipFile | zlib.error | EOFError | NotImplementedError | RuntimeError):
            raise InputError(f"{path} is damaged: it cannot be unpacked. Export or copy it again.") from None
        if isinstance(e, OSError):
            raise unreadable(path, e) from None
        raise


def trusted(archive: zipfile.ZipFile, path: Path, home: Path) -> list[zipfile.ZipInfo]:
    """The files to unpack. Raises InputError where names lead out of the archive or sizes are not believable."""
    members = [m for m in archive.infolist() if not m.is_dir()]
    if any(_leads_out(m.filename) for m in members):
        raise InputError(f"{path} holds names that lead out of it (like ../). It was not unpacked.")
    if any(m.flag_bits & 1 for m in members):
        raise InputError(f"{path} is locked with a password. Unpack it with that, and give the folder.")
    whole = sum(m.file_size for m in members)
    swollen = any(m.file_size > max(_SMALL, MOST_RATIO * m.compress_size) for m in members)
    if len(members) > MOST_FILES or whole > MOST_BYTES or swollen:
        raise InputError(f"{path} would unpack to {whole / 2**30:.1f} GiB in {len(members)} files, which is "
                         "not to be believed. It was not unpacked.")  # fmt: skip
    if whole + _SPARE > shutil.disk_usage(home).free:
        raise InputError(f"There is no room to unpack {path} ({whole / 2**30:.1f} GiB) in {home}. Free some space.")
    return members


def _leads_out(name: str) -> bool:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    return ".." in parts or name.startswith(("/", "\\")) or (len(name) > 1 and name[1] == ":")


def _extract(
    archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, path: Path,
    progress: ProgressCallback, cancelled: CancelCheck,
) -> tuple[Skipped, ...]:  # fmt: skip
    """Write the files that may be images. A file that does not open is skipped; one that grows beyond its size ends it all."""
    left: dict[str, list[Path]] = {}
    whole = sum(m.file_size for m in members) or 1
    done = 0
    for i, member in enumerate(members):
        if cancelled():
            raise Cancelled()
        progress(Progress("unpacking", done / whole))
        done += member.file_size
        reason = why_not(member)
        if not reason:
            try:
                write_member(archive, member, _place(folder, i, member.filename), path)
                continue
            except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError):
                reason = "is damaged in the archive"
        left.setdefault(reason, []).append(Path(member.filename))
    progress(Progress("unpacking", 1.0))
    return tuple(Skipped(reason, tuple(names), "damaged" in reason) for reason, names in left.items())


_BESIDE = (".json", ".raw", ".zraw", ".mat", *PARTS)
"""Endings of files that lie beside images and that these, or people, call by their names."""


def why_not(member: zipfile.ZipInfo) -> str:
    """Why a member is left packed, in words; "" for an ordinary file."""
    kind = member.external_attr >> 28
    if kind not in (0, 8):  # neither untold nor an ordinary file
        return "is a link or a device, no file"
    if member.filename.lower().endswith((".zip", ".7z", ".tar", ".tgz", ".rar")):
        return "is an archive inside the archive"
    return ""


def _place(folder: Path, i: int, name: str) -> Path:
    """Where a file goes: a number; images and sidecars whose names and folders tell what they are keep these."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not (is_image(Path(parts[-1])) or parts[-1].lower().endswith(_BESIDE)):
        return folder / f"{i:06d}"
    kept = folder.joinpath(*(re.sub(r"[^\w.+ -]", "_", part) for part in parts))
    return folder / f"{i:06d}" / kept.name if kept.exists() else kept


def write_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, path: Path) -> None:
    """Unpack one file, for this user alone. Raises InputError where it grows beyond its size, EOFError where it ends early."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    written = 0
    with os.fdopen(handle, "wb") as out, archive.open(member) as packed:
        while block := packed.read(_BLOCK):
            written += len(block)
            if written > member.file_size:
                raise InputError(f"{path} holds a file that grows beyond the size it tells. It was not unpacked.")
            out.write(block)
    if written < member.file_size:
        target.unlink()
        raise EOFError
