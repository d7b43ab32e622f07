"""Each way of normalising against its definition, and what has no spread."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.inference import normalise
from brainseg_engine.recipe import Preprocess

WAYS = ("zscore", "minmax", "percentiles", "slice_zscore", "none")


def volume(seed=0, shape=(12, 14, 9)):
    """Intensities of a brain amid zeros."""
    rng = np.random.default_rng(seed)
    data = rng.gamma(4, 60, size=shape).astype(np.float32)
    data[:3] = 0
    data[:, -2:] = 0
    return data


def run(data, **settings):
    config = Preprocess(**settings)
    return normalise.channel(torch.from_numpy(data.copy()), normalise.limits(data, config), config).numpy()


@given(st.integers(0, 20))
def test_minmax_and_percentiles_are_of_the_whole_volume(seed):
    data = volume(seed)
    out = run(data, normalise="minmax")
    np.testing.assert_allclose(out, data / data.max(), rtol=1e-6)
    low, high = np.percentile(data, (10, 99))
    out = run(data, normalise="percentiles", clip_percentiles=(10, 99))
    np.testing.assert_allclose(out, np.clip((data - low) / (high - low), 0, 1), atol=1e-6)
    part, config = data[4:8], Preprocess(normalise="minmax")
    cropped = normalise.channel(torch.from_numpy(part), normalise.limits(data, config), config)
    np.testing.assert_allclose(cropped.numpy(), part / data.max(), rtol=1e-6)


@given(st.integers(0, 20), st.floats(-20, 0))
def test_slices_are_standardised_one_by_one(seed, background):
    """By the definition, written out for each axial slice."""
    data = volume(seed)
    data[..., 4] = 0  # an empty slice
    data[..., 5] = np.where(data[..., 5] > 0, 7, 0)  # one value in the brain
    out = run(data, normalise="slice_zscore", clip_percentiles=(1, 99), background=background)
    for z in range(data.shape[2]):
        plane = np.clip(data[..., z], *np.percentile(data[..., z], (1, 99)))
        if z in (4, 5):
            np.testing.assert_array_equal(out[..., z], plane)
            continue
        inside = plane[plane != 0]
        expected = (plane - inside.mean()) / inside.std()
        expected[plane == plane.min()] = background
        np.testing.assert_allclose(out[..., z], expected, atol=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [0.0, 5.0])
def test_a_constant_channel_gives_numbers(way, value):
    out = run(np.full((5, 6, 4), value, dtype=np.float32), normalise=way, background=-9)
    assert np.isfinite(out).all()
    if way in {"minmax", "percentiles"}:
        assert not out.any()


def test_no_way_writes_into_its_input():
    for way in WAYS:
        data = volume()
        config = Preprocess(normalise=way)
        tensor = torch.from_numpy(data)
        before = tensor.clone()
        normalise.channel(tensor, normalise.limits(data, config), config)
        assert torch.equal(tensor, before)


def test_outside_the_brain():
    assert normalise.outside(Preprocess(normalise="slice_zscore", background=-9)) == -9
    assert normalise.outside(Preprocess(normalise="zscore", background=-9)) == 0
