"""Laws that hold for every network in the registry, each through the recipes that use it."""

import pytest
import torch

from brainseg_engine import nets
from brainseg_engine.models import checkpoint
from brainseg_engine.nets.segresnet import fold, unfold
from brainseg_engine.recipe import load_recipe, presets, recipe_names
from brainseg_engine.recipe.networks_of_others import NnUNetConfig, OnnxConfig, SegResNetDsConfig, SwinUnetrConfig

SMALL = {
    "attention_unet": ["network.channels=[4, 8, 16]", "window.size=[16, 24, 16]"],
    "baseline": ["network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]"],
    "efficientnet_graft": ["network.filters=[8, 8, 8]", "network.depth_strides=[1, 2, 3]", "window.size=[64, 96, 18]"],
    "kermi2018": ["network.width=4", "network.levels=3", "window.size=[16, 24]"],
    "myronenko2018": ["network.init_filters=8", "network.blocks_down=[1, 1]", "window.size=[8, 12, 16]"],
    "unet2d_lgg": ["network.width=4", "network.depth=3"],
}  # fmt: skip
"""Recipe → overrides that leave its network a few thousand weights (the EfficientNet within the graft keeps its millions)."""
NARROWER = {
    "attention_unet": "network.channels=[8, 16, 32, 64, 128]",
    "baseline": "network.init_filters=8",
    "efficientnet_graft": "network.filters=[8, 16, 32]",
    "kermi2018": "network.width=32",
    "myronenko2018": "network.init_filters=16",
    "unet2d_lgg": "network.width=16",
}
ALL = [(name, preset) for name in recipe_names() for preset in presets(name)]
MILLIONS = ("efficientnet_graft", "as_published")
each = pytest.mark.parametrize(
    ("name", "preset"), [pytest.param(*one, marks=pytest.mark.slow if one == MILLIONS else ()) for one in ALL]
)


def small(name, preset):
    return load_recipe(name, SMALL[name], preset)


def images(recipe, n=1, sides=None):
    """A batch of the recipe's window, else of three times the smallest; 2D ones rows first."""
    x, y, *z = sides or recipe.window.size or [3 * side for side in recipe.network.smallest]
    spatial = (y, x) if recipe.network.dimensions == 2 else (x, y, *z)
    return torch.randn(n, len(recipe.modalities), *spatial, generator=torch.Generator().manual_seed(1))


def built(recipe, training=False):
    torch.manual_seed(0)
    return nets.build(recipe, training)


def trained_on(net, x):
    """All that the loss may look at."""
    if not hasattr(net, "training_forward"):
        return [net(x)]
    logits, aux = net.training_forward(x)
    return [logits, *aux.values()]


def on_meta(recipe, training=False):
    with torch.device("meta"):
        return nets.build(recipe, training)


def outputs_of(net, kind, x):
    """Shapes (C, *spatial) of what the modules of one kind give, in the order in which they ran."""
    seen = []
    modules = [m for m in net.modules() if type(m).__name__ == kind]
    hooks = [m.register_forward_hook(lambda m, given, out: seen.append(tuple(out.shape[1:]))) for m in modules]
    net(x)
    for hook in hooks:
        hook.remove()
    return seen


# networks without a recipe here: they come with imported models, and are compared with their makers' own
# (tests/engine/models)
IMPORTED = {NnUNetConfig, OnnxConfig, SegResNetDsConfig, SwinUnetrConfig}


def test_every_network_has_a_recipe_or_an_importer_and_every_recipe_a_small_form():
    assert {type(load_recipe(name).network) for name in recipe_names()} | IMPORTED == set(nets.BUILDERS)
    assert set(SMALL) == set(NARROWER) == set(recipe_names())


@each
def test_answers_have_the_images_size_and_do_not_depend_on_the_batch(name, preset):
    recipe = small(name, preset)
    net, x = built(recipe).eval(), images(recipe, 2)
    with torch.inference_mode():
        out = net(x)
        assert out.shape == (2, recipe.output.channels, *x.shape[2:])
        assert out.dtype == torch.float32
        assert torch.equal(out, net(x))
        torch.testing.assert_close(out[1:], net(x[1:]), rtol=1e-4, atol=1e-4)
        assert not torch.allclose(out[0], out[1])


@each
def test_illegal_sizes_are_named(name, preset):
    recipe = small(name, preset)
    net, x = built(recipe).eval(), images(recipe)
    for axis in range(2, x.ndim):
        wrong = torch.cat((x, x.narrow(axis, 0, 1)), dim=axis)
        with pytest.raises(ValueError, match=r"(multiple of|must be) .* not .*\b" + str(wrong.shape[axis]) + r"\b"):
            net(wrong)


@each
def test_a_gradient_reaches_every_weight(name, preset):
    recipe = small(name, preset)
    net = built(recipe, training=True).train()
    outputs = trained_on(net, images(recipe, 4))  # the graft's trunk leaves a block out now and then, by the sample
    sum((o * torch.randn_like(o)).mean() for o in outputs).backward()
    assert not [n for n, p in net.named_parameters() if p.grad is None]
    # biases before a normalisation have none that a number would show
    assert not [n for n, p in net.named_parameters() if p.ndim > 1 and not p.grad.abs().sum() > 0]


@each
def test_the_smallest_size_can_be_trained_on_one_by_one(name, preset):
    recipe = small(name, preset)
    if recipe.window.size is not None:
        least = list(recipe.network.smallest[: len(recipe.window.size)])
        recipe = load_recipe(name, [*SMALL[name], f"window.size={least}"], preset)
    net = built(recipe, training=True).train()
    outputs = trained_on(net, images(recipe, 1, recipe.network.smallest))
    sum(o.square().mean() for o in outputs).backward()
    assert all(torch.isfinite(o).all() for o in outputs)
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


@each
def test_a_model_file_gives_the_same_answers(name, preset, tmp_path):
    recipe = small(name, preset)
    trained = built(recipe, training=True)
    trained_on(trained.train(), images(recipe, 2))  # so that running statistics are not those of a new net
    card = checkpoint.Card(
        name="x", recipe=name, modalities=recipe.modalities, regions=recipe.output.regions, parameters=0
    )  # fmt: skip
    checkpoint.save(tmp_path / "x.safetensors", nets.for_use(recipe, trained.state_dict()), card, recipe)
    loaded = checkpoint.load(tmp_path / "x.safetensors")
    assert loaded.recipe == recipe
    net, x = loaded.network(), images(recipe)
    with torch.inference_mode():
        assert torch.equal(net(x), trained.eval()(x))


@each
def test_the_same_seed_gives_the_same_weights(name, preset):
    recipe = small(name, preset)
    once, again = built(recipe).state_dict(), built(recipe).state_dict()
    assert all(torch.equal(once[k], again[k]) for k in once)
    torch.manual_seed(1)
    other = nets.build(recipe).state_dict()
    assert any(not torch.equal(once[k], other[k]) for k in once)


@pytest.mark.parametrize(
    ("name", "overrides", "training", "weights"),
    [
        ("baseline", [], False, 4_714_680),
        ("baseline", ["network.fold=1"], False, 4_702_227),  # MONAI's SegResNet(16, 4 → 3)
        ("myronenko2018", [], False, 18_802_115),
        ("myronenko2018", [], True, 39_936_119),
        ("myronenko2018", ["network.skips=concat"], False, 18_845_347),
        ("myronenko2018", ["network.skips=concat"], True, 39_979_351),
        ("unet2d_lgg", [], False, 161_985),  # the published checkpoint's
        ("unet2d_lgg", ["network.depth=5"], False, 212_545),
        ("attention_unet", [], False, 5_910_460),
        ("efficientnet_graft", [], False, 14_378_100),
        ("efficientnet_graft", ["network.depth_strides=[3, 3, 4]", "window.size=[160, 192, 108]"], False, 14_378_100),
        ("kermi2018", [], False, 10_153_092),
    ],
)  # fmt: skip
def test_weight_counts(name, overrides, training, weights):
    assert nets.count_parameters(on_meta(load_recipe(name, overrides), training)) == weights


@pytest.mark.parametrize("name", recipe_names())
def test_weight_counts_follow_the_width(name):
    count = {n: nets.count_parameters(on_meta(load_recipe(name, n))) for n in ((), (NARROWER[name],))}
    assert count[(NARROWER[name],)] < count[()]


@pytest.mark.parametrize("name", recipe_names())
def test_network_and_recipe_agree_on_the_divisor(name):
    """The network takes multiples of it, and odd multiples of its half on no axis."""
    recipe = load_recipe(name)
    net, divisor = on_meta(recipe).eval(), nets.divisor(recipe)
    fixed = [name == "efficientnet_graft" and i == 2 for i in range(3)]
    sides = [d if f else 2 * d for d, f in zip(divisor, fixed, strict=True)]

    def answer(x, y, z):
        spatial = (y, x) if recipe.network.dimensions == 2 else (x, y, z)
        return net(torch.empty(1, len(recipe.modalities), *spatial, device="meta")).shape[2:], spatial

    given, expected = answer(*sides)
    assert given == expected
    for axis in range(recipe.network.dimensions):
        with pytest.raises(ValueError, match="must be"):
            answer(*(d * 3 // 2 if i == axis else s for i, (s, d) in enumerate(zip(sides, divisor, strict=True))))


def test_stages_of_the_unet():
    net = on_meta(load_recipe("unet2d_lgg"))
    shapes = outputs_of(net, "DoubleConvolution", torch.empty(2, 3, 256, 256, device="meta"))
    assert shapes == [(32, side, side) for side in (256, 128, 64, 32, 64, 128, 256)]


def test_stages_of_the_attention_unet():
    net = on_meta(load_recipe("attention_unet"))
    x = torch.empty(1, 4, 112, 128, 80, device="meta")
    levels = [(16, 112, 128, 80), (32, 56, 64, 40), (64, 28, 32, 20), (128, 14, 16, 10), (256, 7, 8, 5)]
    assert outputs_of(net, "ConvBlock", x) == levels
    assert outputs_of(net, "UpConv", x) == outputs_of(net, "AttentionBlock", x) == levels[-2::-1]


@pytest.mark.parametrize("side", [128, 240])
def test_stages_of_the_residual_unet(side):
    net = on_meta(load_recipe("kermi2018"))
    x = torch.empty(1, 4, side, side, device="meta")
    levels = [(64 * 2**i, side // 2**i, side // 2**i) for i in range(4)]
    assert outputs_of(net, "Encode", x) == levels
    assert outputs_of(net, "Decode", x) == levels[-2::-1]


@pytest.mark.parametrize("r", [1, 2, 3])
def test_fold_and_unfold_are_inverse(r):
    x = torch.randn(2, 3, 2 * r, 4 * r, 3 * r)
    folded = fold(x, r)
    assert folded.shape == (2, 3 * r**3, 2, 4, 3)
    assert torch.equal(unfold(folded, r), x)
    assert torch.equal(folded[0, : r**3, 0, 0, 0], x[0, 0, :r, :r, :r].flatten())
