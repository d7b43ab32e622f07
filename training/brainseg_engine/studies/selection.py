"""Which studies of a cohort are meant: by a list of names or paths, or by a stored split."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from brainseg_engine.core import plain
from brainseg_engine.core.errors import InputError, TrainingError
from brainseg_engine.io.sessions import kept_apart
from brainseg_engine.studies import cohort
from brainseg_engine.studies.sources import expand

_MOST_BYTES = 2**26


def select(
    given: Sequence[Path],
    list_file: Path | None = None,
    split: Path | None = None,
    subset: str = "validation",
    *,
    whole: bool = False,
) -> list[Path]:
    """The studies of the folders ``given`` that the list and the split name; without folders, the list's lines are paths.

    A line of the list (one a study; empty ones and those that begin with # count as nothing; "-" reads them from the standard
    input) names a study as a split does, by its folder's name, or is a path.
    ``whole``: see :func:`expand`. Raises InputError for what is not there.
    """
    if not given and list_file is None:
        raise InputError("No study was given. Name studies or folders of studies, or a --list of them.")
    lines = _lines(list_file) if list_file is not None else []
    if not given:
        sources = expand([_path(line, list_file) for line in lines], whole=whole)
    else:
        sources = expand(given, whole=whole)
        sources = _named(sources, lines, str(list_file)) if list_file is not None else sources
    return sources if split is None else _named(sources, of_subset(split, subset), f"{split}, part '{subset}'")


def of_subset(split: Path, subset: str) -> list[str]:
    """The cases of one part of a stored split. Raises InputError where it has none."""
    try:
        parts = cohort.read_split(split)
    except TrainingError as e:  # nothing is trained here: it is a file that cannot be used
        raise InputError(str(e)) from e
    cases = [case for case, part in parts.items() if part == subset]
    if not cases:
        raise InputError(f"The split {split} has no part '{subset}'; it has {', '.join(sorted(set(parts.values())))}.")
    return cases


def _named(sources: Sequence[Path], names: Collection[str], where: str) -> list[Path]:
    """Those of the sources that are named. Raises InputError for names that are no study."""
    own = {s: cohort.name(s) for s in sources}
    apart = kept_apart(own)
    by_name = {apart[s]: s for s in sources} | {str(s.resolve()): s for s in sources}
    by_given = {n: by_name.get(n) or by_name.get(_resolved(n)) for n in dict.fromkeys(names)}
    absent = [n for n, s in by_given.items() if s is None]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        raise InputError(f"{where} names studies that are not in what was given: {', '.join(absent[:3])}{more}.")
    return list(dict.fromkeys(s for s in by_given.values() if s is not None))


def _resolved(name: str) -> str:
    try:
        return str(Path(name).resolve())
    except (OSError, ValueError):
        return name


def _lines(file: Path) -> list[str]:
    try:
        text = (
            sys.stdin.read()
            if str(file) == "-"
            else plain.read(file, _MOST_BYTES).decode("utf-8-sig", "surrogateescape")
        )
    except OSError as e:
        raise InputError(f"The list {file} cannot be read: {e.strerror or e}. Check the path.") from e
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if not lines:
        raise InputError(f"The list {file} names no study. Put one a line into it.")
    return lines


def _path(line: str, file: Path | None) -> Path:
    """As the shell would take it, else seen from where the list lies."""
    try:
        path = Path(line).expanduser()
    except RuntimeError:  # "~name" of nobody on this machine
        path = Path(line)
    if path.is_absolute() or _is_there(path) or file is None:
        return path
    beside = file.parent / path
    return beside if _is_there(beside) else path


def _is_there(path: Path) -> bool:
    """False, too, for what can be no name of a file."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False
