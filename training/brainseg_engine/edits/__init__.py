"""Corrections as pure functions on canonical labels: what may be painted (:mod:`.rules`), and tools that work in 3D."""

from __future__ import annotations

from brainseg_engine.edits.clicks import Click, Scene, box_clicks, click_to_fix
from brainseg_engine.edits.interpolation import interpolate
from brainseg_engine.edits.rules import (
    FREE,
    Action,
    Edit,
    Guard,
    Range,
    Stroke,
    Target,
    changes,
    constrain,
    members,
    reshape,
    stroke,
    target_mask,
    target_name,
)
from brainseg_engine.edits.shapes import (
    component_at,
    enclosed,
    erase_component,
    fill_holes,
    grow,
    limits_like,
    relabel_component,
    remove_islands,
    smooth,
    take_region,
)

__all__ = [
    "FREE",
    "Action",
    "Click",
    "Edit",
    "Guard",
    "Range",
    "Scene",
    "Stroke",
    "Target",
    "box_clicks",
    "changes",
    "click_to_fix",
    "component_at",
    "constrain",
    "enclosed",
    "erase_component",
    "fill_holes",
    "grow",
    "interpolate",
    "limits_like",
    "members",
    "relabel_component",
    "remove_islands",
    "reshape",
    "smooth",
    "stroke",
    "take_region",
    "target_mask",
    "target_name",
]
