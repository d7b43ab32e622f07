"""The side of a region: given by the brain's symmetry, however the head lies, and not given where nothing is symmetrical."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import region_mask
from brainseg_engine.phantom import phantom_study
from brainseg_engine.scores.side import Midline, midline, side_of


@pytest.fixture(scope="module")
def study():
    return phantom_study(3, shape=(80, 80, 52))


def moved(grid: Grid, degrees, mm) -> tuple[Grid, np.ndarray]:
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("zyx", degrees, degrees=True).as_matrix()
    motion[:3, 3] = mm
    return Grid(grid.shape, motion @ grid.affine), motion


@pytest.mark.parametrize(
    ("degrees", "mm"), [((0, 0, 0), (0, 0, 0)), ((11, -9, 8), (30, -12, 5)), ((-12, 10, 4), (-8, 40, 0))]
)
def test_the_plane_turns_with_the_head(study, degrees, mm):
    reference = study.reference
    tumour = study.segmentation.labels > 0
    still = midline(reference.data, reference.grid, tumour)
    grid, motion = moved(reference.grid, degrees, mm)
    turned = midline(reference.data, grid, tumour)
    points = reference.grid.to_world(np.argwhere(reference.data[::8, ::8, ::8] > 0) * 8)
    there = points @ motion[:3, :3].T + motion[:3, 3]
    assert np.abs(turned.right_of(there) - still.right_of(points)).mean() < 2
    assert side_of(tumour, grid, turned) == side_of(tumour, reference.grid, still)


def test_a_mirrored_head_has_its_tumour_on_the_other_side(study):
    reference = study.reference
    tumour = study.segmentation.labels > 0
    flipped = reference.data[::-1], reference.grid, tumour[::-1]
    sides = [side_of(m, g, midline(d, g, m)) for d, g, m in ((reference.data, reference.grid, tumour), flipped)]
    assert set(sides) == {"left", "right"}


def test_half_of_a_head_and_noise_are_not_told(study):
    reference = study.reference
    half = np.where(np.arange(80)[:, None, None] < 40, reference.data, 0)
    noise = np.random.default_rng(0).normal(100, 20, reference.data.shape)
    assert midline(half, reference.grid) is None
    assert midline(noise, reference.grid) is None
    assert midline(reference.data, Grid(reference.grid.shape, reference.grid.affine, calibrated=False)) is None


def test_shares_of_both_sides():
    grid = Grid((40, 10, 10), np.diag([1.0, 1, 1, 1]))
    plane = Midline((1.0, 0.0, 0.0), 19.5, 1.0)
    mask = np.zeros(grid.shape, bool)
    assert side_of(mask, grid, plane) is None
    mask[30:36] = True
    assert side_of(mask, grid, plane) == "right"
    mask[19:20, :6] = True  # a tenth and less across the plane
    assert side_of(mask, grid, plane) == "right"
    mask[10:16] = True
    assert side_of(mask, grid, plane) == "both"


def test_the_report_tells_the_side_everywhere(study):
    from brainseg_engine.report import record as records
    from brainseg_engine.report.html import report_page

    record = records.build(study.segmentation, study)
    reference = study.reference
    plane = midline(reference.data, reference.grid, study.segmentation.labels > 0)
    for region in study.segmentation.regions:
        mask = region_mask(study.segmentation.labels, region)
        assert record["regions"][region.value]["side"] == side_of(mask, reference.grid, plane)
    rows = {(r["region"], r["quantity"]): r["value"] for r in records.quantities(record)}
    assert rows["WT", "side"] == record["regions"]["WT"]["side"]
    assert f"<td>{record['regions']['WT']['side']}</td>" in report_page(record, [])
    assert records.build(study.segmentation)["regions"]["WT"]["side"] is None
