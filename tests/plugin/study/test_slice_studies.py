"""Image slices and images of four channels in the viewer: the right way round, counted in voxels, never in mL."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.rig import Card, Model
from PIL import Image

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_segmentation, load_study
from napari_brainseg._reader import get_reader, read_file, read_study
from napari_brainseg.display import layers
from napari_brainseg.features.regions.measuring import measure
from napari_brainseg.features.save.verbs import report
from napari_brainseg.features.study.section import shown
from napari_brainseg.session import Kind

SIZE = (40, 50)  # rows, columns


@pytest.fixture
def folder(tmp_path) -> Path:
    folder = tmp_path / "TCGA_AB_1234_19990101"
    folder.mkdir()
    pictures = np.random.default_rng(0).integers(1, 256, (5, *SIZE, 3)).astype(np.uint8)
    for n, picture in enumerate(pictures, start=1):
        mask = np.zeros(SIZE, np.uint8)
        mask[3 : 3 + n, 30:34] = 255  # 60 pixels in all, in front and to the patient's left
        Image.fromarray(picture).save(folder / f"{folder.name}_{n}.tif")
        Image.fromarray(mask).save(folder / f"{folder.name}_{n}_mask.tif")
    return folder


def test_a_folder_of_slices_is_one_study_and_other_pictures_are_left_to_others(viewer, folder, tmp_path):
    from napari.layers import Layer

    assert get_reader(str(folder)) is read_study
    for made in read_study(str(folder)):
        viewer.add_layer(Layer.create(*made))
    assert [layer.name for layer in viewer.layers] == ["T1", "FLAIR", "T1ce", "Segmentation"]
    study = layers.study_of(viewer)
    assert not study.reference.grid.calibrated
    assert study.folder == folder
    movie = tmp_path / "movie"
    movie.mkdir()
    for n in range(3):
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(movie / f"movie_{n}.tif")
    assert get_reader(str(movie)) is None


def test_it_opens_without_complaint_and_tells_what_is_not_known(house, folder):
    house.study.open(folder)
    current = house.session.study
    assert house.session.message.kind is Kind.INFO
    assert current.findings == () and current.problems == ()
    assert set(current.study.volumes) == {Modality.T1, Modality.T1CE, Modality.FLAIR}
    text = shown(current, "")
    assert text.facts == "50×40×5 · voxel size unknown"
    assert "mm" not in text.facts_tip
    assert text.without_file == f"in {folder.name}"


def test_a_model_that_needs_t2_says_so_and_one_that_does_not_may_begin(house, folder):
    house.study.open(folder)
    assert "lacks T2" in house.session.blocker
    house.session.set_models((Model("slices", Card((Modality.T1, Modality.FLAIR, Modality.T1CE))),))
    assert house.session.blocker == ""


def test_numbers_are_voxels(house, folder):
    house.study.open(folder)
    current, seg = house.session.study, house.session.segmentation
    found = measure(seg.labels, seg.grid, seg.regions, current.truth).items
    assert (found["WT"].ml, found["WT"].voxels, found["WT"].dice) == (None, 60, None)
    assert (found["ET"].ml, found["ET"].voxels) == (None, None)  # what the mask does not tell
    assert report(current.study, seg, True, {})["regions"] == {
        "WT": {"volume_ml": None, "volume_voxels": 60},
        "TC": None,
        "ET": None,
    }


def test_what_is_saved_comes_back_on_the_same_grid(house, folder, tmp_path):
    house.study.open(folder)
    path = tmp_path / "saved" / f"{folder.name}_seg.nii.gz"
    house.save.save(path)
    assert house.session.message.kind is Kind.GOOD, house.session.message
    saved = load_segmentation(path)
    assert not saved.grid.calibrated
    assert saved.coding == "lgg"
    assert set(np.unique(saved.labels)) == {0, Label.TUMOUR}
    house.study.load_mask(path)
    assert house.session.message.kind is not Kind.ERROR, house.session.message
    np.testing.assert_array_equal(layers.labels_of(house.labels), saved.labels)


def test_an_image_of_four_channels_opens_as_a_study(house, viewer, tmp_path):
    root = tmp_path / "Task01"
    data = np.random.default_rng(0).integers(1, 99, (9, 8, 7, 4)).astype(np.int16)
    for name, values in (("imagesTr", data), ("labelsTr", (data[..., 0] % 4).astype(np.uint8))):
        (root / name).mkdir(parents=True)
        nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 1.0, 1.0])), root / name / "BRATS_001.nii.gz")
    channels = {"0": "FLAIR", "1": "T1w", "2": "t1gd", "3": "T2w"}
    labels = {"0": "background", "1": "edema", "2": "non-enhancing tumor", "3": "enhancing tumour"}
    (root / "dataset.json").write_text(json.dumps({"modality": channels, "labels": labels}))
    path = root / "imagesTr" / "BRATS_001.nii.gz"
    assert get_reader(str(path)) is read_file
    assert [t[1]["name"] for t in read_file(str(path))] == ["T1", "T2", "FLAIR", "T1ce", "Segmentation"]
    house.study.open([path])
    study = house.session.study.study
    assert (study.id, set(study.volumes)) == ("BRATS_001", set(Modality))
    np.testing.assert_array_equal(study.volumes[Modality.T1CE].data, data[..., 2])
    assert house.session.segmentation.coding == "decathlon"


def test_no_millimetres_stand_over_slices(viewer, folder):
    from napari_brainseg.display.planes import Marks

    marks = Marks(viewer)
    bar = viewer.canvas.overlays["scale_bar"]
    assert bar.visible
    layers.add_study(viewer, load_study(folder))
    assert not bar.visible
    viewer.layers.clear()
    assert bar.visible
    marks.close()
