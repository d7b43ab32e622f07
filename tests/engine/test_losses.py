"""Loss values against the formulas, on hand-made tensors."""

import math

import torch

from brainseg_engine.labels import Region
from brainseg_engine.losses import build, region_targets
from brainseg_engine.recipe import Loss


def test_targets_are_the_nested_regions():
    labels = torch.tensor([[[[0, 1, 2, 3, 4, 5]]]], dtype=torch.uint8)
    targets = region_targets(labels, (Region.WT, Region.TC, Region.ET))
    assert targets[0, :, 0, 0].tolist() == [[0, 1, 1, 1, 0, 1], [0, 1, 0, 1, 0, 0], [0, 0, 0, 1, 0, 0]]


def test_dice_alone():
    targets = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 2, 2, 1)
    p = torch.tensor([0.8, 0.6, 0.4, 0.2]).reshape_as(targets)
    loss = build(Loss(dice=1, cross_entropy=0))(torch.logit(p), targets)
    assert math.isclose(float(loss), 1 - 2 * (0.8 + 0.6) / (2.0 + 2.0), abs_tol=1e-4)
    squared = build(Loss(dice=1, cross_entropy=0, squared=True))(torch.logit(p), targets)
    assert math.isclose(float(squared), 1 - 2 * 1.4 / (0.64 + 0.36 + 0.16 + 0.04 + 2.0), abs_tol=1e-4)


def test_cross_entropy_alone_and_the_weights():
    targets = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1)
    p = torch.tensor([0.9, 0.3]).reshape_as(targets)
    expected = -(math.log(0.9) + math.log(0.7)) / 2
    entropy = build(Loss(dice=0, cross_entropy=1))(torch.logit(p), targets)
    assert math.isclose(float(entropy), expected, rel_tol=1e-5)
    dice = build(Loss(dice=1, cross_entropy=0))(torch.logit(p), targets)
    both = build(Loss(dice=0.5, cross_entropy=2))(torch.logit(p), targets)
    assert math.isclose(float(both), 0.5 * float(dice) + 2 * expected, rel_tol=1e-5)


def test_perfect_answer_costs_nothing_and_an_empty_region_is_finite():
    targets = torch.zeros(1, 3, 4, 4, 4)
    targets[:, :2, :2] = 1
    logits = (targets * 2 - 1) * 50
    assert float(build(Loss())(logits, targets)) < 1e-3
    assert math.isfinite(float(build(Loss())(torch.zeros_like(targets), torch.zeros_like(targets))))
