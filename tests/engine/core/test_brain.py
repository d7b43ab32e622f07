"""What is brain does not depend on what the air is called: constants, other values outside, noise, tight crops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.brain import above_air, air_of, brain, without_air
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.recipe import load_recipe

few = settings(max_examples=6, deadline=None)
BASE = load_recipe("baseline")
SHAPE = (44, 40, 36)


def whole_numbers(seed: int) -> Study:
    """As scanners and BraTS store images: whole numbers, 0 outside the brain."""
    study = make_study(seed, shape=SHAPE)
    return replace(study, volumes={m: replace(v, data=v.data.astype(np.int16)) for m, v in study.volumes.items()})


def with_data(study: Study, change) -> Study:
    return replace(study, volumes={m: replace(v, data=change(v.data)) for m, v in study.volumes.items()})


def seen(study: Study, recipe=BASE):
    return preprocess(study, recipe, (4, 4, 4))


@few
@given(st.integers(0, 5), st.integers(-3000, 3000))
def test_a_constant_changes_nothing(seed, constant):
    study = whole_numbers(seed)
    before, inverse = seen(study)
    after, moved = seen(with_data(study, lambda d: d + np.int16(constant)))
    assert np.array_equal(before, after) and moved.start == inverse.start


@few
@given(st.integers(0, 5), st.sampled_from([-1000, -1, 400, 3000]))
def test_nor_does_another_value_outside(seed, outside):
    study = whole_numbers(seed)
    before, inverse = seen(study)
    after, moved = seen(with_data(study, lambda d: np.where(d == 0, np.int16(outside), d)))
    assert after.shape == before.shape and moved.start == inverse.start
    np.testing.assert_allclose(after, before, atol=1e-3)


PADDINGS = {
    "the corners of a turned image": (lambda d: _round(d.shape), -2000, -1000),
    "0 in a field of view, less around it": (lambda d: _round(d.shape), -1, 0),
    "a bright frame": (lambda d: _framed(d.shape), 5000, 0),
}


def _round(shape):
    x, y, _ = np.indices(shape)
    return (x - shape[0] / 2) ** 2 + (y - shape[1] / 2) ** 2 < (0.48 * min(shape[:2])) ** 2


def _framed(shape):
    inside = np.zeros(shape, np.bool_)
    inside[1:-1, 1:-1, 1:-1] = True
    return inside


@pytest.mark.parametrize("what", PADDINGS)
def test_nor_does_a_padding_around_the_air(what):
    field_of, around, air = PADDINGS[what]
    study = whole_numbers(1)

    def padded(data):
        return np.where(data != 0, data, np.where(field_of(data), air, around)).astype(np.int16)

    before, inverse = seen(study)
    after, moved = seen(with_data(study, padded))
    assert after.shape == before.shape and moved.start == inverse.start
    np.testing.assert_allclose(after, before, atol=1e-3)
    data = study.reference.data
    assert np.array_equal(brain(padded(data)), brain(data)) and np.array_equal(
        without_air(padded(data)) != 0, data != 0
    )


COMMON = {
    "drawn in one value": lambda d: np.where(d > 150, 200, np.where(d > 0, 100, 0)),
    "saturated": lambda d: np.where(d > 0, np.minimum(d, 96), 0),
    "coarsely stored": lambda d: np.where(d > 0, 1 + d // 12, 0),
}


@pytest.mark.parametrize("what", COMMON)
def test_a_common_value_of_tissue_is_no_air(what):
    data = whole_numbers(1).volumes[Modality.T1CE].data
    assert np.array_equal(brain(COMMON[what](data).astype(np.int16)), data != 0)


@few
@given(st.integers(0, 5), st.floats(-2, 5), st.floats(0.01, 3))
def test_nor_does_a_scaling_with_an_offset(seed, offset, factor):
    """As of an array that was z-scored whole: the air has some negative value."""
    study = whole_numbers(seed)
    before, _ = seen(study)
    after, _ = seen(with_data(study, lambda d: (d * factor + offset).astype(np.float32)))
    assert after.shape == before.shape
    np.testing.assert_allclose(after, before, atol=1e-3)


@few
@given(st.integers(0, 5), st.integers(0, 9), st.sampled_from([1, 3]))
def test_noise_outside_is_no_brain(seed, noise_seed, top):
    study = whole_numbers(seed)
    rng = np.random.default_rng(noise_seed)
    noisy = with_data(study, lambda d: d + np.where(d == 0, rng.integers(0, top + 1, d.shape), 0).astype(np.int16))
    for m in Modality:
        assert np.array_equal(brain(noisy.volumes[m].data), study.volumes[m].data != 0)
    before, inverse = seen(study)
    after, moved = seen(noisy)
    assert after.shape == before.shape and moved.start == inverse.start
    np.testing.assert_allclose(after, before, atol=1e-4)


@pytest.mark.parametrize("change", [
    lambda d: d + np.int16(1000), lambda d: np.where(d == 0, np.int16(-1000), d),
    lambda d: ((d - d.mean()) / d.std()).astype(np.float32),
], ids=["constant", "-1000 outside", "z-scored whole"])  # fmt: skip
def test_the_answer_stays_the_same(tiny_model, change):
    predictor = Predictor(tiny_model, "cpu")
    study = whole_numbers(3)
    one, other = predictor.predict(study), predictor.predict(with_data(study, change))
    assert np.array_equal(one.segmentation.labels, other.segmentation.labels)


def test_an_ordinary_image_is_not_touched():
    data = whole_numbers(0).reference.data
    assert without_air(data) is data and above_air(data) is data
    assert np.array_equal(brain(data), data != 0)


def test_a_tight_crop_keeps_its_zeros_and_a_piece_of_brain_has_no_air():
    data = whole_numbers(1).reference.data
    hit = np.argwhere(data)
    tight = data[tuple(slice(a, b + 1) for a, b in zip(hit.min(0) + 3, hit.max(0) - 3, strict=True))]
    assert np.array_equal(brain(tight), tight != 0)
    rng = np.random.default_rng(0)
    for piece in (rng.normal(100, 10, SHAPE), rng.integers(1, 100, SHAPE), rng.gamma(4, 60, SHAPE)):
        assert air_of(piece) is None and brain(piece).all() and without_air(piece) is piece


def test_whole_volume_normalisations_see_another_background_as_zero():
    recipe = BASE.model_copy(update={"preprocess": BASE.preprocess.model_copy(update={"normalise": "minmax"})})
    study = whole_numbers(2)
    before, _ = seen(study, recipe)
    after, _ = seen(with_data(study, lambda d: np.where(d == 0, np.int16(-1000), d)), recipe)
    assert float(after.min()) >= 0 and after.shape == before.shape
