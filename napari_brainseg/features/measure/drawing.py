"""Measuring by hand: rulers, two diameters and regions of interest, drawn on the canvas, moved, and kept with the study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core import paths, records
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Modality
from brainseg_engine.scores import drawn as engine
from brainseg_engine.scores.drawn import Drawn, DrawnKind
from napari_brainseg.display import axes, drawn_shapes, planes
from napari_brainseg.display.pointing import Sketch
from napari_brainseg.features.context import Context
from napari_brainseg.features.measure.moves import Moves
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from napari.layers import Shapes

    from brainseg_engine.core.geometry import Grid

_LEAST_MM = 0.5
"""A shorter drag is a slip of the hand."""
_HINTS = {
    DrawnKind.RULER: "Drag a line on the image.",
    DrawnKind.DIAMETERS: "Drag the longest diameter, then a line across it: the part at a right angle counts.",
    DrawnKind.ROI: "Drag a box on the image: the ellipse in it is measured in every series.",
}


class DrawingVerbs:
    """What is drawn to measure, and the tool in hand. ``drawn`` are RAS mm: no matter which plane is shown."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        self._context, self._session, self._viewer = context, context.session, context.viewer
        self.drawn: list[Drawn] = []
        self.tool: DrawnKind | None = None
        self.editing = False
        self._first: Drawn | None = None
        self._layer: Shapes | None = None
        self._moves: Moves[list[Drawn]] = Moves()
        self._showing = False
        self._sketch = Sketch(context.viewer, lambda: self.tool is not None, self._on_drawn)
        context.follow(context.session.study_changed, self._open)
        context.follow(context.viewer.layers.events.removed, self._on_removed)

    def close(self) -> None:
        """Follow the mouse no more; what was drawn is taken off the canvas, and kept."""
        self._sketch.close()
        self._take_away()

    def choose(self, kind: DrawnKind | None) -> None:
        """Take that tool in hand; None: none."""
        if kind is not None and self._grid is None:
            self._session.say("Open a study first.", Kind.WARNING)
            kind = None
        self.tool, self._first = kind, None
        if kind is not None:
            self.edit(False)
            if self._viewer.dims.ndisplay == 3:
                planes.set_3d(self._viewer, False)
            active = self._viewer.layers.selection.active
            if hasattr(active, "mode"):
                active.mode = "pan_zoom"
        self._session.say(_HINTS[kind] if kind is not None else "")
        self.changed.emit()

    def edit(self, on: bool) -> None:
        """Move ends and ellipses with the mouse, or go back to the labels."""
        layer = self._layer
        self.editing = on and layer is not None
        if layer is not None:
            moves = "select" if any(d.kind is DrawnKind.ROI for d in self.drawn) else "direct"
            layer.mode = moves if self.editing else "pan_zoom"
            active = layer if self.editing else self._context.labels
            if active is not None:
                self._viewer.layers.selection.active = active
        self.changed.emit()

    def undo(self) -> bool:
        """Take the last movement back, while shapes are being moved; False: there is none."""
        return self.editing and self._restored(self._moves.undone(self.drawn))

    def redo(self) -> bool:
        """Move again what was taken back; False: there is nothing."""
        return self.editing and self._restored(self._moves.redone(self.drawn))

    def _restored(self, drawn: list[Drawn] | None) -> bool:
        if drawn is None:
            return False
        self.drawn = drawn
        self._show()
        self.edit(True)
        self._keep()
        return True

    def remove(self, number: int) -> None:
        """Take one away."""
        self._moves.forget()
        del self.drawn[number]
        self._show()
        self._keep()

    def go_to(self, number: int) -> None:
        """Show the slice that it was drawn in."""
        grid, one = self._grid, self.drawn[number]
        if grid is None:
            return
        across = np.array([one.first.end, one.second.end if one.second is not None else one.first.end])
        spread = np.ptp(grid.to_index(np.vstack([across, one.first.start])), axis=0)
        flat = int(np.argmin(spread))
        plane = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal"}
        world = axes.voxel_to_world(grid, grid.to_index(one.centre))
        self._context.show_aligned()
        planes.set_plane(self._viewer, planes.Plane(plane.get(grid.orientation[flat], "axial")), at=world)
        planes.go_to_world(self._viewer, world)

    def beside(self) -> dict[str, Any]:
        """What a saved mask and a report keep of it."""
        return {"drawn": engine.to_json(self.drawn)} if self.drawn else {}

    # --- drawing

    @property
    def possible(self) -> bool:
        """There is a study to draw on."""
        return self._grid is not None

    @property
    def _grid(self) -> Grid | None:
        current = self._session.study
        return current.study.reference.grid if current is not None else None

    def _on_drawn(self, points: list[Any], modifiers: tuple[str, ...], across: int) -> None:
        grid, kind, current = self._grid, self.tool, self._session.study
        if grid is None or kind is None or current is None:
            return
        start, end = (grid.to_world(axes.world_to_voxel(grid, p)) for p in (points[0], points[-1]))
        if float(np.linalg.norm(end - start)) < _LEAST_MM:
            return
        if kind is DrawnKind.RULER:
            self._add(engine.ruler(start, end))
        elif kind is DrawnKind.ROI:
            axis = axes.axis_order(grid.affine)[across]
            self._add(engine.roi(start, end, grid, axis, current.study.volumes.values()))
        elif self._first is None:
            self._first = engine.ruler(start, end)
            self._add(self._first)
        else:
            self._moves.forget()
            self.drawn[-1] = engine.with_perpendicular(self._first, start, end)
            self._first = None
            self._show()
            self._keep()

    def _add(self, one: Drawn) -> None:
        self._moves.forget()
        self.drawn.append(one)
        self._show()
        self._keep()

    # --- showing, and what is moved

    def _show(self) -> None:
        grid, old = self._grid, self._layer
        self._showing = True
        try:
            with self._context.own_changes():
                if grid is None or not self.drawn:
                    self._take_away()
                else:
                    names = [words(d) for d in self.drawn]
                    self._layer = drawn_shapes.show(self._viewer, grid, self.drawn, names, old)
                    self._layer.events.data.connect(self._on_moved)
        finally:
            self._showing = False
        self.changed.emit()

    def _take_away(self) -> None:
        layer, self._layer, self.editing = self._layer, None, False
        if layer is not None and layer in self._viewer.layers:
            self._viewer.layers.remove(layer)

    def _on_moved(self, event: Any = None) -> None:
        """Shapes were moved: their numbers follow."""
        layer, grid, current = self._layer, self._grid, self._session.study
        if layer is None or grid is None or current is None:
            return
        counts = [len(drawn_shapes.shapes_of(d, grid)) for d in self.drawn]
        if sum(counts) != len(layer.data):
            return
        at, now = 0, list(self.drawn)
        for i, n in enumerate(counts):
            moved = drawn_shapes.taken_from(now[i], layer.data[at : at + n], grid)
            at += n
            if drawn_shapes.apart(moved, now[i]):
                roi = moved.kind is DrawnKind.ROI
                now[i] = engine.measured_roi(moved, grid, current.study.volumes.values()) if roi else moved
        if now == self.drawn:
            return
        self._moves.moved(self.drawn)
        self.drawn = now
        names = [
            w if j == 0 else "" for d, n in zip(self.drawn, counts, strict=True) for j, w in enumerate([words(d)] * n)
        ]
        layer.features = {"name": names}
        self._keep()
        self.changed.emit()

    def _on_removed(self, event: object = None) -> None:
        """A person may take the layer away: what was drawn goes with it."""
        if self._layer is not None and self._layer not in self._viewer.layers and not self._showing:
            self._layer, self.drawn, self.editing = None, [], False
            if not self._context.changing_layers:
                self._keep()
            self.changed.emit()

    # --- what is kept with the study

    def _file(self) -> Path | None:
        current = self._session.study
        return paths.home() / "measurements" / f"{current.token}.json" if current is not None else None

    def _keep(self) -> None:
        """Into a file of the study's own, under a name that says nothing."""
        file, told = self._file(), engine.to_json(self.drawn)
        if file is None:
            return

        def work() -> None:
            paths.private_folder(file.parent)
            if told:
                records.write_json(file, {"drawn": told}, private=True)
            else:
                file.unlink(missing_ok=True)

        self._context.save(work, lambda _: None, self._context.fail)

    def _open(self) -> None:
        """Another study is open: what was drawn on it comes back."""
        self.tool, self._first, self.drawn = None, None, []
        self._moves.forget()
        self._show()
        file, current = self._file(), self._session.study

        def work() -> list[Drawn]:
            try:
                return (
                    engine.from_json(records.read_object(file)["drawn"]) if file is not None and file.exists() else []
                )
            except (OSError, ValueError, KeyError, TypeError, BrainsegError):  # damaged: as if there were none
                return []

        def done(found: list[Drawn]) -> None:
            if found and self._session.study is current and not self.drawn:
                self.drawn = found
                self._show()

        self._context.run(work, done)


def words(one: Drawn) -> str:
    """Its numbers, as they stand beside it."""
    if one.kind is DrawnKind.ROI and one.second is not None:
        return f"ROI {one.first.mm:.0f} × {one.second.mm:.0f} mm"
    if one.second is None:
        return f"{one.first.mm:.1f} mm"
    return f"{one.first.mm:.1f} × {one.second.mm:.1f} mm"


def more_words(one: Drawn) -> str:
    """What else there is to say of it."""
    if one.product_mm2 is not None:
        return f"{one.product_mm2:.0f} mm²"
    parts = [f"{Modality(name).title} {_short(s.mean)} ± {_short(s.sd)}" for name, s in one.statistics.items()]
    return ", ".join([*([f"{one.ml:.2f} mL"] if one.ml is not None else []), *parts])


def _short(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
