"""What is open and what is going on: the evented state that the features share. Knows neither napari nor Qt."""

from __future__ import annotations

from napari_brainseg.session.records import (
    BY_HAND,
    DEVICES,
    Accepted,
    Acquired,
    Answer,
    ItemStats,
    JobState,
    Kind,
    Measures,
    Message,
    OpenStudy,
    Placing,
    checksum,
    token_of,
)
from napari_brainseg.session.state import Session

__all__ = [
    "BY_HAND",
    "DEVICES",
    "Accepted",
    "Acquired",
    "Answer",
    "ItemStats",
    "JobState",
    "Kind",
    "Measures",
    "Message",
    "OpenStudy",
    "Placing",
    "Session",
    "checksum",
    "token_of",
]
