"""Sending: kept until the PACS has it, offered again, never doubled; and only to the study it belongs to."""

from __future__ import annotations

import copy
import json

import pytest

pytest.importorskip("pynetdicom")
pytest.importorskip("dicomweb_client")

from helpers.pacs_servers import server_of

from brainseg_engine.core.errors import Cancelled, InputError
from brainseg_engine.pacs import audit, connected, outbox

pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning"), pytest.mark.usefixtures("forgiven")]
KINDS = pytest.mark.parametrize("kind", ["web", "dimse"])
PDF = "1.2.840.10008.5.1.4.1.1.104.1"


@pytest.fixture
def results(images, tmp_path):
    """Five objects of a new series of the study, in files."""
    folder = tmp_path / "results"
    folder.mkdir()
    for n, source in enumerate(images[:5]):
        made = copy.deepcopy(source)
        made.SeriesInstanceUID, made.SeriesDescription = "1.2.77", "results"
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = f"1.2.77.{n}"
        if n == 4:
            made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = PDF
        made.save_as(folder / f"{n}.dcm")
    return folder


def stored(holding):
    return sorted(str(d.SOPInstanceUID) for d in holding.stored)


ALL = [f"1.2.77.{n}" for n in range(5)]


@KINDS
def test_everything_arrives_once_and_the_outbox_is_empty(kind, holding, results):
    (job,) = outbox.put("p", [results])
    assert job.folder.stat().st_mode & 0o077 == 0
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        assert outbox.study_at(pacs, job).patient_id == "P-77"
        assert not outbox.send(pacs, job).waiting
        assert stored(holding) == ALL
        assert outbox.jobs() == []
        (again,) = outbox.put("p", [results])
        outbox.send(pacs, again)
    assert stored(holding) == ALL
    lines = [json.loads(line) for line in audit.file().read_text().splitlines()]
    assert sorted(u for line in lines for u in line["sop_instances"]) == ALL
    assert {line["action"] for line in lines} == {"sent"}


@KINDS
@pytest.mark.parametrize("after", [0, 2])
def test_a_server_that_stops_in_the_middle_gets_the_rest_later(kind, after, holding, results):
    holding.break_after = after
    (job,) = outbox.put("p", [results])
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        with pytest.raises(InputError):
            outbox.send(pacs, job)
        (kept,) = outbox.jobs("p")
        assert len(kept.waiting) == 5 - after
        assert outbox.put("p", [results]) == [kept]  # the same objects are the same sending
        holding.break_after = None
        outbox.send(pacs, kept)
    assert stored(holding) == ALL
    assert outbox.jobs() == []


@KINDS
def test_what_was_stored_though_nobody_said_so_is_not_sent_again(kind, holding, results):
    import pydicom

    holding.stored.append(pydicom.dcmread(results / "2.dcm"))
    (job,) = outbox.put("p", [results])
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        outbox.send(pacs, job)
    assert stored(holding) == ALL


@KINDS
def test_what_is_refused_is_kept_with_the_reason(kind, holding, results):
    holding.refuses = (PDF,)
    (job,) = outbox.put("p", [results])
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        (refused,) = outbox.send(pacs, job).waiting
        assert refused.sop_uid == "1.2.77.4"
        assert "refused" in refused.message
        holding.refuses = ()
        outbox.send(pacs, outbox.jobs()[0])
    assert stored(holding) == ALL


@KINDS
def test_a_study_that_is_not_there_or_of_another_patient(kind, holding, results, tmp_path):
    import pydicom

    dataset = pydicom.dcmread(results / "0.dcm")
    for name, keyword, value in (("a", "StudyInstanceUID", "1.2.3"), ("b", "PatientID", "OTHER")):
        changed = copy.deepcopy(dataset)
        setattr(changed, keyword, value)
        changed.save_as(tmp_path / f"{name}.dcm")
    with server_of(kind, holding) as connection, connected("p", connection) as pacs:
        (orphan,) = outbox.put("p", [tmp_path / "a.dcm"])
        with pytest.raises(InputError, match=r"has no study 1\.2\.3"):
            outbox.study_at(pacs, orphan)
        assert outbox.study_at(pacs, orphan, new_study=True) is None
        (wrong,) = outbox.put("p", [tmp_path / "b.dcm"])
        with pytest.raises(InputError, match="another patient id"):
            outbox.study_at(pacs, wrong)
    assert holding.stored == []


def test_cancelled_keeps_the_rest(holding, results):
    (job,) = outbox.put("p", [results])
    with server_of("web", holding) as connection, connected("p", connection) as pacs, pytest.raises(Cancelled):
        outbox.send(pacs, job, cancelled=lambda: len(holding.stored) == 2)
    assert len(outbox.jobs()[0].waiting) == 3
    outbox.drop(outbox.jobs()[0])
    assert outbox.jobs() == []


def test_what_cannot_be_sent(images, tmp_path):
    (tmp_path / "x.dcm").write_bytes(b"no dicom")
    with pytest.raises(InputError, match="no DICOM file"):
        outbox.put("p", [tmp_path])
    with pytest.raises(InputError, match="no file or folder"):
        outbox.put("p", [tmp_path / "none"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM object"):
        outbox.put("p", [tmp_path / "empty"])
    images[0].save_as(tmp_path / "a.dcm")
    other = copy.deepcopy(images[0])
    other.SeriesDescription = "changed"
    other.save_as(tmp_path / "b.dcm")
    with pytest.raises(InputError, match="two objects with one SOP Instance UID"):
        outbox.put("p", [tmp_path / "a.dcm", tmp_path / "b.dcm"])
