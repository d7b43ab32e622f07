"""npe2 writer: a labels layer as NIfTI, on the grid of its images and with their header."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import LABEL_NAMES, Label


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Save a labels layer; returns the paths written.

    Layers of our studies go out on their true grid, in their own coding. Others (made by napari's own button, say) go
    out on the grid where they are shown, when they hold nothing but the canonical labels. Raises BrainsegError.
    """
    from brainseg_engine.io import save_segmentation
    from napari_brainseg.display.layers import segmentation_from_tuple

    values = np.unique(np.asarray(data))
    unknown = [int(v) for v in values if v not in set(Label)]
    if unknown:
        known = ", ".join(f"{int(label)} {LABEL_NAMES[label]}" for label in Label)
        raise InputError(
            f"The layer '{meta.get('name', 'labels')}' holds {', '.join(str(v) for v in unknown[:8])}, which "
            f"{'are' if len(unknown) > 1 else 'is'} no tumour class, so it cannot be saved as a segmentation. "
            f"The classes are: {known}."
        )
    segmentation, reference = segmentation_from_tuple(np.asarray(data, dtype=np.uint8), meta)
    save_segmentation(segmentation, Path(path), reference=reference)
    return [str(path)]
