"""Augmentation is a function of (seed, epoch, index), moves image and labels together, and leaves the outside at zero."""

import pytest
import torch
from small_study import make_study

from brainseg_engine.augment import augment, generator
from brainseg_engine.preprocess import preprocess
from brainseg_engine.recipe import Augmentation, load_recipe

OFF = {"flip": 0, "affine": 0, "intensity": 0, "gamma": 0, "bias_field": 0, "noise": 0, "blur": 0}


def sample(seed=0):
    study = make_study(seed, shape=(36, 44, 32))
    image, inverse = preprocess(study, load_recipe("baseline"), 4)
    return image, torch.from_numpy(inverse.forward_labels(study.segmentation.labels).copy())


def test_the_same_numbers_give_the_same_sample():
    image, labels = sample()
    config = Augmentation()
    first = augment(image, labels, config, generator(1, 2, 3))
    again = augment(image, labels, config, generator(1, 2, 3))
    other = augment(image, labels, config, generator(1, 2, 4))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_any_seed_is_a_seed():
    big = [generator(seed, 7, 3).initial_seed() for seed in (0, 20261121, 2**32 - 1)]
    assert len(set(big)) == 3
    assert big[0] == 7 * 1_000_003 + 3


def test_nothing_on_changes_nothing():
    image, labels = sample()
    out, same = augment(image, labels, Augmentation(**OFF), generator(0, 0, 0))
    assert torch.equal(out, image)
    assert torch.equal(same, labels)


@pytest.mark.parametrize("kind", sorted(OFF))
def test_each_kind_acts_keeps_the_labels_values_and_the_zero_outside(kind):
    image, labels = sample()
    config = Augmentation(**{**OFF, kind: 1.0})
    outs = [augment(image, labels, config, generator(0, 0, i)) for i in range(3)]
    assert any(not torch.equal(o, image) for o, _ in outs)
    for out, moved in outs:
        assert out.shape == image.shape
        assert torch.isfinite(out).all()
        assert set(moved.unique().tolist()) <= set(labels.unique().tolist())
        if kind not in {"flip", "affine"}:
            assert torch.equal(moved, labels)
            assert float(out[image == 0].abs().max()) == 0
        else:
            assert abs(int((moved > 0).sum()) / int((labels > 0).sum()) - 1) < 0.6


def test_image_and_labels_move_together():
    """Where the moved labels say enhancing, the moved T1ce is bright."""
    image, labels = sample()
    config = Augmentation(**{**OFF, "flip": 0.5, "affine": 1.0})
    for i in range(6):
        out, moved = augment(image, labels, config, generator(5, 0, i))
        assert float(out[1][moved == 3].mean()) > float(out[1][(moved == 0) & (out[1] != 0)].mean()) + 1.0
