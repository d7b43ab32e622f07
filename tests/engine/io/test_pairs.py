"""A mask and its sidecar are one result: a kill between the two is seen, and so is a change by somebody else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.on_disk import affine_of

from brainseg_engine.core.errors import CodingError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Segmentation
from brainseg_engine.io import load_segmentation, save_segmentation
from brainseg_engine.io.sidecars import read_sidecar, sidecar_state


def segmentation(value: int = 1) -> Segmentation:
    labels = np.zeros((7, 6, 5), np.uint8)
    labels[2:4, 2:4, 2:4] = value
    return Segmentation(labels, Grid(labels.shape, affine_of("RAS")), "brats2023")


def test_a_pair_is_whole(tmp_path):
    path = tmp_path / "a_seg.nii.gz"
    assert sidecar_state(path) == "none"
    save_segmentation(segmentation(), path, sidecar={"model": "A"})
    assert sidecar_state(path) == "whole" and read_sidecar(path)["model"] == "A"


def test_a_kill_between_the_two_names_is_seen(tmp_path):
    path, beside = tmp_path / "a_seg.nii.gz", tmp_path / "a_seg.json"
    save_segmentation(segmentation(1), path, sidecar={"model": "A"}, coding="brats2021")
    shutil.copy(path, tmp_path / "old")
    save_segmentation(segmentation(3), path, sidecar={"model": "B"}, coding="brats2023")
    shutil.copy(tmp_path / "old", path)  # B's sidecar has its name, B's mask has not
    assert sidecar_state(path) == "torn" and read_sidecar(path) == {}
    with pytest.raises(CodingError, match="written for another mask"):
        load_segmentation(path)
    assert load_segmentation(path, coding="brats2021").made_by == ""
    save_segmentation(segmentation(3), path, sidecar={"model": "B"})
    assert sidecar_state(path) == "whole" and json.loads(beside.read_text())["model"] == "B"


def test_a_mask_that_somebody_changed_is_told_from_a_torn_pair(tmp_path):
    path = tmp_path / "a_seg.nii.gz"
    save_segmentation(segmentation(1), path, sidecar={"model": "A"})
    save_segmentation(segmentation(2), tmp_path / "b_seg.nii.gz")
    shutil.copy(tmp_path / "b_seg.nii.gz", path)
    assert sidecar_state(path) == "changed" and read_sidecar(path) == {}


def test_a_sidecar_without_a_hash_counts(tmp_path):
    path = tmp_path / "a_seg.nii.gz"
    save_segmentation(replace(segmentation()), path)
    (tmp_path / "a_seg.json").write_text('{"coding": "brats2021", "model": "old"}')
    assert load_segmentation(path).made_by == "old"
