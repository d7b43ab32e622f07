"""A skull is reported where two series show it, or one whose outline is its own; one that only looks so is not."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Volume
from brainseg_engine.studies.skull import skull_on, with_skull

T1, T1CE, T2, FLAIR = Modality
SAME = {m: m for m in Modality}
SIDE = 2.5


def ball(radius: float, shape=(80, 80, 80)) -> np.ndarray:
    """Distances under the surface of a ball, in mm."""
    axes = np.meshgrid(*[(np.arange(n) - n / 2) * SIDE for n in shape], indexing="ij", sparse=True)
    return radius - np.sqrt(sum(a * a for a in axes))


def volume(data: np.ndarray, m: Modality) -> Volume:
    texture = np.random.default_rng(0).normal(0, 1, data.shape)  # tissue of one value would be a padding
    data = np.where(data > 0, data + texture, 0)
    return Volume(data.astype(np.float32), Grid(data.shape, np.diag([SIDE, SIDE, SIDE, 1.0])), m)


def stripped(m: Modality, rim: float = 1.0) -> Volume:
    """A brain whose outer 6 mm are ``rim`` times as bright as its inside."""
    depth = ball(65)
    return volume(np.where(depth <= 0, 0, np.where(depth < 6, 100 * rim, 100)), m)


def headed(m: Modality) -> Volume:
    """The brain in dark skull and bright scalp."""
    depth = ball(81)
    return volume(np.where(depth <= 0, 0, np.where(depth < 8, 250, np.where(depth < 16, 10, 100))), m)


@pytest.mark.parametrize("m", [T1, T1CE])
def test_one_series_with_a_bright_rim_on_the_mask_of_the_others_is_no_skull(m):
    volumes = {n: stripped(n, 2.5 if n is m else 1.0) for n in Modality}
    assert skull_on(volumes[m])
    assert with_skull(volumes, SAME) == []


@pytest.mark.parametrize("pair", list(combinations((T1, T1CE), 2)))
def test_two_that_agree_are_reported(pair):
    volumes = {n: headed(n) if n in pair else stripped(n) for n in Modality}
    assert with_skull(volumes, SAME) == list(pair)


def test_one_whose_outline_is_its_own_is_reported():
    volumes = {n: headed(n) if n is T1 else stripped(n) for n in Modality}
    assert with_skull(volumes, SAME) == [T1]
    thick = replace(
        volumes[T1], data=volumes[T1].data[:, :, ::2], grid=Grid((80, 80, 40), np.diag([SIDE, SIDE, 2 * SIDE, 1.0]))
    )
    assert with_skull(volumes | {T1: thick}, SAME) == [T1]  # on a grid of its own


def test_air_that_is_no_single_value_is_a_skull_in_every_series():
    noise = np.random.default_rng(0).rayleigh(3, (80, 80, 80))
    volumes = {n: replace(v := headed(n), data=v.data + noise.astype(np.float32)) for n in Modality}
    assert with_skull(volumes, SAME) == list(Modality)


def test_a_series_that_is_alone_stands_for_itself():
    assert with_skull({T1: headed(T1)}, SAME) == [T1]
    assert with_skull({T1: stripped(T1)}, SAME) == []


def test_what_a_series_looks_like_counts_not_what_it_was_given_as():
    volumes = {n: stripped(n, 2.5 if n is T1 else 1.0) for n in Modality}
    assert not skull_on(volumes[T1], role=T2)
