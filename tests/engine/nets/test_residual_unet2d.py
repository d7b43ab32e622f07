"""The 2D residual U-Net's conventions, which are those of Keras."""

import pytest
import torch
from torch import nn

from brainseg_engine.nets.residual_unet2d import Decode, Encode, ResidualUNet2d
from brainseg_engine.recipe import ResidualUNet2dConfig


def build(**changes):
    torch.manual_seed(0)
    return ResidualUNet2d(4, 4, ResidualUNet2dConfig(**{"width": 8, "levels": 3, **changes}))


def test_keras_constants():
    net = build()
    assert {(m.eps, m.momentum) for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
    slopes = [m.weight for m in net.modules() if isinstance(m, nn.PReLU)]
    assert not any(s.any() for s in slopes)
    assert {len(s) for s in slopes} == {8, 16, 32}  # one a channel
    assert not any(m.bias.any() for m in net.modules() if isinstance(m, nn.Conv2d) and m.bias is not None)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_two_by_two_convolutions_are_padded_below_and_to_the_right(row, column):
    net = build(noise_sd=0.0)
    seen = []
    net.stem.register_forward_hook(lambda m, given, out: seen.append(out[0, 0]))
    nn.init.zeros_(net.stem.weight)
    net.stem.weight.data[0, 0, row, column] = 1
    x = torch.randn(1, 4, 16, 16)
    net(x)
    expected = torch.zeros(16, 16)
    expected[: 16 - row, : 16 - column] = x[0, 0, row:, column:]
    assert torch.equal(seen[0], expected)


def test_a_new_block_passes_its_input_by():
    """With the body's last convolution at 0, an encoder's block is the identity and a decoder's its shortcut."""
    x = torch.randn(2, 8, 6, 6)
    encode, decode = Encode(8), Decode(8, 4)
    for block in (encode, decode):
        nn.init.zeros_(block.body[1][2].weight)
        nn.init.zeros_(block.body[1][2].bias)
    assert torch.equal(encode(x), x)
    assert torch.equal(decode(x), decode.shortcut(x))
    assert decode.shortcut.bias is None


def test_noise_comes_in_training_alone_from_the_global_generator():
    net = build(noise_sd=0.5)
    x = torch.randn(2, 4, 16, 16)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = net(x), net(x)
    assert not torch.equal(first, second)
    torch.set_rng_state(state)
    assert torch.equal(net(x), first)  # a resumed run draws what the other would have drawn
    assert torch.equal(net.eval()(x), net(x))
    torch.set_rng_state(state)
    net(x)
    assert torch.equal(torch.get_rng_state(), state)
