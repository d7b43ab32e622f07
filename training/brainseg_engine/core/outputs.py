"""Folders that commands write into. Such a folder is new, empty, or one of ours; else nothing is written into it.

A file of ours marks it and says for what it is used. What lies in a marked folder may be replaced by us, and nothing is
ever removed that we did not make.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from brainseg_engine.core import plain, records
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.names import inside
from brainseg_engine.core.paths import PART, check_writable, sweep

MARK = ".napari-brainseg.json"
FORMAT = "napari-brainseg-output/1"
_OF_NOBODY = {".DS_Store", "Thumbs.db", "desktop.ini", ".directory", "lost+found"}
"""What file managers and file systems put into any folder."""


class Use(StrEnum):
    """What an output folder is for; the value stands in messages."""

    MASKS = "segmentations"
    TRAINING = "a training run"
    FINETUNING = "a fine-tuning"
    CASES = "cases"
    REPORT = "a report"


def claim(
    folder: Path,
    use: Use,
    *,
    need_bytes: int = 0,
    private: bool = False,
    beside: bool = False,
    made_before: Callable[[Path], bool] | None = None,
) -> None:
    """Take the folder to write into: it is made, marked, and rid of what killed processes left half-written.

    ``private``: a new one is for its owner alone. ``beside``: it may hold other work of ours too, like a report the masks.
    ``made_before`` recognises a folder that an earlier version made without a mark. Raises OutputError for a folder that
    holds anything else, was made for another use, or takes no file.
    """
    require(folder, use, beside=beside, made_before=made_before)
    if private and not folder.exists():
        _make_private(folder)
    check_writable(folder, need_bytes)
    sweep(folder)
    if not plain.is_file(folder / MARK):
        records.write_json(folder / MARK, {"format": FORMAT, "use": use.name.lower()})


def require(folder: Path, use: Use, *, beside: bool = False, made_before: Callable[[Path], bool] | None = None) -> None:
    """Raise OutputError where :func:`claim` would for what the folder holds; nothing is made or changed."""
    held = _held(folder)
    if not held:
        return
    earlier = use_of(folder)
    if earlier is None and made_before is not None and made_before(folder):
        return
    if earlier is None:
        raise OutputError(
            f"{folder} holds files that are not of this program ({held[0]}{', …' if len(held) > 1 else ''}), and none of them "
            "may be lost. Name a new or an empty folder."
        )
    if earlier is not use and not beside:
        raise OutputError(
            f"{folder} holds {earlier.value}, and {use.value} would be mixed with it. Name another folder."
        )


def use_of(folder: Path) -> Use | None:
    """What the folder was marked for; None for one that is not ours."""
    try:
        mark = records.read_object(folder / MARK, most=4096)
        return Use[str(mark["use"]).upper()] if mark["format"] == FORMAT else None
    except (OSError, ValueError, KeyError):
        return None


def subfolder(folder: Path, name: str) -> Path:
    """A folder of ours in one of ours, made and marked where it is absent. Raises OutputError for a link, and for one that
    somebody else made."""
    path = _below(folder, name)
    use = use_of(folder) or Use.CASES
    claim(path, use)
    return path


def remove(folder: Path, name: str, *, made_before: Callable[[Path], bool] | None = None) -> None:
    """Remove a folder of ours in one of ours, where it is there. Raises OutputError for one that we did not make."""
    path = _below(folder, name)
    if not path.exists():
        return
    ours = use_of(path) is not None or (made_before is not None and made_before(path))
    if not ours and _held(path):
        raise OutputError(f"{path} was not made by this program, so it is not replaced. Name another output folder.")
    with contextlib.suppress(OSError):
        shutil.rmtree(path)


def _below(folder: Path, name: str) -> Path:
    try:
        path = inside(folder, name)
    except ValueError as e:
        raise OutputError(f"Nothing is written through links: {e}. Name another output folder.") from e
    if path.is_symlink():
        raise OutputError(f"{path} is a link, and nothing is written through links. Name another output folder.")
    return path


def _held(folder: Path) -> list[str]:
    """What the folder holds, of which something could be lost; [] where it is absent. Raises OutputError."""
    try:
        return sorted(p.name for p in folder.iterdir() if p.name not in _OF_NOBODY and not p.name.startswith(PART))
    except FileNotFoundError:
        return []
    except NotADirectoryError as e:
        raise OutputError(f"Cannot write into {folder}: it is a file. Choose another output folder.") from e
    except (OSError, ValueError) as e:
        why = (e.strerror if isinstance(e, OSError) else None) or e
        raise OutputError(f"Cannot write into {folder}: {why}. Choose another output folder.") from e


def _make_private(folder: Path) -> None:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as e:
        raise OutputError(f"Cannot write into {folder}: {e.strerror or e}. Choose another output folder.") from e
