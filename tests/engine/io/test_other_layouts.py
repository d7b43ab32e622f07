"""nnU-Net's raw folders, Slicer's segmentations, and what of a folder is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.on_disk import SHAPE, affine_of, image, write, write_mask, write_series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import CodingError, InputError
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.io import find_studies, load_segmentation, load_study
from brainseg_engine.studies import cohort
from brainseg_engine.studies.survey import survey

CHANNELS = {"0": "FLAIR", "1": "T1", "2": "T1ce", "3": "T2"}
NAMES = {"background": 0, "edema": 1, "enhancing tumor": 2, "necrotic core": 3}
REGIONS = {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [2, 3], "enhancing tumor": [3]}


def write_raw(root: Path, labels=NAMES, channels=CHANNELS, cases=("BRATS_001", "BRATS_002")) -> Path:
    for n, case in enumerate(cases):
        for c in range(4):
            write(root / "imagesTr" / f"{case}_{c:04d}.nii.gz", image(10 * n + c))
        write_mask(root / "labelsTr" / f"{case}.nii.gz", (1, 2, 3))
    content = {"channel_names": channels, "labels": labels, "numTraining": 2, "file_ending": ".nii.gz"}
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_a_channel_of_nnunet_is_no_case(tmp_path):
    root = write_raw(tmp_path)
    cases = cohort.list_cases(root)
    assert [c.name for c in cases] == ["BRATS_001", "BRATS_002"]
    study = load_study(cases[1].source)
    assert study.id == "BRATS_002" and set(study.volumes) == set(Modality)
    for c, m in enumerate((Modality.FLAIR, Modality.T1, Modality.T1CE, Modality.T2)):
        assert np.array_equal(study.volumes[m].data, image(10 + c))
    values = np.asarray(study.segmentation.labels)
    assert study.segmentation.coding == "1=ED,2=ET,3=NCR" and set(np.unique(values)) == {
        0,
        Label.NCR,
        Label.ED,
        Label.ET,
    }
    assert [(r.name, len(r.modalities)) for r in survey(root)] == [("BRATS_001", 4), ("BRATS_002", 4)]


def test_labels_told_as_regions(tmp_path):
    study = load_study(find_studies(write_raw(tmp_path, REGIONS))[0])
    assert study.segmentation.coding == "decathlon"


def test_labels_that_nobody_knows_are_a_question_for_the_mask_only(tmp_path):
    source = find_studies(write_raw(tmp_path, {"background": 0, "a": 1, "b": 2, "c": 3}))[0]
    assert set(load_study(source, segmentation=False).volumes) == set(Modality)
    with pytest.raises(CodingError):
        load_study(source)
    assert load_study(source, coding="brats2023").segmentation.coding == "brats2023"


def test_a_channel_that_is_absent_is_named(tmp_path):
    root = write_raw(tmp_path)
    (root / "imagesTr" / "BRATS_001_0002.nii.gz").unlink()
    with pytest.raises(InputError, match=r"BRATS_001_0002 \(T1ce\)"):
        load_study(find_studies(root)[0])


# ------------------------------------------------------------------------------------------------------------ 3D Slicer


def write_slicer(path: Path, labels, segments, affine=None) -> Path:
    """By pynrrd. ``labels`` (X, Y, Z), or (L, X, Y, Z) for layers; ``segments``: (name, value, layer) each."""
    import nrrd

    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (affine_of("LPS") if affine is None else affine)
    layered = labels.ndim == 4
    directions = [*([[np.nan] * 3] if layered else []), *affine[:3, :3].T.tolist()]
    header = {
        "space": "left-posterior-superior", "space directions": np.array(directions), "space origin": affine[:3, 3],
        "kinds": [*(["list"] if layered else []), "domain", "domain", "domain"], "encoding": "gzip",
    }  # fmt: skip
    for i, (name, value, layer) in enumerate(segments):
        header |= {f"Segment{i}_Name": name, f"Segment{i}_LabelValue": str(value), f"Segment{i}_Layer": str(layer)}
    path.parent.mkdir(parents=True, exist_ok=True)
    nrrd.write(str(path), labels.astype(np.uint8), header, index_order="F")
    return path


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations([1, 2, 3]))
def test_segments_mean_what_they_are_called(tmp_path, values):
    """Whatever value Slicer gave which of them."""
    expected = np.zeros(SHAPE, np.uint8)
    expected[1:4, 1:3, 1], expected[1, 1, 2:4], expected[3, 3, 3] = Label.ED, Label.NCR, Label.ET
    table = dict(zip((Label.ED, Label.NCR, Label.ET), values, strict=True))
    stored = np.zeros(SHAPE, np.uint8)
    for label, value in table.items():
        stored[expected == label] = value
    names = {Label.ED: "Edema", Label.NCR: "Necrosis", Label.ET: "Enhancing tumor"}
    (tmp_path / "a.seg.nrrd").unlink(missing_ok=True)
    path = write_slicer(tmp_path / "a.seg.nrrd", stored, [(names[k], v, 0) for k, v in table.items()])
    assert np.array_equal(load_segmentation(path).labels, expected)


def test_layers_overlap(tmp_path):
    layers = np.zeros((2, *SHAPE), np.uint8)
    layers[0, 1:5, 1:4, 1:4] = 1
    layers[1, 2:4, 2, 2] = 1
    path = write_slicer(tmp_path / "a.seg.nrrd", layers, [("Whole tumor", 1, 0), ("ET", 1, 1)])
    mask = load_segmentation(path)
    assert (mask.labels == Label.ET).sum() == 2 and (mask.labels > 0).sum() == 36
    assert set(mask.regions) == {Region.WT, Region.ET}


def test_a_segmentation_beside_its_series_is_seen_and_lies_on_their_grid(tmp_path):
    """Slicer saves the extent of the segments only."""
    write_series(tmp_path)
    affine = affine_of("LPS")
    part = affine.copy()
    part[:3, 3] = (affine @ [2, 1, 1, 1])[:3]
    labels = np.zeros((3, 4, 3), np.uint8)
    labels[1, 2, 1] = 7
    write_slicer(tmp_path / "Case_7.seg.nrrd", labels, [("necrotic", 7, 0)], part)
    mask = load_study(tmp_path).segmentation
    assert mask.labels.shape == SHAPE and np.argwhere(mask.labels).tolist() == [[3, 3, 2]]
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    assert "segments' names" in result.output


def test_segments_without_a_meaning_are_named(tmp_path):
    path = write_slicer(tmp_path / "a.seg.nrrd", np.ones(SHAPE), [("Segment_1", 1, 0)])
    with pytest.raises(CodingError, match="its segments are: Segment_1"):
        load_segmentation(path)


# ------------------------------------------------------------------------------------------------------------- left out


def test_what_is_not_used_is_said_with_the_reason(tmp_path):
    write_series(tmp_path)
    for name in ("Case_7_t1_mask", "Case_7_brainmask", "notes"):
        write_mask(tmp_path / f"{name}.nii.gz", (1,))
    (tmp_path / "Case_7_seg.img").write_bytes(b"x")
    (tmp_path / "Case_7_seg.mnc").write_bytes(b"x")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path)])
    text = " ".join(result.output.split())
    assert "Nothing is wrong" not in text
    assert "Case_7_brainmask.nii.gz, Case_7_t1_mask.nii.gz (a mask of the brain by its name" in text
    assert (
        "Case_7_seg.mnc (its format is not read" in text
        and "Case_7_seg.img (its header, named .hdr, is not beside it)" in text
        and "notes.nii.gz (the name tells no series)" in text
    )
    (report,) = survey(tmp_path)
    assert any("Case_7_t1_mask.nii.gz" in w for w in report.warnings)
    assert load_study(tmp_path).segmentation is None
