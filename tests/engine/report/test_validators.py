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
import pydicom
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
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    record = records.build(result.segmentation, id="p1", sidecar=TOLD)
    found = {
        (group["TrackingIdentifier"], item["quantity"]["CodeValue"]): float(item["value"])
        for group in groups for item in group["measurementItems"]
    }  # fmt: skip
    for region, values in record["regions"].items():
        assert found[region, "118565006"] == pytest.approx(values["volume_ml"])
        assert found[region, "L0JK"] == pytest.approx(values["diameters"]["largest_3d"]["mm"])
        assert found[region, "SUMRANO"] == pytest.approx(values["diameters"]["sum_of_products_rano_mm2"])


def test_plastimatch_fills_the_rtstruct(exported, tmp_path):
    folder, result, paths = exported
    seg = result.segmentation
    nib.save(nib.Nifti1Image(seg.labels, seg.grid.affine), tmp_path / "grid.nii")
    enhanced = folder.name.startswith("enhanced")  # it reads no multi-frame images, but fills on any grid it is given
    on = ("--fixed", tmp_path / "grid.nii") if enhanced else ("--referenced-ct", folder / "series")
    for option in ("--prune-empty", "--xor-contours"):  # unites overlapping contours, or subtracts them
        out = tmp_path / option.strip("-")
        call("plastimatch", "convert", "--input", paths["rtstruct"], *on, "--output-prefix", out, "--prefix-format", "nii",
             option)  # fmt: skip
        for region in Region:
            mask = region_mask(seg.labels, region)
            assert same_places(out / f"{region}.nii", mask, seg.grid) >= 0.98, (option, region)


def test_an_rtstruct_that_plastimatch_wrote_opens(exported, tmp_path):
    """As 3D Slicer writes them, whose RTSTRUCT export is plastimatch's."""
    folder, result, _ = exported
    seg = result.segmentation
    bits = (seg.labels > 0) * 1 + (seg.labels == 3) * 2
    nib.save(nib.Nifti1Image(bits.astype(np.uint8), seg.grid.affine), tmp_path / "bits.nii")
    (tmp_path / "names.txt").write_text("0|255 0 0|whole tumor\n1|0 255 0|enhancing tumor\n")
    enhanced = folder.name.startswith("enhanced")
    on = () if enhanced else ("--referenced-ct", folder / "series")
    call("plastimatch", "convert", "--input-ss-img", tmp_path / "bits.nii", "--input-ss-list", tmp_path / "names.txt", *on,
         "--output-dicom", tmp_path / "rt")  # fmt: skip
    (written,) = (tmp_path / "rt").glob("rtss*")
    back = read_derived(written, grid=seg.grid) if enhanced else read_derived(written, images=folder / "series")
    assert dice(back.labels > 0, seg.labels > 0) >= 0.98
    assert dice(back.labels == 3, seg.labels == 3) >= 0.98


def test_a_seg_that_dcmqi_wrote_opens(exported, tmp_path):
    """As 3D Slicer writes them, whose SEG export is dcmqi's: by its names, and by the codes of older versions alone."""
    folder, result, paths = exported
    seg, kind = result.segmentation, folder.name.rstrip("0123456789")
    series = folder / "series"
    if (
        kind == "enhanced"
    ):  # its writer takes one file a slice: those of the same series, from before it was made one file
        uid = pydicom.dcmread(next(series.iterdir())).SeriesInstanceUID
        series = tmp_path / "slices"
        write_dicom_series(series, kind, series_uid=uid, enhanced=False)
    nib.save(nib.Nifti1Image(seg.labels, seg.grid.affine), tmp_path / "mask.nii")
    call("segimage2itkimage", "--inputDICOM", paths["seg"], "--outputDirectory", tmp_path, "--prefix", "s", "-t", "nii",
         "--mergeSegments")  # fmt: skip
    meta = json.loads((tmp_path / "s-meta.json").read_text())
    ours = sorted((s for group in meta["segmentAttributes"] for s in group), key=lambda s: s["labelID"])[:3]
    old = [("M-54000", "Necrosis"), ("M-36300", "Edema"), ("C113842", "Enhancing Lesion")]
    for names in ("ours", "Segment_1 and so on"):
        if names != "ours":
            for n, (segment, (code, meaning)) in enumerate(zip(ours, old, strict=True), 1):
                scheme = "SRT" if code.startswith("M-") else "NCIt"
                segment["SegmentLabel"] = segment["SegmentDescription"] = f"Segment_{n}"
                segment["SegmentedPropertyTypeCodeSequence"] = {
                    "CodeValue": code, "CodingSchemeDesignator": scheme, "CodeMeaning": meaning
                }  # fmt: skip
        meta["segmentAttributes"] = [ours]
        (tmp_path / "meta.json").write_text(json.dumps(meta))
        theirs = tmp_path / "theirs.dcm"
        said = call("itkimage2segimage", "--inputImageList", tmp_path / "mask.nii", "--inputDICOMDirectory", series,
                    "--inputMetadata", tmp_path / "meta.json", "--outputDICOM", theirs)  # fmt: skip
        assert theirs.is_file(), said
        assert np.array_equal(read_derived(theirs, images=folder / "series").labels, seg.labels), names
        theirs.unlink()


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
