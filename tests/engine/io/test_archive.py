"""Archives: unpacked for the user alone and removed; what is not to be trusted is refused and leaves nothing behind."""

from __future__ import annotations

import gc
import os
import stat
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_studies import ball, grid_of, new_person, write_series

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.io import archive
from brainseg_engine.io.listing import list_series, read_listed
from brainseg_engine.phantom.dicom import SeriesPlan

GRID = grid_of((34, 32, 6))


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where archives are unpacked in these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """An archive with one series, in a folder named after the patient, and a text."""
    write_series(tmp_path / "src" / "Doe^Jane" / "S1", ball(GRID), GRID, new_person(), SeriesPlan())
    (tmp_path / "src" / "README.TXT").write_text("viewer")
    return zipped(tmp_path / "export.zip", tmp_path / "src")


def zipped(target: Path, source: Path) -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        for path in sorted(source.rglob("*")):
            z.write(path, path.relative_to(source))
    return target


def test_an_export_is_read_and_removed(export, temporary):
    with list_series(export) as listing:
        (series,) = listing.series
        np.testing.assert_array_equal(read_listed(series).data, ball(GRID))
        (folder,) = temporary.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        files = [p for p in folder.rglob("*") if p.is_file()]
        assert files
        assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
        assert not any("Doe" in str(p.relative_to(folder)) for p in folder.rglob("*"))
    assert list(temporary.iterdir()) == []


def test_files_live_as_long_as_a_series_does(export, temporary):
    series = next(list_series(export).series)
    gc.collect()
    read_listed(series)
    del series
    gc.collect()
    assert list(temporary.iterdir()) == []


def test_what_a_kill_left_is_removed_by_the_next(export, temporary):
    with list_series(export):
        (folder,) = temporary.iterdir()
        dead = temporary / folder.name.replace(f"-{os.getpid()}-", "-999999999-")
        dead.mkdir()
        (dead / "000001").write_bytes(b"x")
        with list_series(export):
            assert not dead.exists()


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil", "\\\\host\\evil"])
def test_names_that_lead_out_are_refused(tmp_path, temporary, name):
    target = tmp_path / "bad.zip"
    with zipfile.ZipFile(target, "w") as z:
        z.writestr("good", b"x")
        info = zipfile.ZipInfo("placeholder")
        info.filename = name
        z.writestr(info, b"evil")
    with pytest.raises(InputError, match="lead out of it"):
        list_series(target)
    assert list(temporary.iterdir()) == []
    assert not list(tmp_path.rglob("evil"))


def test_a_bomb_is_refused_before_it_grows(tmp_path, temporary):
    target = tmp_path / "bomb.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z, z.open("x", "w") as f:
        for _ in range(80):
            f.write(bytes(1 << 20))
    with pytest.raises(InputError, match="not to be believed"):
        list_series(target)
    assert list(temporary.iterdir()) == []


def test_a_file_that_lies_about_its_size_is_stopped(tmp_path, temporary):
    target = tmp_path / "liar.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("x", bytes(5 << 20))
    content = bytearray(target.read_bytes())
    for signature, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        where = content.find(signature) + at
        content[where : where + 4] = struct.pack("<I", 1000)
    target.write_bytes(content)
    with pytest.raises(InputError):
        list_series(target)
    assert list(temporary.iterdir()) == []


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MOST_FILES", 3)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as z:
        for i in range(4):
            z.writestr(str(i), b"x")
    with pytest.raises(InputError, match="in 4 files"):
        list_series(tmp_path / "many.zip")


def test_links_and_inner_archives_stay_packed(tmp_path, export):
    with zipfile.ZipFile(export, "a") as z:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        z.writestr(link, "/etc/passwd")
        z.writestr("inner.zip", b"PK")
    with list_series(export) as listing:
        reasons = {s.reason for s in listing.skipped}
    assert {"is a link or a device, no file", "is an archive inside the archive", "is no DICOM file"} <= reasons


def test_a_locked_archive_says_so(tmp_path):
    target = tmp_path / "locked.zip"
    with zipfile.ZipFile(target, "w") as z:
        z.writestr("x", b"secret")
    content = bytearray(target.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    target.write_bytes(content)
    with pytest.raises(InputError, match="password"):
        list_series(target)


@pytest.mark.parametrize("keep", [10, 1000, -30])
def test_a_damaged_archive_is_one_sentence(export, temporary, keep):
    export.write_bytes(export.read_bytes()[:keep])
    with pytest.raises(InputError, match="damaged"):
        list_series(export)
    assert list(temporary.iterdir()) == []


def test_one_damaged_file_of_an_archive_is_left_out(tmp_path, export):
    with zipfile.ZipFile(export) as z:
        offset = z.infolist()[-2].header_offset
    content = bytearray(export.read_bytes())
    content[offset + 60 : offset + 160] = bytes(100)
    export.write_bytes(content)
    with list_series(export) as listing:
        assert len(next(listing.series).slices) < 6 or any("damaged" in s.reason for s in listing.skipped)


def test_cancelling_leaves_nothing(export, temporary):
    with pytest.raises(Cancelled):
        list_series(export, cancelled=lambda: True)
    assert list(temporary.iterdir()) == []


def test_an_archive_without_images_says_so(tmp_path, temporary):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as z:
        z.writestr("a.txt", b"x" * 300)
        z.writestr("b.txt", b"x" * 300)
    with pytest.raises(InputError, match=r"texts\.zip holds no DICOM image"):
        list_series(tmp_path / "texts.zip")
    assert list(temporary.iterdir()) == []
