"""Label codings and tumour regions.

Inside the program one coding holds, the canonical one of :class:`Label`. Every coding found in files is a named table
in :data:`CODINGS`; masks are converted on the way in and on the way out, never by "whatever values occur".

Regions are nested: ET is inside TC is inside WT (Menze et al. 2015, doi:10.1109/TMI.2014.2377694).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import CodingError

LabelArray = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class Label(IntEnum):
    """The canonical classes."""

    BACKGROUND = 0
    NCR = 1  # necrotic or non-enhancing tumour core
    ED = 2  # peritumoural oedema / infiltrated tissue
    ET = 3  # enhancing tumour
    RC = 4  # resection cavity (BraTS 2024 and later)
    TUMOUR = 5  # tumour of unknown class (the LGG set): in WT only


class Region(StrEnum):
    """The nested regions that are scored."""

    WT = "WT"
    TC = "TC"
    ET = "ET"


REGION_LABELS: Mapping[Region, frozenset[Label]] = {
    Region.WT: frozenset({Label.NCR, Label.ED, Label.ET, Label.TUMOUR}),
    Region.TC: frozenset({Label.NCR, Label.ET}),
    Region.ET: frozenset({Label.ET}),
}

REGION_NAMES: Mapping[Region, str] = {
    Region.WT: "whole tumour",
    Region.TC: "tumour core",
    Region.ET: "enhancing tumour",
}

LABEL_NAMES: Mapping[Label, str] = {
    Label.BACKGROUND: "background",
    Label.NCR: "necrotic / non-enhancing core",
    Label.ED: "oedema",
    Label.ET: "enhancing tumour",
    Label.RC: "resection cavity",
    Label.TUMOUR: "tumour, class unknown",
}


@dataclass(frozen=True)
class Coding:
    """One file coding: ``values`` maps file value → canonical label, ``writes`` the other way.

    ``writes`` is derived: for a label that several values stand for, the lowest value is written.
    """

    name: str
    description: str
    values: Mapping[int, Label]
    aliases: tuple[str, ...] = ()
    writes: Mapping[Label, int] = field(init=False)

    def __post_init__(self) -> None:
        table: dict[Label, int] = {}
        for value in sorted(self.values):
            table.setdefault(self.values[value], value)
        object.__setattr__(self, "writes", table)

    def to_canonical(self, array: NDArray[np.generic], where: str = "the mask") -> LabelArray:
        """File values → canonical labels, uint8, same shape. Raises CodingError naming the values that do not fit."""
        lookup: LabelArray = np.full(256, _NONE, dtype=np.uint8)
        lookup[list(self.values)] = list(self.values.values())
        if array.dtype == np.uint8:  # the quick way: masks have 10⁷ voxels
            out: LabelArray = lookup[array]
            if out.max(initial=0) != _NONE:
                return out
        unknown = sorted(set(_unique(array, where)) - set(self.values))
        if unknown:
            raise CodingError(
                f"{where} holds the value{'s' if len(unknown) > 1 else ''} {_listed(unknown)}, which the coding "
                f"'{self.name}' ({self.description}) does not have. Name the right coding; {choices()}"
            )
        return lookup[array.astype(np.uint8)]

    def from_canonical(self, labels: LabelArray, where: str = "the mask") -> LabelArray:
        """Canonical labels → file values, uint8, same shape. A class the coding lacks is refused, never folded."""
        lacks = np.ones(256, dtype=np.bool_)
        lookup = np.zeros(256, dtype=np.uint8)
        for label, value in self.writes.items():
            lacks[label], lookup[label] = False, value
        if lacks[labels].any():
            lacking = [LABEL_NAMES[Label(v)] for v in np.unique(labels[lacks[labels]])]
            raise CodingError(
                f"{where} holds {_listed(lacking)}, which the coding '{self.name}' cannot "
                f"express. Save with another coding; {choices()}"
            )
        return lookup[labels]


def _coding(name: str, description: str, values: dict[int, Label], *aliases: str) -> Coding:
    return Coding(name, description, {0: Label.BACKGROUND, **values}, aliases)


CODINGS: Mapping[str, Coding] = {
    c.name: c
    for c in (
        _coding(
            "brats2015", "1 necrosis, 2 oedema, 3 non-enhancing, 4 enhancing",
            {1: Label.NCR, 2: Label.ED, 3: Label.NCR, 4: Label.ET}, "brats2013", "brats2014",
        ),
        _coding(
            "brats2021", "1 necrotic, 2 oedema, 4 enhancing",
            {1: Label.NCR, 2: Label.ED, 4: Label.ET},
            "brats2017", "brats2018", "brats2019", "brats2020", "brats2022",
        ),
        _coding("brats2023", "1 necrotic, 2 oedema, 3 enhancing", {1: Label.NCR, 2: Label.ED, 3: Label.ET}),
        _coding(
            "brats2024", "the same, 4 resection cavity",
            {1: Label.NCR, 2: Label.ED, 3: Label.ET, 4: Label.RC}, "brats2025",
        ),
        _coding(
            "decathlon", "1 oedema, 2 non-enhancing, 3 enhancing",
            {1: Label.ED, 2: Label.NCR, 3: Label.ET}, "msd", "task01",
        ),
        _coding(
            "brats-ped", "1 enhancing, 2 non-enhancing, 3 cyst, 4 oedema",
            {1: Label.ET, 2: Label.NCR, 3: Label.NCR, 4: Label.ED}, "brats-ped2024",
        ),
        _coding("lgg", "255 tumour", {255: Label.TUMOUR}, "kaggle_3m"),
    )
}  # fmt: skip


HOW_TO_SAY = '--coding, Mask: Open… in the window, or {"coding": "…"} in <mask>.json beside it'
"""The doors by which a person tells a mask's coding."""
_PAIR = re.compile(r"(\d{1,3})=(\w+)")


def coding(name: str) -> Coding:
    """The coding of that name or alias, or one written out: ``1=ED,2=NCR,3=ET``. Raises CodingError naming the choices."""
    key = name.lower().replace(" ", "")
    for c in CODINGS.values():
        if key == c.name or key in c.aliases:
            return c
    if "=" in key:
        return _written_out(name)
    raise CodingError(f"There is no label coding '{name}'; {choices()}")


def choices() -> str:
    """The codings in words, for a message."""
    listed = "; ".join(f"{c.name} ({c.description})" for c in CODINGS.values())
    return f"the choices are: {listed}; or values like 1=ED,2=NCR,3=ET."


def _written_out(name: str) -> Coding:
    """The coding that a text like ``1=ED,2=NCR,3=ET`` tells. Raises CodingError for another."""
    table: dict[int, Label] = {}
    for part in name.replace(" ", "").upper().split(","):
        pair = _PAIR.fullmatch(part)
        value = int(pair[1]) if pair else 0
        if pair is None or pair[2] not in Label.__members__ or not 0 < value < _NONE or value in table:
            classes = ", ".join(label.name for label in Label if label)
            raise CodingError(f"'{name}' is no label coding: write each value from 1 to 254 once and its class ({classes}), "
                              "like 1=ED,2=NCR,3=ET.")  # fmt: skip
        table[value] = Label[pair[2]]
    meaning = ", ".join(f"{value} {LABEL_NAMES[label]}" for value, label in sorted(table.items()))
    return _coding(",".join(f"{value}={label.name}" for value, label in sorted(table.items())), meaning, table)


def region_mask(labels: LabelArray, region: Region) -> Mask:
    """Boolean mask of a region in canonical labels, same shape."""
    first, *others = sorted(int(v) for v in REGION_LABELS[region])
    mask: Mask = labels == first
    for label in others:  # ten times as fast as looking each voxel up
        mask |= labels == label
    return mask


def region_masks(labels: LabelArray, regions: Iterable[Region] = tuple(Region)) -> dict[Region, Mask]:
    """Region → boolean mask."""
    return {r: region_mask(labels, r) for r in regions}


def labels_from_regions(wt: Mask, tc: Mask, et: Mask) -> LabelArray:
    """Nested region masks → canonical labels. Nesting is enforced from inside out: TC := TC ∪ ET, WT := WT ∪ TC."""
    out = np.where(wt, np.uint8(Label.ED), np.uint8(0))
    out[tc] = Label.NCR
    out[et] = Label.ET
    return out


def _unique(array: NDArray[np.generic], where: str) -> list[int]:
    values = np.unique(array)
    if not np.array_equal(values, np.round(values.astype(np.float64))):
        raise CodingError(f"{where} holds fractional values; it was interpolated, or it is not a mask.")
    return [int(v) for v in values]


_NONE = 255  # no canonical label: marks file values that a coding does not have


def _listed(items: Iterable[object]) -> str:
    return ", ".join(str(i) for i in items)
