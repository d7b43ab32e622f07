"""What a study's files are, before any pixel is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from brainseg_engine.core.study import Modality
from brainseg_engine.io.found import ImageSeries


class Layout(StrEnum):
    """How a study lies on the disk; the value is what it is called in messages."""

    FILES = "one file a series"
    SLICES = "image slices"
    CHANNELS = "one file of four channels"
    LISTED = "series found among others"


@dataclass(frozen=True)
class Series:
    """What a folder holds, by name.

    ``files``: modality → its one file (in the layouts of slices and of channels, the folder or file that holds them all).
    ``ambiguous``: what has several candidates (a modality, or "mask") → the candidates; these are not in ``files``.
    ``unknown``: images whose names tell no modality. ``coding``: the label coding that the naming implies, "" when none.
    ``mixed``: the sentence for files of different patients or dates in one study, "" where the names tell no such thing.
    ``listed``: of series found among others (DICOM, archives), the series themselves; ``files`` then name one file of each.
    ``problems``: what stands in the way of a complete study, in words; ``notes``: what is worth knowing and does not.
    """

    id: str
    files: Mapping[Modality, Path]
    segmentation: Path | None = None
    coding: str = ""
    problems: list[str] = field(default_factory=list)
    ambiguous: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    unknown: tuple[Path, ...] = ()
    folder: Path | None = None
    layout: Layout = Layout.FILES
    notes: tuple[str, ...] = ()
    mixed: str = ""
    listed: Mapping[Modality, ImageSeries] = field(default_factory=dict, repr=False)
