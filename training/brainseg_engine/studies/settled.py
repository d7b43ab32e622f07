"""Series files as acquired whose names leave something open: settled by sidecars, words and voxels, and said.

Data sets of prepared studies are left alone: there two files for one series are a mistake that a person sorts out. Files that
lie on grids of their own come from a scanner, where a second T1 with contrast is the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.io.formats import read_header
from brainseg_engine.io.layouts import ambiguity, missing_series
from brainseg_engine.io.naming import MASK
from brainseg_engine.io.series import Layout, Series
from brainseg_engine.studies.assignment import proposed
from brainseg_engine.studies.identify import Choices


def settled(series: Series) -> Series:
    """The series with what names leave open, where they are as acquired; each such choice is one of its notes.

    Of several candidates for one use the best is taken. Images whose names tell nothing are taken where no more of them could
    be one of the four than are missing. Never raises for what cannot be read.
    """
    several = {m: files for m, files in series.ambiguous.items() if m != MASK}
    missing = len(Modality) - len(series.files)
    if series.layout is not Layout.FILES or series.mixed or not missing or not (several or series.unknown):
        return series
    candidates = [*series.files.values(), *(p for some in several.values() for p in some), *series.unknown]
    if _on_one_grid(candidates):
        return series
    choices = proposed(series)
    named = {p for some in several.values() for p in some}
    unnamed = [p for p in choices.proposals if Path(p.series.id) in series.unknown and not p.excluded]
    enough = len(unnamed) <= missing - len(several)
    chosen = {
        m: Path(i) for m, i in choices.chosen.items()
        if m not in series.files and (Path(i) in named or enough or choices.of(i).weighting_known)
    }  # fmt: skip
    return _with(series, chosen, choices) if chosen else series


def _with(series: Series, chosen: Mapping[Modality, Path], choices: Choices) -> Series:
    files = {m: p for m in Modality if (p := series.files.get(m) or chosen.get(m)) is not None}
    taken = set(files.values())
    left = {k: some for k, some in series.ambiguous.items() if k == MASK or (k not in files and not taken & set(some))}
    unknown = [*series.unknown, *(p for k, some in series.ambiguous.items() if k not in left for p in some)]
    rest = tuple(p for p in unknown if p not in taken)
    notes = tuple(f"{p.name} was taken for {choices.of(str(p)).reason}" for p in chosen.values())
    return replace(
        series, files=files, ambiguous=left, unknown=rest, notes=(*series.notes, *notes),
        problems=[*missing_series(files, left, rest), *(ambiguity(k, some) for k, some in left.items())],
    )  # fmt: skip


def _on_one_grid(files: list[Path]) -> bool:
    grids: list[Grid] = []
    for path in files:
        try:
            grids.append(read_header(path).grid)
        except BrainsegError:
            continue
    return all(g.same_as(grids[0]) for g in grids[1:])
