"""Data folders and stored splits: which case is for training and which for validation."""

from __future__ import annotations

import csv
from pathlib import Path

from brainseg_engine.errors import InputError, TrainingError
from brainseg_engine.io import find_studies

SUBSETS = ("train", "validation", "test")


def read_split(path: Path) -> dict[str, str]:
    """A stored split: CSV with a column ``case`` (or ``patient``) and a column ``split`` of train, validation or test.

    Raises TrainingError for a case named twice or an unknown subset.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as f:
            rows = list(csv.DictReader(f))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        why = e.strerror if isinstance(e, OSError) else f"it is no CSV text ({e})"
        raise TrainingError(f"Cannot read the split file {path}: {why}.") from e
    key = next((k for k in ("case", "patient") if rows and k in rows[0]), None)
    if key is None or "split" not in rows[0]:
        raise TrainingError(f"The split file {path} needs the columns 'case' and 'split' and at least one row.")
    split: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        name, subset = (row[key] or "").strip(), (row["split"] or "").strip()
        if subset not in SUBSETS:
            raise TrainingError(
                f"{path}, line {number}: the split of '{name}' is '{subset}'; it must be one of {', '.join(SUBSETS)}."
            )
        if name in split:
            again = "twice" if split[name] == subset else f"both in {split[name]} and in {subset}"
            raise TrainingError(
                f"{path}, line {number}: '{name}' stands there {again}; each case belongs to one subset."
            )
        split[name] = subset
    return split


def cases(data: Path, split: dict[str, str], subset: str) -> list[Path]:
    """The study folders of one subset, sorted by name. Raises TrainingError naming those that are absent from ``data``."""
    if not data.is_dir():
        raise InputError(f"There is no data folder {data}.")
    found = find_studies(data)
    folders = {folder.name: folder for folder in found}
    wanted = sorted(name for name, s in split.items() if s == subset)
    for folder in found:
        if folder.name in wanted and folders[folder.name] != folder:
            raise TrainingError(
                f"The split names '{folder.name}', and there are two of that name: {folder} and {folders[folder.name]}. "
                "Rename one of them."
            )
    absent = [name for name in wanted if name not in folders]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise TrainingError(f"The split names cases that are not in {data}: {', '.join(absent[:3])}{more}.")
    return [folders[name] for name in wanted]
