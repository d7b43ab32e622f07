"""The plugin without a window: a runner that answers when told to, a background that works on the spot or later."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Prediction, Segmentation
from napari_brainseg.display import layers


class Runner:
    """Keeps what it is asked."""

    def __init__(self) -> None:
        self.jobs = []
        self.cancelled: list[str] = []
        self.warmed: list[tuple[str, str]] = []
        self.closed = False

    def warm(self, model, device, tta):
        self.warmed.append((model.name, device))

    def segment(self, job, listener):
        self.jobs.append((job, listener))

    def cancel(self, job_id):
        self.cancelled.append(job_id)

    def close(self):
        self.closed = True


@dataclass
class Card:
    modalities: tuple = tuple(Modality)
    name: str = "model"
    version: str = "1"


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


def shown(actions) -> np.ndarray:
    return layers.labels_of(actions.labels)


def paint(actions, value: int = 3, at=(3, 4, 5)) -> np.ndarray:
    """One stroke by napari's own brush; the labels afterwards."""
    layer = actions.labels
    with layer.block_history():
        layer.paint(at, value)
    actions.session.dirty = True  # as the overlay of the window has it
    return shown(actions)


def segment(actions) -> np.ndarray:
    actions.segment()
    job, listener = actions._runner.jobs[-1]
    listener.finished(job, prediction(job))
    return shown(actions)


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
