"""Images that show no face: what lies outside the brain is taken out, for what leaves the house."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from brainseg_engine.core.brain import air_of
from brainseg_engine.core.events import CancelCheck, never
from brainseg_engine.core.labels import Mask
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.prepare import brain_mask
from brainseg_engine.prepare.rigid import Rigid
from brainseg_engine.studies.skull import with_skull

MARGIN_MM = 2.0
"""How far around the brain is kept: lesions of its surface are not cut."""


def may_show_face(volumes: Mapping[Modality, Volume]) -> bool:
    """Whether more than a brain may be in these series: all air that was not masked out cleanly counts."""
    airs = [air_of(v.data) for v in volumes.values()]
    return any(air is None or air.noise > 0 for air in airs) or bool(with_skull(volumes, {}))


def brain_of(
    volumes: Mapping[Modality, Volume], method: brain_mask.Method = "deepbet", cancelled: CancelCheck = never
) -> Mask:
    """The brain and 2 mm around it, (X, Y, Z), on the one grid of these series. Raises InputError where none is found."""
    from scipy import ndimage

    first = next(iter(volumes.values()))
    still = dict.fromkeys(volumes, Rigid.identity())
    brain = brain_mask.find(volumes, still, first.grid, method, cancelled=cancelled).mask
    near: Mask = ndimage.distance_transform_edt(~brain, sampling=first.grid.spacing) <= MARGIN_MM
    return near


def faceless(study: Study, method: brain_mask.Method = "deepbet", cancelled: CancelCheck = never) -> Study:
    """The study with nothing but the brain in its series; the study itself where they hold nothing else.

    Series of one grid share what is found, others are looked at by themselves. The tumour of the study's mask is kept
    wherever it lies. Raises InputError where no brain is found.
    """
    if not may_show_face(study.volumes):
        return study
    if study.aligned:
        mask = brain_of(study.volumes, method, cancelled)
        masks = dict.fromkeys(study.volumes, mask)
    else:
        masks = {m: brain_of({m: v}, method, cancelled) for m, v in study.volumes.items()}
    seg = study.segmentation
    tumour = {m: seg.labels > 0 for m, v in study.volumes.items() if seg is not None and seg.grid.same_as(v.grid)}
    kept = {m: mask | tumour[m] if m in tumour else mask for m, mask in masks.items()}
    return replace(study, volumes={m: _only(v, kept[m]) for m, v in study.volumes.items()})


def _only(volume: Volume, mask: Mask) -> Volume:
    return replace(volume, data=np.where(mask, volume.data, volume.data.min()))
