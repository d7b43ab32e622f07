"""Studies from folders and from files picked by hand."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from helpers.on_disk import BRATS2021, BRATS2023, VSD, affine_of, image, write, write_mask, write_series

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from brainseg_engine.io import find_studies, load_study

T1, T1CE, T2, FLAIR = Modality
LAYOUTS = {
    "brats2021": (BRATS2021, "Case_7", "Case_7_seg.nii.gz", (1, 2, 4)),
    "brats2023": (BRATS2023, "Case_7", "Case_7-seg.nii.gz", (1, 2, 3)),
    "brats2015": (VSD, "patient", "VSD.Brain_3more.XX.O.OT.54517.mha", (1, 2, 3, 4)),
}


@pytest.mark.parametrize("coding", LAYOUTS)
def test_one_study_whatever_it_came_from(coding, tmp_path):
    names, expected_id, mask, values = LAYOUTS[coding]
    folder = tmp_path / "patient"
    files = write_series(folder, names)
    write_mask(folder / mask, values)
    study = load_study(folder)
    assert (study.id, study.coding, study.folder) == (expected_id, coding, folder)
    assert list(study.volumes) == list(Modality) and study.aligned
    for seed, m in enumerate(Modality):
        v = study.volumes[m]
        assert np.array_equal(v.data, image(seed)) and v.path == files[m] and v.modality is m and len(v.sha256) == 64
        assert (v.header is None) == (names is VSD)
    assert study.segmentation is not None and study.segmentation.coding == coding
    assert set(np.unique(study.segmentation.labels)) == {0, Label.NCR, Label.ED, Label.ET}
    assert study.segmentation.grid.same_as(study.reference.grid)
    assert load_study(str(folder), id="other", segmentation=False).id == "other"


def test_a_resection_cavity_is_kept_for_what_is_saved_later(tmp_path):
    write_series(tmp_path, BRATS2023)
    write_mask(tmp_path / "Case_7-seg.nii.gz", (1, 2, 3, 4))
    study = load_study(tmp_path)
    assert study.coding == study.segmentation.coding == "brats2024"
    assert load_study(tmp_path, segmentation=False).coding == "brats2023"


def test_the_option_counts_for_the_study_too(tmp_path):
    write_series(tmp_path)
    write_mask(tmp_path / "Case_7_seg.nii.gz", (1, 2, 3))
    study = load_study(tmp_path, coding="brats2023")
    assert study.coding == study.segmentation.coding == "brats2023"


def test_picked_files_are_told_apart_by_name_in_any_order(tmp_path):
    files = write_series(tmp_path / "a")
    mask = write_mask(tmp_path / "b" / "Case_7_seg.nii.gz")
    study = load_study([mask, *reversed(files.values())])
    assert {m: v.path for m, v in study.volumes.items()} == files
    assert study.segmentation.path == mask and study.id == "Case_7" and study.coding == "brats2021"
    assert load_study(list(files.values())).segmentation is None
    assert set(load_study(files[T2]).volumes) == {T2}


def test_assigned_files_are_taken_as_assigned(tmp_path):
    files = write_series(tmp_path)
    study = load_study({FLAIR: files[T1], T1: files[FLAIR], T2: str(files[T2])})
    assert list(study.volumes) == [T1, T2, FLAIR]
    assert np.array_equal(study.volumes[FLAIR].data, image(0)) and study.volumes[FLAIR].modality is FLAIR


def test_series_on_their_own_grids_make_a_raw_study_with_the_mask_of_one(tmp_path):
    files = write_series(tmp_path)
    other = affine_of("LPS", spacing=(1, 1, 5))
    write(files[FLAIR], image(3), other)
    write_mask(tmp_path / "Case_7_seg.nii.gz", affine=other)
    study = load_study(tmp_path)
    assert not study.aligned and study.segmentation.grid.same_as(study.volumes[FLAIR].grid)


# -------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("as_mapping", [False, True])
@pytest.mark.parametrize("how", ["path", "symlink", "hard link"])
def test_the_same_file_twice(how, as_mapping, tmp_path):
    files = write_series(tmp_path)
    twin = tmp_path / "Case_7_t2twin_flair.nii.gz"
    if how == "path":
        twin = files[T2]
    elif how == "symlink":
        twin.symlink_to(files[T2])
    else:
        os.link(files[T2], twin)
    four = {**files, FLAIR: twin}
    with pytest.raises(InputError, match=r"was given twice.*Give each series its own file") as e:
        load_study(four if as_mapping else list(four.values()))
    assert files[T2].name in str(e.value)
    assert not as_mapping or "for T2 and for FLAIR" in str(e.value)


def test_two_candidates_stop_a_folder_and_name_both(tmp_path):
    files = write_series(tmp_path)
    shutil.copy(files[T1], tmp_path / "other_t1.nii.gz")
    with pytest.raises(InputError, match=r"may be T1: .*Case_7_t1\.nii\.gz and .*other_t1\.nii\.gz"):
        load_study(tmp_path)
    with pytest.raises(InputError, match="may be T1"):
        load_study([*files.values(), tmp_path / "other_t1.nii.gz"])
    assert len(load_study(files).volumes) == 4


def test_two_masks_stop_only_those_who_want_a_mask(tmp_path):
    write_series(tmp_path)
    for name in ("Case_7_seg.nii.gz", "Case_7_truth.nii.gz"):
        write_mask(tmp_path / name)
    with pytest.raises(InputError, match=r"may be the mask: .*_seg\.nii\.gz and .*_truth\.nii\.gz"):
        load_study(tmp_path)
    assert load_study(tmp_path, segmentation=False).segmentation is None


def test_a_picked_file_with_an_untold_modality(tmp_path):
    files = write_series(tmp_path)
    odd = write(tmp_path / "scan17.nii.gz", image(9))
    with pytest.raises(InputError, match=r"scan17\.nii\.gz does not tell which series it is.*assign it by hand"):
        load_study([files[T1], odd])


def test_a_folder_of_untold_images(tmp_path):
    write(tmp_path / "scan17.nii.gz", image(9))
    with pytest.raises(InputError, match=r"tells by its name which series it is") as e:
        load_study(tmp_path)
    assert str(tmp_path) in str(e.value)


def test_nothing_at_all(tmp_path):
    for nothing in ({}, []):
        with pytest.raises(InputError):
            load_study(nothing)
    for absent in (tmp_path / "nowhere", [tmp_path / "nowhere.nii.gz"], {T1: tmp_path / "nowhere.nii.gz"}):
        with pytest.raises(InputError, match=r"There is no file or folder .*nowhere"):
            load_study(absent)


def test_of_several_damaged_files_all_are_named(tmp_path):
    files = write_series(tmp_path)
    for m in (T1, FLAIR):
        files[m].write_bytes(b"damaged")
    with pytest.raises(InputError) as e:
        load_study(tmp_path)
    assert str(files[T1]) in str(e.value) and str(files[FLAIR]) in str(e.value) and str(files[T2]) not in str(e.value)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="permissions of this kind are POSIX")
def test_a_closed_folder(tmp_path):
    files = write_series(tmp_path / "open" / "study")
    load_study(files)
    (tmp_path / "open" / "study").chmod(0)
    me = os.geteuid()
    try:
        if me == 0:
            os.seteuid(65534)
        for source in (tmp_path / "open" / "study", list(files.values())):
            with pytest.raises(InputError, match="permission denied"):
                load_study(source)
    finally:
        os.seteuid(me)
        (tmp_path / "open" / "study").chmod(0o755)


# -------------------------------------------------------------------------------------------------------------- real files


def test_the_real_formats(real_data):
    expected = {
        "brats2015": ("brats_2013_pat0001_1", "brats2015", True, "LPS"),
        "brats2023": ("BraTS-GLI-00000-000", "brats2023", True, "LPS"),
        "raw_nifti": ("TCGA-FG-6692", "", False, "LAS"),
    }
    for name, listed in expected.items():
        (folder,) = find_studies(real_data / "formats" / name)
        study = load_study(folder)
        assert (study.id, study.coding, study.aligned, study.reference.grid.orientation) == listed
        assert len(study.volumes) == 4
        if listed[1]:
            assert set(np.unique(study.segmentation.labels)) == {0, 1, 2, 3}
    split = (real_data / "brats_split.csv").read_text(encoding="utf-8").split()
    assert len(find_studies(real_data / "brats")) == len(split) - 1  # a line for each case, and the heading
