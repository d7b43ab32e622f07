"""Series as hospitals acquire them: what is done to one series is what its name says, and nothing else."""

import pytest
import torch

from brainseg_engine.augment import acquisition, generator
from brainseg_engine.recipe import Acquisition


def brain(side=30, channels=4, seed=0):
    """(C, side…): noise in a ball, 0 around it, standardised."""
    at = torch.linspace(-1.2, 1.2, side)
    inside = at[:, None, None] ** 2 + at[:, None] ** 2 + at**2 < 1
    noise = torch.randn(channels, side, side, side, generator=torch.Generator().manual_seed(seed))
    return torch.stack([acquisition.standardised(c * inside) for c in noise])


def test_nothing_on_changes_nothing():
    image = brain()
    assert torch.equal(acquisition.acquired(image, Acquisition(), generator(0, 0, 0)), image)


@pytest.mark.parametrize("kind", ["thick", "cut", "missing", "moved", "quantised"])
def test_each_kind_acts_on_a_copy_and_keeps_to_the_brain(kind):
    image, config = brain(), Acquisition(**{kind: 1.0})
    before = image.clone()
    for i in range(6):
        out = acquisition.acquired(image, config, generator(0, 0, i))
        assert torch.equal(image, before)
        assert not torch.equal(out, image)
        assert torch.equal(out, acquisition.acquired(image, config, generator(0, 0, i)))
        assert torch.isfinite(out).all()
        if kind != "moved":  # a series that lies elsewhere takes its outline with it
            assert not out[:, ~(image != 0).any(dim=0)].any()
        changed = [not torch.equal(a, b) for a, b in zip(image, out, strict=True)]
        assert 1 <= sum(changed) <= (4 if kind == "thick" else 2 if kind == "missing" else 1)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("voxels", [3, 5, 7])
def test_thick_slices_smooth_along_their_axis_alone(axis, voxels):
    channel = brain(side=40)[0]
    out = acquisition.thick(channel, axis, voxels, gap=0.2, offset=0.4)
    assert torch.equal(out != 0, channel != 0)
    roughness = []
    for a in range(3):
        there = (out != 0).narrow(a, 1, 39) & (out != 0).narrow(a, 0, 39)
        roughness.append(float(out.diff(dim=a)[there].square().mean()))
    assert min(range(3), key=roughness.__getitem__) == axis
    assert roughness[axis] < 0.2 * min(r for a, r in enumerate(roughness) if a != axis)


def test_thick_slices_of_a_uniform_brain_are_uniform():
    """Means are over the brain alone: no dark rim."""
    channel = (brain()[0] != 0).float() * 3
    torch.testing.assert_close(acquisition.thick(channel, 1, 5, 0.3, 0.5), channel)


@pytest.mark.parametrize("seed", range(4))
def test_a_stripping_takes_brain_with_its_labels_or_leaves_a_rim(seed):
    image = brain(side=40)
    image[3] = 0  # a series that is missing stays so
    inside = (image != 0).any(dim=0)
    labels = inside.to(torch.uint8) * 2

    def shell(mask, n):
        """Where ``mask`` is within ``n`` voxels, in a cube's sense."""
        return torch.nn.functional.max_pool3d(mask[None, None].float(), 2 * n + 1, 1, n)[0, 0] > 0

    less, fewer = acquisition.stripped(image, labels, 4, False, generator(0, 0, seed))
    kept = (less[:3] != 0).any(dim=0)
    assert torch.all(inside | ~kept) and kept.sum() < inside.sum()
    assert torch.all(kept | shell(~inside, 4) | ~inside), "nothing is taken further than 4 voxels from the surface"
    assert torch.equal(fewer, labels * kept)

    more, same = acquisition.stripped(image, labels, 4, True, generator(0, 0, seed))
    grown = (more[:3] != 0).any(dim=0)
    assert torch.all(grown | ~inside) and grown.sum() > inside.sum()
    assert torch.all(shell(inside, 4) | ~grown), "no rim is thicker than 4 voxels"
    assert torch.equal(same, labels)
    for out in (less, more):
        assert not out[3].any()
        for channel in out[:3]:
            values = channel[channel != 0]
            assert abs(float(values.mean())) < 1e-4 and abs(float(values.std()) - 1) < 1e-3


@pytest.mark.parametrize("far", [False, True])
def test_a_cut_takes_that_part_of_one_side(far):
    channel = brain()[0]
    rows = (channel != 0).any(dim=2).any(dim=1).nonzero()[:, 0]
    cut = channel.clone()
    acquisition.cut(cut, 0, 0.25, far)
    left = (cut != 0).any(dim=2).any(dim=1).nonzero()[:, 0]
    assert len(rows) - len(left) == round(0.25 * len(rows))
    kept = left if not far else left.flip(0)
    whole = rows if not far else rows.flip(0)
    assert kept[-1] == whole[-1]
    assert kept[0] != whole[0]


def test_one_series_at_least_is_left():
    config = Acquisition(missing=1.0)
    lone = brain(channels=1)
    assert all(acquisition.acquired(lone, config, generator(0, 0, i)).any() for i in range(8))
