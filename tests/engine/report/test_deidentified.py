"""De-identified exports: nothing of the source is found in any byte, what belongs together stays so, and no face is left."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from helpers.dicom_series import grid_of_series, tumour_on
from helpers.secrets_of import leaks, secrets_in, write_telling_series
from typer.testing import CliRunner

from brainseg_engine.cli import app
from brainseg_engine.core.errors import InputError
from brainseg_engine.core.labels import Region
from brainseg_engine.core.study import Modality, Study, Volume
from brainseg_engine.io import load_study, save_segmentation
from brainseg_engine.io.derived.pseudonyms import Pseudonyms, load
from brainseg_engine.io.derived.reading import read_derived
from brainseg_engine.report import record as records
from brainseg_engine.report.exporting import Onto, export
from brainseg_engine.report.hidden import Deidentify
from brainseg_engine.report.sources import Result
from brainseg_engine.report.writing import write_report

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom")

KEY = Pseudonyms(bytes(range(32)))
FORMATS = ["seg", "rtstruct", "sr", "pdf", "sc", "images", "stl", "ply", "obj", "bids"]
TOLD = {
    "model": "segresnet", "model_version": "3", "edited": True, "made_by": "Thyra Lindqvist", "study": "Lindqvist 1960",
    "warnings": ["order", "PAT-00918273 looks odd"], "id": "Lindqvist", "images": {"t1ce": "ab" * 32},
    "prepared": {"brain": "/home/zweig/Lindqvist_mask.nii", "warnings": ["Lindqvist moved"],
                 "t1": {"peak": 2.0, "cover": 0.9, "dice": 0.9, "note": "Lindqvist"}},
}  # fmt: skip


def box(volume: Volume) -> np.ndarray:
    """In place of a network: the middle of the image."""
    mask = np.zeros(volume.data.shape, bool)
    mask[tuple(slice(n // 4, -(n // 4)) for n in mask.shape)] = True
    return mask


def bare(study: Study) -> Study:
    return replace(
        study,
        volumes={m: replace(v, data=np.where(box(v), v.data, v.data.min())) for m, v in study.volumes.items()},
    )


HOW = Deidentify(KEY, bare, box)


@pytest.fixture(scope="module", params=["thick", "enhanced"])
def shared(request, tmp_path_factory):
    """(folder of everything written, the sources, the result) of one study that names its patient everywhere."""
    root = tmp_path_factory.mktemp(request.param)
    grid = grid_of_series(request.param)
    files = write_telling_series(root / "in" / "Lindqvist Thyra", grid, enhanced=request.param == "enhanced")
    seg = replace(tumour_on(grid), made_by="Thyra Lindqvist")
    study = load_study({Modality.T1CE: files[0]}, id="Lindqvist_1960", segmentation=False)
    result = Result("Lindqvist_1960", seg, study, TOLD)
    export(result, FORMATS, root / "out", Onto(root / "in"), HOW)
    prior = records.build(seg, study, id="Lindqvist_2019", sidecar=TOLD)
    write_report(result, root / "out", prior=prior | {"made_by": "Zweig"}, deidentify=HOW)
    return root, files, result


def datasets(root, pattern="**/*.dcm"):
    return [pydicom.dcmread(p) for p in sorted((root / "out").glob(pattern))]


def test_no_byte_of_any_file_and_no_name_tells_who_it_is(shared):
    root, files, _ = shared
    secrets = secrets_in(files)
    assert len(secrets) > 60
    written = [p for p in (root / "out").rglob("*") if p.is_file()]
    assert {p.suffix for p in written} >= {
        ".dcm",
        ".stl",
        ".ply",
        ".obj",
        ".gz",
        ".json",
        ".tsv",
        ".html",
        ".csv",
        ".md",
    }
    assert leaks(root / "out", secrets) == []


def test_the_search_itself_finds_what_is_not_hidden(shared, tmp_path):
    _, files, result = shared
    secrets = secrets_in(files)
    export(result, ["seg", "pdf", "bids"], tmp_path, Onto(files[0].parent))
    write_report(result, tmp_path)
    found = {name.rpartition("_")[2] for name, _ in leaks(tmp_path, secrets)}
    assert {"seg.dcm", "report.dcm", "report.html", "report.json"} <= found


def test_all_objects_are_of_one_patient_study_and_frame_and_refer_to_the_copies(shared):
    root, files, _ = shared
    objects, copies = datasets(root, "*.dcm"), datasets(root, "*_images/**/*.dcm")
    assert len(objects) >= 5
    assert len(copies) == len(files)
    for d in (*objects, *copies):
        assert d.PatientIdentityRemoved == "YES"
        assert d.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
        assert len(d.DeidentificationMethod) <= 64
        assert d.PatientID == str(d.PatientName) == objects[0].PatientID
        assert d.PatientBirthDate == d.AccessionNumber == ""
        assert d.StudyInstanceUID == objects[0].StudyInstanceUID
    frame, instances = {d.FrameOfReferenceUID for d in copies}, {d.SOPInstanceUID for d in copies}
    kinds = {d.Modality: d for d in objects}
    assert {kinds["SEG"].FrameOfReferenceUID} == {kinds["RTSTRUCT"].FrameOfReferenceUID} == frame
    for kind in ("SEG", "RTSTRUCT", "SR"):
        own = {d.SOPInstanceUID for d in objects} | {kinds[kind].StudyInstanceUID}
        assert references(kinds[kind]) <= instances | own
    assert references(kinds["SEG"]) & instances == instances


def references(dataset) -> set[str]:
    found = set()
    for element in dataset:
        if element.keyword == "ReferencedSOPInstanceUID":
            found.add(element.value)
        elif element.VR == "SQ":
            found |= {uid for item in element.value for uid in references(item)}
    return found


def test_dates_are_moved_by_one_amount_and_those_of_the_objects_too(shared):
    root, _, _ = shared
    shift = KEY.shift("PAT-00918273")
    assert timedelta(days=-1200) < shift < timedelta(days=-30)
    for d in datasets(root):
        days = {d[k].value for k in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate") if d.get(k)}
        assert "20250314" not in days
        made = d.get("InstanceCreationDate") or d.get("ContentDate")
        day = date(int(made[:4]), int(made[4:6]), int(made[6:8]))
        assert day < date.today() - timedelta(days=30)
    copy = datasets(root, "*_images/**/*.dcm")[0]
    moved = np.datetime64(f"{copy.StudyDate[:4]}-{copy.StudyDate[4:6]}-{copy.StudyDate[6:]}")
    assert abs((moved - np.datetime64("2025-03-14")) / np.timedelta64(1, "D") - shift.days) <= 1
    assert copy.StudyTime != "101533"


def test_copies_open_with_their_seg_and_nothing_but_the_kept_part_is_left(shared):
    root, _, result = shared
    folder = next((root / "out").glob("*_images"))
    (seg,) = (root / "out").glob("*_seg.dcm")
    back = read_derived(seg, images=folder)
    assert np.array_equal(back.labels, result.segmentation.labels)
    assert back.grid.same_as(result.segmentation.grid)
    copies = load_study({Modality.T1CE: next(folder.rglob("*.dcm"))}, segmentation=False).reference
    kept = box(copies) | (result.segmentation.labels > 0)
    original = result.study.reference.data
    assert np.array_equal(copies.data[kept], original[kept])
    assert (copies.data[~kept] == original.min()).all()
    assert original[~kept].max() > original.min()


def test_numbers_are_those_of_the_plain_report(shared):
    root, _, result = shared
    (path,) = (root / "out").glob("*_report.json")
    record, plain = records.read(path), records.build(result.segmentation, result.study, sidecar=TOLD)
    assert record["regions"] == plain["regions"]
    assert record["warnings"] == ["order"]
    assert record["identity"] is None
    assert record["change"]["WT"]["volume_ml"]["difference"] == 0


def test_one_key_gives_one_pseudonym_and_another_key_another(tmp_path):
    first, second = load(tmp_path / "a.key"), load(tmp_path / "b.key")
    assert load(tmp_path / "a.key") == first
    assert (tmp_path / "a.key").stat().st_mode & 0o077 == 0
    assert first.patient("1") == load(tmp_path / "a.key").patient("1") != second.patient("1")
    assert first.uid("1.2.3") != second.uid("1.2.3") != "1.2.3"
    assert first.uid("1.2.840.10008.1.2") == "1.2.840.10008.1.2"
    assert "key=" not in repr(first)
    (tmp_path / "c.key").write_text("no key")
    with pytest.raises(InputError, match="holds no key"):
        load(tmp_path / "c.key")
    with pytest.raises(InputError, match="no key"):
        load(tmp_path)


def test_images_are_not_copied_as_they_are_nor_with_writing_in_them(shared, tmp_path):
    _, files, result = shared
    with pytest.raises(InputError, match="--deidentify"):
        export(result, ["images"], tmp_path / "o", Onto(files[0].parent))
    for path in files:
        d = pydicom.dcmread(path)
        d.BurnedInAnnotation = "YES"
        d.save_as(tmp_path / path.name)
    with pytest.raises(InputError, match="names written into its pixels"):
        export(result, ["images"], tmp_path / "o", Onto(tmp_path), HOW)


def test_the_commands(tmp_path, monkeypatch):
    monkeypatch.setenv("BRAINSEG_HOME", str(tmp_path / "home"))
    grid = grid_of_series("thick")
    files = write_telling_series(tmp_path / "in", grid)
    seg = tumour_on(grid)
    reference = Volume(np.ones(grid.shape, np.int16), grid, Modality.T1CE)
    save_segmentation(seg, tmp_path / "Lindqvist_seg.nii.gz", reference=reference, sidecar=TOLD)
    call = [
        "export",
        str(tmp_path / "Lindqvist_seg.nii.gz"),
        "--onto",
        str(tmp_path / "in"),
        "--out",
        str(tmp_path / "o"),
    ]
    done = CliRunner().invoke(app, [*call, "--to", "seg,images,stl", "--deidentify", "--with-face", "--json"])
    assert done.exit_code == 0, done.output
    assert len(json.loads(done.stdout)["results"][0]["files"]) == 1 + len(files) + len(Region)
    assert leaks(tmp_path / "o", secrets_in(files)) == []
    again = ["report", str(tmp_path / "Lindqvist_seg.nii.gz"), "--out", str(tmp_path / "r"), "--deidentify"]
    assert CliRunner().invoke(app, again).exit_code == 0
    assert leaks(tmp_path / "r", secrets_in(files)) == []
    assert CliRunner().invoke(app, [*again, "--identity"]).exit_code == 3
    refused = CliRunner().invoke(app, [*call, "--to", "seg", "--with-face"])
    assert "Add --deidentify" in refused.output
