"""The Decathlon's Task01: channels and labels by their description, cases named by their image."""

import json

import nibabel as nib
import numpy as np
import pytest
from helpers.layouts_on_disk import CHANNELS, LABELS, write_decathlon
from helpers.on_disk import SHAPE, affine_of, image, write

from brainseg_engine.core import labels as codings
from brainseg_engine.core.errors import BrainsegError, CodingError, InputError
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality
from brainseg_engine.evaluation import find_truths
from brainseg_engine.io import decathlon, find_series, find_studies, load_segmentation, load_study, save_segmentation

T1, T1CE, T2, FLAIR = Modality


def test_every_channel_is_the_series_that_the_description_names(tmp_path):
    root = write_decathlon(tmp_path / "Task01")
    cases = find_studies(root)
    assert [p.name for p in cases] == ["BRATS_001.nii.gz", "BRATS_002.nii.gz"]
    assert find_studies(root / "imagesTr") == find_studies(tmp_path) == cases
    study = load_study(cases[1])
    assert (study.id, study.coding) == ("BRATS_002", "decathlon")
    for channel, m in enumerate((FLAIR, T1, T1CE, T2)):
        np.testing.assert_array_equal(study.volumes[m].data, image(10 + channel))
    values = np.asarray(nib.load(root / "labelsTr/BRATS_002.nii.gz").dataobj)
    for value, label in ((1, Label.ED), (2, Label.NCR), (3, Label.ET)):
        np.testing.assert_array_equal(study.segmentation.labels == label, values == value)


def test_another_order_of_channels_is_followed(tmp_path):
    root = write_decathlon(tmp_path, channels={"0": "T1w", "1": "T2w", "2": "T1gd", "3": "FLAIR"})
    study = load_study(find_studies(root)[0])
    for channel, m in enumerate((T1, T2, T1CE, FLAIR)):
        np.testing.assert_array_equal(study.volumes[m].data, image(channel))


def test_labels_by_name_whichever_way_round_they_are_reported(tmp_path):
    root = write_decathlon(tmp_path, labels={name: int(value) for value, name in LABELS.items()})
    assert load_study(find_studies(root)[0]).segmentation.coding == "decathlon"
    brats = {"0": "background", "1": "necrotic core", "2": "oedema", "3": "enhancing tumour"}
    other = write_decathlon(tmp_path / "brats", labels=brats)
    assert load_study(find_studies(other)[0]).segmentation.coding == "brats2023"


def test_a_channel_is_hashed_as_the_same_series_in_a_file_of_its_own(tmp_path):
    root = write_decathlon(tmp_path / "Task01", names=("BRATS_001",))
    for channel, ending in enumerate(("flair", "t1", "t1ce", "t2")):
        write(tmp_path / "case" / f"case_{ending}.nii.gz", image(channel))
    four, one = load_study(find_studies(root)[0]), load_study(tmp_path / "case")
    assert {m: v.sha256 for m, v in four.volumes.items()} == {m: v.sha256 for m, v in one.volumes.items()}


def test_masks_beside_and_saved_are_read_in_their_coding(tmp_path):
    root = write_decathlon(tmp_path / "Task01", names=("BRATS_001",))
    study = load_study(find_studies(root)[0])
    alone = load_segmentation(root / "labelsTr/BRATS_001.nii.gz")
    np.testing.assert_array_equal(alone.labels, study.segmentation.labels)
    out = tmp_path / "BRATS_001_seg.nii.gz"
    save_segmentation(study.segmentation, out, reference=study.reference, sidecar={})
    saved, truth = nib.load(out), nib.load(root / "labelsTr/BRATS_001.nii.gz")
    np.testing.assert_array_equal(np.asarray(saved.dataobj), np.asarray(truth.dataobj))
    np.testing.assert_array_equal(saved.affine, truth.affine)
    [case] = find_truths(root)
    assert (case.id, case.path) == ("BRATS_001", root / "labelsTr/BRATS_001.nii.gz")


def _told(root, **changes):
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


DAMAGE = {
    "another task": (lambda r: _told(r, modality={"0": "MRI"}), "names the channels MRI"),
    "twice the same": (lambda r: _told(r, modality={**CHANNELS, "3": "FLAIR"}), "each should be one of"),
    "no channels": (lambda r: _told(r, modality=None), "does not tell the channels"),
    "three channels": (lambda r: _told(r, modality={k: CHANNELS[k] for k in "012"}), "has 4 channels"),
    "another organ": (lambda r: _told(r, labels={"0": "background", "1": "Anterior"}), "'Anterior'"),
    "no JSON": (lambda r: (r / "dataset.json").write_text("{"), "no JSON text"),
    "a 3-D image": (lambda r: write(r / "imagesTr/BRATS_001.nii.gz", image()), "has 3 axes"),
}


def test_an_odd_coding_is_read_as_it_is_reported(tmp_path):
    root = write_decathlon(tmp_path)
    _told(root, labels={**LABELS, "1": LABELS["3"], "3": LABELS["1"]})
    assert decathlon.coding(root) == "1=ET,2=NCR,3=ED"


@pytest.mark.parametrize("what", DAMAGE)
def test_what_does_not_fit_is_reported_in_words(what, tmp_path):
    root = write_decathlon(tmp_path, names=("BRATS_001",))
    damage, words = DAMAGE[what]
    damage(root)
    with pytest.raises(BrainsegError, match=words):
        load_study(root / "imagesTr/BRATS_001.nii.gz")


def test_channels_without_a_description_are_not_guessed(tmp_path):
    data = np.stack([image(c) for c in range(4)], axis=-1)
    path = write(tmp_path / "deep" / "BRATS_001.nii.gz", data)
    with pytest.raises(InputError, match=r"no dataset\.json"):
        load_study(path)


def test_the_folder_is_no_study_and_says_how_to_name_one(tmp_path):
    root = write_decathlon(tmp_path)
    for folder in (root, root / "imagesTr"):
        with pytest.raises(InputError, match=r"for example .*BRATS_001\.nii\.gz"):
            find_series(folder)


def test_images_for_the_test_have_no_mask(tmp_path):
    root = write_decathlon(tmp_path, names=("BRATS_001",))
    path = write(root / "imagesTs/BRATS_001.nii.gz", np.stack([image(c) for c in range(4)], axis=-1), affine_of("LPS"))
    study = load_study(path)
    assert study.segmentation is None
    assert study.reference.grid.shape == SHAPE
    assert find_studies(root / "imagesTs") == [path]
    with pytest.raises(CodingError, match="does not have"):
        write(root / "labelsTr/BRATS_001.nii.gz", np.full(SHAPE, 4, np.uint8))
        load_study(root / "imagesTr/BRATS_001.nii.gz")


DESCRIBED = {
    "regions, one of a single value": (
        {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": 3}, "brats2023"),
    "regions by their short names": ({"background": 0, "WT": [1, 2, 3], "TC": [2, 3], "ET": 3}, "decathlon"),
    "BraTS 2023's words": ({"background": 0, "NETC": 1, "SNFH": 2, "ET": 3}, "brats2023"),
    "and written out": ({"background": 0, "necrotic tumor core": 1, "surrounding non-enhancing FLAIR hyperintensity": 2,
                         "enhancing tumor": 3, "resection cavity": 4}, "brats2024"),
    "paediatric": ({"background": 0, "ET": 1, "NET": 2, "CC": 3, "ED": 4}, "brats-ped"),
    "a tumour in one value": ({"background": 0, "tumor": 1}, "1=TUMOUR"),
    "the same, the older way": ({"0": "background", "1": "whole tumour"}, "1=TUMOUR"),
}  # fmt: skip


@pytest.mark.parametrize("what", DESCRIBED)
def test_what_a_description_calls_its_labels(tmp_path, what):
    labels, expected = DESCRIBED[what]
    root = write_decathlon(tmp_path, labels=labels)
    found = codings.coding(decathlon.coding(root))
    assert found.values == codings.coding(expected).values


@pytest.mark.parametrize("labels", [
    {"background": 0, "tumor": 1, "enhancing tumor": 2}, {"background": 0, "tumor core": 1},
    {"background": 0, "whole tumor": [1, 2], "vessel": [2]}, {"background": 0, "hippocampus": 1},
])  # fmt: skip
def test_labels_that_fit_no_class_are_refused_with_a_remedy(tmp_path, labels):
    root = write_decathlon(tmp_path, labels=labels)
    with pytest.raises(CodingError, match="Name the coding by hand"):
        decathlon.coding(root)
