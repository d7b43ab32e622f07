"""Studies and masks, from files and to files."""

from brainseg_engine.io.formats import SUFFIXES, read_image
from brainseg_engine.io.layouts import Series, ambiguity, find_series, find_studies
from brainseg_engine.io.segmentation import (
    coding_of,
    load_segmentation,
    require_on_grid,
    save_segmentation,
    save_volume,
)
from brainseg_engine.io.studies import load_study, read_volume, series_of

__all__ = [
    "SUFFIXES",
    "Series",
    "ambiguity",
    "coding_of",
    "find_series",
    "find_studies",
    "load_segmentation",
    "load_study",
    "read_image",
    "read_volume",
    "require_on_grid",
    "save_segmentation",
    "save_volume",
    "series_of",
]
