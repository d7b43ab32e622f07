"""The second stage: it answers where tumour is possible, and nothing that lies elsewhere changes its answer."""

import pytest
import torch
from scipy.ndimage import distance_transform_cdt
from torch.nn import functional

from brainseg_engine import nets
from brainseg_engine.core.errors import RecipeError
from brainseg_engine.inference.plan import peak_bytes
from brainseg_engine.models import checkpoint
from brainseg_engine.nets.second_stage import POSSIBLE
from brainseg_engine.recipe import load_recipe

SMALL = ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]"]
STAGE = ["network.second_stage.filters=[8, 16]", "network.second_stage.margin=4"]
WHOLE = "network.second_stage.whole_tumour=true"
EACH = pytest.mark.parametrize("more", [[], [WHOLE]], ids=["others", "all"])


def built(*more):
    torch.manual_seed(2)
    return nets.build(load_recipe("baseline", [*SMALL, *STAGE, *more])).eval()


def study(side=48):
    """Images (1, 4, side…) of a ball, and logits (1, 3, side…) with a tumour in it."""
    g = torch.Generator().manual_seed(1)
    at = torch.linspace(-1.1, 1.1, side)
    r = (at[:, None, None] ** 2 + at[:, None] ** 2 + at**2).sqrt()
    images = torch.randn(1, 4, side, side, side, generator=g) * (r < 1)
    logits = torch.randn(1, 3, side, side, side, generator=g)
    logits[:, 0] = 8 * (0.4 - (r - 0.3).abs() * 4)
    return images, logits.where(r < 1, -20.0)


def test_the_whole_tumour_stays_and_the_rest_is_answered_where_tumour_is_possible():
    net, (x, z) = built(), study()
    possible = z[:, :1] > POSSIBLE
    with torch.no_grad():
        answer = net.second_stage(x, z)
    assert torch.equal(answer[:, :1], z[:, :1])
    assert torch.equal(answer[:, 1:].where(~possible, 0), z[:, 1:].where(~possible, 0))
    assert (answer[:, 1:] != z[:, 1:]).where(possible, True).float().mean() > 0.99
    assert 0 < possible.float().mean() < 0.2


def test_the_whole_tumour_may_grow_by_two_voxels_where_it_is_answered_too():
    net, (x, z) = built(WHOLE), study()
    possible = z[0, 0] > POSSIBLE
    near = torch.from_numpy(distance_transform_cdt(~possible.numpy(), "chessboard")) <= 2
    with torch.no_grad():
        answer = net.second_stage(x, z)
    assert torch.equal(answer.where(~near, 0), z.where(~near, 0))
    assert (answer != z)[:, :, near].float().mean() > 0.99
    assert near.sum() > 1.2 * possible.sum()


@EACH
def test_its_share_is_mixed_with_the_first_answer(more):
    alone, half, (x, z) = built("network.second_stage.share=1.0", *more), built(*more), study()
    with torch.no_grad():
        own, mixed = alone.second_stage(x, z), half.second_stage(x, z)
    torch.testing.assert_close(mixed, (own + z) / 2)


@EACH
@pytest.mark.parametrize("margin", [(8, 0, 8), (2, 6, 30)])
def test_an_empty_margin_changes_nothing(margin, more):
    net, (x, z) = built(*more), study()
    pads = [n for m in reversed(margin) for n in (m, 16)]
    with torch.no_grad():
        alone = net.second_stage(x, z)
        padded = net.second_stage(functional.pad(x, pads), functional.pad(z, pads, value=-20.0))
    at = tuple(slice(m, m + 48) for m in margin)
    torch.testing.assert_close(padded[(..., *at)], alone, rtol=1e-4, atol=1e-4)


@EACH
def test_what_lies_far_from_the_tumour_changes_nothing(more):
    net, (x, z) = built(*more), study(96)
    other = x.clone()
    other[..., 75:, :, :] *= 3
    with torch.no_grad():
        assert torch.equal(net.second_stage(x, z), net.second_stage(other, z))


@EACH
def test_without_a_tumour_the_first_answer_stays(more):
    net, (x, z) = built(*more), study()
    z[:, 0] = -5
    with torch.no_grad():
        assert torch.equal(net.second_stage(x, z), z)


def test_the_difference_of_two_series_is_nothing_where_one_is_missing():
    net, (x, z) = built(), study()
    stage = net.second_stage
    seen = {
        missing: stage.seen(x[0] * torch.tensor([n != missing for n in range(4)])[:, None, None, None], z[0, :1])
        for missing in (None, 0, 1, 2)
    }
    difference = {missing: s[0, 4 * 8 : 5 * 8] for missing, s in seen.items()}
    assert difference[None].any() and difference[2].any()
    assert not difference[0].any() and not difference[1].any()


def test_members_are_averaged():
    net, (x, z) = built("network.second_stage.members=2"), study()
    stage, answers = net.second_stage, []
    with torch.no_grad():
        mean = stage(x, z)
        members = list(stage.members)
        for member in members:
            stage.members = torch.nn.ModuleList([member])
            answers.append(stage(x, z))
    torch.testing.assert_close(mean, (answers[0] + answers[1]) / 2)
    assert not torch.equal(answers[0], answers[1])


@EACH
@pytest.mark.parametrize("tumour", [True, False])
def test_every_weight_has_a_gradient(tumour, more):
    """Where one process finds no tumour, the others must not wait for its gradient."""
    net, x = built(*more).train(), torch.randn(1, 4, 16, 16, 16)
    net.body.conv_final[2].conv.bias.data[:8] = 3.0 if tumour else -30.0
    net(x).sum().backward()
    assert all(p.grad is not None for p in net.parameters())


@EACH
def test_it_travels_in_a_file(tmp_path, more):
    recipe = load_recipe("baseline", [*SMALL, *STAGE, *more])
    net, (x, _) = built(*more), study()
    net.body.conv_final[2].conv.bias.data[:8] = 3.0
    card = checkpoint.Card(
        name="two", recipe="baseline", modalities=recipe.modalities, regions=recipe.output.regions, parameters=1
    )
    checkpoint.save(tmp_path / "two.safetensors", net.state_dict(), card, recipe)
    again = checkpoint.load(tmp_path / "two.safetensors")
    with torch.no_grad():
        assert again.recipe == recipe and torch.equal(again.network()(x), net(x))


def test_its_memory_counts_in_the_plan():
    """The plan looks at an image of zeros, in which no tumour is found."""
    wide, x = built("network.second_stage.filters=[128, 8]"), torch.zeros(1, 4, 32, 32, 32)
    first = nets.build(load_recipe("baseline", SMALL)).eval()
    with torch.inference_mode():
        assert peak_bytes(wide, x) > 2 * peak_bytes(first, x)


@pytest.mark.parametrize("wrong", ['output.regions=["TC", "ET"]', 'output.regions=["WT"]', 'output.kind="classes"'])
def test_it_needs_the_whole_tumour_first(wrong):
    rest = ['network.norm_over="image"', "postprocess.thresholds={}", "postprocess.min_component_ml={}"]
    with pytest.raises(RecipeError, match=r"network\.second_stage needs"):
        load_recipe("baseline", [*SMALL, *STAGE, *rest, wrong])
