"""Wires the correct section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from qtpy.QtCore import QObject

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from brainseg_engine.edits import Edit
from napari_brainseg.display import history
from napari_brainseg.display.tools import Tool
from napari_brainseg.display.undo import Step
from napari_brainseg.display.windows import full_range
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.paint.view import CorrectShown, CorrectView
from napari_brainseg.qt.threads import Timer

_SOON_MS = 30
"""The slider of the threshold moves faster than a slice is drawn."""


class CorrectSection(QObject):
    """Between the correct view and the actions."""

    def __init__(self, view: CorrectView, actions: Actions) -> None:
        super().__init__()
        self._view = view
        self._actions = actions
        self._brush = actions.brush
        self._session = actions.session
        self._waiting = ""
        self._bounds: dict[Modality, tuple[float, float]] = {}
        self._bounds_of: Any = None
        self._limits: tuple[float, float] | None = None
        self._limits_soon = Timer(self, _SOON_MS, self._set_limits)
        self._soon = Timer(self, 0, self._show)
        self._wire_view()
        self._brush.changed.connect(self._show_soon)
        self._brush.edited.connect(self._edited)
        self._session.study_changed.connect(self._show_soon)
        self._session.segmentation_changed.connect(self._show_soon)
        self._show()

    def _wire_view(self) -> None:
        view, actions = self._view, self._actions
        view.target_chosen.connect(lambda target: actions.change_brush(target=target))
        view.tool_chosen.connect(self._choose_tool)
        view.size_chosen.connect(actions.set_brush_size)
        view.changed.connect(lambda what: actions.change_brush(**what))
        view.threshold_switched.connect(self._switch_threshold)
        view.series_chosen.connect(actions.choose_threshold_series)
        view.limits_chosen.connect(self._limits_moved)
        view.work_requested.connect(self._work)
        view.take_requested.connect(self._take)
        view.undo_requested.connect(actions.undo)
        view.redo_requested.connect(actions.redo)
        view.new_requested.connect(self._new)

    def commands(self) -> Mapping[str, Callable[[], None]]:
        """What the section's keys do; see ``tools.KEYS``."""
        actions, numbers = self._actions, self._view.numbers
        return {
            "Q": actions.next_target,
            "Shift-Q": lambda: actions.next_target(-1),
            "R": lambda: self._switch_threshold(not self._brush.settings.threshold),
            "I": lambda: actions.interpolate(int(numbers["interpolate"].value())),
            "G": lambda: actions.grow(numbers["grow"].value(), here=True),
            "K": lambda: actions.relabel(here=True),
            "Shift-K": lambda: actions.erase_component(here=True),
            "Control-Z": actions.undo,
            "Control-Shift-Z": actions.redo,
        }

    def close(self) -> None:
        """Follow nothing more."""
        for timer in (self._soon, self._limits_soon):
            timer.stop()
        self._brush.changed.disconnect(self._show_soon)
        self._brush.edited.disconnect(self._edited)

    # --- what the view asks for

    def _choose_tool(self, tool: Tool) -> None:
        self._actions.choose_tool(tool)

    def _switch_threshold(self, on: bool) -> None:
        if self._brush.layer is not None:
            self._actions.switch_threshold(on)
        self._soon.start()

    def _limits_moved(self, limits: tuple[float, float]) -> None:
        self._limits = limits
        if not self._limits_soon.isActive():
            self._limits_soon.start()

    def _set_limits(self) -> None:
        self._actions.change_brush(limits=self._limits)

    def _work(self, name: str, number: float | None) -> None:
        actions = self._actions
        if self._waiting == name and actions.pointer.waiting:  # pressed again: never mind
            actions.pointer.drop()
            self._session.say("")
        else:
            works: Mapping[str, Callable[[], None]] = {
                "interpolate": lambda: actions.interpolate(int(number or 20)),
                "grow": lambda: actions.grow(number or 20.0),
                "smooth": lambda: actions.smooth(number or 1.0),
                "islands": lambda: actions.remove_islands(number or 0.1),
                "holes": actions.fill_holes,
                "holes_flat": lambda: actions.fill_holes(flat=True),
                "relabel": actions.relabel,
                "erase_part": actions.erase_component,
            }
            works[name]()
        self._waiting = name if actions.pointer.waiting else ""
        self._soon.start()

    def _take(self, i: int) -> None:
        sources = self._actions.sources
        if 0 <= i < len(sources):
            self._actions.take(sources[i])

    def _new(self) -> None:
        self._actions.new_mask()
        self._view.show_open(True)

    # --- what there is to show

    def _edited(self, edit: Edit) -> None:
        self._soon.start()

    def _show_soon(self) -> None:
        self._soon.start()

    def _show(self) -> None:
        layer, s = self._brush.layer, self._brush.settings
        if not self._actions.pointer.waiting:
            self._waiting = ""
        if layer is None:
            self._view.show_state(CorrectShown(begin=self._session.study is not None))
            return
        steps = self._brush.history
        done, undone = (steps.done, steps.undone) if steps is not None else ([], [])
        open_ = history.in_stroke(layer)
        self._view.show_state(
            CorrectShown(
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
                modality=s.modality,
                limits=s.limits,
                bounds=self._bounds_for(s.modality),
                preview=s.preview,
                undo=_in_words(done) if not open_ else "",
                redo=_in_words(undone) if not open_ else "",
                sources=[source.name for source in self._actions.sources],
                waiting=self._waiting,
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


def _in_words(steps: list[Step]) -> str:
    """The next step to undo or redo, and how many there are."""
    if not steps:
        return ""
    step = steps[-1]
    return f"{step.tool} {step.target}".strip() + f", {step.voxels:,} voxels; {len(steps)} step{'s' * (len(steps) > 1)}"
