"""Who wrote which voxel of the labels: what proposals wrote is nobody's correction. Pure; runs in the background."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Writer, Writers
from napari_brainseg.display.axes import to_display, to_file
from napari_brainseg.display.history import DRAFT, PROPAGATED, UndoStep
from napari_brainseg.session import Answer

_RESULT = "result"


def writers_of(shown: Segmentation, done: Sequence[UndoStep], answer: Answer | None) -> Writers | None:
    """Who wrote the labels that are ``shown`` (X, Y, Z); None where no proposal had a part in them.

    The steps ``done`` tell it, from the last answer on; of what was before them the ``answer`` tells who wrote it (another
    program, before a restart), where the labels were those of the answer still.
    """
    last = max((n for n, step in enumerate(done, start=1) if step.tool == _RESULT), default=0)
    steps = done[last:]
    known = answer if answer is not None and answer.writers is not None else None
    if known is not None and known.segmentation.labels.shape != shown.labels.shape:
        known = None
    if known is None and not any(_proposed(step) for step in steps):
        return None
    affine = shown.grid.affine
    labels, _ = to_display(shown.labels, affine)
    now = labels.copy()
    for step in reversed(steps):
        now[step.box][step.mask] = step.old
    writers = np.zeros(now.shape, dtype=np.uint8)
    if known is not None and known.writers is not None:
        same = now == to_display(known.segmentation.labels, affine)[0]
        writers[same] = to_display(known.writers, affine)[0][same]
    for step in steps:
        mask, part = step.mask, writers[step.box]
        now[step.box][mask] = step.new
        part[mask] = Writer.PROPOSAL if _proposed(step) else np.where(part[mask], Writer.PERSON, Writer.NOBODY)
    writers[(writers > 0) & (now != labels)] = Writer.PERSON  # of a stroke that lasts still
    return np.ascontiguousarray(to_file(writers, affine)) if writers.any() else None


def _proposed(step: UndoStep) -> bool:
    return step.tool in (PROPAGATED, DRAFT)
