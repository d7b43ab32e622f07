"""A correction on its way, as the window would keep it."""

from __future__ import annotations

import numpy as np

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import Work
from helpers.small_study import make_study

KEY = "0123456789abcdef" * 2


def a_work(labels: np.ndarray | None = None, **more) -> Work:
    study = make_study(shape=(8, 9, 10))
    own = study.segmentation if labels is None else Segmentation(labels, Grid(labels.shape, np.eye(4)))
    return Work(KEY, "case", own, **more)
