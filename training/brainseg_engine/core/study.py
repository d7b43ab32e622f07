"""One study in memory, whatever it came from. All records are frozen; arrays are not copied and not to be written to."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Region

WORTH_TELLING_ML = 0.1
"""Of specks that were left out of a region."""


class Modality(StrEnum):
    """The four contrasts of a brain tumour protocol."""

    T1 = "t1"
    T1CE = "t1ce"
    T2 = "t2"
    FLAIR = "flair"

    @property
    def title(self) -> str:  # type: ignore[override]  # str.title is not wanted on a modality
        """How radiologists write it."""
        return {"t1": "T1", "t1ce": "T1ce", "t2": "T2", "flair": "FLAIR"}[self.value]


@dataclass(frozen=True)
class Volume:
    """One modality: ``data`` (X, Y, Z), any real dtype, on ``grid``.

    ``path`` and ``sha256`` tell where it came from (the hash is of the voxel values, so that a renamed or recompressed
    file is the same image); ``header`` is the file's own header (nibabel), kept for saving; ``note`` says what about its
    place had to be guessed ("" when nothing).
    """

    data: NDArray[Any]
    grid: Grid
    modality: Modality
    path: Path | None = None
    sha256: str = ""
    header: Any = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.data.shape != self.grid.shape:
            raise ValueError(f"data {self.data.shape} does not fit its grid {self.grid.shape}")


@dataclass(frozen=True)
class Segmentation:
    """Canonical ``labels`` (uint8) on ``grid``; ``coding`` is the name of the file coding it came in or goes out with.

    ``made_by`` names a model and its version, or a person; ``regions`` are those that were measured (others are unknown,
    never empty).
    """

    labels: LabelArray
    grid: Grid
    coding: str = "brats2023"
    made_by: str = ""
    regions: tuple[Region, ...] = tuple(Region)
    path: Path | None = None
    note: str = ""
    """What about its coding had to be decided when it was read, in words."""
    edited: bool = False
    """Whether a person has changed what ``made_by`` made, as far as its file tells."""

    def __post_init__(self) -> None:
        if self.labels.shape != self.grid.shape or self.labels.dtype != np.uint8:
            raise ValueError(f"labels {self.labels.dtype} {self.labels.shape} do not fit the grid {self.grid.shape}")


@dataclass(frozen=True)
class SeriesNeeded:
    """The series that a model works on, those of them that may be missing from a study, and how many of these at once."""

    modalities: tuple[Modality, ...] = tuple(Modality)
    may_lack: tuple[Modality, ...] = ()
    at_most: int = 1
    one_of: tuple[Modality, ...] = ()
    """At least one of these must be there; () for no such rule."""

    def lacking(self, present: Container[Modality]) -> tuple[Modality, ...]:
        """The series of the model that are not ``present``, in its order."""
        return tuple(m for m in self.modalities if m not in present)

    def met_by(self, present: Container[Modality]) -> bool:
        """True when nothing is missing but what may be."""
        lacking = self.lacking(present)
        enough = len(lacking) <= self.at_most and set(lacking) <= set(self.may_lack)
        return not lacking or (
            enough and (not self.one_of or any(m in present for m in self.one_of if m in self.modalities))
        )

    @property
    def spared(self) -> str:
        """What may be missing, in words; "" where nothing may."""
        if not self.may_lack:
            return ""
        number = {1: "one", 2: "two", 3: "three"}[self.at_most]
        most = "" if self.at_most == 1 else "up to "
        kept = f", but not without all of {', '.join(m.title for m in self.one_of)}" if self.one_of else ""
        return f"it can do without {most}{number} of {', '.join(m.title for m in self.may_lack)}{kept}"


ALL_FOUR = SeriesNeeded()
"""What a model of all four series needs."""


@dataclass(frozen=True)
class Study:
    """Modality → Volume plus an id. Raw (each volume on its own grid) or aligned (one grid).

    ``segmentation`` is a mask found beside the images, ``coding`` the coding its naming implies ("" when it tells none).
    """

    id: str
    volumes: Mapping[Modality, Volume]
    segmentation: Segmentation | None = None
    coding: str = ""
    folder: Path | None = None

    def __post_init__(self) -> None:
        if not self.volumes:
            raise InputError(f"The study '{self.id}' has no image.")

    @property
    def reference(self) -> Volume:
        """The series on whose grid every result leaves: T1ce, else the first present in the order T1, T2, FLAIR."""
        for m in (Modality.T1CE, *Modality):
            if m in self.volumes:
                return self.volumes[m]
        raise InputError(f"The study '{self.id}' has no image.")

    @property
    def aligned(self) -> bool:
        """True when all volumes share one grid."""
        return all(v.grid.same_as(self.reference.grid) for v in self.volumes.values())

    def require(self, needed: SeriesNeeded) -> None:
        """Raise unless the series are present, but for those that may be missing, and aligned; the sentence names what
        is missing or differs."""
        missing = needed.lacking(self.volumes)
        if not needed.met_by(self.volumes):
            spared = f" ({needed.spared})" if needed.spared else ""
            raise InputError(
                f"The study '{self.id}' lacks {', '.join(m.title for m in missing)}"
                f"{f' (in {self.folder})' if self.folder else ''}; the model needs "
                f"{', '.join(m.title for m in needed.modalities)}{spared}. Add the series, or assign the right file to it."
            )
        reference = self.reference
        for m in needed.modalities:
            if m in missing:
                continue
            v = self.volumes[m]
            if not v.grid.same_as(reference.grid):
                raise GeometryError(
                    f"{m.title} ({_where(v)}) has shape {_times(v.grid.shape)}, spacing {_mm(v.grid.spacing)}, "
                    f"orientation {v.grid.orientation}; {reference.modality.title} ({_where(reference)}) has "
                    f"{_times(reference.grid.shape)}, {_mm(reference.grid.spacing)}, {reference.grid.orientation}. "
                    "Align the series first: all four must be co-registered and resampled onto one grid."
                )


@dataclass(frozen=True)
class Prediction:
    """A model's answer: the segmentation, and what is worth keeping of how it came about.

    ``probabilities``: region → float16 (X, Y, Z) on the segmentation's grid, or None when not asked for.
    ``seconds``: stage → seconds.
    """

    study_id: str
    segmentation: Segmentation
    model: str
    model_version: str
    device: str
    seconds: Mapping[str, float] = field(default_factory=dict)
    probabilities: Mapping[Region, NDArray[np.float16]] | None = None
    rests_on: tuple[Modality, ...] = ()
    """The series that the answer was made from."""
    dropped_ml: Mapping[Region, float] = field(default_factory=dict)
    """Region → mL of pieces that were left out because each is smaller than the model's rule for specks."""
    plan: str = ""
    """How the network was run, in one line: in one pass or in tiles, on which device, with how much memory."""
    fallen: str = ""
    """A sentence where memory did not allow the usual way."""
    intervals_ml: Mapping[Region, tuple[float, float]] = field(default_factory=dict)
    """Region → (low, high) in mL: where the true volume lies in nine of ten cases; {} where that is not known."""
    confidence: float | None = None
    """The mean Dice that the answer expects of itself, of a calibrated model."""
    unlike: str = ""
    """A sentence where the images look unlike anything the model has learnt from."""
    uncovered: str = ""
    """A sentence where a series does not show all of the brain, and the result rests on the others there."""
    displaced: str = ""
    """A sentence where series lie beside each other."""
    laid_back_mm: Mapping[Modality, float] = field(default_factory=dict)
    """Series → how far it lay beside the others, in mm, before it was laid onto them for this answer."""
    scaling: Mapping[Region, tuple[float, float]] = field(default_factory=dict)
    """Region → (temperature, offset): ``probabilities`` are as the model gave them, to be calibrated before they are shown."""

    @property
    def specks(self) -> str:
        """A sentence on what was left out as too small, from ``WORTH_TELLING_ML`` on; "" where there is nothing to tell."""
        left_out = [f"{r} {ml:.1f} mL" for r, ml in self.dropped_ml.items() if ml >= WORTH_TELLING_ML]
        return f"Left out as specks: {', '.join(left_out)}." if left_out else ""


def _where(v: Volume) -> str:
    return v.path.name if v.path else "in memory"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(s) for s in shape)


def _mm(spacing: tuple[float, ...]) -> str:
    return "×".join(f"{s:.3g}" for s in spacing) + " mm"
