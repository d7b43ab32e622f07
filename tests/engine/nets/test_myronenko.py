"""The encoder–decoder with an autoencoder branch: shapes and counts of paper and repository, and what the branch does."""

import math

import pytest
import torch

from brainseg_engine import nets
from brainseg_engine.nets.myronenko import LOG_VARIANCE_BOUND, Myronenko, SkipDecoder, bounded
from brainseg_engine.recipe import MyronenkoConfig, load_recipe, presets
from brainseg_engine.train import losses

SIZE = (8, 16, 24)
PRESETS = presets("myronenko2018")


def small(*more, size=SIZE):
    """Three levels, 8 channels, pieces of ``size``."""
    return load_recipe("myronenko2018", [
        "network.init_filters=8", "network.blocks_down=[1, 1, 1]", f"window.size={list(size)}", *more,
    ])  # fmt: skip


def trained(recipe):
    torch.manual_seed(0)
    return nets.build(recipe, training=True)


def on_meta(recipe, training):
    """The full-size network without its weights: shapes and counts cost nothing there."""
    with torch.device("meta"):
        return nets.build(recipe, training)


@pytest.mark.parametrize(
    ("skips", "training", "count"),
    [
        ("add", False, 18_802_115),
        ("add", True, 39_936_119),
        ("concat", False, 18_845_347),
        ("concat", True, 39_979_351),
    ],
)
def test_weight_counts(skips, training, count):
    recipe = load_recipe("myronenko2018", [f"network.skips={skips}"])
    assert nets.count_parameters(on_meta(recipe, training)) == count
    half = load_recipe("myronenko2018", [f"network.skips={skips}", "network.init_filters=16"])
    assert nets.count_parameters(on_meta(half, training)) < 0.7 * count


@pytest.mark.parametrize("side", [(128, 128, 128), (160, 240, 240)])
def test_the_branch_grows_with_the_piece(side):
    """Counts of the repository's network, which holds 76,256 weights more that it never uses."""
    recipe = load_recipe("myronenko2018", ["network.skips=concat", f"window.size={list(side)}"])
    counted = {(128, 128, 128): 30_823_223, (160, 240, 240): 66_639_927}[side]
    assert nets.count_parameters(on_meta(recipe, True)) == counted - 76_256


@pytest.mark.parametrize("skips", ["add", "concat"])
def test_the_papers_table_of_shapes(skips):
    net = on_meta(load_recipe("myronenko2018", [f"network.skips={skips}"]), True)
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda m, i, o, name=name: seen.update({name: o}))
    x = torch.empty(1, 4, 160, 192, 128, device="meta")
    logits, aux = net.training_forward(x)
    expected = {
        "stem": (32, 160, 192, 128), "encoder.0": (32, 160, 192, 128), "encoder.1": (64, 80, 96, 64),
        "encoder.2": (128, 40, 48, 32), "encoder.3": (256, 20, 24, 16), "decoder.0": (128, 40, 48, 32),
        "decoder.1": (64, 80, 96, 64), "decoder.2": (32, 160, 192, 128), "branch.reduce": (16, 10, 12, 8),
        "branch.to_latent": (256,), "branch.from_latent": (122_880,), "branch.widen": (256, 10, 12, 8),
        "branch.blocks.0": (128, 40, 48, 32), "branch.blocks.1": (64, 80, 96, 64), "branch.blocks.2": (32, 160, 192, 128),
    }  # fmt: skip
    assert {k: tuple(seen[k].shape[1:]) for k in expected} == expected
    assert logits.shape == (1, 3, 160, 192, 128)
    assert {k: tuple(v.shape) for k, v in aux.items()} == {
        "reconstruction": (1, 4, 160, 192, 128), "mean": (1, 128), "log_variance": (1, 128),
    }  # fmt: skip


def monai_twin(net, recipe):
    """MONAI's network of the same weights. It has no biases, and a norm and a ReLU more before its last convolution."""
    from monai.networks.nets import SegResNet

    config = recipe.network
    twin = SegResNet(
        init_filters=config.init_filters, in_channels=4, out_channels=3, blocks_down=config.blocks_down,
        blocks_up=(1,) * (len(config.blocks_down) - 1),
    )  # fmt: skip
    twin.conv_final[0] = twin.conv_final[1] = torch.nn.Identity()
    pairs = [(twin.convInit.conv, net.stem), (twin.conv_final[2].conv, net.head)]
    blocks = [*zip(twin.up_layers, ([d.block] for d in net.decoder), strict=True)]
    for level, theirs in enumerate(twin.down_layers):
        if level:
            pairs.append((theirs[0].conv, net.down[level - 1]))
        blocks.append((theirs[1:], net.encoder[level]))
    pairs += [(up[0].conv, d.project) for up, d in zip(twin.up_samples, net.decoder, strict=True)]
    for theirs, ours in blocks:
        for a, b in zip(theirs, ours, strict=True):
            pairs += zip((a.norm1, a.conv1.conv, a.norm2, a.conv2.conv), [b.body[i] for i in (0, 2, 3, 5)], strict=True)
    with torch.no_grad():
        for theirs, ours in pairs:
            theirs.weight.copy_(ours.weight)
            if ours.bias is not None and ours is not net.head:
                ours.bias.zero_()
        twin.conv_final[2].conv.bias.copy_(net.head.bias)
    return twin


def test_the_papers_form_answers_as_monais():
    recipe = small("network.blocks_down=[1, 2, 2]")
    net = nets.build(recipe).eval()
    twin = monai_twin(net, recipe).eval()
    x = torch.randn(2, 4, *SIZE)
    with torch.no_grad():
        assert torch.allclose(net(x), twin(x), atol=1e-5)


def test_the_repositorys_form_reads_both_maps_and_aligns_corners():
    step = SkipDecoder(8, concatenate=True)
    below, skip = torch.randn(1, 16, 2, 3, 4, requires_grad=True), torch.randn(1, 8, 4, 6, 8, requires_grad=True)
    with torch.no_grad():  # a merge that hands on the upsampled map, and a block that adds nothing
        for weights in (step.merge.weight, step.merge.bias, step.block.body[-1].weight, step.block.body[-1].bias):
            weights.zero_()
        step.merge.weight[range(8), range(8)] = 1.0
        up, low = step(below, skip), step.project(below)
        assert torch.allclose(up[:, :, 1, 0, 0], (2 * low[:, :, 0, 0, 0] + low[:, :, 1, 0, 0]) / 3, atol=1e-6)
        step.merge.weight[range(8), range(8, 16)] = 1.0
        assert torch.allclose(step(below, skip) - up, skip, atol=1e-5)


def test_in_use_every_multiple_is_taken_and_no_other():
    net = nets.build(small()).eval()
    with torch.no_grad():
        for size in ((4, 4, 4), (4, 12, 20), (16, 8, 4)):
            assert net(torch.randn(2, 4, *size)).shape == (2, 3, *size)
        for size in ((8, 8, 10), (0, 8, 8), (2, 4, 4)):
            with pytest.raises(ValueError, match=r"multiple of 4, not \("):
                net(torch.randn(1, 4, *size))


def test_the_branch_takes_its_own_size_alone():
    net = trained(small())
    with pytest.raises(ValueError, match=r"built for images of \(8, 16, 24\) .* not \(8, 16, 16\)"):
        net.training_forward(torch.randn(1, 4, 8, 16, 16))
    assert net(torch.randn(1, 4, 8, 16, 16)).shape == (1, 3, 8, 16, 16)  # without the branch any legal size will do


def test_a_size_the_branch_cannot_have_is_refused_when_built():
    recipe = small()
    odd = recipe.window.model_copy(update={"size": (8, 16, 12)})  # a recipe from a file could not say this
    with pytest.raises(ValueError, match="multiple of 8"):
        nets.build(recipe.model_copy(update={"window": odd}), training=True)
    none = recipe.window.model_copy(update={"size": None})
    with pytest.raises(ValueError, match=r"window\.size of three numbers"):
        nets.build(recipe.model_copy(update={"window": none}), training=True)


def test_the_branch_is_dropped_for_use_and_the_answer_stays():
    recipe = small()
    whole, plain = trained(recipe).eval(), nets.build(recipe).eval()
    dropped = set(whole.state_dict()) - set(plain.state_dict())
    assert dropped and all(k.startswith("branch.") for k in dropped)
    plain.load_state_dict(nets.for_use(recipe, whole.state_dict()))
    x = torch.randn(1, 4, *SIZE)
    with torch.no_grad():
        assert torch.equal(whole.training_forward(x)[0], plain(x))
        assert torch.equal(whole(x), plain(x))


def test_without_autoencoder_there_is_nothing_to_drop():
    recipe = small("network.autoencoder=false", "loss.reconstruction=0", "loss.kl=0")
    net = nets.build(recipe, training=True)
    assert set(net.state_dict()) == set(nets.build(recipe).state_dict())
    assert not hasattr(net, "training_forward")


@pytest.mark.parametrize("skips", ["add", "concat"])
def test_the_reconstruction_teaches_the_encoder(skips):
    """The latent numbers are reparameterised: a gradient passes through mean and variance alike, down to the first layer."""
    net = trained(small(f"network.skips={skips}"))
    x = torch.randn(1, 4, *SIZE)
    _, aux = net.training_forward(x)
    (aux["reconstruction"] - x).square().mean().backward()
    assert net.stem.weight.grad.abs().max() > 0
    latent = net.branch.latent
    of_mean, of_variance = net.branch.to_latent.weight.grad.split(latent)
    assert (of_mean != 0).any(dim=1).all() and (of_variance != 0).any(dim=1).all()
    assert net.head.weight.grad is None  # the decoder of the segmentation has no part in it


def test_draws_follow_mean_and_variance():
    net = trained(small("network.latent=512"))
    drawn = []
    net.branch.from_latent.register_forward_pre_hook(lambda m, given: drawn.append(given[0].detach()))
    with torch.no_grad():
        net.branch.to_latent.weight.zero_()
        net.branch.to_latent.bias[:512] = -3.0
        net.branch.to_latent.bias[512:] = math.log(4.0)
        bottom = torch.randn(16, 32, *(n // 4 for n in SIZE))
        net.branch(bottom)
        net.branch(bottom)
        net.branch.eval()
        net.branch(bottom)
    first, second, still = drawn
    assert not torch.equal(first, second)
    assert first.mean().item() == pytest.approx(-3.0, abs=0.1)
    assert first.std().item() == pytest.approx(2.0, abs=0.1)
    assert torch.equal(still, torch.full_like(still, -3.0))


@pytest.mark.parametrize("raw", [-1e4, 1e4])
def test_no_variance_overflows(raw):
    net = trained(small())
    with torch.no_grad():
        net.branch.to_latent.bias[net.branch.latent :] = raw
    x = torch.randn(1, 4, *SIZE)
    logits, aux = net.training_forward(x)
    recipe = small()
    loss = losses.build(recipe)(logits, torch.zeros(1, *SIZE, dtype=torch.uint8), aux, x)
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_the_bound_leaves_usual_variances_as_they_are_and_its_gradient_alive():
    usual = torch.linspace(-1, 1, 21)
    assert torch.allclose(bounded(usual), usual, atol=5e-3)
    far = torch.tensor([-40.0, 40.0], requires_grad=True)
    bounded(far).sum().backward()
    assert bounded(far).abs().max() <= LOG_VARIANCE_BOUND and (far.grad > 0).all()


def test_half_precision_keeps_the_distribution_in_single():
    net, x = trained(small()), torch.randn(1, 4, *SIZE)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, aux = net.training_forward(x)
    assert logits.dtype == aux["reconstruction"].dtype == torch.bfloat16
    assert aux["mean"].dtype == aux["log_variance"].dtype == torch.float32


def test_dropout_takes_whole_channels():
    net = trained(small("network.init_filters=32", "network.dropout=0.5"))
    seen = []
    net.dropout.register_forward_hook(lambda m, given, out: seen.append((given[0], out)))
    with torch.no_grad():
        net(torch.randn(2, 4, 4, 4, 4))
    (before, after), kept = seen[0], seen[0][1].flatten(2).abs().amax(dim=2) > 0
    assert 0 < kept.sum() < kept.numel()
    assert torch.allclose(after[kept], 2 * before[kept])


@pytest.mark.parametrize("preset", PRESETS)
def test_the_smallest_piece_trains(preset):
    """Of the network as deep as it is published: one step lowers the loss, and every weight has its gradient."""
    side = MyronenkoConfig().smallest
    overrides = ["network.init_filters=8", f"window.size={list(side)}", "network.dropout=0"]
    recipe = load_recipe("myronenko2018", overrides, preset)
    torch.manual_seed(0)
    net, loss = nets.build(recipe, training=True), losses.build(recipe)
    image, labels = torch.randn(1, 4, *side), torch.randint(0, 4, (1, *side)).to(torch.uint8)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    values = []
    for _ in range(6):
        logits, aux = net.training_forward(image)
        value = loss(logits, labels, aux, image)
        optimiser.zero_grad()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
        optimiser.step()
        values.append(value.item())
    assert values[-1] < values[0]


def test_the_presets_are_the_paper_and_the_repository():
    assert PRESETS == ["corrected", "as_published"]
    paper, repository = (load_recipe("myronenko2018", preset=p) for p in PRESETS)
    assert paper == load_recipe("myronenko2018")
    assert (paper.network.skips, repository.network.skips) == ("add", "concat")
    assert (paper.optimiser.learning_rate, repository.optimiser.learning_rate) == (1e-4, 1e-2)
    assert (paper.schedule.name, repository.schedule.name) == ("poly", "halving")
    assert (paper.loss.kl_over, repository.loss.kl_over) == ("voxels", "latents")
    assert (paper.preprocess.normalise, repository.preprocess.normalise) == ("zscore", "none")
    assert repository.preprocess.resize_to == repository.window.size
    augmentation = repository.augmentation
    assert not any(
        getattr(augmentation, k) for k in ("flip", "affine", "intensity", "gamma", "bias_field", "noise", "blur")
    )
    # the brain is longest from front to back: 192 belongs to y
    assert paper.window.size.index(192) == repository.window.size.index(192) == 1
    for recipe in (paper, repository):
        assert isinstance(on_meta(recipe, training=False), Myronenko)
        assert not recipe.training.ema_decay
