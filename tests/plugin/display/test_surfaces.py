from __future__ import annotations

import numpy as np
import pytest
from helpers.marker_studies import CODES, MARKERS, marker_study

from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from napari_brainseg.display import axes, layers, meshes, planes, region_layer, region_style
from napari_brainseg.display.meshes import brain_mesh, build, world_mesh
from napari_brainseg.display.region_style import surface_opacity
from napari_brainseg.display.surfaces import SurfaceManager


@pytest.fixture
def study():
    return marker_study("LPS")


class Later:
    """A background that works when told, so that a test decides what happens meanwhile."""

    def __init__(self) -> None:
        self.jobs: list = []

    def __call__(self, work, done) -> None:
        self.jobs.append((work, done))

    def run(self) -> int:
        n = 0
        while self.jobs:
            work, done = self.jobs.pop(0)
            made = work()
            done(made)
            n += made is not None  # else it was but another turn of the event loop
        return n


@pytest.fixture
def scene(viewer, study):
    """(viewer, images, labels, manager, background) of a small study, in 2D."""
    images = layers.add_study(viewer, study)
    labels = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    background = Later()
    manager = SurfaceManager(viewer, background=background, quiet_s=0)
    manager.follow(labels, images[Modality.T1CE])
    yield viewer, images, labels, manager, background
    manager.close()


def volume(vertices, faces) -> float:
    """Signed volume that a closed mesh encloses: positive when it is wound outwards."""
    a, b, c = (vertices[faces[:, i]].astype(float) for i in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6)


@pytest.mark.parametrize("code", CODES)
def test_meshes_lie_in_the_patient_and_are_wound_outwards(code):
    study = marker_study(code)
    seg = study.segmentation
    view, affine = axes.to_display(seg.labels, seg.grid.affine)
    for label in MARKERS:
        vertices, faces = world_mesh(view == label, affine)
        centre = seg.grid.to_world(np.argwhere(seg.labels == label)).mean(0)
        np.testing.assert_allclose(axes.world_to_ras(vertices).mean(0), centre, atol=0.5)
        true = (seg.labels == label).sum() * seg.grid.voxel_ml * 1000
        assert 0.75 * true < volume(vertices, faces) < 1.1 * true
    brain = brain_mesh(*_image(study))
    extent = np.ptp(axes.world_to_ras(brain[0]), axis=0)
    np.testing.assert_allclose(extent, (60, 58, 62), atol=5)
    assert volume(*brain) > 0
    assert world_mesh(view == 77, affine) is None


def _image(study):
    volume_ = study.volumes[Modality.T1CE]
    return axes.to_display(volume_.data, volume_.grid.affine)[0], volume_.grid


def test_only_what_changed_is_meshed_again():
    labels = np.zeros((12, 12, 12), np.uint8)
    labels[2:5, 2:5, 2:5], labels[6:9, 6:9, 6:9] = 2, 3
    grid = marker_study("RAS").reference.grid.crop((0, 0, 0), (12, 12, 12))
    ed, et, wt = frozenset({Label.ED}), frozenset({Label.ET}), frozenset({Label.ED, Label.ET})
    wanted = {ed, et, wt}
    first = build(labels, grid, wanted)
    assert first.meshes.keys() == wanted
    assert not build(labels, grid, wanted, wanted, labels.copy()).meshes
    edited = labels.copy()
    edited[4, 4, 4] = 0
    again = build(edited, grid, wanted, wanted, labels)
    assert again.meshes.keys() == {ed, wt}
    other = build(edited, grid, {et}, wanted, labels)
    assert not other.meshes and other.outdated == {ed, wt}
    assert meshes.touched(edited, labels) == {2}


def test_in_3d_surfaces_stand_in_for_labels_and_images(scene):
    viewer, images, labels, manager, background = scene
    images[Modality.FLAIR].visible = True
    before = {layer: layer.visible for layer in viewer.layers}
    planes.set_plane(viewer, "coronal")
    viewer.dims.ndisplay = 3  # napari's own button
    assert tuple(viewer.dims.order) == (0, 1, 2)
    assert not any(layer.visible for layer in before)
    assert manager.busy and background.run() == 1 and not manager.busy
    assert manager.surfaces.keys() == {"WT", "TC", "ET", "brain"}
    assert all(s.visible for s in manager.surfaces.values())
    assert viewer.layers.selection.active is labels
    viewer.dims.ndisplay = 2
    assert {layer: layer.visible for layer in before} == before
    assert not any(s.visible for s in manager.surfaces.values())
    viewer.dims.ndisplay = 3
    assert background.run() == 1
    assert len(manager.surfaces) == 4 and len(viewer.layers) == len(before) + 4


def test_inner_surfaces_are_drawn_before_outer_ones(scene):
    viewer, _, labels, manager, background = scene
    layers.set_labels(labels, np.where(layers.labels_of(labels) == 3, 2, layers.labels_of(labels)).astype(np.uint8))
    planes.set_3d(viewer)
    background.run()
    assert "ET" not in manager.surfaces
    labels.undo()
    background.run()
    order = [viewer.layers.index(manager.surfaces[i]) for i in ("ET", "TC", "WT", "brain")]
    assert order == sorted(order)


def test_edits_in_3d_are_followed_and_undo_too(scene):
    viewer, _, labels, manager, background = scene
    planes.set_3d(viewer)
    background.run()
    et, wt, before = manager.surfaces["ET"], manager.surfaces["WT"], manager.surfaces["ET"].data[0]
    tc = manager.surfaces["TC"].data[0]
    labels.data_setitem(np.nonzero(labels.data == Label.ED), 0)
    background.run()
    assert manager.surfaces["ET"] is et and et.data[0] is before and manager.surfaces["TC"].data[0] is tc
    assert np.ptp(manager.surfaces["WT"].data[0], axis=0)[0] < 20  # the superior marker is gone from it
    labels.undo()
    background.run()
    assert manager.surfaces["WT"] is wt and np.ptp(wt.data[0], axis=0)[0] > 20
    layers.set_labels(labels, np.zeros(layers.labels_of(labels).shape, np.uint8))
    background.run()
    assert manager.surfaces.keys() == {"brain"}


def test_edits_in_2d_cost_nothing_until_3d(scene):
    viewer, _, labels, manager, background = scene
    planes.set_3d(viewer)
    background.run()
    planes.set_3d(viewer, False)
    labels.data_setitem(np.nonzero(labels.data == Label.ET), 0)
    assert not background.jobs
    planes.set_3d(viewer)
    background.run()
    assert manager.surfaces.keys() == {"WT", "TC", "brain"}


def test_what_changes_while_meshes_are_made_is_made_afterwards(scene):
    viewer, _, labels, manager, background = scene
    planes.set_3d(viewer)
    work, done = background.jobs.pop()
    result = work()
    labels.data_setitem(np.nonzero(labels.data == Label.ET), 0)
    assert not background.jobs  # one at a time
    done(result)
    assert manager.surfaces and manager.busy
    assert background.run() == 1
    assert "ET" not in manager.surfaces


def test_visibility_colour_opacity_and_scheme_are_followed(scene):
    viewer, _, labels, manager, background = scene
    planes.set_3d(viewer)
    background.run()
    view = region_style.RegionView().with_item("WT", visible=False).with_item("TC", colour=(0, 1, 0), opacity=0.3)
    region_layer.apply_region_view(labels, view)
    background.run()
    shown = manager.surfaces
    assert not shown["WT"].visible and shown["TC"].visible and 0 < shown["TC"].opacity < 0.3
    np.testing.assert_allclose(shown["TC"].colormap.colors[-1][:3], (0, 1, 0))
    et = shown["ET"]
    region_layer.apply_region_view(labels, view.with_scheme("classes"))
    background.run()
    assert manager.surfaces.keys() == {"ED", "NCR", "ET", "brain"} and manager.surfaces["ET"] is et
    assert not shown["TC"].visible and manager.surfaces["NCR"].visible
    region_layer.apply_region_view(labels, view.with_visible(False))
    background.run()
    assert not any(s.visible for i, s in manager.surfaces.items() if i != "brain")
    assert not labels.visible


def test_an_overlay_hidden_in_3d_is_hidden_in_2d_and_the_other_way(scene):
    viewer, _, labels, manager, background = scene
    labels.visible = False  # napari's eye
    planes.set_3d(viewer)
    background.run()
    assert not manager.surfaces["WT"].visible
    region_layer.apply_region_view(labels, region_layer.region_view(labels).with_visible(True))
    assert manager.surfaces["WT"].visible and not labels.visible
    planes.set_3d(viewer, False)
    assert labels.visible
    planes.set_3d(viewer)
    region_layer.apply_region_view(labels, region_layer.region_view(labels).with_visible(False))
    planes.set_3d(viewer, False)
    assert not labels.visible


def test_the_innermost_visible_surface_is_nearly_solid():
    view = region_style.RegionView()
    assert 0 < surface_opacity(view, "WT") < view.items["WT"].opacity
    assert surface_opacity(view, "ET") > 0.75
    assert surface_opacity(view.with_item("ET", visible=False), "TC") > 0.75


def test_another_study_takes_the_place_of_the_first(scene):
    viewer, _, _labels, manager, background = scene
    planes.set_3d(viewer)
    stale = background.jobs.pop()
    other = marker_study("RAS")
    images = layers.add_study(viewer, other)
    new = layers.add_segmentation(viewer, other.segmentation, study_id=other.id)
    assert not new.visible and not any(i.visible for i in images.values())  # added in 3D, hidden like the rest
    manager.follow(new, images[Modality.T1CE])
    stale[1](stale[0]())
    assert manager.surfaces == {}
    assert background.run() == 1
    assert {s.metadata["brainseg_surface"].study_id for s in manager.surfaces.values()} == {other.id}
    viewer.layers.remove(new)
    assert manager.surfaces == {}


def test_a_deleted_surface_layer_does_no_harm(scene):
    viewer, _, _labels, manager, background = scene
    planes.set_3d(viewer)
    background.run()
    viewer.layers.remove(manager.surfaces["ET"])
    viewer.layers.remove(manager.surfaces["brain"])
    planes.set_3d(viewer, False)
    planes.set_3d(viewer)
    background.run()
    assert manager.surfaces.keys() == {"WT", "TC", "ET", "brain"}


def test_close_leaves_the_viewer_as_it_was(scene):
    viewer, _, _labels, manager, background = scene
    before = {layer: layer.visible for layer in viewer.layers}
    planes.set_3d(viewer)
    background.run()
    manager.close()
    assert {layer: layer.visible for layer in viewer.layers} == before
    planes.set_3d(viewer, False)
    planes.set_3d(viewer)
    assert not background.jobs and {layer: layer.visible for layer in viewer.layers} == before


def test_a_result_after_close_is_dropped(scene):
    viewer, _, _, manager, background = scene
    planes.set_3d(viewer)
    manager.close()
    n = len(viewer.layers)
    background.run()
    assert len(viewer.layers) == n


def test_a_failure_is_reported_and_does_not_block_the_next(scene, monkeypatch):
    viewer, _, labels, manager, background = scene
    monkeypatch.setattr("napari_brainseg.display.surfaces.build", lambda *a: 1 / 0)
    planes.set_3d(viewer)
    with pytest.raises(ZeroDivisionError):
        background.run()
    monkeypatch.undo()
    labels.data_setitem(np.nonzero(labels.data == Label.ET), 0)
    assert background.run() == 1 and "WT" in manager.surfaces


def test_3d_and_back_keeps_slice_and_zoom(scene, study):
    viewer, *_, background = scene
    planes.go_to_voxel(viewer, study.reference.grid, (9, 30, 25))
    viewer.scene.camera.zoom = 11.0
    viewer.scene.camera.center = (0.0, 30.0, 20.0)
    point = viewer.dims.point
    for _ in range(2):
        planes.set_3d(viewer)
        background.run()
        middle = viewer.layers.extent.world.mean(axis=0)
        np.testing.assert_allclose(viewer.scene.camera.center, middle, atol=4)
        viewer.dims.ndisplay = 2  # napari's own button
        assert viewer.dims.point == point
        assert viewer.scene.camera.zoom == 11.0 and tuple(viewer.scene.camera.center)[1:] == (30.0, 20.0)


def test_back_from_3d_in_another_plane_the_slice_is_in_view(scene, study):
    viewer, *_, background = scene
    for leave in (lambda: setattr(viewer.dims, "ndisplay", 2), lambda: planes.set_plane(viewer, "sagittal")):
        planes.set_plane(viewer, "coronal")
        planes.go_to_voxel(viewer, study.reference.grid, (9, 30, 25))
        point = viewer.dims.point
        viewer.dims.ndisplay = 3
        background.run()
        leave()
        middle = viewer.layers.extent.world.mean(axis=0)[list(viewer.dims.order[1:])]
        np.testing.assert_allclose(viewer.scene.camera.center[1:], middle, atol=1)
        assert viewer.dims.point == point
