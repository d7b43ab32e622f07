"""Laws of the intervals and tests."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from brainseg_engine.core.stats import FEWEST_FOR_TEST, Estimate, estimate, holm, sign_flip, signed_rank

values = st.lists(st.floats(0, 400), min_size=3, max_size=20)


def test_nothing_is_estimated_from_nothing():
    assert estimate([]) == estimate([None, None]) == Estimate(0)
    assert Estimate(0).interval is None


def test_no_interval_from_fewer_than_three():
    assert estimate([0.5, None, 1.0]) == Estimate(2, 0.75)
    assert estimate([0.5, 0.6, 1.0]).interval is not None


@settings(max_examples=40)
@given(values)
def test_the_interval_holds_the_mean_and_is_symmetric(x):
    e = estimate(x)
    assert e.n == len(x)
    assert e.mean == pytest.approx(np.mean(x))
    assert all(math.isfinite(v) for v in (e.mean, e.low, e.high))
    assert e.low <= e.mean <= e.high
    assert e.high - e.mean == pytest.approx(e.mean - e.low, abs=1e-6)


@settings(max_examples=30)
@given(values)
def test_it_is_the_same_every_time_and_turns_with_the_sign(x):
    e = estimate(x)
    assert estimate(x) == e
    mirrored = estimate([-v for v in x])
    assert (mirrored.low, mirrored.high) == pytest.approx((-e.high, -e.low), abs=1e-6)


def test_equal_values_leave_no_doubt():
    assert estimate([0.7] * 5) == Estimate(5, pytest.approx(0.7), pytest.approx(0.7), pytest.approx(0.7))


def test_more_cases_make_it_narrower_and_it_holds_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    few, many = (estimate(rng.normal(0.8, 0.1, n)) for n in (10, 400))
    assert many.high - many.low < (few.high - few.low) / 3
    for n, least, most in ((3, 0.90, 0.96), (8, 0.90, 0.96), (20, 0.91, 0.97)):  # Dice-like, mean 0.85
        drawn = (estimate(rng.beta(10.2, 1.8, n)) for _ in range(2000))
        assert least <= np.mean([e.low <= 0.85 <= e.high for e in drawn]) <= most
    missed = (estimate(rng.beta(10.2, 1.8, 8) * (rng.random(8) > 0.1)) for _ in range(2000))
    assert 0.7 <= np.mean([e.low <= 0.765 <= e.high for e in missed]) <= 0.82  # as its docstring warns


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20))
def test_an_interval_stays_within_what_is_possible(x):
    whole, cut = estimate(x), estimate(x, (0.0, 1.0))
    assert 0 <= cut.low <= cut.mean <= cut.high <= 1
    assert (cut.low, cut.high) == (max(whole.low, 0), min(whole.high, 1))


def test_cutting_off_loses_no_coverage():
    """Dice-like values near 1, where the whole interval often leaves the range."""
    rng = np.random.default_rng(1)
    drawn = [rng.beta(10.2, 0.8, 6) for _ in range(2000)]
    truth = 10.2 / 11
    held = [[e.low <= truth <= e.high for e in (estimate(x), estimate(x, (0.0, 1.0)))] for x in drawn]
    whole, cut = np.mean(held, axis=0)
    assert whole == cut >= 0.85
    assert np.mean([estimate(x).high > 1 for x in drawn]) > 0.05


def exact_p(d):
    """All signs, with mean ranks for ties."""
    d = [v for v in d if v]
    ranks = rankdata(np.abs(d))
    seen = abs(sum(r if v > 0 else -r for r, v in zip(ranks, d, strict=True)))
    sums = [abs(np.dot(signs, ranks)) for signs in itertools.product((-1, 1), repeat=len(d))]
    return np.mean(np.array(sums) >= seen - 1e-9)


@settings(max_examples=30)
@given(st.lists(st.integers(-4, 4), min_size=6, max_size=10))
def test_the_p_value_is_exact_with_ties_and_zeros(d):
    test = signed_rank([v / 10 for v in d])
    if sum(v != 0 for v in d) < FEWEST_FOR_TEST:
        assert test.p is None
        assert test.note
    else:
        assert test.p == pytest.approx(exact_p(d))


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1).filter(lambda v: abs(v) > 1e-3), min_size=6, max_size=60, unique_by=abs))
def test_the_sign_does_not_matter_and_p_is_a_probability(d):
    p = signed_rank(d).p
    assert 0 < p <= 1
    assert signed_rank([-v for v in d]).p == pytest.approx(p)


def test_all_of_one_sign_is_as_unlikely_as_a_coin_says():
    for n in range(FEWEST_FOR_TEST, 12):
        assert signed_rank([0.1] * n).p == pytest.approx(2 / 2**n)
        assert signed_rank([0.1 * i for i in range(1, n + 1)]).p == pytest.approx(2 / 2**n)
    assert 2 / 2 ** (FEWEST_FOR_TEST - 1) > 0.05 > 2 / 2**FEWEST_FOR_TEST


def test_too_few_or_equal_cases_are_reported():
    assert "6 are needed" in signed_rank([0.1, 0.2, 0.3, 0.4, 0.5, 0.0]).note
    assert signed_rank([0.0] * 10).note == "no case differs"
    assert signed_rank([]).p is None


def test_many_cases_with_ties_are_approximated_and_say_so():
    rng = np.random.default_rng(1)
    d = rng.integers(-5, 7, 200) / 10
    test = signed_rank(d)
    assert 0 < test.p < 0.05
    assert test.note == "normal approximation"


def test_holm_by_hand():
    assert holm([0.01, 0.04, None, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), None, pytest.approx(0.06)]
    assert holm([]) == []


@given(st.lists(st.none() | st.floats(0, 1), max_size=12))
def test_holm_only_raises_keeps_the_order_and_stays_below_bonferroni(p):
    adjusted = holm(p)
    n = sum(v is not None for v in p)
    pairs = [(a, b) for a, b in zip(p, adjusted, strict=True) if a is not None]
    assert [b is None for b in adjusted] == [a is None for a in p]
    assert all(a <= b <= min(1.0, n * a) + 1e-12 for a, b in pairs)
    by_p = [b for _, b in sorted(pairs)]
    assert by_p == sorted(by_p)


@settings(max_examples=30)
@given(st.lists(st.floats(-1, 1).filter(lambda v: abs(v) > 1e-3), min_size=1, max_size=10))
def test_flipped_signs_are_all_tried(d):
    sums = [abs(np.dot(signs, d)) for signs in itertools.product((-1, 1), repeat=len(d))]
    assert sign_flip(d) == pytest.approx(np.mean(np.array(sums) >= abs(sum(d)) - 1e-9))
    assert sign_flip([-v for v in d]) == pytest.approx(sign_flip(d))


def test_flipped_signs_of_many_are_drawn_and_keep_their_level():
    rng = np.random.default_rng(2)
    assert sign_flip([0.1] * 40) == pytest.approx(1 / 2**14)
    rejected = [sign_flip(rng.normal(0, 1, 18)) <= 0.05 for _ in range(200)]
    assert np.mean(rejected) <= 0.1
    assert sign_flip([]) == 1.0
