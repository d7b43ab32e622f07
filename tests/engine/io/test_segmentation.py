"""Masks: written and read again they are the same, in every coding and orientation; wrong ones are refused in words."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.on_disk import BRATS2021, BRATS2023, SHAPE, affine_of, image, write, write_mask, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from brainseg_engine.core.errors import CodingError, GeometryError, InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import CODINGS, Label, Region, coding
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import coding_of, load_segmentation, load_study, read_volume, save_segmentation

same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
LABELS = hnp.arrays(np.uint8, SHAPE, elements=st.sampled_from([int(v) for v in Label]))


def segmentation(coding_name="brats2023", affine=None, **kwargs) -> Segmentation:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1:4, 1:4, 1:4] = Label.ED
    labels[2, 2, 2] = Label.ET
    labels[2, 2, 1] = Label.NCR
    return Segmentation(labels, Grid(SHAPE, affine_of("LPS") if affine is None else affine), coding_name, **kwargs)


@same_folder
@given(
    LABELS, st.sampled_from(sorted(CODINGS)), st.sampled_from(["RAS", "LPS", "LAS", "PIR"]), st.floats(-30, 30),
    st.sampled_from([".nii.gz", ".nii", ".mha", ".NII.GZ"]), st.booleans(),
)  # fmt: skip
def test_written_and_read_again_is_the_same(tmp_path, labels, name, codes, angle, ending, by_sidecar):
    labels = np.where(np.isin(labels, [int(v) for v in CODINGS[name].writes]), labels, 0).astype(np.uint8)
    seg = Segmentation(labels, Grid(SHAPE, affine_of(codes, spacing=(0.9, 1.2, 3), angle=angle)))
    path = tmp_path / f"x_seg{ending}"
    path.unlink(missing_ok=True)
    save_segmentation(seg, path, coding=name, sidecar={"model": "m"} if by_sidecar else None)
    back = load_segmentation(path, coding=None if by_sidecar else name, grid=seg.grid)
    assert np.array_equal(back.labels, labels)
    assert back.coding == name
    assert back.grid.same_as(seg.grid, 1e-3)
    (tmp_path / "x_seg.json").unlink(missing_ok=True)


@pytest.mark.parametrize("angle", [0.0, 17.0])
@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR"])
def test_the_reference_gives_its_header(tmp_path, codes, angle):
    img = nib.Nifti1Image(image(), affine_of(codes, angle=angle))
    img.set_sform(img.affine, code=4)
    img.set_qform(img.affine, code=2)
    img.header.set_xyzt_units("mm", "sec")
    img.header["descrip"] = b"TE=17;Time=232636"
    img.header["cal_max"] = 90
    img.header.set_slope_inter(0.5, 3)
    (tmp_path / "a_t1ce.nii").write_bytes(img.to_bytes())
    reference = read_volume(tmp_path / "a_t1ce.nii", Modality.T1CE)
    seg = replace(segmentation(), grid=reference.grid)
    save_segmentation(seg, tmp_path / "a_seg.nii.gz", reference=reference, coding="brats2021")
    out = nib.load(tmp_path / "a_seg.nii.gz")
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "pixdim",
                  "xyzt_units", "dim"):  # fmt: skip
        assert np.array_equal(out.header[field], img.header[field]), field
    assert out.header.get_data_dtype() == np.uint8 and out.header.get_slope_inter() in ((1.0, 0.0), (None, None))
    assert out.header["cal_max"] == 0 and out.header["descrip"] == b""  # free text may hold a name
    assert np.array_equal(np.asarray(out.dataobj), coding("brats2021").from_canonical(seg.labels))
    assert np.array_equal(out.affine, nib.load(tmp_path / "a_t1ce.nii").affine)


def test_a_reference_without_forms_places_the_mask_as_itself(tmp_path):
    img = nib.Nifti1Image(image(), None)
    img.header["qform_code"] = img.header["sform_code"] = 0
    (tmp_path / "a_t1.nii").write_bytes(img.to_bytes())
    reference = read_volume(tmp_path / "a_t1.nii", Modality.T1)
    save_segmentation(replace(segmentation(), grid=reference.grid), tmp_path / "a_seg.nii.gz", reference=reference)
    assert np.array_equal(nib.load(tmp_path / "a_seg.nii.gz").affine, nib.load(tmp_path / "a_t1.nii").affine)


def test_a_big_endian_four_axis_reference_is_no_hindrance(tmp_path):
    img = nib.Nifti2Image(image().reshape(*SHAPE, 1), affine_of("LAS"), nib.Nifti2Header(endianness=">"))
    (tmp_path / "a_t1.nii").write_bytes(img.to_bytes())
    reference = read_volume(tmp_path / "a_t1.nii", Modality.T1)
    seg = replace(segmentation(), grid=reference.grid)
    save_segmentation(seg, tmp_path / "a_seg.nii.gz", reference=reference, sidecar={})
    assert nib.load(tmp_path / "a_seg.nii.gz").shape == SHAPE
    assert np.array_equal(load_segmentation(tmp_path / "a_seg.nii.gz", grid=reference.grid).labels, seg.labels)


def test_equal_masks_are_equal_files(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        save_segmentation(segmentation(), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


# ----------------------------------------------------------------------------------------------------- what tells coding


def test_an_option_counts_before_the_sidecar_and_the_sidecar_before_the_naming(tmp_path):
    write_series(tmp_path)
    path = write_mask(tmp_path / "Case_7_seg.nii.gz", values=(1, 2))
    assert coding_of(path) == ("brats2021", "file naming")
    (tmp_path / "Case_7_seg.json").write_text('{"coding": "brats2023"}')
    assert coding_of(path) == ("brats2023", "sidecar")
    assert coding_of(path, "msd") == ("decathlon", "option")
    assert load_segmentation(path, coding="decathlon").labels.max() == 2
    (tmp_path / "Case_7_seg.json").write_text('{"Modality": "MR"}')  # somebody else's
    assert load_segmentation(path).coding == "brats2021"


@pytest.mark.parametrize(("names", "ending", "values", "expected"), [
    (BRATS2021, "_seg", (1, 2, 4), "brats2021"),
    (BRATS2023, "-seg", (1, 2, 3), "brats2023"),
    (BRATS2023, "-seg", (1, 2, 3, 4), "brats2024"),
])  # fmt: skip
def test_the_files_beside_a_mask_tell_its_coding(names, ending, values, expected, tmp_path):
    write_series(tmp_path, names)
    seg = load_segmentation(write_mask(tmp_path / f"Case_7{ending}.nii.gz", values))
    assert seg.coding == expected
    assert set(np.unique(seg.labels)) == {0, *(coding(expected).values[v] for v in values)}


def test_without_any_hint_the_choices_are_named(tmp_path):
    path = write_mask(tmp_path / "a.nii.gz")
    with pytest.raises(CodingError) as e:
        load_segmentation(path)
    assert str(path) in str(e.value) and all(name in str(e.value) for name in CODINGS)


def test_the_paediatric_names_are_asked_about(tmp_path):
    write_series(tmp_path, BRATS2023, id="BraTS-PED-00001-000")
    with pytest.raises(CodingError, match="the choices are"):
        load_segmentation(write_mask(tmp_path / "BraTS-PED-00001-000-seg.nii.gz"))


def test_the_sidecar_tells_who_made_it_and_what_was_measured(tmp_path):
    sidecar = {"model": "net", "model_version": "1.2", "regions": {"WT": 3.5, "TC": None, "ET": 0.0}}
    save_segmentation(segmentation(), tmp_path / "a_seg.nii.gz", sidecar=sidecar)
    written = json.loads((tmp_path / "a_seg.json").read_text())
    assert len(written.pop("mask_sha256")) == 64 and written == {**sidecar, "coding": "brats2023"}
    back = load_segmentation(tmp_path / "a_seg.nii.gz")
    assert back.made_by == "net 1.2"
    assert back.regions == (Region.WT, Region.ET)


def test_a_coding_named_by_hand_leaves_the_rest_of_the_sidecar_standing(tmp_path):
    """Else a region that the model does not give would be scored, and as empty: 0 instead of not measured."""
    save_segmentation(segmentation(), tmp_path / "a_seg.nii.gz", sidecar={"regions": ["WT"], "made_by": "net 1"})
    seg = load_segmentation(tmp_path / "a_seg.nii.gz", coding="brats2023")
    assert (seg.regions, seg.made_by) == ((Region.WT,), "net 1")


def test_an_older_sidecar_does_not_tell_a_new_masks_coding(tmp_path):
    path = tmp_path / "a_seg.nii.gz"
    save_segmentation(segmentation(), path, coding="decathlon", sidecar={"model": "old"})
    save_segmentation(segmentation(), path, coding="brats2021")
    assert np.array_equal(load_segmentation(path).labels, segmentation().labels)
    assert load_segmentation(path).made_by == ""


def test_a_damaged_sidecar_is_said_and_an_option_does_without(tmp_path):
    path = write_mask(tmp_path / "a_seg.nii.gz")
    (tmp_path / "a_seg.json").write_text('{"coding": "bra')
    with pytest.raises(InputError, match=r"a_seg\.json is damaged.*Delete it"):
        load_segmentation(path)
    assert load_segmentation(path, coding="brats2021").coding == "brats2021"


# ---------------------------------------------------------------------------------------------------------- masks refused

WRONG = {
    "unknown value": ({"values": (1, 2, 7)}, CodingError, "holds the value 7, which"),
    "value of another coding": ({"values": (1, 2, 3)}, CodingError, "holds the value 3.*the choices are"),
    "fraction": ({"values": (1, 2.5), "dtype": np.float32}, CodingError, "fractional.*Export it again"),
    "not a number": ({"values": (*[1] * 18, np.nan), "dtype": np.float32}, CodingError, "NaN or infinite"),
    "infinite": ({"values": (1, np.inf), "dtype": np.float64}, CodingError, "NaN or infinite"),
    "negative": ({"values": (1, -2), "dtype": np.int16}, CodingError, "holds the value -2"),
    "vast": ({"values": (1, 70000), "dtype": np.int32}, CodingError, "holds the value 70000"),
    "an image": ({"values": range(1, 30)}, CodingError, "30 different values .*Choose the mask"),
    "other shape": (
        {"shape": (7, 6, 4), "affine": affine_of("LPS")},
        GeometryError,
        "7×6×4 voxels, and its images 7×6×5",
    ),
    "other place": (
        {"affine": affine_of("LPS", origin=(3, -20, 9.5))},
        GeometryError,
        "lies elsewhere than its images: equal voxels, placed 2 mm up further",
    ),
    "other orientation": ({"affine": affine_of("RAS")}, GeometryError, "the corner .* lies .* mm away"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_mask_gets_a_sentence_with_its_name(case, tmp_path):
    made, kind, words = WRONG[case]
    files = write_series(tmp_path)
    path = write_mask(tmp_path / "Case_7_seg.nii.gz", **made)
    grid = read_volume(files[Modality.T1], Modality.T1).grid
    for load in (lambda: load_segmentation(path, grid=grid), lambda: load_study(tmp_path)):
        with pytest.raises(kind, match=words) as e:
            load()
        assert str(path) in str(e.value) and len(str(e.value)) < 700
    assert load_study(tmp_path, segmentation=False).segmentation is None


def test_whole_numbers_stored_as_floats_are_a_mask(tmp_path):
    path = write_mask(tmp_path / "a-seg.nii.gz", (1, 2, 3), dtype=np.float64)
    assert load_segmentation(path, coding="brats2023").labels.max() == Label.ET


def test_a_mask_of_the_lgg_set_tells_of_the_whole_tumour_only(tmp_path):
    seg = load_segmentation(write_mask(tmp_path / "a.nii.gz", (255,)), coding="lgg")
    assert seg.regions == (Region.WT,) and seg.labels.max() == Label.TUMOUR


# ------------------------------------------------------------------------------------------------------ places to write to


def test_folders_are_made(tmp_path):
    save_segmentation(segmentation(), tmp_path / "a" / "b" / "x_seg.nii.gz", sidecar={})
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == ["x_seg.json", "x_seg.nii.gz"]


def test_a_class_that_the_coding_lacks_is_refused_and_nothing_is_written(tmp_path):
    seg = segmentation("brats2024")
    seg = replace(seg, labels=np.where(seg.labels == 0, Label.RC, seg.labels).astype(np.uint8))
    with pytest.raises(CodingError, match=r"x_seg\.nii\.gz holds resection cavity.*cannot express"):
        save_segmentation(seg, tmp_path / "x_seg.nii.gz", coding="brats2021", sidecar={})
    assert list(tmp_path.iterdir()) == []


def test_a_mask_off_its_reference_is_refused(tmp_path):
    reference = read_volume(write(tmp_path / "a_t1.nii.gz", image(), affine_of("RAS")), Modality.T1)
    with pytest.raises(GeometryError, match="lies elsewhere than its reference series"):
        save_segmentation(segmentation(), tmp_path / "x_seg.nii.gz", reference=reference)
    assert not (tmp_path / "x_seg.nii.gz").exists()


def test_a_sheared_grid_does_not_go_into_mha(tmp_path):
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    with pytest.raises(OutputError, match="sheared axes"):
        save_segmentation(segmentation(affine=sheared), tmp_path / "x.mha")
    save_segmentation(segmentation(affine=sheared), tmp_path / "x.nii.gz", sidecar={})
    assert np.allclose(load_segmentation(tmp_path / "x.nii.gz").grid.affine, sheared)


@pytest.mark.parametrize("name", ["x_seg.png", "x_seg", "folder.nii.gz", "file.txt/x_seg.nii.gz"])
def test_places_that_cannot_be_are_said(name, tmp_path):
    (tmp_path / "folder.nii.gz").mkdir()
    (tmp_path / "file.txt").touch()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OutputError, match="Cannot") as e:
        save_segmentation(segmentation(), tmp_path / name, sidecar={})
    assert name.split("/")[0] in str(e.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of this kind are POSIX")
def test_a_read_only_folder_is_said(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    me = os.geteuid()
    try:
        if me == 0:
            os.seteuid(65534)
        with pytest.raises(OutputError, match=r"Permission denied. Choose another place"):
            save_segmentation(segmentation(), closed / "x_seg.nii.gz", sidecar={})
    finally:
        os.seteuid(me)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("where", ["encode", "json"])
def test_an_interruption_leaves_the_old_files_as_they_were(stop, where, tmp_path, monkeypatch):
    path = tmp_path / "x_seg.nii.gz"
    save_segmentation(segmentation(), path, sidecar={"model": "first"})
    before = {p: p.read_bytes() for p in tmp_path.iterdir()}

    def interrupted(*_, **__):
        raise stop

    target = {"encode": "brainseg_engine.io.nifti.encode", "json": "pathlib.Path.write_text"}[where]
    monkeypatch.setattr(target, interrupted)
    empty = replace(segmentation(), labels=np.zeros(SHAPE, np.uint8))
    with pytest.raises(stop):
        save_segmentation(empty, path, sidecar={"model": "second"})
    assert {p: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_codings_do_not_mix_up_in_one_folder(tmp_path):
    """Two masks of one study, each with its own sidecar: each is read by its own."""
    expected = segmentation().labels
    for name in itertools.chain(CODINGS):
        if set(np.unique(expected)) <= {int(v) for v in CODINGS[name].writes}:
            save_segmentation(segmentation(), tmp_path / f"{name}_seg.nii.gz", coding=name, sidecar={})
    read = {p.name: load_segmentation(p) for p in sorted(Path(tmp_path).glob("*.nii.gz"))}
    assert len(read) == 6
    assert all(np.array_equal(s.labels, expected) for s in read.values())
