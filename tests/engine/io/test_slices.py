"""Folders of image slices: what is read, what is refused and in which words, and masks written like the input."""

import numpy as np
import pytest
from helpers.layouts_on_disk import write_slices
from PIL import Image

from brainseg_engine.core import resample
from brainseg_engine.core.errors import BrainsegError, CodingError, GeometryError, InputError, OutputError
from brainseg_engine.core.geometry import SLICES_AFFINE, Grid
from brainseg_engine.core.labels import Label, Region
from brainseg_engine.core.study import Modality, Segmentation
from brainseg_engine.io import find_series, find_studies, load_segmentation, load_study, save_segmentation, save_slices
from brainseg_engine.scores import volumes
from brainseg_engine.scores.scorer import score_case


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "TCGA_AB_1234_19990101"


def test_colours_are_series_columns_run_left_and_slices_go_by_number(folder):
    pictures = write_slices(folder, numbers=(1, 2, 3, 10))
    study = load_study(folder)
    assert study.id == folder.name
    assert list(study.volumes) == [Modality.T1, Modality.T1CE, Modality.FLAIR]
    for channel, m in enumerate((Modality.T1, Modality.FLAIR, Modality.T1CE)):
        volume = study.volumes[m]
        assert volume.data.shape == (9, 6, 4)
        assert volume.data[7, 2, 3] == pictures[3, 2, 7, channel]  # column, row, the fourth by number
        np.testing.assert_array_equal(volume.data, pictures[..., channel].transpose(2, 1, 0))
        assert volume.grid.orientation == "LPS"
        assert not volume.grid.calibrated
    mask = study.segmentation
    assert (mask.coding, mask.regions, study.coding) == ("lgg", (Region.WT,), "lgg")
    assert [tuple(v) for v in np.argwhere(mask.labels)] == [(1, 1, 0), (1, 4, 3), (2, 2, 1), (3, 3, 2)]
    assert set(np.unique(mask.labels)) == {0, Label.TUMOUR}


def test_the_hash_is_of_the_voxels(folder, tmp_path):
    write_slices(folder)
    other = tmp_path / "other"
    pictures = write_slices(other)
    a, b = load_study(folder), load_study(other)
    assert [v.sha256 for v in a.volumes.values()] == [v.sha256 for v in b.volumes.values()]
    pictures[2, 0, 0, 1] ^= 1
    Image.fromarray(pictures[2]).save(other / "other_3.tif")
    changed = load_study(other)
    assert [m for m in a.volumes if a.volumes[m].sha256 != changed.volumes[m].sha256] == [Modality.FLAIR]


def test_a_gap_is_reported_and_no_reason_to_stop(folder, caplog):
    write_slices(folder, numbers=(3, 4, 7))
    assert load_study(folder).reference.grid.shape[2] == 3
    assert "no slice 5, 6" in caplog.text


def _picture(path, shape=(6, 9, 3), dtype=np.uint8):
    Image.fromarray(np.zeros(shape, dtype)).save(path)


DAMAGE = {
    "mask missing": (lambda f, n: (f / f"{n}_2_mask.tif").unlink(), "slice 2 has no mask"),
    "image missing": (lambda f, n: (f / f"{n}_2.tif").unlink(), "slice 2 has a mask and no image"),
    "another size": (lambda f, n: _picture(f / f"{n}_2.tif", (6, 8, 3)), "has 8×6 pixels"),
    "mask of another size": (lambda f, n: _picture(f / f"{n}_2_mask.tif", (6, 8)), "has 8×6 pixels"),
    "grey": (lambda f, n: _picture(f / f"{n}_2.tif", (6, 9)), "has 1 channel of 8 bits"),
    "four channels": (lambda f, n: _picture(f / f"{n}_2.tif", (6, 9, 4)), "has 4 channels"),
    "sixteen bits": (lambda f, n: _picture(f / f"{n}_2.tif", (6, 9), np.uint16), "of 16 bits"),
    "no picture": (lambda f, n: (f / f"{n}_2.tif").write_bytes(b"II*\0 is no TIFF"), "no TIFF image, or damaged"),
    "empty file": (lambda f, n: (f / f"{n}_2.tif").write_bytes(b""), "is empty"),
    "cut short": (lambda f, n: (f / f"{n}_2.tif").write_bytes((f / f"{n}_2.tif").read_bytes()[:200]), "damaged"),
    "a number twice": (lambda f, n: _picture(f / f"{n}_02.tif"), "same slice number"),
    "two patients": (lambda f, n: _picture(f / "other_9.tif"), "slices of 2 patients"),
    "coloured mask": (lambda f, n: _picture(f / f"{n}_2_mask.tif"), "has 3 channels"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_bad_slices_are_reported_in_words(what, folder):
    write_slices(folder, numbers=(1, 2, 3))
    damage, words = DAMAGE[what]
    damage(folder, folder.name)
    with pytest.raises(InputError, match=words) as e:
        load_study(folder)
    assert str(folder) in str(e.value)


def test_values_that_are_no_mask_are_refused(folder):
    write_slices(folder)
    Image.fromarray(np.full((6, 9), 128, np.uint8)).save(folder / f"{folder.name}_2_mask.tif")
    with pytest.raises(CodingError, match=r"_2_mask\.tif holds the value 128"):
        load_study(folder)
    assert load_study(folder, segmentation=False).segmentation is None


def test_any_prefix_of_a_slice_is_read_or_refused_in_words(folder):
    write_slices(folder, numbers=(1, 2), masks=False)
    path = folder / f"{folder.name}_2.tif"
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        try:
            load_study(folder)
        except BrainsegError as e:
            assert path.name in str(e)


def test_without_masks_it_is_a_study_too_and_other_pictures_are_none(folder, tmp_path):
    write_slices(folder, masks=False)
    assert load_study(folder).segmentation is None
    movie = tmp_path / "movie"
    movie.mkdir()
    for n in range(3):
        _picture(movie / f"frame_{n}.tif")
    assert find_studies(tmp_path) == [folder]
    with pytest.raises(InputError, match="holds no image"):
        find_series(movie)


def test_masks_written_like_the_input_are_read_as_the_same(folder, tmp_path):
    write_slices(folder)
    seg = load_study(folder).segmentation
    written = save_slices(seg, folder, tmp_path / "out")
    assert sorted(p.name for p in written) == sorted(p.name for p in folder.glob("*_mask.tif"))
    for path in written:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(folder / path.name)))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in written)
    again = load_segmentation(tmp_path / "out")
    np.testing.assert_array_equal(again.labels, seg.labels)
    assert again.grid.same_as(seg.grid)


def test_what_cannot_be_written_as_slices_is_refused(folder, tmp_path):
    write_slices(folder)
    seg = load_study(folder).segmentation
    with pytest.raises(OutputError, match="is there already"):
        save_slices(seg, folder, folder)
    classes = Segmentation(np.full(seg.grid.shape, Label.ET, np.uint8), seg.grid)
    with pytest.raises(CodingError, match="enhancing tumour"):
        save_slices(classes, folder, tmp_path / "out")
    other = Segmentation(np.zeros((9, 6, 5), np.uint8), Grid((9, 6, 5), SLICES_AFFINE, False))
    with pytest.raises(GeometryError, match="9×6×5 voxels"):
        save_slices(other, folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".mha"])
def test_a_volume_file_keeps_that_the_voxel_size_is_not_known(folder, tmp_path, ending):
    write_slices(folder)
    study = load_study(folder)
    path = tmp_path / f"{study.id}_seg{ending}"
    save_segmentation(study.segmentation, path, reference=study.reference, sidecar={})
    again = load_segmentation(path, grid=study.reference.grid)
    assert not again.grid.calibrated
    assert again.grid.orientation == "LPS"
    assert again.regions == (Region.WT,)
    np.testing.assert_array_equal(again.labels, study.segmentation.labels)


def test_nothing_in_mm_or_ml_is_reported_of_slices(folder):
    write_slices(folder)
    study = load_study(folder)
    labels, grid = study.segmentation.labels, study.reference.grid
    assert grid.voxel_ml is None
    assert not grid.crop((1, 1, 1), (2, 2, 2)).calibrated
    score = score_case(labels, labels, grid, (Region.WT,))[Region.WT]
    assert (score.dice, score.hd95_mm) == (1.0, None)
    with pytest.raises(GeometryError, match="voxel sizes"):
        volumes.volumes_ml(labels, grid)
    assert volumes.voxel_counts(labels, (Region.WT,)) == {Region.WT: 4}
    assert volumes.volume_fields({"WT": 4}, grid) == {"volumes_ml": None, "volumes_voxels": {"WT": 4}}
    assert resample.with_spacing(grid, 2.0) is grid


def test_a_grid_without_sizes_is_the_same_when_its_axes_run_the_same_way():
    slices = Grid((4, 5, 6), SLICES_AFFINE, False)
    assert slices.same_as(Grid((4, 5, 6), np.diag([-0.9, -0.9, 5.0, 1.0])))
    assert not slices.same_as(Grid((4, 5, 6), np.eye(4)))
    assert not slices.same_as(Grid((4, 5, 7), SLICES_AFFINE, False))


def test_real_slices_round_trip(real_data, tmp_path):
    folder = real_data / "lgg/kaggle_3m/TCGA_HT_8107_19980708"
    if not folder.is_dir():
        pytest.skip("no LGG slices among the real cases")
    study = load_study(folder)
    assert study.reference.grid.shape == (256, 256, 20)
    for path in save_slices(study.segmentation, folder, tmp_path / "out"):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), np.asarray(Image.open(folder / path.name)))
