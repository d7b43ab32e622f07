"""What programs of others say about what is written: dciodvfy, dcmqi, plastimatch, the BIDS validator."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from helpers.dicom_series import grid_of_series, tumour_on, write_dicom_series
from helpers.small_study import make_study

from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import LabelArray, Region, region_mask
from brainseg_engine.core.study import Volume
from brainseg_engine.io.derived.reading import read_derived
from brainseg_engine.report import record as records
from brainseg_engine.report.exporting import Onto, export
from brainseg_engine.report.sources import Result
from brainseg_engine.scores.overlap import dice

pytest.importorskip("highdicom")
pytestmark = pytest.mark.slow

PACKAGES = {"dciodvfy": "dicom3tools", "plastimatch": "plastimatch"}
TOLD = {"model": "model", "model_version": "2", "edited": False}


def program(name: str) -> str:
    """Its path, beside Python or on the system; skips where it is missing."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        how = f"apt-get install {PACKAGES[name]}" if name in PACKAGES else "pip install -c constraints.txt '.[slow]'"
        pytest.skip(f"{name} is not installed: {how}")
    return found


def call(name: str, *args: object, cwd: Path | None = None) -> str:
    done = subprocess.run([program(name), *map(str, args)], capture_output=True, text=True, timeout=240, cwd=cwd)
    return done.stdout + done.stderr


@pytest.fixture(scope="module", params=["thick", "thin", "enhanced"])
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_dicom_series(folder / "series", request.param)
    result = Result("p1", replace(tumour_on(grid_of_series(request.param)), made_by="model 2"), None, TOLD)
    paths = export(result, ["seg", "rtstruct", "sr", "pdf", "sc"], folder / "out", Onto(folder / "series"))
    return folder, result, {p.stem.removeprefix("p1_"): p for p in paths}


def test_dciodvfy_finds_no_error(exported):
    *_, paths = exported
    assert len(paths) == 5
    for path in paths.values():
        said = call("dciodvfy", "-new", path)
        assert "SOPClass" in said or "IOD" in said or said.strip(), path.name
        assert [line for line in said.splitlines() if line.startswith("Error")] == [], path.name


def same_places(path: Path, mask: LabelArray, grid: Grid) -> float:
    """Dice of a NIfTI image of others and a mask of ours, compared where they lie in the patient."""
    image = nib.load(path)
    set_ = np.argwhere(np.asarray(image.dataobj) > 0)
    there = np.rint(grid.to_index(nib.affines.apply_affine(image.affine, set_))).astype(int)
    other = np.zeros_like(mask, dtype=bool)
    other[tuple(there.T)] = True
    assert other.sum() == len(set_)
    return dice(other, mask > 0)


def test_dcmqi_reads_the_seg_identically(exported, tmp_path):
    _, result, paths = exported
    call("segimage2itkimage", "--inputDICOM", paths["seg"], "--outputDirectory", tmp_path, "--prefix", "s", "-t", "nii")
    labels, grid = result.segmentation.labels, result.segmentation.grid
    parts = [labels == 1, labels == 2, labels == 3, region_mask(labels, Region.WT), region_mask(labels, Region.TC)]
    for number, mask in enumerate(parts, 1):
        assert same_places(tmp_path / f"s-{number}.nii.gz", mask, grid) == 1


def test_dcmqi_reads_the_numbers_of_the_sr(exported, tmp_path):
    _, result, paths = exported
    call("tid1500reader", "--inputDICOM", paths["sr"], "--outputMetadata", tmp_path / "sr.json")
    told = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    record = records.build(result.segmentation, id="p1", sidecar=TOLD)
    found = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"]): float(item["value"])
        for group in told for item in group["measurementItems"]
    }  # fmt: skip
    for region, values in record["regions"].items():
        assert found[region, "118565006"] == pytest.approx(values["volume_ml"])
        assert found[region, "L0JK"] == pytest.approx(values["diameters"]["largest_3d"]["mm"])
        assert found[region, "SUMRANO"] == pytest.approx(values["diameters"]["sum_of_products_rano_mm2"])


def test_plastimatch_fills_the_rtstruct(exported, tmp_path):
    folder, result, paths = exported
    if folder.name.startswith("enhanced"):
        pytest.skip("plastimatch reads no multi-frame images to fill on")
    for option in ("--prune-empty", "--xor-contours"):  # unites overlapping contours, or subtracts them
        out = tmp_path / option.strip("-")
        call("plastimatch", "convert", "--input", paths["rtstruct"], "--referenced-ct", folder / "series",
             "--output-prefix", out, "--prefix-format", "nii", option)  # fmt: skip
        for region in Region:
            mask = region_mask(result.segmentation.labels, region)
            assert same_places(out / f"{region}.nii", mask, result.segmentation.grid) >= 0.98, (option, region)


def test_a_seg_that_dcmqi_wrote_opens(exported, tmp_path):
    folder, result, paths = exported
    if folder.name.startswith("enhanced"):
        pytest.skip("dcmqi's writer takes one file a slice here")
    seg = result.segmentation
    mask = tmp_path / "mask.nii"
    nib.save(nib.Nifti1Image(seg.labels, seg.grid.affine), mask)
    call("segimage2itkimage", "--inputDICOM", paths["seg"], "--outputDirectory", tmp_path, "--prefix", "s", "-t", "nii",
         "--mergeSegments")  # fmt: skip
    meta = json.loads((tmp_path / "s-meta.json").read_text())
    meta["segmentAttributes"] = [
        sorted((s for group in meta["segmentAttributes"] for s in group), key=lambda s: s["labelID"])[:3]
    ]
    (tmp_path / "meta.json").write_text(json.dumps(meta))
    said = call("itkimage2segimage", "--inputImageList", mask, "--inputDICOMDirectory", folder / "series",
                "--inputMetadata", tmp_path / "meta.json", "--outputDICOM", tmp_path / "theirs.dcm")  # fmt: skip
    assert (tmp_path / "theirs.dcm").is_file(), said
    back = read_derived(tmp_path / "theirs.dcm", images=folder / "series")
    assert np.array_equal(back.labels, seg.labels)


def test_the_bids_validator_finds_no_error(tmp_path):
    study = make_study()
    anat = tmp_path / "raw" / "sub-01" / "ses-2" / "anat"
    volumes = {
        m: Volume(v.data, v.grid, m, path=anat / f"sub-01_ses-2_{m.value}.nii.gz") for m, v in study.volumes.items()
    }
    for id_, images in (("one", replace(study, volumes=volumes)), ("Case_2", None)):
        export(Result(id_, study.segmentation, images, TOLD), ["bids"], tmp_path / "out")
    said = call("bids-validator-deno", tmp_path / "out", "--format", "json", cwd=tmp_path)
    issues = json.loads(said[said.index("{") :])["issues"]["issues"]
    assert [i for i in issues if i.get("severity") == "error"] == []
