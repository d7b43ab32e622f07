"""The plugin without a window: a runner that answers when told to, a background that works on the spot or later."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Prediction, Segmentation
from brainseg_engine.models import checkpoint
from napari_brainseg.app.features import Features
from napari_brainseg.display import layers
from napari_brainseg.display.tools import Tool
from napari_brainseg.features.context import Context
from napari_brainseg.jobs import DoubtRequest, PropagateRequest, ScoreRequest, SegmentRequest
from napari_brainseg.session import Session


class Runner:
    """Keeps what it is asked: (request, listener) each."""

    def __init__(self) -> None:
        self.submitted: list = []
        self.cancelled: list[str] = []
        self.warmed: list[tuple[str, str]] = []
        self.closed = False

    def warm(self, model, device, tta):
        self.warmed.append((model.name, device))

    def submit(self, request, listener):
        self.submitted.append((request, listener))

    def cancel(self, request_id):
        self.cancelled.append(request_id)

    def close(self):
        self.closed = True

    def of(self, kind) -> list:
        """Those of that kind of request."""
        return [(request, listener) for request, listener in self.submitted if isinstance(request, kind)]

    @property
    def jobs(self) -> list:
        return self.of(SegmentRequest)

    @property
    def doubts(self) -> list:
        return self.of(DoubtRequest)

    @property
    def scores(self) -> list:
        return self.of(ScoreRequest)

    @property
    def proposals(self) -> list:
        return self.of(PropagateRequest)


class ManualTimer:
    """Calls when the test says so."""

    def __init__(self, call, again: bool) -> None:
        self.call, self.again, self.active = call, again, False

    def start(self, seconds=None):
        self.active = True

    def stop(self):
        self.active = False

    def fire(self):
        self.active = self.again
        self.call()


class Timers:
    """Makes timers, and lets time pass."""

    def __init__(self) -> None:
        self.made: list[ManualTimer] = []

    def __call__(self, seconds, call, again=False):
        self.made.append(ManualTimer(call, again))
        return self.made[-1]

    def pass_time(self) -> None:
        """Whatever waits to be called once is called, and what that starts."""
        while waiting := [t for t in self.made if t.active and not t.again]:
            for timer in waiting:
                timer.fire()


class House:
    """The whole plugin below its widgets: the features as the window has them, over a runner and timers that wait."""

    def __init__(self, viewer, background=None, clock=time.monotonic, launcher=None) -> None:
        self.session, self.viewer, self.runner, self.timers = Session(), viewer, Runner(), Timers()
        self.background = background or at_once
        self.saving = None  # else as the background
        self.context = Context(
            self.session, viewer, self.runner, lambda *a: self.background(*a), self.timers,
            lambda *a: (self.saving or self.background)(*a),
        )  # fmt: skip
        more = {} if launcher is None else {"launcher": launcher}
        self.features = f = Features(self.context, clock=clock, **more)
        self.study, self.segment, self.regions, self.paint, self.save = f.study, f.segment, f.regions, f.paint, f.save
        self.view, self.corrections, self.doubt, self.propagate = f.view, f.corrections, f.doubt, f.propagate
        self.queue, self.finetune, self.series = f.queue, f.finetune, f.series

    @property
    def labels(self):
        return self.context.labels

    def close(self) -> None:
        for step in self.features.closing_steps():
            step()


class Card(checkpoint.Card):
    """A card that tells no more than it must."""

    def __init__(self, modalities: tuple[Modality, ...] = tuple(Modality), name: str = "model") -> None:
        super().__init__(name=name, recipe="test", modalities=modalities, regions=tuple(Region), parameters=1)


@dataclass
class Model:
    name: str = "model"
    card: Card | None = None
    problem: str = ""
    path: Path = Path("/m/model.safetensors")


def at_once(work, done, failed):
    try:
        result = work()
    except Exception as e:
        failed(e)
    else:
        done(result)


class Later:
    """A background that does its work when told to."""

    def __init__(self) -> None:
        self.waiting = []

    def __call__(self, work, done, failed):
        self.waiting.append((work, done, failed))

    def run(self, i: int = 0) -> None:
        at_once(*self.waiting.pop(i))


def prediction(job, value=Label.ET) -> Prediction:
    labels = np.zeros(job.study.reference.grid.shape, dtype=np.uint8)
    labels[5:9, 5:9, 5:9] = value
    seg = Segmentation(labels, job.study.reference.grid, "brats2021", "model 1")
    return Prediction(job.study.id, seg, "model", "1", "cpu (1 threads)", {"network": 1.5})


def shown(house) -> np.ndarray:
    return layers.labels_of(house.labels)


def paint(house, value: int = 3, at=(3, 4, 5)) -> np.ndarray:
    """One stroke by napari's own brush; the labels afterwards."""
    house.paint.choose_tool(Tool.BRUSH)
    house.paint.change_brush(inside=False)
    layer = house.labels
    with layer.block_history():
        layer.paint(at, value)
    return shown(house)


def segment(house) -> np.ndarray:
    """Press Segment, and let the answer come."""
    house.segment.segment()
    request, listener = house.runner.jobs[-1]
    listener.finished(prediction(request))
    return shown(house)


def drag(viewer, path, *, button=1, modifiers=("Control",)) -> None:
    """A mouse drag as napari hands it on: the viewer's callbacks first, then those of the active layer."""
    from napari.utils.interactions import mouse_move_callbacks, mouse_press_callbacks, mouse_release_callbacks

    event = SimpleNamespace(
        type="mouse_press", button=button, modifiers=modifiers, pos=np.array(path[0]), is_dragging=False, handled=False,
        position=tuple(viewer.dims.point), view_direction=None, dims_displayed=list(viewer.dims.displayed),
        dims_point=list(viewer.dims.point), up_direction=None, camera_zoom=1.0, viewbox=None, buttons=[button],
    )  # fmt: skip
    for i, pos in enumerate([*path, path[-1]]):
        event.pos = np.array(pos)
        event.type = "mouse_press" if i == 0 else "mouse_release" if i == len(path) else "mouse_move"
        event.is_dragging = event.type == "mouse_move"
        callbacks = {0: mouse_press_callbacks, len(path): mouse_release_callbacks}.get(i, mouse_move_callbacks)
        for target in (viewer, viewer.layers.selection.active):
            callbacks(target, event)
