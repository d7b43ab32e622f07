"""What the words in other programs' files mean: which series a channel is, which region or class an answer is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.io.naming import classify

_REGIONS = (
    (Region.WT, r"wt|whole"),
    (Region.TC, r"tc|core"),
    (Region.ET, r"et|enh\w*|active"),
)
_CLASSES = (
    (Label.RC, r"rc|cavit\w*|resect\w*"),
    (Label.NCR, r"ncr|net|netc|necro\w*|non ?enh\w*|nonenh\w*|ncr ?net"),
    (Label.ED, r"ed|o?edema|peritumou?r\w*|snfh|infiltrat\w*"),
    (Label.ET, r"et|enh\w*|gd ?enh\w*|active"),
)


def series_of(names: Sequence[str], where: str, given: Sequence[Modality] = ()) -> tuple[Modality, ...]:
    """The series of each channel, from its name, or as the user ``given``. Raises CheckpointError where neither says."""
    if given:
        if len(given) != len(names):
            raise CheckpointError(f"{where} takes {len(names)} series, and --series names {len(given)}.")
        return tuple(given)
    found = [classify([name])[0] for name in names]
    if any(not isinstance(m, Modality) for m in found) or len(set(found)) != len(found):
        listed = ", ".join(f"'{name}'" for name in names) or "none"
        if any(re.search(r"\bct\b|\bpet\b", name, re.IGNORECASE) for name in names):
            raise CheckpointError(f"{where} is a model of another task: its images are {listed}, not MR series.")
        raise CheckpointError(
            f"{where} does not tell which series its {len(names)} channels are (it calls them {listed}). Say it in their order, "
            "like --series t1ce,t1,t2,flair."
        )
    return tuple(m for m in found if isinstance(m, Modality))


def region_of(name: str) -> Region | None:
    """The region that a name like "Whole tumor" or "ET" tells; None for another."""
    return next((r for r, pattern in _REGIONS if _says(name, pattern)), None)


def class_of(name: str) -> Label | None:
    """The class that a name like "edema" or "NCR" tells; None for another."""
    return next((c for c, pattern in _CLASSES if _says(name, pattern)), None)


def regions_of(names: Sequence[str], where: str) -> tuple[Region, ...]:
    """The region of each answer. Raises CheckpointError for a model of another task."""
    found = [region_of(name) for name in names]
    if not found or any(r is None for r in found) or len(set(found)) != len(found):
        listed = ", ".join(f"'{n}'" for n in names) or "nothing"
        raise CheckpointError(
            f"{where} is a model of another task: it answers {listed}, and not whole tumour, tumour core and enhancing tumour."
        )
    return tuple(r for r in found if r is not None)


def classes_of(labels: Mapping[str, int], where: str) -> dict[Label, int]:
    """Class → label value, of a model that gives classes, "background" left out. Raises CheckpointError for another task."""
    found = {class_of(name): value for name, value in labels.items() if value}
    if None in found or len(found) != sum(1 for v in labels.values() if v):
        listed = ", ".join(f"{value} '{name}'" for name, value in labels.items() if value)
        raise CheckpointError(
            f"{where} labels {listed}, which are not (or not clearly) the classes of a brain tumour. If they are, say which: "
            "--coding 1=ED,2=NCR,3=ET."
        )
    return {label: value for label, value in found.items() if label is not None}


def _says(name: str, pattern: str) -> bool:
    words = re.sub(r"[^a-z0-9]+", " ", name.lower()).strip()
    return re.search(rf"\b(?:{pattern})\b", words) is not None
