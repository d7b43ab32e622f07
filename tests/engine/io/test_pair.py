"""Pairs of header and voxels, and FreeSurfer's volumes: read as nibabel reads them, at every door; damage is one sentence."""

from __future__ import annotations

import gzip
import tempfile
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import BRATS2021, affine_of, image, write_mask, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import find_studies, load_segmentation, load_study, read_header, read_image, save_segmentation
from brainseg_engine.io.listing import list_series
from brainseg_engine.studies.checks import check_study

PAIRS = (nib.Nifti1Pair, nib.Nifti2Pair, nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.Spm2AnalyzeImage)


def write_pair(path: Path, data, affine=None, kind=nib.Nifti1Pair) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(kind(data, affine_of("LPS") if affine is None else affine), path)
    return path


def write_mgh(path: Path, data, affine=None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.MGHImage(data, affine_of("LPS") if affine is None else affine), path)
    return path


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(PAIRS),
    codes=st.sampled_from(["LPS", "RAS", "ASL", "LAS"]),
    angle=st.floats(-30, 30),
    dtype=st.sampled_from(["u1", "i2", "i4", "f4"]),
    ending=st.sampled_from([".hdr", ".img", ".img.gz"]),
)
def test_law_a_pair_is_read_as_nibabel_reads_it(kind, codes, angle, dtype, ending):
    """Also SPM's own ``.mat``. Plain Analyze holds no directions: what is guessed is said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{ending}"
        affine = affine_of(codes, spacing=(0.9, 1.1, 3.0), angle=angle)
        plain = kind is nib.AnalyzeImage
        write_pair(path, image(0).astype(dtype), None if plain else affine, kind)
        expected = nib.load(path)
        found, header = read_image(path), read_header(path)
        np.testing.assert_allclose(found.data, np.asarray(expected.dataobj), rtol=1e-6)
        np.testing.assert_allclose(found.affine, expected.affine, atol=1e-4)
        np.testing.assert_allclose(header.affine, expected.affine, atol=1e-4)
        assert header.channels == 1 and header.shape == found.data.shape
        assert ("no orientation" in found.note) == plain == ("no orientation" in header.note)


@settings(max_examples=25, deadline=None)
@given(
    codes=st.sampled_from(["LPS", "RAS", "ASL", "LIA"]),
    angle=st.floats(-30, 30),
    dtype=st.sampled_from(["u1", "i2", "i4", "f4"]),
    ending=st.sampled_from([".mgz", ".mgh"]),
)
def test_law_freesurfers_volumes(codes, angle, dtype, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = write_mgh(Path(folder) / f"x{ending}", image(0).astype(dtype), affine_of(codes, angle=angle))
        raw = path.read_bytes()
        expected = nib.MGHImage.from_bytes(gzip.decompress(raw) if ending == ".mgz" else raw)
        found, header = read_image(path), read_header(path)
        np.testing.assert_array_equal(found.data, np.asarray(expected.dataobj))
        for affine in (found.affine, header.affine):
            np.testing.assert_allclose(affine, expected.affine, atol=1e-4)
        assert found.data.dtype == np.dtype(dtype) and found.note == ""


def test_a_volume_without_directions_says_that_they_are_guessed(tmp_path):
    path = write_mgh(tmp_path / "x.mgh", image(0))
    raw = bytearray(path.read_bytes())
    raw[28:30] = b"\0\0"
    path.write_bytes(raw)
    assert "coronal" in read_image(path).note
    np.testing.assert_allclose(read_image(path).affine, nib.MGHImage.from_bytes(bytes(raw)).affine)


def study_of(folder: Path, ending: str, id_: str = "Case_7") -> Path:
    """A study whose images and mask are all of that kind."""
    for seed, (m, name) in enumerate([*BRATS2021.items(), (None, "_seg")]):
        data = image(seed) if m else np.zeros((7, 6, 5), np.uint8)
        if not m:
            data[1, 1:3, 2], data[2, 2, 2] = (1, 2), 4
        (write_mgh if ending == ".mgz" else write_pair)(folder / f"{id_}{name}{ending}", data)
    return folder


@pytest.mark.parametrize("ending", [".img", ".img.gz", ".mgz"])
def test_a_study_of_them_is_one_at_every_door(ending, tmp_path):
    folder = study_of(tmp_path / "data" / "Case_7", ending)
    assert find_studies(tmp_path / "data") == [folder]
    study = load_study(folder)
    assert (
        study.id == "Case_7" and set(study.volumes) == set(Modality) and set(np.unique(study.segmentation.labels)) > {0}
    )
    result = CliRunner().invoke(app, ["inspect", str(folder)])
    assert result.exit_code == 0 and "Not used" not in result.output
    assert CliRunner().invoke(app, ["data", "check", str(tmp_path / "data"), "--full"]).exit_code == 0
    assert len(list(list_series(folder).series)) == 4
    picked = [p for p in folder.iterdir() if "seg" not in p.name]
    assert set(load_study(picked).volumes) == set(Modality)  # header and voxels picked together
    assert load_segmentation(folder / f"Case_7_seg{ending}").coding == "brats2021"
    save_segmentation(study.segmentation, tmp_path / "m.nii.gz", reference=study.reference)
    np.testing.assert_allclose(nib.load(tmp_path / "m.nii.gz").affine, study.reference.grid.affine, atol=1e-4)


def test_an_archive_keeps_both_files_of_an_image(tmp_path):
    folder = study_of(tmp_path / "a", ".img")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        for path in folder.iterdir():
            out.write(path, path.name)
    with list_series(tmp_path / "a.zip") as listing:
        assert sum(s.usable for s in listing.series) == 4


def test_a_guessed_orientation_is_reported(tmp_path):
    for seed, name in enumerate(BRATS2021.values()):
        write_pair(tmp_path / f"Case_7{name}.hdr", image(seed), kind=nib.AnalyzeImage)
    findings = check_study(load_study(tmp_path))
    assert sum(f.code == "geometry" and "no orientation" in f.message for f in findings) == 4


def test_half_a_pair_is_said(tmp_path):
    path = write_pair(tmp_path / "x_t1.hdr", image())
    voxels = path.with_suffix(".img").rename(tmp_path / "y.img")
    with pytest.raises(InputError, match=r"its voxels \(.img\) are not beside it"):
        read_image(path)
    with pytest.raises(InputError, match=r"its header \(.hdr\) is not beside it"):
        read_image(voxels)
    write_series(tmp_path)
    path.unlink()
    assert "its header, named .hdr, is not beside it" in CliRunner().invoke(app, ["inspect", str(tmp_path)]).output
    with pytest.raises(InputError, match="There is no file"):
        read_image(tmp_path / "absent.img")


def test_a_whole_image_under_a_headers_name_is_said(tmp_path):
    write_mask(tmp_path / "x.nii")
    (tmp_path / "x.nii").rename(tmp_path / "x.hdr")
    (tmp_path / "x.img").write_bytes(b"0")
    with pytest.raises(InputError, match=r"Rename it to end in \.nii"):
        read_image(tmp_path / "x.hdr")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["analyze", "nifti", "mgh", "mgz", "mat"]),
    at=st.integers(0, 600),
    patch=st.binary(min_size=1, max_size=8),
    cut=st.booleans(),
)
def test_law_damage_is_one_sentence(tmp_path, kind, at, patch, cut):
    path = tmp_path / ("x.mgz" if kind == "mgz" else "x.mgh" if kind == "mgh" else "x.hdr")
    if kind in ("mgh", "mgz"):
        write_mgh(path, image())
    else:
        write_pair(path, image(), kind=nib.Nifti1Pair if kind == "nifti" else nib.Spm99AnalyzeImage)
    target = path.with_suffix(".mat") if kind == "mat" else path
    raw = target.read_bytes()
    raw = gzip.decompress(raw) if kind == "mgz" else raw
    raw = raw[:at] if cut else raw[:at] + patch + raw[at + len(patch) :]
    target.write_bytes(gzip.compress(raw) if kind == "mgz" else raw)
    for read in (read_image, read_header):
        try:
            read(path)
        except BrainsegError as e:
            assert str(tmp_path) in str(e)
    (tmp_path / "x.mat").unlink(missing_ok=True)
