"""Folders in which each series lies in a folder of its own: Kaggle's unpacked archives, and the Erasmus Glioma Database."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.small_study import make_study
from helpers.unpacked import EGD, KAGGLE, write_case
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality
from brainseg_engine.evaluation import evaluate
from brainseg_engine.io import find_studies, load_segmentation, load_study, save_segmentation, save_volume
from brainseg_engine.io.listing import list_series
from brainseg_engine.studies.incoming import is_export

CASES = [
    pytest.param("BraTS2021_0000{}", KAGGLE, "brats2021", id="kaggle"),
    pytest.param("EGD-000{}", EGD, "1=TUMOUR", id="egd"),
    pytest.param("MR_EGD-000{}", EGD, "1=TUMOUR", id="egd as exported"),
]


@pytest.mark.parametrize(("name", "layout", "coding"), CASES)
def test_every_door_opens_them(name, layout, coding, tmp_path):
    data = tmp_path / "data"
    folders = [write_case(data, name.format(n), layout, coding, n, f"0000005{n}") for n in (1, 2)]
    assert find_studies(data) == folders
    for n, folder in enumerate(folders, 1):
        study = load_study(folder)
        assert (
            study.id == name.format(n) and set(study.volumes) == set(Modality) and study.segmentation.coding == coding
        )
        expected = (Region.WT,) if coding == "1=TUMOUR" else tuple(Region)
        assert study.segmentation.regions == expected
        assert load_segmentation(study.segmentation.path).coding == coding  # the mask by itself
    result = CliRunner().invoke(app, ["inspect", str(folders[0])])
    assert (
        result.exit_code == 0
        and "Not used" not in result.output
        and f"coding {coding}" in " ".join(result.output.split())
    )
    result = CliRunner().invoke(app, ["data", "check", str(data), "--full"])
    assert result.exit_code == 0, result.output
    for folder in folders:
        mask = load_study(folder).segmentation
        save_segmentation(mask, tmp_path / "masks" / f"{folder.name}_seg.nii.gz", sidecar={})
    scores = evaluate(data, tmp_path / "masks")
    assert set(scores.cases) == {name.format(1), name.format(2)} and not scores.failed
    assert all(case[Region.WT].dice == 1 for case in scores.cases.values())


@pytest.mark.parametrize(("name", "layout", "coding"), CASES)
def test_the_windows_table_shows_one_visit_of_four_series(name, layout, coding, tmp_path):
    folder = write_case(tmp_path, name.format(1), layout, coding)
    assert not is_export(folder)
    with list_series(folder) as listing:
        (patient,) = listing.patients
        (visit,) = patient.visits
    assert patient.label == folder.name and [s.path for s in visit.series] == sorted(
        folder / layout[m].format(id=folder.name, inner="00000057") for m in Modality
    )


@pytest.mark.parametrize(("name", "layout", "coding"), CASES)
def test_predict_takes_them_and_gives_what_the_same_images_give_elsewhere(name, layout, coding, tmp_path, tiny_model):
    folder = write_case(tmp_path / "data", name.format(1), layout, coding)
    usual = tmp_path / "usual" / folder.name
    for m, volume in make_study(0, id=folder.name).volumes.items():
        save_volume(volume.data, volume.grid, usual / f"{folder.name}_{m}.nii.gz")
    for source, out in ((folder, "masks"), (usual, "expected")):
        words = [
            "predict",
            str(source),
            "--out",
            str(tmp_path / out),
            "--model",
            str(tiny_model),
            "--coding",
            "brats2021",
        ]
        result = CliRunner().invoke(app, [*words, "--device", "cpu"])
        assert result.exit_code == 0, result.output
    found, expected = (load_segmentation(tmp_path / out / f"{folder.name}_seg.nii.gz") for out in ("masks", "expected"))
    assert np.array_equal(found.labels, expected.labels) and found.grid.same_as(expected.grid)


def test_a_mask_of_the_whole_tumour_tells_of_no_core(tmp_path):
    mask = load_study(write_case(tmp_path, "EGD-0001", EGD, "1=TUMOUR")).segmentation
    assert set(np.unique(mask.labels)) == {0, Label.TUMOUR} and mask.regions == (Region.WT,)
    written = load_segmentation(mask.path, coding="1=tumour")
    assert written.regions == (Region.WT,)
