"""Studies under a pseudonym, for what is written of them."""

from __future__ import annotations

from dataclasses import replace

from brainseg_engine.io.derived.pseudonyms import Pseudonyms, patient_key
from brainseg_engine.io.series import Series


def renamed(series: Series, pseudonyms: Pseudonyms | None) -> Series:
    """The study with a pseudonym for an id: its DICOM patient's, else one that stands for its own id. The series itself
    where there are no pseudonyms. Raises InputError for DICOM that tells neither a patient nor a study."""
    if pseudonyms is None:
        return series
    first = next((s for s in series.listed.values() if s.slices), None)
    if first is None:
        return replace(series, id=pseudonyms.patient(series.id))
    who = first.identity
    patient = patient_key(who.patient_id, who.name, who.birth_date, who.study_uid)
    return replace(series, id=pseudonyms.study(patient, who.study_uid))
