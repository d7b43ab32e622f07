"""Augmentation is a function of (seed, epoch, index), moves image and labels together, and leaves the outside at zero."""

import itertools
import math

import numpy as np
import pytest
import torch
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.augment import artefacts, augment, generator, spatial, tensor_forms
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.recipe import Artefacts, Augmentation, load_recipe

OFF = {"flip": 0, "affine": 0, "intensity": 0, "gamma": 0, "bias_field": 0, "noise": 0, "blur": 0}


def sample(seed=0):
    study = make_study(seed, shape=(36, 44, 32))
    image, inverse = preprocess(study, load_recipe("baseline"), (4, 4, 4))
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


# Slices, devices, other backgrounds


def test_slices_are_changed_as_brains_are():
    image, labels = sample()
    image, labels = image[..., 16].transpose(1, 2).contiguous(), labels[..., 16].T.contiguous()
    for kind in sorted(OFF):
        config = Augmentation(**{**OFF, kind: 1.0})
        out, moved = augment(image, labels, config, generator(0, 0, 1))
        assert out.shape == image.shape
        assert moved.shape == labels.shape
        assert not torch.equal(out, image)
        if kind == "affine":
            assert float(out[1][moved == 3].mean()) > float(out[1][(moved == 0) & (out[1] != 0)].mean()) + 1.0


def test_only_the_axes_asked_for_are_mirrored():
    image, labels = sample()
    flat, flat_labels = image[..., 16].transpose(1, 2), labels[..., 16].T
    for axes, brain, piece in ((("x",), (1,), (2,)), (("y", "z"), (2, 3), (1,)), ((), (), ())):
        config = Augmentation(**{**OFF, "flip": 1.0}, flip_axes=axes)
        out, moved = augment(image, labels, config, generator(0, 0, 0))
        assert torch.equal(out, image.flip(brain))
        assert torch.equal(moved, labels.flip([a - 1 for a in brain]))
        out, moved = augment(flat, flat_labels, config, generator(0, 0, 0))
        assert torch.equal(out, flat.flip(piece))
        assert torch.equal(moved, flat_labels.flip([a - 1 for a in piece]))


def test_a_flip_within_an_affine_is_the_flip_then_the_affine():
    """They are read in one go; without rotation and scale that is the flip."""
    image, labels = sample()
    config = Augmentation(**{**OFF, "flip": 1.0, "affine": 1.0}, rotation_deg=0, scale=(1, 1))
    out, moved = augment(image, labels, config, generator(0, 0, 0))
    torch.testing.assert_close(out, image.flip((1, 2, 3)), atol=1e-4, rtol=1e-4)
    assert torch.equal(moved, labels.flip((0, 1, 2)))


def test_a_quarter_turn_and_a_scale_go_where_they_should():
    matrix = spatial.rotation(0, 1, math.pi / 2)
    labels = torch.zeros(9, 9, 9, dtype=torch.uint8)
    labels[6, 4, 4] = 3
    image = labels[None].float()
    out, moved = spatial.move(image, labels, spatial.affine_positions((9, 9, 9), matrix))
    assert torch.nonzero(moved).tolist() == [[4, 2, 4]]  # from (6, 4) back: new (x, y) reads R·(x, y)
    torch.testing.assert_close(out[0], moved.float(), atol=1e-4, rtol=0)
    half = spatial.affine_positions((9, 9, 9), 0.5 * torch.eye(3, dtype=torch.float64))
    larger = spatial.move(image, labels, half)[1]
    assert larger[8, 4, 4] == 3  # twice as far from the centre
    assert not larger[6, 4, 4]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([-9.0, -1.5]))
def test_another_background_stays_where_nothing_spoils_it(index, background):
    image, labels = sample()
    shifted = torch.where(image == 0, background, image)
    config = Augmentation()
    one, moved = augment(image, labels, config, generator(0, 0, index))
    other, same = augment(shifted, labels, config, generator(0, 0, index), background=background)
    assert torch.equal(moved, same)
    torch.testing.assert_close(other, torch.where(one == 0, background, one))


def test_elsewhere_than_on_a_cpu_all_is_read_and_masked():
    """What a CPU leaves out is what the mask leaves out."""
    image, labels = sample()
    g = generator(0, 0, 3)
    positions = spatial.affine_positions(image.shape[1:], spatial.draw_affine(Augmentation(), False, g))
    out, _ = spatial.move(image, labels, positions)
    whole = spatial.read(image, spatial.whole(positions, labels.shape))
    torch.testing.assert_close(out[out != 0], whole[out != 0], atol=1e-5, rtol=1e-5)
    assert float(((out == 0) & (whole.abs() > 0.05)).float().mean()) < 0.05  # the smeared rim


# Artefacts

KINDS = Artefacts().kinds


def artefact(kind, library="tensor", **settings):
    return Augmentation(**OFF, artefacts=Artefacts(probability=1.0, kinds=(kind,), library=library, **settings))


@pytest.mark.parametrize("library", ["tensor", "torchio"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_artefact_acts_repeats_and_draws_from_its_generator_alone(kind, library):
    image, labels = sample()
    torch.manual_seed(0)
    first = torch.rand(4)
    torch.manual_seed(0)
    outs = [augment(image, labels, artefact(kind, library), generator(0, 0, i)) for i in (1, 1, 2)]
    assert torch.equal(torch.rand(4), first)  # torch's global generator is left alone
    assert torch.equal(outs[0][0], outs[1][0])
    assert not torch.equal(outs[0][0], outs[2][0])
    assert not torch.equal(outs[0][0], image)
    assert torch.isfinite(outs[0][0]).all()
    assert outs[0][0].dtype == torch.float32
    assert set(outs[0][1].unique().tolist()) <= set(labels.unique().tolist())
    assert torch.equal(outs[0][1], labels) == (kind != "elastic")
    differing = [not torch.equal(a, b) for a, b in itertools.pairwise(outs[0][0] - image)]
    assert all(differing)  # each modality its own


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tensor_forms_do_what_torchio_does(kind, flat):
    """The same parameters, 0 and more as intensities: equal to rounding. An elastic field differs at the brain's rim, where
    the tensor form keeps the outside at 0."""
    image, labels = sample()
    image = torch.where(image != 0, image - image.min(), 0)
    if flat:
        image, labels = image[..., 16].transpose(1, 2), labels[..., 16].T
    for i in range(4):
        ours, moved = augment(image, labels, artefact(kind), generator(0, 3, i), spacing_mm=1.5)
        theirs, expected = augment(image, labels, artefact(kind, "torchio"), generator(0, 3, i), spacing_mm=1.5)
        assert torch.equal(moved, expected)
        assert float((theirs - image).abs().max()) > 0.1
        if kind != "elastic":
            torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)
            continue
        inside = (ours != 0).all(dim=0)
        torch.testing.assert_close(ours[:, inside], theirs[:, inside], atol=2e-3, rtol=2e-3)
        assert float(inside.float().mean()) > 0.2


def test_one_artefact_in_the_share_of_samples_asked_for():
    image, labels = sample()
    image, labels = image[..., 16].transpose(1, 2), labels[..., 16].T
    config = Augmentation(**OFF, artefacts=Artefacts(probability=0.7))
    hit = [not torch.equal(augment(image, labels, config, generator(0, 0, i))[0], image) for i in range(200)]
    assert sum(hit) / 200 == pytest.approx(0.7, abs=0.1)


@given(st.integers(0, 2000))
def test_parameters_lie_in_their_ranges(index):
    g, config, shape = generator(0, 0, index), Artefacts(), (36, 44, 32)
    ghosting = artefacts.draw("ghosting", config, shape, g)
    assert 4 <= ghosting.ghosts <= 10
    assert ghosting.intensity == 0.5
    assert abs(artefacts.draw("spike", config, shape, g).intensity) <= 1
    assert max(map(abs, artefacts.draw("bias_field", config, shape, g).coefficients)) <= 0.5
    motion = artefacts.draw("motion", config, shape, g)
    assert np.abs([motion.degrees, motion.millimetres]).max() <= 10
    assert 0 < motion.times[0] < motion.times[1] < 1
    control = artefacts.draw_elastic(config, shape, g)
    assert control.abs().max() <= 7.5
    assert not control[:, :2].any()
    assert not control[:, :, -2:].any()


def test_a_bias_field_multiplies_by_its_polynomial():
    field = artefacts.BiasField((0.0, 0.3, -0.2, 0.1), 1)  # 1, z, y, x
    out = tensor_forms.spoil(torch.ones(5, 4, 3), field, 1.0)
    assert float(out[4, 3, 2].log()) == pytest.approx(0.3 - 0.2 + 0.1, abs=1e-6)
    assert float(out[0, 3, 2].log()) == pytest.approx(0.3 - 0.2 - 0.1, abs=1e-6)
    assert float(out[2, 0, 1].log()) == pytest.approx(0.2, abs=1e-6)
