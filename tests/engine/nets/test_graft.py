"""The graft around an EfficientNet-B0: stages, Keras' conventions, weights of the trunk."""

import logging

import pytest
import torch
from monai.networks.nets import EfficientNetBN
from safetensors.torch import save_file
from torch import nn

from brainseg_engine.core.errors import CheckpointError
from brainseg_engine.nets import graft, trunk
from brainseg_engine.recipe import GraftConfig

NAMINGS = {
    "monai": trunk._monai, "lukemelas": trunk._lukemelas, "torchvision": trunk._torchvision, "timm": trunk._timm,
}  # fmt: skip
SIZE = (64, 64, 9)


def config(**changes):
    return GraftConfig(**{"filters": (8, 8, 8), "depth_strides": (1, 1, 3), **changes})


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.fixture(scope="module")
def published():
    """An EfficientNet-B0 of MONAI, with running statistics of its own."""
    torch.manual_seed(0)
    net = EfficientNetBN("efficientnet-b0", pretrained=False)
    net.train()(torch.randn(4, 3, 64, 64))
    return net.eval()


@pytest.mark.parametrize(
    ("strides", "depths"), [((3, 4, 4), (144, 48, 12)), ((3, 3, 4), (108, 36, 12)), ((4, 3, 3), (108, 27, 9))]
)
def test_stages(strides, depths):
    with torch.device("meta"):
        net = graft.Graft(4, 4, GraftConfig(depth_strides=strides))
        assert net.config.depth == depths[0]
        planes, maps = net.encoder(torch.empty(1, 4, 160, 192, depths[0]))
        assert planes.shape == (1, 1, 160, 192, 3)
        assert [m.shape[1:] for m in maps] == [(c, 160, 192, d) for c, d in zip((16, 32, 64), depths, strict=True)]
        taps = net.trunk(torch.empty(1, 3, 192, 160))
        steps = []
        for step, tap in zip(net.picture_decoder.steps, taps[-2::-1], strict=True):
            step.register_forward_hook(
                lambda m, given, out, tap=tap: steps.append((out.shape[1] + tap.shape[1], *out.shape[2:]))
            )
        assert net.picture_decoder(taps).shape == (1, 3, 192, 160)
    assert [tuple(t.shape[1:]) for t in taps] == [
        (96, 96, 80),
        (144, 48, 40),
        (240, 24, 20),
        (672, 12, 10),
        (1280, 6, 5),
    ]
    assert steps == [(1184, 12, 10), (496, 24, 20), (272, 48, 40), (160, 96, 80)]


def test_weights_by_part():
    with torch.device("meta"):
        net = graft.Graft(4, 4, GraftConfig())
    parts = (net.trunk, net.picture_decoder, net.encoder, net.decoder)
    assert [count(p) for p in parts] == [4_007_548, 9_360_483, 703_873, 306_196]
    statistics = sum(b.numel() for n, b in net.named_buffers() if "running" in n)
    assert count(net) + statistics + 7 == 14_422_043  # Keras also counts its picture normalisation's 7 constants


def test_the_taps_are_the_inputs_of_the_halving_convolutions(published):
    seen = []
    for stage in trunk.TAPPED_STAGES:
        published._blocks[stage][0]._depthwise_conv_padding.register_forward_pre_hook(
            lambda m, given: seen.append(given[0])
        )
    published._avg_pooling.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
    ours = trunk.Trunk().eval()
    ours.body.load_state_dict({k: v for k, v in published.state_dict().items() if "_fc" not in k})
    x = torch.randn(1, 3, 96, 64)
    with torch.inference_mode():
        published(x)
        for tap, expected in zip(ours(x), seen, strict=True):
            torch.testing.assert_close(tap, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("naming", "form"),
    [("monai", "pth"), ("lukemelas", "wrapped"), ("torchvision", "pth"), ("timm", "safetensors")],
)
def test_trunk_weights_come_in_under_all_names(published, naming, form, tmp_path):
    given = {f"classifier.{i}": torch.zeros(1) for i in range(2)}  # what is not of the trunk is left out
    for k, v in published.state_dict().items():
        if "_fc" not in k and not k.endswith("num_batches_tracked"):
            given[trunk._renamed(k, NAMINGS[naming]())] = v
    path = tmp_path / f"b0.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        save_file(given, path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in given.items()}} if form == "wrapped" else given, path)
    net = graft.Graft(4, 4, config(trunk_weights=path), training=True)
    for k, v in net.trunk.body.state_dict().items():
        if not k.endswith("num_batches_tracked"):
            assert torch.equal(v, published.state_dict()[k]), k


@pytest.mark.parametrize(
    ("naming", "name", "shape"),
    [
        ("torchvision", "features.1.0.block.0.0.weight", (32, 1, 3, 3)),
        ("torchvision", "features.2.0.block.2.fc1.weight", (4, 96, 1, 1)),
        ("torchvision", "features.7.0.block.3.1.running_var", (320,)),
        ("torchvision", "features.8.0.weight", (1280, 320, 1, 1)),
        ("timm", "blocks.0.0.conv_pw.weight", (16, 32, 1, 1)),
        ("timm", "blocks.1.0.se.conv_reduce.weight", (4, 96, 1, 1)),
        ("timm", "blocks.5.3.conv_pwl.weight", (192, 1152, 1, 1)),
        ("timm", "bn2.weight", (1280,)),
        ("lukemelas", "_blocks.15._project_conv.weight", (320, 1152, 1, 1)),
        ("lukemelas", "_blocks.0._depthwise_conv.weight", (32, 1, 3, 3)),
    ],
)  # fmt: skip
def test_names_of_other_libraries(published, naming, name, shape):
    """Names and shapes as those libraries publish them."""
    state = published.state_dict()
    ours = [k for k in state if "_fc" not in k and trunk._renamed(k, NAMINGS[naming]()) == name]
    assert [tuple(state[k].shape) for k in ours] == [shape]


def test_trunk_weights_that_do_not_fit(tmp_path):
    file = tmp_path / "b0.pth"

    def message():
        with pytest.raises(CheckpointError) as e:
            graft.Graft(4, 4, config(trunk_weights=file), training=True)
        return str(e.value)

    assert "no weights file" in message()
    torch.save({"fc.weight": torch.zeros(2, 2)}, file)
    assert "holds no EfficientNet-B0" in message()
    state = trunk.Trunk().body.state_dict()
    torch.save({**state, "_conv_stem.weight": torch.zeros(48, 3, 3, 3)}, file)
    assert "_conv_stem.weight has the shape (48, 3, 3, 3), not (32, 3, 3, 3)" in message()
    torch.save(nn.Linear(2, 2), file)
    assert "never run" in message()


def test_weights_of_the_trunk_are_for_training_alone(tmp_path, caplog):
    """A trained model is used where the ImageNet file is absent, and says nothing of it."""
    caplog.set_level(logging.INFO, "brainseg_engine")
    graft.Graft(4, 4, config(trunk_weights=tmp_path / "absent.pth"))
    assert not caplog.records
    graft.Graft(4, 4, config(), training=True)
    assert "starts from random weights" in caplog.text


def test_what_is_frozen():
    x = torch.randn(2, 4, *SIZE)
    for changes, trained in (({}, True), ({"freeze_trunk": True}, False)):
        net = graft.Graft(4, 4, config(**changes), training=True).train()
        before = {k: v.clone() for k, v in net.trunk.state_dict().items()}
        net(x).sum().backward()
        assert all((p.grad is not None) == trained for p in net.trunk.parameters())
        assert all(p.grad is not None for p in net.encoder.parameters())  # it learns through a frozen trunk too
        assert all(torch.equal(v, before[k]) for k, v in net.trunk.state_dict().items()) != trained


def test_frozen_batch_norm_keeps_its_statistics_and_trains_its_weights():
    net = graft.Graft(4, 4, config(frozen_batch_norm=True), training=True).train()
    before = {k: v.clone() for k, v in net.named_buffers()}
    net(torch.randn(1, 4, *SIZE)).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in net.named_buffers())
    assert all(p.grad is not None for p in net.parameters())
    assert net.picture_decoder.steps[0][3].training  # dropout goes on


def test_keras_constants():
    net = graft.Graft(4, 4, config())
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}
    assert {m.eps for m in net.modules() if isinstance(m, nn.GroupNorm)} == {1e-3}
    convolutions = [m for part in (net.encoder, net.decoder) for m in part.modules() if isinstance(m, nn.Conv3d)]
    assert all(not m.bias.any() for m in convolutions)
    mix = net.decoder.mix.weight
    assert mix.abs().max() <= (6 / (27 * 16)) ** 0.5  # Glorot's bound of a 3×3×3 convolution 8 → 8


@pytest.mark.parametrize(("stride", "reads"), [(1, {2, 3, 4}), (2, {6, 7, 8}), (3, {9, 10, 11}), (4, {12, 13, 14})])
def test_squeezing_pads_the_depth_as_keras_does(stride, reads):
    """Which slices the fourth plane reads; with a stride of 4 every fourth slice is read by none."""
    conv = graft.Squeeze(1, 1, stride)
    nn.init.ones_(conv.conv.weight)
    nn.init.zeros_(conv.conv.bias)
    x = torch.zeros(1, 1, 1, 1, 24, requires_grad=True)
    out = conv(x)
    assert out.shape[-1] == 24 // stride
    out[..., 3].sum().backward()
    assert set(x.grad.flatten().nonzero().flatten().tolist()) == reads


def test_transposed_convolutions_keep_keras_end():
    """Pixel 2i and 2i + 1 come from pixel i; the last row and column are cut, not the first."""
    step = nn.Sequential(nn.ConvTranspose2d(1, 1, 3, stride=2, bias=False), graft.Crop())
    nn.init.zeros_(step[0].weight)
    step[0].weight.data[0, 0, 0, 0] = 1
    x = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    out = step(x)
    assert out.shape == (1, 1, 6, 6)
    assert torch.equal(out[..., ::2, ::2], x)


def test_picture_scaling_is_that_of_keras():
    torch.manual_seed(0)
    plain = graft.Graft(4, 4, config()).eval()
    scaled = graft.Graft(4, 4, config(image_scaling=True)).eval()
    scaled.load_state_dict(plain.state_dict())
    seen = []
    for net in (plain, scaled):
        net.trunk.register_forward_pre_hook(lambda m, given: seen.append(given[0]))
        net(torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(0)))
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (seen[0] / 255 - mean[:, None, None]) / sd[:, None, None]
    torch.testing.assert_close(seen[1], expected)


def test_the_planes_are_a_picture_rows_first():
    """y runs along the picture's rows, x along its columns, and they come back to where they were."""
    net = graft.Graft(4, 4, config()).eval()
    shapes = []
    net.trunk.register_forward_pre_hook(lambda m, given: shapes.append(tuple(given[0].shape)))
    with torch.inference_mode():
        assert net(torch.randn(1, 4, 32, 96, 9)).shape == (1, 4, 32, 96, 9)
    assert shapes == [(1, 3, 96, 32)]


def test_the_depth_is_fixed():
    with pytest.raises(ValueError, match=r"z must be 9, .* not 18"):
        graft.Graft(4, 4, config())(torch.zeros(1, 4, 32, 32, 18))
