"""What goes in comes back on its own grid."""

import itertools

import numpy as np
import pytest
import torch
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core import resample
from brainseg_engine.core.errors import GeometryError, InputError, RecipeError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.inference.preprocess import preprocess
from brainseg_engine.recipe import Preprocess, Window, load_recipe
from brainseg_engine.train.losses import region_targets

RECIPE = load_recipe("baseline", ["may_lack=[]"])


def affine_for(permutation, signs, spacing):
    affine = np.eye(4)
    for axis, (p, s, mm) in enumerate(zip(permutation, signs, spacing, strict=True)):
        affine[:3, axis] = 0
        affine[p, axis] = s * mm
    affine[:3, 3] = (-7.5, 3.25, 11)
    return affine


orientations = st.tuples(
    st.permutations(range(3)), st.tuples(*[st.sampled_from([-1, 1])] * 3), st.tuples(*[st.just(1.0)] * 3)
)


@settings(max_examples=25, deadline=None)
@given(orientations, st.integers(0, 5))
def test_labels_return_exactly_at_the_working_spacing(orientation, seed):
    study = make_study(seed, affine=affine_for(*orientation))
    image, inverse = preprocess(study, RECIPE, (4, 4, 4))
    assert all(n % 4 == 0 for n in image.shape[1:])
    truth = study.segmentation.labels
    forward = torch.from_numpy(inverse.forward_labels(truth).copy())
    targets = region_targets(forward[None], tuple(Region))[0]
    back = inverse.probabilities(targets)
    assert back.shape[1:] == study.reference.grid.shape
    np.testing.assert_array_equal(back.numpy(), region_targets(torch.from_numpy(truth)[None], tuple(Region))[0].numpy())


@pytest.mark.parametrize("spacing", [(2.0, 2.0, 2.0), (0.5, 0.5, 3.0), (1.2, 0.8, 1.0)])
def test_other_spacings_return_closely(spacing):
    shape = tuple(round(40 / s) for s in spacing)
    study = make_study(3, shape=shape, affine=affine_for((1, 0, 2), (-1, 1, -1), spacing))
    image, inverse = preprocess(study, RECIPE, (4, 4, 4))
    assert max(abs(n - 40) for n in image.shape[1:]) <= 8  # millimetres, margin and padding included
    wt = torch.from_numpy(study.segmentation.labels > 0)
    forward = torch.from_numpy(inverse.forward_labels(study.segmentation.labels) > 0)
    back = inverse.probabilities(forward[None].float())[0] > 0.5
    assert 2 * (back & wt).sum() / (back.sum() + wt.sum()) > 0.9


def test_the_network_sees_the_same_whatever_the_file_order():
    """One patient in eight orientations of the file gives one array."""
    reference = make_study(1, affine=affine_for((0, 1, 2), (1, 1, 1), (1.0, 1.0, 1.0)))
    expected, _ = preprocess(reference, RECIPE, (4, 4, 4))
    ras = np.eye(3)
    for permutation in itertools.permutations(range(3)):
        volumes = {}
        for m, v in reference.volumes.items():
            data = np.transpose(v.data, permutation)[::-1]
            affine = v.grid.affine.copy()
            affine[:3, :3] = (v.grid.affine[:3, :3] @ ras)[:, permutation]
            affine[:3, 3] = v.grid.to_world([(data.shape[0] - 1) if a == permutation[0] else 0 for a in range(3)])
            affine[:3, 0] *= -1
            volumes[m] = Volume(data, Grid(data.shape, affine), m)
        image, _ = preprocess(Study("s", volumes), RECIPE, (4, 4, 4))
        torch.testing.assert_close(image, expected)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-3, 1e4), st.integers(0, 3))
def test_intensity_scale_does_not_matter(scale, seed):
    study = make_study(seed)
    scaled = Study("s", {m: Volume(v.data * np.float32(scale), v.grid, m) for m, v in study.volumes.items()})
    torch.testing.assert_close(
        preprocess(scaled, RECIPE, (4, 4, 4))[0], preprocess(study, RECIPE, (4, 4, 4))[0], atol=1e-3, rtol=1e-3
    )


def test_brain_is_standardised_and_outside_is_zero(study):
    image, inverse = preprocess(study, RECIPE, (4, 4, 4))
    for channel in image:
        values = channel[channel != 0]
        assert abs(float(values.mean())) < 0.01
        assert abs(float(values.std()) - 1) < 0.01
    assert float(image[:, 0].abs().max()) == 0  # the margin
    assert inverse.original is study.reference.grid


def test_missing_modality_and_differing_grids_are_named(study):
    with pytest.raises(InputError, match="lacks FLAIR"):
        preprocess(Study("s", {m: v for m, v in study.volumes.items() if m != Modality.FLAIR}), RECIPE, (4, 4, 4))
    moved = study.volumes[Modality.T2]
    affine = moved.grid.affine.copy()
    affine[0, 3] += 5
    volumes = {**study.volumes, Modality.T2: Volume(moved.data, Grid(moved.grid.shape, affine), Modality.T2)}
    with pytest.raises(GeometryError, match=r"T2.*Align"):
        preprocess(Study("s", volumes), RECIPE, (4, 4, 4))


def test_all_zero_images_are_refused(study):
    volumes = {m: Volume(np.zeros_like(v.data), v.grid, m) for m, v in study.volumes.items()}
    with pytest.raises(InputError, match="zero everywhere"):
        preprocess(Study("s", volumes), RECIPE, (4, 4, 4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_voxels_that_are_no_numbers_are_refused(value, spacing, study):
    spoilt = study.volumes[Modality.T2].data.copy()
    spoilt[12, 14, 10] = value
    grid = Grid(spoilt.shape, np.diag([-spacing, -spacing, spacing, 1.0]))
    volumes = {m: Volume(spoilt if m == Modality.T2 else v.data, grid, m) for m, v in study.volumes.items()}
    with pytest.raises(InputError, match=r"T2 of the study 's'.*NaN"):
        preprocess(Study("s", volumes), RECIPE, (4, 4, 4))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.4, 3.0), st.floats(0.5, 3.0), st.integers(0, 5))
def test_labels_stay_where_they_are_at_any_spacing(spacing, working, seed):
    """Their centre of mass moves less than the voxels' coarseness makes it."""
    study = make_study(seed, shape=(40, 36, 44), affine=np.diag([spacing] * 3 + [1.0]))
    mask = (study.segmentation.labels > 0).astype(np.uint8)
    source = study.segmentation.grid
    target = resample.with_spacing(source, working)
    moved = resample.majority(mask, source, target)
    before = source.to_world(np.argwhere(mask).mean(axis=0))
    after = target.to_world(np.argwhere(moved).mean(axis=0))
    assert np.abs(after - before).max() < 0.3 * max(spacing, working)
    # a ball of few voxels cannot have its volume to the quarter: its surface is most of it
    tolerance = max(0.25, 2 / float(moved.sum()) ** 0.5)
    assert abs(moved.sum() * working**3 / (mask.sum() * spacing**3) - 1) < tolerance


@pytest.mark.parametrize("axis", range(3))
def test_halving_does_not_move_labels_by_half_a_voxel(axis):
    """Every target's centre lies half-way between two voxels there: a nearest voxel would always be the lower one."""
    source = Grid((24, 24, 24), np.eye(4))
    target = resample.with_spacing(source, 2.0)
    mask = np.zeros(source.shape, dtype=np.uint8)
    mask[5:19, 5:19, 5:19] = 1  # symmetric about the grid's centre, its faces inside the targets
    after = target.to_world(np.argwhere(resample.majority(mask, source, target)).mean(axis=0))
    assert after[axis] == pytest.approx(11.5)


def test_the_label_with_the_largest_share_wins():
    source = Grid((4, 1, 1), np.eye(4))
    target = Grid((2, 1, 1), np.array([[2, 0, 0, 0.5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    labels = np.array([3, 3, 0, 1], dtype=np.uint8).reshape(4, 1, 1)
    out = resample.majority(labels, source, target)
    assert out.dtype == np.uint8
    assert out.ravel().tolist() == [3, 0]  # shares of the second: 3 an eighth, 0 and 1 equal


def test_orientation_transforms_undo():
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((-1, 1), repeat=3):
            grid = Grid((3, 4, 5), affine_for(permutation, signs, (1.0, 2.0, 3.0)))
            transform, ras = resample.to_axes(grid)
            assert ras.orientation == "RAS"
            array = np.arange(60).reshape(3, 4, 5)
            there = resample.reorient(array, transform)
            assert there.shape == ras.shape
            np.testing.assert_array_equal(resample.reorient(there, resample.invert_orientation(transform)), array)
            where = np.argwhere(there == 37)[0]
            np.testing.assert_allclose(ras.to_world(where), grid.to_world(np.argwhere(array == 37)[0]))


def test_linear_resampling_is_exact_for_a_ramp():
    source = Grid((20, 16, 12), np.diag([1.0, 1.0, 1.0, 1.0]))
    target = resample.with_spacing(source, 0.5)
    ramp = torch.arange(20.0)[None, :, None, None].expand(1, 20, 16, 12)
    out = resample.linear(ramp, source, target)
    x = target.to_world(np.stack(np.meshgrid(*(np.arange(n) for n in target.shape), indexing="ij"), -1))[..., 0]
    np.testing.assert_allclose(out[0].numpy(), np.clip(x, 0, 19), atol=1e-5)


def recipe_with(window=None, **preprocess):
    """The baseline's, with other preprocessing; unchecked, so that any window goes with any network."""
    update = {"preprocess": Preprocess(**preprocess)}
    if window:
        update["window"] = Window(**window)
    return RECIPE.model_copy(update=update)


CROPS = (
    {"crop": "brain", "margin_voxels": 3}, {"crop": "none"}, {"crop": "centre", "centre_size": (20, 40, 16)},
    {"crop": "margins", "margins": ((3, 5), (0, 2), (4, 0))},
)  # fmt: skip
WINDOWS = (None, {"policy": "patch", "size": (32, 16, 40)}, {"policy": "slice", "size": (40, 16)}, {"policy": "slice"})
NORMALISE = ("zscore", "minmax", "percentiles", "slice_zscore", "none")


@settings(max_examples=60, deadline=None)
@given(
    orientations, st.sampled_from(CROPS), st.sampled_from(WINDOWS), st.sampled_from(["RAS", "LPS"]),
    st.sampled_from([None, 1.0]), st.sampled_from(NORMALISE),
)  # fmt: skip
def test_every_way_without_resampling_is_undone_exactly(orientation, crop, window, axes, spacing, way):
    study = make_study(4, affine=affine_for(*orientation))
    recipe = recipe_with(window, orientation=axes, spacing_mm=spacing, normalise=way, background=-9, **crop)
    image, inverse = preprocess(study, recipe, (4, 4, 2))
    if window is None or window["policy"] == "slice":
        assert all(n % d == 0 for n, d in zip(image.shape[1:], (4, 4, 2), strict=True))
    size = (window or {}).get("size", ())
    assert all(n >= s for n, s in zip(image.shape[1:], size, strict=False))
    truth = study.segmentation.labels
    forward = torch.from_numpy(inverse.forward_labels(truth))
    assert forward.shape == image.shape[1:]
    back = inverse.probabilities(torch.stack([forward == k for k in range(4)]).float()).numpy()
    kept = inverse.probabilities(torch.ones(1, *forward.shape))[0].numpy() > 0.5
    assert kept.any()
    np.testing.assert_array_equal(back[:, kept], (truth == np.arange(4)[:, None, None, None])[:, kept])
    assert not back[:, ~kept].any()
    if crop["crop"] == "none":
        assert kept.all()


@settings(max_examples=25, deadline=None)
@given(
    orientations, st.sampled_from(CROPS), st.sampled_from(["RAS", "LPS"]), st.sampled_from([None, (24, 40, 20)]),
    st.sampled_from(NORMALISE),
)  # fmt: skip
def test_every_way_with_resampling_is_undone_closely(orientation, crop, axes, resize, way):
    study = make_study(4, shape=(48, 52, 44), affine=affine_for(*orientation))
    crop = {**crop, "centre_size": (36, 40, 36)} if "centre_size" in crop else crop
    how = {"resize_to": resize} if resize else {"spacing_mm": 1.3}
    recipe = recipe_with(None, orientation=axes, normalise=way, **how, **crop)
    image, inverse = preprocess(study, recipe, (4, 4, 4))
    if resize:
        assert tuple(image.shape[1:]) == resize
    wt = study.segmentation.labels > 0
    forward = torch.from_numpy(inverse.forward_labels(study.segmentation.labels) > 0)
    back = inverse.probabilities(forward[None].float())[0].numpy() > 0.5
    kept = inverse.probabilities(torch.ones(1, *forward.shape))[0].numpy() > 0.5
    wt &= kept
    assert 2 * (back & wt).sum() / (back.sum() + wt.sum()) > 0.88
    moved = (np.argwhere(back).mean(axis=0) - np.argwhere(wt).mean(axis=0)) * np.array(study.reference.grid.spacing)
    assert np.abs(moved).max() < 0.6


def test_what_was_never_measured_in_mm_is_never_resampled():
    study = make_study()
    grid = Grid(study.reference.grid.shape, study.reference.grid.affine, calibrated=False)
    loose = Study("s", {m: Volume(v.data, grid, m) for m, v in study.volumes.items()})
    recipe = recipe_with(None, spacing_mm=2.0, crop="none")
    assert preprocess(loose, recipe, (4, 4, 4))[0].shape[1:] == grid.shape
    assert preprocess(study, recipe, (4, 4, 4))[0].shape[1:] != grid.shape


def test_the_working_axes_are_the_ones_asked_for():
    study = make_study(2, affine=affine_for((1, 0, 2), (1, -1, 1), (1.0, 1.0, 1.0)))
    ras = preprocess(study, recipe_with(None, crop="none"), (1, 1, 1))[0]
    lps = preprocess(study, recipe_with(None, crop="none", orientation="LPS"), (1, 1, 1))[0]
    torch.testing.assert_close(lps, ras.flip((1, 2)), atol=1e-6, rtol=1e-6)


def test_padding_has_the_value_of_the_background():
    study = make_study()
    window = {"policy": "patch", "size": (48, 48, 48)}
    for way, value in (("zscore", 0), ("minmax", 0), ("slice_zscore", -9)):
        image, _ = preprocess(study, recipe_with(window, normalise=way, background=-9), (16, 16, 16))
        assert image.shape[1:] == (48, 48, 48)
        assert set(image[:, 0].unique().tolist()) == {value}


def test_windows_and_margins_that_make_no_sense_are_refused():
    study = make_study()
    with pytest.raises(RecipeError, match=r"window.size is \[512, 512, 512\].*28×32×24"):
        preprocess(study, recipe_with({"policy": "patch", "size": (512, 512, 512)}), (16, 16, 16))
    with pytest.raises(RecipeError, match=r"margins cuts 20 and 20 voxels off along x.*only 28"):
        preprocess(study, recipe_with(None, crop="margins", margins=((20, 20), (0, 0), (0, 0))), (16, 16, 16))


def test_a_spoilt_voxel_outside_the_margins_is_named_where_it_counts():
    study = make_study()
    spoilt = study.volumes[Modality.T2].data.copy()
    spoilt[0, 0, 0] = np.nan
    volumes = {m: Volume(spoilt if m == Modality.T2 else v.data, v.grid, m) for m, v in study.volumes.items()}
    margins = {"crop": "margins", "margins": ((4, 4), (4, 4), (4, 4))}
    with pytest.raises(InputError, match=r"T2 of the study 's'"):
        preprocess(Study("s", volumes), recipe_with(None, normalise="minmax", **margins), (4, 4, 4))
    preprocess(Study("s", volumes), recipe_with(None, normalise="zscore", **margins), (4, 4, 4))


def padded(study, margin, stray=False):
    """The same study in a larger array, with or without one voxel in its far corner."""
    volumes = {}
    for m, v in study.volumes.items():
        data = np.pad(v.data, margin)
        data[-1, -1, -1] = 900 * stray
        affine = v.grid.affine.copy()
        affine[:3, 3] -= affine[:3, :3] @ np.full(3, margin)
        volumes[m] = Volume(data, Grid(data.shape, affine), m)
    return Study("padded", volumes)


@pytest.mark.parametrize("margin", [8, 16, 32])
@pytest.mark.parametrize("stray", [False, True])
@pytest.mark.parametrize("spacing", [1.0, 1.4])
def test_margins_and_a_stray_voxel_change_nothing(margin, stray, spacing):
    study = make_study(2)
    recipe = RECIPE.model_copy(update={"preprocess": Preprocess(spacing_mm=spacing)})
    image, _ = preprocess(study, recipe, (16, 16, 16))
    other, _ = preprocess(padded(study, margin, stray), recipe, (16, 16, 16))
    if spacing == 1.0:
        assert torch.equal(image, other)
    else:  # another phase of the working grid
        assert max(abs(a - b) for a, b in zip(image.shape, other.shape, strict=True)) <= 16


def test_two_pieces_of_like_size_are_both_brain():
    study = make_study(1)
    halves = {}
    for m, v in study.volumes.items():
        data = v.data.copy()
        middle = data.shape[0] // 2
        data[middle - 3 : middle + 3] = 0
        halves[m] = Volume(data, v.grid, m)
    image, inverse = preprocess(Study("halves", halves), RECIPE, (4, 4, 4))
    back = inverse.probabilities((image != 0).float())
    assert int(back.sum()) == sum(int(np.count_nonzero(v.data)) for v in halves.values())


def test_a_series_that_may_be_missing_is_zero():
    study = make_study(1)
    without = Study("s", {m: v for m, v in study.volumes.items() if m != Modality.T2})
    with pytest.raises(InputError, match=r"lacks T2.*needs T1, T1ce, T2, FLAIR"):
        preprocess(without, RECIPE, (4, 4, 4))
    lenient = RECIPE.model_copy(update={"may_lack": (Modality.T1, Modality.T2)})
    image, _ = preprocess(without, lenient, (4, 4, 4))
    whole, _ = preprocess(study, RECIPE, (4, 4, 4))
    assert not image[2].any()
    assert torch.equal(image[[0, 1, 3]], whole[[0, 1, 3]])
    for fewer in (Modality.FLAIR, Modality.T1CE), (Modality.FLAIR, Modality.T2):
        other = Study("s", {m: v for m, v in study.volumes.items() if m not in fewer})
        with pytest.raises(InputError, match=r"needs T1, T1ce, T2, FLAIR \(it can do without up to two of T1, T2"):
            preprocess(other, lenient, (4, 4, 4))
