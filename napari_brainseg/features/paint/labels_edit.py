"""Work on the whole labels in the background, as one step that can be undone."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from brainseg_engine.core.labels import LABEL_NAMES, REGION_NAMES, LabelArray, Region
from brainseg_engine.core.morphology import bounding_box
from brainseg_engine.edits import Target
from napari_brainseg.display import history
from napari_brainseg.display.history import history_of
from napari_brainseg.features.context import Context

Change = Callable[[LabelArray], LabelArray]
"""Labels (in the layer's axis order) → labels."""

_POLL_S = 0.05


class LabelsEdit:
    """Lets one tool after the other change the whole labels, while nothing else does."""

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._brush = context, context.session, context.brush
        self._working = False
        self._waiting: list[Callable[[], None]] = []

    def queue(self, tool: str, words: str, work: Change, nothing: str, then: Callable[[bool], None]) -> None:
        """As ``run``, after what is being worked on; ``then(whether anything changed)``."""
        if self._working:
            self._waiting.append(lambda: self.run(tool, words, work, nothing, then))
        else:
            self.run(tool, words, work, nothing, then)

    def run(
        self,
        tool: str,
        words: str,
        work: Change,
        nothing: str = "",
        then: Callable[[bool], None] = lambda changed: None,
    ) -> None:
        """Do that to the labels, and say how many voxels changed: ``words``, or ``nothing`` why none did.

        What is painted meanwhile is not lost: the work is then done anew on the labels as they are.
        """
        layer = self._brush.layer
        if layer is None or self._working:
            return
        steps, target = history_of(layer), self._brush.settings.target
        self._working = True

        def look() -> tuple[int, LabelArray, LabelArray]:
            while history.in_stroke(layer):
                time.sleep(_POLL_S)
            version, before = steps.version, np.array(layer.data, dtype=np.uint8)
            return version, before, work(before)

        def done(result: tuple[int, LabelArray, LabelArray]) -> None:
            version, before, after = result
            if self._brush.layer is not layer:
                self._working = False
                self._waiting.clear()
            elif version != steps.version or history.in_stroke(layer):
                self._context.run(look, done, failed)
            else:
                self._working = False
                self._write(tool, before, after)
                n, what = int(np.count_nonzero(before != after)), named(target)
                empty = f"Nothing changed: {nothing}." if nothing else f"Nothing to change in {what}."
                self._session.say(f"{what[0].upper()}{what[1:]} {words}: {n:,} voxels changed." if n else empty)
                then(n > 0)
                next_()

        def failed(error: Exception) -> None:
            self._working = False
            self._context.fail(error)
            next_()

        def next_() -> None:
            if self._waiting:
                self._waiting.pop(0)()

        self._context.run(look, done, failed)

    def _write(self, tool: str, before: LabelArray, after: LabelArray) -> None:
        layer, box = self._brush.layer, bounding_box(before != after)
        if layer is not None and box is not None:
            with self._brush.naming(tool):
                history.apply_edit(layer, box, before[box] != after[box], after[box])


def named(target: Target) -> str:
    """The region or class in words, such as "the tumour core"."""
    return f"the {REGION_NAMES[target] if isinstance(target, Region) else LABEL_NAMES[target]}"
