"""Studies and masks, from files and to files."""

from brainseg_engine.io.formats import SUFFIXES, read_header, read_image
from brainseg_engine.io.layouts import ambiguity, find_series, find_studies
from brainseg_engine.io.segmentation import (
    coding_of,
    load_segmentation,
    require_on_grid,
    save_segmentation,
    save_volume,
)
from brainseg_engine.io.series import Layout, Series
from brainseg_engine.io.slices import holds_masks, save_slices
from brainseg_engine.io.studies import load_study, read_series, read_volume, series_of

__all__ = [
    "SUFFIXES",
    "Layout",
    "Series",
    "ambiguity",
    "coding_of",
    "find_series",
    "find_studies",
    "holds_masks",
    "load_segmentation",
    "load_study",
    "read_header",
    "read_image",
    "read_series",
    "read_volume",
    "require_on_grid",
    "save_segmentation",
    "save_slices",
    "save_volume",
    "series_of",
]
