"""Names from files of others make no path that leads elsewhere."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.names import MOST_BYTES, SafeName, as_model_name, inside, is_model_name

WICKED = [
    "", ".", "..", "../x", "a/../../b", "/etc", "/", "a/b", "a\\b", "C:x", ".hidden", "a\0b", "a\nb", "a\x1b[2Jb", "x.", "x ",
    "-rf", " a", "nul", "COM1.txt", "a" * 300, "ü" * 150, "a*b", 7, None, ["a"], {"a": 1}, 10**5000, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", WICKED[:-1], ids=lambda n: repr(n)[:12] if isinstance(n, str) else type(n).__name__)
def test_a_wicked_name_is_refused(name, tmp_path):
    with pytest.raises(ValueError):
        SafeName.of(name)
    with pytest.raises(ValueError):
        inside(tmp_path, name)


@pytest.mark.parametrize("name", ["29fb6cf38f_01", "BraTS-GLI-00001-000", "Müller 2.nii.gz", "Пациент", "caf\udce9"])
def test_a_plain_name_is_taken(name, tmp_path):
    assert inside(tmp_path, name) == tmp_path / name


@given(st.lists(st.text(max_size=20), min_size=1, max_size=3))
def test_whatever_is_accepted_lies_inside(names):
    from pathlib import Path

    root = Path("/some/root")
    try:
        path = inside(root, *names)
    except ValueError:
        return
    assert Path(os.path.normpath(path)).parts[: 3 + len(names)] == path.parts and path.is_relative_to(root)


def test_a_link_that_leads_out_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "case").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out"):
        inside(tmp_path / "root", "case")
    with pytest.raises(ValueError, match="leads out"):
        inside(tmp_path / "root", "case", "file")


@given(st.text(max_size=300))
def test_any_text_becomes_the_name_of_a_model(text):
    name = as_model_name(text)
    assert is_model_name(name) and len(name.encode()) <= MOST_BYTES * 2
