"""The numbers by which series are told apart: they do not depend on scale, orientation or which of two comes first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.phantom import phantom_study
from brainseg_engine.studies import appearance
from brainseg_engine.studies.series_order import likely, order_scores

T1, T1CE, T2, FLAIR = Modality


@pytest.fixture(scope="module")
def study() -> Study:
    whole = phantom_study(5)
    every = (slice(None, None, 3),) * 3
    grid = Grid(whole.reference.data[every].shape, whole.reference.grid.affine @ np.diag([3.0, 3.0, 3.0, 1.0]))
    volumes = {m: replace(v, data=v.data[every], grid=grid) for m, v in whole.volumes.items()}
    return replace(whole, volumes=volumes, segmentation=None)


@given(st.floats(0.01, 1000), st.booleans(), st.tuples(*[st.booleans()] * 3), st.permutations(range(3)))
@settings(max_examples=8)
def test_scale_and_orientation_of_the_array_change_nothing(study, scale, offset, flips, axes):
    v = study.volumes[T1CE]
    data = np.where(v.data > 0, v.data * np.float32(scale) + np.float32(offset * scale * 9), 0).astype(np.float32)
    affine = v.grid.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            data = np.flip(data, axis)
            affine = affine @ _flip(axis, data.shape[axis])
    data, affine = data.transpose(axes), affine[:, [*axes, 3]]
    other = appearance.look(Volume(data, Grid(data.shape, affine), T1CE))
    assert np.allclose(other.features, appearance.look(v).features, atol=0.05)


def _flip(axis: int, n: int) -> np.ndarray:
    flip = np.eye(4)
    flip[axis, axis], flip[axis, 3] = -1, n - 1
    return flip


def test_which_of_two_comes_first_does_not_matter(study):
    a, b = (appearance.look(study.volumes[m]) for m in (T1, T2))
    assert np.allclose(appearance.pair_features(b, a), appearance.swapped(appearance.pair_features(a, b)), atol=1e-6)
    assert np.allclose(
        appearance.swapped(appearance.swapped(appearance.pair_features(a, b))), appearance.pair_features(a, b)
    )


def test_series_on_grids_of_their_own_are_brought_together(study):
    a, v = appearance.look(study.volumes[T1]), study.volumes[T2]
    moved = v.grid.affine.copy()
    moved[:3, 3] += (12.0, -7.0, 9.0)  # the header lies; the heads tell
    pair = appearance.pair_features(a, appearance.look(replace(v, grid=Grid(v.grid.shape, moved))))
    assert np.allclose(pair, appearance.pair_features(a, appearance.look(v)), atol=0.35)


@pytest.mark.parametrize(
    "data", [np.zeros((30, 30, 30)), np.full((30, 30, 30), 7.0), np.eye(8)[:, :, None] * np.ones(8)]
)
def test_where_there_is_nothing_to_see_nothing_is_said(data):
    assert appearance.look(Volume(data, Grid(data.shape, np.diag([3.0, 3.0, 3.0, 1.0])), T1)) is None


def test_a_made_up_brain_which_nothing_was_fitted_on_is_reported(study):
    looks = {m: appearance.look(v) for m, v in study.volumes.items()}
    scores = order_scores(looks)
    assert max(scores, key=lambda o: scores[o]) == tuple(Modality)
    assert all(0 <= likely(x)[1] <= 1 for x in looks.values())


def test_the_head_of_a_reformat_is_not_all_that_lies_within_its_blank_border():
    rng = np.random.default_rng(0)
    data = np.zeros((90, 90, 60), np.float32)
    data[10:80, 10:80, 5:55] = rng.uniform(1, 20, (70, 70, 50))  # the slices with their noisy air
    ball = np.linalg.norm(np.argwhere(np.ones(data.shape)) - (45, 45, 30), axis=1).reshape(data.shape) < 24
    data[ball] = 300 + rng.uniform(0, 50, int(ball.sum()))
    found = appearance.head_of(data, voxel_ml=0.027)
    assert abs(found.sum() / ball.sum() - 1) < 0.02
    data[~ball] = 0  # a stripped brain is all that is not blank
    assert appearance.head_of(data, voxel_ml=0.027).sum() == ball.sum()
