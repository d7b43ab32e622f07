"""Laws that hold for every network in the registry."""

import pytest
import torch

from brainseg_engine import nets
from brainseg_engine.nets.segresnet import fold, unfold
from brainseg_engine.recipe import load_recipe, recipe_names


def small(name, *more):
    return load_recipe(name, ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]", *more])


@pytest.mark.parametrize("name", recipe_names())
def test_shape_gradient_and_repeatability(name):
    recipe = small(name)
    torch.manual_seed(0)
    net = nets.build(recipe)
    d = nets.divisor(recipe)
    x = torch.randn(1, len(recipe.modalities), 2 * d, 3 * d, 4 * d)
    out = net(x)
    assert out.shape == (1, len(recipe.output.regions), *x.shape[2:])
    out.square().mean().backward()
    dead = [n for n, p in net.named_parameters() if p.grad is None]
    assert not dead
    net.eval()
    assert torch.equal(net(x), net(x))


@pytest.mark.parametrize("name", recipe_names())
def test_illegal_sizes_are_named(name):
    recipe = small(name)
    d = nets.divisor(recipe)
    with pytest.raises(ValueError, match=f"multiple of {d}"):
        nets.build(recipe)(torch.randn(1, len(recipe.modalities), 2 * d, 2 * d + 1, 2 * d))


def test_weight_counts_follow_the_width():
    assert nets.count_parameters(nets.build(load_recipe("baseline"))) == 4_714_680
    assert nets.count_parameters(nets.build(load_recipe("baseline", ["network.init_filters=8"]))) < 4_714_680 / 3
    plain = load_recipe("baseline", ["network.fold=1"])
    assert nets.count_parameters(nets.build(plain)) == 4_702_227  # MONAI's SegResNet(16, 4 → 3)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_fold_and_unfold_are_inverse(r):
    x = torch.randn(2, 3, 2 * r, 4 * r, 3 * r)
    folded = fold(x, r)
    assert folded.shape == (2, 3 * r**3, 2, 4, 3)
    assert torch.equal(unfold(folded, r), x)
    assert torch.equal(folded[0, : r**3, 0, 0, 0], x[0, 0, :r, :r, :r].flatten())
