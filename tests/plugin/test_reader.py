from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.marker_studies import CODES, marker_study, write_files

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.study import Modality
from napari_brainseg._reader import get_reader, read_file, read_study
from napari_brainseg.display import axes, layers


@pytest.fixture
def study():
    return marker_study("LPS")


def add(viewer, tuples):
    from napari.layers import Layer

    return [viewer.add_layer(Layer.create(*t)) for t in tuples]


@pytest.mark.parametrize("code", CODES)
def test_a_folder_is_one_study(viewer, tmp_path, code):
    study = marker_study(code)
    folder = write_files(study, tmp_path)
    reader = get_reader(str(folder))
    assert reader is read_study
    add(viewer, reader(str(folder)))
    assert [layer.name for layer in viewer.layers] == ["T1", "T2", "FLAIR", "T1ce", "Segmentation"]
    assert [layer.visible for layer in viewer.layers] == [False, False, False, True, True]
    assert {layers.layer_study_id(layer) for layer in viewer.layers} == {study.id}
    again = layers.study_of(viewer)
    for m in Modality:
        np.testing.assert_array_equal(again.volumes[m].data, study.volumes[m].data)
    seg = layers.segmentation_of(layers.labels_layers(viewer)[0])
    np.testing.assert_array_equal(seg.labels, study.segmentation.labels)
    assert seg.coding == "brats2023"
    reference = layers.layer_info(layers.labels_layers(viewer)[0]).reference
    assert reference.modality is Modality.T1CE and reference.header is not None


def test_several_files_are_one_study_and_a_mask_joins_the_study_of_its_name(viewer, study, tmp_path):
    folder = write_files(study, tmp_path)
    images = sorted(str(p) for p in folder.glob("*-t*.nii.gz"))
    assert get_reader(images) is read_study
    add(viewer, read_study(images))
    mask = str(next(folder.glob("*-seg.nii.gz")))
    assert get_reader(mask) is read_file
    (layer,) = add(viewer, read_file(mask))
    assert layer in layers.labels_layers(viewer, study.id)
    np.testing.assert_array_equal(layers.labels_of(layer), study.segmentation.labels)


@pytest.mark.parametrize("code", CODES)
def test_a_single_file_is_an_image_the_right_way_round(viewer, tmp_path, code):
    study = marker_study(code)
    for name, known in (("someone_flair.nii.gz", Modality.FLAIR), ("something.nii", None)):
        volume = study.volumes[Modality.FLAIR]
        nib.save(nib.Nifti1Image(volume.data, volume.grid.affine), tmp_path / name)
        (layer,) = add(viewer, read_file(str(tmp_path / name)))
        assert layers.layer_modality(layer) is known and layer.name == name.split(".")[0]
        index = (3, 8, 5)
        world = axes.ras_to_world(volume.grid.to_world(index))
        assert layer.get_value(world, world=True) == volume.data[index]


def test_what_is_not_ours_is_left_to_others(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "cells.tif").write_bytes(b"II")
    (tmp_path / "sub").mkdir()
    for path in (
        tmp_path,
        tmp_path / "notes.txt",
        tmp_path / "cells.tif",
        tmp_path / "sub",
        tmp_path / "absent.nii.gz",
    ):
        assert get_reader(str(path)) is None
    assert get_reader([]) is None
    assert get_reader([str(tmp_path / "cells.tif"), str(tmp_path / "notes.txt")]) is None
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), np.eye(4)), tmp_path / "sub" / "ct.nii.gz")
    assert get_reader(str(tmp_path / "sub")) is None  # NIfTI, but no study


def test_a_damaged_file_is_a_sentence_with_its_name(study, tmp_path):
    folder = write_files(study, tmp_path)
    broken = next(folder.glob("*-t2f.nii.gz"))
    broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(BrainsegError, match=broken.name):
        get_reader(str(folder))(str(folder))


def test_a_mask_whose_coding_nothing_tells_is_refused_with_the_choices(study, tmp_path):
    path = tmp_path / "patient_seg.nii.gz"
    nib.save(nib.Nifti1Image(study.segmentation.labels, study.segmentation.grid.affine), path)
    with pytest.raises(BrainsegError, match="brats2023"):
        read_file(str(path))


@pytest.mark.window
def test_a_folder_opened_in_napari_brings_the_panel_once(make_napari_viewer, qtbot, study, tmp_path):
    from napari.plugins import _initialize_plugins

    from napari_brainseg._reader import PANEL

    _initialize_plugins()
    folder = write_files(study, tmp_path)
    viewer = make_napari_viewer()
    assert viewer.open(str(folder), plugin=PANEL[0]) == []  # the panel opens it, as by its own button
    qtbot.waitUntil(lambda: any(PANEL[1] in name for name in viewer.window.dock_widgets), timeout=60_000)
    qtbot.wait(200)
    assert sum(PANEL[1] in name for name in viewer.window.dock_widgets) == 1
    qtbot.waitUntil(lambda: len(viewer.layers) == 5, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["T1", "T2", "FLAIR", "T1ce", "Segmentation"]
