"""Carrying the corrections of a few slices over to the others: laws that hold whatever the model."""

from __future__ import annotations

import hashlib
import itertools

import numpy as np
import pytest
import torch
from helpers.small_study import make_study

from brainseg_engine import nets, propagate
from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.core.labels import Label, Region, region_masks
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.propagate import Corrected, propose
from brainseg_engine.propagate.ahead import SeenAhead
from brainseg_engine.propagate.placing import placed, placed_labels

SLICES = (9, 10, 14)


@pytest.fixture(scope="module")
def predictor(tiny_model):
    return Predictor(tiny_model, "cpu", threads=1)


def answered(predictor, study):
    """The model's answer; that of a tiny model with random weights, so the truth with its tumour shrunk is taken instead."""
    truth = study.segmentation.labels
    answer = np.where(truth == Label.ET, np.uint8(Label.ED), truth)
    return answer.astype(np.uint8)


def by_slices(study, answer, slices=SLICES, axis=2) -> Corrected:
    labels = answer.copy()
    for i in slices:
        np.moveaxis(labels, axis, 0)[i] = np.moveaxis(study.segmentation.labels, axis, 0)[i]
    return Corrected(labels, {axis: slices}, labels != answer)


@pytest.mark.parametrize(("seed", "axis"), [(0, 2), (1, 0), (2, 1)])
def test_what_was_corrected_stays_as_it_is(predictor, study, seed, axis):
    answer = answered(predictor, study)
    corrected = by_slices(study, answer, axis=axis)
    corrected.voxels[3, 3, 3] = corrected.voxels[20, 20, 5] = True  # single voxels count too
    corrected.labels[3, 3, 3], corrected.labels[20, 20, 5] = Label.NCR, Label.BACKGROUND
    found = propose(predictor, study, answer, corrected, seed=seed).labels
    known = corrected.planes | corrected.voxels
    assert np.array_equal(found[known], corrected.labels[known])
    assert corrected.planes.sum() == sum(answer.size // answer.shape[axis] for _ in SLICES)


def test_a_proposal_lies_on_the_grid_of_the_study_with_its_regions_nested(predictor):
    affine = np.array([[0, 0, 1.5, -7], [-1.0, 0, 0, 3], [0, 1.0, 0, 5], [0, 0, 0, 1]])
    study = make_study(2, (24, 30, 26), affine)
    answer = answered(predictor, study)
    found = propose(predictor, study, answer, by_slices(study, answer)).labels
    masks = region_masks(found)
    assert found.shape == (24, 30, 26) and found.dtype == np.uint8
    assert not (masks[Region.ET] & ~masks[Region.TC]).any() and not (masks[Region.TC] & ~masks[Region.WT]).any()


def test_the_same_seed_gives_the_same_proposal(predictor, study):
    answer = answered(predictor, study)
    corrected = by_slices(study, answer)
    first, second = (propose(predictor, study, answer, corrected, seed=4) for _ in range(2))
    assert np.array_equal(first.labels, second.labels) and first.changed == second.changed


def test_the_rest_of_the_program_has_its_random_numbers_for_itself(predictor, study):
    answer = answered(predictor, study)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    propose(predictor, study, answer, by_slices(study, answer))
    assert torch.equal(torch.rand(3), expected)


def test_the_model_is_not_changed_on_disk_nor_in_memory(predictor, tiny_model, study):
    def state() -> str:
        weights = b"".join(w.numpy().tobytes() for w in predictor.network.state_dict().values())
        return hashlib.sha256(weights + tiny_model.read_bytes()).hexdigest()

    before, answer = state(), predictor.predict(study).segmentation.labels
    propose(predictor, study, answer, by_slices(study, answer))
    assert state() == before
    assert np.array_equal(predictor.predict(study).segmentation.labels, answer)
    assert not predictor.network.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in predictor.network.modules())


def test_without_a_corrected_slice_it_is_refused(predictor, study):
    answer = answered(predictor, study)
    for slices in ({}, {2: ()}):
        with pytest.raises(InputError, match="No slice"):
            propose(predictor, study, answer, Corrected(answer, slices, answer != answer))


def test_labels_of_another_study_are_refused(predictor, study):
    answer = np.zeros((5, 6, 7), np.uint8)
    with pytest.raises(InputError, match="do not fit"):
        propose(predictor, study, answer, Corrected(answer, {2: (1,)}, answer != 0))


@pytest.mark.parametrize("stage", ["reading", "adapting"])
def test_it_stops_when_told_to(predictor, study, stage):
    seen: list[str] = []
    answer = answered(predictor, study)
    with pytest.raises(Cancelled):
        propose(
            predictor, study, answer, by_slices(study, answer), progress=lambda p: seen.append(p.stage),
            cancelled=lambda: bool(seen) and (stage == "reading" or seen[-1].startswith("adapting")),
        )  # fmt: skip
    assert not any(s == "done" for s in seen)


def test_progress_grows_to_the_end(predictor, study):
    fractions = []
    answer = answered(predictor, study)
    propose(predictor, study, answer, by_slices(study, answer), progress=lambda p: fractions.append(p.fraction))
    assert fractions == sorted(fractions) and fractions[-1] == 1.0 and len(fractions) > 20


def test_far_from_the_corrected_slices_nothing_is_changed(predictor):
    study = make_study(1, affine=np.diag([-1.0, -1.0, 20.0, 1.0]))  # slices of 20 mm
    answer = answered(predictor, study)
    found = propose(predictor, study, answer, by_slices(study, answer, (6, 8))).labels
    assert np.array_equal(found[..., 18:], answer[..., 18:])
    assert not np.array_equal(found[..., 5:10], answer[..., 5:10])


def test_what_is_wrong_everywhere_is_learnt_from_three_slices(predictor, study):
    """The enhancing tumour that the answer lacks is found in slices that nobody touched."""
    truth, answer = study.segmentation.labels, answered(predictor, study)
    found = propose(predictor, study, answer, by_slices(study, answer, (8, 12, 16))).labels
    untouched = [i for i in range(7, 18) if i not in (8, 12, 16)]
    wrong = [np.count_nonzero(x[..., untouched] != truth[..., untouched]) for x in (answer, found)]
    assert wrong[1] < 0.5 * wrong[0]


@pytest.mark.parametrize("mm", [0.4, 0.5, 0.67, 1.5, 5.0])
@pytest.mark.parametrize("axis", range(3))
def test_a_single_corrected_slice_or_voxel_is_found_on_the_networks_grid_whatever_the_grids(tiny_recipe, mm, axis):
    spacing = np.ones(4)
    spacing[axis] = mm
    shape = tuple(40 if i == axis and mm < 1 else 24 for i in range(3))
    study = make_study(1, shape, np.diag([-1.0, -1.0, 1.0, 1.0]) * spacing)
    _, inverse = preprocess(study, tiny_recipe, nets.divisor(tiny_recipe))
    for index in range(8, 16):
        labels, known = np.zeros(shape, np.uint8), np.zeros(shape, np.bool_)
        np.moveaxis(labels, axis, 0)[index] = Label.ET
        np.moveaxis(known, axis, 0)[index] = True
        where, values = placed_labels(labels, known, inverse)
        assert (
            np.array_equal(where, placed(known, inverse))
            and (values[where] == Label.ET).all()
            and not values[~where].any()
        )
        planes = where.any(axis=tuple(i for i in range(3) if i != axis)).sum()
        assert 1 <= planes <= max(2, mm + 1)
        point = np.zeros(shape, np.bool_)
        point[tuple(index if i == axis else 12 for i in range(3))] = True
        assert 1 <= placed(point, inverse).sum() <= max(2, mm + 1)


def test_where_nothing_is_resampled_corrections_lie_where_they_lay(tiny_recipe):
    affine = np.array([[0, 0, 1.0, -7], [-1.0, 0, 0, 3], [0, 1.0, 0, 5], [0, 0, 0, 1]])
    study = make_study(2, (24, 30, 26), affine)
    _, inverse = preprocess(study, tiny_recipe, nets.divisor(tiny_recipe))
    rng = np.random.default_rng(0)
    labels, known = rng.integers(0, 5, (24, 30, 26)).astype(np.uint8), rng.random((24, 30, 26)) < 0.3
    where, values = placed_labels(labels, known, inverse)
    assert np.array_equal(where, inverse.forward_labels(known.astype(np.uint8)) != 0)
    assert np.array_equal(where, placed(known, inverse))
    assert np.array_equal(values[where], inverse.forward_labels(labels)[where])


def test_slices_of_half_a_millimetre_teach_too(predictor):
    study = make_study(1, (28, 32, 48), np.diag([-1.0, -1.0, 0.5, 1.0]))
    answer = answered(predictor, study)
    corrected = by_slices(study, answer, (20, 25, 30))
    assert propose(predictor, study, answer, corrected).changed > 0


@pytest.mark.parametrize("shape", [(16, 16, 12), (7, 9, 11)])
def test_new_specks_are_left_out_and_old_ones_stay(shape):
    answer = np.zeros(shape, np.uint8)
    answer[1, 1, 1] = Label.ED
    labels, known = answer.copy(), np.zeros(shape, np.bool_)
    labels[5, 5, 5] = labels[5, 8, 10] = Label.ED
    known[5, 8, 10] = True
    propagate._drop_specks(labels, answer, known, 1e-3)
    assert labels[1, 1, 1] and labels[5, 8, 10] and not labels[5, 5, 5]


def test_crumbs_of_any_region_are_left_out_and_the_nesting_stays():
    answer = np.zeros((20, 20, 20), np.uint8)
    answer[2:14, 2:14, 2:14] = Label.ED
    labels, known = answer.copy(), np.zeros(answer.shape, np.bool_)
    labels[4, 4, 4], labels[8, 8, 8] = Label.NCR, Label.ET
    labels[12, 2:14, 2:14] = 0
    labels[13, :, :] = 0
    labels[13, 5, 5] = Label.ED  # a crumb of what shrank
    propagate._drop_specks(labels, answer, known, 1e-3)
    assert labels[4, 4, 4] == labels[8, 8, 8] == Label.ED and not labels[13, 5, 5]


def test_what_was_looked_at_in_advance_gives_the_same_proposal(predictor):
    study = make_study(1, (28, 32, 24))
    answer = answered(predictor, study)
    corrected = by_slices(study, answer, (10, 13))
    ahead = SeenAhead()
    ahead.ask(predictor, study)
    ahead.work(lambda: True)  # something was asked for meanwhile
    ahead.ask(predictor, study)
    asked = itertools.count()
    ahead.work(lambda: next(asked) == 5)  # or comes in the midst of a tile
    assert next(asked) == 6
    ahead.ask(predictor, study)
    ahead.work(lambda: False)
    seen = ahead.of(predictor, study, lambda _: None, lambda: False)
    assert seen.seconds == 0
    first, second = (propose(predictor, study, answer, corrected, seen=s) for s in (None, seen))
    np.testing.assert_array_equal(first.labels, second.labels)
    other = make_study(2, (28, 32, 24))
    assert ahead.of(predictor, other, lambda _: None, lambda: False).seconds > 0
