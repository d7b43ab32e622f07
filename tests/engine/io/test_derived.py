"""SEG and RTSTRUCT read back: the same mask on the series they refer to, or one sentence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from brainseg_engine.core.errors import BrainsegError, GeometryError, InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.io import load_segmentation
from brainseg_engine.io.derived.contours import contours, filled

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

from helpers.dicom_series import grid_of_series, tumour_on, write_dicom_series

from brainseg_engine.io.derived.reading import is_derived, part_of, read_derived
from brainseg_engine.io.derived.source import fitting, listed, opened, transferred
from brainseg_engine.report.dicom_seg import Made, write_seg
from brainseg_engine.report.rtstruct import write_rtstruct

MADE = Made("model", "2")
KINDS = ("thick", "thin", "enhanced")


@given(arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_contours_enclose_exactly_the_mask(mask):
    """Holes, islands, parts that touch by a corner: everything comes back, and the area is the mask's."""
    found = contours(mask)
    assert np.array_equal(filled(found, mask.shape), mask)
    area = sum((p[:, 0] * np.roll(p[:, 1], -1) - np.roll(p[:, 0], -1) * p[:, 1]).sum() / 2 for p in found)
    assert area == pytest.approx(mask.sum())
    assert all(len(p) >= 4 for p in found)


@pytest.fixture(params=KINDS)
def written(request, tmp_path):
    write_dicom_series(tmp_path, request.param)
    mask = tumour_on(grid_of_series(request.param))
    source = opened(fitting(listed(tmp_path), mask))
    return tmp_path, mask, source


@pytest.mark.parametrize("write", [write_seg, write_rtstruct])
def test_a_mask_comes_back_on_its_series(written, write):
    folder, mask, source = written
    path = folder / "result.dcm"
    write(mask, source, MADE).save_as(path, enforce_file_format=True)
    assert is_derived(path)
    back = read_derived(path)
    assert back.grid.same_as(mask.grid, 0.01)
    assert np.array_equal(back.labels, mask.labels)
    assert back.regions == tuple(Region)
    assert back.made_by == "model 2"


def test_a_label_map_comes_back(written):
    folder, mask, source = written
    path = folder / "result.dcm"
    write_seg(mask, source, MADE, labelmap=True).save_as(path)
    assert np.array_equal(read_derived(path).labels, mask.labels)


def test_a_mask_turned_to_ras_is_turned_back_and_never_resampled(written, tmp_path):
    _, mask, source = written
    labels, affine = mask.labels[::-1, :, ::-1].transpose(2, 0, 1), mask.grid.affine.copy()
    affine[:, 3] += affine[:, 0] * (mask.grid.shape[0] - 1) + affine[:, 2] * (mask.grid.shape[2] - 1)
    affine[:, [0, 2]] *= -1
    turned = replace(mask, labels=labels, grid=Grid(labels.shape, affine[:, [2, 0, 1, 3]]))
    assert np.array_equal(transferred(turned, source.grid), mask.labels)
    for write in (write_seg, write_rtstruct):  # and read back onto a study whose files are turned
        write(turned, source, MADE).save_as(tmp_path / "turned.dcm", enforce_file_format=True)
        assert np.array_equal(read_derived(tmp_path / "turned.dcm", grid=turned.grid).labels, turned.labels)
    shifted = affine[:, [2, 0, 1, 3]].copy()
    shifted[:3, 3] += shifted[:3, 1] * 0.5
    assert transferred(replace(turned, grid=Grid(labels.shape, shifted)), source.grid) is None


def test_a_seg_without_its_series(tmp_path, written):
    folder, mask, source = written
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_seg(mask, source, MADE).save_as(elsewhere / "a.dcm")
    with pytest.raises(InputError, match="refers to a series that is not in"):
        read_derived(elsewhere / "a.dcm")
    assert np.array_equal(read_derived(elsewhere / "a.dcm", images=folder).labels, mask.labels)
    assert np.array_equal(read_derived(elsewhere / "a.dcm", grid=mask.grid).labels, mask.labels)
    moved = mask.grid.affine.copy()
    moved[:3, 3] += 1.7
    with pytest.raises(GeometryError, match="other voxels"):
        read_derived(elsewhere / "a.dcm", grid=Grid(mask.grid.shape, moved))


def test_other_organs_and_other_objects(written):
    folder, mask, source = written
    seg = write_seg(mask, source, MADE)
    for segment, organ in zip(seg.SegmentSequence, ("Liver", "Spleen", "Kidney", "Lung", "Heart"), strict=True):
        segment.SegmentLabel = organ
        segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "10200004"
    seg.save_as(folder / "organs.dcm")
    with pytest.raises(InputError, match=r"no part of a brain tumour.*Liver, Spleen"):
        read_derived(folder / "organs.dcm")
    image = next(p for p in sorted(folder.iterdir()) if p.name != "organs.dcm")
    assert not is_derived(image)
    with pytest.raises(InputError, match="neither a DICOM SEG"):
        read_derived(image)
    (folder / "cut.dcm").write_bytes((folder / "organs.dcm").read_bytes()[:3000])
    with pytest.raises(InputError):
        read_derived(folder / "cut.dcm")


@pytest.mark.parametrize(
    ("name", "codes", "part"),
    [("NCR", (), "NCR"), ("Edema", (), "ED"), ("Enhancing tumor", (), "ET"), ("non-enhancing core", (), "NCR"),
     ("peritumoral oedema", (), "ED"), ("Tumor core", (), "TC"), ("Whole_tumour", (), "WT"), ("Tumor", (), "WT"),
     ("Segment_1", ("C113842",), "ET"), ("ET", ("86049000",), "ET"), ("Segment_2", ("86049000",), "TC"), ("brain", (), ""),
     ("Liver", ("10200004",), ""), ("necrosis", (), "NCR"), ("WT", (), "WT"), ("TC", (), "TC")],
)  # fmt: skip
def test_names_and_codes_of_other_programs(name, codes, part):
    assert part_of(name, codes) == part


def test_a_single_tumour_segment_is_no_core(written):
    folder, mask, source = written
    whole = replace(mask, labels=np.where(mask.labels > 0, Label.TUMOUR, 0).astype(np.uint8), regions=(Region.WT,))
    write_seg(whole, source, MADE).save_as(folder / "w.dcm")
    back = read_derived(folder / "w.dcm")
    assert back.regions == (Region.WT,)
    assert np.array_equal(back.labels, whole.labels)


def test_the_right_series_is_found_among_several(tmp_path):
    write_dicom_series(tmp_path / "a", "thick", description="T1", number=3)
    write_dicom_series(tmp_path / "b", "thin", description="FLAIR", number=4)
    found, mask = listed(tmp_path), tumour_on(grid_of_series("thin"))
    assert opened(fitting(found, mask)).instances[0].SeriesDescription == "FLAIR"
    with pytest.raises(InputError, match="does not have the voxels"):
        fitting(found, mask, "T1")
    with pytest.raises(InputError, match="no series 'T2'"):
        fitting(found, mask, "T2")
    write_dicom_series(tmp_path / "c", "thin", description="T2", number=6)
    with pytest.raises(InputError, match=r"Several series.*--series"):
        fitting(listed(tmp_path), mask)
    assert opened(fitting(listed(tmp_path), mask, "6")).instances[0].SeriesDescription == "T2"


def test_a_missing_slice_matters_where_the_tumour_is(tmp_path):
    mask = tumour_on(grid_of_series("thick"))
    write_dicom_series(tmp_path, "thick")[4].unlink()
    source = opened(fitting(listed(tmp_path), mask))
    with pytest.raises(InputError, match="lacks a slice on which the mask has tumour"):
        write_seg(mask, source, MADE)
    mask.labels[:, :, 4] = 0
    write_seg(mask, source, MADE).save_as(tmp_path / "a.dcm")
    assert np.array_equal(read_derived(tmp_path / "a.dcm").labels, mask.labels)


def test_masks_are_opened_whatever_their_format(written):
    folder, mask, source = written
    path = folder / "result.dcm"
    write_rtstruct(mask, source, MADE).save_as(path, enforce_file_format=True)
    assert np.array_equal(load_segmentation(path).labels, mask.labels)
    assert np.array_equal(load_segmentation(path, grid=mask.grid).labels, mask.labels)


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    write_dicom_series(folder, "thick")
    mask = tumour_on(grid_of_series("thick"))
    source = opened(fitting(listed(folder), mask))
    raw = {}
    for name, write in (("seg", write_seg), ("rtstruct", write_rtstruct)):
        write(mask, source, MADE).save_as(folder / f"{name}.dcm", enforce_file_format=True)
        raw[name] = (folder / f"{name}.dcm").read_bytes()
    return folder, mask, raw


@given(data=st.data(), kind=st.sampled_from(["seg", "rtstruct"]))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_damaged_files_end_in_a_sentence(originals, data, kind):
    folder, mask, raw = originals
    spoilt = bytearray(raw[kind])
    for _ in range(data.draw(st.integers(1, 6))):
        spoilt[data.draw(st.integers(140, 9000))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(200, len(spoilt)))
    path = folder / "spoilt.bin"
    path.write_bytes(bytes(spoilt[:cut]))
    try:
        back = load_segmentation(path, grid=mask.grid)
    except BrainsegError as e:
        assert str(e).endswith(".")
    else:
        assert back.labels.shape == mask.grid.shape
    finally:
        path.unlink()


@pytest.mark.parametrize(("name", "part"), [
    ("Enhancing tumor core", "ET"), ("Non-enhancing tumor core", "NCR"), ("Necrotic tumor core", "TC"), ("Tumor core", "TC"),
    ("Surrounding non-enhancing FLAIR hyperintensity", "ED"), ("SNFH", "ED"), ("NETC", "NCR"), ("Whole tumor", "WT"),
])  # fmt: skip
def test_what_segments_are_called(name, part):
    assert part_of(name, ()) == part
