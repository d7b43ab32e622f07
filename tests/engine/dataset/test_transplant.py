"""A lesion that is put into another brain keeps its images and its labels, and nothing else changes."""

import pytest
import torch

from brainseg_engine.augment import generator
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.dataset import Samples, TrainingCase
from brainseg_engine.dataset.packed import pack
from brainseg_engine.dataset.transplant import distance, transplant
from brainseg_engine.recipe import load_recipe


def case(name, shape, centre, radius, value):
    axes = torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij")
    lesion = sum((a - c) ** 2 for a, c in zip(axes, centre, strict=True)) <= radius**2
    brain = torch.zeros(shape, dtype=torch.bool)
    brain[2:-2, 2:-2, 2:-2] = True
    image = torch.where(brain, value, 0.0).expand(4, *shape).clone().half()
    labels = torch.where(lesion & brain, 2, 0).to(torch.uint8)
    tensors = {**pack(image.numpy(), labels.numpy()), "tumour": torch.zeros(0, 4, dtype=torch.int16)}
    return TrainingCase(name, (), tuple(image.shape), None, tensors)


def test_the_distance_is_negative_inside_and_in_voxels():
    signed = distance(case("a", (32, 32, 32), (16, 16, 16), 8, 1.0))
    assert float(signed.min()) == pytest.approx(-8, abs=2)
    assert float(signed[8, 8, 15]) == pytest.approx(30 - 16 - 8, abs=2)
    assert distance(case("b", (32, 32, 32), (99, 99, 99), 1, 1.0)) is None


@pytest.mark.parametrize("seed", range(12))
def test_voxels_are_the_donors_in_one_piece_and_the_hosts_elsewhere(seed):
    host, donor = case("a", (34, 30, 32), (8, 8, 8), 4, 1.0), case("b", (30, 36, 28), (20, 20, 12), 6, 5.0)
    image, labels = transplant(host.image.float(), host.labels, donor, distance(donor), generator(seed, 0, 0))
    taken = image[0] == 5
    assert taken.any()
    assert torch.equal(image[:, ~taken], host.image.float()[:, ~taken])
    assert torch.equal(labels[~taken], host.labels[~taken])
    assert (host.image[0][taken] != 0).all()  # nothing outside the brain
    inside = labels[taken] == 2
    assert inside.any()


def test_samples_are_a_function_of_seed_and_key():
    recipe = load_recipe("baseline", ["augmentation.transplant=1.0"])
    cases = [case(str(i), (32, 32, 32), (10 + i, 14, 16), 5, 1.0 + i) for i in range(3)]
    one, two = Samples(cases, recipe, 3, augmented=False), Samples(cases, recipe, 3, augmented=False)
    keys = [(e, i) for e in range(4) for i in range(3)]
    answers = {key: one[key] for key in keys}
    for key in reversed(keys):
        assert all(torch.equal(a, b) for a, b in zip(answers[key], two[key], strict=True))
    donors = {int(v) for _, i in keys for v in answers[_, i][0].unique()} - {0}
    assert donors == {1, 2, 3}
    for (_, i), (image, _, _) in answers.items():
        assert set(image.unique().tolist()) - {0.0, 1.0 + i} != set()  # every sample has something of another


def test_pieces_cannot_have_it():
    with pytest.raises(RecipeError, match=r"transplant 0.5 needs .*'brain', not 'patch'"):
        load_recipe("myronenko2018", ["augmentation.transplant=0.5"])
