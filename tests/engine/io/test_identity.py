"""Files of two patients in one study are noticed by their names, and the numbers of series are not taken for patients."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.io import find_series, load_study
from brainseg_engine.io.identity import mixed_patients

TWO = [
    [
        "BraTS2021_00147_t1.nii.gz",
        "BraTS2021_00147_t1ce.nii.gz",
        "BraTS2021_00148_t2.nii.gz",
        "BraTS2021_00148_flair.nii.gz",
    ],
    ["p147_T1.nii", "p147_T1c.nii", "p148_T2.nii", "p148_FLAIR.nii"],
    ["T1_00147.nii", "T1c_00147.nii", "T2_00148.nii", "FLAIR_00148.nii"],
    ["sub-01_T1w.nii", "sub-01_ce-gd_T1w.nii", "sub-02_T2w.nii", "sub-01_FLAIR.nii"],
    ["sub-01_ses-1_T1w.nii", "sub-01_ses-1_ce-gd_T1w.nii", "sub-01_ses-2_T2w.nii", "sub-01_ses-1_FLAIR.nii"],
    ["x_147_t1.nii", "x_147_t1ce.nii", "x_147_t2.nii", "x_147_flair.nii", "x_148_seg.nii"],
    [
        "Brats18_CBICA_AQP_1_t1.nii",
        "Brats18_CBICA_AQP_1_t1ce.nii",
        "Brats18_CBICA_AQP_1_t2.nii",
        "Brats18_CBICA_ABC_1_flair.nii",
    ],
    [
        "UPENN-GBM-00001_11_T1.nii",
        "UPENN-GBM-00001_11_T1GD.nii",
        "UPENN-GBM-00002_11_T2.nii",
        "UPENN-GBM-00001_11_FLAIR.nii",
    ],
    ["Patient-001_T1.nii", "Patient-001_T1ce.nii", "Patient-002_T2.nii", "Patient-002_FLAIR.nii"],
    [
        "BraTS-GLI-00001-000-t1n.nii",
        "BraTS-GLI-00001-000-t1c.nii",
        "BraTS-GLI-00001-001-t2w.nii",
        "BraTS-GLI-00001-000-t2f.nii",
    ],
    ["100147_T1.nii", "100147_T1ce.nii", "100148_T2.nii", "100147_FLAIR.nii"],
    ["T1_TCGA-02-0001.nii", "T1_GD_TCGA-02-0001.nii", "T2_TCGA-02-0002.nii", "FLAIR_TCGA-02-0001.nii"],
]

ONE = [
    ["3_t1.nii", "5_t1ce.nii", "7_t2.nii", "11_flair.nii"],
    [
        "VSD.Brain.XX.O.MR_T1.54513.mha",
        "VSD.Brain.XX.O.MR_T1c.54514.mha",
        "VSD.Brain.XX.O.MR_T2.54515.mha",
        "VSD.Brain.XX.O.MR_Flair.54512.mha",
        "VSD.Brain_3more.XX.O.OT.54517.mha",
    ],
    [
        "00000057_brain_t1.nii",
        "00000057_brain_t1ce.nii",
        "00000057_t2.nii",
        "00000057_brain_flair.nii",
        "00000057_final_seg.nii",
    ],
    ["2D_T2.nii", "2D_FLAIR.nii", "3D_T1.nii", "3D_T1ce.nii"],
    ["IM_0003_T1.nii", "IM_0005_T1ce.nii", "IM_0007_T2.nii", "IM_0009_FLAIR.nii"],
    [
        "T1_AX_TCGA-FG-6692_Si_TCGA-FG-6692_T1_AX_SE_10_se2d1_t1.nii.gz",
        "MRHR_T1_AX_POST_GAD_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_T1_AX_POST_GAD_SE_13_se2d1r_t1c.nii.gz",
        "MRHR_T2_AX_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_T2_AX_SE_2_tse2d1_11_t2.nii.gz",
        "MRHR_FLAIR_AX_TCGA-FG-6692_Si_TCGA-FG-6692_MRHR_FLAIR_AX_SE_IR_5_tir2d1_21_fla.nii.gz",
    ],
    [
        "BraTS20_Training_355_t1.nii",
        "BraTS20_Training_355_t1ce.nii",
        "BraTS20_Training_355_t2.nii",
        "BraTS20_Training_355_flair.nii",
        "W39_1998.09.19_Segm.nii",
    ],
    ["t1_1mm.nii", "t1ce_1mm.nii", "t2_5mm.nii", "flair_5mm.nii"],
    ["T1_se10.nii", "T1_gd_se10b.nii", "T2_se12.nii", "FLAIR_se13.nii"],
    ["t1.nii", "t1ce.nii", "t2.nii", "flair.nii"],
    ["Case01_T1.nii", "Case01_T1ce.nii", "Case01_T2.nii", "Case01_FLAIR.nii", "mask.nii"],
    [
        "study_T1_20200101083000_3.nii",
        "study_T1_GD_20200101083000_9.nii",
        "study_T2_20200101083000_5.nii",
        "study_FLAIR_20200101083000_6.nii",
    ],
]


ENDINGS = ("t1", "t1ce", "t2", "flair")


@pytest.mark.parametrize("names", TWO, ids=lambda n: n[0])
def test_two_patients_are_said_with_a_file_of_each(names):
    sentence = mixed_patients(names)
    assert sum(name in sentence for name in names) == 2 and "different patients or dates" in sentence


@pytest.mark.parametrize("names", ONE, ids=lambda n: n[0])
def test_one_patient_is_one_however_the_series_are_numbered(names):
    assert mixed_patients(names) == ""


@given(
    st.sampled_from(
        ["BraTS2021_{:05d}_", "p{}_", "{:06d}-", "sub-{:02d}_", "Patient-{:03d}_week-001_", "UPENN-GBM-{:05d}_11_"]
    ),
    st.integers(10, 99),
    st.integers(10, 99),
    st.sets(st.integers(0, 3), min_size=1, max_size=3),
)
def test_any_part_of_a_foreign_study_is_noticed(form, a, b, foreign):
    names = [f"{form.format(b if i in foreign else a)}{e}.nii.gz" for i, e in enumerate(ENDINGS)]
    assert bool(mixed_patients(names)) == (a != b)


@pytest.mark.parametrize("foreign", [("t2", "flair"), ("flair",), ("t1ce",)])
def test_patients_are_told_apart_by_their_names_too(foreign):
    names = [f"{'schmidt' if e in foreign else 'mueller'}_{e}.nii.gz" for e in ENDINGS]
    assert "different patients" in mixed_patients(names)
    assert not mixed_patients([f"mueller_{e}.nii.gz" for e in ENDINGS])


@pytest.mark.parametrize(
    "words", [("axial", "sagittal", "coronal", "axial"), ("brain", "native", "brain", "brain"), ("",) * 4]
)
def test_words_of_processing_are_nobodys_names(words):
    assert not mixed_patients([f"{w}_{e}.nii.gz".lstrip("_") for w, e in zip(words, ENDINGS, strict=True)])


def test_no_door_opens_such_a_folder_without_a_word(tmp_path):
    for name in TWO[0]:
        (tmp_path / name).touch()
    series = find_series(tmp_path)
    assert series.mixed and series.problems[0] == series.mixed
    with pytest.raises(InputError, match=r"BraTS2021_00147_\w+.nii.gz and BraTS2021_00148_\w+.nii.gz bear the ids"):
        load_study(tmp_path)
    with pytest.raises(InputError, match=r"empty \(0 bytes\)"):  # assigned by hand, it is read
        load_study(series.files)
