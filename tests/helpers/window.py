"""A real napari window with the panel, and hands: clicks on what is visible and enabled, drags on the canvas."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtWidgets import QApplication, QDockWidget, QFileDialog, QWidget


class Window:
    """A napari window with our panel, and hands."""

    def __init__(self, qtbot, viewer) -> None:
        self.qtbot = qtbot
        self.viewer = viewer
        window = viewer.window._qt_window
        window.resize(1600, 1000)
        began = time.perf_counter()
        _, self.panel = viewer.window.add_plugin_dock_widget("napari-brainseg", "Brain tumour segmentation")
        self.opened_in = time.perf_counter() - began
        self.app = self.panel.owner
        self.session = self.app.session
        qtbot.waitExposed(window)
        qtbot.waitUntil(lambda: self.session.model is not None, timeout=30000)

    def leave(self) -> None:
        """Close the panel and take it out of the window."""
        self.app.close()
        dock = next(
            (d for d in self.viewer.window._qt_window.findChildren(QDockWidget) if d.widget() is self.panel), None
        )
        self.panel.deleteLater()
        QApplication.sendPostedEvents(self.panel, QEvent.Type.DeferredDelete)  # a panel without a window is styled anew
        if dock is not None:
            self.viewer.window.remove_dock_widget(dock)

    def widget(self, name: str) -> QWidget:
        return self.panel.findChild(QWidget, name)

    def press(self, name: str) -> None:
        self.panel.bring(self.widget(name))
        # a person waits until a button is there, too: what enables it may still be on its way through the event loop, and a
        # row of buttons may be made anew meanwhile
        self.wait(lambda: self.widget(name).isVisible() and self.widget(name).isEnabled(), 5)
        self.wait(lambda: self.shows(self.widget(name)), 5)
        widget = self.widget(name)
        self.qtbot.mouseClick(widget, Qt.MouseButton.LeftButton, pos=self.spot(widget))

    def shows(self, widget: QWidget) -> None:
        """Raises AssertionError while something covers it; on a busy machine the panel takes a moment to lay itself out."""
        self.panel.scroll.ensureWidgetVisible(widget)
        QApplication.processEvents()
        under = QApplication.widgetAt(widget.mapToGlobal(self.spot(widget)))
        assert under is widget or under is None or widget.isAncestorOf(under), f"{under} covers {widget.objectName()}"

    @staticmethod
    def spot(widget: QWidget) -> QPoint:
        return QPoint(min(12, widget.width() // 2), widget.height() // 2)

    def text(self, name: str) -> str:
        return self.panel.findChild(QWidget, name).text()

    def wait(self, until, seconds: float = 60) -> None:
        self.qtbot.waitUntil(until, timeout=int(seconds * 1000))

    def open(self, monkeypatch, folder: Path) -> None:
        monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
        self.press("open_folder")
        self.wait(lambda: self.session.reading == "")
        self.qtbot.wait(100)


class Hand:
    """A hand at the mouse, over a study that is open (or is opened, where a folder is given), the tools unfolded."""

    def __init__(self, window: Window, folder=None, monkeypatch=None) -> None:
        self.window = window
        if folder is not None:
            window.open(monkeypatch, folder)
        window.wait(lambda: window.session.measures is not None or window.session.segmentation is None)
        window.press("paint_fold")
        self.app, self.viewer = window.app, window.viewer

    @property
    def native(self):
        return self.viewer.window._qt_viewer.canvas.native

    @property
    def layer(self):
        return self.app.context.labels

    @property
    def data(self):
        return np.array(self.layer.data)

    def pixel(self, *voxel: int) -> QPointF:
        """Where on the canvas a voxel of the layer lies."""
        world = np.asarray(self.layer.data_to_world(voxel))[list(self.viewer.dims.order[1:])]
        camera = self.viewer.scene.camera
        down, right = (world - np.array(camera.center)[-2:]) * camera.zoom
        ratio = self.native.devicePixelRatioF()
        return QPointF(self.native.width() / 2 + right / ratio, self.native.height() / 2 + down / ratio)

    def mouse(self, kind, at, button=Qt.MouseButton.NoButton, held=Qt.MouseButton.NoButton) -> None:
        event = QMouseEvent(kind, at, self.native.mapToGlobal(at), button, held, Qt.KeyboardModifier.NoModifier)
        QApplication.sendEvent(self.native, event)

    def drag(self, *voxels) -> None:
        left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
        places = [self.pixel(*v) for v in voxels]
        self.mouse(QEvent.Type.MouseMove, places[0])
        self.mouse(QEvent.Type.MouseButtonPress, places[0], left, left)
        for p in places[1:]:
            self.window.qtbot.wait(15)  # vispy drops moves that follow within 10 ms
            self.mouse(QEvent.Type.MouseMove, p, none, left)
        self.mouse(QEvent.Type.MouseButtonRelease, places[-1], left, none)
        self.window.qtbot.wait(15)

    def click(self, *voxel) -> None:
        self.drag(voxel)
        self.window.qtbot.wait(260)  # two clicks within a quarter of a second are a double click

    def key(self, key, *modifiers) -> None:
        held = Qt.KeyboardModifier.NoModifier
        for m in modifiers:
            held |= m
        self.window.qtbot.keyClick(self.native, key, held)
        self.window.qtbot.wait(20)
