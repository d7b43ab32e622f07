"""The records of a study."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from helpers.small_study import make_study

from brainseg_engine.core.errors import GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality, Segmentation, SeriesNeeded, Study, Volume

ALL = tuple(Modality)
SUBSETS = [c for n in range(1, 5) for c in combinations(ALL, n)]


def only(study: Study, modalities) -> Study:
    return replace(study, volumes={m: study.volumes[m] for m in modalities}, folder=Path("data/patient"))


@pytest.mark.parametrize("present", SUBSETS, ids=lambda s: "+".join(s))
def test_the_reference_is_t1ce_else_the_first_present(study, present):
    reference = only(study, present).reference.modality
    assert reference is (Modality.T1CE if Modality.T1CE in present else present[0])


@pytest.mark.parametrize("present", SUBSETS, ids=lambda s: "+".join(s))
def test_what_is_missing_is_named_and_nothing_else(study, present):
    part = only(study, present)
    if present == ALL:
        part.require(SeriesNeeded(ALL))
        return
    with pytest.raises(InputError) as e:
        part.require(SeriesNeeded(ALL))
    lacking = str(e.value).split(";")[0]
    assert {m for m in ALL if f" {m.title}," in f"{lacking} ".replace(" (", ", (")} == set(ALL) - set(present)
    assert "data/patient" in lacking
    part.require(SeriesNeeded(present))


@pytest.mark.parametrize("change", ["shape", "place"])
def test_other_grids_are_named_with_both_sides(study, change):
    flair = study.volumes[Modality.FLAIR]
    if change == "shape":
        data = flair.data[:-3]
        other = replace(flair, data=data, grid=Grid(data.shape, flair.grid.affine), path=Path("x_flair.nii.gz"))
    else:
        other = replace(flair, grid=flair.grid.crop((2, 0, 0), flair.grid.shape), path=Path("x_flair.nii.gz"))
    moved = replace(study, volumes={**study.volumes, Modality.FLAIR: other})
    assert study.aligned and not moved.aligned
    with pytest.raises(GeometryError, match=r"FLAIR \(x_flair.nii.gz\).*T1ce.*Align the series first"):
        moved.require(SeriesNeeded(ALL))
    moved.require(SeriesNeeded((Modality.T1, Modality.T2)))  # what a model does not need does not hinder it


def test_a_study_without_images_is_none():
    with pytest.raises(InputError, match="'empty' has no image"):
        Study("empty", {})


def test_records_that_contradict_themselves_are_refused(study):
    grid = Grid((3, 3, 3), np.eye(4))
    with pytest.raises(ValueError, match="does not fit its grid"):
        Volume(np.zeros((3, 3, 4)), grid, Modality.T1)
    for labels in (np.zeros((3, 3, 4), np.uint8), np.zeros((3, 3, 3), np.int16)):
        with pytest.raises(ValueError, match="do not fit the grid"):
            Segmentation(labels, grid)


def test_records_are_frozen():
    study = make_study()
    with pytest.raises(FrozenInstanceError):
        study.id = "other"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        study.reference.modality = Modality.T2  # type: ignore[misc]


@pytest.mark.parametrize("at_most", [1, 2, 3])
@pytest.mark.parametrize("present", SUBSETS, ids=lambda s: "+".join(s))
def test_as_many_series_may_be_missing_as_are_said(study, present, at_most):
    needed = SeriesNeeded(ALL, ALL[1:], at_most)
    lacking = set(ALL) - set(present)
    assert set(needed.lacking(present)) == lacking
    assert needed.met_by(present) == (ALL[0] not in lacking and len(lacking) <= at_most)
    if needed.met_by(present):
        only(study, present).require(needed)
    else:
        with pytest.raises(InputError, match="it can do without"):
            only(study, present).require(needed)


def test_of_some_series_one_must_be_there(study):
    needed = SeriesNeeded(ALL, ALL, 2, (Modality.T2, Modality.FLAIR))
    assert not needed.met_by((Modality.T1, Modality.T1CE))
    assert needed.met_by((Modality.T1CE, Modality.FLAIR)) and needed.met_by((Modality.T1, Modality.T2))
    with pytest.raises(InputError, match=r"up to two of .*, but not without all of T2, FLAIR"):
        only(study, (Modality.T1, Modality.T1CE)).require(needed)
