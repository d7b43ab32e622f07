"""Two people are never mixed; one person stays one, however the files are written; nothing of them is ever shown."""

from __future__ import annotations

import logging
import warnings
from datetime import date

import pydicom
import pytest
from dicom_studies import ball, edit, grid_of, new_person, write_other_object, write_series
from hypothesis import given
from hypothesis import strategies as st

from brainseg_engine.core.errors import InputError
from brainseg_engine.io.dicom.headers import Frame, Instance
from brainseg_engine.io.dicom.patients import persons
from brainseg_engine.io.listing import list_series, read_listed
from brainseg_engine.phantom.dicom import SeriesPlan

GRID = grid_of((34, 32, 5))


def write(folder, person, **plan):
    return write_series(folder, ball(GRID), GRID, person, SeriesPlan(**plan))


def test_two_patients_stay_apart(tmp_path):
    write(tmp_path, new_person(patient_id="A", name="Eins^Anna"), number=1)
    write(tmp_path, new_person(patient_id="B", name="Zwei^Berta"), number=2)
    patients = list_series(tmp_path).patients
    assert [p.label for p in patients] == ["patient 1", "patient 2"]
    assert [sum(len(v.series) for v in p.visits) for p in patients] == [1, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"name": "PHANTOM^PHILIPPA^^^ "},
        {"name": ""},
        {"patient_id": ""},
        {"birth_date": ""},
        {"patient_id": "", "name": ""},
    ],
)
def test_one_person_written_differently_is_one(tmp_path, other):
    person = new_person()
    write(tmp_path, person, number=1)
    write(tmp_path, new_person(**{"study_uid": person.study_uid, **other}), number=2)
    (patient,) = list_series(tmp_path).patients
    assert len(patient.visits) == 1


@pytest.mark.parametrize("other", [{"name": "Other^Name"}, {"birth_date": "19800101"}, {"patient_id": "P-2"}])
def test_what_differs_keeps_apart_even_in_one_study(tmp_path, other):
    person = new_person()
    write(tmp_path, person, number=1)
    write(tmp_path, new_person(study_uid=person.study_uid, **other), number=2)
    assert len(list_series(tmp_path).patients) == 2


def test_visits_are_in_the_order_of_their_dates(tmp_path):
    for i, day in enumerate(("20250301", "20240101", "20250801")):
        write(tmp_path, new_person(study_date=day), number=i + 1)
    (patient,) = list_series(tmp_path).patients
    assert [v.label for v in patient.visits] == ["study 1 (1 of 3)", "study 2 (2 of 3)", "study 3 (3 of 3)"]
    assert [v.day for v in patient.visits] == [date(2024, 1, 1), date(2025, 3, 1), date(2025, 8, 1)]


_texts = st.sampled_from(["", "a", "b", " A "])


@given(st.lists(st.tuples(_texts, _texts, _texts, st.sampled_from(["s1", "s2"])), min_size=1, max_size=8))
def test_law_no_person_has_two_ids_names_or_birth_dates(headers):
    frames = [frame(who[:3], who[3]) for who in headers]
    people = persons(frames)
    assert sorted(id(f) for p in people for f in p) == sorted(map(id, frames))
    for person in people:
        for i in range(3):
            assert len({f.instance.patient[i].strip().casefold() for f in person} - {""}) <= 1


def frame(patient: tuple[str, str, str], study: str) -> Frame:
    instance = Instance(None, "", "", "", study, patient, "", "MR", 1, 1, False, "", None)  # type: ignore[arg-type]
    return Frame(instance, 0, None, None, None, 1, 0, None, None, None, (), None, "", None)


@pytest.mark.parametrize(
    ("charset", "name"),
    [
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Ωmega^Ψ"),
        ("ISO_IR 144", "Люкceмбypг"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        ("NO_SUCH_SET", "Plain^Name"),
        ("ISO 2022 IR 100\\broken", "Plain^Name"),
    ],
)
def test_character_sets(tmp_path, charset, name):
    paths = write(tmp_path, new_person(name="Plain^Name"), description="T1")
    for path in paths:
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet = charset if charset != "NO_SUCH_SET" else "ISO_IR 192"
        dataset.PatientName = name
        dataset.save_as(path)
        if charset == "NO_SUCH_SET":
            path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"NO_SUCHSET"))
    (series,) = list_series(tmp_path).series
    assert series.usable
    if charset != "NO_SUCH_SET":
        assert series.identity.name.split("=")[0] == name.split("=")[0]


SECRETS = ("SECRET-ID-77", "Geheim", "19551231", "20250314")


def test_nothing_of_a_patient_is_shown_or_logged(tmp_path, caplog, capfd):
    """Not in records' texts, messages, logs or warnings, whatever is wrong with the files."""
    person = new_person(patient_id=SECRETS[0], name="Geheim^Gerda", birth_date=SECRETS[2], study_date=SECRETS[3])
    paths = write(tmp_path / "a", person)
    edit(paths[1], ImagePositionPatient=None)
    content = paths[2].read_bytes()
    paths[2].write_bytes(content[:-300])
    content = paths[0].read_bytes()
    paths[0].write_bytes(content.replace(SECRETS[3].encode(), b"Geheim!!"))  # dates that are none
    write(tmp_path / "b", person, number=2, tags={"ImageType": ["ORIGINAL", "PRIMARY", "MOSAIC"]})
    write_other_object(tmp_path / "c" / "x", person, "report")
    with caplog.at_level(logging.DEBUG), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        listing = list_series(tmp_path)
        shown = [repr(listing)]
        for series in listing.series:
            shown += [repr(series), str(series.facts.to_dict()), repr(series.remarks), series.facts.label]
            try:
                read_listed(series)
            except InputError as e:
                shown.append(str(e))
        paths[3].write_bytes(paths[3].read_bytes()[:-20])
        for series in listing.series:
            try:
                read_listed(series)
            except InputError as e:
                shown.append(str(e))
    said = "\n".join([*shown, caplog.text, *(str(w.message) for w in warned), *capfd.readouterr()])
    for secret in (*SECRETS, person.study_uid, person.frame_of_reference):
        assert secret not in said
    assert not warned
    assert next(listing.series).identity.patient_id == SECRETS[0]  # and is there for writing results


def test_a_description_in_japanese_is_read_as_it_was_written(tmp_path):
    for path in write(tmp_path, new_person(), description="T1"):
        dataset = pydicom.dcmread(path)
        dataset.SpecificCharacterSet, dataset.SeriesDescription = ["", "ISO 2022 IR 87"], "造影後 T1 AX"
        dataset.save_as(path)
    (series,) = list_series(tmp_path).series
    assert series.facts.description == "造影後 T1 AX"
