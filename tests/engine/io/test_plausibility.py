"""A mask's values against what its coding says, and masks that are none of a tumour: a question, never a number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.on_disk import write
from helpers.small_study import make_study
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import CodingError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import CODINGS, Label, Region, coding
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.evaluation import evaluate
from brainseg_engine.io import load_segmentation, load_study, save_segmentation
from brainseg_engine.io.naming import MASK, classify
from brainseg_engine.io.plausibility import BRAIN_ML, require_no_brain
from brainseg_engine.studies.survey import survey

ENDINGS = {Modality.T1: "t1n", Modality.T1CE: "t1c", Modality.T2: "t2w", Modality.FLAIR: "t2f"}
ID = "BraTS-GLI-00001-000"


def write_case(folder: Path, study: Study, values: dict[Label, int], images: bool = True, id_: str = ID) -> Path:
    """A case named as in BraTS 2023, whose mask has these file values."""
    case = folder / id_
    labels = np.zeros(study.segmentation.labels.shape, np.uint8)
    for label, value in values.items():
        labels[study.segmentation.labels == label] = value
    if images:
        for m, ending in ENDINGS.items():
            data = study.volumes[m].data.astype(np.int16)
            write(case / f"{id_}-{ending}.nii.gz", data, study.reference.grid.affine)
    return write(case / f"{id_}-seg.nii.gz", labels, study.reference.grid.affine)


EARLIER = {Label.NCR: 1, Label.ED: 2, Label.ET: 4}
DECATHLON = {Label.ED: 1, Label.NCR: 2, Label.ET: 3}


def with_cavity() -> Study:
    """The enhancing part is a cavity: as dark as fluid in T1ce."""
    study = make_study(0)
    t1ce = study.volumes[Modality.T1CE]
    data = np.where(study.segmentation.labels == Label.ET, 20, t1ce.data).astype(np.float32)
    return replace(study, volumes={**study.volumes, Modality.T1CE: replace(t1ce, data=data)})


def test_four_that_enhances_is_read_as_enhancing_and_said(tmp_path):
    path = write_case(tmp_path, make_study(0), EARLIER)
    mask = load_segmentation(path)
    assert mask.coding == "brats2021" and (mask.labels == Label.ET).any() and not (mask.labels == Label.RC).any()
    assert "bright in the T1ce" in mask.note
    assert load_study(path.parent).segmentation.coding == "brats2021"
    (report,) = survey(tmp_path)
    assert report.coding == "brats2021" and any("bright in the T1ce" in w for w in report.warnings)
    result = CliRunner().invoke(app, ["inspect", str(path.parent)])
    assert "bright in the T1ce" in result.output


def test_four_that_is_dark_is_a_cavity(tmp_path):
    mask = load_segmentation(write_case(tmp_path, with_cavity(), EARLIER))
    assert mask.coding == "brats2024" and "as dark as fluid" in mask.note


def test_without_the_image_it_is_a_question_at_every_door(tmp_path):
    path = write_case(tmp_path / "masks", make_study(0), EARLIER, images=False)
    with pytest.raises(CodingError, match=r"brats2021.*brats2024.*--coding"):
        load_segmentation(path)
    assert load_segmentation(path, coding="brats2021").coding == "brats2021"
    flat = tmp_path / "flat"
    flat.mkdir()
    path.rename(flat / path.name)
    scores = evaluate(flat, flat)
    assert not scores.cases and "4 may be enhancing tumour" in scores.failed[ID]


def test_a_prediction_elsewhere_is_judged_by_the_truths_images(tmp_path):
    study = make_study(0)
    write_case(tmp_path / "truth", study, {Label.NCR: 1, Label.ED: 2, Label.ET: 3})
    write_case(tmp_path / "predicted", study, EARLIER, images=False)
    scores = evaluate(tmp_path / "truth", tmp_path / "predicted")
    assert all(s.dice == 1 for s in scores.cases[ID].values())


def test_a_coding_that_was_decided_is_said_once_for_a_folder(tmp_path, caplog):
    ids = [f"BraTS-GLI-0000{n}-000" for n in range(1, 5)]
    for n, id_ in enumerate(ids):
        path = write_case(tmp_path / "truth", make_study(n), EARLIER, id_=id_)
        mask = load_segmentation(path)
        save_segmentation(mask, tmp_path / "masks" / f"{id_}_seg.nii.gz", sidecar={})
    assert len(evaluate(tmp_path / "truth", tmp_path / "masks").cases) == 4
    lines = [r.getMessage() for r in caplog.records if "bright in the T1ce" in r.getMessage()]
    assert len(lines) == 1 and lines[0].startswith(f"{ids[0]} and 3 more: the mask is named as in BraTS 2023")


def test_three_and_four_where_four_is_the_brighter_is_a_question(tmp_path):
    path = write_case(tmp_path, make_study(0), {Label.NCR: 1, Label.ED: 3, Label.ET: 4})
    with pytest.raises(CodingError, match="4 is brighter than 3"):
        load_segmentation(path)


CAVITY = {Label.NCR: 1, Label.ED: 2, Label.ET: 3}


def with_part_of_oedema_as(study: Study, value: Label) -> Study:
    """Some of the oedema is that class; a cavity is dark in T1ce."""
    labels = study.segmentation.labels.copy()
    inside = np.argwhere(labels == Label.ED)[:60]
    labels[tuple(inside.T)] = value
    t1ce = study.volumes[Modality.T1CE]
    data = np.where(labels == Label.RC, 20, t1ce.data).astype(np.float32)
    volumes = {**study.volumes, Modality.T1CE: replace(t1ce, data=data)}
    return replace(study, volumes=volumes, segmentation=replace(study.segmentation, labels=labels))


def test_all_four_values_without_the_image_are_a_question_unless_the_name_tells(tmp_path):
    study = with_part_of_oedema_as(make_study(0), Label.RC)
    values = {**CAVITY, Label.RC: 4}
    path = write_case(tmp_path / "a", study, values, images=False)
    with pytest.raises(CodingError, match=r"brats-ped.*no T1ce on its grid.*--coding"):
        load_segmentation(path)
    after = write_case(tmp_path / "b", study, values, images=False, id_="BraTS-GLI-00005-101")
    assert load_segmentation(after).coding == "brats2024"
    assert load_segmentation(write_case(tmp_path / "c", study, values)).coding == "brats2024"


def test_paediatric_values_under_the_names_of_2023_are_a_question(tmp_path):
    """1 enhances, 3 is a cyst, 4 oedema."""
    study = with_part_of_oedema_as(make_study(0), Label.RC)
    path = write_case(tmp_path, study, {Label.ET: 1, Label.NCR: 2, Label.RC: 3, Label.ED: 4})
    with pytest.raises(CodingError, match="1 is brighter than 3"):
        load_segmentation(path)
    assert load_segmentation(path, coding="brats-ped").coding == "brats-ped"


@pytest.mark.parametrize("id_", ["BraTS-GLI-00001-000", "BraTS-MET-00001-000"])
def test_enhancing_and_necrosis_exchanged_are_a_question(tmp_path, id_):
    study = make_study(0, shape=(72, 76, 70))
    path = write_case(tmp_path, study, {Label.ET: 1, Label.ED: 2, Label.NCR: 3}, id_=id_)
    with pytest.raises(CodingError, match="necrosis is brighter than"):
        load_segmentation(path)
    assert load_segmentation(path, coding="1=ET,2=ED,3=NCR").labels.any()


def test_enhancing_and_oedema_exchanged_are_a_question(tmp_path):
    path = write_case(tmp_path, make_study(0, shape=(72, 76, 70)), {Label.NCR: 1, Label.ED: 3, Label.ET: 2})
    with pytest.raises(CodingError, match=r"oedema is brighter than|necrosis lies around"):
        load_segmentation(path)


def test_a_tumour_that_hardly_enhances_is_read_as_it_is_named(tmp_path):
    study = make_study(0, shape=(72, 76, 70))
    t1ce, labels = study.volumes[Modality.T1CE], study.segmentation.labels
    healthy = t1ce.data[(labels == 0) & (t1ce.data > 0)]
    data = t1ce.data.astype(np.float32)
    for label, percent in ((Label.ET, 20), (Label.ED, 45), (Label.NCR, 5)):
        data[labels == label] = np.percentile(healthy, percent)
    weak = replace(study, volumes={**study.volumes, Modality.T1CE: replace(t1ce, data=data)})
    mask = load_segmentation(write_case(tmp_path, weak, {Label.NCR: 1, Label.ED: 2, Label.ET: 3}))
    assert np.array_equal(mask.labels, labels) and not mask.note


@pytest.mark.parametrize("id_", [ID, "BraTS2021_00001"])
def test_a_mask_of_one_value_is_no_necrosis(tmp_path, id_):
    """0 and 1: nobody's tumour is nothing but necrosis, and masks of the whole tumour look so."""
    whole = dict.fromkeys((Label.NCR, Label.ED, Label.ET), 1)
    path = write_case(tmp_path, make_study(0), whole, id_=id_)
    for read in (load_segmentation, lambda p: load_study(p.parent)):
        with pytest.raises(CodingError, match=r"holds 1 alone.*1=TUMOUR"):
            read(path)
    assert load_segmentation(path, coding="1=TUMOUR").regions == (Region.WT,)
    assert load_segmentation(path, coding="brats2021").labels.any()
    enhancing = write_case(tmp_path / "b", make_study(0), {Label.ET: 3})
    assert load_segmentation(enhancing).labels.any()  # small metastases do so


def test_oedema_inside_necrosis_is_a_question(tmp_path):
    study = make_study(0, shape=(72, 76, 70))
    with pytest.raises(CodingError, match="what would be necrosis lies around"):
        load_segmentation(write_case(tmp_path, study, DECATHLON))
    sound = write_case(tmp_path / "b", study, {Label.NCR: 1, Label.ED: 2, Label.ET: 3})
    assert load_segmentation(sound).note == ""


# ------------------------------------------------------------------------------------------------------------ brain masks

SERIES = ("X_t1.nii.gz", "X_t1ce.nii.gz", "X_t2.nii.gz", "X_flair.nii.gz")
BRAINS = (
    "X_t1_mask", "X_t1_brainmask", "X_brain_mask", "X_brainmask", "X_ss_mask", "X_hdbet_mask", "X_hd_bet_mask", "X_bet_mask",
    "X_deepbet_mask", "X_skullstrip_mask", "X_synthstrip_mask", "X_t1_bet_mask", "X_mask_brain", "X_t1mask",
    "X_brain_segmentation",
)  # fmt: skip
TUMOURS = (
    "X_seg",
    "X_mask",
    "X_tumorMask",
    "OTMultiClass",
    "X_flair_seg",
    "X_lesion",
    "X_t1_tumor_mask",
    "X_tumour_segmentation",
)


@pytest.mark.parametrize("name", BRAINS)
def test_a_brain_mask_is_neither_tumour_nor_series(name):
    assert classify([*SERIES, f"{name}.nii.gz"])[-1] is None and classify([f"{name}.nii.gz"]) == [None]


@pytest.mark.parametrize("name", TUMOURS)
def test_a_tumour_mask_is_one(name):
    assert classify([*SERIES, f"{name}.nii.gz"])[-1] == MASK == classify([f"{name}.nii.gz"])[0]


@pytest.mark.parametrize("name", ["X_t1_ss", "X_t1_brain", "X_t1_bet", "tumor_001_t1"])
def test_stripped_images_are_images(name):
    assert classify([f"{name}.nii.gz"]) == [Modality.T1]


def test_no_tumour_has_the_size_of_a_brain(tmp_path):
    """Whatever the name says, and the coding."""
    brain = np.zeros((60, 60, 60), np.uint8)
    brain[5:55, 5:55, 5:55] = 1
    path = write(tmp_path / "Case_seg.nii.gz", brain, np.diag([2.0, 2, 2, 1]))
    for name in (None, "brats2021", "decathlon"):
        with pytest.raises(CodingError, match="1000 mL, the size of a whole brain"):
            load_segmentation(path, coding=name, implied="brats2021")


@given(st.floats(0.3, 2.5))
def test_the_size_counts_in_millilitres(side):
    values = np.ones((60, 60, 60), np.uint8)
    ml = 216 * side**3
    try:
        require_no_brain(values, Grid(values.shape, np.diag([side, side, side, 1])), Path("x"))
        assert ml <= BRAIN_ML * 1.001
    except CodingError:
        assert ml > BRAIN_ML * 0.999


# ---------------------------------------------------------------------------------------------------------- any coding at all

CLASSES = [label for label in Label if label]


@given(st.dictionaries(st.integers(1, 254), st.sampled_from(CLASSES), min_size=1, max_size=5))
def test_a_coding_can_be_written_out(table):
    name = ",".join(f"{value}={label.name}" for value, label in table.items())
    read = coding(name)
    assert dict(read.values) == {0: Label.BACKGROUND, **table} and coding(read.name) == read


@pytest.mark.parametrize("text", ["1=ED,1=ET", "0=ED", "300=ED", "1=foo", "ED=1", "1=ED,", "="])
def test_what_is_no_coding_is_refused(text):
    with pytest.raises(CodingError, match="like 1=ED,2=NCR,3=ET"):
        coding(text)


def test_the_paediatric_coding():
    values = np.array([0, 1, 2, 3, 4], np.uint8)
    assert CODINGS["brats-ped"].to_canonical(values).tolist() == [0, Label.ET, Label.NCR, Label.NCR, Label.ED]


def test_masks_stored_with_a_scale_are_read(tmp_path):
    data = np.zeros((6, 7, 8), np.float32)
    data[1, 1, 1:4] = (1.0000153, 3.9999, 0.99999997)
    data[2, 2, 2] = 2
    mask = load_segmentation(write(tmp_path / "a_seg.nii.gz", data), coding="brats2021")
    assert mask.labels[1, 1, 1:4].tolist() == [Label.NCR, Label.ET, Label.NCR]
    data[3, 3, 3] = 1.5
    with pytest.raises(CodingError, match="fractional"):
        load_segmentation(write(tmp_path / "b_seg.nii.gz", data), coding="brats2021")


# ---------------------------------------------------------------------------------------------------------------- sidecars


def test_a_sidecar_that_begins_with_a_mark_is_read(tmp_path):
    path = write_case(tmp_path, make_study(0), EARLIER)
    path.with_name(path.name.replace(".nii.gz", ".json")).write_bytes(b'\xef\xbb\xbf{"coding": "brats2021"}')
    assert load_segmentation(path).coding == "brats2021"


def test_a_folder_in_a_sidecars_place_is_said_with_what_to_do(tmp_path):
    path = write_case(tmp_path, make_study(0), EARLIER)
    path.with_name(path.name.replace(".nii.gz", ".json")).mkdir()
    with pytest.raises(InputError, match=r"seg\.json cannot be read .* Move it away, and name the coding"):
        load_segmentation(path)
