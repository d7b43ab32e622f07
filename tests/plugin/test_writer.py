from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from helpers.marker_studies import CODES, marker_study, write_files

from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.labels import Label
from brainseg_engine.io import load_study
from napari_brainseg._writer import write_labels
from napari_brainseg.display import axes, layers


@pytest.fixture
def study():
    return marker_study("LPS")


def save(layer, path) -> list[str]:
    data, meta, _ = layer.as_layer_data_tuple()
    return write_labels(str(path), data, meta)


@pytest.mark.parametrize("degrees", [0, 15])
@pytest.mark.parametrize("code", CODES)
def test_what_is_saved_is_what_was_loaded_on_its_true_grid(viewer, tmp_path, code, degrees):
    folder = write_files(marker_study(code, degrees=degrees), tmp_path)
    study = load_study(folder)
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id, reference=study.reference)
    assert save(layer, tmp_path / "out_seg.nii.gz") == [str(tmp_path / "out_seg.nii.gz")]
    original, written = (nib.load(p) for p in (next(folder.glob("*-seg.nii.gz")), tmp_path / "out_seg.nii.gz"))
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(original.dataobj))
    np.testing.assert_allclose(written.affine, original.affine, atol=1e-4)
    reference = nib.load(next(folder.glob("*-t1c.nii.gz"))).header
    assert written.header["qform_code"] == reference["qform_code"]
    assert written.header["xyzt_units"] == reference["xyzt_units"]


def test_it_goes_out_in_the_coding_it_came_in(viewer, tmp_path, study):
    from dataclasses import replace

    layer = layers.add_segmentation(viewer, replace(study.segmentation, coding="brats2021"), study_id=study.id)
    save(layer, tmp_path / "out_seg.nii.gz")
    written = np.asanyarray(nib.load(tmp_path / "out_seg.nii.gz").dataobj)
    np.testing.assert_array_equal(written == 4, study.segmentation.labels == Label.ET)


def test_a_layer_of_napari_s_own_goes_where_it_is_shown(viewer, tmp_path, study):
    images = layers.add_study(viewer, study)
    image = next(iter(images.values()))
    layer = viewer.add_labels(np.zeros(image.data.shape, np.uint8), scale=image.scale, affine=image.affine)
    index = (12, 7, 30)
    world = axes.ras_to_world(study.reference.grid.to_world(index))
    layer.data[tuple(np.round(layer.world_to_data(world)).astype(int))] = 3
    save(layer, tmp_path / "mine.nii.gz")
    written = nib.load(tmp_path / "mine.nii.gz")
    hit = np.argwhere(np.asanyarray(written.dataobj))
    assert len(hit) == 1
    there = nib.affines.apply_affine(written.affine, hit[0])
    np.testing.assert_allclose(there, study.reference.grid.to_world(index), atol=1e-4)


def test_values_that_are_no_classes_are_refused(viewer, tmp_path):
    layer = viewer.add_labels(np.arange(27, dtype=np.int32).reshape(3, 3, 3), name="cells")
    with pytest.raises(BrainsegError, match="'cells' holds 6, 7, 8"):
        save(layer, tmp_path / "cells.nii.gz")
    flat = viewer.add_labels(np.ones((3, 3), dtype=np.uint8), name="flat")
    with pytest.raises(BrainsegError, match="2 axes"):
        save(flat, tmp_path / "flat.nii.gz")
    assert not list(tmp_path.iterdir())
