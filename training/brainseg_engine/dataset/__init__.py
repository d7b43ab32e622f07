"""Studies → training samples: preprocessed once, kept memory-mapped on disk, cut and augmented anew at each visit."""

from brainseg_engine.dataset.cases import TrainingCase, hashes_of, prepare, usable, with_truth
from brainseg_engine.dataset.doubts import Doubts, reported_once
from brainseg_engine.dataset.loading import Key, Visits, loader
from brainseg_engine.dataset.samples import Samples, augmented

__all__ = [
    "Doubts",
    "Key",
    "Samples",
    "TrainingCase",
    "Visits",
    "augmented",
    "hashes_of",
    "loader",
    "prepare",
    "reported_once",
    "usable",
    "with_truth",
]
