from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from helpers.marker_studies import CODES, affine_of, marker_study, rotated
from hypothesis import given, settings
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Segmentation, Study
from napari_brainseg.display import axes, history, layers, region_layer, region_style

ALL_CODES = ["".join(c) for axes in permutations(("RL", "AP", "SI")) for c in product(*axes)]


@pytest.fixture
def study():
    return marker_study("LPS")


@given(
    code=st.sampled_from(ALL_CODES),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
    shift=st.tuples(*[st.floats(-200, 200)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_a_voxel_is_shown_where_it_is_in_the_patient(code, shape, spacing, shift):
    from napari.layers import Image

    affine = affine_of(code, shape, spacing)
    affine[:3, 3] += shift
    grid = Grid(shape, affine)
    data = np.arange(np.prod(shape)).reshape(shape)
    view, shown = axes.to_display(data, affine)
    assert np.shares_memory(view, data)
    layer = Image(view, **axes.placement(grid))
    for index in (np.zeros(3, int), np.array(shape) - 1, np.array(shape) // 2):
        world = axes.ras_to_world(grid.to_world(index))
        there = np.round(layer.world_to_data(world)).astype(int)
        assert view[tuple(there)] == data[tuple(index)]
        np.testing.assert_allclose(layer.data_to_world(there), world, atol=1e-6)
        np.testing.assert_allclose(axes.voxel_to_world(grid, index), world, atol=1e-6)
        np.testing.assert_allclose(axes.world_to_voxel(grid, world), index, atol=1e-6)
    assert np.count_nonzero(shown[:3, :3]) == 3
    np.testing.assert_allclose(np.sort(layer.scale), np.sort(spacing))


@given(point=st.tuples(*[st.floats(-1e3, 1e3)] * 3))
def test_ras_and_world_are_inverse(point):
    np.testing.assert_array_equal(axes.world_to_ras(axes.ras_to_world(point)), point)


@given(degrees=st.floats(-30, 30), code=st.sampled_from(CODES))
@settings(max_examples=20, deadline=None)
def test_an_oblique_grid_is_shown_straight_about_its_centre(degrees, code):
    straight = Grid((5, 6, 7), affine_of(code, (5, 6, 7), (1.0, 1.5, 3.0)))
    oblique = Grid((5, 6, 7), rotated(straight.affine, degrees))
    np.testing.assert_allclose(axes.display_affine(oblique), axes.display_affine(straight), atol=1e-9)


@pytest.mark.parametrize("code", CODES)
def test_labels_come_back_in_file_order(viewer, code):
    seg = marker_study(code).segmentation
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, seg.grid.shape).astype(np.uint8)
    layer = layers.add_segmentation(viewer, Segmentation(labels, seg.grid, coding="brats2021"), study_id="s")
    back = layers.segmentation_of(layer)
    np.testing.assert_array_equal(back.labels, labels)
    assert back.labels.flags.c_contiguous and back.labels.dtype == np.uint8
    assert back.grid is seg.grid and back.coding == "brats2021"
    layer.data[0, 0, 0] ^= 1
    assert not np.shares_memory(layer.data, labels)


def test_a_read_only_mask_can_be_painted(viewer, study):
    study.segmentation.labels.setflags(write=False)
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    layer.paint((3, 4, 5), 2)
    assert layer.data[3, 4, 5] == 2
    layer.undo()
    np.testing.assert_array_equal(layers.labels_of(layer), study.segmentation.labels)


def test_a_study_is_four_grey_layers_in_mm_of_which_one_is_seen(viewer, study):
    images = layers.add_study(viewer, study)
    assert [layer.name for layer in viewer.layers] == ["T1", "T2", "FLAIR", "T1ce"]
    assert set(images) == set(Modality)
    for modality, layer in images.items():
        assert layer.visible == (modality is Modality.T1CE)
        assert [str(u) for u in layer.units] == ["millimeter"] * 3
        assert tuple(layer.axis_labels) == axes.AXIS_LABELS
        assert layer.colormap.name == "gray"
        low, high = layer.contrast_limits
        assert 0 < low < high <= 1003
        assert layers.layer_study_id(layer) == study.id and layers.layer_modality(layer) is modality
        np.testing.assert_array_equal(layers.layer_info(layer).grid.affine, study.reference.grid.affine)
        assert np.shares_memory(layer.data, study.volumes[modality].data)


@pytest.mark.parametrize(
    ("present", "first"),
    [("t1 t2", Modality.T2), ("t1 t2 flair", Modality.FLAIR), ("t1 t1ce", Modality.T1CE), ("t1", Modality.T1)],
)
def test_the_most_telling_series_is_seen_first(viewer, study, present, first):
    some = Study("s", {Modality(m): study.volumes[Modality(m)] for m in present.split()})
    images = layers.add_study(viewer, some)
    assert [m for m, layer in images.items() if layer.visible] == [first]


def test_the_study_can_be_put_together_from_its_layers(viewer, study):
    layers.add_study(viewer, study)
    other = marker_study("RAS")
    layers.add_study(viewer, other)
    layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    assert layers.study_of(viewer).id == other.id
    again = layers.study_of(viewer, study.id)
    assert again.id == study.id and again.volumes == study.volumes
    assert layers.study_of(viewer, "no such") is None
    assert [layers.layer_study_id(x) for x in layers.labels_layers(viewer)] == [study.id]
    assert layers.labels_layers(viewer, other.id) == []


def test_layers_of_others_are_left_alone(viewer):
    layer = viewer.add_labels(np.zeros((4, 5, 6), np.uint8))
    assert layers.layer_study_id(layer) is None and layers.layer_modality(layer) is None
    assert layers.image_layers(viewer) == {} and layers.labels_layers(viewer) == []
    with pytest.raises(InputError, match="not one of a brain study"):
        layers.labels_of(layer)


# --- replacing the content


@given(st.data())
@settings(max_examples=15, deadline=None)
def test_set_labels_is_one_exact_step(data):
    from napari.components import ViewerModel

    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    code = data.draw(st.sampled_from(CODES))
    shape = (6, 7, 5)
    grid = Grid(shape, affine_of(code, shape, (1, 2, 3)))
    versions = [rng.integers(0, 4, shape).astype(np.uint8) for _ in range(4)]
    layer = layers.add_segmentation(ViewerModel(), Segmentation(versions[0], grid), study_id="s")
    for version in versions[1:]:
        layers.set_labels(layer, version)
        np.testing.assert_array_equal(layers.labels_of(layer), version)
    for version in reversed(versions[:-1]):
        layer.undo()
        np.testing.assert_array_equal(layers.labels_of(layer), version)
    for version in versions[1:]:
        layer.redo()
        np.testing.assert_array_equal(layers.labels_of(layer), version)


def test_set_labels_fires_paint_after_the_write_and_equal_content_is_no_step(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    seen = []
    layer.events.paint.connect(lambda event: seen.append(layers.labels_of(layer)))
    layers.set_labels(layer, study.segmentation.labels)
    assert seen == [] and len(layer._undo_history) == 0
    new = np.roll(study.segmentation.labels, 2, axis=0)
    layers.set_labels(layer, new)
    assert len(seen) == 1 and len(layer._undo_history) == 1
    np.testing.assert_array_equal(seen[0], new)


def test_set_labels_refuses_another_shape_and_an_open_stroke(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    with pytest.raises(ValueError, match="do not fit"):
        layers.set_labels(layer, study.segmentation.labels[1:])
    with layer.block_history():
        assert history.in_stroke(layer)
        with pytest.raises(ValueError, match="stroke"):
            layers.set_labels(layer, np.zeros_like(study.segmentation.labels))
    assert not history.in_stroke(layer)


def test_set_segmentation_takes_over_who_made_it(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id, reference=study.reference)
    layers.set_segmentation(
        layer, Segmentation(study.segmentation.labels * 0, study.reference.grid, "brats2021", "net 2")
    )
    back = layers.segmentation_of(layer)
    assert (back.coding, back.made_by, int(back.labels.max())) == ("brats2021", "net 2", 0)
    assert layers.layer_info(layer).reference is study.reference and layers.layer_study_id(layer) == study.id


def test_painting_between_replacements_undoes_in_order(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    first = layers.labels_of(layer)
    layer.selected_label, layer.brush_size = int(Label.ET), 5
    layer.paint((10, 20, 20), int(Label.ET))
    second = layers.labels_of(layer)
    layers.set_labels(layer, np.zeros_like(first))
    layer.undo()
    np.testing.assert_array_equal(layers.labels_of(layer), second)
    layer.undo()
    np.testing.assert_array_equal(layers.labels_of(layer), first)


# --- how it is shown


def test_colours_and_opacities_reach_the_colormap(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    view = region_style.RegionView().with_item("ET", colour=(1.0, 0.0, 0.5), opacity=0.8).with_item("WT", visible=False)
    region_layer.apply_region_view(layer, view)
    np.testing.assert_allclose(layer.colormap.map(int(Label.ET)), (1.0, 0.0, 0.5, 0.8), atol=0.01)
    assert layer.colormap.map(int(Label.ED))[3] == 0 and layer.colormap.map(0)[3] == 0
    assert layer.colormap.map(int(Label.NCR))[3] > 0
    assert region_layer.region_view(layer) is view and layer.opacity == 1.0


def test_the_whole_overlay_hides_and_the_eye_button_keeps_its_word(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    region_layer.apply_region_view(layer, region_layer.region_view(layer).with_visible(False))
    assert not layer.visible
    region_layer.apply_region_view(layer, region_layer.region_view(layer).with_visible(True))
    assert layer.visible
    layer.visible = False  # napari's eye
    region_layer.apply_region_view(layer, region_layer.region_view(layer).with_item("ET", opacity=0.1))
    assert not layer.visible


def test_outlines_follow_the_regions_shown(viewer, study):
    labels = np.zeros(study.reference.grid.shape, np.uint8)
    labels[10:30, 10:30, 10:30] = Label.ED
    labels[15:25, 15:25, 15:25] = Label.ET
    layer = layers.add_segmentation(viewer, Segmentation(labels, study.reference.grid), study_id="s")
    viewer.dims.set_point(0, axes.voxel_to_world(study.reference.grid, (20, 20, 20))[0])

    def shown() -> np.ndarray:
        raw = layer._slice.image.raw
        drawn = layer._calculate_contour(raw, tuple(slice(0, n) for n in raw.shape))
        return drawn != 0

    region_layer.apply_region_view(layer, region_style.RegionView(outline=True))
    assert layer.contour == 1
    assert shown().sum() == 4 * 19 + 4 * 9  # one line each, on the inner side of its border
    region_layer.apply_region_view(
        layer, region_style.RegionView(outline=True).with_item("ET", visible=False).with_item("TC", visible=False)
    )
    assert shown().sum() == 4 * 19  # no line inside the whole tumour
    region_layer.apply_region_view(layer, region_style.RegionView(outline=True).with_item("WT", visible=False))
    assert shown().sum() == 4 * 9


def test_painting_with_outlines_on_shows_the_same_as_a_full_refresh(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    region_layer.apply_region_view(layer, region_style.RegionView(outline=True))
    viewer.dims.set_point(0, axes.voxel_to_world(study.reference.grid, (22, 26, 18))[0])
    layer.brush_size = 7
    layer.paint((int(viewer.dims.current_step[0]), 20, 20), 3)
    at = layer._slice.image.view.copy()
    layer.refresh()
    np.testing.assert_array_equal(layer._slice.image.view, at)


def test_every_edit_is_announced_also_of_a_hidden_layer_and_no_change_of_slice(viewer, study):
    layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
    edits = []
    history.announce_edits(layer).connect(lambda event: edits.append(1))
    assert history.announce_edits(layer) is history.announce_edits(layer)
    viewer.dims.set_point(0, viewer.dims.point[0] + 4)
    assert edits == []
    layer.visible = False
    layer.paint((10, 20, 20), 1)
    layer.undo()
    layer.redo()
    layers.set_labels(layer, np.zeros(study.reference.grid.shape, np.uint8))
    assert len(edits) == 4
    layer.data = layer.data.copy()
    assert len(edits) >= 5
