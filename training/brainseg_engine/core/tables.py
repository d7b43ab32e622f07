"""Tables that several calls and processes write into: one row an id, and a row of an earlier call stays."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from brainseg_engine.core import plain
from brainseg_engine.core.errors import OutputError
from brainseg_engine.core.locks import held
from brainseg_engine.core.paths import atomic
from brainseg_engine.core.text import printable


def add_rows(
    path: Path,
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[str],
    more: Callable[[str], bool] = lambda column: False,
) -> None:
    """Put the rows (each with an ``id``) into the CSV file, in place of earlier ones of their ids.

    ``columns`` are those of every table of its kind; others are kept where ``more`` says so. Raises OutputError, for a table
    of another program too.
    """
    with held(path.with_name(f".{path.stem}.lock")):
        table = {r["id"]: r for r in rows_of(path, columns)}
        for row in rows:
            shown = {k: printable(v) if isinstance(v, str) else v for k, v in row.items()}
            table[shown["id"]] = shown
        further = [c for c in dict.fromkeys(c for r in table.values() for c in r) if c not in columns and more(c)]
        with atomic(path) as part, part.open("w", newline="", encoding="utf-8") as f:
            writer = csv.DictWriter(f, [*columns, *further], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(table.values())


def rows_of(path: Path, columns: Sequence[str]) -> list[dict[str, Any]]:
    """The rows that are there. Raises OutputError for a table that is none of ours."""
    try:
        lines = plain.read(path).decode("utf-8", "replace").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    except OSError as e:
        raise OutputError(f"{path} cannot be read: {e.strerror or e}. Move it away.") from e
    reader = csv.DictReader(lines)
    try:
        if lines and not set(columns) <= set(reader.fieldnames or ()):
            raise OutputError(f"{path} is no summary of this program, and would be lost. Move it away.")
        return [row for row in reader if row.get("id")]
    except csv.Error as e:
        raise OutputError(f"{path} is damaged ({e}). Move it away.") from e
