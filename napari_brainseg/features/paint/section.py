"""Connects the paint view and its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from napari_brainseg.display.history import UndoStep
from napari_brainseg.display.windows import full_range
from napari_brainseg.features.context import Context
from napari_brainseg.features.paint.shown import PaintShown
from napari_brainseg.features.paint.verbs import PaintVerbs
from napari_brainseg.features.paint.view import PaintView

SOON_S = 0.03
"""The slider of the threshold moves faster than a slice is drawn."""


class PaintSection:
    """Between the paint view and its verbs."""

    def __init__(self, view: PaintView, verbs: PaintVerbs, context: Context) -> None:
        self._view, self._verbs, self._session = view, verbs, context.session
        self._brush = context.brush
        self._waiting = ""
        self._bounds: dict[Modality, tuple[float, float]] = {}
        self._bounds_of: Any = None
        self._limits: tuple[float, float] | None = None
        self._limits_soon = context.later(SOON_S, self._set_limits)
        self._soon = context.later(0.0, self._show)
        self._connect_view()
        for signal in (
            context.brush.changed, context.brush.edited, context.session.study_changed,
            context.session.segmentation_changed, context.labels_edited,
        ):  # fmt: skip
            context.follow(signal, self._show_soon)
        self._show()

    def _connect_view(self) -> None:
        view, verbs = self._view, self._verbs
        view.target_chosen.connect(lambda target: verbs.change_brush(target=target))
        view.tool_chosen.connect(verbs.choose_tool)
        view.size_chosen.connect(verbs.set_brush_size)
        view.changed.connect(lambda what: verbs.change_brush(**what))
        view.threshold_switched.connect(self._switch_threshold)
        view.series_chosen.connect(verbs.choose_threshold_series)
        view.limits_chosen.connect(self._limits_moved)
        view.work_requested.connect(self._work)
        view.take_requested.connect(self._take)
        view.box_switched.connect(verbs.clicking.set_box)
        view.undo_requested.connect(verbs.undo)
        view.redo_requested.connect(verbs.redo)
        view.new_requested.connect(self._new)

    def commands(self) -> Mapping[str, Callable[[], None]]:
        """The keys that take a number from the view; see ``keys.KEYS``."""
        numbers = self._view.numbers
        return {
            "I": lambda: self._verbs.interpolate(int(numbers["interpolate"].value())),
            "G": lambda: self._verbs.grow(numbers["grow"].value(), here=True),
        }

    # --- what the view asks for

    def _switch_threshold(self, on: bool) -> None:
        if self._brush.layer is not None:
            self._verbs.switch_threshold(on)
        self._soon.start()

    def _limits_moved(self, limits: tuple[float, float]) -> None:
        self._limits = limits
        if not self._limits_soon.active:
            self._limits_soon.start()

    def _set_limits(self) -> None:
        self._verbs.change_brush(limits=self._limits)

    def _work(self, name: str, number: float | None) -> None:
        verbs = self._verbs
        if self._waiting == name and verbs.pointer.waiting:  # pressed again: never mind
            verbs.pointer.drop()
            self._session.say("")
        else:
            verbs.works[name](number)
        self._waiting = name if verbs.pointer.waiting else ""
        self._soon.start()

    def _take(self, i: int) -> None:
        sources = self._verbs.sources
        if 0 <= i < len(sources):
            self._verbs.take(sources[i])

    def _new(self) -> None:
        self._verbs.new_mask()
        self._view.show_open(True)

    # --- what there is to show

    def _show_soon(self, event: object = None) -> None:
        self._soon.start()

    def _show(self) -> None:
        layer, s = self._brush.layer, self._brush.settings
        if not self._verbs.pointer.waiting:
            self._waiting = ""
        if layer is None:
            self._view.show_state(PaintShown(begin=self._session.study is not None))
            return
        self._view.show_state(
            PaintShown(
                possible=True,
                target=s.target,
                tool=self._brush.tool,
                size=round(layer.brush_size),
                through=s.through,
                protect=s.protect,
                cavity=bool(self._brush.counts[Label.RC]) or Label.RC in s.protect,
                inside=s.inside,
                threshold=s.threshold,
                series=tuple(self._brush.images),
                modality=self._verbs.threshold_series,
                limits=s.limits,
                bounds=self._bounds_for(s.modality),
                preview=s.preview,
                undo=_in_words(self._verbs.steps("undo")),
                redo=_in_words(self._verbs.steps("redo")),
                sources=[source.name for source in self._verbs.sources],
                waiting=self._waiting,
                box=self._verbs.clicking.box,
            )
        )

    def _bounds_for(self, modality: Modality | None) -> tuple[float, float]:
        images = self._brush.images
        if images is not self._bounds_of:
            self._bounds, self._bounds_of = {}, images
        if modality is None or modality not in images:
            return 0.0, 1.0
        if modality not in self._bounds:
            low, high = full_range(images[modality])
            self._bounds[modality] = (low, max(high, float(np.max(images[modality]))))
        return self._bounds[modality]


def _in_words(steps: list[UndoStep]) -> str:
    """The next step to undo or redo, and how many there are."""
    if not steps:
        return ""
    step = steps[-1]
    return f"{step.tool} {step.target}".strip() + f", {step.voxels:,} voxels; {len(steps)} step{'s' * (len(steps) > 1)}"
