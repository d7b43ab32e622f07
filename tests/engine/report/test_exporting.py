"""Exports: DICOM objects with the source's identity and the record's numbers, meshes of the mask's volume, BIDS."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.dicom_series import grid_of_series, tumour_on, write_dicom_series
from helpers.small_study import make_study
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.geometry import Grid
from brainseg_engine.core.labels import Region, region_mask
from brainseg_engine.core.study import Modality, Segmentation, Volume
from brainseg_engine.io import load_segmentation, save_segmentation
from brainseg_engine.prepare.back import segmentation_onto
from brainseg_engine.report import meshes
from brainseg_engine.report import record as records
from brainseg_engine.report.bids import entities
from brainseg_engine.report.exporting import Onto, export
from brainseg_engine.report.sources import Result

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

KINDS = ("thick", "thin", "enhanced")
TOLD = {"model": "model", "model_version": "2", "edited": False}


def result_on(kind: str, id: str = "p1") -> Result:
    return Result(id, replace(tumour_on(grid_of_series(kind)), made_by="model 2"), None, TOLD)


@pytest.fixture(scope="module", params=KINDS)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    write_dicom_series(folder / "series", request.param)
    result = result_on(request.param)
    formats = ["seg", "labelmap", "rtstruct", "sr", "pdf", "sc"]
    paths = export(result, formats, folder / "out", Onto(folder / "series"))
    return folder, result, {p.stem.removeprefix("p1_"): p for p in paths}


def test_every_object_has_the_identity_and_frame_of_its_source(exported):
    folder, _, paths = exported
    first = pydicom.dcmread(next((folder / "series").iterdir()))
    assert set(paths) == {"seg", "labelmap", "rtstruct", "sr", "report", "key-1"}
    for path in paths.values():
        d = pydicom.dcmread(path)
        for keyword in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "StudyInstanceUID",
            "AccessionNumber",
            "StudyDate",
        ):
            assert d[keyword].value == first[keyword].value, (path.name, keyword)
        assert d.SeriesInstanceUID != first.SeriesInstanceUID
        assert "research use only" in d.SeriesDescription
    for name in ("seg", "rtstruct"):
        assert pydicom.dcmread(paths[name]).FrameOfReferenceUID == first.FrameOfReferenceUID
    assert len({pydicom.dcmread(p).SOPInstanceUID for p in paths.values()}) == len(paths)


def test_the_same_export_has_the_same_uids_and_another_mask_has_others(tmp_path):
    """Sending a result again doubles nothing."""
    write_dicom_series(tmp_path / "s", "thick")
    formats, onto, result = ["seg", "rtstruct", "sr", "pdf", "sc"], Onto(tmp_path / "s"), result_on("thick")

    def uids(folder, of) -> list[str]:
        return [str(pydicom.dcmread(p).SOPInstanceUID) for p in export(of, formats, tmp_path / folder, onto)]

    first = uids("a", result)
    assert uids("b", result) == first
    labels = result.segmentation.labels.copy()
    labels[labels == 3] = 1
    other = uids("c", replace(result, segmentation=replace(result.segmentation, labels=labels)))
    assert not set(first) & set(other)


def test_highdicom_reads_the_seg_identically_and_every_instance_is_named(exported):
    folder, result, paths = exported
    seg = highdicom.seg.segread(paths["seg"])
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["NCR", "ED", "ET", "WT", "TC"]
    assert seg.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0].CodeValue == "C113842"
    assert seg.SegmentSequence[0].SegmentAlgorithmType == "AUTOMATIC"
    instances = {str(pydicom.dcmread(p).SOPInstanceUID) for p in (folder / "series").iterdir()}
    named = {str(i.ReferencedSOPInstanceUID) for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named == instances
    volume = seg.get_volume(combine_segments=False)
    back = Grid(volume.array.shape[:3], np.diag([-1.0, -1, 1, 1]) @ volume.affine)
    for i, segment in enumerate(seg.SegmentSequence):
        name, labels = segment.SegmentLabel, result.segmentation.labels
        mask = (
            region_mask(labels, Region(name))
            if name in Region.__members__
            else labels == {"NCR": 1, "ED": 2, "ET": 3}[name]
        )
        places = np.argwhere(volume.array[..., i])
        there = np.rint(result.segmentation.grid.to_index(back.to_world(places))).astype(int)
        assert sorted(map(tuple, there)) == sorted(map(tuple, np.argwhere(mask))), name


def test_the_source_orientation_is_kept(exported):
    folder, _, paths = exported
    first, seg = pydicom.dcmread(next((folder / "series").iterdir())), pydicom.dcmread(paths["seg"])
    shared = (
        first
        if "ImageOrientationPatient" in first
        else first.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    )
    own = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient
    assert list(own) == pytest.approx([float(v) for v in shared.ImageOrientationPatient])


def test_the_sr_tells_the_record_s_numbers_and_draws_the_diameters(exported):
    _, result, paths = exported
    record = records.build(result.segmentation, id="p1", sidecar=TOLD)
    sr = highdicom.sr.srread(paths["sr"])
    seg = pydicom.dcmread(paths["seg"])
    volumetric = sr.content.get_volumetric_roi_measurement_groups()
    assert {g.tracking_identifier for g in volumetric} == {"NCR", "ED", "ET", "WT", "TC"}
    for group in volumetric:
        name = group.tracking_identifier
        expected = {**record["classes"], **record["regions"]}[name]["volume_ml"]
        volume = next(m for m in group.get_measurements() if m.name.value == "118565006")
        assert volume.value == pytest.approx(expected)
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
    lesions = {g.tracking_identifier: g for g in sr.content.get_image_measurement_groups()}
    lesion = record["regions"]["ET"]["diameters"]["lesions"][0]
    found = {m.name.value: m for m in lesions["ET lesion 1"].get_measurements()}
    assert found["103339001"].value == pytest.approx(lesion["longest"]["mm"])
    assert found["103340004"].value == pytest.approx(lesion["perpendicular"]["mm"])
    line = found["103339001"].referenced_coordinates[0].value
    assert np.linalg.norm(line[1] - line[0]) == pytest.approx(lesion["longest"]["mm"], abs=0.01)
    assert line * [-1, -1, 1] == pytest.approx(np.array(lesion["longest"]["ends_ras_mm"]), abs=0.001)


def test_onto_another_series_than_the_mask_s(tmp_path, caplog):
    """A mask drawn on the thin series, on the thick oblique one of the same study: by the scanner's coordinates."""
    write_dicom_series(tmp_path / "s" / "thin", "thin", description="T1 thin", number=4)
    write_dicom_series(tmp_path / "s" / "thick", "thick", description="FLAIR thick", number=7)
    labels = np.zeros(grid_of_series("thin").shape, np.uint8)
    labels[20:36, 20:34, 3:9], labels[24:32, 24:30, 4:8] = 2, 3
    result = replace(result_on("thin"), segmentation=Segmentation(labels, grid_of_series("thin")))
    with pytest.raises(InputError, match="does not have the voxels"):
        export(result, ["seg"], tmp_path, Onto(tmp_path / "s", "FLAIR thick"))
    onto = Onto(tmp_path / "s", "FLAIR thick", segmentation_onto)
    seg, _, sr = export(result, ["seg", "rtstruct", "sr"], tmp_path / "out", onto)
    assert "whether the patient moved" in caplog.text
    back = load_segmentation(seg, grid=grid_of_series("thick"))
    ml = [np.count_nonzero(s.labels) * s.grid.voxel_ml for s in (back, result.segmentation)]
    assert ml[0] == pytest.approx(ml[1], rel=0.05)
    centre = [s.grid.to_world(np.argwhere(s.labels)).mean(axis=0) for s in (back, result.segmentation)]
    assert centre[0] == pytest.approx(centre[1], abs=1.5)
    content = records.build(result.segmentation)["regions"]["WT"]["volume_ml"]
    group = highdicom.sr.srread(sr).content.get_volumetric_roi_measurement_groups(tracking_uid=None)
    assert any(m.value == pytest.approx(content) for g in group for m in g.get_measurements())


def test_pdf_and_captures_can_be_opened(exported):
    *_, paths = exported
    report = pydicom.dcmread(paths["report"])
    pdf = report.EncapsulatedDocument[: report.EncapsulatedDocumentLength]
    assert pdf.startswith(b"%PDF") and pdf.count(b"/Type /Page ") == 2
    capture = pydicom.dcmread(paths["key-1"])
    assert capture.pixel_array.shape == (capture.Rows, capture.Columns, 3)
    assert np.ptp(capture.pixel_array) > 100


def test_a_person_s_edit_is_reported(tmp_path):
    write_dicom_series(tmp_path / "s", "thick")
    result = replace(result_on("thick"), sidecar=TOLD | {"edited": True})
    (path,) = export(result, ["seg"], tmp_path, Onto(tmp_path / "s"))
    assert pydicom.dcmread(path).SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_names_with_markup_and_long_ones(tmp_path):
    write_dicom_series(tmp_path / "s", "thick", name="<script>alert(1)</script>^Ä" + "x" * 30)
    result = result_on("thick", id="<b>a/b:c</b>" + "y" * 200)
    paths = export(result, ["seg", "pdf", "sr"], tmp_path / "out", Onto(tmp_path / "s"))
    assert all(p.parent == tmp_path / "out" and p.is_file() for p in paths)


def test_an_empty_mask_is_exported_as_empty(tmp_path):
    write_dicom_series(tmp_path / "s", "thick")
    result = result_on("thick")
    result = replace(
        result, segmentation=replace(result.segmentation, labels=np.zeros_like(result.segmentation.labels))
    )
    paths = export(result, ["seg", "rtstruct", "sr"], tmp_path, Onto(tmp_path / "s"))
    assert len(paths) == 3
    assert not pydicom.dcmread(paths[0]).pixel_array.any()
    assert export(result, ["stl"], tmp_path) == []


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(InputError, match="--onto"):
        export(result_on("thick"), ["seg"], tmp_path)
    with pytest.raises(InputError, match="no format 'dwg'"):
        export(result_on("thick"), ["dwg"], tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="is empty"):
        export(result_on("thick"), ["seg"], tmp_path, Onto(tmp_path / "none"))
    write_dicom_series(tmp_path / "s", "thin")
    with pytest.raises(InputError, match="None of the DICOM series"):
        export(result_on("thick"), ["seg"], tmp_path, Onto(tmp_path / "s"))
    for path in (tmp_path / "s").iterdir():
        d = pydicom.dcmread(path)
        del d.FrameOfReferenceUID
        d.save_as(path)
    with pytest.raises(InputError, match="has no FrameOfReferenceUID"):
        export(result_on("thin"), ["seg"], tmp_path, Onto(tmp_path / "s"))


def sphere(radius: float, spacing, mirrored: bool = False) -> Segmentation:
    shape = tuple(int(2 * radius / s) + 8 for s in spacing)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (12.0, -30, 5)
    if mirrored:
        affine[0] *= -1
    grid = Grid(shape, affine)
    centre = grid.to_world((np.array(shape) - 1) / 2)
    inside = np.linalg.norm(grid.to_world(np.stack(np.indices(shape), -1)) - centre, axis=-1) < radius
    return Segmentation(np.where(inside, 3, 0).astype(np.uint8), grid)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 0.5, 6), (0.9, 0.9, 5.5)])
@pytest.mark.parametrize("radius", [4.0, 9.0, 22.0])
@pytest.mark.parametrize("mirrored", [False, True])
def test_a_mesh_holds_the_volume_of_the_mask(spacing, radius, mirrored):
    seg = sphere(radius, spacing, mirrored)
    mask = region_mask(seg.labels, Region.ET)
    vertices, faces = meshes.closed_mesh(mask, seg.grid)
    wanted = mask.sum() * seg.grid.voxel_ml * 1000
    assert meshes.volume_mm3((vertices, faces)) == pytest.approx(wanted, rel=0.03)
    assert (
        np.einsum(
            "ij,ij->", *(lambda a, b, c: (a, np.cross(b, c)))(*(vertices[faces[:, i]].astype(float) for i in range(3)))
        )
        > 0
    )
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] % 2 == 0).all()  # closed
    middle = seg.grid.to_world((np.array(mask.shape) - 1) / 2) * [-1, -1, 1]
    assert vertices.mean(axis=0) == pytest.approx(middle, abs=max(spacing) / 2)


def test_mesh_files_hold_the_mesh(tmp_path):
    shape = meshes.closed_mesh(region_mask(sphere(9, (1, 1, 1)).labels, Region.ET), sphere(9, (1, 1, 1)).grid)
    raw = meshes.stl(shape, "ET")
    count = int(np.frombuffer(raw, "<u4", 1, 80)[0])
    assert (count, len(raw)) == (len(shape[1]), 84 + 50 * count)
    assert b"SPACE=LPS" in raw[:80]
    assert not raw.startswith(b"solid")
    head, _, body = meshes.ply(shape, "ET").partition(b"end_header\n")
    assert b"SPACE=LPS" in head
    assert np.frombuffer(body, "<f4", 3 * len(shape[0])).reshape(-1, 3) == pytest.approx(shape[0])
    text = meshes.obj(shape, "ET").decode()
    assert text.count("\nv ") == len(shape[0])
    assert text.count("\nf ") == count


def test_one_gltf_file_holds_all_regions_upright_in_metres():
    shapes = {
        r: meshes.closed_mesh(region_mask(sphere(9, (1, 1, 2)).labels, r), sphere(9, (1, 1, 2)).grid) for r in Region
    }
    raw = meshes.glb(shapes)
    magic, version, length, size = struct.unpack("<4sIII", raw[:16])
    assert (magic, version, length, size % 4) == (b"glTF", 2, len(raw), 0)
    document, binary = json.loads(raw[20 : 20 + size]), raw[28 + size :]
    assert [m["name"] for m in document["meshes"]] == ["WT", "TC", "ET"]

    def array(accessor):
        a = document["accessors"][accessor]
        view = document["bufferViews"][a["bufferView"]]
        kind, width = {5126: "<f4", 5125: "<u4"}[a["componentType"]], {"VEC3": 3, "SCALAR": 1}[a["type"]]
        return np.frombuffer(binary, kind, a["count"] * width, view["byteOffset"]).reshape(-1, width)

    for region, mesh in zip(Region, document["meshes"], strict=True):
        (part,) = mesh["primitives"]
        vertices, faces = array(part["attributes"]["POSITION"]), array(part["indices"]).reshape(-1, 3)
        assert meshes.volume_mm3((vertices, faces)) == pytest.approx(meshes.volume_mm3(shapes[region]))
        outwards = vertices - vertices.mean(axis=0)
        assert (np.einsum("ij,ij->i", array(part["attributes"]["NORMAL"]), outwards) > 0).all()
    root = np.array(document["nodes"][document["scenes"][0]["nodes"][0]]["matrix"]).reshape(4, 4).T
    assert np.linalg.det(root[:3, :3]) == pytest.approx(1e-9)  # nothing is mirrored
    assert root[:3, :3] @ [0, 0, 1] == pytest.approx([0, 0.001, 0])  # up is up
    assert root[:3, :3] @ [0, -1, 0] == pytest.approx([0, 0, 0.001])  # and the front towards the viewer


def bids_result(tmp_path, names="sub-01_ses-2") -> Result:
    study = make_study()
    folder = tmp_path / "raw" / "sub-01" / "ses-2" / "anat"
    volumes = {
        m: Volume(v.data, v.grid, m, path=folder / f"{names}_{m.value}.nii.gz") for m, v in study.volumes.items()
    }
    return Result("case 1", study.segmentation, replace(study, volumes=volumes), TOLD)


def test_a_bids_derivative(tmp_path):
    result = bids_result(tmp_path)
    (mask,) = export(result, ["bids"], tmp_path / "out")
    assert mask.relative_to(tmp_path / "out").as_posix() == (
        "sub-01/ses-2/anat/sub-01_ses-2_space-orig_desc-auto_dseg.nii.gz"
    )
    assert np.array_equal(load_segmentation(mask, coding="brats2023").labels, result.segmentation.labels)
    content = json.loads(mask.with_name(mask.name.replace(".nii.gz", ".json")).read_text())
    assert content["Sources"][0] == "bids:raw:sub-01/ses-2/anat/sub-01_ses-2_t1.nii.gz"
    assert content["Manual"] is False
    table = mask.with_name(mask.name.replace(".nii.gz", ".tsv")).read_text().splitlines()
    assert table[0] == "index\tname\tabbreviation\tcolor"
    assert table[3].startswith("3\tenhancing tumour\tET\t#")
    assert json.loads((tmp_path / "out/dataset_description.json").read_text())["DatasetType"] == "derivative"
    assert entities(replace(result, study=None, id="Case_7-b")) == ("Case7b", "")


def test_the_command_exports_what_predict_wrote(tmp_path):
    write_dicom_series(tmp_path / "s", "thick")
    seg = tumour_on(grid_of_series("thick"))
    reference = Volume(np.ones(seg.grid.shape, np.int16), seg.grid, Modality.T1CE)
    save_segmentation(seg, tmp_path / "p1_seg.nii.gz", reference=reference, sidecar=TOLD)
    call = ["export", str(tmp_path / "p1_seg.nii.gz"), "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, [*call, "--to", "seg,stl", "--onto", str(tmp_path / "s")])
    assert done.exit_code == 0, done.output
    files = json.loads(done.stdout)["results"][0]["files"]
    assert [f.rpartition("/")[2] for f in files] == ["p1_seg.dcm", "p1_WT.stl", "p1_TC.stl", "p1_ET.stl"]
    assert CliRunner().invoke(app, [*call, "--to", "seg"]).exit_code == 3
    again = ["report", files[0], "--out", str(tmp_path / "again"), "--json"]  # the SEG itself, its series not beside it
    assert "not in" in CliRunner().invoke(app, again).stdout
    (tmp_path / "s" / "result.dcm").write_bytes(Path(files[0]).read_bytes())
    again[1] = str(tmp_path / "s" / "result.dcm")
    assert CliRunner().invoke(app, again).exit_code == 0
    record = records.read(tmp_path / "again" / "result_report.json")
    assert record["regions"]["ET"]["volume_ml"] == records.build(seg)["regions"]["ET"]["volume_ml"]


def test_a_full_disk_leaves_no_half_of_an_object(tmp_path, monkeypatch):
    import errno
    import os

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_dicom_series(tmp_path / "s", "thick")
    monkeypatch.setattr(os, "fsync", full)
    from brainseg_engine.core.errors import OutputError

    with pytest.raises(OutputError, match="No space left"):
        export(result_on("thick"), ["seg"], tmp_path / "out", Onto(tmp_path / "s"))
    assert not list((tmp_path / "out").iterdir())
