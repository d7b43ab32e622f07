"""Linked planes: one canvas, four, or one large with three small ones; the crosshair, and whether zoom and centre are shared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from psygnal import Signal

from brainseg_engine.core.study import Modality
from napari_brainseg.display import layers, planes
from napari_brainseg.display.linked import LinkedPlanes
from napari_brainseg.display.panes import canvas_of
from napari_brainseg.display.planes import Plane
from napari_brainseg.features.context import Context

if TYPE_CHECKING:
    from napari.layers import Image

_SOON_S = 0.02
_BRAIN_FROM = (Modality.T1, Modality.T1CE, Modality.T2, Modality.FLAIR)


class Arrangement(StrEnum):
    """How many canvases there are, and how they share the window."""

    ONE = "one"
    FOUR = "four"
    LARGE = "large"


class Tiling(Protocol):
    """Lays the canvases out in the window."""

    def add(self, widget: Any) -> None:
        """One more canvas."""

    def show(self, arrangement: str | None) -> None:
        """That arrangement; None: the first canvas alone."""

    def picture(self) -> Any:
        """What is seen."""

    def close(self) -> None:
        """As it was before."""


class PlanesVerbs:
    """What the buttons of the arrangement ask for. ``tile``: what lays canvases out; without it there is one canvas."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.tile: Callable[[Sequence[Any]], Tiling] | None = None
        self.arrangement = Arrangement.ONE
        self.crosshair = self.linked = True
        self.canvases: LinkedPlanes | None = None
        self._tiling: Tiling | None = None
        self._last = Arrangement.FOUR
        self._alone = False
        self._made = False  # a canvas that is not laid out yet
        self._back_to: Plane | None = None
        self._soon = context.later(_SOON_S, self._refresh)
        self._growing = context.later(0.0, self._grow)
        self._fitting = context.later(_SOON_S, self._fit_own)
        self._head: planes.Box | None = None
        context.follow(context.viewer.dims.events.ndisplay, self._on_dimensions)
        context.follow(context.session.study_changed, self._on_study)
        context.follow(context.labels_changed, self._on_labels)

    # --- which canvases

    @property
    def alone(self) -> bool:
        """True while one canvas is shown in place of all, until it is double-clicked again."""
        return self.arrangement is not Arrangement.ONE and not self._shown

    @property
    def _shown(self) -> bool:
        return self.arrangement is not Arrangement.ONE and not self._alone and self._viewer.dims.ndisplay == 2

    def arrange(self, arrangement: Arrangement | str) -> None:
        """That arrangement from now on. One canvas: the others are taken down."""
        arrangement = Arrangement(arrangement)
        if arrangement is Arrangement.ONE or self.tile is None or canvas_of(self._viewer) is None:
            if self.canvases is not None:
                self._fitting.start()
            self._take_down()
        else:
            self._last = self.arrangement = arrangement
            if self._viewer.dims.ndisplay == 3:
                planes.set_3d(self._viewer, False)
            self._alone = False
            if self.canvases is None:
                self._set_up()
            self._return()
            self._lay_out()
        self.changed.emit()

    def toggle(self) -> None:
        """Several canvases, as they were arranged the last time; or one again."""
        self.arrange(self._last if self.arrangement is Arrangement.ONE else Arrangement.ONE)

    def show_crosshair(self, on: bool) -> None:
        """Whether lines show where the planes cut each other, and a click moves all."""
        self.crosshair = on
        if self.canvases is not None:
            self.canvases.set_crosshair(on)
        self.changed.emit()

    def link(self, on: bool) -> None:
        """Whether all planes share zoom and centre."""
        self.linked = on
        if self.canvases is not None:
            self.canvases.set_linked(on)
        self.changed.emit()

    def fit(self) -> None:
        """The head fills every canvas."""
        if self.canvases is not None:
            self.canvases.fit(self._head)

    def _fit_own(self) -> None:
        """The head fills napari's own canvas, which is as large again as before."""
        if self.canvases is None and self._head is not None and planes.plane_of(self._viewer) is not None:
            planes.fit_box(self._viewer, self._head)

    def picture(self) -> Any:
        """What is seen on all canvases, as a QImage; None where there is one."""
        return self._tiling.picture() if self._tiling is not None and self._shown else None

    def _set_up(self) -> None:
        assert self.tile is not None

        def background(work: Callable[[], Any], done: Callable[[Any], None]) -> None:
            self._context.run(work, done)

        self.canvases = LinkedPlanes(
            self._viewer, self._context.brush.painting, background, self._soon.start, self.turn
        )
        self.canvases.set_crosshair(self.crosshair)
        self.canvases.cameras.linked = self.linked
        self._tiling = self.tile(self.canvases.natives)
        self._growing.start()

    def _grow(self) -> None:
        """One canvas at a time, made in two steps and then given its layers, so that the window answers in between. They come
        in sight together: each time they are arranged all of them are drawn."""
        canvases, tiling = self.canvases, self._tiling
        if canvases is None or tiling is None:
            return
        if self._made:
            self._made = False
            tiling.add(canvases.natives[-1])
            canvases.settle()
            self._on_labels()
        elif canvases.grow():
            self._made = True
        elif not canvases.begin():
            self._lay_out()
            return
        self._growing.start()

    def _lay_out(self) -> None:
        """Bring the canvases in line with what is to be shown."""
        if self.canvases is None or self._tiling is None:
            return
        with self.canvases.still():
            self._tiling.show(self.arrangement.value if self._shown else None)
            self.canvases.show(self._shown)
            if self._shown:
                self.fit()

    def _take_down(self) -> None:
        canvases, tiling = self.canvases, self._tiling
        self.canvases = self._tiling = None
        self._made = False
        self._return()
        self.arrangement, self._alone = Arrangement.ONE, False
        if tiling is not None:
            tiling.close()
        if canvases is not None:
            canvases.close()

    def _refresh(self) -> None:
        if self.canvases is not None:
            self.canvases.refresh()

    # --- one canvas in place of all

    def turn(self, plane: Plane | None) -> None:
        """That plane (None: 3D) alone, or all canvases again: a double click."""
        if self.arrangement is Arrangement.ONE:
            return
        if not self._shown:
            self._alone = False
            if self._viewer.dims.ndisplay == 3:
                planes.set_3d(self._viewer, False)
            self._return()
        elif plane is None:
            self._alone = True
            planes.set_3d(self._viewer)
        else:
            self._alone = True
            shown = planes.plane_of(self._viewer)
            if shown is not plane:
                self._back_to = shown
                planes.set_plane(self._viewer, plane, at=self._viewer.dims.point, within=self._head)
        self._lay_out()
        self.changed.emit()

    def _return(self) -> None:
        """The plane that napari's own canvas had before another one was shown alone."""
        plane, self._back_to = self._back_to, None
        if plane is not None and self._viewer.dims.ndim == 3:
            planes.set_plane(self._viewer, plane, within=self._head)

    def _on_dimensions(self, event: object = None) -> None:
        """3D is shown alone; back in 2D all canvases are there again."""
        if self.arrangement is not Arrangement.ONE:
            self._alone = False
            self._lay_out()
            self.changed.emit()

    # --- what happens elsewhere

    def _on_study(self) -> None:
        current = self._session.study
        self._head = planes.head_box(current.study) if current is not None else None
        self._on_labels()
        self.fit()

    def _on_labels(self) -> None:
        if self.canvases is None:
            return
        current = self._session.study
        images: dict[Modality, Image] = layers.image_layers(self._viewer, current.study.id) if current else {}
        self.canvases.show_solid(self._context.labels, next((images[m] for m in _BRAIN_FROM if m in images), None))

    def close(self, canvas_stays: bool = True) -> None:
        """One canvas; the others are taken down, unless the window takes them with it."""
        if canvas_stays:
            self._take_down()
        self.tile = self.canvases = self._tiling = None
