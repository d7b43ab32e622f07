"""The application: everything is made here, connected, and taken down again."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QWidget

from brainseg_engine.core.device import return_arrays
from brainseg_engine.core.errors import BrainsegError
from napari_brainseg.app.closing import ask_before, may_close, take_all
from napari_brainseg.app.features import Features
from napari_brainseg.app.sections import Sections
from napari_brainseg.display.layers import layer_info
from napari_brainseg.features.context import Context
from napari_brainseg.jobs import Children, Everywhere, Runner
from napari_brainseg.qt.frame import PanelView
from napari_brainseg.qt.threads import GuiThread, QtTimer, Threads
from napari_brainseg.session import Session

if TYPE_CHECKING:
    from napari.components import ViewerModel


def make_panel(napari_viewer: Any = None) -> QWidget:
    """The dock widget of the plugin. Where napari opens it by name it hands no viewer to a function: the current one is
    taken.

    One panel a viewer: napari knows docks by names, of which its menu and a reader use different ones. A panel that is
    there leaves its dock, and napari docks it anew.
    """
    if napari_viewer is None:
        from napari import current_viewer

        napari_viewer = current_viewer()
    window = getattr(napari_viewer, "window", None)
    docked = list(window.dock_widgets.values()) if window is not None else []
    for there in docked:
        if window is not None and isinstance(there, PanelView):
            window.remove_dock_widget(there)
            return there
    return App(napari_viewer).panel


class App(QObject):
    """One per viewer: the state, the features, their views. Lives as long as its panel."""

    def __init__(self, viewer: Any, runner: Runner | None = None) -> None:
        super().__init__()
        self.viewer: ViewerModel = getattr(viewer, "__wrapped__", viewer)  # napari hands plugins a proxy
        return_arrays()
        self._closed = self._all_aside = False
        self._window_closes = False
        self._unask: Callable[[], None] | None = None
        self._gui = GuiThread()
        self._threads = Threads(self._gui)
        self.session = Session()
        self.runner = runner or Everywhere(self._gui.deliver)
        timer = partial(QtTimer, self)
        self._children = Children()
        self.context = Context(
            self.session, self.viewer, self.runner, self._threads, timer, self._threads.for_saving, self._children
        )
        self.features = Features(self.context)
        self.sections = Sections(self.features)
        self.panel = PanelView(self.sections.tabs, self.sections.always, self.sections.footer)
        self.panel.owner = self
        self.sections.scroll_with(self.panel)
        self.keys = self.features.bind_keys(self.sections.commands())
        self.sections.view.keys_wanted.connect(lambda: self.sections.show_keys(self.keys.listed))
        self.sections.show_keys(self.keys.listed)
        self.context.follow(self.session.message_changed, self._show_message)
        self.context.follow(self.session.reading_changed, self._show_message)
        self.context.follow(self.viewer.events.theme, self._show_theme)
        self.panel.message.dismissed.connect(self._dismiss)
        self.panel.message.offer_taken.connect(self._take_offer)
        self._show_theme()
        self.panel.destroyed.connect(self.close)
        self.panel.installEventFilter(self)
        for change in (self.session.reading_changed, self.session.measures_changed):
            self.context.follow(change, self._set_aside)
        self.features.start()
        self._set_aside()

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
                self.features.corrections.autosave.flush()
            self._window_closes = True
            QTimer.singleShot(0, self._still_open)
        return False

    def _may_close(self) -> bool:
        return self._closed or may_close(self.panel, self.features.corrections.autosave)

    def _still_open(self) -> None:
        """A person may have decided not to close the window."""
        if not self._closed:
            self._window_closes = not self.panel.window().isVisible()

    def close(self) -> None:
        """Stop the worker, release the viewer. The layers stay."""
        if self._closed:
            return
        with contextlib.suppress(BrainsegError):
            self.features.corrections.autosave.flush()
        self._closed = True
        gc.unfreeze()
        if self._unask is not None:
            self._unask()
            self._unask = None
        steps = self.features.closing_steps(canvas_stays=not self._window_closes)
        take_all(self._gui.close, self._threads.close, self._children.close, *steps, self.keys.close)

    def _set_aside(self) -> None:
        """Keep what napari and its libraries are made of out of garbage collections for as long as the panel is there.

        napari asks for one whenever a layer goes, which would hold the window up for 0.3 s. Where something of a person's own
        is open already nothing is kept out: that is to be freed when it goes. Once more after the first study was read, which
        loads libraries, and when it is shown: its image layers stay, and show the next one.
        """
        own = all(layer_info(layer) is not None for layer in self.viewer.layers)
        shown = self.session.measures is not None
        if own and not self._all_aside and not self.session.reading and (shown or not len(self.viewer.layers)):
            self._all_aside = shown
            gc.freeze()

    def _show_message(self) -> None:
        message = self.session.message
        if self.session.reading:
            self.panel.message.show_message(self.session.reading, "info")
        elif message is None:
            self.panel.message.show_message("", "info")
        else:
            self.panel.message.show_message(message.text, message.kind.value, message.offer[0] if message.offer else "")

    def _take_offer(self) -> None:
        message = self.session.message
        if message is not None and message.offer is not None:
            self.session.say("")
            message.offer[1]()

    def _dismiss(self) -> None:
        self.session.say("")

    def _show_theme(self, event: Any = None) -> None:
        from napari.utils.theme import get_theme

        self.panel.show_theme(get_theme(self.viewer.theme).to_rgb_dict())
