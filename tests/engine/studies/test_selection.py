"""Lists of studies that people wrote."""

from __future__ import annotations

import pytest
from helpers.small_study import make_study

from brainseg_engine.core.errors import InputError
from brainseg_engine.phantom import write_study
from brainseg_engine.studies.cohort import patient_of
from brainseg_engine.studies.selection import select


@pytest.mark.parametrize("line", ["x" * 5000, "a\x00b", "~nobody-of-that-name/x", "[", "/" + "y" * 300])
@pytest.mark.parametrize("beside", [False, True])
def test_a_line_that_names_no_file_is_said(tmp_path, line, beside):
    (tmp_path / "list.txt").write_text(line + "\n")
    with pytest.raises(InputError):
        select([write_study(make_study(0), tmp_path / "data")] if beside else [], tmp_path / "list.txt")


@pytest.mark.parametrize("a, b", [("C_v1", "C_v2"), ("P7_pre", "P7_post"), ("D-wk2", "D-wk12"), ("E_year1", "E_baseline"),
                                  ("F_preoperative", "F_postoperative")])  # fmt: skip
def test_visits_of_one_patient_are_one_patients(a, b):
    assert patient_of(a) == patient_of(b) == a[: len(patient_of(a))] != a
