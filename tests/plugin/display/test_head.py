"""The small head in 3D is turned as the patient is."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_brainseg.display.head import NOSE, SIDE, picture
from napari_brainseg.display.planes import letters_in_3d

DIRECTIONS = [((0.3, 1.0, 0.45), (-1, 0, 0)), ((0, 0.2, 1), (-1, 0, 0)), ((0.1, 0, -1), (-1, 0, 0)), ((1, 0.2, 0), (0, -1, 0)),
              ((-1, 0.1, 0), (0, -1, 0)), ((0.2, 0.1, 1), (1, 0, 0))]  # fmt: skip


def seen(view, up) -> tuple[np.ndarray, tuple[str, ...]]:
    viewer = ViewerModel(ndisplay=3)
    camera = viewer.scene.camera
    camera.set_view_direction(view, up)
    along, above = (np.asarray(d) for d in (camera.view_direction, camera.up_direction))
    return picture(along, above, np.cross(along, above)), letters_in_3d(viewer)


def centre(where) -> np.ndarray:
    return np.argwhere(where).mean(axis=0)


@pytest.mark.parametrize(("view", "up"), DIRECTIONS)
def test_the_nose_points_where_the_letter_a_stands(view, up):
    made, (top, bottom, left, right) = seen(view, up)
    head = made[..., 3] > 0
    assert 0.1 < head.mean() < 0.6 and not head[[0, -1]].any() and not head[:, [0, -1]].any()
    colour = made[..., :3] / np.maximum(made[..., :1], 1e-6)
    nose = head & (np.abs(colour - np.array(NOSE) / NOSE[0]).max(axis=-1) < 0.02)
    sides = dict(zip((top, bottom, left, right), ((-1, 0), (1, 0), (0, -1), (0, 1)), strict=True))
    if "A" in sides:
        assert (centre(nose) - centre(head)) @ np.array(sides["A"]) > SIDE / 8
    else:  # from the front
        assert nose.any() and abs(centre(nose) - centre(head)).max() < SIDE / 4


def test_from_behind_there_is_no_face():
    made, _ = seen((0, -1, 0), (-1, 0, 0))
    colour = made[..., :3].max(axis=-1)
    assert (made[..., 3] > 0).any() and not ((made[..., 3] > 0) & (colour < 0.2)).any()
