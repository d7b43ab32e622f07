"""What files from outside do wrong, at every door that reads studies: each says so, or gives the right values. Never others.

``DOORS`` × ``FAULTS``: inspect, data check, predict, evaluate, train, fine-tuning, the API, napari's reader. A door that refuses
must say why; one that goes on must give the images and the mask as they are.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import BrainsegError
from brainseg_engine.core.labels import Label
from brainseg_engine.core.study import Modality, Study
from brainseg_engine.corrections import Store
from brainseg_engine.corrections.foreign import from_files
from brainseg_engine.evaluation import evaluate
from brainseg_engine.inference.batch import PredictSettings, predict_many
from brainseg_engine.inference.predictor import Predictor
from brainseg_engine.io import load_segmentation, load_study, save_segmentation
from brainseg_engine.train import TrainOptions, train
from napari_brainseg._reader import read_study

STUDY = make_study(0)
NAMES = {Modality.T1: "t1", Modality.T1CE: "t1ce", Modality.T2: "t2", Modality.FLAIR: "flair"}
NEWER = {Modality.T1: "t1n", Modality.T1CE: "t1c", Modality.T2: "t2w", Modality.FLAIR: "t2f"}
BRATS2021 = {Label.NCR: 1, Label.ED: 2, Label.ET: 4}
BRATS2023 = {Label.NCR: 1, Label.ED: 2, Label.ET: 3}
GLI = "BraTS-GLI-00001-000"


def values(table, labels=STUDY.segmentation.labels, dtype=np.uint8):
    out = np.zeros(labels.shape, dtype)
    for label, value in table.items():
        out[labels == label] = value
    return out


def nii(path: Path, data, affine=STUDY.reference.grid.affine, change: Callable = lambda header: None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = nib.Nifti1Image(data, affine)
    change(made.header)
    nib.save(made, path)
    return path


def case(
    root: Path,
    id_="Case_1",
    form="{id}_{m}",
    names=NAMES,
    mask="_seg",
    table=BRATS2021,
    change=lambda h: None,
    study=STUDY,
):
    """A sound study, its files named by ``form``."""
    folder = root / id_
    for m, name in names.items():
        data = study.volumes[m].data
        nii(folder / f"{form.format(id=id_, m=name)}.nii.gz", data, change=change)
    if mask:
        nii(folder / f"{id_}{mask}.nii.gz", values(table, study.segmentation.labels), change=change)
    return folder


def newer(root: Path, table, id_=GLI, **how) -> Path:
    return case(root, id_, "{id}-{m}", NEWER, "-seg", table, **how)


def beside(name: str, data=None) -> Callable[[Path], Path]:
    """A sound study with one file more."""

    def make(root: Path) -> Path:
        folder = case(root)
        brain = (STUDY.volumes[Modality.T1].data > 0).astype(np.uint8)
        nii(folder / f"{name}.nii.gz", brain if data is None else data)
        return folder

    return make


def only_brain(root: Path) -> Path:
    folder = case(root, mask="", change=lambda h: None)
    affine = np.diag([-4.0, -4.0, 4.0, 1.0])  # large enough a head
    for m, name in NAMES.items():
        nii(folder / f"Case_1_{name}.nii.gz", STUDY.volumes[m].data, affine)
    nii(folder / "Case_1_seg.nii.gz", (STUDY.volumes[Modality.T1].data > 0).astype(np.uint8), affine)
    return folder


def renamed(**names: str) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        folder = case(root, form="{m}", names={Modality(m): name for m, name in names.items()}, mask="_seg")
        (folder / "Case_1_seg.json").write_text('{"coding": "brats2021"}')  # such names tell none
        return folder

    return make


def another(form: str, foreign=("flair",)) -> Callable[[Path], Path]:
    """Some files bear another patient's id."""

    def make(root: Path) -> Path:
        folder = root / "mixed"
        for m, name in NAMES.items():
            number = 148 if name in foreign else 147
            nii(folder / f"{form.format(n=number, m=name)}.nii.gz", STUDY.volumes[m].data)
        nii(folder / f"{form.format(n=148 if 'seg' in foreign else 147, m='seg')}.nii.gz", values(BRATS2021))
        return folder

    return make


def units(code: int, factor: float) -> Callable[[Path], Path]:
    """The same place, told in another unit."""

    def make(root: Path) -> Path:
        folder = root / "Case_1"
        affine = np.diag([factor, factor, factor, 1.0]) @ STUDY.reference.grid.affine

        def change(header):
            header["xyzt_units"] = code

        for m, name in NAMES.items():
            nii(folder / f"Case_1_{name}.nii.gz", STUDY.volumes[m].data, affine, change)
        nii(folder / "Case_1_seg.nii.gz", values(BRATS2021), affine, change)
        return folder

    return make


def background(make_dark: Callable) -> Callable[[Path], Path]:
    """Outside the brain the images are something else than 0."""

    def make(root: Path) -> Path:
        folder = case(root)
        for m, name in NAMES.items():
            data = STUDY.volumes[m].data
            nii(folder / f"Case_1_{name}.nii.gz", make_dark(data).astype(np.float32))
        return folder

    return make


def nnunet(described: bool, order=("t1", "t1ce", "t2", "flair")) -> Callable[[Path], Path]:
    def make(root: Path) -> Path:
        for i, name in enumerate(order):
            m = next(k for k, n in NAMES.items() if n == name)
            nii(root / "imagesTr" / f"Case_1_{i:04d}.nii.gz", STUDY.volumes[m].data)
        nii(root / "labelsTr" / "Case_1.nii.gz", values(BRATS2023))
        content = {"channel_names": dict(enumerate(order)), "file_ending": ".nii.gz", "numTraining": 1,
                "labels": {"background": 0, "whole tumor": [1, 2, 3], "tumor core": [1, 3], "enhancing tumor": [3]}}  # fmt: skip
        if described:
            (root / "dataset.json").write_text(json.dumps(content))
        return root / "imagesTr" / "Case_1_0000.nii.gz" if described else root / "imagesTr"

    return make


def cavity(root: Path) -> Path:
    return newer(root, {Label.NCR: 1, Label.ED: 2, Label.ET: 3})


FAULTS: dict[str, tuple[Callable[[Path], Path], str]] = {
    # what is made, and what a door that refuses says
    "1/2/4 under a name of 2023": (lambda r: newer(r, BRATS2021), "4"),
    "1/2/4 under a metastasis' name": (lambda r: newer(r, BRATS2021, "BraTS-MET-00001-000"), "4"),
    "1/2/4 as floats under a name of 2023": (lambda r: newer(r, {k: v * 1.0000153 for k, v in BRATS2021.items()}), "4"),
    "1/2/3 under a name of 2021": (lambda r: case(r, table=BRATS2023), "3"),
    "paediatric values under a name of 2023": (lambda r: newer(r, {Label.ET: 1, Label.NCR: 3, Label.ED: 4}), "1 is brighter"),
    "all four values of 2015 under a name of 2021": (lambda r: case(r, table={Label.NCR: 3, Label.ED: 2, Label.ET: 4}), "3"),
    "255 for tumour": (lambda r: case(r, table=dict.fromkeys(BRATS2021, 255)), "255"),
    "a cavity's coding without one": (cavity, ""),
    **{
        f"a brain mask called {name}": (beside(name), "Several files may be")
        for name in ("Case_1_t1_mask", "Case_1_ss_mask", "Case_1_hdbet_mask", "Case_1_skullstrip_mask", "Case_1_synthstrip_mask",
                     "Case_1_t1_brainmask", "brain_mask", "Case_1_t1ce_bet_mask", "Case_1_robex_mask", "mask_brain",
                     "Case_1_t1_brain_seg", "Case_1_aseg")
    },
    "a brain mask for a tumour's": (only_brain, "size of a whole brain"),
    "a tissue map beside": (beside("c1Case_1_t1"), "Several files may be T1"),
    "background of −1000": (background(lambda d: np.where(d > 0, d, -1000)), ""),
    "a constant added": (background(lambda d: d + 500), ""),
    "the whole array z-scored": (background(lambda d: (d - d.mean()) / d.std()), ""),
    "units of metres": (units(1, 1e-3), ""),
    "units of microns": (units(3, 1e3), ""),
    "mm that are called metres": (units(1, 1.0), "no head"),
    "mm that are called microns": (units(3, 1.0), "no head"),
    "two patients": (another("BraTS2021_00{n}_{m}"), "different patients"),
    "two patients, ids behind": (another("{m}_00{n}"), "different patients|Nothing tells the label coding"),
    "two patients, half of the files": (another("Patient{n}_{m}", ("t2", "flair")), "different patients"),
    "another patient's mask": (another("BraTS2021_00{n}_{m}", ("seg",)), "different patients"),
    "two subjects of BIDS": (another("sub-{n}_{m}"), "different patients"),
    "registered to T1": (renamed(t1="T1", t1ce="T1ce_to_T1", t2="T2_to_T1", flair="FLAIR_to_T1"), ""),
    "in T1's space": (renamed(t1="space-T1w_T1w", t1ce="space-T1w_ce-gd_T1w", t2="space-T1w_T2w", flair="space-T1w_FLAIR"), ""),
    "co-registered to T1c": (renamed(t1="co__t1c__t1", t1ce="t1c", t2="co__t1c__t2", flair="co__t1c__flair"), ""),
    "joined words": (renamed(t1="t1", t1ce="t1ce2t1", t2="t2_2_t1", flair="flairtot1"), ""),
    "aligned to FLAIR": (renamed(t1="T1_in_FLAIR_space", t1ce="T1ce_in_FLAIR_space", t2="T2_in_FLAIR_space", flair="FLAIR"), ""),
    "nnU-Net's folder": (nnunet(True), ""),
    "nnU-Net's folder, another order": (nnunet(True, ("flair", "t2", "t1ce", "t1")), ""),
    "nnU-Net's folder without its description": (nnunet(False), "no case|no image|tells by its name|no modality|No file|holds"),
}  # fmt: skip


def right(study: Study) -> bool:
    """Whether each series is what it is, where it is, and the mask is the true one."""
    exact = all(_alike(v.data, STUDY.volumes[m].data) for m, v in study.volumes.items())
    placed = np.allclose(study.reference.grid.affine, STUDY.reference.grid.affine, atol=1e-3)
    return exact and placed and np.array_equal(study.segmentation.labels, STUDY.segmentation.labels)


def _alike(a, b) -> bool:
    """Equal in the brain but for a factor and a constant."""
    inside = b > 0
    return set(a.shape) == set(b.shape) and bool(np.corrcoef(a[inside], b[inside])[0, 1] > 0.999)


def _inspect(source: Path, root: Path, model: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(source), "--json"])
    assert result.exception is None or isinstance(result.exception, (SystemExit, BrainsegError)), result.exception
    if isinstance(result.exception, BrainsegError):
        raise result.exception
    report = json.loads(result.stdout)
    errors = [p["message"] for p in report["problems"] if p["severity"] == "error"]
    if errors:
        raise BrainsegError(" ".join(errors))
    counted = report["segmentation"]["volumes_ml"]
    for label in (Label.NCR, Label.ED, Label.ET):
        assert counted[label.name] == pytest.approx((STUDY.segmentation.labels == label).sum() / 1000, abs=0.01), (
            counted
        )


def _data_check(source: Path, root: Path, model: Path) -> None:
    result = CliRunner().invoke(app, ["data", "check", str(root / "data"), "--full", "--json"])
    if isinstance(result.exception, BrainsegError):
        raise result.exception
    if not result.stdout:
        raise BrainsegError(result.output)
    (report,) = json.loads(result.stdout)["cases"]
    if report["errors"]:
        raise BrainsegError(" ".join(report["errors"]))
    assert report["labels"] == {
        label.name: int((STUDY.segmentation.labels == label).sum()) for label in (Label.BACKGROUND, Label.NCR, Label.ED, Label.ET)
    }  # fmt: skip


def _predict(source: Path, root: Path, model: Path) -> None:
    predictor = Predictor(model, "cpu")
    (row,) = predict_many(
        predictor, [source], PredictSettings(root / "masks", coding="brats2021"), lambda _: lambda p: None
    )
    if row.status == "failed":
        raise BrainsegError(row.message)
    own = load_study(source, segmentation=False)
    sound = replace(STUDY, volumes={m: replace(v, sha256="") for m, v in STUDY.volumes.items()}, segmentation=None)
    expected = predictor.predict(replace(sound, id=own.id)).segmentation.labels
    found = load_segmentation(next((root / "masks").glob("*_seg.nii.gz"))).labels
    same = (found > 0) == (expected > 0)
    assert same.mean() > 0.995, f"{(1 - same.mean()):.1%} of the voxels differ"


def _evaluate(source: Path, root: Path, model: Path) -> None:
    (id_,) = _ids(root / "data")
    save_segmentation(STUDY.segmentation, root / "answers" / f"{id_}_seg.nii.gz", coding="brats2021", sidecar={})
    scores = evaluate(root / "data", root / "answers")
    if scores.failed or scores.missing:
        raise BrainsegError(" ".join([*scores.failed.values(), *scores.missing]))
    assert scores.cases and all(s.dice == 1 for c in scores.cases.values() for s in c.values() if s.dice is not None)


def _ids(data: Path) -> list[str]:
    from brainseg_engine.studies import cohort

    return [c.name for c in cohort.list_cases(data)]


def _train(source: Path, root: Path, model: Path) -> None:
    """One step with the case; a sound one beside it is the validation."""
    from brainseg_engine.models import checkpoint

    data = root / "data"
    (id_,) = _ids(data)
    sound = case(root / "sound", "Sound_2", study=make_study(9))
    split = root / "split.csv"
    split.write_text(f"case,split\n{id_},train\nSound_2,validation\n")
    options = TrainOptions(
        data, split, root / "run", 1, device="cpu", cache=root / "cache", elsewhere={"Sound_2": sound}
    )
    train(checkpoint.load(model).recipe, options, lambda e: None)


def _api(source: Path, root: Path, model: Path) -> None:
    assert right(load_study(source))


def _reader(source: Path, root: Path, model: Path) -> None:
    *images, (labels, _, kind) = read_study(str(source))
    assert kind == "labels" and len(images) == 4
    assert {v: int((labels == v).sum()) for v in (1, 2, 3)} == {
        v: int((STUDY.segmentation.labels == v).sum()) for v in (1, 2, 3)
    }


MASK = re.compile(r"[_-]seg\.|seg_\d+\.|labelsTr/")


def _finetune(source: Path, root: Path, model: Path) -> None:
    """The study and its mask as a correction, collected for a fine-tuning: what is learnt from is what they are."""
    from brainseg_engine.finetune import collecting
    from brainseg_engine.models import checkpoint

    store = Store(root / "corrections")
    (mask,) = [p for p in (root / "data").rglob("*.nii.gz") if MASK.search(p.as_posix()) and "brain_seg" not in p.name]
    found = from_files(source, mask)
    made = store.add(found.study, found.mask)
    (root / "run").mkdir()
    got = collecting.collect(store, checkpoint.load(model).recipe, root / "run" / "data", lambda p: None, lambda: None)
    learnt = load_study(root / "run" / "data" / made.id)
    assert right(learnt), "something else is learnt"
    assert [c.name for c in got.cases] == [made.id]


DOORS = {"inspect": _inspect, "data check": _data_check, "predict": _predict, "evaluate": _evaluate, "train": _train,
         "finetune": _finetune, "API": _api, "reader": _reader}  # fmt: skip
UNCONCERNED = {("predict", fault) for fault in FAULTS if "values" in fault or "/" in fault or "255" in fault}
"""Predict reads no mask."""


@pytest.mark.parametrize(
    "door", [pytest.param(d, marks=[pytest.mark.slow] * (d in ("predict", "train"))) for d in DOORS]
)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_door_says_it_or_is_right(fault, door, tmp_path, tiny_model):
    make, words = FAULTS[fault]
    source = make(tmp_path / "data")
    if door == "predict" and make is only_brain:
        pytest.skip("a study of 4 mm is another one for the network")
    try:
        DOORS[door](source, tmp_path, tiny_model)
        outcome = "right"
    except BrainsegError as e:
        assert (door, fault) not in UNCONCERNED, e
        outcome = str(e)
        if "no case" not in outcome:
            assert words and re.search(words, outcome), outcome
    print(f"TABLE\t{fault}\t{door}\t{'right' if outcome == 'right' else 'refused'}")
    if not words:
        assert outcome == "right", outcome
    shutil.rmtree(tmp_path, ignore_errors=True)


def test_the_table_covers_every_fault_and_door():
    assert len(FAULTS) > 40 and len(DOORS) == 8
