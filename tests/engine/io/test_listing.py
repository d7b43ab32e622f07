"""A path stands for a series: a folder, or any file of it."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_studies import ball, grid_of, new_person, write_series

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.study import Modality
from brainseg_engine.io import load_study, read_volume
from brainseg_engine.io.listing import series_at
from brainseg_engine.phantom.dicom import SeriesPlan

GRID = grid_of((34, 32, 9))


def write(folder, seed=0, **plan):
    return write_series(folder, ball(GRID, seed), GRID, new_person(), SeriesPlan(**plan))


def test_dicom_series_are_assigned_by_folder_or_by_any_file(tmp_path):
    write(tmp_path / "a", 0, number=1)
    write(tmp_path / "flat", 1, number=2)
    files = write(tmp_path / "flat", 2, number=3)
    study = load_study({Modality.T1: tmp_path / "a", Modality.T1CE: files[4]})
    np.testing.assert_array_equal(study.volumes[Modality.T1].data, ball(GRID, 0))
    np.testing.assert_array_equal(study.volumes[Modality.T1CE].data, ball(GRID, 2))
    again = read_volume(study.volumes[Modality.T1CE].path, Modality.T1CE)
    assert again.sha256 == study.volumes[Modality.T1CE].sha256


def test_a_folder_of_several_series_asks_which(tmp_path):
    write(tmp_path, 0, number=1, description="first")
    write(tmp_path, 1, number=2, description="second")
    with pytest.raises(InputError, match=r"holds 2 series \('first', 'second'\), and one is wanted"):
        read_volume(tmp_path, Modality.T1)


def test_a_file_of_no_series_says_why(tmp_path):
    files = write(tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:500])
    with pytest.raises(InputError, match="is cut short"):
        series_at(files[3])


def test_changed_files_are_listed_anew(tmp_path):
    files = write(tmp_path)
    assert len(series_at(files[0]).slices) == 9
    files[3].unlink()
    assert len(series_at(files[0]).slices) == 8
