"""The constrained brush, its undo, the 3D tools and the threshold's preview, in a viewer without a window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.marker_studies import marker_study
from helpers.rig import House, drag
from helpers.small_study import make_study
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Segmentation, Study
from brainseg_engine.edits import Action, Guard, Range, constrain
from napari_brainseg.display import history, layers, planes
from napari_brainseg.display.brush import Brush
from napari_brainseg.display.history import History, history_of
from napari_brainseg.display.preview import NAME
from napari_brainseg.display.tools import HAND_TOOLS, Tool
from napari_brainseg.session import Answer, OpenStudy

TARGETS = (Region.WT, Region.TC, Region.ET, Label.NCR, Label.ED, Label.ET)


class Desk:
    """A study with its labels, ready to be corrected."""

    def __init__(self, viewer, study: Study) -> None:
        self.viewer, self.study = viewer, study
        self.house = House(viewer)
        self.session = self.house.session
        layers.add_study(viewer, study)
        self.layer = layers.add_segmentation(viewer, study.segmentation, study_id=study.id)
        self.session.open(OpenStudy(study), Answer.of(study.segmentation))
        self.edits: list = []
        self.session.edited.connect(self.edits.append)
        self.brush: Brush = self.house.paint.brush
        self.start = np.array(self.layer.data)
        self.centre = tuple(round(x) for x in np.argwhere(self.start).mean(axis=0))

    @property
    def data(self):
        return self.layer.data

    def stroke(self, *points, tool=Tool.BRUSH) -> None:
        """As the mouse does it: all points are one step."""
        self.brush.choose(tool)
        label = 0 if tool is Tool.ERASER else self.layer.selected_label
        if tool is Tool.POLYGON:
            self.layer.paint_polygon([list(p) for p in points], label)
            return
        with self.layer.block_history():
            for p in points:
                (self.layer.fill if tool is Tool.FILL else self.layer.paint)(p, label)

    def undo_all(self) -> int:
        n = 0
        while history_of(self.layer).done:
            self.house.paint.undo()
            n += 1
        return n

    def redo_all(self) -> None:
        while history_of(self.layer).undone:
            self.house.paint.redo()


@pytest.fixture
def desk(viewer) -> Desk:
    made = Desk(viewer, make_study(0))
    yield made
    made.house.close()


def near(desk: Desk, *offset: int) -> tuple[int, int, int]:
    return tuple(c + o for c, o in zip(desk.centre, offset, strict=True))


# --- the brush


@pytest.mark.parametrize("through", [False, True])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("tool", [Tool.BRUSH, Tool.ERASER])
def test_brush_and_eraser_do_what_the_engine_says(desk, target, tool, through):
    """Painting is held to the table: as if the engine had painted the same voxels."""
    at = near(desk, 0, 5, 0)
    desk.layer.brush_size = 9
    desk.brush.settings = replace(desk.brush.settings, target=target, protect=frozenset({Label.NCR}), through=through)
    desk.stroke(at, tool=tool)
    d = np.indices(desk.start.shape) - np.array(at)[:, None, None, None]
    marked = (d**2).sum(axis=0) <= 4.5**2
    if not through:
        marked &= d[0] == 0
    action = Action.ERASE if tool is Tool.ERASER else Action.PAINT
    guard = Guard(frozenset({Label.NCR}), desk.brush.brain())
    wanted = constrain(desk.start, marked, action, target, guard)
    np.testing.assert_array_equal(desk.data, wanted)
    assert (wanted != desk.start).any() or (target is Label.NCR and tool is Tool.ERASER)
    np.testing.assert_array_equal(desk.brush.counts[:6], np.bincount(desk.data.ravel(), minlength=6))


@pytest.mark.parametrize("tool", sorted(HAND_TOOLS))
def test_every_tool_of_napari_keeps_to_brain_protection_and_threshold(desk, tool):
    """Fill and polygon write on other ways than the brush: none of them gets past."""
    desk.brush.settings = replace(
        desk.brush.settings, target=Region.TC, protect=frozenset({Label.ET}), threshold=True, modality=Modality.T2,
        limits=(150.0, 400.0), preview=False,
    )  # fmt: skip
    desk.layer.brush_size = 60
    n = [s - 1 for s in desk.start.shape]
    z = desk.centre[0]
    oedema = (z, *(int(i) for i in np.argwhere(desk.start[z] == Label.ED)[0]))
    points = [(z, 0, 0), (z, 0, n[2]), (z, n[1], n[2]), (z, n[1], 0)] if tool is Tool.POLYGON else [oedema]
    desk.stroke(*points, tool=tool)
    changed = desk.data != desk.start
    assert changed.any() and not np.delete(changed, z, axis=0).any()
    assert desk.brush.brain()[changed].all() and not (desk.start[changed] == Label.ET).any()
    t2 = desk.brush.images[Modality.T2]
    assert (t2[changed] >= 150).all()
    desk.house.paint.undo()
    np.testing.assert_array_equal(desk.data, desk.start)


def test_a_label_chosen_in_napari_s_own_control_is_a_target_chosen(desk):
    desk.layer.selected_label = 3
    assert desk.brush.settings.target is Region.ET
    desk.layer.selected_label = 1
    assert desk.brush.settings.target is Region.TC
    desk.house.paint.change_brush(target=Label.ED)
    assert desk.layer.selected_label == 2
    desk.layer.selected_label = 1
    assert desk.brush.settings.target is Label.NCR
    desk.layer.selected_label = 77  # napari's "new label": no class
    assert desk.layer.selected_label == 1 and desk.brush.settings.target is Label.NCR
    desk.layer.paint(desk.centre, 77)
    np.testing.assert_array_equal(desk.data, desk.start)


def test_painting_is_plain_again_once_the_brush_lets_go(desk):
    desk.brush.follow(None, None)
    desk.layer.paint((0, 0, 0), 1)
    assert desk.data[0, 0, 0] == 1


def test_the_counts_follow_in_mid_stroke(desk):
    heard = []
    desk.brush.counted.connect(lambda: heard.append(desk.brush.counts.copy()))
    with desk.layer.block_history():
        desk.layer.paint(near(desk, 0, 9, 0), 2)
        np.testing.assert_array_equal(heard[-1][:6], np.bincount(desk.data.ravel(), minlength=6))
    desk.house.paint.undo()
    np.testing.assert_array_equal(heard[-1][:6], np.bincount(desk.start.ravel(), minlength=6))


# --- the record


def test_an_edit_tells_tool_target_voxels_and_slice(desk):
    desk.brush.settings = replace(desk.brush.settings, target=Region.TC, inside=False)
    planes.set_plane(desk.viewer, "coronal")
    at = near(desk, 0, 8, 0)
    planes.go_to_voxel(desk.viewer, desk.study.reference.grid, at[::-1])
    desk.stroke(at)
    desk.house.paint.undo()
    done, undone = desk.edits
    assert (done.tool, done.target, done.plane, done.index) == ("brush", "TC", "coronal", at[1])
    assert (undone.tool, undone.target) == ("undo", "TC")
    assert sum(done.changed.values()) == 0 and done.changed[Label.NCR] > 0
    assert undone.changed == {label: -n for label, n in done.changed.items()}
    desk.house.paint.fill_holes()
    desk.house.paint.change_brush(target=Region.WT)
    desk.house.paint.remove_islands(1e6)
    assert (desk.edits[-1].tool, desk.edits[-1].plane, desk.edits[-1].index) == ("remove islands", "", None)
    history.apply_edit(desk.layer, (slice(0, 2),) * 3, np.ones((2,) * 3, bool), np.ones((2,) * 3, np.uint8))
    assert desk.edits[-1].tool == "result"


# --- undo


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(st.lists(st.tuples(st.integers(0, 12), st.sampled_from(TARGETS), st.integers(0, 10**6)), max_size=8))
def test_undoing_all_of_any_sequence_of_tools_is_the_start_and_redoing_the_end(steps):
    """Bit for bit, whatever was mixed; and the counts never drift."""
    from napari.components import ViewerModel

    desk = Desk(ViewerModel(), make_study(1, shape=(14, 16, 12)))
    shape = desk.start.shape
    for what, target, seed in steps:
        rng = np.random.default_rng(seed)
        at = [tuple(int(rng.integers(n)) for n in shape) for _ in range(4)]
        desk.house.paint.change_brush(target=target, through=bool(seed % 2), inside=bool(seed % 3))
        desk.layer.brush_size = 1 + seed % 9
        if what < 4:
            tool = sorted(HAND_TOOLS)[what]
            desk.stroke(*([(at[0][0], *p[1:]) for p in at] if tool is Tool.POLYGON else at), tool=tool)
        elif what == 12:
            desk.house.paint.undo()
        else:
            some_work(desk, what, at[0])
        np.testing.assert_array_equal(desk.brush.counts, np.bincount(desk.data.ravel(), minlength=256))
    desk.redo_all()  # what the last steps may have undone
    end = np.array(desk.data)
    n = desk.undo_all()
    np.testing.assert_array_equal(desk.data, desk.start)
    assert n <= len(steps)
    desk.redo_all()
    np.testing.assert_array_equal(desk.data, end)
    np.testing.assert_array_equal(desk.brush.counts, np.bincount(end.ravel(), minlength=256))
    desk.brush.close()


def some_work(desk: Desk, what: int, at: tuple[int, int, int]) -> None:
    paint = desk.house.paint
    desk.viewer.mouse_over_canvas = True
    desk.viewer.cursor.position = tuple(desk.layer.data_to_world(at))
    [
        paint.interpolate, lambda: paint.smooth(1.5), paint.fill_holes, lambda: paint.fill_holes(flat=True),
        lambda: paint.remove_islands(0.2), lambda: paint.relabel(here=True),
        lambda: paint.grow(8.0, here=True), lambda: paint.erase_component(here=True),
    ][what - 4]()  # fmt: skip


def test_a_polygon_and_what_follows_it_are_told_apart(desk):
    z, y, x = desk.centre
    desk.house.paint.change_brush(target=Label.NCR)
    desk.stroke((z, y - 3, x - 3), (z, y - 3, x + 3), (z, y + 3, x), tool=Tool.POLYGON)
    assert (desk.edits[-1].tool, desk.edits[-1].index) == ("polygon", z)
    assert desk.brush.painted_slices(0) == [z]
    layers.set_labels(desk.layer, np.zeros_like(desk.study.segmentation.labels))
    assert desk.edits[-1].tool == "result"


def test_undo_shows_the_slice_in_which_it_happens(desk):
    desk.stroke(near(desk, 0, 9, 0))
    point = list(desk.viewer.dims.point)
    desk.viewer.dims.set_point(0, float(desk.layer.data_to_world((1, 0, 0))[0]))
    desk.house.paint.undo()
    shown = round(float(desk.layer.world_to_data(desk.viewer.dims.point)[0]))
    assert shown == desk.centre[0] and point is not None
    np.testing.assert_array_equal(desk.data, desk.start)
    desk.stroke(near(desk, 0, 9, 0))
    desk.viewer.dims.ndisplay = 3
    desk.house.paint.undo()
    np.testing.assert_array_equal(desk.data, desk.start)


def test_nothing_is_undone_in_mid_stroke(desk):
    desk.stroke(near(desk, 0, 9, 0))
    once = np.array(desk.data)
    with desk.layer.block_history():
        desk.layer.paint(near(desk, 0, -9, 0), 2)
        desk.house.paint.undo()
    assert (desk.data != once).any()
    desk.house.paint.undo()
    np.testing.assert_array_equal(desk.data, once)


def test_a_stroke_that_changes_nothing_is_no_step(desk):
    at = tuple(np.argwhere(desk.start == 0)[0])  # a corner: outside the brain
    desk.stroke(at)
    assert history_of(desk.layer).done == [] and desk.edits == []


def test_the_history_keeps_to_its_bytes_and_forgets_the_oldest_first(viewer):
    from napari.layers import Labels

    layer = Labels(np.zeros((40, 40, 40), np.uint8))
    steps = History(layer, most_bytes=60_000)
    rng = np.random.default_rng(0)
    states = [layer.data.copy()]
    for _ in range(12):
        new = rng.integers(0, 4, layer.data.shape).astype(np.uint8)
        history.apply_edit(layer, (slice(0, 40),) * 3, new != layer.data, new)
        states.append(layer.data.copy())
    assert 1 <= len(steps.done) < 12 and steps.size <= 60_000
    for state in reversed(states[-len(steps.done) - 1 : -1]):
        layer.undo()
        np.testing.assert_array_equal(layer.data, state)


def test_large_edits_undo_by_way_of_napari_s_public_setter_too(desk):
    desk.layer.data_setitem(np.nonzero(desk.start == 2), 0)
    assert not (desk.data == 2).any()
    np.testing.assert_array_equal(desk.brush.counts[:6], np.bincount(desk.data.ravel(), minlength=6))
    desk.layer.undo()
    np.testing.assert_array_equal(desk.data, desk.start)


# --- 3D tools


def test_interpolation_goes_by_the_slices_that_were_painted(desk):
    z = desk.centre[0]
    desk.house.paint.change_brush(target=Region.WT)
    desk.layer.brush_size = 7
    for i in (z - 3, z + 3):
        desk.viewer.dims.set_point(0, float(desk.layer.data_to_world((i, 0, 0))[0]))
        desk.stroke((i, desk.centre[1], desk.centre[2] - 8))
    assert desk.brush.painted_slices(0) == [z - 3, z + 3]
    before = np.array(desk.data)
    desk.house.paint.interpolate()
    for i in (z - 3, z + 3):
        np.testing.assert_array_equal(desk.data[i], before[i])
    assert (desk.data[z - 2 : z + 3] != before[z - 2 : z + 3]).any()
    assert desk.brush.painted_slices(0) == []
    desk.house.paint.undo()
    np.testing.assert_array_equal(desk.data, before)
    assert desk.brush.painted_slices(0) == [z - 3, z + 3]
    desk.house.paint.interpolate(most_apart=5)
    np.testing.assert_array_equal(desk.data, before)
    assert "Nothing changed" in desk.session.message.text


def test_a_tool_begins_anew_when_someone_paints_meanwhile(viewer):
    desk = Desk(viewer, make_study(2))
    waiting = []
    desk.house.background = lambda work, done, failed: waiting.append((work(), done))
    desk.house.paint.smooth(2.0)
    desk.stroke(near(desk, 0, 9, 0))
    painted = np.array(desk.data)
    result, done = waiting.pop()
    done(result)
    np.testing.assert_array_equal(desk.data, painted)  # the first answer was to labels that are no more
    result, done = waiting.pop()
    done(result)
    assert (desk.data != painted).any()
    desk.house.paint.undo()
    np.testing.assert_array_equal(desk.data, painted)
    desk.brush.close()


def test_a_region_is_taken_from_the_model_s_answer(desk):
    desk.house.paint.change_brush(target=Region.WT, inside=False)
    desk.layer.brush_size = 40
    desk.stroke(near(desk, 0, 9, 0))
    desk.stroke(near(desk, 0, 0, 0), tool=Tool.ERASER)
    assert (desk.data != desk.start).any()
    for target in (Region.WT, Region.TC, Region.ET):
        desk.house.paint.change_brush(target=target)
        desk.house.paint.take(desk.house.paint.sources[0])
    np.testing.assert_array_equal(desk.data, desk.start)


def test_a_click_says_where_to_grow_and_paints_nothing_itself(desk):

    desk.house.paint.choose_tool(Tool.BRUSH)
    desk.house.paint.change_brush(target=Region.ET)
    desk.house.paint.grow(30.0)
    assert desk.house.paint.pointer.waiting and "Click" in desk.session.message.text
    desk.viewer.dims.point = tuple(desk.layer.data_to_world(near(desk, 0, 0, 0)))
    desk.viewer.layers.selection.active = desk.layer
    drag(desk.viewer, [(100, 100)], modifiers=())
    assert not desk.house.paint.pointer.waiting and desk.brush.tool is Tool.BRUSH
    assert [e.tool for e in desk.edits] == ["grow"]
    assert (desk.data[desk.data != desk.start] == 3).all()


# --- threshold and preview


def test_the_preview_shows_exactly_what_the_brush_would_paint(desk):
    desk.house.paint.change_brush(target=Region.ET)
    desk.house.paint.switch_threshold(True)
    s = desk.brush.settings
    assert s.modality is Modality.T1CE  # where one sees enhancement
    shown = next(layer for layer in desk.viewer.layers if layer.name == NAME)
    desk.viewer.layers.selection.active = desk.layer
    desk.viewer.dims.set_point(0, float(desk.layer.data_to_world((desk.centre[0], 0, 0))[0]))
    seen = np.array(shown._slice.image.raw).astype(bool)
    desk.layer.brush_size = 200
    desk.stroke(desk.centre)
    np.testing.assert_array_equal((desk.data != desk.start)[desk.centre[0]], seen)
    assert not shown._slice.image.raw.any()  # it is painted now
    within = Range(desk.brush.images[Modality.T1CE], *s.limits)
    assert within.allows()[desk.data != desk.start].all()
    desk.viewer.dims.ndisplay = 3
    assert NAME not in desk.viewer.layers
    desk.viewer.dims.ndisplay = 2
    assert NAME in desk.viewer.layers
    desk.house.paint.change_brush(preview=False)
    assert NAME not in desk.viewer.layers


def test_a_series_on_another_grid_is_no_threshold(viewer):
    study = make_study(3)
    other = marker_study("LPS").volumes[Modality.FLAIR]
    study = replace(study, volumes={**study.volumes, Modality.FLAIR: other})
    desk = Desk(viewer, study)
    assert Modality.FLAIR not in desk.brush.images and Modality.T1CE in desk.brush.images
    desk.house.paint.choose_threshold_series(Modality.FLAIR)
    assert desk.brush.settings.modality is None
    desk.house.close()


# --- from nothing


def test_a_mask_is_begun_from_nothing(viewer):
    study = replace(make_study(4), segmentation=None)
    house = House(viewer)
    session = house.session
    house.paint.new_mask()
    assert session.message.kind.value == "warning"
    layers.add_study(viewer, study)
    session.open(OpenStudy(study), None)
    house.paint.new_mask()
    labels = layers.labels_of(house.labels)
    assert not labels.any() and labels.shape == study.reference.grid.shape
    house.labels.paint(tuple(n // 2 for n in house.labels.data.shape), 2)
    assert layers.labels_of(house.labels).any()
    kept = session.segmentation
    house.paint.new_mask()
    assert session.segmentation is kept and isinstance(kept, Segmentation)
    house.close()
