"""What the plugin's tests share: a viewer without a window, and clean threads after real windows."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def viewer() -> Iterator[object]:
    """A viewer without a window: neither Qt nor OpenGL."""
    from napari.components import ViewerModel

    model = ViewerModel()
    yield model
    model.layers.clear()


@pytest.fixture
def house(viewer: object) -> Iterator[object]:
    """All features over that viewer, with a model to choose."""
    from helpers.rig import Card, House, Model

    made = House(viewer)
    made.session.set_models((Model(card=Card()),))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """No worker outlives its test: a thread that runs on at exit aborts the process."""
    yield
    if "superqt.utils._qthreading" in sys.modules:
        from superqt.utils._qthreading import WorkerBase

        for worker in list(WorkerBase._worker_set):
            worker.quit()
        WorkerBase.await_workers(5000)


@pytest.fixture
def model(own_home, request) -> str:
    """The bundled model; until there is one, a small network with random weights in the user's folder."""
    from brainseg_engine.models import installed

    usable = [m for m in installed() if m.card is not None]
    if usable:
        return usable[0].name
    (own_home / "models").mkdir(parents=True, exist_ok=True)
    shutil.copy(request.getfixturevalue("tiny_model"), own_home / "models" / "tiny.safetensors")
    return "tiny"


@pytest.fixture(scope="module")
def _napari(qapp: object) -> Iterator[object]:
    from helpers.shared_napari import SharedNapari

    shared = SharedNapari()
    yield shared
    shared.drop()


@pytest.fixture
def shared_viewer(_napari, request) -> Iterator[object]:
    """A viewer without layers in a window that is shown: the tests of a module share it, one after the other."""
    yield _napari.get().viewer
    _napari.give_back(failed=request.node.rep_call.failed)


@pytest.fixture
def fake_worker(monkeypatch) -> None:
    """The worker of a window is a small program whose predictor is a threshold: neither torch nor a model is loaded."""
    from functools import partial

    from helpers.cases import FAKE_WORKER

    from napari_brainseg.jobs import everywhere

    command = [sys.executable, str(FAKE_WORKER)]
    monkeypatch.setattr(everywhere, "WorkerClient", partial(everywhere.WorkerClient, command=command))


@pytest.fixture
def window(qtbot, shared_viewer, model) -> Iterator[object]:
    from helpers.window import Window

    made = Window(qtbot, shared_viewer)
    yield made
    made.leave()
