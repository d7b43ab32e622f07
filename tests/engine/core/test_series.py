"""What a grid tells of a series, and that what may identify a patient stays out of its JSON form."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.series import SeriesFacts, grid_facts

ACROSS = {"axial": "SI", "coronal": "AP", "sagittal": "RL"}


@pytest.mark.parametrize("plane", ACROSS)
@given(st.permutations(["RL", "AP", "SI"]), st.tuples(*[st.booleans()] * 3), st.floats(1.2, 7), st.floats(-0.3, 0.3))
def test_the_plane_lies_across_the_thick_slices_whatever_the_axes_order(plane, axes, flips, thick, turn):
    codes = "".join(a[int(f)] for a, f in zip(axes, flips, strict=True))
    sizes = [thick if a == ACROSS[plane] else 1.0 for a in axes]
    shape = tuple(20 if a == ACROSS[plane] else 100 for a in axes)
    affine = np.eye(4)
    for i, (code, size) in enumerate(zip(codes, sizes, strict=True)):
        affine[:3, i] = [
            size * (("RL", "AP", "SI")[w][0] == code) - size * (("RL", "AP", "SI")[w][1] == code) for w in range(3)
        ]
    c, s = np.cos(turn), np.sin(turn)
    grid = Grid(shape, np.array([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1.0]]) @ affine)
    facts = SeriesFacts("1", **grid_facts(grid))
    assert facts.plane == plane and facts.orientation == codes
    assert facts.slices == 20 and facts.slice_mm == pytest.approx(thick)
    expected = dict.fromkeys(("RL", "AP", "SI"), 100.0) | {ACROSS[plane]: 20 * thick}
    assert facts.coverage_mm == pytest.approx(tuple(expected[a] for a in ("RL", "AP", "SI")))


def test_cubes_are_sliced_along_their_last_axis():
    assert grid_facts(Grid((9, 9, 9), np.diag([1, 1, 1.02, 1])))["plane"] == "axial"
    assert grid_facts(Grid((9, 9, 9), np.diag([1, 1, 1.02, 1])[[2, 0, 1, 3]]))["plane"] == "sagittal"


def test_what_may_identify_a_patient_is_in_no_text_of_it():
    facts = SeriesFacts("1.2.3.99", description="t1", acquired=datetime(1999, 12, 31, 8), study_uid="1.2.77",
                        frame_of_reference="1.2.88", contrast="", te_ms=0.0)  # fmt: skip
    for text in (json.dumps(facts.to_dict()), repr(facts)):
        assert not any(secret in text for secret in ("1.2.3.99", "1999", "1.2.77", "1.2.88"))
    assert facts.to_dict()["te_ms"] == 0.0 and "tr_ms" not in facts.to_dict()
