"""Corrections that people made: the store of accepted versions, and the working copies that nothing is lost from."""

from brainseg_engine.corrections.checking import StoreFinding
from brainseg_engine.corrections.copies import LeftCopy
from brainseg_engine.corrections.exporting import LAYOUTS, study_of
from brainseg_engine.corrections.identity import image_hashes, study_key
from brainseg_engine.corrections.record import BaseModel, Correction, CorrectionState, Tally, Writer, Writers, tally
from brainseg_engine.corrections.sources import StudySource, places, source_of
from brainseg_engine.corrections.store import Store, default_store
from brainseg_engine.corrections.wording import sizes_in_words
from brainseg_engine.corrections.working import Work

__all__ = [
    "LAYOUTS",
    "BaseModel",
    "Correction",
    "CorrectionState",
    "LeftCopy",
    "Store",
    "StoreFinding",
    "StudySource",
    "Tally",
    "Work",
    "Writer",
    "Writers",
    "default_store",
    "image_hashes",
    "places",
    "sizes_in_words",
    "source_of",
    "study_key",
    "study_of",
    "tally",
]
