"""Left is left, read off screenshots: a marker on each anatomical axis, in files of four orientations.

Nothing here looks at an affine. What counts is at which pixel of the canvas a marker's colour stands.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from helpers.marker_studies import CENTRE, CODES, MARKER_RADIUS_MM, MARKERS, marker_study, write_files

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.palette import LABEL_COLOURS
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import load_segmentation, load_study
from napari_brainseg._writer import write_labels
from napari_brainseg.display import axes, layers, planes, region_layer, region_style
from napari_brainseg.display.surfaces import SurfaceManager

pytestmark = pytest.mark.window

SHOWN: dict[str, dict[Label, tuple[int, int]]] = {
    "axial": {Label.ET: (0, -1), Label.NCR: (-1, 0)},  # the right marker to the left, the anterior one up
    "coronal": {Label.ET: (0, -1), Label.ED: (-1, 0)},  # the right marker to the left, the superior one up
    "sagittal": {Label.NCR: (0, -1), Label.ED: (-1, 0)},  # the anterior marker to the left, the superior one up
}
"""Plane → label of each marker that its middle slice cuts → the side of the canvas where it belongs (down, right)."""

VIEWS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "axial": ((-1, 0, 0), (0, -1, 0)),  # from the feet
    "coronal": ((0, 1, 0), (-1, 0, 0)),  # from the front
    "sagittal": ((0, 0, -1), (-1, 0, 0)),  # from the patient's left
}
"""The directions from which 3D looks like the planes: where the camera looks, and what is up, in (I, P, L)."""


@pytest.fixture
def window(shared_viewer):
    """A real viewer with black canvas and nothing on it but the data."""
    shared_viewer.window.resize(900, 700)
    return shared_viewer


def shot(viewer) -> np.ndarray:
    """The canvas as RGB, height × width × 3."""
    return viewer.screenshot(canvas_only=True, flash=False)[..., :3].astype(int)


def pixels_of(picture: np.ndarray, label: Label) -> np.ndarray:
    """Mask of the pixels in the hue of a label, whatever the lighting."""
    colour = np.array(LABEL_COLOURS[label])
    norm = np.linalg.norm(picture, axis=-1)
    likeness = picture @ (colour / np.linalg.norm(colour)) / np.maximum(norm, 1)
    others = [np.array(LABEL_COLOURS[v]) for v in MARKERS if v != label]
    rest = np.max([picture @ (c / np.linalg.norm(c)) / np.maximum(norm, 1) for c in others], axis=0)
    return (likeness > 0.97) & (likeness > rest) & (norm > 60)


def middle(mask: np.ndarray) -> np.ndarray:
    """Centre of a mask as (down, right) pixels."""
    assert mask.sum() > 60, "the marker is not on the picture"
    return np.argwhere(mask).mean(0)


def expect(picture: np.ndarray, plane: str, zoom: float) -> None:
    """The markers stand on their sides of the centre of the canvas, as far away as in the patient."""
    centre = np.array(picture.shape[:2]) / 2
    for label, side in SHOWN[plane].items():
        distance = max(np.abs(MARKERS[label])) * zoom
        np.testing.assert_allclose(
            middle(pixels_of(picture, label)) - centre, np.array(side) * distance, atol=1.6 * zoom,
            err_msg=f"{plane}: {label.name}",
        )  # fmt: skip


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Dice of two masks of pixels."""
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def look(viewer, study, plane: str) -> float:
    """The middle slice of a plane, centred, at a fixed zoom; returns pixels per mm."""
    centre = axes.ras_to_world(CENTRE)  # of the ellipsoid
    planes.set_plane(viewer, plane)
    viewer.dims.point = tuple(centre)
    viewer.scene.camera.zoom = 5.0
    shown = centre[list(viewer.dims.order[1:])]
    viewer.scene.camera.center = (0.0, float(shown[0]), float(shown[1]))
    return 5.0


def solid(layer) -> None:
    """The three classes, opaque."""
    view = region_style.RegionView().with_scheme("classes")
    for item in ("NCR", "ED", "ET"):
        view = view.with_item(item, opacity=1.0)
    region_layer.apply_region_view(layer, view)


def predicted(study, recipe) -> Segmentation:
    """The way of a prediction with a stand-in for the network: it finds each marker in the one modality that shows it."""
    import torch

    from brainseg_engine.inference.postprocess import to_labels
    from brainseg_engine.inference.predictor import infer
    from brainseg_engine.recipe import Postprocess

    def network(x: torch.Tensor) -> torch.Tensor:
        bright = x > (x.amax(dim=(2, 3, 4), keepdim=True) * 0.5)
        ncr, et, ed = (bright[:, recipe.modalities.index(m)] for m in (Modality.T1, Modality.T1CE, Modality.FLAIR))
        masks = {Region.WT: ncr | et | ed, Region.TC: ncr | et, Region.ET: et}
        return torch.stack([masks[r] for r in recipe.output.regions], dim=1).float() * 20 - 10

    found, _ = infer(network, study, recipe, "cpu")
    labels = to_labels(found, recipe.output, Postprocess(), study.reference.grid)  # markers are small
    return Segmentation(labels, study.reference.grid, coding=study.coding)


def pictures(viewer, study, layer) -> dict[str, np.ndarray]:
    """Plane → screenshot, with every marker of the labels and of the image at its place."""
    solid(layer)
    out = {}
    for plane in SHOWN:
        zoom = look(viewer, study, plane)
        layer.visible = True
        out[plane] = shot(viewer)
        expect(out[plane], plane, zoom)
        layer.visible = False
        bright = shot(viewer).min(axis=-1) > 200
        marked = np.any([pixels_of(out[plane], v) for v in SHOWN[plane]], axis=0)
        assert overlap(bright, marked) > 0.85, f"{plane}: the labels are not where the image is bright"
        layer.visible = True
    return out


@pytest.mark.parametrize("code", CODES)
def test_left_is_left_after_load_predict_save_and_load_again(window, tmp_path: Path, code: str, tiny_recipe):
    study = load_study(write_files(marker_study(code), tmp_path))
    images = layers.add_study(window, study)
    for modality, image in images.items():
        image.visible = modality is Modality.T2
    truth = layers.add_segmentation(window, study.segmentation, study_id=study.id, reference=study.reference)
    pictures(window, study, truth)
    window.layers.remove(truth)

    prediction = predicted(study, tiny_recipe)
    layer = layers.add_segmentation(window, prediction, study_id=study.id, reference=study.reference)
    shown = pictures(window, study, layer)
    data, meta, _ = layer.as_layer_data_tuple()
    saved = tmp_path / "saved" / f"{study.id}-seg.nii.gz"
    write_labels(str(saved), data, meta)
    window.layers.remove(layer)

    loaded = load_segmentation(saved, coding="brats2023", grid=study.reference.grid)
    layer = layers.add_segmentation(window, loaded, study_id=study.id)
    again = pictures(window, study, layer)
    for plane, picture in shown.items():
        np.testing.assert_array_equal(again[plane], picture)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.slow
def test_left_is_left_in_3d_for_surfaces_and_volumes_together(window, tmp_path: Path, code: str, qtbot):
    study = load_study(write_files(marker_study(code), tmp_path))
    images = layers.add_study(window, study)
    labels = layers.add_segmentation(window, study.segmentation, study_id=study.id)
    solid(labels)
    look(window, study, "coronal")  # from another plane than axial, where napari would draw the two apart
    manager = SurfaceManager(window)
    manager.follow(labels, images[Modality.T1CE])
    window.dims.ndisplay = 3
    qtbot.waitUntil(lambda: not manager.busy and "brain" in manager.surfaces, timeout=30_000)
    brain, image = manager.surfaces["brain"], images[Modality.T2]
    surfaces = [s for i, s in manager.surfaces.items() if i != "brain"]
    image.rendering, image.contrast_limits = "mip", (150, 1000)
    for plane, (direction, up) in VIEWS.items():
        window.scene.camera.center = tuple(axes.ras_to_world(CENTRE))
        window.scene.camera.zoom = 5.0
        window.scene.camera.set_view_direction(direction, up)
        brain.visible = False
        picture = shot(window)
        expect(picture, plane, 5.0)
        for surface in surfaces:
            surface.visible = False
        image.visible = True
        volume = shot(window).min(axis=-1) > 128
        image.visible = False
        for surface in surfaces:
            surface.visible = True
        drawn = np.any([pixels_of(picture, v) for v in MARKERS], axis=0)
        assert overlap(volume, drawn) > 0.85, f"{plane}: the volume is not where the surfaces are"
        brain.visible = True
        with_brain = shot(window).max(axis=-1) > 8
        assert with_brain[drawn].all() and with_brain.sum() > 3 * drawn.sum()
        np.testing.assert_allclose(middle(with_brain), np.array(picture.shape[:2]) / 2, atol=12)
    manager.close()


def paint_at(viewer, world) -> None:
    """A mouse click with the brush at a world point of the slice shown, as the canvas hands it on."""
    from napari.utils.interactions import mouse_press_callbacks, mouse_release_callbacks

    viewer.cursor.position = tuple(world)
    event = SimpleNamespace(
        type="mouse_press", button=1, buttons=[1], modifiers=(), pos=np.zeros(2), position=tuple(world), handled=False,
        view_direction=None, up_direction=None, dims_displayed=list(viewer.dims.displayed), is_dragging=False,
        dims_point=list(viewer.dims.point), camera_zoom=viewer.scene.camera.zoom, viewbox=None,
    )  # fmt: skip
    for target in (viewer, viewer.layers.selection.active):
        mouse_press_callbacks(target, event)
    event.type = "mouse_release"
    for target in (viewer, viewer.layers.selection.active):
        mouse_release_callbacks(target, event)


@pytest.mark.parametrize("code", CODES)
def test_an_oblique_grid_is_painted_on_the_slice_shown_and_saved_with_its_true_affine(
    window, tmp_path: Path, code: str
):
    folder = write_files(marker_study(code, degrees=15), tmp_path)
    study = load_study(folder)
    grid = study.reference.grid
    assert grid.obliquity_deg > 10
    layers.add_study(window, study)
    labels = layers.add_segmentation(window, study.segmentation, study_id=study.id, reference=study.reference)
    solid(labels)
    window.layers.selection.active = labels
    labels.mode, labels.brush_size, labels.selected_label = "paint", 1, int(Label.ET)
    before = layers.labels_of(labels)
    index = np.array([9, 12, 8])
    for plane in SHOWN:
        planes.set_plane(window, plane)
        planes.go_to_voxel(window, grid, index)
        paint_at(window, axes.voxel_to_world(grid, index))
        np.testing.assert_array_equal(np.argwhere(layers.labels_of(labels) != before), [index])
        assert (shot(window)[..., 0] > 0).any()
        labels.undo()
    labels.redo()
    data, meta, _ = labels.as_layer_data_tuple()
    write_labels(str(tmp_path / "painted.nii.gz"), data, meta)
    written = nib.load(tmp_path / "painted.nii.gz")
    np.testing.assert_allclose(written.affine, grid.affine, atol=1e-4)
    assert np.asanyarray(written.dataobj)[tuple(index)] == 3


def test_the_marker_radius_is_large_enough_to_be_seen():
    assert min(np.abs(v).max() for v in MARKERS.values()) > 2 * MARKER_RADIUS_MM
