import numpy as np
import pytest
from helpers.raw_study import rigid_motion
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.prepare.rigid import Rigid, carried, covered, read_transform, write_transform

motions = st.builds(
    rigid_motion,
    st.tuples(*[st.floats(-80, 80)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3).map(np.array),
    st.tuples(*[st.floats(-100, 100)] * 3).map(np.array),
)


@given(motions, st.tuples(*[st.floats(-90, 90)] * 3))
@settings(max_examples=20)
def test_a_file_gives_the_motion_back(tmp_path_factory, rigid, centre):
    path = tmp_path_factory.mktemp("t") / "a.tfm"
    write_transform(rigid, path, centre)
    np.testing.assert_allclose(read_transform(path).matrix, rigid.matrix, atol=1e-9)


def test_itk_resamples_with_the_file_what_we_carry(tmp_path):
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    source = Grid((20, 24, 18), np.array([[-1.1, 0.2, 0, 4], [0.2, 1.1, 0, -9], [0, 0, 1.5, 3], [0, 0, 0, 1.0]]))
    target = Grid(
        (16, 17, 18), np.diag([1.0, 1, 1, 1]) @ np.array(rigid_motion((5, 9, 4), (-8, -4, 6), (0, 0, 0)).matrix)
    )
    rigid = rigid_motion((9, -4, 12), (3, -2, 1), (1, 2, 3))
    data = rng.normal(size=source.shape).astype(np.float32)
    write_transform(rigid, tmp_path / "a.tfm")

    def image(array, grid):
        lps = np.diag([-1.0, -1, 1, 1]) @ grid.affine
        made = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
        made.SetSpacing(grid.spacing)
        made.SetDirection((lps[:3, :3] / grid.spacing).ravel().tolist())
        made.SetOrigin(lps[:3, 3].tolist())
        return made

    like = image(np.zeros(target.shape, np.float32), target)
    theirs = sitk.Resample(image(data, source), like, sitk.ReadTransform(str(tmp_path / "a.tfm")), sitk.sitkLinear, 0.0)
    ours = carried(data, source, target, rigid, smooth=False)
    well_inside = covered(source.crop((1, 1, 1), (18, 22, 16)), target, rigid)
    assert well_inside.sum() > 500
    np.testing.assert_allclose(ours[well_inside], sitk.GetArrayFromImage(theirs).transpose()[well_inside], atol=1e-4)


def test_what_is_beyond_the_field_of_view_is_zero_and_the_outermost_half_voxel_is_not():
    source = Grid((4, 4, 3), np.diag([1.0, 1, 5, 1]))
    target = Grid((4, 4, 25), np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -6], [0, 0, 0, 1]]))
    got = carried(np.ones(source.shape), source, target)[0, 0]
    z = np.arange(25) - 6.0
    np.testing.assert_array_equal(got, (z >= -2.5) & (z <= 12.5))


@pytest.mark.parametrize("kind", ["absent", "text", "scaled", "mirrored"])
def test_what_is_no_rigid_transform_is_refused_in_a_sentence(tmp_path, kind):
    path = tmp_path / "a.tfm"
    if kind == "text":
        path.write_text("no transform\n")
    elif kind != "absent":
        import SimpleITK as sitk

        affine = sitk.AffineTransform(3)
        affine.SetMatrix([2.0 if kind == "scaled" else -1.0, 0, 0, 0, 1, 0, 0, 0, 1])
        sitk.WriteTransform(affine, str(path))
    with pytest.raises(InputError, match="transform"):
        read_transform(path)


def test_motion_in_numbers():
    rigid = rigid_motion((0, 0, 10), (3, 4, 0), (0, 0, 0))
    assert rigid.angle_deg == pytest.approx(10)
    assert rigid.shift_mm((0, 0, 0)) == pytest.approx(5)
    np.testing.assert_allclose(rigid.inverse.apply(rigid.apply((7, 8, 9))), (7, 8, 9))
    assert Rigid.identity().angle_deg == 0
