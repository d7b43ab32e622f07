"""Law: a known volume written as DICOM is read back with every voxel in place and every intensity the same."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from dicom_studies import grid_of
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.io.listing import list_series, volume_of
from brainseg_engine.phantom.dicom import SYNTAXES, SeriesPlan, new_person, write_series

_CODES = [
    a + b + c
    for a, b, c in (
        ("L", "P", "S"),
        ("R", "A", "I"),
        ("P", "S", "L"),
        ("L", "S", "P"),
        ("A", "I", "R"),
        ("S", "P", "R"),
    )
]


@settings(max_examples=30)
@given(
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    codes=st.sampled_from(_CODES),
    spacing=st.tuples(st.floats(0.3, 2), st.floats(0.3, 2), st.floats(0.5, 8)),
    syntax=st.sampled_from(list(SYNTAXES)),
    vendor=st.sampled_from(["SIEMENS", "GE", "Philips"]),
    enhanced=st.booleans(),
    signed=st.booleans(),
    scaled=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_law_voxels_in_place_and_intensities_exact(
    degrees, codes, spacing, syntax, vendor, enhanced, signed, scaled, seed
):
    rng = np.random.default_rng(seed)
    grid = grid_of((36, 33, 7), spacing, degrees, codes)
    stored = rng.integers(-2000 if signed else 0, 4000, grid.shape).astype(np.int16 if signed else np.uint16)
    slopes = [(float(rng.uniform(0.1, 3)), float(rng.integers(-50, 50))) for _ in range(7)] if scaled else None
    plan = SeriesPlan(vendor=vendor, syntax=syntax, enhanced=enhanced, slopes=slopes, order=list(rng.permutation(7)))
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), stored, grid, new_person(), plan)
        (series,) = list_series(Path(folder)).series
        assert series.remarks == ()
        volume = volume_of(series, Modality.T1)
    expected = stored
    if slopes is not None:
        expected = np.stack([(stored[..., k] * s + i).astype(np.float32) for k, (s, i) in enumerate(slopes)], axis=-1)
    assert_same(volume.data, volume.grid, expected, grid)


def assert_same(data: np.ndarray, on: Grid, expected: np.ndarray, grid: Grid) -> None:
    """Every voxel is at its place to 1e-3 mm with its value; slices may be counted from the other end."""
    assert data.shape == expected.shape
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)]) * (np.array(grid.shape) - 1)
    reversed_ = np.linalg.norm(on.to_world(corners[0]) - grid.to_world(corners[0])) > 0.1
    there = corners * (1, 1, -1) + (0, 0, grid.shape[2] - 1) if reversed_ else corners
    assert np.abs(on.to_world(there) - grid.to_world(corners)).max() < 1e-3
    np.testing.assert_array_equal(data[:, :, ::-1] if reversed_ else data, expected)
