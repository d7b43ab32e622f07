"""What the plugin's tests share: a viewer without a window, and clean threads after real windows."""

from __future__ import annotations

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


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """No worker outlives its test: a thread that runs on at exit aborts the process."""
    yield
    if "superqt.utils._qthreading" in sys.modules:
        from superqt.utils._qthreading import WorkerBase

        for worker in list(WorkerBase._worker_set):
            worker.quit()
        WorkerBase.await_workers(5000)
