"""Tiles cover the array, and blending reproduces a pointwise network exactly."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import Cancelled
from brainseg_engine.core.labels import Region
from brainseg_engine.inference import tiles
from brainseg_engine.recipe import Output

WHOLE = Output(regions=(Region.WT,))


@given(st.integers(1, 300), st.integers(1, 128), st.floats(0, 0.9))
def test_starts_cover(size, window, overlap):
    found = tiles.starts(size, window, overlap)
    covered = set()
    for s in found:
        covered |= set(range(s, min(s + window, size)))
        assert s + min(window, size) <= size
    assert covered == set(range(size))
    assert found == sorted(set(found))


@pytest.mark.parametrize("largest", [(64, 64, 64), (16, 12, 20), (8, 8, 8)])
def test_blending_a_pointwise_network_is_exact(largest):
    image = torch.randn(2, 24, 20, 28)
    tile, places = tiles.plan(image.shape[1:], largest, 0.5, (4, 4, 4))
    out = tiles.run(lambda x: x[:, :1] * 2, image, tile, places, WHOLE, lambda: None)
    torch.testing.assert_close(out, torch.sigmoid(image[:1] * 2))


def test_a_tile_is_never_smaller_than_the_network_takes():
    tile, places = tiles.plan((32, 48, 32), (8, 20, 100), 0.5, (16, 16, 16))
    assert tile == (16, 16, 32)
    assert len(places) == 3 * 5


def test_it_stops_between_tiles():
    image = torch.zeros(1, 16, 16, 16)
    tile, places = tiles.plan(image.shape[1:], (8, 8, 8), 0.0, (4, 4, 4))
    seen = []

    def between():
        seen.append(1)
        if len(seen) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        tiles.run(lambda x: x, image, tile, places, WHOLE, between)
    assert len(seen) == 3 < len(places)


@pytest.mark.parametrize("slices", [1, 8, 21])
def test_slices_come_back_where_they_were(slices):
    image = torch.randn(2, 12, 10, slices)
    calls = []

    def net(x):
        assert x.shape[1:] == (2, 10, 12)  # rows first
        assert torch.equal(x[0, 0], image[0, :, :, 8 * (len(calls) - 1)].T)
        return x[:, 1:] * 3

    out = tiles.run_slices(net, image, WHOLE, lambda: calls.append(1))
    torch.testing.assert_close(out, torch.sigmoid(image[1:] * 3))
    assert len(calls) == tiles.rounds(image.shape, [], 2)


def test_classes_are_a_softmax():
    p = tiles.probabilities(torch.randn(2, 4, 3, 3, 3).half(), Output(kind="classes"))
    assert p.dtype == torch.float32
    torch.testing.assert_close(p.sum(dim=1), torch.ones(2, 3, 3, 3))
