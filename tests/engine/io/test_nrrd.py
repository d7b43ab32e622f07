"""NRRD and MetaImage with a file of voxels beside it: right numbers in the right place; one sentence for what is damaged."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk
from dicom_studies import grid_of
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.io import read_header, read_image

LPS = np.diag([-1.0, -1.0, 1.0])


def write(path: Path, data: np.ndarray, grid, compressed: bool = True) -> Path:
    image = sitk.GetImageFromArray(data.transpose())
    affine = LPS @ grid.affine[:3, :3]
    image.SetSpacing(grid.spacing)
    image.SetDirection((affine / grid.spacing).ravel().tolist())
    image.SetOrigin((LPS @ grid.affine[:3, 3]).tolist())
    sitk.WriteImage(image, str(path), useCompression=compressed)
    return path


@settings(max_examples=30)
@given(
    ending=st.sampled_from([".nrrd", ".mhd", ".NRRD"]),
    degrees=st.tuples(*[st.floats(-40, 40)] * 3),
    codes=st.sampled_from(["LPS", "RAS", "ASL", "SPR"]),
    dtype=st.sampled_from(["i1", "u1", "i2", "u2", "i4", "u4", "f4", "f8"]),
    compressed=st.booleans(),
)
def test_law_voxels_in_place_and_exact(ending, degrees, codes, dtype, compressed):
    grid = grid_of((5, 7, 4), (0.9, 1.1, 5.5), degrees, codes)
    data = np.random.default_rng(0).integers(0, 100, grid.shape).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder, "x" + ending.lower()), data, grid, compressed)
        path = path.rename(path.with_name("x" + ending))
        image, header = read_image(path), read_header(path)
    np.testing.assert_array_equal(image.data, data)
    assert image.data.dtype == np.dtype(dtype)
    assert image.grid.same_as(grid, 1e-3)
    assert header.grid.same_as(grid, 1e-3) and header.channels == 1


def nrrd(path: Path, header: str, voxels: bytes = bytes(48)) -> Path:
    path.write_bytes(f"NRRD0004\n{header}\n\n".encode() + voxels)
    return path


PLAIN = "type: short\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: raw"


@pytest.mark.parametrize("space", ["RAS", "right-anterior-superior", "LPS", "left-anterior-superior", "LAS"])
def test_spaces(tmp_path, space):
    placed = "\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)"
    image = read_image(nrrd(tmp_path / "x.nrrd", f"{PLAIN}\nspace: {space}{placed}"))
    signs = {"R": (1, 1, 1), "r": (1, 1, 1), "LP": (-1, -1, 1), "LA": (-1, 1, 1), "le": (-1, 1, 1)}
    sign = next(v for k, v in signs.items() if space.startswith(k))
    np.testing.assert_allclose(image.affine[:3, 3], np.array(sign) * (5, 6, 7))
    np.testing.assert_allclose(np.diag(image.affine)[:3], np.array(sign) * (1, 2, 3))
    assert image.note == ""


def test_a_file_without_directions_says_what_is_guessed(tmp_path):
    image = read_image(nrrd(tmp_path / "x.nrrd", f"{PLAIN}\nspacings: 1 2 3"))
    assert "only guessed" in image.note and image.calibrated
    assert not read_image(nrrd(tmp_path / "y.nrrd", PLAIN)).calibrated


BROKEN = {
    "text": (lambda d: d.write_bytes(b"hello " * 99), "no NRRD image"),
    "empty": (lambda d: d.write_bytes(b""), "no NRRD image"),
    "cut": (lambda d: nrrd(d, PLAIN, bytes(20)), "holds 42% of its voxels"),
    "detached": (lambda d: nrrd(d, f"{PLAIN}\ndata file: /etc/passwd"), "another file"),
    "skipping": (lambda d: nrrd(d, f"{PLAIN}\nbyte skip: -1"), "skips a part"),
    "vast": (lambda d: nrrd(d, PLAIN.replace("4 3 2", "99999 99999 99999")), "voxels|GiB|large"),
    "negative": (lambda d: nrrd(d, PLAIN.replace("4 3 2", "-4 3 2")), "axes in space|damaged"),
    "block": (lambda d: nrrd(d, PLAIN.replace("short", "block")), "damaged|of a kind"),
    "bzip2": (lambda d: nrrd(d, PLAIN.replace("raw", "bzip2")), "of a kind"),
    "no gzip": (lambda d: nrrd(d, PLAIN.replace("raw", "gzip")), "cannot be decompressed"),
    "flat": (lambda d: nrrd(d, PLAIN + "\nspace: LPS\nspace directions: (1,0,0) (1,0,0) (0,0,3)"), "damaged"),
    "two axes": (lambda d: nrrd(d, "type: short\ndimension: 2\nsizes: 4 3\nendian: little\nencoding: raw"), "2 axes in space"),
    "colour": (
        lambda d: nrrd(
            d, "type: uchar\ndimension: 4\nspace: LPS\nsizes: 3 4 3 2\nspace directions: none (1,0,0) (0,1,0) (0,0,1)\n"
            "kinds: vector domain domain domain\nencoding: raw", bytes(72),
        ), "several numbers per voxel",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_damaged_is_one_sentence(tmp_path, kind):
    make, words = BROKEN[kind]
    make(tmp_path / "x.nrrd")
    with pytest.raises(InputError, match=words):
        read_image(tmp_path / "x.nrrd")


@given(st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=5))
def test_law_damage_is_reported(damage):
    placed = "\nspace: LPS\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (5,6,7)"
    with tempfile.TemporaryDirectory() as folder:
        path = nrrd(Path(folder, "x.nrrd"), PLAIN + placed)
        content = bytearray(path.read_bytes())
        for at, what in damage:
            content[at : at + len(what)] = what
        path.write_bytes(content)
        try:
            read_image(path)
        except InputError as e:
            assert len(str(e)) > 20


@pytest.mark.parametrize("name", ["../x.raw", "/etc/passwd", "LIST", "x%03d.raw 1 9 1", "sub/x.raw"])
def test_voxels_of_a_header_lie_beside_it(tmp_path, name):
    path = write(tmp_path / "x.mhd", np.zeros((4, 3, 2), np.int16), grid_of((4, 3, 2)), compressed=False)
    path.write_text(path.read_text().replace("x.raw", name))
    with pytest.raises(InputError, match="several files, or in another folder"):
        read_image(path)


def test_voxels_that_are_absent_or_cut(tmp_path):
    path = write(tmp_path / "x.mhd", np.zeros((4, 3, 2), np.int16), grid_of((4, 3, 2)), compressed=False)
    raw = tmp_path / "x.raw"
    raw.write_bytes(bytes(20))
    with pytest.raises(InputError, match="28 of its 48 bytes"):
        read_image(path)
    raw.unlink()
    with pytest.raises(InputError, match=r"no file or folder .*x\.raw"):
        read_image(path)


def test_what_simpleitk_carries_over_from_other_formats_is_no_damage(tmp_path):
    """Fields like ``dim[0]`` of a NIfTI and ``0008|0060`` of DICOM, which it writes into the header."""
    data = np.random.default_rng(0).integers(0, 100, (7, 6, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.5, 2.0, 1.0])), tmp_path / "a.nii.gz")
    read = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    read.SetMetaData("0008|0060", "MR")
    sitk.WriteImage(read, str(tmp_path / "a.mha"))
    assert b"dim[0]" in (tmp_path / "a.mha").read_bytes()
    found = read_image(tmp_path / "a.mha")
    assert np.array_equal(found.data, data) and np.allclose(found.affine, np.diag([1.0, 1.5, 2.0, 1.0]))


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("m", 1e-3), ("cm", 0.1), ("um", 1e3), ("microns", 1e3)])
def test_units_of_space_are_honoured(tmp_path, unit, factor):
    data = np.random.default_rng(0).integers(0, 100, (7, 6, 5)).astype(np.int16)
    told = {"space": "RAS", "space directions": np.diag([1.0, 1.5, 2.0]) * factor, "space origin": np.array([3.0, 4, 5]) * factor,
            "space units": [unit] * 3}  # fmt: skip
    pynrrd.write(str(tmp_path / "a.nrrd"), data, told)
    affine = read_image(tmp_path / "a.nrrd").affine
    assert np.allclose(affine, [[1, 0, 0, 3], [0, 1.5, 0, 4], [0, 0, 2, 5], [0, 0, 0, 1]])
