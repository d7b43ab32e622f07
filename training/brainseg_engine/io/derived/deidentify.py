"""DICOM datasets without what identifies the patient, by DICOM PS3.15's Basic Application Level Confidentiality Profile.

With its option "retain longitudinal temporal information with modified dates": dates and times are moved together, by one
amount per patient. What is kept, and why, is :mod:`brainseg_engine.io.derived.kept`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from brainseg_engine.io.derived import kept
from brainseg_engine.io.derived.needed import pydicom
from brainseg_engine.io.derived.pseudonyms import Pseudonyms, patient_key
from brainseg_engine.io.dicom.quiet import quiet

METHOD = "napari-brainseg, DICOM PS3.15 Basic Profile"
_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
)
_WITHOUT_FACE = ("113102", "Clean Recognizable Visual Features Option")
_OWN_DATES = (
    "InstanceCreationDate", "ContentDate", "SeriesDate", "StructureSetDate", "PresentationCreationDate", "VerificationDateTime",
    "ObservationDateTime", "AcquisitionDateTime", "DateTime",
)  # fmt: skip
_CS = re.compile(r"[A-Z0-9_ ]{0,16}")
_NUMBERS = frozenset({"DS", "IS", "US", "SS", "UL", "SL", "FL", "FD", "AT", "UV", "SV"})
_PIXELS = frozenset({"OB", "OW", "OF", "OD"})


@dataclass(frozen=True)
class Pseudonym:
    """What stands for one patient. ``patient`` is what told the patient apart; ``face``: images may show one."""

    pseudonyms: Pseudonyms
    patient: str
    face: bool = False

    @property
    def name(self) -> str:
        """The patient's name and id."""
        return self.pseudonyms.patient(self.patient)

    @property
    def shift(self) -> timedelta:
        """What is added to the patient's dates."""
        return self.pseudonyms.shift(self.patient)

    @classmethod
    def of(cls, pseudonyms: Pseudonyms, instance: Any, face: bool = False) -> Pseudonym:
        """That of the patient of a DICOM instance."""
        return cls(pseudonyms, patient_of(instance), face)


def patient_of(instance: Any) -> str:
    """What tells the patient of an instance apart. Raises InputError where nothing does."""
    keywords = ("PatientID", "PatientName", "PatientBirthDate", "StudyInstanceUID")
    return patient_key(*(str(instance.get(k) or "") for k in keywords))


def deidentified(instance: Any, pseudonym: Pseudonym, description: str = "") -> Any:
    """A new dataset with what :mod:`kept` names of ``instance``, which is not changed.

    ``description``: what is to stand as the series' description, which is free text and is not kept.
    """
    with quiet():
        out = _cleaned(instance, pseudonym)
    out.PatientName = out.PatientID = pseudonym.name
    for keyword in ("PatientBirthDate", "PatientSex", "StudyID", "AccessionNumber", "ReferringPhysicianName"):
        setattr(out, keyword, "")
    out.SpecificCharacterSet = "ISO_IR 192"
    if description:
        out.SeriesDescription = description
    if instance.get("ContrastBolusAgent"):
        out.ContrastBolusAgent = "contrast agent"  # that there was one is wanted, its name may say more
    marked(out, pseudonym)
    return out


def marked(dataset: Any, pseudonym: Pseudonym) -> None:
    """Say in a dataset that it was de-identified, and how."""
    dicom = pydicom()
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = METHOD
    codes = (*_CODES, *(() if pseudonym.face else (_WITHOUT_FACE,)))
    dataset.DeidentificationMethodCodeSequence = [_code(dicom, *code) for code in codes]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED"


def moved_back(dataset: Any, pseudonym: Pseudonym) -> None:
    """Shift the dates that a derived object was given when it was made: beside the shifted ones they would tell the shift."""
    for keyword in _OWN_DATES:
        _shift_in(dataset, keyword, pseudonym.shift)


def _shift_in(dataset: Any, keyword: str, shift: timedelta) -> None:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _shift_in(item, keyword, shift)
    if not dataset.get(keyword):
        return
    if keyword.endswith("DateTime"):
        setattr(dataset, keyword, _moved_moment(str(dataset[keyword].value), shift))
        return
    time = keyword.removesuffix("Date") + "Time"
    day, clock = _moved(str(dataset[keyword].value), str(dataset.get(time) or ""), shift)
    setattr(dataset, keyword, day)
    if time in dataset:
        setattr(dataset, time, clock)


def _code(dicom: Any, value: str, meaning: str) -> Any:
    item = dicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item


def _cleaned(dataset: Any, pseudonym: Pseudonym) -> Any:
    out = pydicom().Dataset()
    for element in _wanted(dataset):
        how, keyword = kept.HOW[element.keyword], element.keyword
        if how == kept.UIDS:
            out.add_new(element.tag, "UI", pseudonym.pseudonyms.uid(str(element.value)))
        elif how == kept.EMPTY:
            out.add_new(element.tag, element.VR, None)
        elif how == kept.NESTED:
            items = [_cleaned(item, pseudonym) for item in element.value or []]
            out.add_new(element.tag, "SQ", [i for i in items if _is_public(i)])
        elif how == kept.DATES:
            _add_moved(out, dataset, keyword, pseudonym.shift)
        elif _safe(element):
            out.add_new(element.tag, element.VR, element.value)
    return out


def _wanted(dataset: Any) -> Iterator[Any]:
    """The elements that are kept, readable, and of the kind that the standard gives them."""
    dicom = pydicom()
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            if element.keyword not in kept.HOW or tag.is_private:
                continue
            right = dicom.datadict.dictionary_VR(tag)
        except Exception:  # pydicom raises anything for an element that is damaged
            continue
        if element.VR in right.split(" or ") or element.VR in _PIXELS:
            yield element


def _safe(element: Any) -> bool:
    """Whether the values are of the form that their kind has: words do not hide among numbers and codes."""
    values = element.value if isinstance(element.value, list | tuple) or element.VM > 1 else [element.value]
    if element.VR in _NUMBERS or element.VR in _PIXELS or element.value is None:
        return True
    if element.VR == "CS":
        return all(_CS.fullmatch(str(v or "")) for v in values)
    if element.VR == "UI":
        return all(str(v).startswith("1.2.840.10008.") for v in values)
    return element.keyword in kept.TEXTS and all(len(str(v)) <= 64 for v in values)


def _is_public(item: Any) -> bool:
    return "CodeValue" not in item or str(item.get("CodingSchemeDesignator", "")) in kept.SCHEMES


def _add_moved(out: Any, dataset: Any, keyword: str, shift: timedelta) -> None:
    """Move a date together with its time; a time without its date would tell the hour, and is left out."""
    if keyword.endswith("DateTime"):
        if moment := _moved_moment(str(dataset[keyword].value), shift):
            setattr(out, keyword, moment)
        else:
            out.pop(keyword, None)
    elif keyword.endswith("Date"):
        time = keyword.removesuffix("Date") + "Time"
        day, clock = _moved(str(dataset[keyword].value), str(dataset.get(time) or ""), shift)
        setattr(out, keyword, day)
        if time in dataset:
            setattr(out, time, clock)
    elif keyword == "StudyTime" and keyword not in out:
        out.StudyTime = ""


def _moved(day: str, clock: str, shift: timedelta) -> tuple[str, str]:
    """A date and its time moved; both empty where they cannot be read."""
    digits = re.fullmatch(r"(\d{2})(\d{2})?(\d{2})?(\.\d{1,6})?", clock.strip())
    hours = [int(g or 0) for g in digits.groups()[:3]] if digits else [12, 0, 0]
    try:
        moment = datetime.strptime(day.strip().replace(".", ""), "%Y%m%d")
        moment = moment.replace(hour=hours[0], minute=hours[1], second=min(hours[2], 59)) + shift
    except (ValueError, OverflowError):
        return "", ""
    fraction = digits.group(4) or "" if digits else ""
    return moment.strftime("%Y%m%d").zfill(8), f"{moment:%H%M%S}{fraction}" if digits else ""


def _moved_moment(text: str, shift: timedelta) -> str:
    """A DICOM date-time moved; "" where it cannot be read. Its zone, which tells a place, is left out."""
    match = re.fullmatch(r"(\d{8})(\d{2,6}(?:\.\d{1,6})?)?(?:[+-]\d{4})?", text.strip())
    return "".join(_moved(match[1], match[2] or "", shift)) if match else ""
