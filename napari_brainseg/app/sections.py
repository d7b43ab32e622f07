"""The views of all features, in the order in which the work goes, each connected to its verbs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from napari_brainseg.features.follow_up.section import FollowUpSection
from napari_brainseg.features.follow_up.view import FollowUpView
from napari_brainseg.features.measure.section import MeasureSection
from napari_brainseg.features.measure.view import MeasureView
from napari_brainseg.features.models.section import ModelsSection
from napari_brainseg.features.models.view import ModelsRow
from napari_brainseg.features.pacs.section import PacsSection
from napari_brainseg.features.pacs.view import SendRow, WorklistRow
from napari_brainseg.features.paint.section import PaintSection
from napari_brainseg.features.paint.view import PaintView
from napari_brainseg.features.planes.section import ARRANGEMENTS, PlanesSection
from napari_brainseg.features.planes.view import PlanesView
from napari_brainseg.features.propagate.section import PropagateSection
from napari_brainseg.features.propagate.view import PropagateRow
from napari_brainseg.features.queue.section import QueueSection
from napari_brainseg.features.queue.view import QueueView
from napari_brainseg.features.regions.section import SCHEMES, RegionsSection
from napari_brainseg.features.regions.view import RegionsView
from napari_brainseg.features.save.section import CODING_CHOICES, SaveSection
from napari_brainseg.features.save.view import SaveView
from napari_brainseg.features.segment.section import SegmentSection, elsewhere
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.features.series.section import SeriesSection, methods
from napari_brainseg.features.series.view import SeriesView
from napari_brainseg.features.study.section import StudySection
from napari_brainseg.features.study.view import StudyView
from napari_brainseg.features.view.section import PLANES, ViewSection
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.qt.frame import PanelView
from napari_brainseg.session import DEVICES


class Sections:
    """One view and one section a feature."""

    def __init__(self, features: Features) -> None:
        f, context = features, features.context
        self.study, self.segment, self.regions = StudyView(), SegmentView(DEVICES), RegionsView(SCHEMES)
        self.paint, self.propagate = PaintView(), PropagateRow()
        self.corrections, self.doubt = CorrectionsView(), DoubtRow()
        self.view, self.save = ViewView(PLANES, WINDOW_PRESETS, ()), SaveView(CODING_CHOICES)
        self.measure, self.series = MeasureView(), SeriesView(methods())
        self.follow_up = FollowUpView()
        self.export = ExportRow()
        self.save.head.addWidget(self.export)
        self.worklist, self.send = WorklistRow(), SendRow()
        self.study.head.addWidget(self.worklist)
        self.save.body.addWidget(self.send)
        self.planes = PlanesView(ARRANGEMENTS)
        self.view.first.addWidget(self.planes.arrangement)
        self.view.rows.addWidget(self.planes)
        self.models = ModelsRow()
        self.segment.head.addWidget(self.models)
        self.alignment = AlignmentView()
        self.queue, self.finetune = QueueView(), FinetuneView({**DEVICES, **elsewhere()})
        self._paint = PaintSection(self.paint, f.paint, context)
        self._corrections = CorrectionsSection(self.corrections, f.corrections, context)
        self._study = StudySection(self.study, f.study, context)
        self._segment = SegmentSection(self.segment, f.segment, context)
        self._save = SaveSection(self.save, f.save, context)
        self._others = (
            ViewSection(self.view, f.view, context),
            PlanesSection(self.planes, f.planes, context),
            PropagateSection(self.propagate, f.propagate, context),
            QueueSection(self.queue, f.queue, context),
            DoubtSection(self.doubt, f.doubt, context),
            FinetuneSection(self.finetune, f.finetune, context),
            SeriesSection(self.series, f.series, context),
            AlignmentSection(self.alignment, f.alignment, context),
            RegionsSection(self.regions, f.regions, context),
            ExportSection(self.export, f.export, context),
            ModelsSection(self.models, f.models, context, self._segment.segment_with),
            PacsSection(self.worklist, self.send, f.pacs, context),
            FollowUpSection(self.follow_up, f.follow_up, context),
            MeasureSection(self.measure, f.measure, context, f.save.known),
        )
        self.paint.add_row(self.propagate)
        self.propagate.wanted_changed.connect(self.paint.show_more)
        self.corrections.rows.addWidget(self.doubt)

    @property
    def always(self) -> list[QWidget]:
        """What is used every minute: it is always in sight."""
        return [self.view, self.regions]

    @property
    def tabs(self) -> dict[str, list[QWidget]]:
        """Title → sections, in the order in which the work goes."""
        return {
            "Read": [self.study, self.series, self.alignment, self.segment, self.measure, self.follow_up, self.queue],
            "Correct": [self.paint, self.corrections],
            "Learn": [self.finetune],
        }

    @property
    def footer(self) -> list[QWidget]:
        """What stays at the bottom."""
        return [self.save]

    @property
    def views(self) -> list[QWidget]:
        """The views of all features."""
        return [*self.always, *(view for views in self.tabs.values() for view in views), *self.footer]

    def commands(self) -> Mapping[str, Callable[[], object]]:
        """The keys that ask something, or take a number from a view."""
        return {
            **self._paint.commands(),
            "Control-Enter": self._corrections.accept,
            "F1": self.view.toggle_keys,
            "F2": self._study.ask_folder,
            "F5": self._segment.segment,
            "F9": self._save.ask,
        }

    def show_keys(self, keys: Sequence[tuple[str, str]]) -> None:
        """The keys as they are bound."""
        self.view.show_keys(keys)

    def scroll_with(self, panel: PanelView) -> None:
        """What is unfolded is scrolled to."""
        for section in (self.paint, self.finetune):
            section.fold.toggled.connect(partial(panel.scroll_to, section))
        self.corrections.offered.connect(lambda: panel.bring(self.corrections))
        self.series.arrived.connect(partial(panel.scroll_to, self.series))
        self.finetune.arrived.connect(lambda: panel.scroll_to(self.finetune.result, panel.shows(self.finetune)))
