"""What is painted on a series as acquired is told to the labels of the study, step by step; undone here, it is undone there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from brainseg_engine.core.study import Modality, Study
from napari_brainseg.display import layers
from napari_brainseg.display.acquired import display_of, shown_as
from napari_brainseg.display.axes import to_file
from napari_brainseg.display.history import Moved, UndoStep, history_of
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.context import Context, Easel
from napari_brainseg.session import Acquired

if TYPE_CHECKING:
    from napari.layers import Labels

    from brainseg_engine.core.labels import LabelArray, Mask


@dataclass(frozen=True, eq=False)
class CarriedView:
    """The labels as the canvas of a series shows them (I, P, L), and ``version`` of the study's labels that they show; ``brain``
    and ``reach``: see :class:`~napari_brainseg.features.context.Easel`."""

    view: LabelArray
    version: tuple[Labels, int]
    brain: Mask
    reach: Mask


class PaintingAsAcquired:
    """Painting on the labels over one series at a time (``begin`` … ``end``)."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self._layers: dict[Modality, Labels] = {}
        self._versions: dict[Modality, tuple[Labels, int]] = {}
        self._masks: dict[Modality, tuple[Mask, Mask]] = {}
        self._told: set[UndoStep] = set()
        self._on: Modality | None = None

    @property
    def version(self) -> tuple[Labels, int] | None:
        """What of the study's labels there is now: it changes with every edit."""
        labels = self._context.labels
        return (labels, history_of(labels).version) if labels is not None else None

    def up_to_date(self, series: Modality) -> bool:
        """True where the labels over that series show those of the study as they are, with all that was painted on either."""
        return self.version is not None and self._versions.get(series) == self.version

    def carrying(self, acquired: Acquired, series: Modality) -> Callable[[], CarriedView] | None:
        """Work for the background that brings the study's labels, as they are now, onto that series; None: there are none."""
        labels, version, answer = self._context.labels, self.version, self._session.answer
        if labels is None or version is None:
            return None
        prepared, grid = acquired.prepared, acquired.volumes[series].grid
        probabilities = answer.probabilities if answer is not None else None
        segmentation, known = layers.snapshot(labels), self._masks.get(series)

        def work() -> CarriedView:
            view = display_of(prepared.back(segmentation, series, probabilities))
            masks = known or (
                shown_as(prepared.brain_on(series), grid), shown_as(prepared.reach(series), grid)
            )  # fmt: skip
            return CarriedView(view, version, *masks)

        return work

    def show(self, series: Modality, layer: Labels, carried: CarriedView) -> None:
        """``layer`` shows the labels carried over from now on."""
        if self._layers.get(series) is not layer:
            self._layers[series] = layer
            history_of(layer).listeners.append(self._on_step)
        self._versions[series], self._masks[series] = carried.version, (carried.brain, carried.reach)

    def begin(self, acquired: Acquired, series: Modality, tool: Tool | None) -> None:
        """Paint on the labels over that series from now on, with that tool and a brush as wide as before."""
        layer, labels = self._layers[series], self._context.labels
        self._on = series
        if labels is not None and self._context.easel is None:
            study = Study(acquired.prepared.study.id, {series: acquired.volumes[series]})
            self._context.easel = Easel(layer, study, *self._masks[series])
            self._take(layer, labels, tool)

    def end(self) -> None:
        """Paint on the study's own labels again."""
        easel, labels, tool = self._context.easel, self._context.labels, self._context.brush.tool
        self._on, self._context.easel = None, None
        if easel is not None and labels is not None:
            self._take(labels, easel.layer, tool)

    def _take(self, layer: Labels, before: Labels, tool: Tool | None) -> None:
        """The tool that was in hand, and the brush's width in mm, hold for the other layer, too."""
        mm = float(before.brush_size) * float(np.min(before.scale))
        layer.brush_size = max(1, round(mm / float(np.min(layer.scale))))
        if tool is not None and layer.visible:
            self._context.brush.choose(tool)

    def forget(self) -> None:
        """The layers are gone."""
        self._on, self._context.easel = None, None
        self._layers, self._versions, self._masks, self._told = {}, {}, {}, set()

    def _on_step(self, step: UndoStep, moved: Moved) -> None:
        """A step was done, undone or redone over the series: the study's labels follow."""
        series, labels, current = self._on, self._context.labels, self._session.study
        acquired = self._session.aligned_from
        if series is None or labels is None or current is None or acquired is None:
            return
        if moved is Moved.DONE:
            before = history_of(labels).version
            self._tell(step, acquired, series, labels)
            if history_of(labels).version != before:
                self._told.add(step)
        elif step in self._told:
            (labels.undo if moved is Moved.UNDONE else labels.redo)()
        self._versions[series] = (labels, history_of(labels).version)

    def _tell(self, step: UndoStep, acquired: Acquired, series: Modality, labels: Labels) -> None:
        layer, affine = self._layers[series], acquired.volumes[series].grid.affine
        before, after = (np.array(layer.data, np.uint8) for _ in range(2))
        before[step.box][step.mask], after[step.box][step.mask] = step.old, step.new
        told = acquired.prepared.painted(
            layers.snapshot(labels).labels, _in_file(before, affine), _in_file(after, affine), series
        )
        with history_of(labels).naming(step.tool, step.target):
            layers.set_labels(labels, told)


def _in_file(view: LabelArray, affine: NDArray[np.float64]) -> LabelArray:
    return np.asarray(to_file(view, affine))
