"""Loss values against the formulas written out, on hand-made and on random tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.losses import DiceLoss
from torch.nn import functional as F

from brainseg_engine.core.errors import TrainingError
from brainseg_engine.core.labels import Region
from brainseg_engine.recipe import Loss, MyronenkoConfig, Output, Recipe, Window
from brainseg_engine.train.losses import build, class_targets, region_targets, require_known_classes

REGIONS, CLASSES = Output(), Output(kind="classes")
SHAPE = (4, 3, 2)
SOME = settings(max_examples=20)
SEEDS = st.integers(0, 2**32 - 1)


def loss_of(output=REGIONS, reduce=None, **values):
    """A loss of the terms named, and of no other."""
    branch = {}
    if values.get("reconstruction") or values.get("kl"):
        branch = {"network": MyronenkoConfig(), "window": Window(policy="patch", size=(16, 16, 16))}
    config = Loss(**{"dice": 0, "cross_entropy": 0, **values})
    recipe = Recipe(name="test", loss=config, output=output, **branch)
    whole = build(recipe, reduce)
    return lambda logits, labels, aux=None, image=None: whole(
        logits, labels, aux or {}, torch.zeros(1, 1) if image is None else image
    )


def sample(seed, output=REGIONS, n=3, labels=(0, 1, 2, 3)):
    """Random logits and labels; probabilities and targets of the same as numpy, float64."""
    g = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(n, output.channels, *SHAPE, generator=g)
    drawn = torch.tensor(labels, dtype=torch.uint8)[torch.randint(len(labels), (n, *SHAPE), generator=g)]
    wide = logits.double()
    p = wide.sigmoid() if output.kind == "regions" else wide.softmax(dim=1)
    return logits, drawn, p.numpy(), targets_of(drawn.numpy(), output)


def targets_of(labels, output):
    if output.kind == "classes":
        return np.stack([labels == c for c in range(4)], axis=1).astype(float)
    of = {"WT": (1, 2, 3, 5), "TC": (1, 3), "ET": (3,)}
    return np.stack([np.isin(labels, of[r]) for r in output.regions], axis=1).astype(float)


def perfect(labels, output, sure=60.0):
    """Logits that are right everywhere."""
    return (2 * torch.from_numpy(targets_of(labels.numpy(), output)) - 1).float() * sure


# the five systems' losses ---------------------------------------------------------------------------------------------


def test_targets_are_the_nested_regions():
    labels = torch.tensor([[[[0, 1, 2, 3, 4, 5]]]], dtype=torch.uint8)
    targets = region_targets(labels, (Region.WT, Region.TC, Region.ET))
    assert targets[0, :, 0, 0].tolist() == [[0, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_targets_are_the_classes_and_a_cavity_is_background():
    labels = torch.tensor([[[0, 1, 2, 3, 4]]], dtype=torch.uint8)  # a slice of one row
    assert class_targets(labels)[0, :, 0].tolist() == [
        [1, 0, 0, 0, 1],
        [0, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
    ]


def test_tumour_of_unknown_class_is_refused_for_classes_alone():
    labels = np.array([[[0, 5]]], dtype=np.uint8)
    require_known_classes(labels, REGIONS, "the case a")
    require_known_classes(np.minimum(labels, 4), CLASSES, "the case a")
    with pytest.raises(TrainingError, match=r"the case a .*class unknown"):
        require_known_classes(labels, CLASSES, "the case a")
    # should it get as far as the loss, no number comes out
    assert loss_of(CLASSES, dice=1, cross_entropy=1)(torch.zeros(1, 4, 1, 1, 2), torch.from_numpy(labels)[None]).isnan()


def test_the_bundled_models_loss_is_as_it_was():
    logits, labels, _, _ = sample(0, n=1)
    targets = region_targets(labels, REGIONS.regions)
    by_hand = DiceLoss(sigmoid=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, targets)
    by_hand = by_hand + F.binary_cross_entropy_with_logits(logits, targets)
    assert torch.equal(build(Recipe(name="test"))(logits, labels, {}, torch.zeros(1, 4, *SHAPE)), by_hand)


@SOME
@given(SEEDS, st.booleans())
def test_dice_by_case(seed, squared):
    logits, labels, p, g = sample(seed)
    axes = (2, 3, 4)
    of_p = (p**2 if squared else p).sum(axes)
    expected = 1 - np.mean((2 * (p * g).sum(axes) + 1e-5) / (of_p + g.sum(axes) + 1e-5))
    loss = loss_of(dice=1, squared=squared)(logits, labels)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@SOME
@given(SEEDS)
def test_myronenko_one_sum_over_all_channels(seed):
    logits, labels, p, g = sample(seed)
    expected = 1 - 2 * (p * g).sum() / ((p**2).sum() + (g**2).sum() + 1e-8)
    loss = loss_of(dice=1, squared=True, pooling="all", smooth=1e-8)(logits, labels)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@SOME
@given(SEEDS)
def test_lgg_one_channel_over_the_batch(seed):
    output = Output(regions=(Region.WT,))
    logits, labels, p, g = sample(seed, output, labels=(0, 5))
    expected = 1 - (2 * (p * g).sum() + 1) / (p.sum() + g.sum() + 1)
    assert loss_of(output, dice=1, pooling="batch", smooth=1)(logits, labels).item() == pytest.approx(
        expected, abs=1e-5
    )


@SOME
@given(SEEDS)
def test_attention_unet_mean_of_four_classes(seed):
    logits, labels, p, g = sample(seed, CLASSES)
    axes = (2, 3, 4)
    expected = 1 - np.mean((2 * (p * g).sum(axes) + 1) / (p.sum(axes) + g.sum(axes) + 1))
    loss = loss_of(CLASSES, dice=1, smooth=1, background=True)(logits, labels)
    assert loss.item() == pytest.approx(expected, abs=1e-5)


@SOME
@given(SEEDS)
def test_graft_three_classes_and_cross_entropy(seed):
    logits, labels, p, g = sample(seed, CLASSES)
    axes = (2, 3, 4)
    dice = ((2 * (p * g).sum(axes) + 1e-5) / (p.sum(axes) + g.sum(axes) + 1e-5))[:, 1:]
    entropy = -np.mean((g * np.log(p)).sum(axis=1))
    loss = loss_of(CLASSES, dice=1, cross_entropy=1)(logits, labels)
    assert loss.item() == pytest.approx(1 - dice.mean() + entropy, abs=1e-5)


@SOME
@given(SEEDS, st.sampled_from([(0, 1, 2, 3), (0, 1, 2), (0, 3)]))
def test_residual_unet_generalised_dice_and_weighted_entropy(seed, present):
    logits, labels, p, g = sample(seed, CLASSES, labels=present)
    axes = (0, 2, 3, 4)
    r, both, sums = g.sum(axes), (p * g).sum(axes), (p + g).sum(axes)
    published = 1 / (r**2 + 1e-7)
    k = np.array([1, 5, 2, 4]).reshape(1, 4, 1, 1, 1)
    entropy = -np.mean((k * g * np.log(p)).sum(axis=1))
    for absent, w in (("published", published), ("dropped", published * (r > 0))):
        generalised = 1 - 2 * (w * both).sum() / (w * sums).sum()
        values = {"generalised_dice": 1, "cross_entropy": 1, "class_weights": (1, 5, 2, 4), "absent_classes": absent}
        assert loss_of(CLASSES, **values)(logits, labels).item() == pytest.approx(generalised + entropy, rel=1e-4)


def test_one_absent_class_makes_the_published_generalised_dice_inert():
    """A batch of four slices without enhancing tumour, 99.99 % of each pixel right."""
    labels = torch.zeros(4, 128, 128, dtype=torch.uint8)
    labels[:, 30:60, 30:60], labels[:, 40:50, 40:50] = 2, 1
    right = class_targets(labels)
    logits = torch.log(right * 0.9999 + (1 - right) * (0.0001 / 3))
    assert loss_of(CLASSES, generalised_dice=1, absent_classes="published")(logits, labels).item() > 0.9995
    assert loss_of(CLASSES, generalised_dice=1, absent_classes="dropped")(logits, labels).item() < 0.01


@SOME
@given(SEEDS)
def test_reconstruction_and_divergence(seed):
    g = torch.Generator().manual_seed(seed)
    image, answer = torch.randn(2, 2, 4, 4, *SHAPE, generator=g)
    mean, log_variance = torch.randn(2, 2, 128, generator=g)
    aux = {"reconstruction": answer, "mean": mean, "log_variance": log_variance}
    labels = torch.zeros(2, *SHAPE, dtype=torch.uint8)
    logits = perfect(labels, REGIONS, 1000)  # cross-entropy 0
    square = np.mean((image.double().numpy() - answer.double().numpy()) ** 2)
    m, v = mean.double().numpy(), np.exp(log_variance.double().numpy())
    divergence = np.mean(np.sum(m**2 + v - np.log(v) - 1, axis=1))
    for over, n in (("voxels", image[0, 0].numel()), ("latents", 128)):
        both = loss_of(cross_entropy=1, reconstruction=0.1, kl=0.3, kl_over=over)(logits, labels, aux, image)
        assert both.item() == pytest.approx(0.1 * square + 0.3 * divergence / n, rel=1e-4)


def test_the_repositorys_divergence_is_30720_times_the_papers():
    image = torch.zeros(1, 1, 1, 1, 1).expand(1, 4, 160, 192, 128)
    aux = {"mean": torch.full((1, 128), 2.0), "log_variance": torch.full((1, 128), -1.0)}
    labels = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    paper, repository = (
        loss_of(cross_entropy=1, kl=1, kl_over=over)(perfect(labels, REGIONS, 1000), labels, aux, image)
        for over in ("voxels", "latents")
    )
    assert (repository / paper).item() == pytest.approx(30_720, rel=1e-5)


def test_a_standard_normal_diverges_nowhere():
    aux = {"mean": torch.zeros(1, 128), "log_variance": torch.zeros(1, 128)}
    labels = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    assert loss_of(cross_entropy=1, kl=1)(perfect(labels, REGIONS, 1000), labels, aux, torch.zeros(1, 4, *SHAPE)) == 0


def test_binary_cross_entropy_and_the_weights():
    logits, labels, p, g = sample(5)
    entropy = -np.mean(g * np.log(p) + (1 - g) * np.log(1 - p))
    assert loss_of(cross_entropy=1)(logits, labels).item() == pytest.approx(entropy, rel=1e-5)
    dice = loss_of(dice=1)(logits, labels).item()
    assert loss_of(dice=0.5, cross_entropy=2)(logits, labels).item() == pytest.approx(
        0.5 * dice + 2 * entropy, rel=1e-5
    )


# laws -----------------------------------------------------------------------------------------------------------------

FORMS = [
    *((REGIONS, {"dice": 1, "pooling": pooling, "squared": squared})
      for pooling in ("case", "batch", "all") for squared in (False, True)),
    *((CLASSES, {"dice": 1, "pooling": pooling, "background": background})
      for pooling in ("case", "batch", "all") for background in (False, True)),
    (REGIONS, {"cross_entropy": 1}),
    (CLASSES, {"cross_entropy": 1, "class_weights": (1, 5, 2, 4)}),
    (CLASSES, {"generalised_dice": 1}),
]  # fmt: skip
forms = pytest.mark.parametrize(("output", "values"), FORMS)
PRESENT = st.sampled_from([(0,), (0, 1, 2, 3), (0, 2), (3,), (0, 4)])


@forms
@settings(max_examples=8)
@given(SEEDS, PRESENT)
def test_the_right_answer_costs_nothing_and_the_wrong_one_much(output, values, seed, present):
    logits, labels, _, _ = sample(seed, output, labels=present)
    loss = loss_of(output, **values)
    right = perfect(torch.where(labels == 4, 0, labels), output)
    assert loss(right, labels).item() == pytest.approx(0, abs=1e-4)
    if 3 in present or 2 in present:
        assert loss(-right, labels).item() > 0.3
    if "cross_entropy" not in values:
        assert -1e-6 <= loss(logits, labels).item() <= 1 + 1e-6


@forms
@settings(max_examples=8)
@given(SEEDS)
def test_neither_the_order_of_cases_nor_that_of_voxels_matters(output, values, seed):
    logits, labels, _, _ = sample(seed, output)
    loss = loss_of(output, **values)
    once = loss(logits, labels).item()
    assert loss(logits[[2, 0, 1]], labels[[2, 0, 1]]).item() == pytest.approx(once, rel=1e-5)
    assert loss(logits.flip(2, 4).transpose(2, 3), labels.flip(1, 3).transpose(1, 2)).item() == pytest.approx(
        once, rel=1e-5
    )


@forms
@settings(max_examples=5)
@given(SEEDS)
def test_a_step_down_the_gradient_is_a_step_down(output, values, seed):
    logits, labels, _, _ = sample(seed, output)
    logits.requires_grad_()
    loss = loss_of(output, **values)
    before = loss(logits, labels)
    before.backward()
    length = logits.grad.norm()
    assert length > 0
    assert loss(logits.detach() - 0.05 * logits.grad / length, labels) < before


@forms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("present", [(0,), (0, 1, 2, 3)])
def test_extreme_logits_keep_loss_and_gradient_finite(output, values, dtype, present):
    _, labels, _, _ = sample(1, output, labels=present)
    loss = loss_of(output, **values)
    for logits in (
        perfect(labels, output, 6e4),
        -perfect(labels, output, 6e4),
        torch.zeros(3, output.channels, *SHAPE),
    ):
        given_logits = logits.to(dtype).requires_grad_()
        value = loss(given_logits, labels)
        value.backward()
        assert value.dtype == torch.float32
        assert value.isfinite() and given_logits.grad.isfinite().all()


@pytest.mark.parametrize("pooling", ["case", "batch", "all"])
def test_nothing_to_find_and_nothing_to_smooth_is_finite(pooling):
    labels = torch.zeros(1, *SHAPE, dtype=torch.uint8)
    for scale in (-6e4, 0.0):
        logits = torch.full((1, 3, *SHAPE), scale, requires_grad=True)
        value = loss_of(dice=1, pooling=pooling, smooth=0)(logits, labels)
        value.backward()
        assert value.isfinite() and logits.grad.isfinite().all()


def test_half_precision_sums_are_taken_in_single():
    """1,000,000 voxels of 0.5: more than float16 can count."""
    labels = torch.ones(1, 100, 100, 100, dtype=torch.uint8)
    logits = torch.zeros(1, 3, 100, 100, 100, dtype=torch.float16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss_of(dice=1, pooling="all")(logits, labels).item()
    assert value == pytest.approx(1 - 2 * 1.0 / (1.5 + 2), abs=1e-5)


@pytest.mark.parametrize(
    ("output", "values"),
    [
        (REGIONS, {"dice": 1, "pooling": "batch"}),
        (REGIONS, {"dice": 1, "pooling": "all", "squared": True}),
        (CLASSES, {"generalised_dice": 1, "dice": 1, "pooling": "batch"}),
        (CLASSES, {"generalised_dice": 1, "absent_classes": "published"}),
    ],
)
def test_processes_that_add_up_their_sums_have_the_loss_of_the_whole_batch(output, values):
    logits, labels, _, _ = sample(3, output, n=4)
    logits.requires_grad_()
    whole = loss_of(output, **values)(logits, labels)
    (wanted,) = torch.autograd.grad(whole, logits)

    of_the_other: list[torch.Tensor] = []

    def note(sums):
        of_the_other.append(sums)
        return sums

    loss_of(output, reduce=note, **values)(logits[2:], labels[2:])
    waiting = iter(of_the_other)
    first = loss_of(output, reduce=lambda sums: sums + next(waiting), **values)(logits[:2], labels[:2])
    assert first.item() == pytest.approx(whole.item(), rel=1e-6)
    (got,) = torch.autograd.grad(first, logits)
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-7)
    alone = loss_of(output, **values)(logits[:2], labels[:2])
    assert abs(alone.item() - whole.item()) > 1e-4
