"""All features over one context, and the keys: the whole plugin below its widgets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from napari_brainseg.display import planes
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.alignment.verbs import AlignmentVerbs
from napari_brainseg.features.context import Context
from napari_brainseg.features.corrections.autosave import OVER
from napari_brainseg.features.corrections.verbs import CorrectionVerbs
from napari_brainseg.features.doubt.verbs import DoubtVerbs
from napari_brainseg.features.export.verbs import ExportOrder, ExportVerbs
from napari_brainseg.features.finetune.verbs import FinetuneVerbs, Launcher
from napari_brainseg.features.follow_up.verbs import FollowUpVerbs
from napari_brainseg.features.measure.verbs import MeasureVerbs
from napari_brainseg.features.models.verbs import ModelsVerbs
from napari_brainseg.features.pacs.verbs import PacsVerbs
from napari_brainseg.features.paint.verbs import PaintVerbs
from napari_brainseg.features.planes.verbs import PlanesVerbs
from napari_brainseg.features.propagate.verbs import PropagateVerbs
from napari_brainseg.features.queue.verbs import QueueVerbs
from napari_brainseg.features.regions.verbs import RegionVerbs
from napari_brainseg.features.save.verbs import SaveVerbs
from napari_brainseg.features.segment.verbs import SegmentVerbs
from napari_brainseg.features.series.verbs import SeriesVerbs
from napari_brainseg.features.study.verbs import StudyVerbs
from napari_brainseg.features.view.verbs import ViewVerbs
from napari_brainseg.jobs.detached import launch
from napari_brainseg.keys import Keys


class Features:
    """Every feature, connected to the session and to the viewer. What is made last hears of a change last."""

    def __init__(
        self, context: Context, *, clock: Callable[[], float] = time.monotonic, launcher: Launcher = launch
    ) -> None:
        self.context, self.session, self.viewer = context, context.session, context.viewer
        self.regions = RegionVerbs(context)
        self.view = ViewVerbs(context)
        self.planes = PlanesVerbs(context)
        self.view.all_canvases = self.planes.picture
        context.follow(self.view.fitted, self.planes.fit)
        self.paint = PaintVerbs(context)
        self.corrections = CorrectionVerbs(context, clock)
        self.doubt = DoubtVerbs(context)
        self.propagate = PropagateVerbs(context)
        self.queue = QueueVerbs(context)
        self.finetune = FinetuneVerbs(context, launcher)
        self.segment = SegmentVerbs(context)
        self.models = ModelsVerbs(context)
        self.measure = MeasureVerbs(context)
        self.follow_up = FollowUpVerbs(context)
        self.measure.earlier = lambda: self.follow_up.study
        self.save = SaveVerbs(context)
        self.segment.objection = lambda: OVER if self.corrections.autosave.at_risk else ""
        self.save.more = self.measure.beside
        self.export = ExportVerbs(context, lambda: {**self.save.known(), **self.measure.beside()})
        self.pacs = PacsVerbs(context, self._objects)
        self.study = StudyVerbs(context)
        self.series = SeriesVerbs(context)
        self.alignment = AlignmentVerbs(context)

    def _objects(self, formats: tuple[str, ...], images: Path) -> Callable[[Path], object] | None:
        """What writes the result that is open as DICOM objects on its series; None: there is none."""
        return self.export.writing(ExportOrder(formats, images, images))

    def start(self) -> None:
        """Look up what is installed, what is in the viewer already, and whether a fine-tuning of an earlier window is there."""
        self.segment.find_models()
        self.study.notice_layers()
        self.finetune.find()

    def commands(self, more: Mapping[str, Callable[[], object]]) -> Mapping[str, Callable[[], object]]:
        """Key → what it does; ``more``: those that ask, or take a number, from a view."""
        view, paint, doubt = self.view, self.paint, self.doubt
        return {
            "A": lambda: view.plane_at_cursor(planes.Plane.AXIAL),
            "S": lambda: view.plane_at_cursor(planes.Plane.SAGITTAL),
            "D": lambda: view.plane_at_cursor(planes.Plane.CORONAL),
            "T": view.toggle_3d,
            "Shift-T": self.planes.toggle,
            "Home": view.fit,
            "PageUp": lambda: view.step_slice(-1),
            "PageDown": view.step_slice,
            "Up": lambda: view.step_slice(-1),
            "Down": view.step_slice,
            ".": self.regions.step_lesion,
            ",": lambda: self.regions.step_lesion(-1),
            "N": view.step_modality,
            "Shift-N": lambda: view.step_modality(-1),
            "H": self.regions.toggle_visible,
            "U": self.regions.toggle_outline,
            "W": view.next_window,
            "Q": paint.next_target,
            "Shift-Q": lambda: paint.next_target(-1),
            "R": paint.toggle_threshold,
            "I": paint.interpolate,
            "G": lambda: paint.grow(here=True),
            "8": lambda: paint.choose_tool(Tool.CLICK),
            "9": paint.clicking.toggle_box,
            "K": lambda: paint.relabel(here=True),
            "Shift-K": lambda: paint.erase_component(here=True),
            "Control-Z": self._undo,
            "Control-Shift-Z": self._redo,
            "J": doubt.next_slice,
            "Shift-J": lambda: doubt.next_slice(-1),
            "Control-.": doubt.next_changed,
            "Control-,": lambda: doubt.next_changed(-1),
            "Shift-H": doubt.toggle_doubt,
            "Shift-U": doubt.toggle_changes,
            "Control-Enter": self.corrections.accept,
            "Control-J": self.queue.next,
            **more,
        }

    def _undo(self) -> None:
        """What was moved last, while shapes are moved, else what was painted."""
        if not self.measure.undo():
            self.paint.undo()

    def _redo(self) -> None:
        """The other way."""
        if not self.measure.redo():
            self.paint.redo()

    def bind_keys(self, more: Mapping[str, Callable[[], object]] | None = None) -> Keys:
        """Bind the keys; see :meth:`commands`."""
        return Keys(self.viewer, self.commands(more or {}))

    def closing_steps(self, canvas_stays: bool = True) -> list[Callable[[], object]]:
        """The steps that release the viewer, to be taken in this order; the layers stay. ``canvas_stays`` False: napari's window
        closes, and what is drawn on its canvas must not be touched any more."""
        steps: list[Callable[[], object]] = [
            self.context.close,
            self.context.runner.close,
            lambda: self.planes.close(canvas_stays),
            self.series.leave,
            self.pacs.work.cancel,
            self.finetune.close,
            self.models.cancel_fetch,
            self.corrections.close,
            self.view.close,
        ]
        if canvas_stays:
            steps += [
                self.alignment.close,
                self.propagate.drop,
                self.paint.close,
                self.measure.drawing.close,
                self.follow_up.close,
                lambda: planes.set_3d(self.viewer, False),  # without our surfaces napari draws volumes: seconds a frame
                self.regions.surfaces.close,
                self.view.marks.close,
                self.view.caption.close,
            ]
        return steps
