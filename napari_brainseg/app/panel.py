"""The application: everything is made here, wired, and taken down again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from brainseg_engine.core.errors import BrainsegError
from napari_brainseg.app.closing import ask_before, let_go, may_close
from napari_brainseg.app.frame import PanelView
from napari_brainseg.app.overlay import Overlay
from napari_brainseg.display import planes
from napari_brainseg.display.planes import WINDOW_PRESETS, Marks
from napari_brainseg.display.surfaces import SurfaceManager
from napari_brainseg.features.actions import Actions
from napari_brainseg.features.corrections.section import CorrectionsSection
from napari_brainseg.features.corrections.verbs import Keeping
from napari_brainseg.features.corrections.view import CorrectionsView
from napari_brainseg.features.doubt.verbs import Looking
from napari_brainseg.features.finetune.section import FinetuneSection
from napari_brainseg.features.finetune.verbs import FineTuning
from napari_brainseg.features.finetune.view import FinetuneView
from napari_brainseg.features.paint.section import CorrectSection
from napari_brainseg.features.paint.view import CorrectView
from napari_brainseg.features.propagate.section import ProposeSection
from napari_brainseg.features.propagate.verbs import Proposing
from napari_brainseg.features.queue.section import QueueSection
from napari_brainseg.features.queue.verbs import Queue
from napari_brainseg.features.queue.view import QueueView
from napari_brainseg.features.regions.section import SCHEMES, RegionsSection
from napari_brainseg.features.regions.view import RegionsView
from napari_brainseg.features.save.section import CODING_CHOICES, SaveSection
from napari_brainseg.features.save.view import SaveView
from napari_brainseg.features.segment.section import SegmentSection
from napari_brainseg.features.segment.view import SegmentView
from napari_brainseg.features.study.section import StudySection
from napari_brainseg.features.study.view import StudyView
from napari_brainseg.features.view.section import PLANES, ViewSection
from napari_brainseg.features.view.view import ViewView
from napari_brainseg.jobs import Runner, WorkerClient
from napari_brainseg.keys import KEYS, MOUSE, NAPARI_KEYS, Tools
from napari_brainseg.qt.threads import GuiThread, Threads
from napari_brainseg.session import DEVICES, Session

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from brainseg_engine.corrections import Correction


def make_panel(napari_viewer: Any = None) -> QWidget:
    """The dock widget of the plugin. Where napari opens it by name it hands no viewer to a function: the current one is
    taken."""
    if napari_viewer is None:
        from napari import current_viewer

        napari_viewer = current_viewer()
    return App(napari_viewer).panel


class App(QObject):
    """One per viewer: the state, the verbs, the views and their wiring. Lives as long as its panel."""

    def __init__(self, viewer: Any, runner: Runner | None = None) -> None:
        super().__init__()
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)  # napari hands plugins a proxy
        self._closed = False
        self._window_closes = False
        self._unask: Callable[[], None] | None = None
        self._gui = GuiThread()
        self._threads = Threads(self._gui)
        self.session = Session()
        self.runner = runner or WorkerClient(self._gui.deliver)
        self.actions = Actions(self.session, self.viewer, self.runner, self._threads, self._threads.for_saving)
        self.panel = PanelView(
            StudyView(),
            SegmentView(DEVICES),
            RegionsView(SCHEMES),
            CorrectView(),
            ViewView(PLANES, WINDOW_PRESETS, (*KEYS, *NAPARI_KEYS, *MOUSE)),
            SaveView(CODING_CHOICES),
            CorrectionsView(),
            QueueView(),
            FinetuneView(DEVICES),
        )
        self.panel.app = self  # it lives as long as its panel
        self.marks = Marks(self.viewer)
        self.surfaces = SurfaceManager(self.viewer, background=self._threads.for_surfaces)
        self._wire()
        self.panel.destroyed.connect(self.close)
        self.panel.installEventFilter(self)
        self.actions.find_models()
        self.actions.notice_layers()

    def _wire(self) -> None:
        panel, actions, session = self.panel, self.actions, self.session
        self._overlay = Overlay(actions, self.surfaces)
        self._view_section = ViewSection(panel.view, actions)
        self._correct_section = CorrectSection(panel.correct, actions)
        self.keeping = Keeping(actions)
        self.looking = Looking(actions, self.keeping)
        self.proposing = Proposing(actions, self.keeping)
        self._propose_section = ProposeSection(panel.correct, actions, self.proposing)
        self.queue = Queue(actions, self.keeping)
        self._queue_section = QueueSection(panel.queue, actions, self.queue)
        self._corrections_section = CorrectionsSection(
            panel.corrections, actions, self.keeping, self.looking, self._accepted
        )
        self.finetuning = FineTuning(actions, self.keeping)
        self._finetune_section = FinetuneSection(panel.finetune, actions, self.finetuning, self.keeping)
        self._sections = (
            StudySection(panel.study, actions),
            SegmentSection(panel.segment, actions),
            RegionsSection(panel.regions, actions),
            SaveSection(panel.save, actions),
        )
        self.tools = Tools(
            self.viewer,
            segmentation=lambda: actions.labels,
            on_values=self._view_section.show_values,
            commands={
                **self._correct_section.commands(),
                "J": self.looking.next_slice,
                "Shift-J": lambda: self.looking.next_slice(-1),
                "Shift-H": self.looking.toggle_doubt,
                "Shift-U": self.looking.toggle_changes,
                "Control-Enter": self._corrections_section.accept,
                "Control-J": self.queue.next,
            },
        )
        session.message_changed.connect(self._show_message)
        session.reading_changed.connect(self._show_message)
        panel.message.dismissed.connect(self._dismiss)
        self.viewer.events.theme.connect(self._show_theme)
        self._show_theme()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Follow the panel into its window, and ask about edits before that closes."""
        if watched is self.panel and event.type() in (QEvent.Type.Show, QEvent.Type.ParentChange):
            window = self.panel.window()
            if window is not self.panel:
                window.installEventFilter(self)  # a second time is the same as once
                if self._unask is None and hasattr(window, "_qt_viewer"):
                    self._unask = ask_before(window, self._may_close)
        elif event.type() == QEvent.Type.Close and watched is not self.panel and not self._closed:
            if event.spontaneous() and not self._may_close():
                event.ignore()
                return True
            with contextlib.suppress(BrainsegError):  # a full disk must not keep the window open
                self.keeping.flush()
            self._window_closes = True
            QTimer.singleShot(0, self._still_open)
        return False

    def _may_close(self) -> bool:
        return self._closed or may_close(self.panel, self.keeping)

    def _still_open(self) -> None:
        """A person may have thought better of closing the window."""
        if not self._closed:
            self._window_closes = not self.panel.window().isVisible()

    def close(self) -> None:
        """Stop the worker, let go of the viewer. The layers stay."""
        if self._closed:
            return
        with contextlib.suppress(BrainsegError):
            self.keeping.flush()
        self._closed = True
        if self._unask is not None:
            self._unask()
            self._unask = None
        steps: list[Callable[[], object]] = [
            self._gui.close,
            self._threads.close,
            self.actions.close,
            self._overlay.close,
            self._view_section.close,
            self._correct_section.close,
            self._propose_section.close,
            self._corrections_section.close,
            self._queue_section.close,
            self._finetune_section.close,
            self.tools.close,
            lambda: self.viewer.events.theme.disconnect(self._show_theme),
        ]
        if not self._window_closes:  # else the canvas is being taken down: what is drawn on it is not to be touched
            steps += [
                self.proposing.drop,
                self.actions.pointer.drop,
                self.actions.brush.close,
                lambda: planes.set_3d(self.viewer, False),  # without our surfaces napari draws volumes: seconds a frame
                self.surfaces.close,
                self.marks.close,
            ]
        let_go(*steps)

    def _accepted(self, made: Correction) -> None:
        self.queue.accepted(made)
        self.finetuning.accepted(made)

    def _show_message(self) -> None:
        message = self.session.message
        if self.session.reading:
            self.panel.message.show_message(self.session.reading, "info")
        elif message is None:
            self.panel.message.show_message("", "info")
        else:
            self.panel.message.show_message(message.text, message.kind.value)

    def _dismiss(self) -> None:
        self.session.say("")

    def _show_theme(self, event: Any = None) -> None:
        from napari.utils.theme import get_theme

        self.panel.show_theme(get_theme(self.viewer.theme).to_rgb_dict())
