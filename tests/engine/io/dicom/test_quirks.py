"""What real series are like, a row a habit: read rightly, or said in words; never silently wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_studies import as_jpeg_lossless, ball, edit, grid_of, new_person, write_series

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.study import Modality
from brainseg_engine.io.found import ImageSeries
from brainseg_engine.io.listing import list_series, read_listed, volume_of
from brainseg_engine.phantom.dicom import SYNTAXES, SeriesPlan

GRID = grid_of((36, 34, 10), (0.9, 0.8, 5.0), (8, 0, 3))
STORED = ball(GRID)


def write(folder: Path, **plan: object) -> list[Path]:
    return write_series(folder, STORED, GRID, new_person(), SeriesPlan(**plan))  # type: ignore[arg-type]


def only(folder: Path) -> ImageSeries:
    (series,) = list_series(folder).series
    return series


def assert_right(series: ImageSeries, stored: np.ndarray = STORED, grid: Grid = GRID) -> None:
    volume = volume_of(series, Modality.T1)
    assert volume.grid.same_as(grid, 1e-3)
    np.testing.assert_array_equal(volume.data, stored)


def message(series: ImageSeries, code: str) -> str:
    return next(r.message for r in series.remarks if r.code == code)


# --- read rightly -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_every_syntax(tmp_path, syntax):
    write(tmp_path, syntax=syntax)
    series = only(tmp_path)
    assert_right(series)
    assert series.remarks == ()


def test_jpeg_lossless(tmp_path):
    for path in write(tmp_path):
        as_jpeg_lossless(path)
    assert_right(only(tmp_path))


@pytest.mark.parametrize("enhanced", [False, True])
def test_shuffled_slices(tmp_path, enhanced):
    write(tmp_path, order=[3, 0, 9, 1, 7, 2, 8, 6, 4, 5], enhanced=enhanced)
    assert_right(only(tmp_path))


def test_interleaved_instance_numbers(tmp_path):
    write(tmp_path, order=[0, 2, 4, 6, 8, 1, 3, 5, 7, 9])
    series = only(tmp_path)
    assert_right(series)
    assert series.facts.time_points == 1


def test_signed_values(tmp_path):
    stored = STORED.astype(np.int16) - 500
    write_series(tmp_path, stored, GRID, new_person(), SeriesPlan(vendor="GE"))
    assert_right(only(tmp_path), stored)


@pytest.mark.parametrize("wrong", ["0", "-5", "99", None])
def test_wrong_thickness_and_spacing_tags_count_for_nothing(tmp_path, wrong):
    write(tmp_path, tags={"SliceThickness": wrong, "SpacingBetweenSlices": wrong, "SliceLocation": "7"})
    series = only(tmp_path)
    assert_right(series)
    assert series.remarks == ()


def test_without_preamble(tmp_path):
    write(tmp_path, syntax="implicit", preamble=False)
    assert_right(only(tmp_path))


@pytest.mark.parametrize("enhanced", [False, True])
def test_slope_of_each_slice(tmp_path, enhanced):
    slopes = [(1 + 0.1 * k, 5.0 * k) for k in range(10)]
    write(tmp_path, slopes=slopes, enhanced=enhanced)
    expected = np.stack([(STORED[..., k] * s + i).astype(np.float32) for k, (s, i) in enumerate(slopes)], axis=-1)
    assert_right(only(tmp_path), expected)


def test_orientation_jitter_is_one_series(tmp_path):
    rng = np.random.default_rng(0)
    for path in write(tmp_path):
        orientation = np.array(pydicom.dcmread(path).ImageOrientationPatient, dtype=float)
        edit(path, ImageOrientationPatient=[f"{v:.9f}" for v in orientation + rng.uniform(-3e-5, 3e-5, 6)])
    series = only(tmp_path)
    assert "orientation-jitter" in series.flags
    volume = volume_of(series, Modality.T1)
    assert volume.grid.corner_distance(GRID) < 0.01
    np.testing.assert_array_equal(volume.data, STORED)


def test_overlays_in_unused_bits_are_ignored(tmp_path):
    twelve = np.minimum(STORED, 4095)
    for path in write_series(tmp_path, twelve, GRID, new_person(), SeriesPlan()):
        dataset = pydicom.dcmread(path)
        marked = dataset.pixel_array.copy()
        marked[5:9, 5:20] |= 0x8000
        edit(path, PixelData=marked.tobytes(), BitsStored=12, HighBit=11)
    assert_right(only(tmp_path), twelve)


def test_overlay_planes_secret_or_not_are_no_part_of_the_image(tmp_path):
    for path in write(tmp_path):
        dataset = pydicom.dcmread(path)
        for group in (0x6000, 0x6002):
            for element, vr, value in ((0x10, "US", GRID.shape[1]), (0x11, "US", GRID.shape[0]), (0x40, "CS", "G"),
                                       (0x50, "SS", [1, 1]), (0x100, "US", 1), (0x102, "US", 0),
                                       (0x3000, "OW", b"\xff" * 256)):  # fmt: skip
                dataset.add_new((group, element), vr, value)
        dataset.BurnedInAnnotation = "NO"
        dataset.save_as(path)
    assert_right(only(tmp_path))


def test_twelve_bits_signed(tmp_path):
    """The sign stands in bit 11; the bits above may hold anything."""
    signed = STORED.astype(np.int16) - 600
    paths = write_series(tmp_path, (signed.view(np.uint16) & 0x0FFF), GRID, new_person(), SeriesPlan())
    for path in paths:
        edit(path, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert_right(only(tmp_path), signed)


def test_white_as_zero_is_turned(tmp_path):
    for path in write(tmp_path):
        inverted = 65535 - pydicom.dcmread(path).pixel_array
        edit(path, PhotometricInterpretation="MONOCHROME1", PixelData=inverted.astype(np.uint16).tobytes())
    assert_right(only(tmp_path))


# --- several images in one series -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enhanced", [False, True])
def test_two_echoes_are_two_images(tmp_path, enhanced):
    if enhanced:
        both = np.concatenate([STORED, STORED + 1], axis=2)
        grid = Grid((36, 34, 20), GRID.affine)
        echoes = {k: {"EchoTime": 10 if k < 10 else 90} for k in range(20)}
        (path,) = write_series(tmp_path, both, grid, new_person(), SeriesPlan(enhanced=True, per_slice=echoes))
        dataset = pydicom.dcmread(path)
        groups = dataset.PerFrameFunctionalGroupsSequence
        for first, second in zip(groups[:10], groups[10:], strict=True):
            second.PlanePositionSequence = first.PlanePositionSequence
        dataset.save_as(path)
    else:
        person, uid = new_person(), pydicom.uid.generate_uid()
        for i, echo in enumerate(("10", "90")):
            plan = SeriesPlan(tags={"EchoTime": echo, "EchoNumbers": i + 1}, series_uid=uid, first_instance=1 + 10 * i)
            write_series(tmp_path, STORED + i, GRID, person, plan)
    first, second = list_series(tmp_path).series
    assert (first.facts.te_ms, second.facts.te_ms) == (10, 90)
    assert (first.facts.echo, second.facts.echo, first.facts.echoes) == (1, 2, 2)
    assert_right(first)
    assert_right(second, STORED + 1)


@pytest.mark.parametrize(
    "expected",
    [
        lambda i: {"TemporalPositionIdentifier": i + 1},
        lambda i: {"AcquisitionNumber": i + 1},
        lambda i: {"AcquisitionTime": f"10{15 + i}00"},
        lambda i: {"ImageType": ["ORIGINAL", "PRIMARY", "MP"[i], "ND"]},
        lambda i: {"DiffusionBValue": 1000.0 * i},
        lambda i: {"InversionTime": f"{500 + 1000 * i}"},
        lambda i: {},
    ],
    ids=["temporal position", "acquisition", "time", "image type", "b-value", "inversion", "number alone"],
)
def test_two_images_at_each_place_are_two_images(tmp_path, expected):
    person, uid = new_person(), pydicom.uid.generate_uid()
    for i in range(2):
        tags = {"DiffusionBValue": None, **expected(i)}
        plan = SeriesPlan(vendor="Philips", tags=tags, series_uid=uid, first_instance=1 + 10 * i)
        write_series(tmp_path, STORED + i, GRID, person, plan)
    found = list(list_series(tmp_path).series)
    assert len(found) == 2
    assert len({s.facts.id for s in found}) == 2
    assert len({s.facts.label for s in found}) == 2
    values = [read_listed(s).data for s in found]
    assert {int(v[0, 0, 0]) - int(STORED[0, 0, 0]) for v in values} == {0, 1}
    for v in values:
        assert len(np.unique(v.astype(int) - STORED)) == 1


def test_a_b_value_of_zero_everywhere_splits_nothing(tmp_path):
    write(tmp_path, vendor="Philips")
    series = only(tmp_path)
    assert series.facts.b_value == 0
    assert_right(series)


def test_a_long_dynamic_series_is_one_entry(tmp_path):
    person, uid = new_person(), pydicom.uid.generate_uid()
    for i in range(9):
        plan = SeriesPlan(tags={"TemporalPositionIdentifier": i + 1}, series_uid=uid, first_instance=1 + 10 * i)
        write_series(tmp_path, STORED + i, GRID, person, plan)
    series = only(tmp_path)
    assert series.facts.time_points == 9
    assert_right(series)


# --- said in words ----------------------------------------------------------------------------------------------------------


def test_a_missing_slice_is_named_and_left_empty(tmp_path):
    paths = write(tmp_path)
    paths[3].unlink()
    paths[6].unlink()
    series = only(tmp_path)
    assert series.usable
    assert series.grid.same_as(GRID, 1e-3)
    text = message(series, "missing-slices")
    along = [float(np.array(s.position) @ _normal()) for s in series.slices]
    there = [along[0] + 5.0 * k for k in (3, 6)]
    assert np.allclose(series.missing_mm, there, atol=1e-6)
    assert text.startswith("2 slices are missing, at ")
    for place in there:
        assert f"{'S' if place >= 0 else 'I'} {abs(place):.1f} mm" in text
    data = read_listed(series).data
    assert not data[:, :, (3, 6)].any()
    keep = [0, 1, 2, 4, 5, 7, 8, 9]
    np.testing.assert_array_equal(data[:, :, keep], STORED[:, :, keep])


def _normal() -> np.ndarray:
    lps = np.diag([-1.0, -1.0, 1.0]) @ GRID.affine[:3, :3]
    return np.cross(lps[:, 0], lps[:, 1]) / np.linalg.norm(np.cross(lps[:, 0], lps[:, 1]))


def test_every_second_slice_missing(tmp_path):
    paths = write(tmp_path)
    for k in (1, 3, 5):
        paths[k].unlink()
    series = only(tmp_path)
    assert len(series.missing_mm) == 3
    assert series.grid.same_as(GRID, 1e-3)


def test_uneven_slices_are_flagged(tmp_path):
    paths = write(tmp_path)
    _shift(paths[4], 0.6)
    series = only(tmp_path)
    assert {"uneven", "displaced"} <= set(series.flags)
    assert "4.40 to 5.60 mm" in message(series, "uneven")
    read_listed(series)


def test_slices_that_fit_no_grid_are_not_read(tmp_path):
    paths = write(tmp_path)
    for k, path in enumerate(paths):
        _shift(path, 0.13 * k * k)
    series = only(tmp_path)
    assert not series.usable
    assert "mm beside their places" in message(series, "no-grid")


def _shift(path: Path, mm: float) -> None:
    position = np.array(pydicom.dcmread(path).ImagePositionPatient, dtype=float) + mm * _normal()
    edit(path, ImagePositionPatient=[f"{v:.8f}" for v in position])


def test_a_tilted_gantry_gives_sheared_axes(tmp_path):
    affine = GRID.affine.copy()
    affine[:3, 2] += 1.2 * affine[:3, 1]
    sheared = Grid(GRID.shape, affine)
    write_series(tmp_path, STORED, sheared, new_person(), SeriesPlan())
    series = only(tmp_path)
    assert_right(series, STORED, sheared)
    assert "sheared by 10.9°" in message(series, "sheared")


def test_copies_of_files_count_once(tmp_path):
    paths = write(tmp_path)
    (tmp_path / "again").mkdir()
    for path in paths[:4]:
        (tmp_path / "again" / path.name).write_bytes(path.read_bytes())
    series = only(tmp_path)
    assert_right(series)
    assert message(series, "duplicate").startswith("4 images are there twice")


@pytest.mark.parametrize("how_many", [1, 10])
def test_copies_under_new_uids_are_flagged(tmp_path, how_many):
    paths = write(tmp_path)
    for path in paths[:how_many]:
        copy = path.with_name("copy-" + path.name)
        copy.write_bytes(path.read_bytes())
        edit(copy, SOPInstanceUID=pydicom.uid.generate_uid())
    series = only(tmp_path)
    assert_right(series)
    assert f"At {how_many} of 10 places" in message(series, "repeated")


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big-endian", "rle", "jpeg-ls"])
@pytest.mark.parametrize("k", [4, 9])
def test_a_truncated_file_is_flagged_with_its_place(tmp_path, syntax, k):
    paths = write(tmp_path, syntax=syntax)
    content = paths[k].read_bytes()
    paths[k].write_bytes(content[: len(content) - 200])
    series = only(tmp_path)
    assert series.grid.same_as(GRID, 1e-3)
    assert len(series.missing_mm) == 1
    assert "cut short" in message(series, "truncated")
    assert not read_listed(series).data[:, :, k].any()


@pytest.mark.parametrize("keep", [0, 100, 140, 500])
def test_a_file_that_ends_in_its_header_is_listed_with_its_reason(tmp_path, keep):
    paths = write(tmp_path)
    paths[4].write_bytes(paths[4].read_bytes()[:keep])
    listing = list_series(tmp_path)
    (series,) = listing.series
    assert "missing-slices" in series.flags
    (skipped,) = listing.skipped
    assert skipped.paths == (paths[4],)
    assert skipped.reason in ("is empty (0 bytes)", "is no DICOM file", "is cut short: it ends before its pixels")


def test_a_deflated_file_that_is_cut_is_listed(tmp_path):
    paths = write(tmp_path, syntax="deflated")
    content = paths[4].read_bytes()
    paths[4].write_bytes(content[: len(content) - 200])
    listing = list_series(tmp_path)
    assert "cut short" in listing.skipped[0].reason
    assert "missing-slices" in next(listing.series).flags


def test_a_mosaic_is_named_and_refused(tmp_path):
    write(tmp_path, tags={"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]})
    series = only(tmp_path)
    assert not series.usable
    assert "mosaic" in series.remarks[0].message
    with pytest.raises(Exception, match="mosaic"):
        read_listed(series)


@pytest.mark.parametrize("missing", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_pictures_without_a_place_are_refused(tmp_path, missing):
    write(tmp_path, tags={missing: None})
    series = only(tmp_path)
    assert not series.usable
    assert "where its pictures lie" in series.remarks[0].message


def test_colour_pictures_are_refused(tmp_path):
    for path in write(tmp_path):
        edit(path, SamplesPerPixel=3, PhotometricInterpretation="RGB", BitsAllocated=8, BitsStored=8, HighBit=7)
    assert "colour" in only(tmp_path).remarks[0].message


def test_a_syntax_without_decoder_is_named(tmp_path):
    paths = write(tmp_path, syntax="rle")
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.101"  # MPEG-2
        dataset.save_as(path)
    with pytest.raises(Exception, match=r"MPEG2.*cannot be read here"):
        read_listed(only(tmp_path))
