"""Files that are meant to do harm: refused in words, in little time and memory, whatever is in them."""

from __future__ import annotations

import contextlib
import gzip
import os
import resource
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from helpers.on_disk import image, write, write_mha
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import BrainsegError, InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import (
    find_studies,
    load_segmentation,
    load_study,
    read_header,
    read_image,
    read_volume,
    series_of,
)

HEADER = b"""ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = 0 0 0
CenterOfRotation = 0 0 0
ElementSpacing = 1 1 1
DimSize = 4 5 6
ElementType = MET_SHORT
ElementDataFile = LOCAL
"""
VOXELS = np.arange(120, dtype="<i2")


def mha(path: Path, header: bytes = HEADER, voxels: bytes = VOXELS.tobytes()) -> Path:
    path.write_bytes(header + voxels)
    return path


def with_field(name: str, value: str) -> bytes:
    lines = [line for line in HEADER.split(b"\n") if line and not line.startswith(name.encode() + b" ")]
    return b"\n".join([*lines[:-1], f"{name} = {value}".encode(), lines[-1]]) + b"\n"


# --- MetaImage: ITK's reader dies of such headers


@pytest.mark.parametrize(("name", "value"), [
    *[("NDims", v) for v in ("1000", "2147483647", "-1", "0", "5", "1e3", "", "3 3", "9" * 5000)],
    *[("DimSize", v) for v in ("4 5", "-4 5 6", "0 5 6", "4 5 6 7", "99999 99999 99999", "a b c", "2147483648 1 1", "4 5 1e99")],
    *[("ElementSpacing", v) for v in ("1 1", "0 0 0", "nan 1 1", "1e-30 1 1", "inf 1 1", "1 1 1 1", "1e300 1 1")],
    *[("TransformMatrix", v) for v in ("1 0 0", "nan " * 9, "1 " * 900, "1e300 0 0 0 1 0 0 0 1")],
    *[("Offset", v) for v in ("0", "1e300 0 0", "0 " * 4000)],
    *[("ElementType", v) for v in ("MET_NONSENSE", "MET_STRING", "MET_FLOAT_ARRAY", "x" * 900)],
    *[("ElementNumberOfChannels", v) for v in ("-1", "0", "1000000000", "2147483648")],
    *[("HeaderSize", v) for v in ("-1", "-2", "10", "99999999999999999999")],
    *[("CompressedDataSize", v) for v in ("-1", "99999999")], ("BinaryData", "maybe"), ("CompressedData", "perhaps"),
    ("ObjectType", "Tube"), ("Comment", "x" * 5000), ("Name", "x" * 300), ("y" * 300, "1"), ("NDims = 3\nNDims", "2"),
])  # fmt: skip
def test_a_wicked_header_is_refused_before_itk_sees_it(name, value, tmp_path):
    header = with_field(name, value) if "\n" not in name else HEADER.replace(b"NDims = 3", f"{name} = {value}".encode())
    if name == "CompressedDataSize":
        header = header.replace(b"CompressedData = False", b"CompressedData = True")
    path = mha(tmp_path / "x.mha", header)
    for read in (read_image, read_header):
        with pytest.raises(InputError, match=r"x\.mha"):
            read(path)


@pytest.mark.parametrize("code", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("packed", [True, False])
def test_the_voxels_are_those_that_itk_reads(code, packed, tmp_path):
    import SimpleITK as sitk

    data = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(code)
    sitk.WriteImage(sitk.GetImageFromArray(data), str(tmp_path / "x.mha"), useCompression=packed)
    ours = read_image(tmp_path / "x.mha").data
    assert ours.dtype == data.dtype and np.array_equal(ours, data.T)


def test_big_endian_voxels(tmp_path):
    header = HEADER.replace(b"ByteOrderMSB = False", b"ByteOrderMSB = True")
    found = read_image(mha(tmp_path / "x.mha", header, VOXELS.astype(">i2").tobytes())).data
    assert np.array_equal(found.ravel(order="F"), VOXELS)


def test_a_packed_mha_holds_what_its_header_tells_and_no_more(tmp_path):
    header = HEADER.replace(b"CompressedData = False", b"CompressedData = True")
    bomb = zlib.compress(bytes(50_000_000), 9)
    with pytest.raises(InputError, match="more voxels"):
        read_image(mha(tmp_path / "x.mha", header, bomb))
    assert np.array_equal(
        read_image(mha(tmp_path / "x.mha", header, zlib.compress(VOXELS.tobytes()))).data.ravel("F"), VOXELS
    )


# --- NIfTI


def nifti(folder: Path, change, name: str = "x.nii.gz") -> Path:
    raw = bytearray(write(folder / "plain.nii", image()).read_bytes())
    change(raw)
    path = folder / name
    path.write_bytes(gzip.compress(bytes(raw)) if name.endswith("gz") else bytes(raw))
    return path


def put(at: int, form: str, *values):
    return lambda raw: raw.__setitem__(slice(at, at + struct.calcsize(form)), struct.pack(form, *values))


WICKED = {
    "offset nan": put(108, "<f", float("nan")), "offset inf": put(108, "<f", float("inf")),
    "offset below": put(108, "<f", -1e30), "offset far": put(108, "<f", 1e30),
    "no dims": put(40, "<h", 0), "2D": put(40, "<hhhh", 2, 7, 6, 1), "1D": put(40, "<hh", 1, 7),
    "zero sides": put(42, "<hhh", 0, 0, 0), "negative sides": put(42, "<hhh", -7, -6, -5), "8 axes": put(40, "<h", 8),
    "vast": put(42, "<hhh", 32767, 32767, 32767), "freesurfer": put(42, "<hhh", -1, 1, 1),
    "srow": put(280, "<12f", *[3e38] * 12), "srow nan": put(280, "<12f", *[float("nan")] * 12),
    "pixdim": put(76, "<8f", *[3e38] * 8), "pixdim 0": put(76, "<8f", *[0.0] * 8),
    "slope": put(112, "<ff", 3e38, 3e38), "quaternion": put(256, "<6f", *[9.0] * 6), "type": put(70, "<hh", 1, 1),
    "float128": put(70, "<hh", 1536, 128),
}  # fmt: skip


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
@pytest.mark.parametrize("case", WICKED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_wicked_nifti_header_is_read_or_refused_in_words(case, name, tmp_path):
    path = nifti(tmp_path, WICKED[case], name)
    for read in (read_image, read_header, lambda p: read_volume(p, Modality.T1), load_segmentation):
        try:
            read(path)
        except BrainsegError as e:
            assert name in str(e) and len(str(e)) < 600


def test_nifti_2_with_sides_beyond_all_bounds(tmp_path):
    import nibabel as nib

    nib.Nifti2Image(image(), np.eye(4)).to_filename(tmp_path / "y.nii")
    raw = bytearray((tmp_path / "y.nii").read_bytes())
    for sides in ([2**62] * 3, [2**63 - 1, 1, 1], [-(2**63)] * 3):
        raw[24:48] = struct.pack("<3q", *sides)
        for name in ("x.nii", "x.nii.gz"):
            (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
            for read in (read_image, read_header):
                with pytest.raises(InputError):
                    read(tmp_path / name)


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=12))
@pytest.mark.filterwarnings("ignore")
def test_no_byte_of_a_header_makes_a_traceback(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("fuzz")

    def change(raw):
        for at, value in changes:
            raw[at] = value

    for name in ("x.nii", "x.nii.gz"):
        path = nifti(folder, change, name)
        for read in (read_image, read_header):
            with contextlib.suppress(BrainsegError):
                read(path)


@settings(max_examples=100)
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40))
def test_no_byte_of_a_metaimage_makes_a_traceback(tmp_path_factory, at, patch):
    folder = tmp_path_factory.mktemp("fuzz")
    raw = bytearray(HEADER + VOXELS.tobytes())
    at %= len(raw)
    raw[at : at + len(patch)] = patch
    (folder / "x.mha").write_bytes(raw)
    for read in (read_image, read_header):
        with contextlib.suppress(BrainsegError):
            read(folder / "x.mha")


# --- bombs and special files


def within(megabytes: int, code: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run in a process that may have that much memory."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes * 2**20, megabytes * 2**20))

    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


READ = """
import sys
from pathlib import Path
from brainseg_engine.core.errors import InputError
from brainseg_engine.io import read_image, load_study
for name in sys.argv[1:]:
    try:
        (load_study if Path(name).is_dir() else read_image)(Path(name))
    except InputError as e:
        print("refused", e)
"""


def gzip_bomb(path: Path, header: bytes, gigabytes: float) -> Path:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with path.open("wb") as f:
        f.write(packer.compress(header))
        for _ in range(int(gigabytes * 64)):
            f.write(packer.compress(bytes(2**24)))
        f.write(packer.flush())
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited by Linux")
@pytest.mark.slow
def test_bombs_need_little_memory(tmp_path):
    from PIL import Image as Picture

    raw = bytearray(write(tmp_path / "plain.nii", image()).read_bytes())
    behind = gzip_bomb(tmp_path / "behind.nii.gz", bytes(raw), 2.5)  # far more than the header tells
    put(42, "<hhh", 2000, 2000, 1000)(raw)
    promised = gzip_bomb(tmp_path / "told.nii.gz", bytes(raw[:352]), 0.5)  # a header that tells 8 GB
    header = HEADER.replace(b"4 5 6", b"2000 2000 1000").replace(b"CompressedData = False", b"CompressedData = True")
    packed = mha(tmp_path / "x.mha", header, zlib.compress(bytes(10**7)))
    (tmp_path / "p").mkdir()
    for n in (1, 2):
        Picture.new("RGB", (12_000, 12_000)).save(tmp_path / "p" / f"p_{n}.tif", compression="tiff_lzw")
    done = within(1500, READ, behind, promised, packed, tmp_path / "p")
    assert done.stdout.count("refused") == 4, done.stdout + done.stderr[-2000:]


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices are POSIX'")
@pytest.mark.timeout(60)
def test_pipes_and_devices_are_no_images(tmp_path):
    for n, ending in enumerate((".nii", ".nii.gz", ".mha")):
        pipe, zero = tmp_path / f"pipe{n}{ending}", tmp_path / f"zero{n}{ending}"
        os.mkfifo(pipe)
        zero.symlink_to("/dev/zero")
        for path in (pipe, zero):
            for read in (read_image, read_header, load_segmentation):
                with pytest.raises(InputError, match="not an ordinary file"):
                    read(path)
    folder = tmp_path / "case"
    folder.mkdir()
    os.mkfifo(folder / "case_1.tif")
    (folder / "case_2.tif").symlink_to("/dev/zero")
    with pytest.raises(InputError):
        load_study(folder)
    os.mkfifo(tmp_path / "case_seg.json")
    (tmp_path / "imagesTr").mkdir()
    os.mkfifo(tmp_path / "dataset.json")
    find_studies(tmp_path)


@pytest.mark.parametrize(
    "damage", ["[" * 100_000, '{"modality": ' * 20_000, '{"modality": {"' + "9" * 5000 + '": "T1"}}', "\0"]
)
def test_a_wicked_description_is_one_bad_case(damage, tmp_path):
    (tmp_path / "imagesTr").mkdir()
    write(tmp_path / "imagesTr" / "a.nii.gz", image(shape=(4, 4, 4, 4)))
    (tmp_path / "dataset.json").write_text(damage)
    for case in find_studies(tmp_path):
        for read in (series_of, load_study):
            with pytest.raises(BrainsegError):
                read(case)


@pytest.mark.parametrize(
    "damage", ["[" * 100_000, '{"coding": ' * 9000, '{"coding": ' + "9" * 5000 + "}", "NaN", '{"coding": []}']
)
def test_a_wicked_sidecar_is_one_bad_mask(damage, tmp_path):
    write(tmp_path / "a_seg.nii.gz", np.zeros((4, 4, 4), np.uint8))
    (tmp_path / "a_seg.json").write_text(damage)
    with pytest.raises(BrainsegError):
        load_segmentation(tmp_path / "a_seg.nii.gz")
    assert not load_segmentation(tmp_path / "a_seg.nii.gz", coding="brats2021").labels.any()


def test_names_that_are_too_long_are_said(tmp_path):
    for path in (tmp_path / ("x" * 300 + ".nii.gz"), tmp_path / ("x" * 300)):
        for read in (load_study, series_of, load_segmentation):
            with pytest.raises(InputError):
                read(path)


def test_itk_still_places_the_image(tmp_path):
    affine = np.diag([1.5, 2.0, 3.0, 1.0])
    found = read_image(write_mha(tmp_path / "x.mha", image(), affine))
    assert np.allclose(found.affine, affine) and np.array_equal(found.data, image())
