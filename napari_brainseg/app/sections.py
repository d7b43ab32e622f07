"""The views of all features, in the order in which the work goes, each connected to its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from qtpy.QtWidgets import QWidget

from napari_brainseg.app.features import Features
from napari_brainseg.display.planes import WINDOW_PRESETS
from napari_brainseg.features.alignment.section import AlignmentSection
from napari_brainseg.features.alignment.view import AlignmentView
from napari_brainseg.features.corrections.section import CorrectionsSection
from napari_brainseg.features.corrections.view import CorrectionsView
from napari_brainseg.features.doubt.section import DoubtSection
from napari_brainseg.features.doubt.view import DoubtRow
from napari_brainseg.features.export.section import ExportSection
from napari_brainseg.features.export.view import ExportRow
from napari_brainseg.features.finetune.section import FinetuneSection
from napari_brainseg.features.finetune.view import FinetuneView
from napari_brainseg.features.measure.section import MeasureSection
from napari_brainseg.features.measure.view import MeasureView
from napari_brainseg.features.paint.section import PaintSection
from napari_brainseg.features.paint.view import PaintView
from napari_brainseg.features.propagate.section import PropagateSection
from napari_brainseg.features.propagate.view import PropagateRow
from napari_brainseg.features.queue.section import QueueSection
from napari_brainseg.features.queue.view import QueueView
from napari_brainseg.features.regions.section import SCHEMES, RegionsSection
from napari_brainseg.features.regions.view import RegionsView
from napari_brainseg.features.save.section import CODING_CHOICES, SaveSection
from napari_brainseg.features.save.view import SaveView
from napari_brainseg.features.segment.section import SegmentSection
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.features.series.section import SeriesSection, methods
from napari_brainseg.features.series.view import SeriesView
from napari_brainseg.features.study.section import StudySection
from napari_brainseg.features.study.view import StudyView
from napari_brainseg.features.view.section import PLANES, ViewSection
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.keys import KEYS, MOUSE, NAPARI_KEYS
from napari_brainseg.qt.frame import PanelView
from napari_brainseg.session import DEVICES


class Sections:
    """One view and one section a feature."""

    def __init__(self, features: Features) -> None:
        f, context = features, features.context
        self.study, self.segment, self.regions = StudyView(), SegmentView(DEVICES), RegionsView(SCHEMES)
        self.paint, self.propagate = PaintView(), PropagateRow()
        self.corrections, self.doubt = CorrectionsView(), DoubtRow()
        self.view, self.save = ViewView(PLANES, WINDOW_PRESETS, (*KEYS, *NAPARI_KEYS, *MOUSE)), SaveView(CODING_CHOICES)
        self.measure, self.series = MeasureView(), SeriesView(methods())
        self.export = ExportRow()
        self.save.body.addWidget(self.export)
        self.alignment = AlignmentView()
        self.queue, self.finetune = QueueView(), FinetuneView(DEVICES)
        self._paint = PaintSection(self.paint, f.paint, context)
        self._corrections = CorrectionsSection(self.corrections, f.corrections, context)
        self._others = (
            ViewSection(self.view, f.view, context),
            PropagateSection(self.propagate, f.propagate, context),
            QueueSection(self.queue, f.queue, context),
            DoubtSection(self.doubt, f.doubt, context),
            FinetuneSection(self.finetune, f.finetune, context),
            StudySection(self.study, f.study, context),
            SeriesSection(self.series, f.series, context),
            AlignmentSection(self.alignment, f.alignment, context),
            SegmentSection(self.segment, f.segment, context),
            RegionsSection(self.regions, f.regions, context),
            SaveSection(self.save, f.save, context),
            ExportSection(self.export, f.export, context),
            MeasureSection(self.measure, f.measure, context, f.save.known),
        )
        self.paint.add_row(self.propagate)
        self.propagate.wanted_changed.connect(self.paint.show_more)
        self.corrections.rows.addWidget(self.doubt)

    @property
    def views(self) -> list[QWidget]:
        """From top to bottom."""
        return [
            self.study, self.series, self.alignment, self.segment, self.regions, self.paint, self.corrections, self.view,
            self.measure, self.save, self.queue, self.finetune,
        ]  # fmt: skip

    def commands(self) -> Mapping[str, Callable[[], object]]:
        """The keys that ask something, or take a number from a view."""
        return {**self._paint.commands(), "Control-Enter": self._corrections.accept}

    def scroll_with(self, panel: PanelView) -> None:
        """What is unfolded is scrolled to."""
        for section in (self.paint, self.finetune):
            section.fold.toggled.connect(partial(panel.scroll_to, section))
        self.finetune.arrived.connect(partial(panel.scroll_to, self.finetune.result))
