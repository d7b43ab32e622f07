"""What has been done to a study already: are its series aligned, are their brains stripped?"""

from __future__ import annotations

import numpy as np

from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Study, Volume
from brainseg_engine.prepare.network_grid import SPACING_MM
from brainseg_engine.studies.series_order import likely_order
from brainseg_engine.studies.skull import with_skull

_TOLERANCE = 0.02


def stripped(study: Study) -> bool:
    """True when no series seems to have a skull."""
    order = likely_order(study.volumes) if study.aligned else {m: m for m in study.volumes}
    return not with_skull(study.volumes, order)


def fine(study: Study) -> bool:
    """True when the voxels of the reference are 1 mm cubes already."""
    return bool(np.all(np.abs(np.array(study.reference.grid.spacing) / SPACING_MM - 1) < _TOLERANCE))


def prepared(study: Study) -> bool:
    """True when nothing is left to do: one grid of 1 mm, no skull. Grids without known voxel sizes count as prepared."""
    if not study.reference.grid.calibrated:
        return study.aligned
    return study.aligned and fine(study) and stripped(study)


def brain_of(volume: Volume) -> Mask:
    """The brain in a stripped series: all that is not the background's one value, and in its outermost layer of voxels
    only what is half as bright as the brain: the others are mostly background, a slice thick at the vertex."""
    from scipy.ndimage import binary_erosion

    data = np.asarray(volume.data)
    inside: Mask = np.asarray(data != data.flat[0])
    if not inside.any():
        return inside
    rim: Mask = inside & ~binary_erosion(inside)
    bright = np.abs(data - data.flat[0])
    dark: Mask = rim & (bright < np.median(bright[inside]) / 2)
    return inside & ~dark
