"""Click to fix: points, scribbles and boxes on the canvas, each answered as one step that can be undone."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.edits import Click, Scene, box_clicks, click_to_fix
from napari_brainseg.display.axes import to_display
from napari_brainseg.display.history import UndoStep, in_stroke
from napari_brainseg.display.pointing import Index, Sketch, index_at
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.context import Context
from napari_brainseg.features.paint.labels_edit import LabelsEdit
from napari_brainseg.session import Kind

_REGION_OF = {Label.ED: Region.WT, Label.NCR: Region.TC, Label.ET: Region.ET}


class Clicking:
    """What the click tool means."""

    def __init__(self, context: Context, edit: LabelsEdit) -> None:
        self._context, self._session, self._brush, self._edit = context, context.session, context.brush, edit
        self.box = False
        """A drag is a box, not a scribble."""
        self._said: list[tuple[UndoStep | None, tuple[Click, ...]]] = []
        self._scene: tuple[object, Scene] | None = None
        self._sketch = Sketch(context.viewer, lambda: context.brush.tool is Tool.CLICK, self._drawn)
        context.follow(context.labels_changed, self._forget)
        context.follow(context.easel_changed, self._forget)
        context.follow(context.session.segmentation_changed, self._forget)

    def close(self) -> None:
        """Follow the mouse no more."""
        self._sketch.close()
        self._forget()

    def set_box(self, on: bool) -> None:
        """Whether a drag is a box round what belongs to the region, or a scribble."""
        if on != self.box:
            self.box = on
            self._brush.changed.emit()

    def toggle_box(self) -> None:
        """Boxes, or clicks and scribbles; the tool is taken in hand."""
        if self._brush.layer is not None:
            self._brush.choose(Tool.CLICK)
            self.set_box(not self.box)

    @property
    def region(self) -> Region:
        """What is clicked for: the region chosen, or the one that the class chosen is the outer part of."""
        target = self._brush.settings.target
        return target if isinstance(target, Region) else _REGION_OF.get(target, Region.WT)

    def _drawn(self, points: list[Any], modifiers: tuple[str, ...], across: int) -> None:
        layer = self._brush.layer
        if layer is None or in_stroke(layer):
            return
        found = [i for i in (index_at(layer, p) for p in points) if i is not None]
        places = list(dict.fromkeys(found))
        if not places:
            return
        region = self.region
        if self.box and len(places) > 1:
            self.say(box_clicks((places[0], places[-1]), region, layer.data))
        else:
            self.say([Click(i, region, "Shift" not in modifiers) for i in _line(places)])

    def say(self, clicks: list[Click]) -> None:
        """Have the labels follow that the clicks are right."""
        layer = self._brush.layer
        if layer is None:
            return
        if not self._brush.images:
            self._session.say("No series lies on the grid of these labels: there is nothing to look at.", Kind.WARNING)
            return
        said = tuple(clicks)
        earlier = self.held

        def then(changed: bool) -> None:
            steps = self._brush.history
            step = steps.done[-1] if changed and steps is not None and steps.done else None
            self._said.append((step, said))

        what = "click" if len(said) == 1 else "box" if len({c.inside for c in said}) > 1 else "scribble"
        self._edit.queue(
            "click", f"follows the {what}",
            lambda x: click_to_fix(x, said, self._look(), earlier),
            "the labels say so already, or what may be changed does not allow it", then,
        )  # fmt: skip

    @property
    def held(self) -> list[Click]:
        """The clicks that were not undone."""
        steps = self._brush.history
        done = {id(step) for step in steps.done} if steps is not None else set()
        return [c for step, clicks in self._said if step is None or id(step) in done for c in clicks]

    def _look(self) -> Scene:
        """What the clicks are answered from; in the background."""
        layer, answer, guard = self._brush.layer, self._session.answer, self._brush.guard()
        key = (id(layer), id(answer), guard.protect, guard.inside is None)
        if self._scene is not None and self._scene[0] == key:
            return self._scene[1]
        assert layer is not None
        here = self._context.easel is None
        given = answer.probabilities if answer is not None and here else None
        shown = {}
        if answer is not None and given is not None:
            shown = {r: to_display(p, answer.segmentation.grid.affine)[0] for r, p in given.items()}
        fits = {r: p for r, p in shown.items() if p.shape == layer.data.shape}
        scene = Scene(list(self._brush.images.values()), tuple(float(s) for s in layer.scale), fits, guard)
        self._scene = key, scene
        return scene

    def _forget(self, event: object = None) -> None:
        """Other labels are open: what was said of the last ones holds no more."""
        self._said, self._scene = [], None


def _line(places: list[Index]) -> list[Index]:
    """The voxels of a scribble, what the mouse jumped over filled in."""
    out = places[:1]
    for a, b in itertools.pairwise(places):
        n = int(np.abs(np.subtract(b, a)).max())
        between = np.linspace(a, b, n + 1)[1:].round().astype(int)
        out += [(int(x), int(y), int(z)) for x, y, z in between]
    return out
