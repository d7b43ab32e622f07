"""Learning rates against the tables of the systems they come from."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.recipe import Constant, Cosine, Halving, Plateau, Poly, StepSchedule, TimeDecay
from brainseg_engine.train import Rate

SCHEDULES = [Cosine(), Poly(), StepSchedule(every_epochs=3), Plateau(), Halving(), TimeDecay(), Constant()]


def by_epoch(schedule, peak, epochs, per_epoch=10):
    rate = Rate(schedule, epochs * per_epoch, per_epoch)
    return [peak * rate.factor(e * per_epoch) for e in range(epochs)]


def test_halving_is_applied_to_what_is_left():
    """The table of AghdamAmir's repository: frozen from about epoch 11."""
    rates = by_epoch(Halving(), 0.01, 20)
    expected = {0: 1e-2, 3: 1e-2, 4: 5e-3, 5: 2.5e-3, 6: 1.25e-3, 7: 6.25e-4, 8: 1.5625e-4, 9: 3.9e-5, 10: 9.77e-6,
                11: 2.44e-6, 12: 3.05e-7, 15: 5.96e-10, 19: 9.1e-15}  # fmt: skip
    for epoch, value in expected.items():
        assert rates[epoch] == pytest.approx(value, rel=0.01)


def test_poly_is_the_papers():
    rates = by_epoch(Poly(), 1e-4, 300, per_epoch=285)
    for epoch in (0, 1, 150, 299):
        assert rates[epoch] == pytest.approx(1e-4 * (1 - epoch / 300) ** 0.9)
    within = Rate(Poly(), 300 * 285, 285)
    assert within.factor(285) == within.factor(285 * 2 - 1)  # an epoch has one rate
    smooth = Rate(Poly(), 50, 285, by_steps=True)
    assert smooth.factor(25) == pytest.approx(0.5**0.9)


def test_steps():
    every = by_epoch(StepSchedule(every_epochs=10, gamma=0.9), 0.02, 28)
    assert (every[9], every[10], every[20]) == pytest.approx((0.02, 0.018, 0.0162))
    once = by_epoch(StepSchedule(milestones=(30,), gamma=0.1), 1e-4, 150)
    assert (once[29], once[30], once[149]) == pytest.approx((1e-4, 1e-5, 1e-5))


def test_time_decay_is_keras():
    """The rate is divided by ten, and the decay multiplied by ten, at the start of every epoch, the first included."""
    per_epoch = 2190
    rate = Rate(TimeDecay(), 3 * per_epoch, per_epoch)
    for step in (0, 1, per_epoch - 1, per_epoch, 3 * per_epoch - 1):
        epoch = step // per_epoch
        lr, decay = 0.08 / 10 ** (epoch + 1), 5e-6 * 10 ** (epoch + 1)
        assert 0.08 * rate.factor(step) == pytest.approx(lr / (1 + decay * step))


def test_cosine_warms_up_and_ends_at_its_floor():
    rate = Rate(Cosine(warmup_steps=10, floor=0.1), 100, 7)
    assert [rate.factor(s) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert rate.factor(55) == pytest.approx(0.1 + 0.9 * 0.5)
    assert rate.factor(100) == pytest.approx(0.1)


def run(rate, losses):
    factors = []
    for step, loss in enumerate(losses):
        factors.append(rate.factor(step))
        rate.observe(step, loss)
    return factors


def test_plateau_falls_when_nothing_improves():
    per_epoch, losses = 2, [1.0, 1.0, 0.5, 0.5] + [0.7, 0.6] * 6
    factors = run(Rate(Plateau(patience_epochs=3, factor=0.1), 100, per_epoch), losses)
    assert factors == pytest.approx([1.0] * 10 + [0.1] * 6)


@given(
    st.lists(st.floats(0.1, 2.0), min_size=2, max_size=60), st.integers(0, 59), st.integers(1, 5), st.floats(0.7, 4.0)
)
def test_a_plateau_resumed_is_one_never_stopped(losses, cut, patience, per_epoch):
    cut = min(cut, len(losses) - 1)
    schedule = Plateau(patience_epochs=patience, factor=0.5)
    whole = Rate(schedule, 100, per_epoch)
    expected = run(whole, losses)
    first = Rate(schedule, 100, per_epoch)
    run(first, losses[:cut])
    second = Rate(schedule, 100, per_epoch)
    second.load(first.state())
    factors = []
    for step in range(cut, len(losses)):
        factors.append(second.factor(step))
        second.observe(step, losses[step])
    assert factors == expected[cut:]
    assert second.state() == whole.state()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: s.name)
@given(step=st.integers(0, 2000), total=st.integers(1, 2000), per_epoch=st.floats(0.01, 3000))
def test_a_factor_is_a_share_of_the_peak(schedule, step, total, per_epoch):
    factor = Rate(schedule, total, per_epoch).factor(min(step, total - 1))
    assert math.isfinite(factor)
    assert 0 <= factor <= 1
