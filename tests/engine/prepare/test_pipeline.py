"""Raw phantoms through the whole room."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.raw_study import raw_study
from helpers.small_study import make_study

from brainseg_engine.core.errors import Cancelled, GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded, Study
from brainseg_engine.io import save_volume
from brainseg_engine.phantom import phantom_study
from brainseg_engine.prepare import PrepareOptions, Rigid, prepare, write_transform
from brainseg_engine.prepare.rigid import carried


def target_errors(found: Rigid, true: Rigid, grid: Grid) -> np.ndarray:
    """Distances in mm at the corners and the centre of the middle half of the grid."""
    n = np.array(grid.shape) - 1
    points = grid.to_world(np.array([[i, j, k] for i in (0.25, 0.75) for j in (0.25, 0.75) for k in (0.25, 0.75)]) * n)
    return np.linalg.norm(found.apply(points) - true.apply(points), axis=1)


def test_series_are_aligned_and_the_quality_says_so(raw, prepared):
    for modality, true in raw.rigids.items():
        assert target_errors(prepared.rigids[modality], true, raw.still).max() < 1.5, modality
    assert set(prepared.quality) == set(Modality) - {Modality.T1CE}
    assert prepared.doubtful == ()
    assert prepared.warnings == () or all("mL" in w for w in prepared.warnings)  # a phantom's brain may be small


def test_the_prepared_study_is_what_a_predictor_takes(raw, prepared):
    study = prepared.study
    study.require(SeriesNeeded())
    assert study.reference.grid.spacing == pytest.approx((1, 1, 1))
    for axis in range(3):  # tight: brain on all faces
        faces = np.moveaxis(prepared.brain, axis, 0)
        assert faces[0].any()
        assert faces[-1].any()
    for volume in study.volumes.values():
        assert (volume.data[~prepared.brain] == 0).all()
        assert (volume.data[prepared.brain] > 0).mean() > 0.98
    brain = carried(raw.brain.astype(np.float32), raw.still, study.reference.grid) > 0.5
    both = (brain & prepared.brain).sum()
    assert 2 * both / (brain.sum() + prepared.brain.sum()) > 0.96


def test_an_answer_lands_on_each_series_own_grid_where_the_tumour_is_there(raw, prepared):
    truth = carried((raw.truth.labels > 0).astype(np.float32), raw.still, prepared.grid) > 0.5
    answer = Segmentation(truth.astype(np.uint8) * 2, prepared.grid)
    for modality, volume in raw.study.volumes.items():
        there = prepared.back(answer, modality)
        assert there.grid.same_as(volume.grid)
        expected = carried(
            (raw.truth.labels > 0).astype(np.float32), raw.still, volume.grid, raw.rigids[modality].inverse
        )
        a, b = there.labels > 0, expected > 0.5
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.88, modality
    assert prepared.back(answer).grid.same_as(raw.study.reference.grid)


def test_corrections_painted_on_the_reference_reach_the_1_mm_grid_and_come_back(raw, prepared):
    own = raw.study.reference.grid
    painted = (carried((raw.truth.labels > 0).astype(np.float32), raw.still, own) > 0.5).astype(np.uint8) * 2
    forward = prepared.forward(Segmentation(painted, own))
    assert forward.grid.same_as(prepared.grid)
    back = prepared.back(forward)
    a, b = painted > 0, back.labels > 0
    assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.95, (2 * (a & b).sum() / (a.sum() + b.sum()), a.sum(), b.sum())
    with pytest.raises(GeometryError, match="not on the grid"):
        prepared.forward(Segmentation(painted[:-1], own.crop((0, 0, 0), painted[:-1].shape)))
    with pytest.raises(GeometryError, match="anew"):
        prepared.back(Segmentation(painted, own))


def test_prepared_input_is_left_alone():
    study = phantom_study(3, (80, 96, 80))
    done = prepare(study)
    assert done.untouched
    assert done.study is study
    answer = study.segmentation
    np.testing.assert_array_equal(done.back(answer).labels, answer.labels)


def test_a_stripped_study_that_is_not_aligned_is_aligned_and_keeps_its_brain(raw):
    stripped = {}
    for modality, volume in raw.study.volumes.items():
        brain = carried(raw.brain.astype(np.float32), raw.still, volume.grid, raw.rigids[modality].inverse) > 0.5
        stripped[modality] = replace(volume, data=np.where(brain, volume.data, 0))
    done = prepare(Study("S", stripped), PrepareOptions(brain="deepbet", threads=1))  # which is not called
    assert done.choices["brain"] == "stripped already"
    for modality, true in raw.rigids.items():
        assert target_errors(done.rigids[modality], true, raw.still).max() < 1.5, modality


def test_steps_are_skipped_or_replaced_by_files(raw, brain_file, tmp_path):
    for modality, true in raw.rigids.items():
        write_transform(true, tmp_path / f"{modality}.tfm")
    given = {m: tmp_path / f"{m}.tfm" for m in Modality if m is not Modality.T1CE}
    done = prepare(raw.study, PrepareOptions(brain=brain_file, transforms=given))
    for modality in given:
        np.testing.assert_allclose(done.rigids[modality].matrix, raw.rigids[modality].matrix, atol=1e-6)
        assert done.choices[modality.value]["alignment"] == "as given"
        assert done.quality[modality].good
    left = prepare(raw.study, PrepareOptions(align="never", strip="never"))
    assert left.brain.all()
    assert left.rigids[Modality.T2].angle_deg == 0
    assert left.warnings  # they are not aligned, and it says so


@pytest.mark.slow
def test_a_start_by_hand_leads_the_registration(raw, brain_file):
    far = {m: raw.rigids[m] for m in (Modality.T2,)}
    done = prepare(raw.study, PrepareOptions(brain=brain_file, starts=far, threads=1))
    assert done.choices["t2"]["alignment"] == "registered from the given position"


@pytest.mark.parametrize(
    "spoilt",
    [
        "another patient",
        *(pytest.param(how, marks=pytest.mark.slow) for how in ("mirrored", "upside down", "half a head")),
    ],
)
def test_a_series_that_does_not_belong_is_said(raw, spoilt):
    volume = raw.study.volumes[Modality.T2]
    if spoilt == "another patient":
        data = raw_study(7).study.volumes[Modality.T2].data
        wrong = replace(volume, data=data)
    elif spoilt == "half a head":
        shape = (*volume.grid.shape[:2], volume.grid.shape[2] // 2)
        wrong = replace(volume, data=volume.data[:, :, : shape[2]], grid=volume.grid.crop((0, 0, 0), shape))
    else:
        wrong = replace(volume, data=volume.data[:, :, ::-1] if spoilt == "upside down" else volume.data[::-1])
    some = {Modality.T1CE: raw.study.volumes[Modality.T1CE], Modality.T2: wrong}
    done = prepare(Study("S", some), PrepareOptions(brain="rough", threads=1))
    assert done.doubtful == (Modality.T2,)
    assert any("T2" in w for w in done.warnings)


def test_what_is_no_brain_is_refused_in_a_sentence(raw, tmp_path):
    t1ce = raw.study.volumes[Modality.T1CE]
    few = replace(t1ce, data=t1ce.data[:, :, :3], grid=t1ce.grid.crop((0, 0, 0), (*t1ce.grid.shape[:2], 3)))
    flat = replace(t1ce, data=np.full(t1ce.grid.shape, 7.0))
    for volume, words in ((few, "3 slices"), (flat, "one value")):
        with pytest.raises(InputError, match=words):
            prepare(Study("S", {Modality.T1CE: volume}), PrepareOptions(brain="rough"))
    save_volume(np.ones((20, 20, 20), np.uint8), Grid((20, 20, 20), np.eye(4)), tmp_path / "m.nii.gz")
    with pytest.raises(GeometryError, match="another grid"):
        prepare(raw.study, PrepareOptions(brain=tmp_path / "m.nii.gz", align="never"))
    with pytest.raises(InputError, match="no FLAIR"):
        prepare(Study("S", {Modality.T1CE: t1ce}), PrepareOptions(reference=Modality.FLAIR))


def bottle(grid: Grid, seed: int) -> np.ndarray:
    """A cylinder of water with a little noise, brighter towards one side as a coil makes it."""
    at = (np.stack(np.indices(grid.shape), -1) - (np.array(grid.shape) - 1) / 2) * grid.spacing
    water = (np.hypot(at[..., 0], at[..., 1]) < 40) & (np.abs(at[..., 2]) < 36)
    noise = np.random.default_rng(seed).normal(0, 15, grid.shape)
    return np.abs(np.where(water, 1000 + 4 * at[..., 0], 0) + noise).astype(np.float32)


def test_a_bottle_of_water_is_said_to_be_none(raw):
    volumes = {m: replace(v, data=bottle(v.grid, i)) for i, (m, v) in enumerate(raw.study.volumes.items())}
    done = prepare(Study("Bottle", volumes), PrepareOptions(brain="rough", align="never", threads=1))
    assert any("phantom" in w for w in done.warnings), done.warnings


def test_a_head_as_small_as_an_infant_s_is_said(raw):
    small = np.diag([0.6, 0.6, 0.6, 1.0])
    t1ce = raw.study.volumes[Modality.T1CE]
    infant = replace(t1ce, grid=Grid(t1ce.grid.shape, small @ t1ce.grid.affine))
    done = prepare(Study("Infant", {Modality.T1CE: infant}), PrepareOptions(brain="rough", threads=1))
    assert any("too small for a brain" in w and "adults" in w for w in done.warnings)


@pytest.mark.slow
def test_a_series_that_no_registration_can_bring_anywhere_is_said(raw):
    t2 = raw.study.volumes[Modality.T2]
    noise = replace(t2, data=np.random.default_rng(0).normal(100, 20, t2.grid.shape).astype(np.float32))
    some = {Modality.T1CE: raw.study.volumes[Modality.T1CE], Modality.T2: noise}
    done = prepare(Study("Noise", some), PrepareOptions(brain="rough", threads=1))
    assert done.doubtful == (Modality.T2,) and any("T2 does not match T1ce" in w for w in done.warnings)


def test_a_missing_extra_is_named(raw, monkeypatch):
    monkeypatch.setattr("brainseg_engine.prepare.brain_mask.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"\[prepare\]"):
        prepare(raw.study, PrepareOptions(strip="always"))  # a doll's head is not sure to be seen as one with a skull


def test_cancelled_at_any_moment(raw, brain_file):
    asked = 0

    def after(n):
        def check():
            nonlocal asked
            asked += 1
            return asked > n

        return check

    for n in (0, 5, 60):
        asked = 0
        with pytest.raises(Cancelled):
            prepare(raw.study, PrepareOptions(brain=brain_file, threads=1), cancelled=after(n))


def test_progress_rises_and_choices_are_json(raw, prepared, brain_file):
    seen = []
    two = Study("two", {m: raw.study.volumes[m] for m in (Modality.T1CE, Modality.T2)})
    prepare(two, PrepareOptions(brain=brain_file, threads=1), progress=lambda e: seen.append(e.fraction))
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] <= 1
    text = json.dumps(dict(prepared.choices))
    assert str(brain_file.parent) not in text


@pytest.mark.slow
def test_bias_is_corrected_when_asked(raw, brain_file):
    done = prepare(raw.study, PrepareOptions(brain=brain_file, n4=True, align="never"))
    assert done.choices["n4"] is True
    assert np.isfinite(done.study.reference.data).all()


def test_small_studies_of_other_rooms_are_none_to_align():
    with pytest.raises(InputError, match="less than a brain"):
        prepare(make_study(), PrepareOptions(strip="always", brain="rough"))
