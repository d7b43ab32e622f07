"""What is kept of a DICOM dataset: the documented table, nothing that hides in it, and nothing that the standard removes."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.io.derived import kept
from brainseg_engine.io.derived.deidentify import Pseudonym, _moved, _moved_moment, deidentified
from brainseg_engine.io.derived.pseudonyms import Pseudonyms

pydicom = pytest.importorskip("pydicom")
KEY = Pseudonyms(b"k" * 32)
WHO = Pseudonym(KEY, "P-1")


def dataset(**values):
    d = pydicom.Dataset()
    for keyword, value in {"PatientID": "P-1", "StudyInstanceUID": "1.2.3", **values}.items():
        setattr(d, keyword, value)
    return d


def test_the_documented_table_is_the_one_that_is_used():
    page = Path("docs/reference.md").read_text(encoding="utf-8")
    table = page[page.index("## De-identification") :]
    for group in kept.GROUPS:
        assert f"| {group.why} | {group.how} | {' '.join(group.keywords)} |" in table
    every = [k for g in kept.GROUPS for k in g.keywords]
    assert len(every) == len(set(every))
    assert all(pydicom.datadict.tag_for_keyword(k) for k in every)


def test_nothing_is_kept_that_the_standard_s_profile_removes():
    """Table E.1-1 of PS3.15 as another program has it; what it lists and we keep is replaced, or says no more than a number."""
    selector = pytest.importorskip("dicomanonymizer.dicomfields_selector")
    listed = {
        pydicom.tag.Tag(tag)
        for name, tags in selector.dicom_anonymization_database_selector("dicomfields_2026c").items()
        for tag in tags
        if len(tag) == 2
    }
    kept_as_they_are = {k for k, how in kept.HOW.items() if how == kept.VALUES}
    assert {k for k in kept_as_they_are if pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(k)) in listed} == set()
    assert len(listed) > 300


def test_words_do_not_hide_where_numbers_and_codes_stand():
    d = dataset(ImageType=["ORIGINAL", "Hans Meier"], BodyPartExamined="MEIER HANS, 1960", EchoTime="9", Rows=3)
    code = pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MEIER", "99HOSPITAL", "Hans Meier"
    d.AnatomicRegionSequence = [code]
    d[0x00180081] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(0x00180081), "LO", 6, b"Meier ", 0, False, True)
    out = deidentified(d, WHO)
    assert "ImageType" not in out and "BodyPartExamined" not in out and "EchoTime" not in out
    assert len(out.AnatomicRegionSequence) == 0
    assert out.Rows == 3


def test_a_code_of_the_standard_s_lists_is_kept_and_uids_inside_are_mapped():
    code, index = pydicom.Dataset(), pydicom.Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "12738006", "SCT", "Brain"
    index.DimensionOrganizationUID, index.DimensionIndexPointer = "1.2.3.4", 0x00200032
    out = deidentified(dataset(AnatomicRegionSequence=[code], DimensionIndexSequence=[index]), WHO)
    assert out.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert out.DimensionIndexSequence[0].DimensionOrganizationUID == KEY.uid("1.2.3.4")


def test_who_cannot_be_told_apart_is_refused():
    with pytest.raises(InputError, match="neither a patient nor a study"):
        Pseudonym.of(KEY, pydicom.Dataset())


@given(st.datetimes(datetime(1950, 1, 1), datetime(2090, 1, 1)), st.text("123456789", min_size=1, max_size=9))
def test_times_of_a_patient_keep_their_distances(moment, patient):
    shift = KEY.shift(patient)
    whole = moment.replace(microsecond=0)
    day, clock = _moved(f"{whole:%Y%m%d}", f"{whole:%H%M%S}", shift)
    assert datetime.strptime(day + clock, "%Y%m%d%H%M%S") == whole + shift
    assert _moved_moment(f"{whole:%Y%m%d%H%M%S}.25+0100", shift) == f"{day}{clock}.25"


@given(st.text(max_size=20))
def test_what_is_no_date_becomes_none(text):
    day, clock = _moved(text, text, KEY.shift("x"))
    assert re.fullmatch(r"(\d{8})?", day) and re.fullmatch(r"(\d{6}(\.\d+)?)?", clock)
    moved = _moved_moment(text, KEY.shift("x"))
    assert moved == "" or moved.isascii()
