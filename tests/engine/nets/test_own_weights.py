"""Weights of its own for studies that lack a series: they answer those and no others; what is shared is held once."""

import copy

import pytest
import torch

from brainseg_engine import nets
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import load_recipe

SMALL = ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]"]
OWN = 'network.own_weights_without=["flair"]'
FLAIR = 3
EACH = pytest.mark.parametrize("norm", ["brain", "image"])


def built(*more, norm="brain"):
    torch.manual_seed(2)
    return nets.build(load_recipe("baseline", [*SMALL, f"network.norm_over={norm}", *more])).eval()


def study(*, lacks=False):
    image = torch.randn(1, 4, 16, 16, 16, generator=torch.Generator().manual_seed(1))
    if lacks:
        image[:, FLAIR] = 0
    return image


@EACH
@torch.no_grad()
def test_a_study_that_lacks_nothing_is_answered_as_ever(norm):
    plain, net = built(norm=norm), built(OWN, norm=norm)
    net.load_state_dict({**net.state_dict(), **plain.state_dict()})
    assert torch.equal(net(study()), plain(study()))
    assert not torch.allclose(net(study(lacks=True)), plain(study(lacks=True)))


@EACH
@torch.no_grad()
def test_each_of_a_batch_is_answered_as_if_it_were_alone(norm):
    net = built(OWN, norm=norm)
    whole, lacking = study(), study(lacks=True)
    both = net(torch.cat([whole, lacking]))
    assert torch.equal(both[:1], net(whole)) and torch.equal(both[1:], net(lacking))


@EACH
def test_what_is_shared_is_held_once_and_learns_from_all(norm):
    net = built(OWN, norm=norm).train()
    names = [n for n, _ in net.named_parameters()]
    assert names == list(net.state_dict())
    assert not [n for n in names if n.startswith("without.flair.down_layers.1") and "norm" not in n]
    net(study(lacks=True)).square().mean().backward()
    learning = {n for n, p in net.named_parameters() if p.grad is not None}
    shared = {n for n in names if n.startswith("body.down_layers.1") and "norm" not in n}
    assert shared and learning == shared | {n for n in names if n.startswith("without.")}


@torch.no_grad()
def test_it_is_kept_and_copied_whole(tmp_path):
    net, recipe = built(OWN), load_recipe("baseline", [*SMALL, OWN])
    card = checkpoint.Card(name="own", recipe="baseline", modalities=recipe.modalities, regions=recipe.output.regions,
                           parameters=nets.count_parameters(net))  # fmt: skip
    checkpoint.save(tmp_path / "own.safetensors", net.state_dict(), card, recipe)
    for other in (checkpoint.load(tmp_path / "own.safetensors").network().eval(), copy.deepcopy(net)):
        assert torch.equal(other(study(lacks=True)), net(study(lacks=True)))
        next(iter(other.body.down_layers[1][0].parameters())).mul_(2)  # a convolution that both of its answers rest on
        for lacks in (False, True):
            assert not torch.allclose(other(study(lacks=lacks)), net(study(lacks=lacks)))


def test_only_a_series_that_may_be_missing_can_have_them():
    with pytest.raises(RecipeError, match=r"network\.own_weights_without is \['flair'\], which may_lack must name"):
        load_recipe("baseline", [*SMALL, OWN, 'may_lack=["t1"]', "needs_one_of=[]", "lacks_at_most=1"])


@pytest.mark.parametrize(("parts", "frozen"), [("decoder", "down_layers"), ("head", "up_")])
def test_they_are_frozen_as_the_others_are(parts, frozen):
    recipe = load_recipe("baseline", [*SMALL, OWN, f"training.parts={parts}"])
    net = nets.build(recipe)
    nets.train_only(net, recipe)
    learns = {n: p.requires_grad for n, p in net.named_parameters()}
    assert learns["without.flair.conv_final.2.conv.weight"] and learns["body.conv_final.2.conv.weight"]
    own = [n for n in learns if n.startswith("without.flair." + frozen) and "norm" not in n]
    assert own and not any(learns[n] for n in own)
