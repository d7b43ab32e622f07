"""The lesions' diameters: measured, drawn over the image, moved by hand, and reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from psygnal import Signal

from brainseg_engine.core.labels import Region
from brainseg_engine.io.sidecars import read_sidecar
from napari_brainseg.display import diameter_lines, layers, planes
from napari_brainseg.features.context import Context, Newest
from napari_brainseg.features.measure.drawing import DrawingVerbs
from napari_brainseg.features.measure.moves import Moves
from napari_brainseg.session import Kind

if TYPE_CHECKING:
    from napari.layers import Shapes

    from brainseg_engine.core.geometry import Grid
    from brainseg_engine.core.study import Segmentation, Study
    from brainseg_engine.scores.diameters import Diameters, Lesion

_MOVED_MM = 0.01
_SHOWN = (Region.ET, Region.WT)


@dataclass(frozen=True)
class _DiameterLine:
    """Which diameter a line of the layer is: region, place of the lesion among its own, and which of the two."""

    region: Region
    number: int
    which: str


class MeasureVerbs:
    """What the measure section shows and asks for."""

    changed = Signal()
    reported = Signal(Path)
    """A report was written: its page."""

    def __init__(self, context: Context) -> None:
        self._context, self._session = context, context.session
        self.drawing = DrawingVerbs(context)
        self.measured: Mapping[Region, Diameters] = {}
        self.sides: Mapping[Region, str | None] = {}
        """Region → the side it lies on; {} where the brain's symmetry does not tell."""
        self.stale = False
        """The labels have changed since."""
        self.earlier: Callable[[], Study | None] = lambda: None
        """The earlier study of the patient that is shown beside, which a report is to be compared with."""
        self.editing = False
        self._newest = Newest()
        self._moves: Moves[Mapping[Region, Diameters]] = Moves()
        self._layer: Shapes | None = None
        self._lines: list[_DiameterLine] = []
        self._grid: Grid | None = None
        context.follow(context.session.study_changed, self.drop)
        context.follow(context.labels_changed, self._on_edit)
        context.follow(context.labels_edited, self._on_edit)
        context.follow(context.viewer.layers.events.removed, self._on_removed)

    # --- measuring

    def measure(self) -> None:
        """Measure the labels as they are now, and draw the diameters over the image.

        Diameters that were set by hand and kept beside the mask count, as long as the labels are those of its file.
        """
        from brainseg_engine.report.record import lengths_of, sides_of

        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            self._session.say("There is nothing to measure yet: segment the study, or open a mask.", Kind.WARNING)
            return

        opened = self._session.segmentation
        file = opened.path if opened is not None and not self._session.dirty else None

        def work() -> tuple[Grid, Mapping[Region, Diameters], Mapping[Region, str | None]]:
            seg = layers.segmentation_of(layer)
            seg = replace(seg, regions=tuple(r for r in _SHOWN if r in seg.regions))
            lengths = lengths_of(seg, read_sidecar(file).get("diameters") if file is not None else None)
            return seg.grid, lengths, sides_of(seg, current.study)

        def done(measured: tuple[Grid, Mapping[Region, Diameters], Mapping[Region, str | None]]) -> None:
            if self._context.labels is layer:
                self._grid, self.measured, self.sides = measured
                self.stale = False
                self._moves.forget()
                self._draw()
                self.changed.emit()

        self._context.run(work, done, current=self._newest.next())

    def drop(self) -> None:
        """Take the lines and the numbers away."""
        self._newest.next()
        layer, self._layer = self._layer, None
        self.measured, self.sides, self._lines, self.stale, self.editing = {}, {}, [], False, False
        if layer is not None and layer in self._context.viewer.layers:
            with self._context.own_changes():
                self._context.viewer.layers.remove(layer)
        self.changed.emit()

    def _draw(self) -> None:
        """The target lesions of ET (or its largest one) and the largest of WT."""
        assert self._grid is not None
        viewer, active = self._context.viewer, self._context.viewer.layers.selection.active
        active = self._context.labels if active is self._layer else active
        measured, sides, grid = self.measured, self.sides, self._grid
        self.drop()
        self.measured, self.sides, self._grid = measured, sides, grid
        ends: list[Any] = []
        for region, number, lesion in shown_lesions(measured):
            for which in ("longest", "perpendicular"):
                chord = getattr(lesion, which)
                ends.append(np.array([chord.start, chord.end]))
                self._lines.append(_DiameterLine(region, number, which))
        if not ends:
            return
        names = [f"{line.region} {line.number + 1}" if line.which == "longest" else "" for line in self._lines]
        with self._context.own_changes():
            self._layer = diameter_lines.add_lines(viewer, grid, ends, names)
            viewer.layers.selection.active = active
        self._layer.events.data.connect(self._on_moved)

    # --- editing

    def edit(self, on: bool) -> None:
        """Move ends with the mouse, or go back to the labels."""
        layer, labels = self._layer, self._context.labels
        self.editing = on and layer is not None
        if layer is not None:
            layer.mode = "direct" if self.editing else "pan_zoom"
            active = layer if self.editing else labels
            if active is not None:
                self._context.viewer.layers.selection.active = active
        self.changed.emit()

    def _on_moved(self, event: object = None) -> None:
        """Ends were moved: the lesion is measured by hand from now on."""
        layer, grid = self._layer, self._grid
        if layer is None or grid is None or len(layer.data) != len(self._lines):
            return
        before = self.measured
        for line, ends in zip(self._lines, diameter_lines.ends_of(layer, grid), strict=True):
            lesion = self.measured[line.region].lesions[line.number]
            chord = getattr(lesion, line.which)
            if np.abs(ends - np.array([chord.start, chord.end])).max() > _MOVED_MM:
                start, end = (tuple(float(v) for v in point) for point in ends)
                self._replace(line, replace(lesion, edited=True, **{line.which: replace(chord, start=start, end=end)}))
        if self.measured is not before:
            self._moves.moved(before)

    def undo(self) -> bool:
        """Take the last movement of a diameter or of what was drawn back, while that is being moved; False: there is none."""
        return self.drawing.undo() or (self.editing and self._restored(self._moves.undone(self.measured)))

    def redo(self) -> bool:
        """Move again what was taken back; False: there is nothing."""
        return self.drawing.redo() or (self.editing and self._restored(self._moves.redone(self.measured)))

    def _restored(self, measured: Mapping[Region, Diameters] | None) -> bool:
        if measured is None:
            return False
        self.measured = measured
        self._draw()
        self.edit(True)
        return True

    def _replace(self, line: _DiameterLine, lesion: Lesion) -> None:
        of_region = self.measured[line.region]
        lesions = tuple(lesion if i == line.number else old for i, old in enumerate(of_region.lesions))
        self.measured = {**self.measured, line.region: replace(of_region, lesions=lesions)}
        self.changed.emit()

    def go_to(self, region: Region, number: int) -> None:
        """Show the slice in which a lesion was measured."""
        if self._grid is None:
            return
        from napari_brainseg.display import axes

        lesion = self.measured[region].lesions[number]
        index = self._grid.to_index(np.mean([lesion.longest.start, lesion.longest.end], axis=0))
        across = self._grid.orientation[lesion.axis]
        plane = {
            "R": planes.Plane.SAGITTAL,
            "L": planes.Plane.SAGITTAL,
            "A": planes.Plane.CORONAL,
            "P": planes.Plane.CORONAL,
        }
        world = axes.voxel_to_world(self._grid, index)
        self._context.show_aligned()
        planes.set_plane(self._context.viewer, plane.get(across, planes.Plane.AXIAL), at=world)
        planes.go_to_world(self._context.viewer, world)

    def _on_edit(self) -> None:
        if self.measured and not self.stale and not self._context.changing_layers:
            self.stale = True
            self.changed.emit()

    def _on_removed(self, event: object = None) -> None:
        """A person may take the layer away."""
        if self._layer is not None and self._layer not in self._context.viewer.layers:
            self._layer = None
            self.drop()

    # --- what is kept, and the report

    def beside(self) -> dict[str, Any]:
        """What a saved mask keeps of it: diameters that were set by hand, while they are those of the labels."""
        from brainseg_engine.scores.diameters import to_json

        edited = {r: d for r, d in self.measured.items() if any(lesion.edited for lesion in d.lesions)}
        lengths = {"diameters": to_json(edited)} if edited and not self.stale else {}
        return {**lengths, **self.drawing.beside()}

    def report(self, folder: Path, sidecar: Mapping[str, Any]) -> None:
        """Write the report of the open study into the folder; ``sidecar`` is what is known of the mask."""
        current, layer = self._session.study, self._context.labels
        if current is None or layer is None:
            self._session.say("There is nothing to report yet: segment the study, or open a mask.", Kind.WARNING)
            return
        record_sidecar, earlier = {**sidecar, **self.beside()}, self.earlier()

        def work() -> Path:
            from brainseg_engine.report.identity import examined_on
            from brainseg_engine.report.sources import Result
            from brainseg_engine.report.writing import earlier_record, write_report

            seg: Segmentation = layers.segmentation_of(layer)
            seg = replace(seg, made_by=str(record_sidecar.get("made_by") or seg.made_by))
            result = Result(current.study.id, seg, current.study, record_sidecar)
            prior = earlier_record(earlier) if earlier is not None else None
            day = current.day.isoformat() if current.day else examined_on(current.study.reference)
            return folder / write_report(result, folder, prior=prior, examined=day).file

        def done(page: Path) -> None:
            self._session.say(f"Report written: {page}", Kind.GOOD)
            self.reported.emit(page)

        self._context.read("writing the report …", work, done)


def shown_lesions(measured: Mapping[Region, Diameters]) -> Iterable[tuple[Region, int, Lesion]]:
    """(region, place among its lesions, lesion): the targets of ET by RANO 2.0, else its largest, and the largest of WT."""
    for region in _SHOWN:
        of_region = measured.get(region)
        if of_region is None:
            continue
        most = 3 if region is Region.ET else 1
        wanted = of_region.targets(most) or of_region.lesions[:1]
        yield from ((region, i, lesion) for i, lesion in enumerate(of_region.lesions) if lesion in wanted)
