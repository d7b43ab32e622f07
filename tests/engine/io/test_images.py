"""Reading image files: right numbers in the right place, and a clear sentence for every damaged file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import SHAPE, affine_of, image, write, write_mha
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.io import read_image, read_volume, save_volume
from brainseg_engine.io.formats import read_header
from brainseg_engine.io.image import content_hash

CODES = ("RAS", "LPS", "LAS", "PIR")
DTYPES = ("u1", "i2", "u2", "i4", "f4", "f8")
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


@same_folder
@given(
    st.sampled_from(CODES), st.floats(-30, 30), st.sampled_from(DTYPES), st.sampled_from("<>"),
    st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]), st.sampled_from([".nii", ".nii.gz", ".NII.GZ"]),
)  # fmt: skip
def test_nifti_is_read_as_nibabel_reads_it(tmp_path, codes, angle, dtype, order, kind, ending):
    data = image(dtype=dtype) - np.array(50 if dtype[0] != "u" else 0, dtype=dtype)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(data.dtype)
    saved = kind(data, affine_of(codes, angle=angle), header)
    (tmp_path / f"x{ending}").unlink(missing_ok=True)
    raw = saved.to_bytes()
    path = tmp_path / f"x{ending}"
    path.write_bytes(gzip.compress(raw) if ending.lower().endswith(".gz") else raw)
    read = read_image(path)
    assert np.array_equal(read.data, data) and read.data.dtype == np.dtype(dtype)
    assert read.data.dtype.isnative and not read.data.flags.writeable
    assert np.allclose(read.affine, kind.from_bytes(raw).affine)
    assert read.note == ""


@pytest.mark.parametrize(("slope", "inter"), [(0.5, 3.0), (1.0, -7.0), (2.0, 0.0)])
def test_scaled_voxels_become_float32(tmp_path, slope, inter):
    data = image()
    path = write(tmp_path / "x.nii.gz", data)
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[112:120] = np.array([slope, inter], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(gzip.compress(raw))
    read = read_image(path)
    assert read.data.dtype == np.float32
    assert np.allclose(read.data, data * slope + inter)


@pytest.mark.parametrize("stored", [(1.0, 0.0), (0.0, 5.0), (np.nan, np.nan)])
def test_a_scale_that_is_none_keeps_the_type(tmp_path, stored):
    path = write(tmp_path / "x.nii", image())
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array(stored, "<f4").tobytes()
    path.write_bytes(raw)
    assert read_image(path).data.dtype == np.int16


@pytest.mark.parametrize("shape", [(*SHAPE, 1), (*SHAPE, 1, 1)])
def test_trailing_axes_of_length_one_are_dropped(tmp_path, shape):
    data = image()
    assert np.array_equal(read_image(write(tmp_path / "x.nii.gz", data.reshape(shape))).data, data)


@pytest.mark.parametrize("angle", [0.0, 17.0])
@pytest.mark.parametrize("codes", CODES)
def test_mha_and_nifti_of_one_array_are_one_image(tmp_path, codes, angle):
    data, affine = image(), affine_of(codes, spacing=(0.9, 1.1, 5.5), angle=angle)
    nifti = read_volume(write(tmp_path / "x.nii.gz", data, affine), Modality.T1)
    mha = read_volume(write_mha(tmp_path / "x.mha", data, affine), Modality.T1)
    assert np.array_equal(nifti.data, mha.data) and mha.data.dtype == np.int16
    assert mha.grid.same_as(nifti.grid, 1e-3) and mha.grid.orientation == codes
    assert nifti.header is not None and mha.header is None


@pytest.mark.parametrize(("unit", "mm"), [("cm", 10.0), ("um", 1e-3), ("mm", 1.0), ("?", 1.0)])
def test_the_unit_of_a_metaimage_counts(tmp_path, unit, mm):
    path = write_mha(tmp_path / "x.mha", image(), affine_of("LPS", angle=10))
    plain = read_image(path).affine
    path.write_bytes(path.read_bytes().replace(b"NDims = 3\n", b"NDims = 3\nDistanceUnits = " + unit.encode() + b"\n"))
    assert np.allclose(read_image(path).affine[:3], mm * plain[:3])
    assert np.allclose(read_header(path).affine[:3], mm * plain[:3])


@same_folder
@given(st.integers(0, 2), st.integers(1, 3), st.sampled_from([".nii.gz", ".mha"]), st.booleans())
def test_nan_around_the_head_is_background(tmp_path, axis, thick, ending, negative):
    whole = image(dtype=np.float32) - (20 if negative else 0)
    cut = whole.copy()
    outside = np.moveaxis(np.zeros(cut.shape, bool), axis, 0)
    outside[-thick:] = True
    outside = np.moveaxis(outside, 0, axis)
    cut[outside] = np.nan
    path = (write_mha if ending == ".mha" else write)(tmp_path / f"x{ending}", cut)
    read = read_image(path).data
    assert np.array_equal(read[~outside], whole[~outside]) and not read.flags.writeable
    assert (read[outside] == min(0, whole[~outside].min())).all()


def test_nan_within_the_head_stays_for_the_checks(tmp_path):
    data = image(dtype=np.float32)
    data[2, 2, 2] = np.nan
    assert np.isnan(read_image(write(tmp_path / "x.nii.gz", data)).data).sum() == 1
    data[:] = np.nan
    assert np.isnan(read_image(write(tmp_path / "x.nii.gz", data)).data).all()


def test_a_multi_member_gzip_is_read_whole(tmp_path):
    path = write(tmp_path / "x.nii", image())
    raw = path.read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(raw[:400]) + gzip.compress(raw[400:]))
    assert np.array_equal(read_image(tmp_path / "y.nii.gz").data, image())


def test_the_hash_is_of_the_image_not_of_the_file(tmp_path):
    data, affine = image(), affine_of("LPS")
    first = read_volume(write(tmp_path / "a.nii.gz", data, affine), Modality.T1).sha256
    for name, same in (
        ("b.nii", data),
        ("c.nii.gz", data.astype("f4")),
        ("d.nii", data.astype(">i4")),
        ("e.mha", data),
    ):
        save = write_mha if name.endswith(".mha") else write
        assert read_volume(save(tmp_path / name, same, affine), Modality.T2).sha256 == first, name
    other = data.copy()
    other[0, 0, 0] += 1
    moved = affine.copy()
    moved[0, 3] += 1
    others = {
        content_hash(*pair) for pair in ((other, affine), (data, moved), (data[:-1], affine), (data + 0.5, affine))
    }
    assert len(others) == 4 and first not in others


@same_folder
@given(st.sampled_from(DTYPES), st.booleans())
def test_the_hash_does_not_see_type_or_memory_order(dtype, fortran):
    data = image()
    changed = np.asarray(data.astype(dtype), order="F" if fortran else "C")
    assert content_hash(changed, np.eye(4)) == content_hash(data, np.eye(4))


@pytest.mark.parametrize("dtype", [np.uint8, np.bool_, np.float64, np.int16])
def test_volumes_written_come_back(tmp_path, dtype):
    data = (image() > 50).astype(dtype) if dtype == np.bool_ else image(dtype=dtype)
    grid = Grid(SHAPE, affine_of("PIR", angle=12))
    save_volume(data, grid, tmp_path / "deep" / "x.nii.gz")
    read = read_image(tmp_path / "deep" / "x.nii.gz")
    assert np.array_equal(read.data, data) and read.data.dtype in (np.uint8, np.float32)
    assert Grid(read.data.shape, read.affine).same_as(grid)


# ---------------------------------------------------------------------------------------------------- geometry to guess


def coded(path: Path, **fields) -> Path:
    img = nib.load(write(path, image(), affine_of("LPS", spacing=(1, 1, 2))))
    img = nib.Nifti1Image(np.asanyarray(img.dataobj), None, img.header)
    for name, value in fields.items():
        img.header[name] = value
    path.write_bytes(img.to_bytes())
    return path


def test_without_forms_the_voxel_size_is_taken_and_it_is_said(tmp_path):
    read = read_image(coded(tmp_path / "x.nii", qform_code=0, sform_code=0))
    assert Grid(SHAPE, read.affine).spacing == (1, 1, 2)
    assert "no usable sform or qform" in read.note


def test_a_singular_sform_gives_way_to_the_qform(tmp_path):
    read = read_image(coded(tmp_path / "x.nii", qform_code=1, sform_code=1, srow_x=0, srow_y=0, srow_z=0))
    assert Grid(SHAPE, read.affine).orientation == "LPS"
    assert "sform is singular" in read.note


def test_singular_forms_and_a_broken_quaternion_fall_back_to_the_voxel_size(tmp_path):
    broken = {"qform_code": 1, "quatern_b": 3.0, "sform_code": 1, "srow_x": 0, "srow_y": 0, "srow_z": 0}
    assert "orientation and place are only guessed" in read_image(coded(tmp_path / "x.nii", **broken)).note


def test_forms_that_disagree_are_reported(tmp_path):
    assert "30.0 mm apart" in read_image(coded(tmp_path / "x.nii", qform_code=1, sform_code=1, qoffset_x=33.0)).note


def test_an_image_without_voxel_size_is_refused(tmp_path):
    path = coded(tmp_path / "x.nii", qform_code=0, sform_code=0, pixdim=np.zeros(8))
    with pytest.raises(InputError, match=r"x\.nii tells no voxel size"):
        read_image(path)


# --------------------------------------------------------------------------------------------------------- damaged files


def cut(path: Path, part: float) -> Path:
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * part)])
    return path


def flipped(path: Path) -> Path:
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 0xFF  # the checksum
    path.write_bytes(raw)
    return path


def holding(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def patched(path: Path, at: int, content: bytes) -> Path:
    write(path, image())
    raw = bytearray(path.read_bytes())
    raw[at : at + len(content)] = content
    return holding(path, raw)


BROKEN = {
    "truncated gzip": (lambda d: cut(write(d / "x.nii.gz", image()), 0.5), "cut short"),
    "gzip of a truncated file": (
        lambda d: holding(d / "x.nii.gz", gzip.compress(write(d / "y.nii", image()).read_bytes()[:500])),
        r"cut short: [\d,]+ of its [\d,]+ bytes",
    ),
    "truncated header": (lambda d: cut(write(d / "x.nii", image()), 0.3), "no NIfTI image"),
    "truncated nii": (lambda d: cut(write(d / "x.nii", image()), 0.9), "cut short"),
    "wrong checksum": (lambda d: flipped(write(d / "x.nii.gz", image())), "damaged"),
    "gz that is plain": (
        lambda d: write(d / "x.nii", image()).rename(d / "x.nii.gz"), "not gzip-compressed.*Rename it",
    ),
    "gz that is text": (lambda d: holding(d / "x.nii.gz", b"<html>404</html>" * 99), "not a gzip file"),
    "gzipped text": (lambda d: holding(d / "x.nii.gz", gzip.compress(b"hello " * 99)), "no NIfTI image"),
    "text": (lambda d: holding(d / "x.nii", b"hello " * 99), "no NIfTI image"),
    "empty": (lambda d: holding(d / "x.nii.gz", b""), r"is empty \(0 bytes\)"),
    "empty mha": (lambda d: holding(d / "x.mha", b""), "no MetaImage"),
    "text mha": (lambda d: holding(d / "x.mha", b"hello " * 99), "no MetaImage"),
    "truncated mha": (lambda d: cut(write_mha(d / "x.mha", image()), 0.7), r"cut short: [\d,]+ of its [\d,]+ bytes"),
    "truncated plain mha": (lambda d: cut(plain_mha(d / "x.mha"), 0.9), "cut short"),
    "mha without voxels": (
        lambda d: holding(d / "x.mha", b"NDims = 3\nDimSize = 2 2 2\nElementDataFile = /etc/hostname\n"),
        "keeps its voxels in another file",
    ),
    "header without voxels": (lambda d: patched(d / "x.nii", 344, b"ni1\0"), "no single-file NIfTI"),
    "unknown type": (lambda d: patched(d / "x.nii", 70, b"\x07\x30"), "damaged NIfTI header"),
    "no shape": (lambda d: patched(d / "x.nii", 40, b"\0\0\0\0"), "damaged NIfTI header"),
    "negative shape": (lambda d: patched(d / "x.nii", 42, b"\xff\xff"), "damaged NIfTI header"),
    "vast shape": (lambda d: patched(d / "x.nii", 42, b"\xff\x7f" * 3), "cut short"),
    "four axes": (lambda d: write(d / "x.nii.gz", image(shape=(5, 5, 5, 4))), r"4 axes \(5×5×5×4\).*Split it"),
    "five axes": (lambda d: write(d / "x.nii.gz", image(shape=(5, 5, 5, 1, 2))), "5 axes"),
    "four axes, mha": (lambda d: write_mha4(d / "x.mha"), "4 axes"),
    "one slice": (lambda d: write(d / "x.nii.gz", image(shape=(5, 5, 1))), "single slice"),
    "complex": (lambda d: write(d / "x.nii.gz", image().astype(np.complex64)), "plain numbers are expected"),
    "colour": (
        lambda d: write(d / "x.nii.gz", np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), "plain numbers",
    ),
    "folder": (lambda d: (d / "x.nii.gz").mkdir() or d / "x.nii.gz", "is a folder, and a file is expected"),
    "absent": (lambda d: d / "x.nii.gz", "There is no file"),
    "other format": (lambda d: holding(d / "x.png", b"\x89PNG"), "no image of a known format.*nii.gz"),
}  # fmt: skip


def plain_mha(path: Path) -> Path:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(image()), str(path), useCompression=False)
    return path


def write_mha4(path: Path) -> Path:
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(image(shape=(2, 5, 5, 5)), isVector=False), str(path))
    return path


@pytest.mark.parametrize("case", BROKEN)
def test_a_damaged_file_gets_a_sentence_with_its_name(case, tmp_path):
    make, words = BROKEN[case]
    path = make(tmp_path)
    with pytest.raises(InputError, match=words) as e:
        read_volume(path, Modality.T1)
    text = str(e.value)
    assert str(path) in text and text.endswith(".") and "\n" not in text and len(text) < 400 + 2 * len(str(path))


@same_folder
@given(st.integers(0, 1), st.floats(0, 1), st.integers(0, 255), st.booleans())
def test_whatever_byte_is_broken_there_is_no_traceback(tmp_path, which, at, value, shorten):
    path = tmp_path / ("x.nii.gz", "x.nii")[which]
    write(path, image())
    raw = bytearray(path.read_bytes())
    i = min(int(at * len(raw)), len(raw) - 1)
    raw[i] = value
    path.write_bytes(raw[: i + 1] if shorten else raw)
    try:
        volume = read_volume(path, Modality.T1)
    except InputError as e:
        assert str(path) in str(e)
    else:
        assert volume.data.ndim == 3


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of this kind are POSIX")
@pytest.mark.parametrize("name", ["x.nii.gz", "x.mha"])
def test_permission_denied(name, tmp_path):
    path = (write if name.endswith("gz") else write_mha)(tmp_path / name, image())
    path.chmod(0)
    me = os.geteuid()
    try:
        if me == 0:  # nothing is forbidden to root
            os.seteuid(65534)
        with pytest.raises(InputError, match="permission denied") as e:
            read_volume(path, Modality.T1)
    finally:
        os.seteuid(me)
    assert str(path) in str(e.value)
