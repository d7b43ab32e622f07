"""Where a NIfTI header puts its voxels: as nibabel says, in mm, and only where a head can be."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import BRATS2021, SHAPE, affine_of, image, write, write_mask, write_series
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study, read_volume
from brainseg_engine.io.nifti import affine_of as our_affine

numbers = st.floats(-1, 1, width=32)
sides = st.floats(0.25, 8, width=32)
SCALES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([nib.Nifti1Header, nib.Nifti2Header]), st.sampled_from("<>"), st.integers(0, 4), st.integers(0, 4),
    st.tuples(numbers, numbers, numbers), st.tuples(*[st.floats(-200, 200, width=32)] * 3), st.tuples(sides, sides, sides),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3), st.sampled_from([-1.0, 0.0, 1.0, 2.0]),
    st.lists(st.floats(-4, 4, width=32), min_size=12, max_size=12), st.sampled_from(sorted(SCALES)),
)  # fmt: skip
def test_every_legal_header_is_read_as_nibabel_reads_it(
    kind, order, sform, qform, quaternion, offset, voxel, signs, qfac, rows, unit
):
    header = kind(endianness=order)
    header.set_data_shape(SHAPE)
    header["sform_code"], header["qform_code"], header["xyzt_units"] = sform, qform, unit
    length = max(1.0, float(np.linalg.norm(quaternion)) * 1.0001)
    header["quatern_b"], header["quatern_c"], header["quatern_d"] = (q / length for q in quaternion)
    header["qoffset_x"], header["qoffset_y"], header["qoffset_z"] = offset
    header["pixdim"][:4] = (qfac, *(s * v for s, v in zip(signs, voxel, strict=True)))
    header["srow_x"], header["srow_y"], header["srow_z"] = (rows[i : i + 4] for i in (0, 4, 8))
    as_nibabel = kind.from_fileobj(io.BytesIO(header.binaryblock + b"\0" * 4), check=True).get_best_affine()
    assume(abs(np.linalg.det(as_nibabel[:3, :3])) > 1e-3)
    ours, _ = our_affine(kind(header.binaryblock, endianness=order, check=False))
    np.testing.assert_allclose(ours, np.diag([*[SCALES[unit]] * 3, 1]) @ as_nibabel, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1.0), ("meter", 0.001), ("micron", 1000.0)])
def test_units_are_honoured_and_kept(tmp_path, unit, factor):
    affine = np.diag([factor, factor, factor, 1.0]) @ affine_of("LPS")
    made = nib.Nifti1Image(image(), affine)
    made.header.set_xyzt_units(unit)
    nib.save(made, tmp_path / "a_t1.nii.gz")
    read = read_volume(tmp_path / "a_t1.nii.gz", Modality.T1)
    np.testing.assert_allclose(read.grid.affine, affine_of("LPS"), atol=1e-4)
    assert read.grid.voxel_ml == pytest.approx(0.001, rel=1e-4)


@pytest.mark.parametrize("side", [0.001, 300.0])
def test_no_head_has_such_a_size(tmp_path, side):
    path = write(tmp_path / "a_t1.nii.gz", image(), np.diag([side, side, side, 1]))
    with pytest.raises(InputError, match="which no head is"):
        read_volume(path, Modality.T1)


def rounded(affine):
    """Turned by 1e-4, its origin to one decimal."""
    turn = np.eye(4)
    turn[0, 1], turn[1, 0] = -1e-4, 1e-4
    out = turn @ affine
    out[:3, 3] = np.round(affine[:3, 3] + 0.04, 1)
    return out


def test_rounding_leaves_one_grid(tmp_path):
    write_series(tmp_path, BRATS2021)
    write_mask(tmp_path / "Case_7_seg.nii.gz", affine=rounded(affine_of("LPS")))
    assert load_study(tmp_path).segmentation is not None


def test_a_shift_is_reported_with_its_direction_and_a_turn_with_its_corner(tmp_path):
    write_series(tmp_path, BRATS2021)
    moved = affine_of("LPS")
    moved[0, 3] += 12
    write_mask(tmp_path / "Case_7_seg.nii.gz", affine=moved)
    with pytest.raises(GeometryError, match=r"placed 12 mm right further.*save it again with their header"):
        load_study(tmp_path)
    write_mask(tmp_path / "Case_7_seg.nii.gz", affine=affine_of("LPS", angle=20))
    with pytest.raises(GeometryError, match=r"the corner \(\d, \d, \d\) lies [\d.]+ mm away"):
        load_study(tmp_path)
