"""Which corrections a model can learn from, as far as their records tell; and how many patients are held out. Light: no torch."""

from __future__ import annotations

from collections.abc import Collection

from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality
from brainseg_engine.corrections import Correction

SHARE = 0.25
"""Of the patients, held out where nobody has said which."""
FEWEST = 3
"""Patients from which on some are held out of themselves."""


def unfit(c: Correction, regions: Collection[Region], modalities: Collection[Modality]) -> str:
    """Why a model of those regions and modalities cannot learn from the correction, "" when it can."""
    untold = [r for r in regions if r not in c.regions]
    if untold:
        return (
            f"The correction '{c.id}' tells {', '.join(c.regions)} (coding '{c.coding}'), and the model's "
            f"{', '.join(untold)} cannot be learnt from it. Take a model of the same regions."
        )
    lacking = [m.title for m in modalities if m not in c.images]
    if lacking:
        return (
            f"The study of the correction '{c.id}' has no {', '.join(lacking)}, which the model needs. Take a model of the "
            "modalities that were corrected."
        )
    return ""


def share_of(patients: int) -> int:
    """How many of so many patients are held out where nobody has said which."""
    return max(1, round(SHARE * patients)) if patients >= FEWEST else 0
