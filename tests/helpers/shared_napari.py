"""One napari window for the window tests of a module: opening and closing one takes as long as most of what is tested in it.

Every test has a panel of its own. After it the window is brought back to how it opened; what a panel or a study left
attached to it is a failure of the test that left it, and the next test has another window.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from app_model import Application
from napari import Viewer
from napari._app_model._app import NapariApplication, _napari_names
from napari._qt._qapp_model.qactions import init_qactions
from napari._qt.qt_viewer import QtViewer
from napari.plugins import _initialize_plugins
from napari.settings import get_settings
from qtpy.QtCore import QCoreApplication, QEvent
from qtpy.QtWidgets import QApplication, QWidget


class SharedNapari:
    """The window of a module: opened when it is first asked for."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._opened: OpenedNapari | None = None

    def get(self) -> OpenedNapari:
        """The window, as it opened."""
        if self._opened is None:
            self._opened = OpenedNapari(self._stack.enter_context(opened()))
        return self._opened

    def drop(self) -> None:
        """Close the window."""
        self._opened = None
        self._stack.close()

    def give_back(self, failed: bool) -> None:
        """A test is over and its panel gone. ``failed``: then the next one has another window, whatever this one is like."""
        assert self._opened is not None
        with patch("napari._vispy.canvas.gc.collect", lambda *_: 0):  # once for all layers
            self._opened.viewer.layers.clear()
        _delete_what_waits()
        gc.collect()
        left = self._opened.left()
        if failed or left:
            self.drop()
            QtViewer._instances.clear()  # the frames of what was raised keep it
        else:
            self._opened.reset()
        assert failed or not left, f"left attached to napari's window: {left}"


@contextmanager
def opened() -> Iterator[Any]:
    """A napari viewer in a window that is shown, made and closed as ``make_napari_viewer`` does it."""
    gc.collect()
    assert len(QtViewer._instances) == 0, "a window of an earlier test is still there"
    get_settings().reset()
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()
    app = NapariApplication("test_app")
    app.injection_store.namespace = _napari_names
    with ExitStack() as stack:
        stack.callback(init_qactions.cache_clear)
        stack.callback(_initialize_plugins.cache_clear)
        stack.callback(Application.destroy, "test_app")
        stack.enter_context(patch.object(NapariApplication, "get_app_model", return_value=app))
        stack.enter_context(patch("napari._qt.threads.status_checker.StatusChecker.start", lambda *_: None))
        stack.enter_context(patch("napari._qt.qt_main_window.SHOW_QT_WARNING", False))
        stack.enter_context(patch("napari._qt.qt_viewer.QtViewer._get_console", _no_console))
        viewer = Viewer(show=True, show_welcome_screen=False)
        gc.collect()
        gc.freeze()  # napari collects garbage whenever a layer goes: only what came since is to be looked through
        try:
            yield viewer
        finally:
            gc.unfreeze()
            get_settings().reset()
            with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
                viewer.close()
            del viewer
            _delete_what_waits()
            gc.collect()


def _no_console(*_: object) -> QWidget:
    made = QWidget()
    made._update_theme = lambda *_: None
    return made


def _delete_what_waits() -> None:
    QApplication.processEvents()
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    QApplication.processEvents()


class OpenedNapari:
    """A viewer in its window, and how both were when they opened."""

    def __init__(self, viewer: Any) -> None:
        self.viewer = viewer
        canvas, scene = viewer.canvas, viewer.scene
        models = [scene.camera, viewer.cursor, viewer.tooltip, canvas.grid, *canvas.overlays.values()]
        self._models = [(model, model.model_dump()) for model in (*models, *scene.overlays.values())]
        self._dims = {"axis_labels": viewer.dims.axis_labels, "order": viewer.dims.order}
        self._colour, self._theme, self._title = canvas.background_color_override, viewer.theme, viewer.title
        qt = viewer.window._qt_viewer
        self._docks = {dock: dock.isVisible() for dock in (qt.dockLayerControls, qt.dockLayerList)}
        self._attached = self._look()

    def left(self) -> dict[str, tuple[object, object]]:
        """What is attached to the window or its viewer and was not, or the reverse: where → (then, now)."""
        now = self._look()
        return {where: (was, now[where]) for where, was in self._attached.items() if now[where] != was}

    def reset(self) -> None:
        """The values of the viewer, and what of napari's own is shown, as they were."""
        viewer = self.viewer
        get_settings().reset()
        viewer.theme, viewer.title = self._theme, self._title
        viewer.canvas.background_color_override = self._colour
        viewer.dims.ndisplay = 2
        viewer.dims.update(self._dims)
        for model, values in self._models:
            model.update(values)
        viewer.scene.camera._cached_2d_state = viewer.scene.camera._cached_3d_state = None
        viewer.help, viewer.status, viewer.mouse_over_canvas = "", "Ready", False
        for dock, shown in self._docks.items():
            dock.setVisible(shown)
        QApplication.processEvents()

    def _look(self) -> dict[str, object]:
        viewer, window = self.viewer, self.viewer.window
        groups = {
            "viewer": viewer.events, "dims": viewer.dims.events, "layers": viewer.layers.events,
            "selection": viewer.layers.selection.events, "camera": viewer.scene.camera.events,
            "cursor": viewer.cursor.events, "canvas": viewer.canvas.events, "grid": viewer.canvas.grid.events,
        }  # fmt: skip
        heard = {f"{at}.{n}": _ours(e.callbacks) for at, es in groups.items() for n, e in es.emitters.items()}
        mouse = {m: len(getattr(viewer, f"mouse_{m}_callbacks")) for m in ("drag", "move", "wheel", "double_click")}
        return {
            "docks": sorted(window.dock_widgets),
            "keys": sorted(str(key) for key in viewer.keymap),
            "overlays": [sorted(viewer.canvas.overlays), sorted(viewer.scene.overlays)],
            "beside the canvas": window._qt_viewer.canvas.native.parentWidget().layout().count(),
            "windows": sorted(type(w).__name__ for w in QApplication.topLevelWidgets() if w.isVisible()),
            "a close of its own": "close" in vars(window._qt_window),
            **{f"mouse {m}": n for m, n in mouse.items()},
            **{f"followers of {name}": those for name, those in heard.items()},
        }  # fmt: skip


def _ours(callbacks: Iterable[Any]) -> list[str]:
    """Those of the plugin: what napari makes for its own overlays may stay among them until it is called next."""
    named = []
    for callback in callbacks:
        owner = callback[0]() if isinstance(callback, tuple) else callback
        module = owner.__module__ if owner is not None else ""
        if module.startswith("napari_brainseg"):
            named.append(f"{module}.{getattr(owner, '__qualname__', type(owner).__qualname__)}")
    return sorted(named)
