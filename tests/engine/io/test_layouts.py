"""Which file is which series: names as the data sets and clinics really give them. No pixel is read here."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from helpers.on_disk import BRATS2021, BRATS2023, VSD

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import find_series, find_studies
from brainseg_engine.io.naming import classify, implied_coding, study_id

T1, T1CE, T2, FLAIR = Modality
MASK = "mask"


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def named(ids: str, endings: dict[Modality, str], ending: str = ".nii.gz") -> list[str]:
    return [f"{ids}{e}{ending}" for e in endings.values()]


# data set → (a study's names, which modality each is, the coding its naming implies, its id)
LAYOUTS = {
    "2012": (["BRATS_HG0001_T1.mha", "BRATS_HG0001_T1C.mha", "BRATS_HG0001_T2.mha", "BRATS_HG0001_FLAIR.mha",
              "BRATS_HG0001_truth.mha"], "", "BRATS_HG0001"),
    "2013": ([f"VSD.Brain.XX.O.MR_{m}/VSD.Brain.XX.O.MR_{m}.684.mha" for m in ("T1", "T1c", "T2", "Flair")]
             + ["VSD.Brain_3more.XX.XX.OT/VSD.Brain_3more.XX.XX.OT.6560.mha"], "brats2015", "patient"),
    "2015": ([*VSD.values(), "VSD.Brain_3more.XX.O.OT.54517.mha"], "brats2015", "patient"),
    "2018": ([*named("Brats18_CBICA_AQP_1", BRATS2021), "Brats18_CBICA_AQP_1_seg.nii.gz"], "brats2021",
             "Brats18_CBICA_AQP_1"),
    "2020": ([*named("BraTS20_Training_001", BRATS2021, ".nii"), "BraTS20_Training_001_seg.nii"], "brats2021",
             "BraTS20_Training_001"),
    "2020, case 355": ([*named("BraTS20_Training_355", BRATS2021, ".nii"), "W39_1998.09.19_Segm.nii"], "brats2021",
                       "BraTS20_Training_355"),
    "2021, as one mirror has it": (
        [f"BraTS2021_00495_{m}.nii.gz/00000057_{f}.nii" for m, f in zip(
            ("t1", "t1ce", "t2", "flair", "seg"),
            ("brain_t1", "brain_t1ce", "brain_t2", "brain_flair", "final_seg"), strict=True)], "brats2021",
        "BraTS2021_00495"),
    "2021, unpacked from it": ([*named("00000057_brain", BRATS2021, ".nii"), "00000057_final_seg.nii"], "brats2021", "00000057"),
    "2023, as one mirror has it": (
        [f"BraTS-GLI-00000-000-{m}.nii/00000057_{f}.nii" for m, f in zip(
            ("t1n", "t1c", "t2w", "t2f", "seg"),
            ("brain_t1", "brain_t1ce", "brain_t2", "brain_flair", "final_seg"), strict=True)], "brats2023",
        "BraTS-GLI-00000-000"),
    "Erasmus Glioma Database": ([f"{i}_{m}/NIFTI/{m}.nii.gz" for i, m in enumerate(("T1", "T1GD", "T2", "FLAIR", "MASK"), 1)],
                                "", "patient"),
    "2023": ([*named("BraTS-GLI-00000-000", BRATS2023), "BraTS-GLI-00000-000-seg.nii.gz"], "brats2023",
             "BraTS-GLI-00000-000"),
    "2023, odd capital": ([f"BraTS-GLI-00000-000-{m}.nii.gz" for m in ("t1n", "t1c", "t2W", "t2f", "seg")], "brats2023",
                          "BraTS-GLI-00000-000"),
    "shouting": ([n.upper() for n in [*named("Brats18_X_1", BRATS2021), "Brats18_X_1_seg.nii.gz"]], "brats2021",
                 "BRATS18_X_1"),
    "UPENN-GBM": ([f"UPENN-GBM-00001_11_{m}.nii.gz" for m in ("T1", "T1GD", "T2", "FLAIR", "segm")], "",
                  "UPENN-GBM-00001_11"),
    "BIDS": ([f"sub-01_{m}.nii.gz" for m in ("T1w", "ce-gadolinium_T1w", "T2w", "FLAIR")], "", "patient"),
    "clinical": (["T1_AX_TCGA-FG-6692_Si_SE_10_se2d1_t1.nii.gz", "MRHR_T1_AX_POST_GAD_SE_13_se2d1r_t1c.nii.gz",
                  "MRHR_T2_AX_SE_2_tse2d1_11_t2.nii.gz", "MRHR_FLAIR_AX_SE_IR_5_tir2d1_21_fla.nii.gz"], "", "patient"),
    "clinical, words only": (["T1_AX.nii.gz", "T1_AX_POST_GAD.nii.gz", "T2_AX.nii.gz", "T2_FLAIR_AX.nii.gz"], "",
                             "patient"),
    "short": (["t1.nii", "ct1.nii", "t2.nii", "fla.nii"], "", "patient"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_are_understood(layout, tmp_path):
    names, coding, expected_id = LAYOUTS[layout]
    folder = touch(tmp_path / "patient", *names, "notes.txt", "._Brats18_t1.nii.gz")
    series = find_series(folder)
    assert series.problems == []
    assert [series.files[m] for m in Modality] == [folder / n for n in names[:4]]
    assert series.segmentation == (folder / names[4] if len(names) == 5 else None)
    assert series.coding == coding
    assert series.id == expected_id
    assert find_studies(tmp_path) == [folder]


KINDS = {
    T1: ["x_t1", "x-t1n", "X_T1W", "T1_MPRAGE_sag", "Ax_T1_pre_contrast", "T1 without contrast", "AxT1", "T1_POST_OP",
         "T1_FLAIR", "3D_T1_native"],
    T1CE: ["x_t1ce", "x-t1c", "x_T1GD", "t1gd", "ct1", "t1post", "t1c+", "T1+C", "T1_C", "T1_CE", "T1_post_contrast", "sag_T1_GD",
           "T1_KM", "T1_POST_OP_GAD", "PRE_OP_T1_POST_GAD", "ce-gadolinium_T1w", "MPRAGE_POST"],
    T2: ["x_t2", "x-t2w", "x_T2W", "T2_TSE_ax", "axT2", "pd_t2"],
    FLAIR: ["x_flair", "x-t2f", "fla", "fl", "t2flair", "T2_FLAIR", "flair_t2", "t2_tirm_tra_dark-fluid", "FLAIR_POST"],
    MASK: ["x_seg", "x-seg", "x_Segm", "x_truth", "x_t1_seg", "tumor_segmentation", "x_GlistrBoost_ManuallyCorrected",
           "VSD.Brain_3more.XX.O.OT.1"],
    None: ["x", "x_adc", "t2_star", "dwi_t2", "x_brain_mask", "x_brain_segmentation", "x_to_t1", "SWI_T2", "localizer_t1"],
}  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in KINDS.items() for n in names])
def test_names_and_aliases(kind, name):
    assert classify([f"{name}.nii.gz"]) == [kind]


@pytest.mark.parametrize("patient", ["CE-001", "T2_cohort", "flair_trial_7", "gad", "Seg-4", "t1c"])
def test_a_patients_id_is_no_modality(patient):
    names = [f"{patient}_{e}.nii.gz" for e in ("t1", "t1ce", "t2", "flair", "seg")]
    assert classify(names) == [*Modality, MASK]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_the_order_of_names_does_not_matter(order):
    names = LAYOUTS["clinical, words only"][0]
    assert classify([names[i] for i in order]) == [list(Modality)[i] for i in order]


def test_two_candidates_are_a_problem_that_names_both(tmp_path):
    touch(tmp_path, "a_t1.nii.gz", "b_t1.nii", "a_t1ce.nii.gz", "a_t2.nii.gz", "a_flair.nii.gz")
    series = find_series(tmp_path)
    assert T1 not in series.files and set(series.files) == {T1CE, T2, FLAIR}
    (problem,) = series.problems
    assert "a_t1.nii.gz" in problem and "b_t1.nii" in problem and "T1" in problem


def test_two_masks_are_a_problem_and_neither_is_taken(tmp_path):
    touch(tmp_path, *named("a", BRATS2021), "a_seg.nii.gz", "a_seg.nii")
    series = find_series(tmp_path)
    assert series.segmentation is None and len(series.files) == 4
    assert "a_seg.nii.gz" in series.problems[0] and "the mask" in series.problems[0]


@pytest.mark.parametrize("gone", list(Modality))
def test_a_missing_modality_is_a_problem_that_names_it(gone, tmp_path):
    touch(tmp_path, *named("a", {m: e for m, e in BRATS2021.items() if m is not gone}), "a_odd.nii.gz")
    series = find_series(tmp_path)
    (problem,) = series.problems
    assert problem.startswith(f"No file is named as {gone.title} (") and "a_odd.nii.gz" in problem


@pytest.mark.parametrize(
    ("names", "coding"),
    [
        (["BraTS-PED-00001-000-t1n.nii.gz", "BraTS-PED-00001-000-seg.nii.gz"], ""),
        (["x_seg.nii.gz"], ""),
        (["Brats18_X_1_seg.nii.gz"], "brats2021"),
        (["BraTS2021_00001_seg.nii.gz"], "brats2021"),
        (["BraTS-MET-00001-000-seg.nii.gz"], "brats2023"),
        (["BraTS-GLI-00001-000_seg.nii.gz"], ""),  # no data set names its masks so; some other program did
        (["x_t1ce.nii.gz", "x_seg.nii.gz"], "brats2021"),
        (["x-t2f.nii.gz", "x-seg.nii.gz"], "brats2023"),
        (["x_t1n.nii.gz", "x_seg.nii.gz"], ""),
    ],
)
def test_what_the_naming_tells_of_the_coding(names, coding):
    assert implied_coding(names) == coding


def test_an_id_is_what_all_names_share():
    assert study_id(["a-b_t1.nii.gz", "a-b_flair.nii"]) == "a-b"
    assert study_id(["a_t1.nii.gz", "b_flair.nii"]) == ""
    assert study_id(["t1.nii.gz", "t2.nii.gz"]) == ""


def test_studies_are_found_at_three_depths(tmp_path):
    hgg = touch(tmp_path / "HGG" / "a", *named("a", BRATS2021))
    lgg = touch(tmp_path / "LGG" / "b", *named("b", BRATS2021))
    flat = touch(tmp_path / "c", *named("c", BRATS2023))
    touch(tmp_path / "papers", "notes.txt")
    touch(tmp_path / ".hidden", "a_t1.nii.gz")
    assert find_studies(tmp_path) == sorted([hgg, lgg, flat])
    assert find_studies(tmp_path / "HGG") == [hgg]
    assert find_studies(flat) == [flat]
    assert find_studies(tmp_path / "papers") == []


def test_a_folder_of_studies_is_no_study(tmp_path):
    touch(tmp_path / "a", *named("a", BRATS2021))
    with pytest.raises(InputError, match=r"holds 1 of them. Name one, for example .*a\.$"):
        find_series(tmp_path)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "is empty. A study folder has files named"),
        (["notes.txt"], "holds no image"),
        (["IM1.dcm", "IM2.dcm"], "named as DICOM.*again"),
    ],
)
def test_folders_without_an_image(files, expected, tmp_path):
    touch(tmp_path, *files)
    with pytest.raises(InputError, match=expected) as e:
        find_series(tmp_path)
    assert str(tmp_path) in str(e.value)


def test_what_is_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"There is no file or folder .*nowhere"):
        find_series(tmp_path / "nowhere")
    touch(tmp_path, "a.txt")
    with pytest.raises(InputError, match=r"a\.txt is a file, and a study folder is expected"):
        find_series(tmp_path / "a.txt")


def test_what_a_person_saved_next_to_the_study_is_its_mask_and_what_a_model_gave_is_not(tmp_path):
    folder = touch(tmp_path / "Case_1", *named("Case_1", BRATS2021))
    touch(tmp_path, "Case_1_seg.nii.gz")
    assert find_series(folder).segmentation is None
    (tmp_path / "Case_1_seg.json").write_text('{"model": "m", "coding": "brats2021"}')
    assert find_series(folder).segmentation is None
    (tmp_path / "Case_1_seg.json").write_text('{"study": "Case_1", "edited": true, "coding": "brats2021"}')
    assert find_series(folder).segmentation == tmp_path / "Case_1_seg.nii.gz"
    touch(folder, "Case_1_seg.nii.gz")
    assert find_series(folder).segmentation == folder / "Case_1_seg.nii.gz"
