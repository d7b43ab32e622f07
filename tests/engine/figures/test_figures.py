"""Figures: the right slice, the right way round for any orientation of the files, and whole files only."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from brainseg_engine.core.errors import GeometryError, InputError, OutputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.palette import LABEL_COLOURS, REGION_COLOURS
from brainseg_engine.core.study import Modality, Segmentation, Study, Volume
from brainseg_engine.figures import PLANES, PagePlane, curves_figure, overlay_figure
from brainseg_engine.figures.overlay import OPACITY

SHAPE = (30, 36, 24)


def _study() -> tuple[Study, Segmentation]:
    """A block of a brain in RAS with an enhancing tumour near its right, anterior, superior corner."""
    grid = Grid(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0]))
    data = np.zeros(SHAPE, dtype=np.int16)
    data[3:27, 3:33, 3:21] = 100
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[19:25, 24:30, 14:19] = Label.ED
    labels[20:24, 25:29, 15:18] = Label.ET
    volumes = {m: Volume(data, grid, m) for m in Modality}
    return Study("one", volumes), Segmentation(labels, grid, made_by="a person")


def _turned(study: Study, mask: Segmentation, codes: str) -> tuple[Study, Segmentation]:
    """The same patient with the files' voxels in another order."""
    grid = study.reference.grid
    way = ornt_transform(io_orientation(grid.affine), axcodes2ornt(codes))
    affine = grid.affine @ inv_ornt_aff(way, grid.shape)

    def turn(array: Any) -> Any:
        return np.ascontiguousarray(apply_orientation(array, way))

    new = Grid(turn(mask.labels).shape, affine)
    assert new.orientation == codes
    volumes = {m: Volume(turn(v.data), new, m) for m, v in study.volumes.items()}
    return Study(study.id, volumes), replace(mask, labels=turn(mask.labels), grid=new)


def _pixels(path: Path) -> Any:
    return matplotlib.image.imread(path)[..., :3]


def _places(pixels: Any, colour: tuple[float, float, float]) -> Any:
    """(row, column) of the pixels whose hue is the colour's, half laid over a grey."""
    saturated = pixels - pixels.min(axis=2, keepdims=True)
    wanted = np.array(colour) - min(colour)
    return np.argwhere(np.abs(saturated - OPACITY * wanted).max(axis=2) < 0.06)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "PIR", "SRA"])
def test_the_picture_is_the_same_whatever_the_orientation(tmp_path: Path, codes: str) -> None:
    study, mask = _study()
    overlay_figure(study, mask, tmp_path / "ras.png")
    overlay_figure(*_turned(study, mask, codes), tmp_path / "turned.png")
    assert np.array_equal(_pixels(tmp_path / "ras.png"), _pixels(tmp_path / "turned.png"))


def test_the_patients_right_is_on_the_left_and_front_and_top_are_up(tmp_path: Path) -> None:
    study, mask = _study()
    overlay_figure(study, mask, tmp_path / "a.png")
    pixels = _pixels(tmp_path / "a.png")
    tumour = _places(pixels, LABEL_COLOURS[Label.ED])
    grey = (np.ptp(pixels, axis=2) < 0.02) & (pixels.mean(axis=2) > 0.5)
    columns = np.arange(pixels.shape[1])
    for n, plane in enumerate(PLANES):
        low, high = _panel(n, pixels.shape[1])
        block = grey[: int(pixels.shape[0] * 0.6), :] & (columns >= low) & (columns < high)
        rows_of_brain, columns_of_brain = np.nonzero(block)
        part = tumour[(tumour[:, 1] >= low) & (tumour[:, 1] < high) & (tumour[:, 0] < pixels.shape[0] * 0.6)]
        assert len(part) > 100, plane.name
        assert part[:, 0].mean() < (rows_of_brain.min() + rows_of_brain.max()) / 2, plane.name  # anterior or superior
        middle = (columns_of_brain.min() + columns_of_brain.max()) / 2
        assert part[:, 1].mean() < middle, plane.name  # the patient's right; anterior in the sagittal plane


def _panel(n: int, width: float) -> tuple[float, float]:
    """About which columns the n-th of the three large panels takes (60, 60 and 72 mm wide here)."""
    edges = np.cumsum([0, 60, 60, 72]) / 192 * width
    return float(edges[n]), float(edges[n + 1])


@pytest.mark.parametrize(
    ("plane", "marks"),
    list(zip(PLANES, [("R", "L", "A", "P"), ("R", "L", "S", "I"), ("A", "P", "S", "I")], strict=True)),
)
def test_marks(plane: PagePlane, marks: tuple[str, str, str, str]) -> None:
    assert plane.marks == marks
    # The marks say what `cut` does: the voxel furthest towards each mark lies at that edge of the page.
    array = np.zeros((5, 6, 7), dtype=int)
    for axis, letters in enumerate(("LR", "PA", "IS")):
        for end, letter in zip((0, -1), letters, strict=True):
            if letter in marks:
                array.swapaxes(0, axis)[end] = ord(letter)
    page = plane.cut(array, 3)
    h, w = page.shape[0] // 2, page.shape[1] // 2
    assert [chr(v) for v in (page[h, 0], page[h, -1], page[0, w], page[-1, w])] == list(marks)


def test_truth_and_dice_are_drawn(tmp_path: Path) -> None:
    study, mask = _study()
    overlay_figure(study, mask, tmp_path / "plain.png")
    overlay_figure(study, mask, tmp_path / "truth.png", mask)
    overlay_figure(study, mask, tmp_path / "dice.png", mask, dice=dict.fromkeys(Region, 0.5))
    plain, truth, dice = (_pixels(tmp_path / f"{n}.png") for n in ("plain", "truth", "dice"))
    assert (np.abs(plain - truth).max(axis=2) > 0.2).sum() > 200
    assert (np.abs(dice - truth).max(axis=2) > 0.2).sum() > 50


@pytest.mark.parametrize("empty", ["mask", "images"])
def test_empty_masks_and_images_can_be_drawn(tmp_path: Path, empty: str) -> None:
    study, mask = _study()
    if empty == "mask":
        mask = replace(mask, labels=np.zeros_like(mask.labels))
    else:
        study = Study("dark", {m: replace(v, data=np.zeros_like(v.data)) for m, v in study.volumes.items()})
    overlay_figure(study, mask, tmp_path / "a.png")
    assert _pixels(tmp_path / "a.png").shape[2] == 3


def test_one_series_thick_slices_and_nan_can_be_drawn(tmp_path: Path) -> None:
    grid = Grid((20, 24, 5), np.diag([1.0, 1.0, 6.0, 1.0]))
    data = np.full(grid.shape, np.nan, dtype=np.float32)
    data[4:16, 4:20] = 5.0
    labels = np.zeros(grid.shape, dtype=np.uint8)
    labels[8:12, 8:12, 2] = Label.TUMOUR
    study = Study("one", {Modality.FLAIR: Volume(data, grid, Modality.FLAIR)})
    overlay_figure(study, Segmentation(labels, grid, regions=(Region.WT,)), tmp_path / "a.png")
    assert len(_places(_pixels(tmp_path / "a.png"), LABEL_COLOURS[Label.TUMOUR])) > 20


def test_a_mask_of_another_grid_is_refused(tmp_path: Path) -> None:
    study, mask = _study()
    other = replace(mask, grid=Grid(SHAPE, np.diag([1.0, 2.0, 2.0, 1.0])))
    with pytest.raises(GeometryError, match="different grids"):
        overlay_figure(study, other, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_nothing_can_be_written(tmp_path: Path) -> None:
    study, mask = _study()
    with pytest.raises(OutputError):
        overlay_figure(study, mask, tmp_path / "no" / "a.png")


def _metrics(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(
            file, ["epoch", "step", "loss", "learning_rate", "dice_WT", "dice_TC", "dice_ET", "seconds"]
        )
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_curves_show_loss_and_dice(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"epoch": i, "step": 10 * i, "loss": 1 / (1 + i)} for i in range(20)]
    curves_figure(_metrics(tmp_path / "m.csv", rows), tmp_path / "loss.png")
    for i in (4, 9, 14, 19):
        rows[i] |= {"dice_WT": 0.04 * i, "dice_TC": 0.03 * i, "dice_ET": 0.02 * i}
    curves_figure(_metrics(tmp_path / "m.csv", rows), tmp_path / "dice.png")
    loss, dice = _pixels(tmp_path / "loss.png"), _pixels(tmp_path / "dice.png")
    half = loss.shape[1] // 2
    for region in Region:
        near = np.abs(dice[:, half:] - np.array(REGION_COLOURS[region])).max(axis=2) < 0.02
        assert near.sum() > 100
        assert not (np.abs(loss[:, half:] - np.array(REGION_COLOURS[region])).max(axis=2) < 0.02).any()
    assert np.array_equal(loss[60:, : half - 60], dice[60:, : half - 60])


def test_curves_of_an_empty_or_foreign_table(tmp_path: Path) -> None:
    curves_figure(_metrics(tmp_path / "m.csv", []), tmp_path / "empty.png")
    assert (tmp_path / "empty.png").exists()
    (tmp_path / "bad.csv").write_text("step,loss\n1,high\n")
    for bad in (tmp_path / "bad.csv", tmp_path / "none.csv"):
        with pytest.raises(InputError, match="no table of training metrics"):
            curves_figure(bad, tmp_path / "x.png")
    assert not (tmp_path / "x.png").exists()


def test_colours_differ_for_readers_who_see_colours_otherwise() -> None:
    """Every pair of class colours stays apart in simulated deuteranopia and protanopia (Viénot et al. 1999)."""
    to_lms = np.array([[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]])
    deutan = np.array([[1, 0, 0], [0.494207, 0, 1.24827], [0, 0, 1]])
    protan = np.array([[0, 2.02344, -2.52581], [0, 1, 0], [0, 0, 1]])
    shown = [np.array(LABEL_COLOURS[c]) for c in (Label.NCR, Label.ED, Label.ET)]
    for sight in (np.eye(3), deutan, protan):
        seen = [np.linalg.inv(to_lms) @ sight @ to_lms @ (c**2.2) for c in shown]
        for i, one in enumerate(seen):
            for other in seen[i + 1 :]:
                assert np.abs(one - other).max() > 0.2
