"""The folded SegResNet with statistics over the brain: empty space changes nothing, and older weights fit."""

import pytest
import torch
from torch.nn import functional

from brainseg_engine import models, nets
from brainseg_engine.models import checkpoint
from brainseg_engine.recipe import load_recipe

SMALL = ["network.init_filters=8", "network.blocks_down=[1, 1, 1]", "network.blocks_up=[1, 1]"]


def ball(side=32, channels=4, seed=0):
    """(1, C, side…): noise in a ball, 0 around it."""
    at = torch.linspace(-1.1, 1.1, side)
    inside = at[:, None, None] ** 2 + at[:, None] ** 2 + at**2 < 1
    return torch.randn(1, channels, side, side, side, generator=torch.Generator().manual_seed(seed)) * inside


def within_the_brain():
    torch.manual_seed(1)
    return nets.build(load_recipe("baseline", [*SMALL, 'network.norm_over="brain"'])).eval()


@pytest.mark.parametrize("margin", [8, 16, 24])
def test_an_empty_margin_changes_nothing(margin):
    net, x = within_the_brain(), ball()
    brain = (x != 0).any(dim=1)
    with torch.no_grad():
        alone, padded = net(x), net(functional.pad(x, [margin, 0, margin, margin, 0, margin]))
    padded = padded[..., :32, margin : margin + 32, margin:]
    assert (alone - padded)[:, :, brain[0]].abs().max() < 1e-4 * alone.abs().max()


def test_statistics_over_the_whole_image_do_depend_on_it():
    torch.manual_seed(1)
    net, x = nets.build(load_recipe("baseline", [*SMALL, 'network.norm_over="image"'])).eval(), ball()
    with torch.no_grad():
        alone, padded = net(x), net(functional.pad(x, [16] * 6))[..., 16:48, 16:48, 16:48]
    assert (alone - padded).abs().max() > 1e-2 * alone.abs().max()


def test_where_all_is_brain_it_is_the_same_network():
    torch.manual_seed(1)
    whole = nets.build(load_recipe("baseline", [*SMALL, 'network.norm_over="image"'])).eval()
    net = within_the_brain()
    net.load_state_dict(whole.state_dict())
    x = torch.randn(2, 4, 16, 24, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(net(x), whole(x), rtol=1e-3, atol=1e-4)


def test_there_is_no_tumour_where_there_is_no_brain():
    """Else the last bias alone would decide there, and a training would have to learn it from the background."""
    net, x = within_the_brain(), ball()
    folded = functional.max_pool3d((x != 0).any(dim=1, keepdim=True).float(), 2)[0, 0].bool()
    outside = ~folded.repeat_interleave(2, 0).repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        assert (net(x)[0][:, outside].sigmoid() < 1e-8).all()
        assert (net(x)[0][:, ~outside].sigmoid() > 1e-8).any()


def test_memory_order_and_an_empty_image_do_no_harm():
    net, x = within_the_brain(), ball()
    with torch.no_grad():
        torch.testing.assert_close(
            net(x.contiguous(memory_format=torch.channels_last_3d)), net(x), rtol=1e-3, atol=1e-4
        )
        assert torch.isfinite(net(torch.zeros_like(x))).all()


def test_the_bundled_model_takes_no_account_of_margins():
    """The law for the very model that ships. Its sides are multiples of 16."""
    loaded = checkpoint.load(models.find(models.default()))
    if loaded.recipe.network.norm_over == "image":
        pytest.skip("the bundled model normalises over the whole image")
    net, x = loaded.network(), ball(48)
    with torch.no_grad():
        alone, padded = net(x), net(functional.pad(x, [16, 16, 32, 0, 0, 32]))[..., :48, 32:80, 16:64]
    brain = (x != 0).any(dim=1)[0]
    assert (alone - padded)[:, :, brain].abs().max() < 1e-4 * alone.abs().max()


@pytest.mark.parametrize("dropout", [None, 0.2])
def test_the_layers_are_those_of_monai(dropout):
    """The same names and shapes of weights, the same ones of the same seed, the same answers."""
    from monai.networks.nets import SegResNet as Theirs

    from brainseg_engine.nets.segresnet import SegResNet

    torch.manual_seed(5)
    ours = SegResNet(4, 3, 8, (1, 2, 2), (1, 2), dropout).eval()
    torch.manual_seed(5)
    theirs = Theirs(3, 8, 4, 3, dropout_prob=dropout, blocks_down=(1, 2, 2), blocks_up=(1, 2)).eval()
    own, other = ours.state_dict(), theirs.state_dict()
    assert list(own) == list(other) and all(torch.equal(own[k], other[k]) for k in own)
    assert [type(m) for m in ours.modules() if isinstance(m, torch.nn.Dropout3d)] == [torch.nn.Dropout3d] * bool(
        dropout
    )
    with torch.no_grad():
        assert torch.equal(ours(ball()), theirs(ball()))


def test_to_segment_takes_neither_monai_nor_a_compiler(tmp_path):
    """Each takes seconds and a hundred MB or two, more than a study does."""
    import subprocess
    import sys

    code = (
        "import sys; from brainseg_engine.phantom import phantom_study; "
        "from brainseg_engine.inference.predictor import Predictor; "
        "found = Predictor(device='cpu').predict(phantom_study(1, (48, 48, 40))); assert 'needs' in found.plan; "
        "print(sorted({'monai', 'torch._dynamo', 'matplotlib'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"
