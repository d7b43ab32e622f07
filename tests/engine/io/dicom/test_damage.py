"""Whatever is in the files: a list or one sentence, never a crash, and never an image out of place without a word."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from dicom_studies import ball, grid_of, new_person, write_series
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.io.listing import list_series, read_listed
from brainseg_engine.phantom.dicom import SeriesPlan

GRID = grid_of((34, 32, 4))


def export(**plan: object) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        paths = write_series(Path(folder), ball(GRID), GRID, new_person(), SeriesPlan(**plan))  # type: ignore[arg-type]
        return [p.read_bytes() for p in paths]


WRITTEN = {
    "explicit": export(),
    "implicit": export(syntax="implicit"),
    "bare": export(syntax="implicit", preamble=False),
    "big-endian": export(syntax="big-endian"),
    "deflated": export(syntax="deflated"),
    "rle": export(syntax="rle"),
    "jpeg-ls": export(syntax="jpeg-ls"),
    "enhanced": export(enhanced=True),
}


@settings(max_examples=150)
@given(
    kind=st.sampled_from(list(WRITTEN)),
    damage=st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=12)), max_size=6),
    header_only=st.booleans(),
    cut=st.floats(0, 1) | st.none(),
)
def test_law_damaged_files_are_reported(kind, damage, header_only, cut):
    contents = [bytearray(c) for c in WRITTEN[kind]]
    first = contents[0]
    reach = min(len(first), 1800) if header_only else len(first)
    for where, what in damage:
        at = int(where * (reach - 1))
        first[at : at + len(what)] = what
    if cut is not None:
        del first[int(cut * len(first)) :]
    with tempfile.TemporaryDirectory() as folder:
        for i, content in enumerate(contents):
            Path(folder, f"{i:03d}").write_bytes(content)
        try:
            for series in list_series(Path(folder)).series:
                series.facts.to_dict()
                repr(series)
                try:
                    image = read_listed(series)
                except InputError as e:
                    assert len(str(e)) > 20
                else:
                    assert image.data.shape == series.grid.shape
        except InputError as e:
            assert len(str(e)) > 20


def test_odd_files_among_good_ones(tmp_path):
    paths = write_series(tmp_path / "Ünïcode ✓ 山田", ball(GRID), GRID, new_person(), SeriesPlan())
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / "null").symlink_to("/dev/zero")
    (tmp_path / "._IM0001").write_bytes(b"\0\5\x16\7" + bytes(200))
    (tmp_path / "Thumbs.db").write_bytes(b"x" * 500)
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + b"\xff" * 50)
    listing = list_series(tmp_path)
    (series,) = listing.series
    assert len(series.slices) == len(paths)
    assert sum(s.count for s in listing.skipped) == 3


def test_files_that_may_not_be_read_are_reported(tmp_path, monkeypatch):
    paths = write_series(tmp_path, ball(GRID), GRID, new_person(), SeriesPlan())
    from brainseg_engine.core import plain

    opened = plain.opened

    def refused(path: Path):
        if path == paths[2]:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    monkeypatch.setattr(plain, "opened", refused)
    listing = list_series(tmp_path)
    assert [s.reason for s in listing.skipped] == ["cannot be read (permission denied)"]
    assert listing.skipped[0].lost
    assert "missing-slices" in next(listing.series).flags


def test_a_file_that_goes_away_is_one_sentence(tmp_path):
    paths = write_series(tmp_path, ball(GRID), GRID, new_person(), SeriesPlan())
    (series,) = list_series(tmp_path).series
    paths[1].unlink()
    with pytest.raises(InputError, match="No such file"):
        read_listed(series)


def test_listing_and_reading_report_progress_and_can_be_cancelled(tmp_path):
    write_series(tmp_path, ball(GRID), GRID, new_person(), SeriesPlan())
    fractions = []
    (series,) = list_series(tmp_path, lambda p: fractions.append(p.fraction)).series
    assert fractions[-1] == 1
    with pytest.raises(Cancelled):
        list_series(tmp_path, cancelled=lambda: True)
    with pytest.raises(Cancelled):
        read_listed(series, cancelled=lambda: True)
    fractions.clear()
    read_listed(series, lambda p: fractions.append(p.fraction))
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_a_matrix_that_differs_among_slices_is_no_crash(tmp_path):
    """Pixels fewer than the header says: the sentence names the file."""
    from dicom_studies import edit

    paths = write_series(tmp_path, ball(GRID), GRID, new_person(), SeriesPlan())
    edit(paths[1], PixelData=np.zeros((16, 34), np.uint16).tobytes())
    (series,) = list_series(tmp_path).series
    with pytest.raises(InputError, match=paths[1].name):
        read_listed(series)
