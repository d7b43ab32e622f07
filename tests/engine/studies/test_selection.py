"""Lists of studies that people wrote."""

from __future__ import annotations

import pytest
from helpers.small_study import make_study

from brainseg_engine.core.errors import InputError
from brainseg_engine.phantom import write_study
from brainseg_engine.studies.selection import select


@pytest.mark.parametrize("line", ["x" * 5000, "a\x00b", "~nobody-of-that-name/x", "[", "/" + "y" * 300])
@pytest.mark.parametrize("beside", [False, True])
def test_a_line_that_names_no_file_is_said(tmp_path, line, beside):
    (tmp_path / "list.txt").write_text(line + "\n")
    with pytest.raises(InputError):
        select([write_study(make_study(0), tmp_path / "data")] if beside else [], tmp_path / "list.txt")
