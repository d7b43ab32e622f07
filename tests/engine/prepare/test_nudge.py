"""A series moved by hand: what moves where."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.prepare import Rigid
from brainseg_engine.prepare.nudge import Nudge

three = st.tuples(*[st.floats(-30, 30)] * 3)
CENTRE = np.array([3.0, -8.0, 20.0])


@given(three, three)
def test_a_movement_is_rigid_and_moves_the_picture_of_the_centre_by_the_shift(shift, turn):
    moved = Nudge(shift, turn).applied(Rigid.identity(), CENTRE, np.eye(3))
    np.testing.assert_allclose(moved.matrix[:3, :3] @ moved.matrix[:3, :3].T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(moved.apply(CENTRE + shift), CENTRE, atol=1e-9)  # there the series' centre is seen now


@given(three, st.integers(0, 2))
def test_the_axes_are_the_patients(shift, axis):
    axes = np.linalg.qr(np.array([[1, 0.2, 0], [0.1, 1, 0.3], [0, 0.2, 1]]))[0]
    only = tuple(float(s) if i == axis else 0.0 for i, s in enumerate(shift))
    moved = Nudge(only).applied(Rigid.identity(), CENTRE, axes)
    np.testing.assert_allclose(moved.apply(CENTRE), CENTRE - axes[:, axis] * shift[axis], atol=1e-9)


def test_turns_are_right_handed_and_nothing_is_nothing():
    turned = Nudge(turn_deg=(0, 0, 90)).applied(Rigid.identity(), np.zeros(3), np.eye(3))
    np.testing.assert_allclose(turned.inverse.apply([1.0, 0, 0]), [0, 1, 0], atol=1e-9)
    assert Nudge().nothing and not Nudge((0.5, 0, 0)).nothing
    np.testing.assert_array_equal(Nudge().applied(turned, CENTRE, np.eye(3)).matrix, turned.matrix)
