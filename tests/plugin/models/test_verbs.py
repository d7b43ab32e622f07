"""Models and several answers below the widgets: a viewer without a window, a runner that answers when told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Segmentation
from brainseg_engine.corrections import BaseModel
from napari_brainseg.features.models.verbs import by_command
from napari_brainseg.features.segment.several import agreement, in_words, mean_of
from napari_brainseg.session import Answer

GRID = Grid((4, 4, 4), np.eye(4))


def answer(labels, probabilities=None, regions=tuple(Region)):
    return Answer(
        Segmentation(labels.astype(np.uint8), GRID, regions=regions), BaseModel("m"), probabilities=probabilities
    )


def test_agreement_is_dice_of_what_both_tell():
    one, other = np.zeros((4, 4, 4)), np.zeros((4, 4, 4))
    one[:2], other[1:3] = 2, 2
    dice = agreement(answer(one).segmentation, answer(other, regions=(Region.WT, Region.TC)).segmentation)
    assert dice == {Region.WT: 0.5, Region.TC: None}
    assert in_words("x", dice) == "x: WT 0.50, TC –"


def test_the_mean_is_that_of_the_probabilities_and_of_labels_where_there_are_none():
    low, high = (np.full((4, 4, 4), p, np.float16) for p in (0.3, 0.8))
    found = mean_of({
        "a": answer(np.zeros((4, 4, 4)), {Region.WT: low, Region.TC: low}),
        "b": answer(np.zeros((4, 4, 4)), {Region.WT: high, Region.TC: low}),
        "c": answer(np.full((4, 4, 4), 3)),
    })  # fmt: skip
    assert float(found.probabilities[Region.WT][0, 0, 0]) == pytest.approx(0.7, abs=1e-3)
    assert found.segmentation.made_by == "mean of a, b, c"
    assert region_mask(found.segmentation.labels, Region.WT).all() and set(found.probabilities) == set(Region)
    with pytest.raises(ValueError, match="two"):
        mean_of({"a": answer(np.zeros((4, 4, 4)))})


def test_the_majority_decides_where_there_are_labels_alone():
    yes, no = np.full((4, 4, 4), 2), np.zeros((4, 4, 4))
    found = mean_of({"a": answer(yes), "b": answer(yes), "c": answer(no)})
    assert (found.segmentation.labels == 2).all()


def test_a_command_that_fails_says_why(tmp_path: Path):
    with pytest.raises(CheckpointError, match="is no model that is known"):
        by_command(["import", str(tmp_path), "--name", "m"])
