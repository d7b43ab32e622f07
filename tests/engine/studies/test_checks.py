"""What is told before the first inference: each trouble when it is there, and none when it is not."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import affine_of, image, write_series
from helpers.small_study import make_study
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded, Study
from brainseg_engine.io import find_studies, load_study
from brainseg_engine.phantom import phantom_study
from brainseg_engine.studies.checks import check_study, require_usable
from brainseg_engine.studies.series_order import likely_order
from brainseg_engine.studies.skull import skull_on

T1, T1CE, T2, FLAIR = Modality


@pytest.fixture(scope="module")
def phantom() -> Study:
    """A made-up brain at 2 mm: none of the rules was made on it."""
    whole = phantom_study(11)
    every = (slice(None, None, 2),) * 3
    grid = Grid(whole.reference.data[every].shape, whole.reference.grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    return replace(
        whole,
        volumes={m: replace(v, data=v.data[every], grid=grid) for m, v in whole.volumes.items()},
        segmentation=None,
    )


def changed(study: Study, modality: Modality, data=None, **fields) -> Study:
    v = study.volumes[modality]
    if data is not None:
        fields |= {"data": data, "grid": fields.get("grid", Grid(data.shape, v.grid.affine))}
    return replace(study, volumes={**study.volumes, modality: replace(v, **fields)})


def codes(study: Study, *needed: Modality) -> list[str]:
    return [f.code for f in check_study(study, SeriesNeeded(needed) if needed else SeriesNeeded())]


def test_a_sound_study_has_no_finding_but_its_spacing(phantom):
    assert codes(phantom) == ["spacing"]
    fine = {m: replace(v, grid=Grid(v.grid.shape, affine_of("LPS", v.grid.shape))) for m, v in phantom.volumes.items()}
    small = replace(phantom, volumes=fine)
    assert codes(small) == []
    assert require_usable(small) == []


@pytest.mark.parametrize("cut", list(Modality))
def test_a_field_of_view_that_ends_inside_the_head(cut, phantom):
    data = phantom.volumes[cut].data.copy()
    rows = np.flatnonzero(data.any(axis=(0, 1)))
    data[:, :, : rows[len(rows) // 4]] = 0
    (found,) = [f for f in check_study(changed(phantom, cut, data)) if f.code == "coverage"]
    assert cut.title in found.message
    assert found.severity == "warning"


def test_a_background_that_is_not_zero_is_no_other_series_fault(phantom):
    raised = changed(phantom, Modality.T1, phantom.volumes[Modality.T1].data + 50)
    assert "coverage" not in codes(raised)


# ----------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("gone", list(Modality))
def test_a_modality_that_is_needed_and_missing(gone, phantom):
    part = replace(phantom, volumes={m: v for m, v in phantom.volumes.items() if m is not gone})
    (first, *_) = check_study(part)
    assert (first.code, first.severity) == ("missing", "error")
    assert f"lacks {gone.title};" in first.message
    assert "missing" not in codes(part, *part.volumes)


@pytest.mark.parametrize("gone", list(Modality))
def test_a_modality_that_the_model_can_do_without(gone, phantom):
    part = replace(phantom, volumes={m: v for m, v in phantom.volumes.items() if m is not gone})
    (found,) = [f for f in require_usable(part, SeriesNeeded(may_lack=(gone,))) if f.code == "incomplete"]
    assert found.severity == "warning"
    assert found.message.startswith(f"{gone.title} is missing: the result rests on ")
    assert ("enhancing tumour and core cannot" in found.message) == (gone is T1CE)
    fewer = replace(phantom, volumes=dict(list(part.volumes.items())[:2]))
    with pytest.raises(InputError, match="it can do without one of"):
        require_usable(fewer, SeriesNeeded(may_lack=tuple(Modality)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers(value, phantom):
    data = phantom.volumes[T2].data.astype(np.float32)
    data[3, 4, 5] = data[3, 4, 6] = value
    broken = changed(phantom, T2, data, path=Path("a_t2.nii.gz"))
    (first, *_) = check_study(broken)
    assert (first.code, first.severity) == ("not-finite", "error")
    assert first.message.startswith("T2 (a_t2.nii.gz) holds 2 voxels that are no numbers")
    with pytest.raises(InputError, match="no numbers"):
        require_usable(broken)


@pytest.mark.parametrize(("value", "words"), [(0, "only zeros"), (7, "the value 7 everywhere")])
def test_an_empty_image(value, words, phantom):
    (first, *_) = check_study(changed(phantom, FLAIR, np.full_like(phantom.reference.data, value)))
    assert (first.code, first.severity) == ("empty", "error")
    assert words in first.message and "FLAIR" in first.message


@pytest.mark.parametrize("how", ["shape", "place", "orientation"])
def test_grids_that_differ(how, phantom):
    v = phantom.volumes[FLAIR]
    if how == "shape":
        other = changed(phantom, FLAIR, v.data[:-2])
    elif how == "place":
        other = changed(phantom, FLAIR, grid=v.grid.crop((1, 0, 0), v.grid.shape))
    else:
        other = changed(phantom, FLAIR, grid=Grid(v.grid.shape, np.diag([-1, 1, 1, 1]) @ v.grid.affine))
    errors = [f for f in check_study(other) if f.severity == "error"]
    assert [f.code for f in errors] == ["grid"]
    assert "FLAIR" in errors[0].message and "Align the series first" in errors[0].message
    with pytest.raises(GeometryError, match="FLAIR"):
        require_usable(other)


# --------------------------------------------------------------------------------------------------------------- warnings


@pytest.mark.parametrize(("a", "b"), list(itertools.combinations(Modality, 2)))
def test_the_same_image_twice(a, b, phantom):
    found = check_study(changed(phantom, b, phantom.volumes[a].data.astype(np.float32)))
    (twice,) = [f for f in found if f.code == "duplicate"]
    assert twice.severity == "warning" and a.title in twice.message and b.title in twice.message
    assert "order" not in [f.code for f in found]  # it would only be guessed


@given(st.tuples(*[st.floats(0.2, 6)] * 3))
@settings(max_examples=25, deadline=None)
def test_spacing_far_from_one_millimetre(spacing):
    study = make_study(affine=np.diag([*spacing, 1.0]))
    findings = [f for f in check_study(study) if f.code == "spacing"]
    assert bool(findings) == (min(spacing) < 0.6 or max(spacing) > 1.6)
    assert all(f.severity == "warning" for f in findings)


def test_a_guessed_geometry(tmp_path):
    files = write_series(tmp_path)
    img = nib.Nifti1Image(image(0), None)
    img.header["qform_code"] = img.header["sform_code"] = 0
    files[T1].write_bytes(nib.Nifti1Image(image(0), None, img.header).to_bytes())
    study = load_study({T1: files[T1].rename(tmp_path / "Case_7_t1.nii")})
    (finding,) = [f for f in check_study(study, SeriesNeeded((T1,))) if f.code == "geometry"]
    assert finding.severity == "warning" and "Case_7_t1.nii" in finding.message and "only guessed" in finding.message


def test_what_was_decided_about_a_masks_coding_is_said(phantom):
    grid = phantom.reference.grid
    labels = np.zeros(grid.shape, np.uint8)
    study = replace(phantom, segmentation=Segmentation(labels, grid, "brats2024", note="It was decided"))
    (found,) = [f for f in check_study(study) if f.code == "mask-coding"]
    assert found.message.startswith("It was decided. If that is wrong, name the coding (--coding")
    assert "mask-coding" not in codes(replace(phantom, segmentation=Segmentation(labels, grid, "brats2024")))


# ------------------------------------------------------------------------------------------------------------------ skull


def headed(study: Study, modality: Modality, noise: float = 0.0) -> Study:
    """The brain inside 8 mm of dark skull and 8 mm of bright scalp, with noise in the air around it."""
    v = study.volumes[modality]
    brain = ndimage.binary_fill_holes(v.data > 0)
    away = ndimage.distance_transform_edt(~brain, sampling=v.grid.spacing)
    data = v.data.astype(np.float32)
    bright = np.percentile(data[brain], 50)
    data[(away > 0) & (away <= 8)] = 0.1 * bright
    data[(away > 8) & (away <= 16)] = 2.5 * bright
    if noise:
        data += np.random.default_rng(0).rayleigh(noise * bright, size=data.shape).astype(np.float32)
    return changed(study, modality, data)


@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("modality", [T1, T1CE])
def test_a_head_is_told_from_a_brain(modality, noise, phantom):
    study = headed(phantom, modality, noise)
    assert not any(skull_on(v) for v in phantom.volumes.values())
    assert skull_on(study.volumes[modality])
    (finding,) = [f for f in check_study(study) if f.code == "skull"]
    assert finding.severity == "warning" and finding.message.startswith(f"{modality.title} looks")


@pytest.mark.parametrize("change", ["normalised", "cropped", "flipped", "float"])
def test_a_stripped_brain_stays_one_however_it_is_kept(change, phantom):
    for m, v in phantom.volumes.items():
        data = v.data
        if change == "normalised":
            data = ((data - data[data > 0].mean()) / data[data > 0].std()).astype(np.float32)
        elif change == "cropped":
            data = data[ndimage.find_objects((data > 0).astype(int))[0]]
        elif change == "flipped":
            data = data[::-1, ::-1]
        else:
            data = data.astype(np.float64) * 1e-3
        assert not skull_on(changed(phantom, m, data).volumes[m]), m


# ------------------------------------------------------------------------------------------------------------------ order


def given_as(study: Study, order) -> Study:
    """The study with its series mixed up: modality m gets the image of ``order[m]``."""
    return replace(study, volumes={m: replace(study.volumes[to], modality=m) for m, to in order.items()})


PERMUTATIONS = [dict(zip(Modality, p, strict=True)) for p in itertools.permutations(Modality)]


@pytest.mark.parametrize("order", PERMUTATIONS[::4], ids=lambda o: "-".join(o.values()))
def test_series_mixed_up_are_named_right(order, phantom):
    mixed = given_as(phantom, order)
    assert likely_order(mixed.volumes) == order
    findings = [f for f in check_study(mixed) if f.code == "order"]
    assert bool(findings) == (order != {m: m for m in Modality})
    for m, to in order.items():
        if m is not to:
            assert f"the file given as {m.title} looks like {to.title}" in findings[0].message


def test_the_order_does_not_depend_on_scale_or_type(phantom):
    order = PERMUTATIONS[5]
    mixed = given_as(phantom, order)
    for scale, shift in ((0.01, 0.0), (100.0, 5.0)):
        volumes = {
            m: replace(v, data=np.where(v.data > 0, v.data * np.float32(scale) + shift, 0))
            for m, v in mixed.volumes.items()
        }
        assert likely_order(volumes) == order


def test_where_nothing_can_be_said_nothing_is_said(phantom):
    one = {T2: phantom.volumes[T1]}
    assert likely_order(one) == {T2: T2}
    tiny = given_as(make_study(shape=(6, 6, 6)), PERMUTATIONS[5])
    assert likely_order(tiny.volumes) == {m: m for m in Modality}


# ------------------------------------------------------------------------------------------------------------- real cases


@pytest.mark.slow
def test_no_false_alarm_on_real_stripped_studies_and_swaps_are_caught(real_data):
    folders = [*find_studies(real_data / "brats"), *find_studies(real_data / "formats" / "brats2023"),
               *find_studies(real_data / "formats" / "brats2015")]  # fmt: skip
    assert len(folders) == 42
    cut = 0
    swaps = itertools.cycle(itertools.combinations(Modality, 2))
    for folder, (a, b) in zip(folders, swaps, strict=False):
        study = load_study(folder)
        found = check_study(study)
        cut += [f.code for f in found] == ["coverage"]  # true of one: its FLAIR ends above the skull base
        assert found == [] or found[0].code == "coverage", folder
        swapped = check_study(given_as(study, {m: {a: b, b: a}.get(m, m) for m in Modality}))
        assert [f.code for f in swapped if f.code != "coverage"] == ["order"], (folder, a, b)
        assert f"given as {a.title} looks like {b.title}" in swapped[-1].message
    assert cut == 1


def test_the_raw_clinical_study_is_described(real_data):
    (folder,) = find_studies(real_data / "formats" / "raw_nifti")
    found = check_study(load_study(folder))
    assert [f.code for f in found] == ["grid", "spacing", "skull"]
    assert sum(len(f.message) for f in found) < 600 and not any(".nii" in f.message for f in found)
    assert "T1, T1ce, T2, FLAIR look" in found[-1].message
