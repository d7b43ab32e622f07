"""N4 bias-field correction (Tustison et al. 2010, doi:10.1109/TMI.2010.2046908), as an option."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Mask

_SHRINK = 4
_ITERATIONS = (50, 50, 30)


def corrected(data: NDArray[np.float32], mask: Mask | None, grid: Grid) -> NDArray[np.float32]:
    """``data`` (X, Y, Z) divided by its smooth bias field, found in ``mask`` (or where it is above 0) at 4 mm."""
    import SimpleITK as sitk

    inside = data > 0 if mask is None else mask & (data > 0)
    image, where = (
        sitk.GetImageFromArray(np.ascontiguousarray(a.transpose())) for a in (data, inside.astype(np.uint8))
    )
    for i in (image, where):
        i.SetSpacing([float(s) for s in grid.spacing])
    small, small_mask = (sitk.Shrink(i, [_SHRINK] * 3) for i in (image, where))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(_ITERATIONS)
    n4.Execute(small, small_mask)
    field = sitk.GetArrayFromImage(sitk.Exp(n4.GetLogBiasFieldAsImage(image))).transpose()
    return np.where(inside, data / np.maximum(field, 1e-3), data).astype(np.float32)
